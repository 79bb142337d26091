"""Locks: made beside the source or in the notebook, and what a sync makes of them."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from ipy_scriptenv import environments
from ipy_scriptenv.environments import (
    ALL_PACKAGES,
    Action,
    Choosing,
    Context,
    Locked,
    Pin,
    locking,
    relocked,
)
from ipy_scriptenv.environments.beside import script_beside
from ipy_scriptenv.errors import (
    BadBlock,
    NoLock,
    PermissionRefused,
    ResolutionFailed,
    ScriptEnvError,
    SourceChanged,
    StaleLock,
    WrongCall,
)
from tests.conftest import Home
from tests.index import build
from tests.policies import write_policy
from tests.stage import (
    BASE,
    asker,
    block_of,
    call,
    commented,
    environment_of,
    installed,
    listing,
    record_of,
    running_kernel,
    state_of,
    sync,
    write_notebook,
    write_project,
    write_script,
)
from tests.web_index import serving, use_web_index

pytestmark = pytest.mark.usefixtures("lean_home")

SECRET = "s3cr3t"  # noqa: S105 - it must not be found


def lock(path: Path, *, embed: bool = False, **choosing: object) -> Locked:
    """Lock the source at *path*."""
    return environments.lock(
        environments.locate(path),
        context=Context(),
        embed=embed,
        choosing=Choosing(**choosing),  # type: ignore[arg-type]
    )


def check(path: Path) -> Locked:
    """Check the lock of the source at *path*."""
    return environments.check_lock(environments.locate(path), context=Context())


def beside(path: Path) -> Path:
    """Where the lock of a source stands."""
    return path.with_name(path.name + ".lock")


def embedded(path: Path) -> str:
    """Give the lock in a notebook's metadata."""
    text = json.loads(path.read_text())["metadata"]["uv.lock"]
    assert isinstance(text, str)
    return text


def versions(locked: Locked) -> dict[str, str]:
    """Give the version of each locked package."""
    return {package.name: package.version for package in locked.packages}


@pytest.fixture
def notebook(script: Path) -> Path:
    """Give a notebook that declares ``beta`` and an old ``alpha``."""
    return write_notebook(script.with_name("nb.ipynb"), commented(block_of("beta", "alpha<2")))


# Where a lock stands


def test_a_lock_stands_beside_the_source_and_holds_everything(script: Path) -> None:
    write_script(script, "beta", "alpha<2")
    locked = lock(script)
    assert (locked.path, locked.embedded, locked.outcome) == (beside(script), False, "created")
    assert versions(locked) == {"alpha": "1.1", "beta": "1.0"}
    assert {*script.parent.iterdir()} == {script, beside(script)}
    assert (
        stat.S_IMODE(beside(script).stat().st_mode) & 0o077
        == stat.S_IMODE(script.stat().st_mode) & 0o077
    )
    assert lock(script).outcome == "kept"


def test_the_lock_of_a_notebook_stands_beside_it_or_in_its_metadata(notebook: Path) -> None:
    before = notebook.read_bytes()
    assert lock(notebook).path == beside(notebook)
    assert notebook.read_bytes() == before
    text = beside(notebook).read_text()
    notebook.chmod(0o640)
    locked = lock(notebook, embed=True)
    assert (locked.path, locked.embedded) == (notebook, True)
    assert embedded(notebook) == text
    assert str(beside(notebook)) in locked.warnings[0]
    assert stat.S_IMODE(notebook.stat().st_mode) == 0o640
    # It stays where it is, and only it differs.
    beside(notebook).unlink()
    assert lock(notebook).outcome == "kept"
    content = json.loads(notebook.read_text())
    del content["metadata"]["uv.lock"]
    assert content == json.loads(before)


def test_a_lock_in_the_notebook_counts_before_one_beside_it(notebook: Path) -> None:
    lock(notebook, embed=True)
    shutil.copy(notebook, notebook.with_name("old.ipynb"))
    beside(notebook).write_text("version = 1\nthis is no lock\n")
    assert installed(sync(notebook).path) == {"alpha==1.1", "beta==1.0"}


def test_only_a_notebook_can_hold_its_lock(script: Path) -> None:
    with pytest.raises(WrongCall):
        lock(write_script(script, "alpha"), embed=True)


def test_nothing_is_written_where_there_is_no_solution(notebook: Path) -> None:
    write_notebook(notebook, commented(block_of("alpha>3")))
    before = notebook.read_bytes()
    for embed in (False, True):
        with pytest.raises(ScriptEnvError) as refused:
            lock(notebook, embed=embed)
        assert refused.value.code in {ResolutionFailed.code, "offline"}
    assert notebook.read_bytes() == before
    assert {*notebook.parent.iterdir()} == {notebook}


def test_nothing_is_written_to_a_notebook_that_was_changed_meanwhile(
    notebook: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(*arguments: object, **options: object) -> bytes:
        made = relocked(*arguments, **options)  # type: ignore[arg-type]
        notebook.write_text(notebook.read_text() + "\n")
        return made

    monkeypatch.setattr(locking, "relocked", slowly)
    with pytest.raises(SourceChanged) as refused:
        lock(notebook, embed=True)
    assert "changed" in str(refused.value)
    assert "uv.lock" not in notebook.read_text()


# Beside the source


def test_a_script_beside_goes_and_so_does_what_a_crash_has_left(script: Path) -> None:
    folder = script.parent
    crashed, foreign = folder / f".scriptenv-{'0' * 16}.py.lock", folder / ".scriptenv-mine.py"
    fresh = folder / f".scriptenv-{'1' * 16}.py"
    for path in (crashed, foreign, fresh):
        path.touch()
    for path in (crashed, foreign):
        build_time = path.stat().st_mtime - 7200
        _age(path, build_time)
    with script_beside(folder, block_of("alpha"), b"version = 1\n") as temporary:
        assert temporary.parent == folder
        assert stat.S_IMODE(temporary.stat().st_mode) == 0o600
        assert beside(temporary).read_bytes() == b"version = 1\n"
        assert not crashed.exists()
    assert {*folder.iterdir()} == {foreign, fresh}


def _age(path: Path, moment: float) -> None:
    os.utime(path, (moment, moment))


def test_a_folder_that_cannot_be_written_is_named(script: Path) -> None:
    def refuse(*_arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    with pytest.MonkeyPatch.context() as patch:
        # Root writes everywhere.
        patch.setattr("ipy_scriptenv.environments.beside._create", refuse)
        with (
            pytest.raises(PermissionRefused) as refused,
            script_beside(script.parent, block_of("alpha"), None),
        ):
            pytest.fail("it must not come this far")
    assert str(script.parent) in str(refused.value)


# What a sync makes of it


def embed_or_beside(*, embed: bool) -> Callable[[Path], str]:
    """Give how the lock of a notebook is read."""
    return embedded if embed else lambda path: beside(path).read_text()


@pytest.mark.parametrize("embed", [False, True])
def test_a_sync_installs_the_lock_and_updates_it_when_the_block_has_changed(
    notebook: Path, *, embed: bool
) -> None:
    read = embed_or_beside(embed=embed)
    lock(notebook, embed=embed)
    before = read(notebook)
    # The lock decides, not the newest that the block allows.
    content = notebook.read_text().replace("alpha<2", "alpha")
    notebook.write_text(content)
    assert state_of(notebook) == "missing"
    with pytest.raises(StaleLock):
        check(notebook)
    with pytest.raises(StaleLock):
        sync(notebook, pin=Pin.LOCKED)
    assert state_of(notebook) == "missing"
    frozen = sync(notebook, pin=Pin.FROZEN)
    assert installed(frozen.path) == {"alpha==1.1", "beta==1.0"}
    assert read(notebook) == before
    synced = sync(notebook)
    assert installed(synced.path) == {"alpha==1.1", "beta==1.0"}
    assert read(notebook) != before
    assert state_of(notebook) == "in-sync"
    check(notebook)
    settled = notebook.read_bytes()
    assert sync(notebook, pin=Pin.LOCKED).action is Action.KEPT
    assert sync(notebook).action is Action.KEPT
    assert notebook.read_bytes() == settled


def test_a_frozen_sync_installs_the_lock_without_what_the_block_has_more(script: Path) -> None:
    lock(write_script(script, "alpha<2"))
    write_script(script, "beta", "alpha<2")
    environment = sync(script, pin=Pin.FROZEN).path
    assert installed(environment) == {"alpha==1.1"}
    assert sync(script, pin=Pin.FROZEN).action is Action.KEPT
    assert installed(sync(script).path) == {"alpha==1.1", "beta==1.0"}


def test_what_a_new_lock_locks_is_kept_where_it_is_installed_already(script: Path) -> None:
    write_script(script, "beta", "alpha<2")
    sync(script)
    before = listing(environment_of(script) / "lib")
    lock(script)
    synced = sync(script)
    assert (synced.action, synced.changes) == (Action.KEPT, ())
    assert synced.record.lock_sha256 is not None
    assert state_of(script) == "in-sync"
    assert sync(script, choosing=Choosing(upgrade=ALL_PACKAGES)).action is Action.KEPT
    assert listing(environment_of(script) / "lib") == before


def test_locked_and_frozen_need_a_lock(script: Path) -> None:
    write_script(script, "alpha")
    for pin in (Pin.LOCKED, Pin.FROZEN):
        with pytest.raises(NoLock):
            sync(script, pin=pin)
    with pytest.raises(NoLock):
        check(script)
    assert {*script.parent.iterdir()} == {script}
    assert state_of(script) == "missing"


def test_a_kernel_takes_what_the_lock_would_be_and_writes_nothing(home: Home, script: Path) -> None:
    lock(write_script(script, "alpha<2"))
    first, before = sync(script), beside(script).read_bytes()
    block = block_of("beta", "alpha")
    with running_kernel(home.scriptenv, first.name) as uuid:
        live = sync(script, block=block, given=True, asker=asker(first, uuid))
    # Not alpha 2.0: what is locked stays.
    assert installed(live.path) == {"alpha==1.1", "beta==1.0"}
    assert beside(script).read_bytes() == before
    write_script(script, "beta", "alpha")
    with running_kernel(home.scriptenv, first.name):
        frozen = sync(script, pin=Pin.FROZEN)
    assert installed(frozen.path) == {"alpha==1.1"}


@pytest.mark.parametrize("text", ["<<<<<<< HEAD\nversion = 1\n", "\x00", "[" * 100])
def test_a_damaged_lock_is_told_and_left_alone(script: Path, text: str) -> None:
    lock(write_script(script, "alpha<2"))
    beside(script).write_text(text)
    for verb in (sync, check, lock):
        with pytest.raises(BadBlock) as refused:
            verb(script)
        assert "lock" in str(refused.value)
    assert beside(script).read_text() == text


# Newer versions


def test_versions_stay_until_an_upgrade_is_asked_for(script: Path) -> None:
    lock(write_script(script, "beta", "alpha<2"))
    write_script(script, "beta", "alpha")
    assert versions(lock(script))["alpha"] == "1.1"
    assert lock(script, upgrade=("beta",)).outcome == "kept"
    assert versions(lock(script, upgrade=("alpha",)))["alpha"] == "2.0"
    lock(write_script(script, "alpha<2"))
    write_script(script, "alpha")
    assert installed(sync(script).path) == {"alpha==1.1"}
    upgraded = sync(script, choosing=Choosing(upgrade=ALL_PACKAGES))
    assert installed(upgraded.path) == {"alpha==2.0"}
    assert '"2.0"' in beside(script).read_text()


def test_a_date_and_an_index_of_one_call(
    script: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(index) as web:
        use_web_index(web, monkeypatch, default=False)
        monkeypatch.setenv("UV_DEFAULT_INDEX", web.url().replace("/simple", "/empty/simple"))
        write_script(script, "alpha")
        with pytest.raises(ScriptEnvError):
            sync(script)
        old = Choosing(index=(web.url(),), exclude_newer="2023-01-01")
        assert installed(sync(script, choosing=old).path) == {"alpha==1.1"}
        # That was this call's; a new one is asked for what is newest.
        new = Choosing(index=(web.url(),))
        assert installed(sync(script, choosing=new).path) == {"alpha==2.0"}
        locked = lock(script, index=(web.url(),), exclude_newer="2021-01-01")
        assert versions(locked) == {"alpha": "1.0"}
        assert "exclude-newer" in beside(script).read_text()


# Anybody's machine


def test_a_lock_holds_no_path_of_this_machine(
    script: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(index, script.parent / "wheels")
    write_project(script.parent / "project")
    monkeypatch.delenv("UV_FIND_LINKS")
    monkeypatch.delenv("UV_NO_INDEX")
    settings = (
        'find-links = ["wheels"]\nno-index = true\n'
        '[tool.uv.sources]\nlocal = { path = "project", editable = true }'
    )
    write_script(script, "beta", "local", uv=settings)
    lock(script)
    assert str(script.parent.parent) not in beside(script).read_text()
    assert 'editable = "project"' in beside(script).read_text()
    assert lock(script).outcome == "kept"
    check(script)
    elsewhere = script.parent.with_name("elsewhere")
    script.parent.rename(elsewhere)
    moved = elsewhere / script.name
    check(moved)
    for pin in Pin:
        synced = sync(moved, pin=pin, rebuild=True)
        assert installed(synced.path) == {"alpha==2.0", "beta==1.0", "local==1.0"}
    assert str(elsewhere) not in beside(moved).read_text()
    assert {path.name for path in elsewhere.iterdir()} == {
        "a.py",
        "a.py.lock",
        "project",
        "wheels",
    }


def test_a_lock_that_holds_a_path_of_this_machine_says_so(
    script: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of wheels that only a variable names is told as it is, as uv does."""
    write_script(script, "beta")
    told = call("lock", script)
    assert told.stdout.startswith("Locked 2 packages\n")
    warned = [line for line in told.stderr.splitlines() if line.startswith("warning:")]
    assert [f"`{index}`" in line for line in warned] == [True]
    assert check(script).warnings == tuple(line.removeprefix("warning: ") for line in warned)
    added = json.loads(call("add", script, "gamma", "--json").stdout)
    assert added["warnings"] == [*check(script).warnings]
    write_script(script, "beta", "alpha<2")
    assert f"path of this machine: `{index}`" in call("sync", script).stderr
    shutil.copytree(index, script.parent / "wheels")
    monkeypatch.delenv("UV_FIND_LINKS")
    monkeypatch.delenv("UV_NO_INDEX")
    write_script(script, "beta", uv='find-links = ["wheels"]\nno-index = true')
    assert lock(script).warnings == ()
    assert str(index) not in beside(script).read_text()


def test_an_index_in_the_source_s_folder_can_be_named(
    script: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(index, script.parent / "wheels")
    monkeypatch.delenv("UV_FIND_LINKS")
    monkeypatch.delenv("UV_NO_INDEX")
    settings = (
        'index = [{ name = "own", url = "wheels", format = "flat", explicit = true }]\n'
        'sources.alpha.index = "own"'
    )
    write_script(script, "alpha<2", uv=settings)
    lock(script)
    text = beside(script).read_text()
    assert 'registry = "wheels"' in text
    assert 'path = "alpha-1.1-py3-none-any.whl"' in text
    for pin in Pin:
        assert installed(sync(script, pin=pin, rebuild=True).path) == {"alpha==1.1"}
    assert beside(script).read_text() == text


def test_a_lock_is_for_other_platforms_and_pythons(script: Path) -> None:
    write_script(
        script,
        "alpha<2 ; sys_platform == 'win32'",
        "gamma ; python_version < '3.10'",
        requires_python=">=3.9",
    )
    locked = lock(script)
    assert {"alpha", "gamma"} <= versions(locked).keys()
    assert installed(sync(script, pin=Pin.LOCKED).path) == set()


def test_the_lock_is_the_one_that_uv_makes(script: Path, tmp_path: Path) -> None:
    write_script(script, "beta", "alpha<2", requires_python=">=3.9")
    lock(script)
    ours = beside(script).read_bytes()
    beside(script).unlink()
    Context().uv().script("lock", script, python=Path(BASE))
    assert beside(script).read_bytes() == ours
    assert not list(tmp_path.glob("**/.scriptenv-*"))


# Credentials and the policy


def test_no_lock_holds_the_credentials_of_an_index(
    script: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(index, user=f"ada:{SECRET}") as web:
        use_web_index(web, monkeypatch, default=False)
        url = web.url(f"ada:{SECRET}")
        notebook = script.with_suffix(".ipynb")
        block = block_of("beta", uv=f'[[tool.uv.index]]\nurl = "{url}"\ndefault = true')
        write_notebook(notebook, commented(block))
        lock(notebook)
        lock(notebook, embed=True)
        assert "127.0.0.1" in embedded(notebook)
        assert SECRET not in embedded(notebook) + beside(notebook).read_text()
        assert installed(sync(notebook, pin=Pin.LOCKED).path) == {"alpha==2.0", "beta==1.0"}


def test_an_address_that_would_put_credentials_into_a_lock_is_refused(
    script: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(index, user=f"ada:{SECRET}") as web:
        use_web_index(web, monkeypatch, default=False)
        url = web.file("alpha-1.0-py3-none-any.whl", f"ada:{SECRET}")
        write_script(script, f"alpha @ {url}")
        with pytest.raises(BadBlock) as refused:
            lock(script)
    assert SECRET not in str(refused.value) + refused.value.hint
    assert {*script.parent.iterdir()} == {script}


def test_the_policy_holds_for_locks(script: Path) -> None:
    write_script(script, "beta")
    lock(script)
    write_policy('allowed-indexes = ["https://pypi.example/simple"]')
    for verb in (lock, check, sync):
        with pytest.raises(ScriptEnvError) as refused:
            verb(script)
        assert "policy" in str(refused.value)
    write_policy("exclude-newer = 2021-01-01T00:00:00Z")
    with pytest.raises(ScriptEnvError) as refused:
        sync(script, pin=Pin.FROZEN)
    assert "policy" in str(refused.value)


# The kernel in the environment


def test_a_locked_environment_whose_packages_break_the_layer_gets_a_kernel_and_keeps_the_lock(
    script: Path,
) -> None:
    folder = script.parent / "wheels"
    folder.mkdir()
    hollow = build.Distribution(name="ipykernel", version="6.29.5", requires=("traitlets",))
    (folder / hollow.wheel_name).write_bytes(build._wheel(hollow))
    write_script(script, "traitlets<5", uv='find-links = ["wheels"]')
    lock(script)
    for pin in (Pin.LOCKED, Pin.FROZEN, Pin.UPDATE):
        synced = sync(script, pin=pin)
        assert installed(synced.path) == {"traitlets==4.3.3", "ipykernel==6.29.5"}
        assert record_of(synced.path).kernel == "own"
    assert sync(script, pin=Pin.LOCKED).action is Action.KEPT


# The command line


def test_the_command_line_locks_checks_and_syncs(script: Path) -> None:
    write_script(script, "alpha<2")
    missing = call("lock", script, "--check", "--json")
    assert (missing.returncode, json.loads(missing.stdout)["error"]["code"]) == (1, "no-lock")
    assert {*script.parent.iterdir()} == {script}
    made = json.loads(call("lock", script, "--json").stdout)
    (warning,) = made.pop("warnings")
    assert "path of this machine" in warning
    assert made == {
        "schema": 1,
        "source": str(script),
        "lock": {"path": str(beside(script)), "embedded": False},
        "action": "created",
        "packages": [{"name": "alpha", "version": "1.1"}],
    }
    fine = call("lock", script, "--check")
    assert (fine.returncode, fine.stdout.splitlines()[0]) == (
        0,
        "The lock is up to date: 1 package",
    )
    write_script(script, "alpha")
    stale = call("lock", script, "--check")
    assert stale.returncode == 1
    assert "not for its block" in stale.stderr
    assert "jupyter scriptenv lock" in stale.stderr
    refused = json.loads(call("sync", script, "--locked", "--json").stdout)
    assert refused["error"]["code"] == "stale-lock"
    said = call("sync", script).stderr
    assert f"Brought the lock up to date: {beside(script)}" in said
    upgraded = call("sync", script, "--upgrade", "--json")
    assert json.loads(upgraded.stdout)["changes"] == [
        {"name": "alpha", "version": "2.0", "action": "installed"},
        {"name": "alpha", "version": "1.1", "action": "removed"},
    ]
    assert call("sync", script, "--locked").returncode == 0
    for words in (["--locked", "--frozen"], ["--frozen", "--upgrade"]):
        assert call("sync", script, *words).returncode == 2
