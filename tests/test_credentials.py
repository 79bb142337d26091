"""Credentials of indexes and requirements reach uv, and nothing of ours keeps or shows them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ipy_scriptenv import environments
from ipy_scriptenv.environments import Context
from ipy_scriptenv.errors import RestartNeeded, ScriptEnvError
from tests.conftest import Home
from tests.kernels import Kernel, block, opened
from tests.lifecycle import command
from tests.policies import write_policy
from tests.stage import (
    asker,
    commented,
    environment_of,
    installed,
    record_of,
    running_kernel,
    start,
    state_of,
    sync,
    write_notebook,
    write_script,
)
from tests.web_index import WebIndex, serving, use_web_index

SECRET = "s3cr3t"  # noqa: S105 - it must not be found
USER = f"ada:{SECRET}"
WHEEL = "alpha-1.0-py3-none-any.whl"

pytestmark = pytest.mark.usefixtures("lean_home")


@pytest.fixture
def web(
    lean_home: Home,  # noqa: ARG001 - it makes another index the only one, so it comes first
    index: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[WebIndex]:
    """Serve the local index, to who has the password alone."""
    with serving(index, user=USER) as served:
        use_web_index(served, monkeypatch, default=False)
        yield served


def with_index(web: WebIndex, user: str = USER) -> str:
    """Give the settings of uv for the served index."""
    return f'[[tool.uv.index]]\nurl = "{web.url(user)}"\ndefault = true'


def keeping(folder: Path) -> list[str]:
    """Name every file that holds the secret, but for IPython's own history of cells."""
    return [
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and "ipython" not in path.parts and SECRET.encode() in path.read_bytes()
    ]


def test_an_index_with_a_password_serves_and_no_file_keeps_it(
    home: Home, script: Path, web: WebIndex
) -> None:
    write_script(script, "beta", uv=with_index(web))
    synced = sync(script)
    assert installed(synced.path) == {"alpha==2.0", "beta==1.0"}
    assert "127.0.0.1" in str(synced.record.block)
    assert keeping(home.path) == []
    assert sync(script).action == "kept"
    assert state_of(script) == "in-sync"


def test_a_requirement_with_a_password_is_installed_and_no_file_keeps_it(
    home: Home, script: Path, web: WebIndex
) -> None:
    synced = sync(write_script(script, f"alpha @ {web.file(WHEEL, USER)}"))
    assert installed(synced.path) == {"alpha==1.0"}
    assert keeping(home.path) == []


def test_no_verb_shows_credentials(script: Path, web: WebIndex) -> None:
    write_script(script, "beta", f"alpha @ {web.file(WHEEL, USER)}", uv=with_index(web))
    verbs: list[list[str | Path]] = [
        ["sync", script],
        ["sync", script, "--json"],
        ["status", script],
        ["status", script, "--json"],
        ["find", script, "--json"],
        ["list", "--json"],
        ["rebuild", script, "--json"],
        ["doctor", "--json"],
    ]
    for words in verbs:
        said = command(*words)
        assert said.code == 0, said.err
        assert SECRET not in said.out + said.err


@pytest.mark.parametrize("user", [f"bob:{SECRET}", SECRET, f"{USER}-wrong"])
def test_a_password_that_is_refused_is_not_shown(
    home: Home, script: Path, web: WebIndex, user: str
) -> None:
    write_script(script, "beta", uv=with_index(web, user))
    told: list[Any] = []
    with pytest.raises(ScriptEnvError) as refused:
        environments.sync(environments.locate(script), context=Context(on_event=told.append))
    assert web.refused
    assert SECRET not in json.dumps([refused.value.to_json(), told])
    said = command("sync", script)
    assert said.code == 1
    assert SECRET not in said.out + said.err
    assert keeping(home.path) == []


def test_a_block_that_cannot_be_read_shows_no_credentials(home: Home, script: Path) -> None:
    url = f"https://{USER}@a.example/simple"
    for toml in (
        f'dependencies = ["alpha @@ {url}"]',
        f'dependencies = ["{url}"]',
        f'dependencies = ["alpha"]\nindex = "{url}',
        f'requires-python = "{url}"',
        f'dependencies = ["alpha"]\n"{url}" = 1',
    ):
        script.write_text(commented(toml))
        start(script)
        for words in (["sync"], ["sync", "--json"], ["status", "--json"]):
            said = command(*words, script)
            assert SECRET not in said.out + said.err
    assert keeping(home.path) == []


# From the record alone nothing could be fetched: the file is asked again.


def test_a_sync_from_the_record_finds_the_credentials_in_the_file(
    script: Path, web: WebIndex
) -> None:
    sync(write_script(script, "beta", uv=with_index(web)))
    shutil.rmtree(environment_of(script) / "lib")
    web.asked.clear()
    assert sync(script).action == "rebuilt"
    assert installed(environment_of(script)) == {"alpha==2.0", "beta==1.0"}


def test_a_sync_after_a_start_finds_the_credentials_in_the_file(
    script: Path, web: WebIndex
) -> None:
    start(write_script(script, "beta", uv=with_index(web)))
    record = record_of(environment_of(script))
    assert record.block is not None
    assert SECRET not in record.block
    assert sync(script).action == "updated"
    assert installed(environment_of(script)) == {"alpha==2.0", "beta==1.0"}


def test_what_was_begun_is_finished_with_the_credentials_of_the_file(
    home: Home, script: Path, web: WebIndex
) -> None:
    start(write_script(script, "beta", uv=with_index(web)))
    name = environment_of(script).name
    with running_kernel(home.scriptenv, name):
        sync(script, settle=True)
    assert installed(environment_of(script)) == {"alpha==2.0", "beta==1.0"}
    assert keeping(home.path) == []


def test_a_pending_block_keeps_no_credentials_and_is_installed_at_the_next_start(
    home: Home, script: Path, web: WebIndex
) -> None:
    first = sync(write_script(script, "alpha<2", uv=with_index(web)))
    write_script(script, "alpha==2.0", uv=with_index(web))
    with running_kernel(home.scriptenv, first.name) as uuid, pytest.raises(RestartNeeded):
        sync(script, asker=asker(first, uuid, imported="alpha/__init__.py"))
    pending = record_of(first.path).pending
    assert pending is not None
    assert "alpha==2.0" in pending
    assert keeping(home.path) == []
    said = command("status", script, "--json")
    assert said.json["pending"] == pending
    start(script)
    sync(script)
    assert installed(first.path) == {"alpha==2.0"}
    assert record_of(first.path).pending is None


def test_a_password_that_was_changed_is_taken_from_the_file(script: Path, web: WebIndex) -> None:
    """Changing it alone makes nothing out of date."""
    write_script(script, "alpha<2", uv=with_index(web))
    sync(script)
    web.user = "ada:another"
    write_script(script, "alpha<2", uv=with_index(web, "ada:another"))
    assert state_of(script) == "in-sync"
    assert sync(script).action == "kept"
    assert sync(script, rebuild=True).action == "rebuilt"
    assert installed(environment_of(script)) == {"alpha==1.1"}


def test_a_password_in_a_variable_serves_and_no_file_keeps_it(
    home: Home, script: Path, web: WebIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", web.url(USER))
    sync(write_script(script, "beta"))
    assert installed(environment_of(script)) == {"alpha==2.0", "beta==1.0"}
    assert keeping(home.path) == []


def test_the_name_of_a_variable_stays_and_uv_fills_it_in(
    script: Path, web: WebIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable looks like a secret, so the policy has to let uv have it."""
    monkeypatch.setenv("TEAM_TOKEN", SECRET)
    write_policy('pass-env = ["TEAM_TOKEN"]')
    url = web.file(WHEEL, "ada:${TEAM_TOKEN}")
    synced = sync(write_script(script, f"alpha @ {url}"))
    assert installed(synced.path) == {"alpha==1.0"}
    assert url in str(synced.record.block)
    assert SECRET not in str(synced.record)


# In a kernel.


def assert_silent(kernel: Kernel) -> None:
    """Check that a kernel told nobody the secret, but for the code that it echoes."""
    told = [each for each in kernel.published if each["msg_type"] != "execute_input"]
    assert SECRET not in json.dumps([each["content"] for each in told])
    assert SECRET not in kernel.said


@pytest.mark.usefixtures("offline_home")
def test_a_live_block_with_credentials_is_synced_and_nothing_keeps_or_shows_them(
    home: Home, tmp_path: Path, web: WebIndex
) -> None:
    path = write_notebook(tmp_path / "work" / "nb.ipynb", "1")
    code = block("alpha<2", more=with_index(web))
    with opened(home, path) as kernel:
        done = kernel.execute(f"{code}\nimport alpha; print(alpha.__version__)")
        assert done.shown_text.strip() == "1.1"
        assert kernel.execute("%scriptenv").status == "ok"
        wrong = kernel.execute(block("alpha<2", more=with_index(web, f"bob:{SECRET}")))
        assert wrong.status == "ok", "nothing else changed, so there is nothing to fetch"
        wrong = kernel.execute(block("nspkg-one", more=with_index(web, f"bob:{SECRET}")))
        assert wrong.status == "error"
        restart = kernel.execute(block("alpha==2.0", more=with_index(web)))
        assert restart.ename == "RestartNeeded"
        assert keeping(home.path) == []
        assert_silent(kernel)


@pytest.mark.usefixtures("offline_home")
def test_a_saved_block_with_credentials_is_synced_by_the_first_cell(
    home: Home, tmp_path: Path, web: WebIndex
) -> None:
    code = block("alpha<2", more=with_index(web))
    path = write_notebook(tmp_path / "work" / "nb.ipynb", code)
    with opened(home, path) as kernel:
        done = kernel.execute("import alpha; print(alpha.__version__)")
        assert done.shown_text.strip() == "1.1"
        write_notebook(path, block("alpha==2.0", more=with_index(web)))
        assert kernel.execute("%scriptenv sync").ename == "RestartNeeded"
        assert keeping(home.path) == []
        kernel.restart()
        done = kernel.execute("import alpha; print(alpha.__version__)")
        assert done.shown_text.strip() == "2.0"
        assert keeping(home.path) == []
        assert_silent(kernel)
