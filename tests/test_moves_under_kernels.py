"""A renamed source whose kernel runs: its environment follows when the kernel has ended."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from ipy_scriptenv import environments
from ipy_scriptenv.environments import Context, Kept, Synced
from ipy_scriptenv.errors import EnvironmentInUse, NoEnvironment, ScriptEnvError
from ipy_scriptenv.record import SourceKind
from tests.conftest import Home
from tests.kernels import block, kernelspec_of, opened, prefix, started, unasked
from tests.lifecycle import (
    command,
    environment_of,
    forget_start,
    inodes,
    kernel_json,
    kernelspecs,
    move,
    notes,
    rename,
    sweep,
)
from tests.stage import (
    exclusively_held,
    installed,
    record_of,
    running_kernel,
    start,
    state_of,
    sync,
    write_notebook,
    write_script,
)

BUSY = r"a\.py.*belongs to.*b\.py.*a kernel runs"


@pytest.fixture
def old(lean_home: Home, script: Path) -> Path:  # noqa: ARG001 - it sets the stage
    """Give the path of a script whose environment holds ``alpha`` 1.1."""
    sync(write_script(script, "alpha<2"))
    return script


@pytest.fixture
def new(old: Path) -> Path:
    """Give the new path of that script, renamed while nobody looked."""
    return rename(old, old.with_name("b.py"))


def kernel_in(home: Home, path: Path) -> AbstractContextManager[str]:
    """Pretend that a kernel runs in the environment that has the name of *path*."""
    return running_kernel(home.scriptenv, environment_of(path).name)


# The record at once, the folder later


def test_a_move_under_a_kernel_changes_the_record_and_leaves_the_folder(
    lean_home: Home, old: Path, new: Path
) -> None:
    packages = inodes(environment_of(old))

    with kernel_in(lean_home, old):
        moved = move(old, new)

        assert (moved.path, moved.waiting) == (environment_of(old), True)
        assert inodes(environment_of(old)) == packages
        assert record_of(environment_of(old)).source.path == str(new)
        assert not environment_of(new).exists()
        assert notes() == [environment_of(new).name]
        # The picker shows the file as it is called now.
        assert kernel_json(lean_home, old)["display_name"] == "scriptenv: b.py"
        assert kernel_json(lean_home, old)["metadata"]["scriptenv"]["source"] == str(new)


def test_the_next_start_finishes_a_move(lean_home: Home, old: Path, new: Path) -> None:
    packages = inodes(environment_of(old))
    with kernel_in(lean_home, old):
        move(old, new)

    assert start(new).path == environment_of(new)

    assert inodes(environment_of(new)) == packages
    assert not environment_of(old).exists()
    assert notes() == []
    assert kernelspecs(lean_home) == {kernelspec_of(new)}
    assert state_of(new) == "in-sync"


def test_the_next_sync_finishes_a_move(lean_home: Home, old: Path, new: Path) -> None:
    with kernel_in(lean_home, old):
        move(old, new)

    synced = sync(new)

    assert (synced.action, synced.path) == ("kept", environment_of(new))
    assert not environment_of(old).exists()


def test_starts_and_syncs_stay_in_the_old_folder_while_a_kernel_runs(
    lean_home: Home, old: Path, new: Path
) -> None:
    with kernel_in(lean_home, old):
        move(old, new)

        assert start(new).path == environment_of(old)
        forget_start(old)
        write_script(new, "alpha<2", "nspkg-one")
        assert sync(new).path == environment_of(old)
        assert not environment_of(new).exists()

    assert sync(new).path == environment_of(new)
    assert installed(environment_of(new)) == {"alpha==1.1", "nspkg-one==1.0"}


def test_of_two_kernels_the_last_one_lets_the_move_end(
    lean_home: Home, old: Path, new: Path
) -> None:
    with kernel_in(lean_home, old):
        with kernel_in(lean_home, old):
            move(old, new)
        assert start(new).path == environment_of(old)
        forget_start(old)
        assert environment_of(old).exists()

    assert start(new).path == environment_of(new)


def test_a_kernel_that_is_being_started_counts_as_running(old: Path, new: Path) -> None:
    """Between the launch and the live lock its interpreter must not lose its path."""
    start_of_old = environments.start(
        environments.locate_or_gone(old), context=Context()
    )  # it has not taken its live lock yet

    moved = move(old, new)

    assert moved.waiting
    assert start_of_old.path.exists()


def test_a_start_of_the_new_path_keeps_the_folder_of_a_kernel_that_is_being_started(
    lean_home: Home, old: Path, new: Path
) -> None:
    with kernel_in(lean_home, old):
        move(old, new)
    Context().store.note_start(environments.name_of(environments.locate_or_gone(old)))

    assert start(new).path == environment_of(old)


def test_who_waited_for_the_one_that_finished_the_move_takes_the_new_place(
    lean_home: Home, old: Path, new: Path
) -> None:
    """Two starts come at once after a rename: one moves the folder, the other finds it moved."""
    with kernel_in(lean_home, old):
        move(old, new)
    waiting, store = Event(), Context().store

    def told(event: Mapping[str, Any]) -> None:
        if event["event"] == "waiting":
            waiting.set()

    def wait_and_sync() -> Synced:
        return environments.sync(environments.locate(new), context=Context(on_event=told))

    with ThreadPoolExecutor(1) as threads:
        with exclusively_held(store.lock(environment_of(old).name)):
            second = threads.submit(wait_and_sync)
            assert waiting.wait(60)
            store.place(environment_of(old), environment_of(new))
            store.forget_move(environments.name_of(environments.locate(new)))
        synced = second.result(60)

    assert (synced.action, synced.path) == ("kept", environment_of(new))
    assert not environment_of(old).exists()


# A new file at the old path


def test_a_new_file_at_the_old_path_never_gets_the_environment(
    lean_home: Home, old: Path, new: Path
) -> None:
    with kernel_in(lean_home, old):
        move(old, new)
        write_script(old, "nspkg-one")

        with pytest.raises(EnvironmentInUse, match=BUSY) as raised:
            sync(old)
        assert raised.value.hint == "Shut down that kernel."

        begun = start(old, launching=False)

        assert begun.path != environment_of(old)
        assert record_of(begun.path).source.path == str(old)
        assert start(old, launching=False).path == begun.path
        assert sync(old).path == begun.path
        assert state_of(old) == "in-sync"
        assert record_of(environment_of(old)).source.path == str(new)
        assert installed(environment_of(old)) == {"alpha==1.1"}
        assert installed(begun.path) == {"nspkg-one==1.0"}

    assert start(old).path == environment_of(old)  # both moves were finished for it
    assert record_of(environment_of(old)).source.path == str(old)
    assert installed(environment_of(old)) == {"nspkg-one==1.0"}
    assert installed(environment_of(new)) == {"alpha==1.1"}
    assert not begun.path.exists()


def test_a_start_for_a_new_file_that_was_killed_leaves_nothing_behind(
    lean_home: Home, old: Path, new: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with kernel_in(lean_home, old):
        move(old, new)
        write_script(old)
        with monkeypatch.context() as patch:
            patch.setattr("ipy_scriptenv.environments.starting._launchable", die)
            with pytest.raises(KeyboardInterrupt):
                start(old, launching=False)

    assert start(old).path == environment_of(old)
    names = sorted(Context().store.names())
    assert names == sorted(environment_of(each).name for each in (old, new))


def test_a_third_file_at_the_old_path_gets_one_that_goes_with_its_kernel(
    lean_home: Home, old: Path, new: Path
) -> None:
    with kernel_in(lean_home, old):
        move(old, new)
        write_script(old)
        second = start(old, launching=False)
        with running_kernel(lean_home.scriptenv, second.name):
            move(old, rename(old, old.with_name("other.py")))
            write_script(old)

            assert start(old).source.kind is SourceKind.EPHEMERAL

    assert start(old).path == environment_of(old)
    assert record_of(environment_of(old)).source.path == str(old)


def test_a_new_file_at_the_old_path_has_no_environment_yet(
    lean_home: Home, old: Path, new: Path
) -> None:
    with kernel_in(lean_home, old):
        move(old, new)
        write_script(old, "nspkg-one")

        for verb in ("find", "status", "register", "unregister"):
            called = command(verb, old, "--json")
            assert called.code == 1 or called.json["state"] == "missing", called
            assert "delete" not in called.out.lower(), called  # it would be another's

    assert installed(environment_of(old)) == {"alpha==1.1"}


def test_a_new_file_at_the_old_path_cannot_delete_the_environment(
    lean_home: Home, old: Path, new: Path
) -> None:
    """The environment that stands there is the renamed file's, although no kernel runs now."""
    with kernel_in(lean_home, old):
        move(old, new)
    write_script(old, "nspkg-one")

    with pytest.raises(ScriptEnvError):
        environments.delete(environments.locate(old), context=Context())

    start(new)
    assert installed(environment_of(new)) == {"alpha==1.1"}


def test_the_kernel_of_a_new_file_at_the_old_path_runs_elsewhere(
    offline_home: Home, path: Path
) -> None:
    """As a new ``Untitled.ipynb`` does, when the first one was renamed and goes on."""
    home = offline_home
    with opened(home, path) as kernel:
        assert kernel.execute(block("alpha==1.0")).status == "ok"
        renamed = rename(path, path.with_name("renamed.ipynb"))
        assert move(path, renamed).waiting
        write_notebook(path, block("beta"))

        with opened(home, path) as other:
            beside = prefix(other)
            assert beside != environment_of(path)
            assert record_of(beside).source.path == str(path)
            synced = other.execute(block("beta") + "import beta; print(beta.__version__)")
            assert synced.shown_text.strip() == "1.0"
            assert state_of(path) == "in-sync"
            told = other.execute("%scriptenv status").shown_text
            assert re.search(rf"^source +{re.escape(str(path))}$", told, re.MULTILINE)
        # The one that goes on was not disturbed.
        assert prefix(kernel) == environment_of(path)
        assert unasked(kernel, "import alpha; print(alpha.__version__)") == "1.0"
        assert installed(environment_of(path)) == {"alpha==1.0"}

    with opened(home, path) as other:
        assert prefix(other) == environment_of(path)
        done = other.execute("import beta")
        assert (done.status, done.progress) == ("ok", [])  # it was moved, not made anew
    assert installed(environment_of(renamed)) == {"alpha==1.0"}


# The kernel that goes on


def test_a_kernel_goes_on_in_its_environment_after_a_rename(offline_home: Home, path: Path) -> None:
    with opened(offline_home, path) as kernel:
        assert kernel.execute(block("alpha==1.0")).status == "ok"
        new = rename(path, path.with_name("renamed.ipynb"))
        move(path, new)

        done = kernel.execute(block("alpha==1.0", "nspkg-one") + "import nspkg.one; print('here')")

        assert done.shown_text.strip() == "here", done.traceback
        assert prefix(kernel) == environment_of(path)
        assert installed(environment_of(path)) == {"alpha==1.0", "nspkg-one==1.0"}
        told = kernel.execute("%scriptenv status").shown_text
        assert re.search(rf"^source +{re.escape(str(new))}$", told, re.MULTILINE)
        assert f"`{path}` is not at its place any more; this kernel keeps its environment" in told


def test_a_restart_of_the_only_kernel_finishes_the_move(offline_home: Home, path: Path) -> None:
    with opened(offline_home, path) as kernel:
        assert kernel.execute(block("alpha==1.0")).status == "ok"
        new = rename(path, path.with_name("renamed.ipynb"))
        move(path, new)

        kernel.restart(env={**os.environ, "JPY_SESSION_NAME": str(new)})

        assert prefix(kernel) == environment_of(new)
        assert unasked(kernel, "import alpha; print(alpha.__version__)") == "1.0"
        assert not environment_of(path).exists()
        assert notes() == []


def test_a_restart_beside_another_kernel_stays_in_the_old_folder(
    offline_home: Home, path: Path
) -> None:
    with opened(offline_home, path) as kernel, opened(offline_home, path) as other:
        assert kernel.execute(block("alpha==1.0")).status == "ok"
        new = rename(path, path.with_name("renamed.ipynb"))
        move(path, new)

        kernel.restart(env={**os.environ, "JPY_SESSION_NAME": str(new)})

        assert prefix(kernel) == prefix(other) == environment_of(path)
        assert kernel.execute("import alpha").status == "ok"
        assert other.execute("import alpha").status == "ok"


def test_a_restart_by_a_client_that_tells_no_path_gives_a_kernel(
    offline_home: Home, path: Path
) -> None:
    """Such a client keeps the kernelspec as it read it, with the old path in it."""
    sync(path)
    with started(kernelspec_of(path)) as kernel:
        new = rename(path, path.with_name("renamed.ipynb"))
        move(path, new)

        kernel.restart()

        done = kernel.execute("import sys; print(sys.prefix)")
        assert done.status == "ok", done.traceback
        assert str(offline_home.scriptenv) in done.shown_text


def test_a_restart_on_a_new_file_at_the_old_path_gives_a_kernel(
    offline_home: Home, path: Path
) -> None:
    """So it is where a file is renamed, and its session does not hear of it."""
    with opened(offline_home, path) as kernel, opened(offline_home, path):
        new = rename(path, path.with_name("renamed.ipynb"))
        move(path, new)
        write_notebook(path, "1")

        kernel.restart()

        done = kernel.execute("1 + 1")
        assert done.status == "ok", done.traceback
        assert prefix(kernel) != environment_of(path)


# Another rename before the first is finished


def test_a_second_rename_counts(lean_home: Home, old: Path, new: Path) -> None:
    packages = inodes(environment_of(old))
    with kernel_in(lean_home, old):
        move(old, new)
        third = rename(new, old.with_name("c.py"))
        assert move(new, third).waiting
        assert notes() == [environment_of(third).name]
        assert record_of(environment_of(old)).source.path == str(third)

    assert start(third).path == environment_of(third)
    assert inodes(environment_of(third)) == packages
    assert not environment_of(old).exists()
    assert not environment_of(new).exists()


def test_a_rename_back_is_as_if_nothing_had_been(lean_home: Home, old: Path, new: Path) -> None:
    with kernel_in(lean_home, old):
        move(old, new)
        back = move(new, rename(new, old))

        assert (back.path, back.waiting, notes()) == (environment_of(old), False, [])
        assert record_of(environment_of(old)).source.path == str(old)
        assert start(old).path == environment_of(old)
        assert kernel_json(lean_home, old)["display_name"] == "scriptenv: a.py"

    assert state_of(old) == "in-sync"


def test_two_files_that_change_their_names_change_their_environments(
    lean_home: Home, old: Path
) -> None:
    other = write_script(old.with_name("b.py"), "nspkg-one")
    sync(other)
    between = rename(old, old.with_name("c.py"))
    move(old, between)
    move(other, rename(other, old))
    move(between, rename(between, other))

    assert installed(environment_of(old)) == {"nspkg-one==1.0"}
    assert installed(environment_of(other)) == {"alpha==1.1"}
    assert (state_of(old), state_of(other), notes()) == ("in-sync", "in-sync", [])
    assert kernelspecs(lean_home) == {kernelspec_of(old), kernelspec_of(other)}


def test_a_renamed_folder_is_followed_while_a_kernel_runs_in_it(lean_home: Home, old: Path) -> None:
    beside = write_script(old.with_name("b.py"), "nspkg-one")
    sync(beside)
    with kernel_in(lean_home, old):
        folder = old.parent.rename(old.parent.with_name("renamed"))
        moved = environments.adopt(old.parent, folder, context=Context())
        assert {each.waiting for each in moved} == {True, False}
        again = folder.rename(folder.with_name("again"))
        assert len(environments.adopt(folder, again, context=Context())) == 2

    assert start(again / "a.py").path == environment_of(again / "a.py")
    assert installed(environment_of(again / "a.py")) == {"alpha==1.1"}
    assert installed(environment_of(again / "b.py")) == {"nspkg-one==1.0"}
    assert notes() == []


# What the other verbs say meanwhile


def test_status_find_and_list_tell_of_the_new_source_while_its_move_waits(
    lean_home: Home, old: Path, new: Path
) -> None:
    with kernel_in(lean_home, old):
        move(old, new)

        status = command("status", new, "--json").json
        assert (status["state"], status["in_use"]) == ("in-sync", True)
        assert status["environment"]["path"] == str(environment_of(old))
        assert status["kernelspec"] == kernelspec_of(old)
        found = command("find", new).out.strip()
        assert found == str(environment_of(old) / "bin" / "python")
        (listed,) = command("list", "--json").json["environments"]
        assert (listed["source"], listed["state"], listed["in_use"]) == (str(new), "in-sync", True)
        told = json.loads(command("list", "--source", "*/b.py", "--json").out)
        assert len(told["environments"]) == 1


def test_delete_of_a_source_whose_move_waits(lean_home: Home, old: Path, new: Path) -> None:
    with kernel_in(lean_home, old):
        move(old, new)
        with pytest.raises(EnvironmentInUse):
            environments.delete(environments.locate(new), context=Context())

    environments.delete(environments.locate(new), context=Context())

    assert not environment_of(old).exists()
    assert notes() == []
    assert kernelspecs(lean_home) == set()
    with pytest.raises(NoEnvironment):
        environments.find(environments.locate(new), store=Context().store)


def test_prune_and_sweep_spare_what_waits_for_its_move(
    lean_home: Home, old: Path, new: Path
) -> None:
    with kernel_in(lean_home, old):
        move(old, new)
        assert environments.prunable(Kept(everything=True), context=Context()) == []

    assert environments.prunable(Kept(), context=Context()) == []
    assert sweep() == set()
    assert start(new).path == environment_of(new)


def test_a_kernelspec_stays_away_while_and_after_a_move_waits(
    lean_home: Home, old: Path, new: Path
) -> None:
    environments.unregister(environments.locate_or_gone(old), context=Context())
    with kernel_in(lean_home, old):
        move(old, new)
        assert kernelspecs(lean_home) == set()
        environments.register(environments.locate(new), context=Context())
        assert kernelspecs(lean_home) == {kernelspec_of(old)}
        environments.unregister(environments.locate(new), context=Context())

    start(new)
    assert kernelspecs(lean_home) == set()


def test_move_tells_that_it_waits(lean_home: Home, old: Path, new: Path) -> None:
    with kernel_in(lean_home, old):
        called = command("move", old, new)

    assert called.code == 0
    assert "its folder follows when its kernels have ended" in called.out
    assert str(environment_of(old)) in called.out
