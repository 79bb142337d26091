"""``prune`` and what is no environment: layers, kernelspecs, what crashes left, foreign things."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ipy_scriptenv import environments
from ipy_scriptenv.environments import Context
from ipy_scriptenv.kernels.side import kernel_side_name
from ipy_scriptenv.kernels.specs import kernelspec
from ipy_scriptenv.record import Source, SourceKind
from tests.conftest import Home
from tests.kernels import kernelspec_of
from tests.lifecycle import (
    command,
    environment_of,
    forget_start,
    kernelspecs,
    move,
    notes,
    paths,
    prunable,
    prune,
    rename,
    revise_record,
)
from tests.stage import (
    exclusively_held,
    listing,
    record_of,
    running_kernel,
    start,
    write_script,
)

OLD_LAYER = "cpython-39-x86_64-linux-gnu-0123456789ab"
OLD_SIDE = "0.0.1-01234567"
LONG_AGO = "2020-01-01T00:00:00Z"

pytestmark = pytest.mark.usefixtures("own_home")


@pytest.fixture
def script(lean_home: Home, script: Path) -> Path:  # noqa: ARG001 - it sets the stage
    return script


@pytest.fixture
def kept(script: Path) -> Path:
    """Give a script that stays, with its environment."""
    start(write_script(script))
    return script


@pytest.fixture
def gone(kept: Path) -> Path:
    """Give the path of a script that is gone; its environment is there."""
    path = write_script(kept.with_name("gone.py"))
    start(path)
    forget_start(path)
    path.unlink()
    return path


def parts(home: Home) -> tuple[Path, Path]:
    """Make a layer and a kernel side of an older version that nobody uses."""
    layer = home.scriptenv / "kernels-v1" / OLD_LAYER
    side = home.scriptenv / "kernel-side-v1" / OLD_SIDE
    for folder in (layer / "site-packages", side):
        folder.mkdir(parents=True)
    (layer / "layer.json").write_text("{}")
    (side / "launcher.py").write_text("")
    return layer, side


def test_layers_and_kernel_sides_that_nobody_uses_go(home: Home, kept: Path) -> None:
    layer, side = parts(home)
    assert {(item.kind.value, item.path) for item in prune()} == {
        ("layer", layer),
        ("kernel-side", side),
    }
    assert not layer.exists()
    assert not side.exists()
    record = record_of(environment_of(kept))
    assert (home.scriptenv / "kernels-v1" / record.kernel / "layer.json").exists()
    assert (home.scriptenv / "kernel-side-v1" / record.kernel_side).exists()


@pytest.mark.usefixtures("kept")
def test_folders_beside_layers_and_kernel_sides_that_are_not_ours_stay(
    home: Home, tmp_path: Path
) -> None:
    layer, side = parts(home)
    for place in (layer, side):
        place.with_name("mine").mkdir()
        (place.with_name("mine") / "precious").touch()
        place.rename(tmp_path / place.name)
        place.symlink_to(tmp_path / place.name)
    before = listing(home.scriptenv / "kernels-v1") | listing(home.scriptenv / "kernel-side-v1")

    assert prunable() == []

    after = listing(home.scriptenv / "kernels-v1") | listing(home.scriptenv / "kernel-side-v1")
    assert after == before


def test_the_current_layer_and_kernel_side_stay_without_environments(
    home: Home, kept: Path
) -> None:
    """The next start would have to make them anew."""
    kernel = record_of(environment_of(kept)).kernel
    forget_start(kept)
    kept.unlink()

    assert paths(prune()) == {environment_of(kept)}

    assert (home.scriptenv / "kernels-v1" / kernel / "layer.json").exists()
    assert (home.scriptenv / "kernel-side-v1" / kernel_side_name()).exists()


def test_what_a_record_names_stays(home: Home, kept: Path) -> None:
    parts(home)
    revise_record(environment_of(kept), kernel=OLD_LAYER, kernel_side=OLD_SIDE)
    assert prunable() == []


def test_what_a_running_kernel_uses_stays(home: Home, kept: Path) -> None:
    """Its record may name newer ones by now."""
    parts(home)
    name = environment_of(kept).name
    with running_kernel(home.scriptenv, name, kernel=OLD_LAYER) as lock:
        file = home.scriptenv / "locks" / f"{name}.kernels" / lock
        file.write_text(json.dumps({**json.loads(file.read_text()), "side": OLD_SIDE}))
        assert prunable() == []
    assert len(prunable()) == 2


@pytest.mark.parametrize("everything", [False, True])
def test_what_a_newer_version_made_stays(home: Home, kept: Path, *, everything: bool) -> None:
    """Only that version can judge it."""
    forget_start(kept)
    revise_record(environment_of(kept), schema=99)
    before = listing(environment_of(kept))

    prune(everything=everything, size=0)

    assert listing(environment_of(kept)) == before
    assert kernelspec_of(kept) in kernelspecs(home)


@pytest.mark.parametrize("everything", [False, True])
def test_what_an_environment_of_a_newer_version_needs_stays(
    home: Home, kept: Path, *, everything: bool
) -> None:
    """A newer version has other layers, and its records name them in words of its own."""
    layer, side = parts(home)
    forget_start(kept)
    revise_record(environment_of(kept), schema=99, kernel=layer.name, kernel_side=side.name)

    prune(everything=everything)

    assert layer.exists()
    assert side.exists()


# Kernelspecs


def spec(home: Home, folder: str, source: Path, environment: Path) -> Path:
    """Write a kernelspec as this package does."""
    place = home.kernelspecs / folder
    place.mkdir(parents=True)
    data = kernelspec(Source(kind=SourceKind.FILE, path=str(source)), environment, curve=False)
    (place / "kernel.json").write_text(json.dumps(data))
    return place


def test_a_kernelspec_of_ours_without_environment_goes(home: Home, kept: Path) -> None:
    dead = kept.with_name("dead.py")
    place = spec(home, kernelspec_of(dead), dead, environment_of(dead))

    (item,) = prune()

    assert (item.kind, item.path, item.source) == ("kernelspec", place, str(dead))
    assert kernelspecs(home) == {kernelspec_of(kept)}


def test_kernelspecs_that_are_not_ours_stay(home: Home, kept: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "environments-v1" / "b-0123456789abcdef"
    other.mkdir(parents=True)
    made = {
        "python3": {"argv": ["python"], "display_name": "Python"},
        "scriptenv": {"argv": ["python"], "display_name": "Python (scriptenv)"},
        "scriptenv-0123456789abcdef": {"argv": ["python"], "display_name": "Somebody's"},
        "scriptenv-mine": {"argv": ["python"], "display_name": "Mine"},
        "scriptenv-x-0123456789abcdef": [],
    }
    for name, data in made.items():
        (home.kernelspecs / name).mkdir(parents=True)
        (home.kernelspecs / name / "kernel.json").write_text(json.dumps(data))
    (home.kernelspecs / "scriptenv-y-0123456789abcdef").mkdir()
    spec(home, "scriptenv-b-0123456789abcdef", tmp_path / "gone.py", other)
    real = spec(home, "elsewhere", tmp_path / "gone.py", environment_of(tmp_path / "gone.py"))
    (home.kernelspecs / kernelspec_of(tmp_path / "gone.py")).symlink_to(real)
    before = listing(home.kernelspecs)
    forget_start(kept)

    command("prune", "--all", "--yes")

    mine = kernelspec_of(kept)
    assert listing(home.kernelspecs) == {row for row in before if not row[0].startswith(mine)}


# What is not ours, and what crashes left


def test_folders_that_are_not_ours_stay(home: Home, gone: Path, tmp_path: Path) -> None:
    """A name of ours, and nothing of ours in it; or a link; or any other name."""
    places = home.scriptenv / "environments-v1"
    foreign = places / "mine-0123456789abcdef"
    (foreign / "work").mkdir(parents=True)
    linked = tmp_path / "linked"
    environment_of(gone).rename(linked)
    environment_of(gone).symlink_to(linked)
    (places / "file-0123456789abcdef").write_text("precious")
    (places / "notes").mkdir()
    before = listing(places) | listing(linked)

    for item in prune(everything=True):
        assert item.kind != "environment", item

    assert listing(places) | listing(linked) == before


def left_by_crashes(home: Home, name: str) -> Iterator[tuple[Path, str]]:
    """Make what crashes leave; give each with the lock of who may still be at work on it."""
    layer = "cpython-311-x86_64-linux-gnu-0123456789ab"
    digits = "0123456789abcdef"
    for folder, left, guard in (
        ("building-v1", f".building-{name}-01234567", name),
        ("building-v1", f".replaced-{name}-01234567", name),
        ("building-v1", f".removed-{digits}", ""),
        ("kernels-v1", f".building-{layer}-01234567", f"layer-{layer}"),
        ("kernel-side-v1", f".building-kernel-side-{digits}", "kernel-side"),
    ):
        path = home.scriptenv / folder / left
        path.mkdir()
        (path / "file").write_text("left")
        yield path, guard
    for left in (f"{name}.py", f"{name}.py.lock", f".{name}.py-01234567"):
        path = home.scriptenv / "work-v1" / left
        path.write_text("left")
        yield path, name


def test_what_crashes_left_goes(home: Home, kept: Path) -> None:
    left = dict(left_by_crashes(home, environment_of(kept).name))

    items = prune()

    assert {item.kind.value for item in items} == {"leftover"}
    assert paths(items) == set(left)
    assert not any(path.exists() for path in left)
    assert (home.scriptenv / "work-v1" / "uv.toml").exists()
    assert environment_of(kept).exists()
    assert prunable() == []


def test_what_somebody_is_at_work_on_stays(home: Home, kept: Path) -> None:
    left = dict(left_by_crashes(home, environment_of(kept).name))
    items = prunable()

    for path, guard in left.items():
        if guard:
            with exclusively_held(home.scriptenv / "locks" / f"{guard}.lock"):
                assert path not in paths(prunable())
                environments.prune([i for i in items if i.path == path], context=Context())
            assert path.exists()


def test_an_environment_that_a_kill_took_its_name_gets_it_again(home: Home, kept: Path) -> None:
    place = environment_of(kept)
    forget_start(kept)
    taken = home.scriptenv / "building-v1" / f".replaced-{place.name}-01234567"
    place.rename(taken)

    prune()

    assert record_of(place).source.path == str(kept)
    assert not taken.exists()


def test_lock_files_of_what_is_gone_go(home: Home, kept: Path) -> None:
    locks = home.scriptenv / "locks"
    held = locks / "held-0123456789abcdef.lock"
    (locks / "gone-0123456789abcdef.lock").touch()
    (locks / "gone-0123456789abcdef.kernels").mkdir()
    (locks / "layer-gone.lock").touch()

    with exclusively_held(held):
        prune()
        assert held.exists()

    assert not [*locks.glob("*gone*")]
    assert (locks / f"{environment_of(kept).name}.lock").exists()


def test_the_note_of_a_move_goes_with_its_environment(home: Home, kept: Path) -> None:
    forget_start(kept)
    new = kept.with_name("b.py")
    place = environment_of(kept)
    with running_kernel(home.scriptenv, place.name):
        move(kept, rename(kept, new))
    new.unlink()

    assert place in paths(prune())
    assert notes() == []


def test_a_dry_run_changes_nothing(home: Home, kept: Path, gone: Path) -> None:
    layer, side = parts(home)
    list(left_by_crashes(home, environment_of(kept).name))
    before = listing(home.scriptenv), listing(home.kernelspecs)

    told = command("prune", "--all", "--dry-run", "--json").json

    assert (listing(home.scriptenv), listing(home.kernelspecs)) == before
    assert told["dry_run"] is True
    shown = {each["path"] for each in told["removed"]}
    assert {str(environment_of(gone)), str(layer), str(side)} <= shown
    assert command("prune", "--dry-run").code == 0
    assert (listing(home.scriptenv), listing(home.kernelspecs)) == before
