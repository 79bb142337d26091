"""Opening what means harm: nothing of it runs, nothing is installed, nothing else is written.

Each test compares the file system and the processes before and after, and listens to every Python
in between.
"""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager

from ipy_scriptenv import environments
from ipy_scriptenv.environments import Context
from ipy_scriptenv.errors import BadBlock, BadRequirement
from ipy_scriptenv.server_extension import _path_finder, follow_renames
from tests.conftest import Home
from tests.hostile.ears import Ears
from tests.hostile.folders import everything_beside
from tests.hostile.opening import assert_untouched, by_itself, debugger
from tests.hostile.sources import NO_REQUIREMENTS, SOURCES, UNREADABLE, Hostile
from tests.kernels import (
    GENERIC,
    Kernel,
    block,
    environment_of,
    ephemeral,
    install_generic,
    kernelspec_of,
    launched,
    made,
    opened,
    record_of,
    write_notebook,
)
from tests.lifecycle import Called, command
from tests.stage import commented, installed

RELATIVE = ("", ".", "bin")
"""What means the folder that a process happens to run in, as entries of a search path."""

READABLE = [hostile for hostile in SOURCES if hostile.code is None]
CODES = sorted({hostile.code for hostile in SOURCES if hostile.code is not None})


@pytest.fixture(scope="module", autouse=True)
def home(module_home: Home) -> Home:
    return module_home


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    """Give the folder in which everything hostile leaves a mark."""
    folder = tmp_path / "marks"
    folder.mkdir()
    return folder


@pytest.fixture
def folder(tmp_path: Path, marks: Path) -> Path:
    """Give a folder for a source, with everything hostile in it."""
    everything_beside(tmp_path / "work", marks)
    return tmp_path / "work"


@pytest.fixture(autouse=True)
def ears(
    tmp_path: Path, folder: Path, marks: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Ears]:
    """Stand in the hostile folder and listen; temporary files and uv's cache are the test's own."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
    monkeypatch.setenv("EVIL_MARKER", str(marks / "evil-sdist"))
    monkeypatch.chdir(folder)
    listening = Ears.listening(tmp_path / "ears", folder, monkeypatch)
    yield listening
    listening.stop()


def harmful_notebook(folder: Path) -> Path:
    """Write a notebook whose block would run code of its folder if it were installed."""
    more = '[tool.uv.sources]\nhostile = { path = "." }'
    return write_notebook(folder / "nb.ipynb", block("alpha", "evil-sdist", "hostile", more=more))


# Opening


@pytest.mark.parametrize("hostile", READABLE, ids=lambda hostile: hostile.name)
def test_opening_it_runs_and_installs_nothing(
    *, home: Home, folder: Path, marks: Path, ears: Ears, hostile: Hostile
) -> None:
    path = hostile.build(folder, marks)
    install_generic(home)
    with assert_untouched(home, folder, marks, ears):
        with opened(home, path) as kernel:
            by_itself(kernel, shortly=hostile.name != "everything from its own folder")
        status = looked_at(home, path)
    assert (status.code, status.json.get("error")) == (0, None)
    assert_empty(environment_of(home, path))


@pytest.mark.parametrize("code", CODES)
def test_opening_what_cannot_be_read_runs_and_installs_nothing(
    *, home: Home, folder: Path, marks: Path, ears: Ears, code: str
) -> None:
    """Each is started; a kernel runs on the first alone: of the others it gets the same record."""
    install_generic(home)
    sources = [hostile for hostile in SOURCES if hostile.code == code]
    for number, hostile in enumerate(sources):
        built = hostile.build(folder, marks)
        path = built.rename(built.with_stem(f"{code}-{number}"))
        with told_by(hostile.name):
            with assert_untouched(home, folder, marks, ears):
                made(home, path)
                if number == 0:
                    with opened(home, path) as kernel:
                        by_itself(kernel, shortly=True)
                status = looked_at(home, path)
            assert (status.code, status.json["error"]["code"]) == (2, code)
            assert_empty(environment_of(home, path))


def looked_at(home: Home, path: Path) -> Called:
    """Ask for the environment of a source, check what is told, and give its status."""
    status = command("status", path, "--json")
    assert command("find", path).out == f"{environment_of(home, path)}/bin/python\n"
    assert str(path) in command("list").out
    return status


def assert_empty(environment: Path) -> None:
    """Check that nothing is installed in an environment, and that its record says so."""
    assert installed(environment) == set()
    assert record_of(environment)["packages"] == []


@contextmanager
def told_by(name: str) -> Iterator[None]:
    """Have a failure in here tell which case it is about."""
    try:
        yield
    except Exception as failure:
        failure.add_note(f"It is about: {name}")
        raise


def test_a_relative_entry_of_pythonpath_means_nothing_of_the_folder(
    *, home: Home, folder: Path, marks: Path, ears: Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = harmful_notebook(folder)
    install_generic(home)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([*RELATIVE, str(ears.folder)]))
    with assert_untouched(home, folder, marks, ears), opened(home, path) as kernel:
        by_itself(kernel, shortly=True)
        kernel.restart()
        by_itself(kernel, shortly=True)


def test_a_relative_entry_of_path_means_nothing_of_the_folder(
    *, home: Home, folder: Path, marks: Path, ears: Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No program beside the notebook is run, such as what the debugger asks about the machine."""
    path = harmful_notebook(folder)
    install_generic(home)
    monkeypatch.setenv("PATH", os.pathsep.join([".", "bin", os.environ["PATH"]]))
    with opened(home, path) as kernel:
        with assert_untouched(home, folder, marks, ears):
            by_itself(kernel)
        debugger(kernel)
        assert ears.code == []
        assert_a_user_runs_it(kernel, marks)


def assert_a_user_runs_it(kernel: Kernel, marks: Path) -> None:
    """Check that a cell that a user runs installs and imports; so it shows that the marks work."""
    first = kernel.execute(block("alpha==1.0") + "import alpha\nimport mine\nalpha.__version__")
    assert first.result == "'1.0'", first.traceback
    assert [mark.name for mark in marks.iterdir()] == ["mine"]


# Without a provisioner


def test_the_argv_of_its_own_kernelspec_runs_and_installs_nothing(
    home: Home, folder: Path, marks: Path, ears: Ears
) -> None:
    path = harmful_notebook(folder)
    made(home, path)
    with (
        assert_untouched(home, folder, marks, ears),
        launched(kernelspec_of(path), cwd=folder) as kernel,
    ):
        by_itself(kernel, shortly=True)
    # A changed file makes the launcher ask a host before the kernel stands.
    write_notebook(path, commented(NO_REQUIREMENTS["newline"].rstrip()), "import mine")
    with launched(kernelspec_of(path), cwd=folder) as kernel:
        with assert_untouched(home, folder, marks, ears):
            by_itself(kernel)
        debugger(kernel)
        assert ears.code == []
        assert_a_user_runs_it(kernel, marks)


def test_the_argv_of_the_generic_kernelspec_runs_and_installs_nothing(
    home: Home, folder: Path, marks: Path, ears: Ears
) -> None:
    install_generic(home)
    variables = {"PYTHONPATH": os.pathsep.join([".", str(ears.folder)])}
    with (
        assert_untouched(home, folder, marks, ears),
        launched(GENERIC, cwd=folder, env=variables) as kernel,
    ):
        by_itself(kernel)
    for environment in ephemeral(home):
        assert installed(environment) == set()


# Asking the command line


@pytest.mark.parametrize("name", ["everything from its own folder", "newline", "nested arrays"])
def test_the_verbs_that_only_look_run_and_write_nothing(
    *, home: Home, folder: Path, marks: Path, ears: Ears, name: str
) -> None:
    (hostile,) = (each for each in SOURCES if each.name == name)
    path = hostile.build(folder, marks)
    Context().store.prepare()
    with assert_untouched(home, folder, marks, ears):
        for words in (["status", path], ["find", path], ["list"], ["list", "--size"]):
            assert command(*words).code in {0, 1, 2}
            assert command(*words, "--json").json["schema"] == 1
    assert ears.commands == []
    assert not environment_of(home, path).exists()


# Renaming


RENAMES: tuple[dict[str, str | None], ...] = (
    {},
    {"source_path": None, "path": None},
    {"source_path": "nb.ipynb", "path": ""},
    {"source_path": "nb.ipynb", "path": "../../../../etc/passwd"},
    {"source_path": "../../../../etc/passwd", "path": "nb.ipynb"},
    {"source_path": "nb.ipynb", "path": "a\0b"},
    {"source_path": "nb.ipynb", "path": "\ud800.ipynb"},
    {"source_path": "nb.ipynb", "path": "evil.ipynb/../nb.ipynb"},
    {"source_path": "", "path": "nb.ipynb"},
    {"source_path": "/", "path": "/"},
)


def test_the_servers_listener_bears_every_rename(
    home: Home, folder: Path, marks: Path, ears: Ears, caplog: pytest.LogCaptureFixture
) -> None:
    path = harmful_notebook(folder)
    made(home, path)
    manager = AsyncLargeFileManager(root_dir=str(folder))
    listener = follow_renames(_path_finder(manager), logging.getLogger("server"))
    for data in RENAMES:
        with told_by(repr(data)):
            with assert_untouched(home, folder, marks, ears):
                asyncio.run(listener(None, "", {"action": "rename", **data}))
            assert record_of(environment_of(home, path))["source"]["path"] == str(path)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_an_environment_that_follows_a_rename_runs_and_installs_nothing(
    home: Home, folder: Path, marks: Path, ears: Ears
) -> None:
    path = harmful_notebook(folder)
    made(home, path)
    # No kernel comes of it.
    for note in (home.scriptenv / "locks").glob("*.starting"):
        note.unlink()
    new = path.rename(folder / "new.ipynb")
    manager = AsyncLargeFileManager(root_dir=str(folder))
    listener = follow_renames(_path_finder(manager), logging.getLogger("server"))
    data = {"action": "rename", "source_path": "nb.ipynb", "path": "new.ipynb"}
    ears.forget()
    with assert_untouched(home, folder, marks, ears):
        asyncio.run(listener(None, "", data))
    assert ears.commands == []
    assert record_of(environment_of(home, new))["source"]["path"] == str(new)
    assert installed(environment_of(home, new)) == set()


# What is no requirement never reaches uv


def test_a_block_that_cannot_be_read_never_reaches_uv(home: Home, folder: Path, ears: Ears) -> None:
    path = write_notebook(folder / "nb.ipynb", "1")
    source = environments.locate(path)
    environment = made(home, path)
    ears.forget()
    let_through = []
    for name, toml in UNREADABLE.items():
        write_notebook(path, commented(toml.rstrip("\n")))
        for options in ({}, {"block": toml, "given": True}):
            try:
                environments.sync(source, context=Context(), **options)  # type: ignore[arg-type]
            except (BadBlock, BadRequirement):
                continue
            let_through.append(name)
    assert let_through == []
    assert ears.commands == []
    assert installed(environment) == set()
    assert not list((home.scriptenv / "work-v1").glob("*.py"))


def test_a_cell_whose_block_is_hostile_is_refused_before_uv_is_asked(
    home: Home, folder: Path, marks: Path, ears: Ears
) -> None:
    path = write_notebook(folder / "nb.ipynb", "1")
    with opened(home, path) as kernel:
        ears.forget()
        for name in ("option", "newline", "NUL", "escape sequence", "path", "editable"):
            code = commented(NO_REQUIREMENTS[name].rstrip(), "open('owned', 'w')")
            done = kernel.execute(code)
            assert done.ename == "BadRequirement", name
            shown = done.traceback.replace("\n", "")
            assert shown.isprintable(), shown
    assert ears.uv == []
    assert [mark.name for mark in marks.iterdir()] == []
    assert not (folder / "owned").exists()
