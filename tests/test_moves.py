"""A renamed source takes its environment along: ``move``, with no kernel running in it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ipy_scriptenv import environments
from ipy_scriptenv.environments import Context
from ipy_scriptenv.errors import (
    EnvironmentInUse,
    LockTimeout,
    NoEnvironment,
    NotFound,
)
from tests.conftest import Home
from tests.kernels import kernelspec_of, launched, prefix, started, unasked
from tests.lifecycle import (
    command,
    environment_of,
    inodes,
    kernel_json,
    kernelspecs,
    move,
    notes,
    rename,
    revise_record,
    sweep,
)
from tests.stage import (
    block_of,
    commented,
    exclusively_held,
    installed,
    record_of,
    running_kernel,
    start,
    state_of,
    sync,
    write_notebook,
    write_project,
    write_script,
)


@pytest.fixture
def old(lean_home: Home, script: Path) -> Path:  # noqa: ARG001 - it sets the stage
    """Give a script whose environment holds ``alpha`` 1.1."""
    sync(write_script(script, "alpha<2"))
    return script


# What is carried along


def test_a_move_carries_environment_record_and_kernelspec(lean_home: Home, old: Path) -> None:
    before, packages = record_of(environment_of(old)), inodes(environment_of(old))
    new = rename(old, old.with_name("b.py"))

    moved = move(old, new)

    assert (moved.path, moved.waiting) == (environment_of(new), False)
    assert inodes(environment_of(new)) == packages  # nothing was installed anew
    record = record_of(environment_of(new))
    assert record.source.path == str(new)
    assert (record.packages, record.created, record.fingerprint) == (
        before.packages,
        before.created,
        before.fingerprint,
    )
    assert not environment_of(old).exists()
    assert notes() == []
    assert kernelspecs(lean_home) == {kernelspec_of(new)}
    spec = kernel_json(lean_home, new)
    assert spec["display_name"] == "scriptenv: b.py"
    assert str(environment_of(new) / "kernel.py") in str(spec["argv"])
    assert state_of(new) == "in-sync"


def test_a_moved_environment_is_kept_by_start_and_sync(old: Path) -> None:
    new = rename(old, old.with_name("b.py"))
    before = move(old, new).path.stat().st_ino

    start(new)
    assert sync(new).action == "kept"
    assert environment_of(new).stat().st_ino == before


@pytest.mark.usefixtures("lean_home")
def test_commands_and_entry_points_work_after_a_move(script: Path) -> None:
    sync(write_script(script, "with-entry-point"))
    new = rename(script, script.parent / "deeper" / "b.py")

    environment = move(script, new).path

    def output(*argv: str | Path) -> str:
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()

    assert output(environment / "bin" / "hello-entry") == "hello from an entry point"
    question = (
        "from importlib.metadata import entry_points as e;"
        "(found,) = e(group='demo.plugins'); print(found.load()())"
    )
    assert output(environment / "bin" / "python", "-c", question) == "hello"


@pytest.mark.usefixtures("offline_home")
def test_a_kernel_starts_in_a_moved_environment(path: Path) -> None:
    sync(path)
    new = rename(path, path.with_name("renamed.ipynb"))
    move(path, new)

    with started(kernelspec_of(new)) as kernel:
        assert prefix(kernel) == environment_of(new)
        assert unasked(kernel, "import alpha; print(alpha.__version__)") == "1.0"
        assert kernel.execute("1").shown_text == ""  # it is in sync: nothing is told
    with launched(kernelspec_of(new)) as kernel:
        assert prefix(kernel) == environment_of(new)


@pytest.mark.usefixtures("lean_home")
def test_a_lock_beside_the_new_place_decides_from_then_on(script: Path) -> None:
    """The lock is found beside the source, so a move may bring one or leave one behind."""
    sync(write_script(script, "alpha<2"))
    new = rename(script, script.parent / "locked" / "a.py")
    lock = 'version = 1\nrevision = 3\nrequires-python = ">=3.9"\n'
    new.with_name("a.py.lock").write_text(lock)

    move(script, new)

    assert state_of(new) == "stale"
    assert str(new) + ".lock" in record_of(environment_of(new)).watch
    assert str(script) + ".lock" not in record_of(environment_of(new)).watch


@pytest.mark.usefixtures("lean_home")
def test_relative_sources_mean_the_new_folder_after_a_move(script: Path) -> None:
    write_project(script.parent / "local", "1.0")
    write_script(script, "local", uv='sources.local = { path = "local" }')
    sync(script)
    new = rename(script, script.parent / "deeper" / "a.py")
    write_project(new.parent / "local", "2.0")

    move(script, new)

    assert installed(environment_of(new)) == {"local==1.0"}  # a move installs nothing
    assert state_of(new) == "stale"
    sync(new)
    assert installed(environment_of(new)) == {"local==2.0"}


@pytest.mark.usefixtures("offline_home")
def test_the_first_cell_after_a_move_takes_the_relative_sources_of_the_new_folder(
    script: Path,
) -> None:
    """A kernel asks a host, although each file that decides is as the record last saw it."""
    toml = block_of("local", uv='sources.local = { path = "local" }')
    write_project(script.parent / "local", "1.0")
    notebook = write_notebook(script.with_name("nb.ipynb"), commented(toml))
    sync(notebook)
    new = rename(notebook, script.parent / "deeper" / "nb.ipynb")
    write_project(new.parent / "local", "2.0")
    move(notebook, new)

    with started(kernelspec_of(new), cwd=new.parent) as kernel:
        code = "import local; print(local.VERSION)"
        assert kernel.execute(code).shown_text.strip() == "2.0"


@pytest.mark.usefixtures("lean_home")
def test_an_environment_that_was_never_synced_can_be_moved(script: Path) -> None:
    start(write_script(script, "alpha"))
    new = rename(script, script.with_name("b.py"))

    move(script, new)

    assert state_of(new) == "stale"
    assert sync(new).action == "updated"


# Who has one, and who has none


def test_a_move_without_an_environment_is_an_error(lean_home: Home, script: Path) -> None:
    new = write_script(script.with_name("b.py"), "alpha")

    with pytest.raises(NoEnvironment, match=r"a\.py"):
        move(script, new)

    assert [*lean_home.scriptenv.glob("environments-v1/*")] == []
    assert [*lean_home.scriptenv.glob("building-v1/.moved-*")] == []


def test_a_move_to_a_file_that_is_not_there_is_an_error(old: Path) -> None:
    with pytest.raises(NotFound):
        move(old, old.with_name("b.py"))
    assert state_of(old) == "in-sync"


def test_a_move_onto_an_environment_is_refused_and_changes_nothing(old: Path) -> None:
    """Two environments are two people's work: which one goes is for the user to say."""
    new = write_script(old.with_name("b.py"), "nspkg-one")
    sync(new)
    before = {path: inodes(environment_of(path)) for path in (old, new)}

    with pytest.raises(EnvironmentInUse, match="has an environment already") as raised:
        move(old, new)

    assert "delete" in (raised.value.hint or "")
    assert {path: inodes(environment_of(path)) for path in (old, new)} == before
    assert (state_of(old), state_of(new), notes()) == ("in-sync", "in-sync", [])


def test_a_rename_over_a_file_replaces_its_environment(lean_home: Home, old: Path) -> None:
    """Whoever renames over a file has decided that the other one goes."""
    new = write_script(old.with_name("b.py"), "nspkg-one")
    sync(new)
    packages = inodes(environment_of(old))
    old.replace(new)

    (moved,) = environments.adopt(old, new, context=Context())

    assert moved.path == environment_of(new)
    assert inodes(environment_of(new)) == packages
    assert [*lean_home.scriptenv.glob("building-v1/.*")] == []  # the other one has gone


def test_a_rename_over_a_file_whose_kernel_runs_leaves_both_as_they_are(
    lean_home: Home, old: Path
) -> None:
    new = write_script(old.with_name("b.py"), "nspkg-one")
    name = sync(new).name
    old.replace(new)

    with running_kernel(lean_home.scriptenv, name):
        assert environments.adopt(old, new, context=Context()) == []

    assert installed(environment_of(new)) == {"nspkg-one==1.0"}
    assert record_of(environment_of(old)).source.path == str(old)
    assert notes() == []


def test_a_rename_over_a_file_leaves_what_a_newer_version_made(old: Path) -> None:
    """A record of a higher schema is never touched."""
    new = write_script(old.with_name("b.py"), "nspkg-one")
    sync(new)
    revise_record(environment_of(new), schema=99)
    old.replace(new)

    assert environments.adopt(old, new, context=Context()) == []

    assert installed(environment_of(new)) == {"nspkg-one==1.0"}
    assert installed(environment_of(old)) == {"alpha==1.1"}
    assert (record_of(environment_of(old)).source.path, notes()) == (str(old), [])


def test_an_original_that_is_still_there_gets_a_new_environment(old: Path) -> None:
    new = old.with_name("b.py")
    new.write_text(old.read_text())

    move(old, new)
    start(old)

    assert installed(environment_of(new)) == {"alpha==1.1"}
    assert installed(environment_of(old)) == set()
    assert record_of(environment_of(old)).source.path == str(old)


def test_a_move_waits_for_whoever_changes_one_of_the_two(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCRIPTENV_LOCK_TIMEOUT", "0")
    new = rename(old, old.with_name("b.py"))

    for path in (old, new):
        lock = Context().store.lock(environment_of(path).name)
        with exclusively_held(lock), pytest.raises(LockTimeout):
            move(old, new)

    assert move(old, new).path == environment_of(new)


def test_a_renamed_folder_takes_all_its_environments_along(old: Path) -> None:
    folder = old.parent
    nested = write_script(sub(folder, "one", "two") / "c.py", "nspkg-one")
    beside = write_script(sub(folder.parent, "workshop") / "d.py", "nspkg-two")
    never = write_script(folder / "never.py", "alpha")
    for path in (nested, beside):
        sync(path)
    new = folder.rename(folder.parent / "renamed")

    moved = environments.adopt(folder, new, context=Context())

    places = {new / "a.py", new / "one" / "two" / "c.py"}
    assert {Path(each.new.path or "") for each in moved} == places
    assert {state_of(each) for each in [*places, beside]} == {"in-sync"}
    assert not environment_of(new / never.name).exists()
    assert len(environments.list_environments(context=Context())) == 3


def sub(folder: Path, *names: str) -> Path:
    place = folder.joinpath(*names)
    place.mkdir(parents=True)
    return place


# The kernelspec that a notebook names


def test_the_old_kernelspec_stays_for_a_notebook_that_names_it(
    offline_home: Home, path: Path
) -> None:
    """Its name is saved in the notebook: without it, opening it would ask for a kernel."""
    write_notebook(path, "1", kernel_name=kernelspec_of(path))
    sync(path)
    new = rename(path, path.with_name("renamed.ipynb"))
    move(path, new)

    assert kernelspecs(offline_home) == {
        kernelspec_of(path),
        kernelspec_of(new),
    }
    shown = str(kernel_json(offline_home, path)["display_name"])
    assert shown.startswith("scriptenv: renamed.ipynb")
    assert shown != kernel_json(offline_home, new)["display_name"]
    with started(kernelspec_of(path)) as kernel:
        assert prefix(kernel) == environment_of(new)
    with launched(kernelspec_of(path)) as kernel:
        assert prefix(kernel) == environment_of(new)
    assert (offline_home.kernelspecs / kernelspec_of(path)).exists()  # no start takes it away


def test_an_alias_is_swept_when_the_notebook_names_another_kernel(
    lean_home: Home, path: Path
) -> None:
    write_notebook(path, "1", kernel_name=kernelspec_of(path))
    sync(path)
    new = rename(path, path.with_name("renamed.ipynb"))
    move(path, new)
    assert sweep() == set()

    write_notebook(new, "1", kernel_name=kernelspec_of(new))
    assert sweep() == {environment_of(path).name}

    assert kernelspecs(lean_home) == {kernelspec_of(new)}


def test_an_alias_goes_with_its_environment(lean_home: Home, path: Path) -> None:
    write_notebook(path, "1", kernel_name=kernelspec_of(path))
    sync(path)
    new = rename(path, path.with_name("renamed.ipynb"))
    move(path, new)

    new.unlink()
    items = environments.prunable(environments.Kept(), context=Context())
    environments.prune(items, context=Context())

    assert kernelspecs(lean_home) == set()


def test_a_new_file_at_the_old_path_takes_the_kernelspec_of_that_name_back(
    lean_home: Home, path: Path
) -> None:
    write_notebook(path, "1", kernel_name=kernelspec_of(path))
    sync(path)
    new = rename(path, path.with_name("renamed.ipynb"))
    move(path, new)

    start(write_notebook(path, "2"))

    spec = kernel_json(lean_home, path)
    assert spec["display_name"] == "scriptenv: nb.ipynb"
    assert str(environment_of(path)) in str(spec["argv"])


def test_a_move_keeps_a_kernelspec_away_that_was_unregistered(lean_home: Home, old: Path) -> None:
    environments.unregister(environments.locate(old), context=Context())
    new = rename(old, old.with_name("b.py"))

    move(old, new)

    assert kernelspecs(lean_home) == set()


# The command line


def test_move_tells_what_it_did(old: Path) -> None:
    new = rename(old, old.with_name("b.py"))

    called = command("move", old, new, "--json")

    assert called.code == 0
    assert called.json == {
        "schema": 1,
        "source": str(new),
        "environment": {"name": environment_of(new).name, "path": str(environment_of(new))},
        "kernelspec": kernelspec_of(new),
        "waiting": False,
    }
    back = command("move", new, rename(new, old))
    assert (back.code, back.err) == (0, "")
    assert str(environment_of(old)) in back.out


def test_move_tells_errors_with_their_codes(old: Path) -> None:
    new = old.with_name("b.py")
    missing = command("move", old, new, "--json")
    assert (missing.code, missing.error) == (2, "not-found")
    write_script(new, "alpha")
    none = command("move", old.with_name("c.py"), new, "--json")
    assert (none.code, none.error) == (1, "no-environment")
    sync(new)
    used = command("move", old, new, "--json")
    assert (used.code, used.error) == (1, "environment-in-use")


def test_move_finds_a_gone_file_by_any_spelling(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = rename(old, old.with_name("b.py"))
    (tmp_path / "link").symlink_to(old.parent)
    monkeypatch.chdir(tmp_path)

    assert command("move", "link/../link/a.py", "link/b.py").code == 0
    assert state_of(new) == "in-sync"
