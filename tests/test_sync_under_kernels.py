"""A sync while kernels run: beside or in place, refused or pending, and what comes of it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from ipy_scriptenv import environments
from ipy_scriptenv.environments import Context
from ipy_scriptenv.errors import EnvironmentInUse, RestartNeeded
from ipy_scriptenv.layout import CHANGING
from ipy_scriptenv.uv import Event
from tests.conftest import Home
from tests.stage import (
    ALPHA,
    asker,
    block_of,
    changes,
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

pytestmark = pytest.mark.usefixtures("lean_home")


# While kernels run: beside or in place


def test_with_nobody_running_new_content_is_built_beside(script: Path) -> None:
    before = sync(write_script(script, "alpha<2")).path.stat().st_ino
    assert sync(write_script(script, "beta")).path.stat().st_ino != before


def test_with_a_kernel_running_content_is_changed_in_place(home: Home, script: Path) -> None:
    first = sync(write_script(script, "alpha<2"))
    before = first.path.stat().st_ino
    write_script(script, "alpha<2", "nspkg-one")
    with running_kernel(home.scriptenv, first.name):
        synced = sync(script)
    assert (synced.action, changes(synced)) == ("updated", {("nspkg-one", "1.0", "installed")})
    assert synced.path.stat().st_ino == before
    assert not (synced.path / CHANGING).exists()
    assert state_of(script) == "in-sync"


def test_a_kernel_that_has_ended_counts_no_more(home: Home, script: Path) -> None:
    first = sync(write_script(script, "alpha<2"))
    before = first.path.stat().st_ino
    with running_kernel(home.scriptenv, first.name, imported=[ALPHA]):
        pass
    assert sync(write_script(script, "beta")).path.stat().st_ino != before


def test_a_change_in_place_is_marked_while_it_lasts(home: Home, script: Path) -> None:
    first = sync(write_script(script, "alpha<2"))
    seen: set[bool] = set()

    def look(_event: Event) -> None:
        seen.add((first.path / CHANGING).exists())

    write_script(script, "alpha<2", "nspkg-one")
    with running_kernel(home.scriptenv, first.name):
        environments.sync(environments.locate(script), context=Context(on_event=look))
    # The first look is at what would change, before the mark.
    assert True in seen
    assert not (first.path / CHANGING).exists()


def test_what_a_kernel_has_not_imported_may_change_under_it(home: Home, script: Path) -> None:
    first = sync(write_script(script, "alpha<2", "nspkg-one", "gamma"))
    write_script(script, "alpha<2", "nspkg-two", "beta")
    with running_kernel(home.scriptenv, first.name, imported=[ALPHA, "stranger.py"]):
        assert installed(sync(script).path) == {"alpha==1.1", "beta==1.0", "nspkg-two==1.0"}


@pytest.mark.parametrize("dependency", ["alpha>=2", "nspkg-one", "alpha==1.0"])
def test_a_change_of_what_another_kernel_has_imported_is_refused(
    home: Home, script: Path, dependency: str
) -> None:
    """Whether it would go, or give way to a newer or an older one."""
    first = sync(write_script(script, "alpha<2"))
    before = listing(site_of(first.path))
    write_script(script, dependency)
    with (
        running_kernel(home.scriptenv, first.name, imported=[ALPHA]),
        pytest.raises(EnvironmentInUse) as refused,
    ):
        sync(script)
    assert f"process {os.getpid()}" in str(refused.value)
    assert "alpha" in str(refused.value)
    assert listing(site_of(first.path)) == before
    assert not (first.path / CHANGING).exists()
    assert record_of(first.path).pending == block_of(dependency) + "\n"


def test_a_change_of_what_the_asking_kernel_has_imported_is_refused_and_becomes_pending(
    home: Home, script: Path
) -> None:
    first = sync(write_script(script, "alpha<2"))
    before = listing(site_of(first.path))
    block = block_of("alpha>=2")
    with (
        running_kernel(home.scriptenv, first.name, imported=[ALPHA]) as uuid,
        pytest.raises(RestartNeeded) as refused,
    ):
        sync(script, block=block, given=True, asker=asker(first, uuid, imported=ALPHA))
    assert "alpha" in str(refused.value)
    assert "Restart" in refused.value.hint
    assert listing(site_of(first.path)) == before
    assert record_of(first.path).pending == block
    assert state_of(script) == "pending"


def test_a_kernel_that_has_run_no_cell_replaces_itself_instead(home: Home, script: Path) -> None:
    first = sync(write_script(script, "alpha<2"))
    with running_kernel(home.scriptenv, first.name, imported=[ALPHA]) as uuid:
        asking = asker(first, uuid, fresh=True, imported=ALPHA)
        synced = sync(script, block=block_of("alpha>=2"), given=True, asker=asking)
    assert synced.replace is not None
    assert "alpha" in synced.replace
    assert installed(first.path) == {"alpha==2.0"}


def test_additions_need_no_restart(home: Home, script: Path) -> None:
    first = sync(write_script(script, "alpha<2"))
    block = block_of("alpha<2", "nspkg-one")
    with running_kernel(home.scriptenv, first.name, imported=[ALPHA]) as uuid:
        synced = sync(script, block=block, given=True, asker=asker(first, uuid, imported=ALPHA))
    assert synced.replace is None
    assert installed(first.path) == {"alpha==1.1", "nspkg-one==1.0"}


def test_a_block_that_asks_for_another_python_needs_a_restart(
    home: Home, script: Path, pythons: dict[str, Path]
) -> None:
    minor = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if not any(each != minor for each in pythons):
        pytest.skip("there is no other Python")
    first = sync(write_script(script, "alpha<2"))
    block = block_of(requires_python=f"!={minor}.*")
    with running_kernel(home.scriptenv, first.name) as uuid, pytest.raises(RestartNeeded):
        sync(script, block=block, given=True, asker=asker(first, uuid))
    assert record_of(first.path).pending == block


# What is pending is taken by the next start, unless the file has changed since


@pytest.fixture
def pending(home: Home, script: Path) -> Path:
    """Leave a block pending; give the environment."""
    first = sync(write_script(script, "alpha<2"))
    block = block_of("alpha>=2")
    with (
        running_kernel(home.scriptenv, first.name, imported=[ALPHA]) as uuid,
        pytest.raises(RestartNeeded),
    ):
        sync(script, block=block, given=True, asker=asker(first, uuid, imported=ALPHA))
    return first.path


def test_what_is_pending_is_taken_by_the_next_start(script: Path, pending: Path) -> None:
    start(script)
    assert record_of(pending).pending == block_of("alpha>=2")
    assert sync(script).action == "updated"
    assert installed(pending) == {"alpha==2.0"}
    assert record_of(pending).pending is None
    assert state_of(script) == "in-sync"


def test_what_is_pending_is_dropped_if_the_file_has_changed_since(
    script: Path, pending: Path
) -> None:
    write_script(script, "nspkg-one")
    start(script)
    sync(script)
    assert installed(pending) == {"nspkg-one==1.0"}
    assert record_of(pending).pending is None


def test_what_was_executed_but_not_saved_stands(script: Path) -> None:
    """The block of a cell that ran decides, until the file's stat is another."""
    write_script(script, "alpha<2")
    first = sync(script)
    sync(script, block=block_of("beta"), given=True, asker=asker(first))
    start(script)
    assert state_of(script) == "in-sync"
    assert sync(script).action == "kept"
    assert installed(first.path) == {"alpha==2.0", "beta==1.0"}
    write_script(script, "alpha<2", code="# saved\n")
    assert state_of(script) == "stale"
    assert installed(sync(script).path) == {"alpha==1.1"}


def test_a_file_that_is_saved_with_what_is_installed_is_in_sync(script: Path) -> None:
    sync(write_script(script, "alpha<2"))
    write_script(script, "alpha<2", code="print(1)\n")
    assert state_of(script) == "in-sync"
    assert sync(script).action == "kept"
