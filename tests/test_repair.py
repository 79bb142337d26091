"""Get or init repairs what is damaged, and sweeps what crashes left."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ipy_scriptenv import environments, store
from ipy_scriptenv.environments import Context, Kept
from ipy_scriptenv.errors import NoEnvironment
from ipy_scriptenv.leftovers import scratch_folder
from tests.conftest import Home
from tests.damages import DAMAGES, one_package_missing
from tests.kernels import wait_until
from tests.stage import (
    WANTED,
    assert_works,
    environment_of,
    exclusively_held,
    listing,
    running_kernel,
    site_of,
    start,
    state_of,
    sync,
    throw_away_base,
    write_script,
)

Verb = Callable[[Path], object]

pytestmark = pytest.mark.usefixtures("lean_home")


@pytest.fixture
def script(script: Path) -> Path:
    return write_script(script, "beta")


# Repair


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_told_and_rebuilt(script: Path, damage: Callable[[Path], None]) -> None:
    """``test_damage_table.py`` has what a start does, and that nothing else is touched."""
    source = environments.locate(script)
    environment = sync(script).path
    damage(environment)
    assert state_of(script) == "broken"
    with pytest.raises(NoEnvironment):
        environments.find(source, store=Context().store)
    assert sync(script).action == "rebuilt"
    assert_works(environment, WANTED)


def test_a_sync_brings_back_a_package_that_is_missing(script: Path) -> None:
    environment = sync(script).path
    one_package_missing(environment)
    assert sync(script).action == "updated"
    assert_works(environment, WANTED)


def test_the_base_interpreters_packages_are_not_touched_under_a_running_kernel(
    home: Home, script: Path, tmp_path: Path
) -> None:
    python = throw_away_base(tmp_path / "base")
    packages = site_of(tmp_path / "base")
    before = listing(packages)
    environment = sync(script, python=str(python)).path
    (environment / "pyvenv.cfg").unlink()
    write_script(script, "gamma")
    with running_kernel(home.scriptenv, environment.name):
        sync(script)
    assert listing(packages) == before
    assert_works(environment, {"gamma==1.0", "alpha==1.1"})


# Leftovers


def test_builds_that_a_crash_left_are_swept(script: Path, tmp_path: Path) -> None:
    environment = start(script).path
    left = environment.parent.parent / "building-v1" / f".building-{environment.name}-0123abcd"
    other = start(write_script(tmp_path / "b.py")).name
    anothers = left.with_name(f".building-{other}-0")
    for folder in (left, anothers):
        folder.mkdir()
        (folder / "file").touch()
    start(script)
    assert not left.exists()
    assert not anothers.exists()


def test_a_scratch_folder_is_left_alone_while_it_is_used_and_swept_after_a_crash(
    home: Home, script: Path
) -> None:
    start(script)
    with scratch_folder(Context().store) as folder:
        (folder / "script.py").touch()
        start(script)
        environments.prune(environments.prunable(Kept(), context=Context()), context=Context())
        assert (folder / "script.py").exists()
    assert not folder.exists()
    before = {path.name for path in (home.scriptenv / "locks").iterdir()}
    folder.mkdir()
    start(script)
    assert not folder.exists()
    assert {path.name for path in (home.scriptenv / "locks").iterdir()} == before


def test_the_build_of_another_is_not_swept_however_long_it_takes(
    home: Home, script: Path, tmp_path: Path
) -> None:
    """A download may take hours, and nothing in the folder changes meanwhile."""
    other = environment_of(write_script(tmp_path / "b.py"))
    Context().store.prepare()
    build = (other.parent.parent / "building-v1").joinpath(f".building-{other.name}-0123abcd")
    build.mkdir()
    with exclusively_held(home.scriptenv / "locks" / f"{other.name}.lock"):
        start(script)
        assert build.exists()


def test_a_sweep_takes_nothing_out_of_an_environment(script: Path) -> None:
    environment = sync(script).path
    before = {path.name for path in environment.iterdir()}
    start(script)
    assert {path.name for path in environment.iterdir()} == before


def test_what_was_removed_but_not_deleted_is_swept(
    script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed = start(write_script(tmp_path / "b.py")).path
    with monkeypatch.context() as killed:
        killed.setattr(store, "remove_tree", lambda _path: None)
        Context().store.remove_environment(removed)
    building = removed.parent.parent / "building-v1"
    assert len([*building.iterdir()]) == 1
    environment = start(script).path
    assert [*environment.parent.iterdir()] == [environment]
    # In the background: it may be large.
    wait_until(lambda: not [*building.iterdir()], what="an empty folder of builds")


@pytest.mark.parametrize("verb", [start, sync])
def test_an_environment_that_a_kill_left_without_its_name_gets_it_back(
    script: Path, verb: Verb, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a kill leaves it that comes when the old one has gone and the new one has not come."""
    environment = sync(script).path
    before = environment.stat().st_ino
    rename = Path.rename

    def stop_at_the_build(path: Path, target: Path) -> Path:
        if path.name.startswith(".building-"):
            raise KeyboardInterrupt
        return rename(path, target)

    write_script(script, "nspkg-one")
    with monkeypatch.context() as killed:
        killed.setattr(Path, "rename", stop_at_the_build)
        with pytest.raises(KeyboardInterrupt):
            sync(script)
    assert not environment.exists()
    write_script(script, "beta")
    verb(script)
    assert environment.stat().st_ino == before
    assert_works(environment, WANTED)
    assert [*environment.parent.iterdir()] == [environment]


def test_a_link_among_leftovers_is_not_followed(script: Path, tmp_path: Path) -> None:
    environment = start(script).path
    aside = tmp_path / "aside"
    aside.mkdir()
    (aside / "precious").touch()
    (environment.parent.parent / "building-v1" / f".building-{environment.name}-0").symlink_to(
        aside
    )
    start(script)
    assert (aside / "precious").exists()


@pytest.mark.parametrize("verb", [start, sync])
def test_nothing_is_left_over(home: Home, script: Path, verb: Verb) -> None:
    environment = environment_of(script)
    verb(script)
    verb(script)
    (environment / "pyvenv.cfg").unlink()
    verb(script)
    assert [*environment.parent.iterdir()] == [environment]
    assert [path.name for path in (home.scriptenv / "work-v1").iterdir()] == ["uv.toml"]
    assert not [path for path in home.scriptenv.rglob(".*-*") if path.name != ".lock"]


@pytest.mark.parametrize(
    "left",
    [
        "work-v1/.{name}.py-0123abcd",
        "environments-v1/{name}/.scriptenv.json-0123abcd",
        "kernel-side-v1/.building-kernel-side-0123456789abcdef",
    ],
)
def test_files_that_a_crash_left_half_written_are_swept(
    home: Home, script: Path, left: str
) -> None:
    started = start(script)
    path = home.scriptenv / left.format(name=started.name)
    path.touch()
    sync(script)
    assert not path.exists()
