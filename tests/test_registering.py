"""What the kernel picker shows: register, unregister, display names."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Event, Thread

import pytest

from ipy_scriptenv import environments
from ipy_scriptenv.environments import Context
from ipy_scriptenv.environments.superfluous import is_dead
from ipy_scriptenv.kernels import specs
from ipy_scriptenv.layout import CHANGING
from ipy_scriptenv.store import Store
from tests.conftest import Home
from tests.kernels import kernelspec_of, launched, made, opened, prefix, started
from tests.lifecycle import (
    command,
    environment_of,
    kernel_json,
    kernelspecs,
    move,
    rename,
    sweep,
)
from tests.stage import (
    installed,
    running_kernel,
    start,
    state_of,
    sync,
    write_notebook,
    write_script,
)

pytestmark = pytest.mark.usefixtures("own_home")


@pytest.fixture
def script(lean_home: Home, script: Path) -> Path:  # noqa: ARG001 - it sets the stage
    return write_script(script, "alpha<2")


def shown(home: Home, path: Path) -> str:
    """Give what the picker shows for a source."""
    return str(kernel_json(home, path)["display_name"])


def notebooks(folder: Path, *places: str) -> list[Path]:
    """Write notebooks and start each; their kernels have ended by now."""
    found = [write_notebook(folder / place, "1") for place in places]
    for path in found:
        name = start(path).name
        (Context().store.locks / f"{name}.starting").unlink()
    return found


# Register and unregister


def test_unregister_takes_the_kernel_out_of_the_picker_for_good(home: Home, script: Path) -> None:
    """Neither starts nor syncs bring it back."""
    sync(script)

    called = command("unregister", script, "--json")

    assert called.json == {"schema": 1, "source": str(script), "kernelspec": None}
    assert kernelspecs(home) == set()
    start(script)
    sync(script)
    write_script(script, "alpha<2", "nspkg-one")
    assert sync(script).action == "updated"
    assert command("rebuild", script).code == 0
    assert kernelspecs(home) == set()
    assert installed(environment_of(script)) == {"alpha==1.1", "nspkg-one==1.0"}


def test_an_unregistered_kernel_stays_away_when_a_start_builds_anew(
    home: Home, script: Path
) -> None:
    sync(script)
    environments.unregister(environments.locate(script), context=Context())
    (environment_of(script) / CHANGING).touch()

    start(script)

    assert kernelspecs(home) == set()


def test_register_brings_it_back(home: Home, script: Path) -> None:
    sync(script)
    command("unregister", script)

    called = command("register", script)

    assert (called.code, called.out) == (0, f"{kernelspec_of(script)}\n")
    assert kernelspecs(home) == {kernelspec_of(script)}
    sync(script)
    assert kernelspecs(home) == {kernelspec_of(script)}


def test_register_and_unregister_twice_are_as_once(home: Home, script: Path) -> None:
    sync(script)
    assert "no longer" in command("unregister", script).out
    assert "not there" in command("unregister", script).out
    assert command("register", script).code == command("register", script).code == 0
    assert kernelspecs(home) == {kernelspec_of(script)}


@pytest.mark.parametrize("verb", ["register", "unregister"])
def test_without_an_environment_there_is_nothing_to_register(
    home: Home, script: Path, verb: str
) -> None:
    called = command(verb, script, "--json")
    assert (called.code, called.error) == (1, "no-environment")
    assert kernelspecs(home) == set()


def test_the_generic_kernel_serves_a_notebook_that_is_unregistered(
    offline_home: Home, path: Path
) -> None:
    environment = made(offline_home, path)
    environments.unregister(environments.locate(path), context=Context())

    with opened(offline_home, path) as kernel:
        assert prefix(kernel) == environment
        kernel.restart()
        assert prefix(kernel) == environment

    assert kernelspecs(offline_home) == set()


def test_a_source_that_is_gone_can_be_unregistered(home: Home, script: Path) -> None:
    sync(script)
    script.unlink()
    assert command("unregister", script).code == 0
    assert kernelspecs(home) == set()


def test_the_sweep_removes_the_kernelspec_of_a_source_that_is_gone(
    home: Home, script: Path
) -> None:
    sync(script)
    name, stays = environment_of(script).name, write_script(script.with_name("stays.py"))
    start(stays)
    assert sweep() == set()
    script.unlink()

    with running_kernel(home.scriptenv, name):
        assert sweep() == set()
    assert sweep() == {name}

    assert kernelspecs(home) == {kernelspec_of(stays)}
    assert installed(environment_of(script)) == {"alpha==1.1"}  # only `prune` removes it
    start(write_script(script, "alpha<2"))  # it was deleted by mistake, and came back
    assert kernelspecs(home) == {kernelspec_of(stays), kernelspec_of(script)}
    assert state_of(script) == "in-sync"


def test_the_sweep_spares_an_environment_that_is_out_of_sight_while_it_is_replaced(
    home: Home, script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync(script)
    looked, replaced, swept = Event(), Event(), list[set[str]]()

    def look_and_pause(store: Store, spec: specs.Spec) -> bool:
        found = is_dead(store, spec)
        looked.set()
        replaced.wait(60)
        return found

    def rename_late(path: Path, target: Path) -> Path:
        if path.name.startswith(".building-"):
            sweeper.start()
            looked.wait(60)
        return rename(path, target)

    sweeper = Thread(target=lambda: swept.append(sweep()))
    rename = Path.rename
    monkeypatch.setattr("ipy_scriptenv.environments.removing.is_dead", look_and_pause)
    monkeypatch.setattr(Path, "rename", rename_late)
    sync(write_script(script, "beta"))
    replaced.set()
    sweeper.join()
    assert swept == [set()]
    assert kernelspecs(home) == {kernelspec_of(script)}


def test_what_stands_in_a_source_s_place_is_not_waited_for(home: Home, script: Path) -> None:
    """A pipe, which anybody who may write there can put there, would never end."""
    os.mkfifo(script.with_suffix(".ipynb"))
    name = environments.name_of(environments.locate(script))
    assert not specs.is_named_by(str(script.with_suffix(".ipynb")), name)
    assert kernelspecs(home) == set()


# Display names


@pytest.mark.usefixtures("lean_home")
def test_a_name_that_is_there_once_is_shown_alone(home: Home, tmp_path: Path) -> None:
    one, two = notebooks(tmp_path / "work", "a/nb.ipynb", "b/other.ipynb")
    assert shown(home, one) == "scriptenv: nb.ipynb"
    assert shown(home, two) == "scriptenv: other.ipynb"


@pytest.mark.usefixtures("lean_home")
def test_two_notebooks_of_one_name_tell_their_folders(home: Home, tmp_path: Path) -> None:
    one, two = notebooks(tmp_path / "work", "a/nb.ipynb", "b/nb.ipynb")
    assert shown(home, one) == "scriptenv: nb.ipynb (a)"
    assert shown(home, two) == "scriptenv: nb.ipynb (b)"

    for path in (one, two):  # starts and syncs leave it so
        start(path)
        sync(path)
    assert shown(home, one) == "scriptenv: nb.ipynb (a)"


@pytest.mark.usefixtures("lean_home")
def test_as_many_folders_are_told_as_it_takes(home: Home, tmp_path: Path) -> None:
    work = tmp_path / "work"
    one, two = notebooks(work, "x/deep/er/nb.ipynb", "y/deep/er/nb.ipynb")
    assert shown(home, one) == "scriptenv: nb.ipynb (x/deep/er)"
    assert shown(home, two) == "scriptenv: nb.ipynb (y/deep/er)"

    (three,) = notebooks(work, "y/er/nb.ipynb")
    assert shown(home, three) == "scriptenv: nb.ipynb (y/er)"
    assert len({shown(home, path) for path in (one, two, three)}) == 3


@pytest.mark.usefixtures("lean_home")
def test_a_notebook_above_the_others_of_its_name_is_told_apart(home: Home, tmp_path: Path) -> None:
    found = notebooks(tmp_path / "work", "a/nb.ipynb", "nb.ipynb", "a/a/nb.ipynb")
    assert len({shown(home, path) for path in found}) == 3


@pytest.mark.usefixtures("lean_home")
def test_a_name_becomes_short_again_when_the_other_goes(home: Home, tmp_path: Path) -> None:
    one, two, three = notebooks(tmp_path / "work", "a/nb.ipynb", "b/nb.ipynb", "c/nb.ipynb")
    environments.unregister(environments.locate(one), context=Context())
    assert shown(home, two) == "scriptenv: nb.ipynb (b)"
    environments.delete(environments.locate(two), context=Context())
    assert shown(home, three) == "scriptenv: nb.ipynb"


@pytest.mark.parametrize("running", [False, True])
def test_a_name_becomes_short_again_when_the_other_is_renamed(
    lean_home: Home, tmp_path: Path, *, running: bool
) -> None:
    one, two = notebooks(tmp_path / "work", "a/nb.ipynb", "b/nb.ipynb")
    name = environment_of(one).name
    new = rename(one, one.with_name("other.ipynb"))
    if running:
        with running_kernel(lean_home.scriptenv, name):
            move(one, new)
        start(new)
    else:
        move(one, new)

    assert shown(lean_home, new) == "scriptenv: other.ipynb"
    assert shown(lean_home, two) == "scriptenv: nb.ipynb"


@pytest.mark.usefixtures("lean_home")
def test_names_that_are_alike_to_the_eye_alone_stay_short(home: Home, tmp_path: Path) -> None:
    """Their environments' names begin alike, which is how equal ones are looked for."""
    one, two = notebooks(tmp_path / "work", "a/my nb.ipynb", "b/my-nb.ipynb")
    assert shown(home, one) == "scriptenv: my nb.ipynb"
    assert shown(home, two) == "scriptenv: my-nb.ipynb"


@pytest.mark.parametrize("name", ["a\nb.ipynb", "a\x1b[31mb.ipynb", "a\u202eb.ipynb", "\x7f.ipynb"])
def test_control_characters_of_a_name_are_not_shown(
    offline_home: Home, tmp_path: Path, name: str
) -> None:
    (path,) = notebooks(tmp_path / "work", name)
    text = shown(offline_home, path)
    assert text.isprintable()
    assert text.startswith("scriptenv: ")
    assert text.endswith("b.ipynb") or "x7f" in text
    assert kernel_json(offline_home, path)["metadata"]["scriptenv"]["source"] == str(path)


def test_a_notebook_with_control_characters_in_its_name_runs(
    offline_home: Home, tmp_path: Path
) -> None:
    (path,) = notebooks(tmp_path / "wo\nrk", "a\x1bb.ipynb")
    with started(kernelspec_of(path)) as kernel:
        assert prefix(kernel) == environment_of(path)
    with launched(kernelspec_of(path)) as kernel:
        assert prefix(kernel) == environment_of(path)
    assert kernelspecs(offline_home) == {kernelspec_of(path)}


@pytest.mark.usefixtures("lean_home")
def test_two_notebooks_of_one_name_with_control_characters_tell_their_folders(
    home: Home, tmp_path: Path
) -> None:
    one, two = notebooks(tmp_path / "work", "a/x\ny.ipynb", "b\t/x\ny.ipynb")
    texts = shown(home, one), shown(home, two)
    assert len(set(texts)) == 2
    assert all(text.isprintable() for text in texts)
    environments.delete(environments.locate(two), context=Context())
    assert "(a)" not in shown(home, one)


@pytest.mark.usefixtures("lean_home")
def test_a_name_with_letters_of_another_script_is_shown_as_it_is(
    home: Home, tmp_path: Path
) -> None:
    (path,) = notebooks(tmp_path / "work", "Größe 日本.ipynb")
    assert shown(home, path) == "scriptenv: Größe 日本.ipynb"
