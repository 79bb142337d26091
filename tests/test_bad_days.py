"""Bad days: no space, no permission, a wrong clock, a home that goes away.

Each time there is a clear error, what stood still stands, and once the cause is gone everything
goes on as if nothing had happened.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ipy_scriptenv import environments
from ipy_scriptenv.environments import EPHEMERAL, Context, Kept
from ipy_scriptenv.errors import NoSpace, PermissionRefused
from ipy_scriptenv.kernels.layer import damaged_packages
from ipy_scriptenv.layout import CHANGING, RECORD
from tests.conftest import Home, Layers
from tests.index.build import hash_locked
from tests.kernels import block, kernelspec_of, launched, opened, prefix
from tests.stage import (
    ALPHA,
    WANTED,
    assert_whole,
    assert_works,
    call,
    environment_of,
    installed,
    listing,
    record_of,
    running_kernel,
    site_of,
    start,
    state_of,
    sync,
    write_script,
)

Verb = Callable[..., Any]

VERBS = pytest.mark.parametrize("verb", [start, sync])
PAGE = 4096
SPACES = (0, 1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
"""How much is left on the disk, in pages or in files: from nothing to more than enough."""


# A disk of its own for the home.


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """A small file system that holds the home alone.

    :param place: where it is mounted
    :param unit: what can be used up: ``pages`` of data, or ``files``
    """

    place: Path
    unit: str
    size = 16 * 2**20
    files = 1000

    @property
    def home(self) -> Path:
        return self.place / "scriptenv"

    @property
    def _fillers(self) -> Path:
        return self.place / "fillers"

    def leave(self, number: int) -> None:
        """Use up all but *number* pages or files."""
        self.free()
        self._fillers.mkdir()
        found = os.statvfs(self.place)
        if self.unit == "files":
            for each in range(found.f_ffree - number):
                (self._fillers / str(each)).touch()
            return
        with (self._fillers / "pages").open("wb") as file:
            if (found.f_bavail - number) > 0:
                os.posix_fallocate(file.fileno(), 0, (found.f_bavail - number) * PAGE)

    def free(self) -> None:
        """Give back what :meth:`leave` used up."""
        if self._fillers.exists():
            shutil.rmtree(self._fillers)

    def mount(self, *options: str) -> None:
        told = ",".join([f"size={self.size}", f"nr_inodes={self.files}", "mode=700", *options])
        program = shutil.which("mount") or "mount"
        command = [program, "-t", "tmpfs", "-o", told, "tmpfs", str(self.place)]
        subprocess.run(command, check=True, capture_output=True)

    def unmount(self) -> None:
        program = shutil.which("umount") or "umount"
        subprocess.run([program, "--lazy", self.place], check=True)


@pytest.fixture(params=["pages", "files"])
def disk(
    *,
    home: Home,
    layers: Layers,
    offline: Path,  # noqa: ARG001 - it sets the stage
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Iterator[Disk]:
    """Put a home with the layer on a disk of its own; skip where none can be mounted."""
    layers.link(home)
    disk = Disk(place=tmp_path / "disk", unit=request.param)
    disk.place.mkdir()
    try:
        disk.mount()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no file system can be mounted here")
    try:
        shutil.copytree(home.scriptenv, disk.home, symlinks=True)
        monkeypatch.setenv("SCRIPTENV_HOME", str(disk.home))
        yield disk
    finally:
        disk.unmount()


pages_alone = pytest.mark.parametrize("disk", ["pages"], indirect=True)


# No space.


@VERBS
def test_without_space_no_environment_is_made_and_nothing_is_left(
    disk: Disk, script: Path, verb: Verb
) -> None:
    write_script(script, "beta")
    refused = 0
    for space in SPACES:
        disk.leave(space)
        try:
            verb(script)
        except NoSpace:
            refused += 1
            assert not environment_of(script).exists(), space
            assert [*(disk.home / "building-v1").iterdir()] == [], space
        else:
            break
    assert refused > 2
    assert_works(environment_of(script), set() if verb is start else WANTED)


def test_without_space_a_sync_leaves_the_environment_as_it_is(disk: Disk, script: Path) -> None:
    environment = sync(write_script(script, "alpha<2")).path
    before = listing(environment)
    write_script(script, "beta", "many-files")
    refused = 0
    for space in SPACES:
        disk.leave(space)
        try:
            sync(script)
        except NoSpace:
            refused += 1
            assert listing(environment) == before, space
            assert state_of(script) == "stale"
            assert [*environment.parent.iterdir()] == [environment], space
        else:
            break
    disk.free()
    assert refused > 2
    assert sync(script).action in {"kept", "updated"}
    assert_works(environment, {*WANTED, "many-files==1.0"})


def test_without_space_a_running_kernel_keeps_what_it_has_imported(
    disk: Disk, script: Path
) -> None:
    environment = sync(write_script(script, "alpha<2")).path
    write_script(script, "alpha<2", "many-files")
    refused = 0
    with running_kernel(disk.home, environment.name, imported=[ALPHA]):
        for space in SPACES:
            disk.leave(space)
            try:
                sync(script)
            except NoSpace:
                refused += 1
                assert (site_of(environment) / ALPHA).stat().st_size, space
                assert state_of(script) in {"stale", "broken"}
            else:
                break
        disk.free()
        sync(script)
    assert refused > 2
    assert_whole(environment)
    assert_works(environment, {"alpha==1.1", "many-files==1.0"})


@pages_alone
def test_without_space_a_kernel_that_needs_nothing_new_starts_all_the_same(
    disk: Disk, script: Path
) -> None:
    environment = sync(write_script(script, "beta")).path
    before = listing(environment)
    disk.leave(0)
    assert start(script).path == environment
    assert listing(environment) == before
    with pytest.raises(NoSpace):
        sync(script)
    assert listing(environment) == before
    assert state_of(script) == "in-sync"


def is_whole_layer(layer: Path) -> bool:
    return (layer / "layer.json").exists() and damaged_packages(layer / "site-packages") == ()


def test_without_space_no_part_of_a_kernel_layer_is_left(
    disk: Disk, script: Path, tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (listed,) = index.glob("many_files-*.whl")
    chosen = tmp_path / "layer.txt"
    chosen.write_text(hash_locked(listed))
    monkeypatch.setenv("SCRIPTENV_LAYER_LOCK", str(chosen))
    write_script(script, "beta")
    before = {*(disk.home / "kernels-v1").iterdir()}
    refused = 0
    for space in (*SPACES, 512, 1024):
        disk.leave(space)
        try:
            start(script, wait=100)
        except NoSpace:
            refused += 1
            # The space may have been used up by what follows a whole layer.
            made = {*(disk.home / "kernels-v1").iterdir()} - before
            assert all(is_whole_layer(layer) for layer in made), space
            assert not environment_of(script).exists(), space
        else:
            break
    disk.free()
    assert refused > 2
    (layer,) = {*(disk.home / "kernels-v1").iterdir()} - before
    assert is_whole_layer(layer)
    assert_works(start(script).path, set())


@pages_alone
def test_without_space_the_command_line_tells_it(disk: Disk, script: Path) -> None:
    disk.leave(0)
    done = call("sync", write_script(script, "beta"), "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"]["code"] == "no-space"
    assert done.stderr == ""


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT], ids=["no space", "quota"])
@pytest.mark.usefixtures("lean_home")
def test_a_record_that_cannot_be_written_leaves_the_one_before(
    script: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The very last write of a sync, where everything else had room."""
    environment = sync(write_script(script, "alpha<2")).path
    before = listing(environment)
    replace = Path.replace

    def refuse(path: Path, target: Path) -> Path:
        if target.name == RECORD:
            raise OSError(number, os.strerror(number), str(target))
        return replace(path, target)

    write_script(script, "beta")
    with monkeypatch.context() as full:
        full.setattr(Path, "replace", refuse)
        with pytest.raises(NoSpace) as refused:
            sync(script)
    assert RECORD in str(refused.value)
    assert listing(environment) == before
    sync(script)
    assert_works(environment, WANTED)


@pytest.mark.parametrize("largest", [0, 300, PAGE])
@pytest.mark.usefixtures("lean_home")
def test_files_that_may_not_grow_leave_everything_as_it_is(script: Path, largest: int) -> None:
    """A limit on the size of files hits this package's own writes and those of uv."""
    environment = sync(write_script(script, "alpha<2")).path
    before = listing(environment)
    write_script(script, "beta", "many-files")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))

    done = call("sync", script, "--json", preexec_fn=limit)
    assert done.returncode == 1, done.stdout
    error = json.loads(done.stdout)["error"]
    assert "unforeseen" not in error["message"]
    assert error["message"]
    assert listing(environment) == before
    sync(script)
    assert_works(environment, {*WANTED, "many-files==1.0"})


# No permission.


def without_privileges() -> None:
    """Have modes of files count for root too, in the program that is started next."""
    if os.getuid() == 0:
        drop_from_bounding_set, override, read_search = 24, 1, 2
        library = ctypes.CDLL(None)
        for capability in (override, read_search):
            library.prctl(drop_from_bounding_set, capability, 0, 0, 0)


@pages_alone
@pytest.mark.parametrize(
    "words",
    [["sync", "{}"], ["rebuild", "{}"], ["delete", "{}", "--yes"], ["prune", "--all", "--yes"]],
    ids=lambda words: words[0],
)
def test_a_read_only_home_is_told_and_left_alone(
    disk: Disk, script: Path, words: list[str]
) -> None:
    environment = sync(write_script(script, "alpha<2")).path
    before = listing(disk.home)
    write_script(script, "beta")
    disk.mount("remount", "ro")
    done = call(*(word.format(script) for word in words), "--json")
    if words[0] != "prune":
        assert done.returncode == 1
        assert json.loads(done.stdout)["error"]["code"] == "permission"
    assert "Traceback" not in done.stderr
    assert environment.exists()
    assert listing(disk.home) == before


@pages_alone
@pytest.mark.parametrize(
    "words", [["find", "{}"], ["status", "{}"], ["list"]], ids=lambda words: words[0]
)
def test_what_only_looks_works_in_a_read_only_home(
    disk: Disk, script: Path, words: list[str]
) -> None:
    name = sync(write_script(script, "alpha<2")).name
    with running_kernel(disk.home, name):
        pass
    disk.mount("remount", "ro")
    done = call(*(word.format(script) for word in words), "--json")
    assert done.returncode == 0, done.stdout


@pages_alone
def test_a_start_in_a_read_only_home_is_told(disk: Disk, script: Path) -> None:
    before = listing(sync(write_script(script, "alpha<2")).path)
    disk.mount("remount", "ro")
    with pytest.raises(PermissionRefused) as refused:
        start(script)
    assert refused.value.hint
    assert listing(environment_of(script)) == before


CLOSED = {
    "the home": "",
    "environments": "environments-v1",
    "locks": "locks",
    "builds": "building-v1",
    "what uv reads": "work-v1",
    "the environment": "environments-v1/{name}",
    "its lock": "locks/{name}.lock",
}


@pytest.mark.parametrize("mode", [0o500, 0o000], ids=["read-only", "closed"])
@pytest.mark.parametrize("place", CLOSED.values(), ids=CLOSED)
def test_without_permission_the_environment_stays_as_it_is(
    lean_home: Home, script: Path, place: str, mode: int
) -> None:
    synced = sync(write_script(script, "alpha<2"))
    before = listing(synced.path)
    write_script(script, "beta")
    closed = lean_home.scriptenv / place.format(name=synced.name)
    old = closed.stat().st_mode
    closed.chmod(mode)
    try:
        done = call("sync", script, "--json", preexec_fn=without_privileges)
        listed = call("list", "--json", preexec_fn=without_privileges)
    finally:
        closed.chmod(old)
    assert "Traceback" not in done.stderr + listed.stderr
    if done.returncode:
        assert json.loads(done.stdout)["error"]["code"] == "permission"
        assert str(lean_home.scriptenv) in done.stdout
        assert listing(synced.path) == before
    else:
        # What stands in these is enough: nothing new need be made in them.
        assert place in {"", "locks"}
        assert mode == 0o500
    assert listed.returncode in {0, 1}
    sync(script)
    assert_works(synced.path, WANTED)


# The clock.


def carry_into_the_future(home: Path) -> None:
    """Set the times of everything to a hundred years from now, as a wrong clock had written it."""
    then = 4_900_000_000
    for path in [home, *home.rglob("*")]:
        if not path.is_symlink():
            os.utime(path, (then, then))
    for record in home.glob("environments-v1/*/scriptenv.json"):
        data = json.loads(record.read_text())
        times = {"created": "2125-04-10T01:46:40Z", "last_used": "2125-04-10T01:46:40Z"}
        record.write_text(json.dumps(data | times))
        os.utime(record, (then, then))


@VERBS
def test_a_clock_that_was_set_back_changes_nothing(
    lean_home: Home, script: Path, verb: Verb
) -> None:
    environment = sync(write_script(script, "beta")).path
    before = environment.stat().st_ino
    carry_into_the_future(lean_home.scriptenv)
    assert state_of(script) == "in-sync"
    verb(script)
    assert environment.stat().st_ino == before
    assert record_of(environment).last_used < "2100"
    write_script(script, "nspkg-one")
    sync(script)
    assert installed(environment) == {"nspkg-one==1.0"}


def test_a_file_from_the_future_is_read_again_when_it_is_saved(
    lean_home: Home,  # noqa: ARG001 - it sets the stage
    script: Path,
) -> None:
    """Any other time than the recorded one is a change, an earlier one too."""
    write_script(script, "beta")
    os.utime(script, (4_900_000_000, 4_900_000_000))
    environment = sync(script).path
    assert state_of(script) == "in-sync"
    write_script(script, "nspkg-one")
    os.utime(script, (1_000_000_000, 1_000_000_000))
    assert state_of(script) == "stale"
    start(script)
    sync(script)
    assert installed(environment) == {"nspkg-one==1.0"}


def test_what_comes_from_the_future_is_pruned_only_for_other_reasons(
    lean_home: Home, script: Path, tmp_path: Path
) -> None:
    kept = sync(write_script(script, "beta")).path
    gone = sync(write_script(tmp_path / "gone.py", "alpha<2")).path
    (tmp_path / "gone.py").unlink()
    with running_kernel(lean_home.scriptenv, kept.name):
        pass
    carry_into_the_future(lean_home.scriptenv)
    context = Context()
    items = environments.prunable(Kept(unused_for=timedelta(days=30)), context=context)
    environments.prune(items, context=context)
    assert (kept.exists(), gone.exists()) == (True, False)
    listed = environments.list_environments(context=context)
    assert [(each.name, each.state, each.in_use) for each in listed] == [
        (kept.name, "in-sync", False)
    ]
    environments.delete(environments.locate(script), context=context)
    assert not kept.exists()


def test_an_ephemeral_environment_from_the_future_is_swept_one_day(lean_home: Home) -> None:
    """Its time never comes otherwise."""
    abandoned = environments.start(EPHEMERAL, context=Context()).path
    carry_into_the_future(lean_home.scriptenv)
    environments.prune(environments.prunable(Kept(), context=Context()), context=Context())
    assert not abandoned.exists()


# The home goes away.


def test_a_kernel_whose_home_is_removed_lives_on_and_a_restart_makes_all_anew(
    offline_home: Home, layers: Layers, path: Path, tmp_path: Path
) -> None:
    def remove_home() -> None:
        offline_home.scriptenv.rename(tmp_path / "removed")
        shutil.rmtree(tmp_path / "removed")

    with opened(offline_home, path) as kernel:
        remove_home()
        for code in (block("alpha==1.0"), "%scriptenv status", "%%scriptenv\n1"):
            told = kernel.execute(code)
            assert told.ename == "NoEnvironment", "by what this kernel has loaded"
            assert "Restart the kernel" in told.traceback
        layers.link(offline_home)
        kernel.restart()
        assert kernel.execute("import alpha\nalpha.__version__").result == "'1.0'"
        remove_home()
        assert kernel.execute("kept = alpha.__version__\nkept").result == "'1.0'"
        told = kernel.execute(block("alpha==1.0", "nspkg-one"))
        assert told.ename == "NoEnvironment"
        assert "Restart the kernel" in told.traceback
        layers.link(offline_home)
        done = kernel.execute(block("alpha==1.0", "nspkg-one") + "import nspkg.one")
        assert done.status == "ok" or (done.ename and "Traceback" not in done.traceback)
        assert "Traceback" not in kernel.execute("%scriptenv status").traceback
        assert kernel.is_alive
        kernel.restart()
        assert prefix(kernel) == environment_of(path)
        assert kernel.execute("import alpha\nalpha.__version__").result == "'1.0'"


def test_a_kernelspec_whose_environment_is_gone_is_mended_by_the_next_start(
    offline_home: Home, path: Path
) -> None:
    """By its own argv it could not start; whatever asks our provisioner makes it anew."""
    with opened(offline_home, path) as kernel:
        assert kernel.execute("import alpha").status == "ok"
    shutil.rmtree(environment_of(path))
    with pytest.raises(OSError), launched(kernelspec_of(path)):  # noqa: PT011 - the system's own
        pass
    assert not (environment_of(path) / CHANGING).exists()
    with opened(offline_home, path):
        pass
    with launched(kernelspec_of(path), cwd=path.parent) as kernel:
        assert kernel.execute("import alpha\nalpha.__version__").result == "'1.0'"
