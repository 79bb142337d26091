"""A move that is killed between any two of its steps: the next start heals it."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from ipy_scriptenv import environments
from ipy_scriptenv.environments import Context
from ipy_scriptenv.errors import ScriptEnvError
from tests.conftest import Home
from tests.lifecycle import environment_of, inodes, move, rename
from tests.stage import installed, record_of, running_kernel, start, state_of, sync, write_script


@pytest.fixture
def old(lean_home: Home, script: Path) -> Path:  # noqa: ARG001 - it sets the stage
    """Give a script whose environment holds ``alpha`` 1.1."""
    sync(write_script(script, "alpha<2"))
    return script


class Killed(BaseException):
    """Nothing catches it, as nothing catches a kill."""


def kill_at(step: int, patch: pytest.MonkeyPatch) -> None:
    """Let no more than *step* changes of names on disk happen in this process."""
    done = 0

    def counting(name: str) -> None:
        real = getattr(Path, name)

        def counted(*arguments: object, **options: object) -> object:
            nonlocal done
            if done >= step:
                raise Killed
            done += 1
            return real(*arguments, **options)

        patch.setattr(Path, name, counted)

    for name in ("rename", "replace", "unlink"):
        counting(name)


def killed_move(old: Path, new: Path, step: int, *, replacing: bool = False) -> bool:
    """Move, and be killed after *step* changes; say whether it came so far."""
    with pytest.MonkeyPatch.context() as patch:
        kill_at(step, patch)
        try:
            environments.move(
                environments.locate_or_gone(old),
                environments.locate(new),
                context=Context(),
                replacing=replacing,
            )
        except Killed:
            return True
    return False


def assert_heals(old: Path, new: Path, packages: dict[str, int]) -> None:
    """Check that both paths can be started, each in an environment of its own."""
    started = start(new)
    assert (started.path, started.source.path) == (environment_of(new), str(new))
    assert record_of(environment_of(new)).source.path == str(new)
    write_script(old, "nspkg-two")
    assert start(old).path == environment_of(old)
    assert record_of(environment_of(old)).source.path == str(old)
    found = [inodes(each.path) for each in environments.list_environments(context=Context())]
    assert packages in found  # nothing that was installed got lost
    sync(new)
    assert installed(environment_of(new)) == {"alpha==1.1"}


@pytest.mark.parametrize("step", range(8))
def test_a_start_after_a_killed_move_heals_it(old: Path, step: int) -> None:
    packages = inodes(environment_of(old))
    new = rename(old, old.with_name("b.py"))

    if not killed_move(old, new, step):
        assert step >= 5

    assert_heals(old, new, packages)


@pytest.mark.parametrize("step", range(10))
def test_a_start_after_a_killed_move_onto_an_environment_heals_it(old: Path, step: int) -> None:
    packages = inodes(environment_of(old))
    new = write_script(old.with_name("b.py"), "nspkg-one")
    sync(new)
    old.replace(new)

    if not killed_move(old, new, step, replacing=True):
        assert step >= 6

    assert_heals(old, new, packages)


@pytest.mark.parametrize("step", range(8))
def test_a_start_after_a_killed_second_move_heals_it(lean_home: Home, old: Path, step: int) -> None:
    """The first one waits for a kernel when the file is renamed again."""
    packages = inodes(environment_of(old))
    middle = rename(old, old.with_name("b.py"))
    with running_kernel(lean_home.scriptenv, environment_of(old).name):
        assert move(old, middle).waiting
    new = rename(middle, old.with_name("c.py"))

    if not killed_move(middle, new, step):
        assert step >= 5

    assert_heals(old, new, packages)


@pytest.mark.parametrize("step", range(8))
def test_a_killed_move_can_be_made_again(old: Path, step: int) -> None:
    """Where the first one had come far enough, the second has nothing to do."""
    packages = inodes(environment_of(old))
    new = rename(old, old.with_name("b.py"))
    killed_move(old, new, step)

    with contextlib.suppress(ScriptEnvError):
        move(old, new)
    start(new)

    assert inodes(environment_of(new)) == packages
    assert state_of(new) == "in-sync"
