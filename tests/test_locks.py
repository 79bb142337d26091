"""The locks of an environment: one that changes it, and one for each kernel at home in it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ipy_scriptenv.errors import LockTimeout, PermissionRefused
from ipy_scriptenv.kernel_side import live
from ipy_scriptenv.locks import RunningKernel, became_ready, exclusive, is_held, running_kernels
from tests.kernels import wait_until
from tests.stage import exclusively_held, running_kernel

HOLDER = """
import sys
from pathlib import Path
from ipy_scriptenv.locks import exclusive
with exclusive(Path(sys.argv[1]), timeout=0):
    print("held", flush=True)
    sys.stdin.read()
"""

PARENT = """
import subprocess, sys
from pathlib import Path
from ipy_scriptenv.locks import exclusive
with exclusive(Path(sys.argv[1]), timeout=0) as held:
    reading = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    subprocess.Popen(reading, pass_fds=[held.descriptor])
    print("held", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def other_process_holds(lock: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, lock],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "name.lock"


def test_a_lock_is_held_inside_its_block_and_free_behind_it(lock: Path) -> None:
    assert not is_held(lock)
    with exclusive(lock, timeout=0):
        assert is_held(lock)
    assert not is_held(lock)
    with exclusive(lock, timeout=0):
        pass


def test_a_lock_is_free_after_an_error_inside_its_block(lock: Path) -> None:
    with pytest.raises(KeyError), exclusive(lock, timeout=0):
        raise KeyError
    assert not is_held(lock)


def test_asking_whether_a_lock_is_held_makes_no_file(lock: Path) -> None:
    assert not is_held(lock)
    assert not lock.exists()


def test_a_lock_of_another_process_is_not_waited_for_without_a_timeout(lock: Path) -> None:
    with (
        other_process_holds(lock),
        pytest.raises(LockTimeout) as refused,
        exclusive(lock, timeout=0),
    ):
        pass
    assert refused.value.code == "lock-timeout"
    assert "SCRIPTENV_LOCK_TIMEOUT" in refused.value.hint


def test_a_lock_excludes_other_threads_of_the_same_process(lock: Path) -> None:
    """`flock` belongs to an open file, not to a process, so two opens exclude each other."""
    with exclusive(lock, timeout=0), pytest.raises(LockTimeout), exclusive(lock, timeout=0):
        pass


def test_waiting_for_a_lock_is_told_once_before_it_times_out(lock: Path) -> None:
    told: list[str] = []
    with (
        exclusively_held(lock),
        pytest.raises(LockTimeout),
        exclusive(lock, timeout=1.2, on_wait=lambda: told.append("waiting")),
    ):
        pass
    assert told == ["waiting"]


def test_a_short_wait_for_a_lock_is_not_told(lock: Path) -> None:
    told: list[str] = []
    with (
        exclusively_held(lock),
        pytest.raises(LockTimeout),
        exclusive(lock, timeout=0.2, on_wait=lambda: told.append("waiting")),
    ):
        pass
    assert told == []


def test_a_waiter_gets_the_lock_when_its_holder_is_killed(lock: Path) -> None:
    got = threading.Event()

    def wait() -> None:
        with exclusive(lock, timeout=60):
            got.set()

    with other_process_holds(lock) as holder:
        waiter = threading.Thread(target=wait)
        waiter.start()
        assert not got.wait(0.2)
        os.kill(holder.pid, signal.SIGKILL)
        assert got.wait(60)
        waiter.join()


def test_a_child_that_inherited_the_lock_holds_it_on_where_its_parent_was_killed(
    lock: Path,
) -> None:
    """So a uv whose host was killed keeps others out until it has ended too."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdin is not None
        assert parent.stdout.readline() == b"held\n"
        parent.kill()
        parent.wait()
        assert is_held(lock)
        parent.stdin.close()
        wait_until(lambda: not is_held(lock), what="the end of the child")


def test_who_lets_go_of_the_lock_does_so_for_children_that_go_on(lock: Path) -> None:
    """A build may leave a server of a compiler behind."""
    with exclusive(lock, timeout=0) as held:
        child = subprocess.Popen(
            [sys.executable, "-c", "import sys; sys.stdin.read()"],
            stdin=subprocess.PIPE,
            pass_fds=[held.descriptor],
        )
    assert not is_held(lock)
    child.communicate()


def test_a_child_that_was_not_given_the_lock_does_not_hold_it(lock: Path) -> None:
    with exclusive(lock, timeout=0):
        child = subprocess.Popen(
            [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE
        )
    assert not is_held(lock)
    child.communicate()


def test_a_link_in_a_locks_place_is_refused(lock: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    lock.symlink_to(target)
    with pytest.raises(PermissionRefused), exclusive(lock, timeout=0):
        pass
    assert not target.exists()


def test_a_link_to_a_file_in_a_locks_place_is_refused_and_the_file_left_alone(
    lock: Path, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    target.write_text("mine")
    lock.symlink_to(target)
    with pytest.raises(PermissionRefused), exclusive(lock, timeout=0):
        pass
    with pytest.raises(PermissionRefused):
        is_held(lock)
    assert target.read_text() == "mine"


def test_a_lock_file_is_its_users_alone(lock: Path) -> None:
    with exclusive(lock, timeout=0):
        assert lock.stat().st_mode & 0o777 == 0o600


def test_kernels_are_listed_with_what_they_told(tmp_path: Path) -> None:
    with running_kernel(tmp_path, "name", imported=["a.py"], kernel="layer-1") as uuid:
        found = running_kernels(tmp_path / "locks" / "name.kernels")
    assert found == [
        RunningKernel(uuid=uuid, pid=os.getpid(), kernel="layer-1", imported=frozenset({"a.py"}))
    ]


def test_no_kernels_run_where_there_is_no_folder(tmp_path: Path) -> None:
    assert running_kernels(tmp_path / "name.kernels") == []


def test_files_of_dead_kernels_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ipy_scriptenv.locks._REMEMBERED", -1.0)
    with running_kernel(tmp_path, "name") as uuid:
        folder = tmp_path / "locks" / "name.kernels"
        (folder / "dead").write_text(json.dumps({"pid": 1}))
        assert [kernel.uuid for kernel in running_kernels(folder)] == [uuid]
        assert [path.name for path in folder.iterdir()] == [uuid]
    os.utime(folder / uuid, (2, 2))
    os.utime(folder, (1, 1))
    assert running_kernels(folder) == []
    assert [*folder.iterdir()] == []
    assert folder.stat().st_mtime == 2, "when it last told something: to look is not to use"


def test_the_file_of_a_kernel_that_died_just_now_still_tells_whether_it_was_ready(
    tmp_path: Path,
) -> None:
    (tmp_path / "dead").write_text(json.dumps({"pid": 7, "ready": True}))
    assert running_kernels(tmp_path) == []
    assert became_ready(tmp_path, 7)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"imported": ["a.p', "\xff"])
def test_a_kernel_that_told_nothing_readable_is_at_home_and_may_have_imported_anything(
    tmp_path: Path, text: str
) -> None:
    with running_kernel(tmp_path, "name") as uuid:
        folder = tmp_path / "locks" / "name.kernels"
        (folder / uuid).write_bytes(text.encode("latin-1"))
        assert running_kernels(folder) == [RunningKernel(uuid=uuid, pid=0, kernel="", busy=True)]


def test_the_lock_that_a_kernel_takes_is_the_one_that_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename, told = os.rename, []

    def look_and_rename(old: str, new: str) -> None:
        told.append(json.loads(Path(old).read_text())["imported"])
        rename(old, new)

    monkeypatch.setattr(os, "rename", look_and_rename)
    taken = live.hold("/somewhere/environments-v1/name", str(tmp_path), "layer-1")
    assert taken is not None
    assert told == [[]], "it has something to tell from the beginning"
    taken.tell(["a.py"])
    folder = tmp_path / "locks" / "name.kernels"
    assert running_kernels(folder) == [
        RunningKernel(
            uuid=taken.uuid,
            pid=os.getpid(),
            kernel="layer-1",
            side="kernel_side",
            imported=frozenset({"a.py"}),
        )
    ]
    os.close(taken.descriptor)
    assert running_kernels(folder) == []
