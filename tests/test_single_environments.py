"""The verbs that show, delete and rebuild single environments."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pexpect  # type: ignore[import-untyped]
import pytest

from ipy_scriptenv import environments
from ipy_scriptenv.environments import Context
from ipy_scriptenv.errors import EnvironmentInUse, NoEnvironment
from tests.conftest import Home
from tests.kernels import kernelspec_of
from tests.lifecycle import (
    command,
    environment_of,
    inodes,
    kernelspecs,
    revise_record,
)
from tests.stage import (
    BASE,
    exclusively_held,
    installed,
    pretend_layer,
    record_of,
    running_kernel,
    start,
    state_of,
    sync,
    write_script,
)

pytestmark = pytest.mark.usefixtures("own_home")


@pytest.fixture
def script(lean_home: Home, script: Path) -> Path:  # noqa: ARG001 - it sets the stage
    return write_script(script, "alpha<2")


# List


def listed(*words: str) -> list[str]:
    """Give the file names that ``list`` shows, in its order."""
    found = command("list", "--json", *words).json["environments"]
    return [Path(each["source"]).name for each in found]


@pytest.fixture
def three(script: Path) -> Path:
    """Make environments: one in sync, one stale and older, one whose source is gone; a folder."""
    sync(script)
    stale = write_script(script.with_name("b.py"), "alpha")
    start(stale)
    revise_record(environment_of(stale), last_used="2020-01-01T00:00:00Z")
    orphan = write_script(script.with_name("c.py"))
    sync(orphan)
    revise_record(environment_of(orphan), last_used="2030-01-01T00:00:00Z")
    orphan.unlink()
    return script.parent


@pytest.mark.usefixtures("three")
def test_list_shows_those_in_a_state() -> None:
    assert listed("--state", "orphan") == ["c.py"]
    assert listed("--state", "stale", "--state", "in-sync") == ["a.py", "b.py"]
    assert listed("--state", "broken") == []
    wrong = command("list", "--state", "lost", "--json")
    assert (wrong.code, wrong.error) == (2, "wrong-call")


def test_list_shows_those_of_a_source(three: Path) -> None:
    assert listed("--source", str(three / "a.py")) == ["a.py"]
    assert listed("--source", f"{three}/*") == ["a.py", "b.py", "c.py"]
    assert listed("--source", "b.py") == ["b.py"]
    assert listed("--source", "/nowhere/*") == []


@pytest.mark.usefixtures("three")
def test_list_sorts() -> None:
    assert listed() == ["a.py", "b.py", "c.py"]
    assert listed("--sort", "source") == ["a.py", "b.py", "c.py"]
    assert listed("--sort", "state") == ["a.py", "c.py", "b.py"]
    assert listed("--sort", "used") == ["c.py", "a.py", "b.py"]
    assert listed("--sort", "size")[0] == "a.py"


@pytest.mark.usefixtures("lean_home")
def test_list_sorts_pythons_by_their_numbers(script: Path) -> None:
    for name, version in (("a", "3.10.2"), ("b", "3.9.18"), ("c", "3.10.10")):
        path = write_script(script.with_name(f"{name}.py"))
        start(path)
        python = record_of(environment_of(path)).python
        told = {"request": None, "base": python.base, "abi": python.abi}
        revise_record(environment_of(path), python={**told, "version": version})
    assert listed("--sort", "python") == ["b.py", "a.py", "c.py"]


@pytest.mark.usefixtures("three")
def test_list_tells_sizes_where_they_are_asked_for() -> None:
    without = command("list", "--json").json["environments"]
    assert {each["bytes"] for each in without} == {None}
    assert [each["packages"] for each in without] == [1, 0, 0]
    found = command("list", "--size", "--json").json["environments"]
    assert all(each["bytes"] > 1000 for each in found)
    assert found[0]["bytes"] > found[2]["bytes"]
    text = command("list", "--size").out
    assert "SIZE" in text
    assert text.splitlines()[-1].startswith("Together: ")
    assert "SIZE" not in command("list").out


def test_a_size_counts_no_links(script: Path) -> None:
    """The interpreter is a link, and so may be anything that a user puts there."""
    sync(script)
    (before,) = command("list", "--size", "--json").json["environments"]
    (environment_of(script) / "linked").symlink_to("/usr")
    (after,) = command("list", "--size", "--json").json["environments"]
    assert 0 <= after["bytes"] - before["bytes"] < 1000


# Delete


def test_delete_removes_environment_and_kernelspec(home: Home, script: Path) -> None:
    synced = sync(script)
    assert (synced.path / "lib").exists()

    told = command("delete", script, "--yes", "--json").json

    assert told.pop("bytes") > 0
    assert told == {
        "schema": 1,
        "source": str(script),
        "environment": {"name": synced.name, "path": str(synced.path)},
    }
    assert not synced.path.exists()
    assert kernelspecs(home) == set()
    assert [*home.scriptenv.glob("building-v1/*")] == []
    assert script.exists()
    assert sync(script).action == "created"


def test_delete_works_for_a_source_that_is_gone(
    script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync(script)
    place = environment_of(script)
    script.unlink()
    monkeypatch.chdir(script.parent)

    called = command("delete", script.name, "--yes")

    assert called.code == 0
    assert "Removed 1 environment" in called.out
    assert not place.exists()


def test_delete_without_an_environment_is_an_error(script: Path) -> None:
    called = command("delete", script, "--yes", "--json")
    assert (called.code, called.error) == (1, "no-environment")
    with pytest.raises(NoEnvironment):
        environments.delete(environments.locate(script), context=Context())


def test_delete_leaves_what_is_in_use(
    home: Home, script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCRIPTENV_LOCK_TIMEOUT", "0")
    synced = sync(script)
    packages = inodes(synced.path)
    with running_kernel(home.scriptenv, synced.name):
        called = command("delete", script, "--yes", "--json")
        assert (called.code, called.error) == (1, "environment-in-use")
        assert str(os.getpid()) in called.out
    with exclusively_held(Context().store.lock(synced.name)):
        assert command("delete", script, "--yes", "--json").error == "lock-timeout"
    start(script)  # a kernel is about to be there
    with pytest.raises(EnvironmentInUse):
        environments.delete(environments.locate(script), context=Context())
    assert inodes(synced.path) == packages
    assert kernelspecs(home) == {kernelspec_of(script)}


def test_delete_leaves_what_is_not_ours(script: Path) -> None:
    place = environment_of(script)
    (place / "mine").mkdir(parents=True)
    called = command("delete", script, "--yes", "--json")
    assert (called.code, called.error) == (1, "foreign")
    assert (place / "mine").is_dir()


def test_delete_leaves_what_a_newer_version_made(home: Home, script: Path) -> None:
    place = sync(script).path
    revise_record(place, schema=99)
    called = command("delete", script, "--yes", "--json")
    assert (called.code, called.error) == (1, "newer-schema")
    assert place.exists()
    assert kernelspecs(home) == {kernelspec_of(script)}


def test_delete_removes_a_damaged_environment(script: Path) -> None:
    place = sync(script).path
    (place / "scriptenv.json").write_text("{")
    assert command("delete", script, "--yes").code == 0
    assert not place.exists()


def test_where_nobody_can_be_asked_nothing_is_deleted(script: Path) -> None:
    place = sync(script).path
    for words in (("delete", script), ("delete", script, "--json")):
        called = command(*words)
        assert called.code == 2
        assert "--yes" in called.out + called.err
    assert place.exists()


@pytest.mark.parametrize(("answer", "stays"), [("y", False), ("n", True)])
def test_on_a_terminal_delete_asks(script: Path, answer: str, *, stays: bool) -> None:
    place = sync(script).path
    terminal = pexpect.spawn(
        sys.executable,
        ["-m", "ipy_scriptenv", "delete", str(script)],
        encoding="utf-8",
        timeout=60,
        dimensions=(24, 400),
    )
    terminal.expect_exact(str(place))
    terminal.expect("Remove this environment?")
    terminal.sendline(answer)
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert place.exists() is stays


# Rebuild


def test_rebuild_makes_a_sound_environment_anew(home: Home, script: Path) -> None:
    first = sync(script)
    before = first.path.stat().st_ino
    (first.path / "by-hand").touch()

    told = command("rebuild", script, "--json").json

    assert (told["action"], told["changes"]) == ("rebuilt", [])
    assert told["environment"]["path"] == str(first.path)
    assert first.path.stat().st_ino != before
    assert not (first.path / "by-hand").exists()
    assert installed(first.path) == {"alpha==1.1"}
    assert record_of(first.path).created == first.record.created
    assert kernelspecs(home) == {kernelspec_of(script)}


def test_rebuild_takes_another_python_and_keeps_it(
    home: Home, script: Path, pythons: dict[str, Path]
) -> None:
    others = {minor: each for minor, each in pythons.items() if str(each) != BASE}
    if not others:
        pytest.skip("there is one Python alone on this machine")
    minor, python = max(others.items())
    pretend_layer(home.scriptenv, python)
    place = sync(script).path

    told = command("rebuild", script, "--python", python, "--json").json

    assert told["environment"]["python_version"].startswith(f"{minor}.")
    assert record_of(place).python.request == str(python)
    assert installed(place) == {"alpha==1.1"}
    assert command("rebuild", script, "--json").json["environment"] == told["environment"]


def test_rebuild_makes_what_is_missing(script: Path) -> None:
    assert command("rebuild", script, "--json").json["action"] == "created"


def test_rebuild_mends_what_is_damaged(script: Path) -> None:
    place = sync(script).path
    (place / "pyvenv.cfg").unlink()
    assert command("rebuild", script, "--json").json["action"] == "rebuilt"
    assert state_of(script) == "in-sync"


def test_a_failed_rebuild_keeps_what_stood(script: Path) -> None:
    place = sync(script).path
    packages = inodes(place)
    write_script(script, "conflict-a", "conflict-b")
    called = command("rebuild", script, "--json")
    assert (called.code, called.error) == (1, "resolution-failed")
    assert inodes(place) == packages


def test_rebuild_under_a_running_kernel_is_refused(home: Home, script: Path) -> None:
    synced = sync(script)
    packages = inodes(synced.path)
    with running_kernel(home.scriptenv, synced.name):
        called = command("rebuild", script, "--json")
    assert (called.code, called.error) == (1, "environment-in-use")
    assert json.loads(called.out)["error"]["problems"]
    assert inodes(synced.path) == packages
