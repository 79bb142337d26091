"""A sync that fails changes nothing, and one that is cut short leaves nothing half changed."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from ipy_scriptenv import environments
from ipy_scriptenv.environments import Context
from ipy_scriptenv.errors import Interrupted, LockTimeout, Offline, ResolutionFailed, ScriptEnvError
from ipy_scriptenv.layout import CHANGING
from ipy_scriptenv.locks import is_held
from ipy_scriptenv.processes import Cancel
from ipy_scriptenv.uv import Event
from ipy_scriptenv.uv_output import failure
from tests.conftest import Home
from tests.stage import (
    PROGRAM,
    asker,
    assert_whole,
    block_of,
    exclusively_held,
    installed,
    listing,
    running_kernel,
    state_of,
    sync,
    write_project,
    write_script,
)

pytestmark = pytest.mark.usefixtures("lean_home")

FAILURES = pytest.mark.parametrize(
    ("dependencies", "error"),
    [
        (("conflict-a", "conflict-b"), ResolutionFailed),
        (("alpha>=3",), ResolutionFailed),
        (("needs-newer-python",), ResolutionFailed),
        (("no-such-package",), Offline),
        (("alpha @ file:///no/such/alpha-1.0-py3-none-any.whl",), ScriptEnvError),
    ],
)


@FAILURES
def test_a_failed_resolution_keeps_the_environment(
    home: Home, script: Path, dependencies: tuple[str, ...], error: type[ScriptEnvError]
) -> None:
    first = sync(write_script(script, "beta"))
    before = listing(first.path)
    write_script(script, *dependencies)
    for home_of_a_kernel in (first.name, "another"):
        with (
            running_kernel(home.scriptenv, home_of_a_kernel),
            pytest.raises(error) as refused,
        ):
            sync(script)
        assert refused.value.problems
        assert refused.value.hint
        assert "cell" not in refused.value.hint
        assert listing(first.path) == before
        assert not (first.path / CHANGING).exists()
        assert [*first.path.parent.iterdir()] == [first.path]
    assert state_of(script) == "stale"


def test_a_swap_that_fails_leaves_what_stood(script: Path) -> None:
    environment, store = sync(write_script(script, "alpha")), Context().store
    with pytest.raises(OSError, match="No such file"):
        store.place(store.new_build(environment.name), environment.path)
    assert state_of(script) == "in-sync"


@FAILURES
def test_a_failed_resolution_leaves_no_environment_where_none_was(
    script: Path, dependencies: tuple[str, ...], error: type[ScriptEnvError]
) -> None:
    with pytest.raises(error):
        sync(write_script(script, *dependencies))
    assert state_of(script) == "missing"
    assert [*Context().store.environments.iterdir()] == []


def test_a_failed_resolution_says_why_in_uvs_words(script: Path) -> None:
    with pytest.raises(ResolutionFailed) as refused:
        sync(write_script(script, "conflict-a", "conflict-b"))
    (problem,) = refused.value.problems
    assert "conflict-b depend on alpha>=2" in problem.message
    assert "Resolved" not in problem.message


@pytest.mark.parametrize(
    ("code", "words", "expected"),
    [
        (1, "error: No solution found when resolving dependencies", "resolution-failed"),
        (
            1,
            "error: Failed to build `x`\n  cause: The build backend returned an error",
            "install-failed",
        ),
        (
            1,
            "error: Failed to download `x==1`\n  cause: Hash mismatch for `x==1`",
            "install-failed",
        ),
        (
            1,
            "error: Failed to read `x`\n  cause: Failed to extract archive: /x.whl",
            "install-failed",
        ),
        (2, "error: Failed to fetch: http://x/\n  cause: error sending request for url", "offline"),
        (2, "error: Failed to fetch: http://x/\n  cause: operation timed out", "offline"),
        (
            2,
            "error: Failed to install: x\n  cause: No space left on device (os error 28)",
            "no-space",
        ),
        (2, "error: failed to open file `/x`: Permission denied (os error 13)", "permission"),
        (2, "error: failed to write to `/x`: Read-only file system (os error 30)", "permission"),
        (-9, "", "install-failed"),
        (2, "error: what nobody has foreseen", "engine"),
    ],
)
def test_the_words_of_uv_lead_to_a_code(code: int, words: str, expected: str) -> None:
    error = failure(code, f"Resolved 1 package in 3ms\n{words}\n")
    assert error.code == expected
    assert [problem.message for problem in error.problems] == ([words] if words else [])


def test_credentials_in_the_words_of_uv_are_not_handed_on() -> None:
    words = "error: Failed to fetch: https://ada:secret@localhost/simple/x/"
    assert "secret" not in json.dumps(failure(2, words).to_json())


def test_credentials_are_not_shown_in_a_failure(script: Path) -> None:
    write_script(script, "alpha @ https://ada:secret@localhost:1/alpha-1.0-py3-none-any.whl")
    with pytest.raises(ScriptEnvError) as refused:
        sync(script)
    assert "secret" not in json.dumps(refused.value.to_json())


def test_a_mended_block_is_synced_after_a_failure(script: Path) -> None:
    with pytest.raises(ResolutionFailed):
        sync(write_script(script, "alpha>=3"))
    assert installed(sync(write_script(script, "alpha<2")).path) == {"alpha==1.1"}


@pytest.mark.parametrize("running", [False, True])
def test_an_installation_that_fails_leaves_a_whole_environment_after_the_next_sync(
    home: Home, script: Path, *, running: bool
) -> None:
    """The wheel's metadata are read from its end; its content is cut out of the middle."""
    good = sync(write_script(script, "alpha<2"))
    wheel = script.parent / "many_files-1.0-py3-none-any.whl"
    data = bytearray((Path(os.environ["UV_FIND_LINKS"]) / wheel.name).read_bytes())
    data[2000:6000] = bytes(4000)
    wheel.write_bytes(data)
    write_script(script, f"many-files @ ./{wheel.name}")
    with (
        running_kernel(home.scriptenv, good.name if running else "another"),
        pytest.raises(ScriptEnvError),
    ):
        sync(script)
    assert installed(sync(write_script(script, "beta")).path) == {"alpha==2.0", "beta==1.0"}
    assert_whole(good.path)


@FAILURES
def test_a_failed_resolution_leaves_no_mark_under_a_kernel_that_has_run_no_cell(
    *, home: Home, script: Path, dependencies: tuple[str, ...], error: type[ScriptEnvError]
) -> None:
    """Nothing is tried out before for such a kernel: the change itself fails."""
    first = sync(write_script(script, "alpha<2"))
    before = listing(first.path)
    block = block_of(*dependencies)
    with running_kernel(home.scriptenv, first.name) as uuid, pytest.raises(error):
        sync(script, block=block, given=True, asker=asker(first, uuid, fresh=True))
    assert listing(first.path) == before


@pytest.mark.parametrize("running", [False, True])
def test_a_sync_that_is_cancelled_leaves_a_whole_environment_after_the_next(
    home: Home, script: Path, *, running: bool
) -> None:
    good = sync(write_script(script, "alpha<2"))
    cancel = Cancel()

    def cut_short(event: Event) -> None:
        if event["event"] == "resolving":
            cancel.set()

    write_script(script, "pile")
    context = Context(on_event=cut_short, cancel=cancel)
    with (
        running_kernel(home.scriptenv, good.name if running else "another"),
        pytest.raises(Interrupted),
    ):
        environments.sync(environments.locate(script), context=context)
    sync(script)
    assert len(installed(good.path)) == 25
    assert_whole(good.path)


def test_a_sync_waits_for_the_lock_and_tells_when_it_gives_up(
    home: Home, script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = sync(write_script(script, "beta"))
    monkeypatch.setenv("SCRIPTENV_LOCK_TIMEOUT", "0.1")
    lock = home.scriptenv / "locks" / f"{synced.name}.lock"
    with exclusively_held(lock), pytest.raises(LockTimeout):
        sync(script)
    assert sync(script).action == "kept"


def test_uv_keeps_the_lock_when_its_host_is_killed(script: Path, tmp_path: Path) -> None:
    """So nobody changes what it is still at work on: a build that waits at a pipe."""
    project = write_project(script.parent / "project")
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    backend = project / "backend.py"
    wait = f"import os\nif os.path.exists({str(gate)!r}): open({str(gate)!r}).read()\n"
    backend.write_text(wait + backend.read_text())
    write_script(script, "local", uv='sources = { local = { path = "project" } }')
    host = subprocess.Popen(
        [*PROGRAM, "sync", str(script)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    name = environments.name_of(environments.locate(script))
    environment, lock = Context().store.environment(name), Context().store.lock(name)
    with gate.open("w"):  # it opens when the build begins
        gate.unlink()
        host.kill()
        host.wait()
        assert is_held(lock)
    assert sync(script).action == "created"
    assert installed(environment) == {"local==1.0"}
