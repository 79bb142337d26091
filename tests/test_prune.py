"""``prune`` removes what nobody will miss: never what is in use, never what is not ours."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pexpect  # type: ignore[import-untyped]
import pytest

from ipy_scriptenv import environments
from ipy_scriptenv.environments import EPHEMERAL, Context, Item, Kept
from ipy_scriptenv.layout import CHANGING, RECORD
from ipy_scriptenv.store import Store
from tests.conftest import Home
from tests.kernels import kernelspec_of, opened, unasked
from tests.lifecycle import (
    command,
    environment_of,
    forget_start,
    kernelspecs,
    paths,
    prunable,
    prune,
    revise_record,
)
from tests.stage import (
    exclusively_held,
    record_of,
    running_kernel,
    start,
    state_of,
    sync,
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


def several(script: Path, *names: str) -> dict[str, Path]:
    """Make environments of which each was last used a day after the one before."""
    found = {}
    for day, name in enumerate(names, 1):
        found[name] = write_script(script.with_name(f"{name}.py"))
        start(found[name])
        forget_start(found[name])
        revise_record(environment_of(found[name]), last_used=f"2020-01-{day:02}T00:00:00Z")
    return found


# Environments


def test_an_environment_goes_when_its_source_is_gone_and_its_kernelspec_with_it(
    home: Home, kept: Path, gone: Path
) -> None:
    (item,) = prunable()
    assert (item.kind, item.path) == ("environment", environment_of(gone))
    assert (item.source, item.reason) == (str(gone), "Its source is gone.")
    assert (item.size or 0) > 0

    assert paths(prune()) == {environment_of(gone)}

    assert not environment_of(gone).exists()
    assert kernelspecs(home) == {kernelspec_of(kept)}
    assert not [*home.scriptenv.glob(f"locks/{environment_of(gone).name}*")]
    assert [*home.scriptenv.glob("building-v1/*")] == []
    assert environment_of(kept).exists()
    assert prunable() == []


def test_a_folder_that_is_gone_takes_its_sources_along(kept: Path, tmp_path: Path) -> None:
    forget_start(kept)
    kept.parent.rename(tmp_path / "elsewhere")
    assert paths(prunable()) == {environment_of(kept)}


def test_an_environment_that_was_not_used_for_long_goes(home: Home, script: Path) -> None:
    found = several(script, "one", "two")
    revise_record(environment_of(found["two"]), last_used=record_now(home))

    called = command("prune", "--unused-for", "30d", "--yes", "--json")

    (removed,) = called.json["removed"]
    assert removed["source"] == str(found["one"])
    assert removed["reason"] == "It was last used on 2020-01-01."
    assert environment_of(found["two"]).exists()


def record_now(home: Home) -> str:
    path = write_script(home.path.parent / "work" / "now.py")
    start(path)
    return record_of(environment_of(path)).last_used


def test_the_longest_unused_go_first_until_the_rest_is_small_enough(script: Path) -> None:
    found = several(script, "c", "a", "b")
    sizes = {name: size for name in found if (size := _size(found[name]))}

    def over(size: int) -> set[Path]:
        return paths(prunable(size=size))

    assert over(sum(sizes.values())) == set()
    assert over(sum(sizes.values()) - 1) == {environment_of(found["c"])}
    assert over(sizes["b"]) == {environment_of(found["c"]), environment_of(found["a"])}
    assert len(over(0)) == 3

    called = command("prune", "--over", f"{sizes['b']}B", "--yes")
    assert called.code == 0
    assert [environment_of(found[name]).exists() for name in "cab"] == [False, False, True]


def _size(path: Path) -> int:
    (listed,) = command("list", "--size", "--source", str(path), "--json").json["environments"]
    return int(listed["bytes"])


def test_what_is_in_use_counts_but_does_not_go(home: Home, script: Path) -> None:
    found = several(script, "one", "two")
    with running_kernel(home.scriptenv, environment_of(found["one"]).name):
        assert paths(prunable(size=_size(found["two"]))) == {environment_of(found["two"])}


def test_an_ephemeral_environment_goes_when_its_kernel_has_ended(lean_home: Home) -> None:
    begun = environments.start(EPHEMERAL, context=Context())
    assert prunable() == []  # its kernel is being started
    (lean_home.scriptenv / "locks" / f"{begun.name}.starting").unlink()
    with running_kernel(lean_home.scriptenv, begun.name):
        assert prunable() == []
    assert paths(prune()) == {begun.path}


@pytest.mark.parametrize("text", ["", "{", '{"schema": 1}'])
def test_an_environment_without_a_record_that_can_be_read_goes(kept: Path, text: str) -> None:
    """Nobody can tell what it is for; the next start would make it anew anyhow."""
    forget_start(kept)
    (environment_of(kept) / RECORD).write_text(text)
    (item,) = prunable()
    assert (item.path, item.source) == (environment_of(kept), None)


def test_a_damaged_environment_stays(kept: Path) -> None:
    forget_start(kept)
    (environment_of(kept) / CHANGING).touch()
    assert prunable() == []


def test_a_record_that_tells_no_time_counts_as_long_unused(kept: Path) -> None:
    forget_start(kept)
    revise_record(environment_of(kept), last_used="yesterday")
    assert prunable() == []
    assert command("prune", "--unused-for", "4w", "--dry-run").code == 0


# In use


def test_what_is_in_use_stays(home: Home, gone: Path) -> None:
    with running_kernel(home.scriptenv, environment_of(gone).name):
        assert prunable() == prunable(unused_for=None, size=0) == []
    assert paths(prunable()) == {environment_of(gone)}


def test_what_is_just_being_started_stays(gone: Path) -> None:
    """Its kernel was launched, and does not hold its live lock yet."""
    Context().store.note_start(environments.name_of(environments.locate_or_gone(gone)))
    assert prunable(everything=True) == [item for item in prunable() if item.path != gone]
    assert environment_of(gone) not in paths(prunable(everything=True))


def test_a_start_that_came_to_nothing_protects_for_a_while_only(home: Home, gone: Path) -> None:
    note = home.scriptenv / "locks" / f"{environment_of(gone).name}.starting"
    note.touch()
    os.utime(note, (1e9, 1e9))
    assert environment_of(gone) in paths(prunable())


def removed_of(items: list[Item]) -> list[Item]:
    """Remove these, and give what went; what did not go has a reason."""
    removed, kept = environments.prune(items, context=Context())
    assert len(removed) + len(kept) == len(items)
    assert all(reason for _, reason in kept)
    return removed


def test_what_came_into_use_after_it_was_shown_stays(home: Home, gone: Path) -> None:
    items = prunable()
    name = environment_of(gone).name

    with running_kernel(home.scriptenv, name):
        assert removed_of(items) == []
    with exclusively_held(home.scriptenv / "locks" / f"{name}.lock"):
        assert removed_of(items) == []
    Context().store.note_start(items[0].path.name)  # type: ignore[arg-type]
    assert removed_of(items) == []

    assert environment_of(gone).exists()
    assert len(kernelspecs(home)) == 2


@pytest.mark.parametrize("broken", [False, True])
def test_what_was_used_after_it_was_shown_stays(gone: Path, *, broken: bool) -> None:
    revise_record(environment_of(gone), last_used="2020-01-01T00:00:00Z")
    if broken:
        (environment_of(gone) / RECORD).write_text("{")
    items = prunable()
    start(write_script(gone))
    forget_start(gone)
    assert removed_of(items) == []
    assert environment_of(gone).exists()


def test_a_real_kernel_is_not_disturbed(offline_home: Home, path: Path) -> None:
    with opened(offline_home, path) as kernel:
        assert kernel.execute("1").status == "ok"
        path.unlink()

        assert command("prune", "--all", "--yes").code == 0

        assert unasked(kernel, "import base64, IPython.display; print('here')") == "here"
        assert environment_of(path).exists()
    assert environment_of(path) in paths(prune())


# Everything


def test_all_removes_everything_with_the_home(home: Home, kept: Path, gone: Path) -> None:
    forget_start(kept)
    (home.kernelspecs / "mine").mkdir()

    assert command("prune", "--all", "--yes").code == 0

    assert not home.scriptenv.exists(), sorted(home.scriptenv.rglob("*"))
    assert [path.name for path in home.kernelspecs.iterdir()] == ["mine"]
    assert kept.exists()
    assert not environment_of(gone).exists()


def test_all_removes_the_home_also_after_a_killed_move(home: Home, kept: Path) -> None:
    """A note of it may be left that nobody will read any more."""
    forget_start(kept)
    store = Context().store
    name = environments.name_of(environments.locate(kept))
    store.note_move(name, environments.name_of(environments.locate_or_gone("/nowhere/b.py")))

    assert command("prune", "--all", "--yes").code == 0

    assert not home.scriptenv.exists(), sorted(home.scriptenv.rglob("*"))


def test_all_leaves_what_is_in_use_with_all_it_needs(home: Home, kept: Path, gone: Path) -> None:
    name = environment_of(kept).name
    record = record_of(environment_of(kept))

    with running_kernel(home.scriptenv, name, kernel=record.kernel):
        assert command("prune", "--all", "--yes").code == 0

        assert environment_of(kept).exists()
        assert not environment_of(gone).exists()
        assert kernelspecs(home) == {kernelspec_of(kept)}
        assert (home.scriptenv / "kernels-v1" / record.kernel / "layer.json").exists()
        assert (home.scriptenv / "kernel-side-v1" / record.kernel_side).exists()
        assert (home.scriptenv / "locks" / f"{name}.kernels").exists()
    assert state_of(kept) == "in-sync"


def test_what_all_left_because_it_was_in_use_can_go_later(home: Home, gone: Path) -> None:
    place = environment_of(gone)
    with running_kernel(home.scriptenv, place.name):
        assert command("prune", "--all", "--yes").code == 0

    called = command("delete", gone, "--yes", "--json")

    assert called.code == 0, called.out
    assert not place.exists()


def test_all_leaves_what_is_not_ours_in_the_home(home: Home, kept: Path) -> None:
    forget_start(kept)
    (home.scriptenv / "mine.txt").write_text("precious")

    assert command("prune", "--all", "--yes").code == 0

    assert [path.name for path in home.scriptenv.iterdir()] == ["mine.txt"]


# The command line


def test_prune_tells_all_about_what_went(gone: Path) -> None:
    told = command("prune", "--yes", "--json").json

    (removed,) = told["removed"]
    assert removed.pop("bytes") == told["bytes"] > 0
    assert removed == {
        "kind": "environment",
        "name": environment_of(gone).name,
        "path": str(environment_of(gone)),
        "source": str(gone),
        "reason": "Its source is gone.",
    }
    assert told["dry_run"] is False
    assert command("prune", "--json").json == {
        "schema": 1,
        "dry_run": False,
        "removed": [],
        "bytes": 0,
    }


def test_prune_shows_what_goes_and_what_went(gone: Path) -> None:
    called = command("prune", "--yes")
    assert called.code == 0
    assert str(gone) in called.out
    assert "Its source is gone." in called.out
    assert "Removed 1 environment" in called.out
    assert "nothing to remove" in command("prune").out


def test_where_nobody_can_be_asked_nothing_is_removed(gone: Path) -> None:
    for words in (("prune",), ("prune", "--all"), ("prune", "--json"), ("prune", "--over", "0")):
        called = command(*words)
        assert called.code == 2
        assert "--yes" in called.out + called.err
    assert environment_of(gone).exists()


@pytest.mark.parametrize(("answer", "stays"), [("y", False), ("n", True), ("", True)])
def test_on_a_terminal_prune_asks(gone: Path, answer: str, *, stays: bool) -> None:
    terminal = pexpect.spawn(
        sys.executable, ["-m", "ipy_scriptenv", "prune"], encoding="utf-8", timeout=60
    )
    terminal.expect("Remove this?")
    assert str(gone) in terminal.before.replace("\r\n", "")
    terminal.sendline(answer)
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert environment_of(gone).exists() is stays


@pytest.mark.parametrize(
    "words",
    [
        ("--unused-for", "long"),
        ("--unused-for", "3"),
        ("--unused-for", "-3d"),
        ("--unused-for", "9999999w"),
        ("--over", "big"),
        ("--over", "-1G"),
        ("--over", "nan"),
    ],
)
def test_what_is_no_time_and_no_size_is_a_wrong_call(kept: Path, words: tuple[str, ...]) -> None:
    called = command("prune", *words, "--yes", "--json")
    assert (called.code, called.error) == (2, "wrong-call")
    assert environment_of(kept).exists()


def test_prune_of_a_home_that_is_not_there_does_nothing(home: Home) -> None:
    empty = Store(home.path / "nowhere")
    context = Context(store=empty)
    assert environments.prunable(Kept(everything=True), context=context) == []
    assert environments.prune([], context=context, everything=True) == ([], [])
    assert not empty.home.exists()


def test_the_policy_limits_what_is_kept(home: Home, script: Path) -> None:
    found = several(script, "one", "two", "three")
    policy = home.path / "config" / "ipy-scriptenv" / "policy.toml"
    policy.parent.mkdir(parents=True)
    policy.write_text("max-environments = 1\n")
    assert paths(prunable()) == {environment_of(found["one"]), environment_of(found["two"])}


def test_a_synced_environment_that_is_pruned_can_be_made_again(script: Path) -> None:
    sync(write_script(script, "alpha<2"))
    assert environment_of(script) in paths(prune(size=0))
    assert sync(script).action == "created"
