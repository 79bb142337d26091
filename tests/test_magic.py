"""``%scriptenv`` in the host's own IPython."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from ipy_scriptenv.kernel_side.failing import Failed
from ipy_scriptenv.kernel_side.words import words_of
from tests.conftest import Home
from tests.stage import (
    call,
    commented,
    environment_of,
    installed,
    sync,
    write_notebook,
    write_script,
)

Cell = Callable[[str], tuple[str, str]]


@pytest.fixture
def shell(lean_home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:  # noqa: ARG001 - it sets the stage
    """Give a shell where the extension is loaded."""
    for name in ("displayhook", "excepthook", "ps1", "ps2", "ps3"):
        monkeypatch.setattr(sys, name, getattr(sys, name, None), raising=False)
    config = Config()
    config.HistoryManager.enabled = False
    kind: Any = InteractiveShell  # it has no types
    shell = kind(config=config)
    shell.run_cell("%load_ext ipy_scriptenv").raise_error()
    yield shell
    shell.restore_sys_module_state()


@pytest.fixture
def cell(shell: Any, capsys: pytest.CaptureFixture[str]) -> Cell:
    """Give a function that runs a cell without an error, and gives what it showed."""

    def cell(code: str) -> tuple[str, str]:
        capsys.readouterr()
        shell.run_cell(code).raise_error()
        out, err = capsys.readouterr()
        return out, err

    return cell


@pytest.fixture
def script(script: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(script.parent)
    return write_script(script, "beta")


def test_the_extension_gives_a_line_and_a_cell_magic(shell: Any) -> None:
    magic = shell.find_line_magic("scriptenv")
    assert magic is not None
    assert shell.find_cell_magic("scriptenv") is not None
    assert "[VERB] [SOURCE] [OPTIONS]" in (magic.__doc__ or "")


def test_loading_the_extension_again_does_no_harm(cell: Cell) -> None:
    cell("%load_ext ipy_scriptenv")
    cell("%reload_ext ipy_scriptenv")
    assert "no environments yet" in cell("%scriptenv list")[0]


def test_sync_makes_the_environment(cell: Cell, script: Path) -> None:
    out, err = cell("%scriptenv sync a.py")
    assert installed(environment_of(script)) == {"alpha==2.0", "beta==1.0"}
    assert " + alpha 2.0\n" in out
    assert "Resolved 2 packages" in err
    assert cell("%scriptenv sync a.py")[0].startswith("In sync")


def test_status_compares(cell: Cell, script: Path) -> None:
    assert "missing" in cell(f"%scriptenv status {script}")[0]
    sync(script)
    assert "in-sync" in cell(f"%scriptenv status {script}")[0]


def test_find_gives_the_interpreter(cell: Cell, script: Path) -> None:
    environment = sync(script).path
    assert cell("%scriptenv find a.py") == (f"{environment}/bin/python\n", "")


def test_list_gives_all_environments(cell: Cell, script: Path) -> None:
    environment = sync(script).path
    assert environment.name in cell("%scriptenv list")[0]


def test_a_path_with_spaces_is_quoted(cell: Cell, script: Path) -> None:
    path = script.rename(script.with_name("with space.py"))
    assert "missing" in cell("%scriptenv status 'with space.py'")[0]
    assert str(path) in cell('%scriptenv status "./with space.py"')[0]


def test_a_path_may_begin_with_the_home(cell: Cell, lean_home: Home) -> None:
    write_script(lean_home.path / "b.py")
    assert "missing" in cell("%scriptenv status ~/b.py")[0]


@pytest.mark.parametrize("line", ["%scriptenv", "%scriptenv status", "%scriptenv   "])
def test_the_notebook_of_the_session_is_the_source_where_none_is_named(
    cell: Cell, script: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    notebook = write_notebook(script.with_name("nb.ipynb"), "1")
    monkeypatch.setenv("JPY_SESSION_NAME", str(notebook))
    assert str(notebook) in cell(line)[0]


def test_the_notebook_of_vs_code_is_the_source_where_none_is_named(
    shell: Any, cell: Cell, script: Path
) -> None:
    notebook = write_notebook(script.with_name("nb.ipynb"), "1")
    shell.user_ns["__vsc_ipynb_file__"] = str(notebook)
    assert str(notebook) in cell("%scriptenv")[0]
    cell("%scriptenv sync")
    assert environment_of(notebook).exists()


def failure(shell: Any, capsys: pytest.CaptureFixture[str], code: str) -> str:
    """Run a cell that fails; give what it shows."""
    capsys.readouterr()
    with pytest.raises(Failed) as caught:
        shell.run_cell(code).raise_error()
    assert type(caught.value).__name__ == caught.value.name
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    shown = "\n".join(caught.value.lines())
    assert shown in out
    return shown


def test_where_the_notebook_is_not_known_that_is_told(
    shell: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    told = failure(shell, capsys, "%scriptenv")
    assert told.startswith("WrongCall: It is not known which notebook this is.\n")
    assert "Name its path." in told


@pytest.mark.usefixtures("script")
@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("%scriptenv no-such-verb", "No such command"),
        ("%scriptenv status a.py b.py", "unexpected extra argument"),
        ("%scriptenv list a.py", "unexpected extra argument"),
        ("%scriptenv delete a.py", "Say --yes"),
        ("%scriptenv status no-such-file", "does not exist"),
        ("%scriptenv find a.py", "has no environment yet"),
        ("%scriptenv status 'a.py", "No closing quotation"),
        ("%%scriptenv 'a\n1", "No closing quotation"),
    ],
)
def test_what_goes_wrong_is_an_error_of_the_cell_without_our_traceback(
    shell: Any, capsys: pytest.CaptureFixture[str], line: str, told: str
) -> None:
    assert told in failure(shell, capsys, line)


def test_a_failed_resolution_is_told_in_uvs_words(
    shell: Any, capsys: pytest.CaptureFixture[str], script: Path
) -> None:
    write_script(script, "alpha>=3")
    told = failure(shell, capsys, "%scriptenv sync a.py")
    assert told.startswith("ResolutionFailed: No set of packages satisfies the dependencies.")
    assert "No solution found" in told


@pytest.mark.parametrize("word", ["help", "-h", "--help"])
def test_help_tells_the_usage(cell: Cell, word: str) -> None:
    shown = cell(f"%scriptenv {word}")[0]
    assert "Usage: %scriptenv" in shown
    assert all(verb in shown for verb in ("status", "sync", "prune", "doctor", "move"))


def test_each_verb_has_a_help_of_its_own(cell: Cell) -> None:
    assert "--unused-for" in cell("%scriptenv prune --help")[0]
    assert "Usage: %scriptenv rebuild" in cell("%scriptenv rebuild --help")[0]


def test_the_verbs_that_move_and_throw_away_are_those_of_the_command_line(
    cell: Cell, script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where SOURCE is left out, it is the notebook's own."""
    environment = sync(script).path
    renamed = script.rename(script.with_name("b.py"))
    cell("%scriptenv move a.py b.py")
    assert not environment.exists()
    assert environment_of(renamed).exists()
    monkeypatch.setenv("JPY_SESSION_NAME", str(renamed))
    assert "Rebuilt" in cell("%scriptenv rebuild")[0]
    assert "no longer" in cell("%scriptenv unregister")[0]
    assert "scriptenv-b-" in cell("%scriptenv register")[0]
    assert "Nothing is wrong" in cell("%scriptenv doctor")[0]
    cell("%scriptenv delete --yes")
    assert not environment_of(renamed).exists()
    assert "nothing to remove" in cell("%scriptenv prune")[0]


def test_a_package_behind_a_source_is_no_path(cell: Cell, script: Path) -> None:
    cell("%scriptenv add a.py alpha==1.0")
    assert '"alpha==1.0"' in script.read_text()
    cell("%scriptenv remove a.py alpha")
    assert "alpha" not in script.read_text()
    cell("%scriptenv init new.py beta")
    made = script.with_name("new.py")
    assert '"beta' in made.read_text()
    assert "new.py" in cell("%scriptenv upgrade new.py beta")[0]
    minor = f"{sys.version_info[0]}.{sys.version_info[1]}"
    cell(f"%scriptenv python new.py {minor}")
    assert f"=={minor}.*" in made.read_text()


def test_a_path_as_an_index_starts_in_the_folder_of_the_call(
    cell: Cell, script: Path, index: Path
) -> None:
    (script.parent / "idx").symlink_to(index)
    url = f'url = "{script.parent}/idx"'
    cell("%scriptenv add a.py --index ./idx alpha==1.0")
    assert url in script.read_text()
    other = write_script(script.with_name("b.py"))
    done = call("add", "b.py", "--default-index", "./idx", "alpha==1.0", cwd=script.parent)
    assert done.returncode == 0, done.stderr
    assert url in other.read_text()


@pytest.fixture
def notebook(script: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the notebook that this shell belongs to; it asks for ``alpha``."""
    notebook = write_notebook(script.with_name("nb.ipynb"), commented('dependencies = ["alpha"]'))
    monkeypatch.setenv("JPY_SESSION_NAME", str(notebook))
    return notebook


def test_verbs_of_one_source_are_about_the_notebook_where_none_is_named(
    cell: Cell, notebook: Path
) -> None:
    assert " + alpha 2.0\n" in cell("%scriptenv upgrade")[0]
    assert "nb.ipynb" in cell("%scriptenv upgrade alpha")[0]
    cell("%scriptenv lock")
    assert notebook.with_name("nb.ipynb.lock").exists()
    assert "alpha v2.0" in cell("%scriptenv tree --depth 3")[0]
    assert "alpha==2.0" in cell("%scriptenv export --no-hashes")[0]
    assert "beta==1.0" in cell("%scriptenv export --no-hashes a.py")[0]
    assert "nb.ipynb" in cell("%scriptenv sync --locked")[0]
    cell("%scriptenv export --no-hashes -oout.txt")
    assert "alpha==2.0" in notebook.with_name("out.txt").read_text()
    cell("%scriptenv upgrade ./a.py")
    assert "beta==1.0" in installed(environment_of(notebook.with_name("a.py")))


def test_what_is_added_stays_when_more_is_added_before_the_notebook_is_saved(
    shell: Any, cell: Cell, notebook: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cell("%scriptenv add beta")
    assert '"beta' in shell.rl_next_input
    assert "save the notebook first" in cell("%scriptenv tree")[1]
    cell("%scriptenv add gamma")
    text = shell.rl_next_input
    assert '"beta' in text
    assert '"gamma' in text
    assert installed(environment_of(notebook)) == {"alpha==1.1", "beta==1.0", "gamma==1.0"}
    # The file does not have it yet: what only reads the file is refused.
    out, _ = cell("%scriptenv sync")
    assert out.startswith("In sync")
    assert "pick `scriptenv: nb.ipynb`" in out
    cell("%scriptenv upgrade alpha")
    cell("%scriptenv upgrade")
    assert installed(environment_of(notebook)) == {"alpha==1.1", "beta==1.0", "gamma==1.0"}
    for line in ("sync --locked", "rebuild", "upgrade --index x"):
        assert "save the notebook first" in failure(shell, capsys, f"%scriptenv {line}")
    write_notebook(notebook, commented('dependencies = ["beta"]'))
    cell("%scriptenv add alpha==1.0")
    text = shell.rl_next_input
    assert "gamma" not in text
    assert "alpha==1.0" in text
    assert "save the notebook first" not in cell("%scriptenv tree a.py")[1]


@pytest.mark.parametrize(
    ("line", "escapes", "words"),
    [
        (r"add C:\new\x.whl 'a b'", False, ["add", r"C:\new\x.whl", "a b"]),
        (r'add "C:\my things\x.whl" --index="C:\my index"', False,
         ["add", r"C:\my things\x.whl", r"--index=C:\my index"]),
        (r"add a\ b 'c d'#e", True, ["add", "a b", "c d#e"]),
    ],
)  # fmt: skip
def test_a_backslash_parts_folders_where_it_does_so(
    line: str, words: list[str], *, escapes: bool
) -> None:
    assert words_of(line, backslash_escapes=escapes) == words
