"""`doctor` on the home and all around it, and what it never touches."""

from __future__ import annotations

import errno
import shutil
from collections import namedtuple
from collections.abc import Callable
from importlib.metadata import EntryPoints
from pathlib import Path
from typing import Any, NoReturn

import pytest

from ipy_scriptenv import environments, locks
from ipy_scriptenv.environments import Context, doctor
from ipy_scriptenv.errors import EngineFailed, Foreign
from ipy_scriptenv.layout import RECORD
from ipy_scriptenv.store import Store
from tests.conftest import Home
from tests.examining import codes, examined, mended, why_not
from tests.lifecycle import command
from tests.policies import write_policy
from tests.stage import (
    WANTED,
    assert_works,
    environment_of,
    exclusively_held,
    listing,
    running_kernel,
    site_of,
    start,
    sync,
    write_script,
)

pytestmark = pytest.mark.usefixtures("bare_home")

FOLDERS = [
    "environments-v1",
    "building-v1",
    "kernels-v1",
    "kernel-side-v1",
    "locks",
    "work-v1",
]


@pytest.fixture
def script(script: Path) -> Path:
    return write_script(script, "beta")


# What stands at the path of an environment and is not ours.


def as_file(path: Path) -> None:
    path.write_text("mine")


def as_folder(path: Path) -> None:
    path.mkdir()
    (path / "thesis.txt").write_text("mine")


def as_link(path: Path) -> None:
    target = path.parents[2] / "elsewhere"
    target.mkdir()
    (target / RECORD).write_text("{}")
    path.symlink_to(target)


def as_dangling_link(path: Path) -> None:
    path.symlink_to("/nonexistent")


@pytest.mark.parametrize("stand", [as_file, as_folder, as_link, as_dangling_link])
def test_what_is_not_ours_at_an_environments_path_is_told_and_never_touched(
    home: Home, script: Path, stand: Callable[[Path], None]
) -> None:
    environment = sync(script).path
    shutil.rmtree(environment)
    stand(environment)
    before = listing(environment.parent)
    elsewhere = listing(home.path / "elsewhere")
    found = [finding for finding in examined() if finding.path == environment]
    assert [finding.code for finding in found] == ["foreign-entry"]
    for finding in examined():
        why_not(finding)
    assert command("doctor", "--fix").code == 1
    assert listing(environment.parent) == before
    assert listing(home.path / "elsewhere") == elsewhere


def test_what_has_no_environments_name_is_told_and_never_touched(home: Home) -> None:
    folder = home.scriptenv / "environments-v1"
    (folder / "my project").mkdir()
    (folder / "my project" / RECORD).write_text("{}")
    (folder / "note.txt").write_text("mine")
    before = listing(folder)
    found = examined()
    assert [finding.code for finding in found] == ["foreign-entry"] * 2
    for finding in found:
        assert "Move it away" in str(why_not(finding))
    assert listing(folder) == before


def test_kernelspecs_of_others_are_never_touched(home: Home, script: Path) -> None:
    """Also those that have a name like ours, or a broken file."""
    sync(script)
    for name in ("python3", f"scriptenv-a-{'0' * 16}", f"scriptenv-b-{'0' * 16}", "scriptenv-x"):
        folder = home.kernelspecs / name
        folder.mkdir(parents=True)
        (folder / "kernel.json").write_text('{"argv": ["python"]}' if "b-" not in name else "{")
    before = listing(home.kernelspecs)
    assert examined() == []
    assert command("doctor", "--fix").code == 0
    assert listing(home.kernelspecs) == before


# What nobody needs any more.


def test_an_environment_whose_source_is_gone_is_told_and_left_to_a_person(script: Path) -> None:
    """The file may have been renamed, or its disk is not there just now."""
    environment = sync(script).path
    script.unlink()
    (finding,) = examined()
    assert finding.code == "orphan"
    assert "prune" in finding.hint
    assert "move OLD NEW" in finding.hint
    before = listing(environment)
    assert why_not(finding)
    assert command("doctor", "--fix").code == 1
    assert listing(environment) == before


def test_a_kernelspec_that_starts_nothing_is_told_and_removed(home: Home, script: Path) -> None:
    synced = sync(script)
    shutil.rmtree(synced.path)
    (finding,) = examined()
    assert finding.code == "dead-kernelspec"
    assert str(synced.kernelspec) in finding.message
    mended()
    assert not (home.kernelspecs / str(synced.kernelspec)).exists()


def test_what_crashes_left_is_told_and_removed(home: Home, script: Path) -> None:
    environment = sync(script).path
    name = environment.name
    left = [
        home.scriptenv / "building-v1" / f".building-{name}-01234567",
        home.scriptenv / "building-v1" / f".replaced-{name}-01234567",
        home.scriptenv / "building-v1" / ".removed-0123456789abcdef",
        home.scriptenv / "kernels-v1" / ".building-cpython-311-x-01234567",
        home.scriptenv / "kernel-side-v1" / ".building-kernel-side-01234567",
    ]
    for folder in left:
        folder.mkdir()
        (folder / "file").write_text("left")
    staged = home.scriptenv / "work-v1" / f"{name}.py"
    staged.write_text("left")
    found = examined()
    assert {finding.code for finding in found} == {"leftover"}
    assert {finding.path for finding in found} == {*left, staged}
    mended()
    assert not any(path.exists() for path in (*left, staged))
    assert_works(environment, WANTED)


def test_an_environment_that_a_kill_took_its_name_keeps_its_kernelspec(
    home: Home, script: Path
) -> None:
    synced = sync(script)
    swapped = home.scriptenv / "building-v1" / f".replaced-{synced.name}-01234567"
    synced.path.rename(swapped)
    assert "leftover" in {finding.code for finding in examined()}
    mended()
    assert not swapped.exists()
    assert (home.kernelspecs / str(synced.kernelspec)).is_dir()
    assert_works(synced.path, WANTED)


def test_what_somebody_is_building_is_no_leftover(home: Home, script: Path) -> None:
    name = sync(script).name
    build = home.scriptenv / "building-v1" / f".building-{name}-01234567"
    build.mkdir()
    with exclusively_held(home.scriptenv / "locks" / f"{name}.lock"):
        assert examined() == []
    assert codes() == ["leftover"]


def test_a_move_that_waited_for_a_kernel_is_finished(home: Home, script: Path) -> None:
    environment = sync(script).path
    new = script.with_name("new.py")
    script.rename(new)
    with running_kernel(home.scriptenv, environment.name):
        moved = environments.move(
            environments.locate_or_gone(script), environments.locate(new), context=Context()
        )
        assert moved.waiting
        (finding,) = examined()
        assert finding.code == "unfinished-move"
        assert why_not(finding)
        assert environment.exists()
    mended()
    assert not environment.exists()
    assert_works(environment_of(new), WANTED)


# What is in use.


@pytest.mark.parametrize("damage", ["no-record", "damaged-packages"])
def test_what_a_kernel_runs_in_is_not_removed_or_swapped(
    home: Home, script: Path, damage: str
) -> None:
    environment = sync(script).path
    if damage == "no-record":
        (environment / RECORD).unlink()
        script.unlink()
    else:
        (site_of(environment) / "alpha" / "__init__.py").unlink()
    before = listing(environment)
    with running_kernel(home.scriptenv, environment.name):
        (finding,) = examined()
        assert finding.code == damage
        assert str(why_not(finding)).count("kernel")
        said = command("doctor", "--fix", "--json")
        assert said.code == 1
        (told,) = said.json["findings"]
        assert told["can_be_mended"]
        assert not told["mended"]
        assert told["hint"]
        assert listing(environment) == before
    mended()


def test_an_environment_in_which_a_kernel_is_being_started_is_not_removed(script: Path) -> None:
    environment = start(script).path
    (environment / RECORD).unlink()
    script.unlink()
    (finding,) = examined()
    assert finding.cure is not None
    assert why_not(finding)
    assert environment.exists()


# The folders of the home.


@pytest.mark.parametrize("name", ["", *FOLDERS])
def test_an_open_folder_is_told_and_closed(home: Home, name: str) -> None:
    folder = home.scriptenv / name
    folder.chmod(0o755)
    (finding,) = examined()
    assert (finding.code, finding.path) == ("open-folder", folder)
    assert folder.stat().st_mode & 0o777 == 0o755, "looking changes nothing"
    mended()
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_home_with_other_uses_keeps_its_mode(home: Home) -> None:
    """As where `SCRIPTENV_HOME` is the user's own home folder: only what is ours is closed."""
    store = Store(home.scriptenv)
    (home.scriptenv / "letter.txt").touch()
    home.scriptenv.chmod(0o755)
    store.environments.chmod(0o755)
    assert [found.path for found in examined()] == [store.environments]
    mended()
    assert home.scriptenv.stat().st_mode & 0o777 == 0o755
    assert store.environments.stat().st_mode & 0o777 == 0o700
    home.scriptenv.chmod(0o775)
    assert [found.path for found in examined()] == [home.scriptenv]
    with pytest.raises(Foreign, match="others may write into it"):
        store.prepare()
    assert home.scriptenv.stat().st_mode & 0o777 == 0o775


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_that_is_a_link_is_told_and_what_is_behind_it_left_alone(
    home: Home, script: Path, tmp_path: Path, name: str
) -> None:
    sync(script)
    script.unlink()
    folder, behind = home.scriptenv / name, tmp_path / "behind"
    folder.rename(behind)
    folder.symlink_to(behind)
    before = listing(behind)
    assert [finding.code for finding in examined() if finding.path == folder] == ["foreign-folder"]
    assert "no-locks" not in codes()
    for finding in examined():
        why_not(finding)
    assert folder.is_symlink()
    assert listing(behind) == before


@pytest.mark.parametrize("name", FOLDERS)
def test_a_file_in_the_place_of_a_folder_is_told(home: Home, name: str) -> None:
    folder = home.scriptenv / name
    shutil.rmtree(folder)
    folder.write_text("mine")
    assert [finding.code for finding in examined() if finding.path == folder] == ["foreign-folder"]
    said = command("doctor", "--fix")
    assert said.code == 1
    assert "Traceback" not in said.err
    assert str(folder) in said.out
    assert folder.read_text() == "mine"


@pytest.mark.parametrize("left", [False, True])
def test_a_home_without_locks_is_told(
    home: Home, script: Path, monkeypatch: pytest.MonkeyPatch, *, left: bool
) -> None:
    name = sync(script).name
    if left:
        (home.scriptenv / "building-v1" / f".building-{name}-01234567").mkdir()

    def refuse(_descriptor: int, **_options: Any) -> NoReturn:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks, "lock_descriptor", refuse)
    found = {finding.code: finding for finding in examined()}
    assert "no-locks" in found
    assert "No locks available" in found["no-locks"].message
    assert "SCRIPTENV_HOME" in str(why_not(found["no-locks"]))


def test_a_disk_that_is_nearly_full_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")  # noqa: PYI024 - as the standard library's
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(10**9, 9 * 10**8, 10**8))
    (finding,) = examined()
    assert finding.code == "little-space"
    assert "100 MB" in finding.message
    assert "prune" in str(why_not(finding))


# Jupyter, uv, the policy.


def test_without_uv_it_is_told_and_the_rest_is_examined(
    script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> NoReturn:
        raise EngineFailed("The uv program is missing, although the package is installed.")

    sync(script)
    script.unlink()
    monkeypatch.setattr(doctor, "find_uv", missing)
    found = {finding.code: finding for finding in examined()}
    assert set(found) == {"no-uv", "orphan"}
    assert "pip install" in str(why_not(found["no-uv"]))


@pytest.mark.parametrize("version", ["0.1.0", "99.0.0"])
def test_another_uv_is_told(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(doctor, "uv_version", lambda: version)
    (finding,) = examined()
    assert finding.code == "other-uv"
    assert version in finding.message
    assert "pip install 'uv" in str(why_not(finding))


def test_a_generic_kernelspec_that_jupyter_does_not_find_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(doctor, "jupyter_path", lambda *parts: [str(tmp_path.joinpath(*parts))])
    (finding,) = examined()
    assert finding.code == "no-kernelspec"
    assert "pip install" in str(why_not(finding))


def test_a_provisioner_that_jupyter_does_not_find_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "entry_points", lambda **_options: EntryPoints())
    (finding,) = examined()
    assert finding.code == "no-provisioner"
    assert "pip install" in str(why_not(finding))


def test_a_broken_policy_is_told_and_the_rest_is_examined(script: Path) -> None:
    sync(script)
    path = write_policy("wheel-only = true")
    script.unlink()
    said = command("doctor")
    assert said.code == 1
    assert str(path) in said.out
    assert "`wheel-only`" in said.out
    assert "is gone" in said.out
    assert [each for each in codes() if each == "broken-policy"] == ["broken-policy"]
    path.unlink()
    assert codes() == ["orphan"]


def test_a_policy_without_kernelspecs_misses_none(home: Home, script: Path) -> None:
    sync(script)
    write_policy("register = false")
    shutil.rmtree(home.kernelspecs)
    assert examined() == []
