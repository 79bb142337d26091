"""`%scriptenv add` and its like, in the kernel of the notebook that they change."""

from __future__ import annotations

from pathlib import Path

from ipy_scriptenv.cli import command_line
from ipy_scriptenv.kernel_side.declaring import VERBS
from tests.conftest import Home
from tests.kernels import (
    Execution,
    environment_of,
    opened,
    pip_list,
    write_notebook,
)

NOTE = "The cell below is the new block: it replaces"


def offered(done: Execution) -> tuple[str, bool]:
    """Give the next input that a cell offers, and whether it replaces the cell."""
    (payload,) = done.reply["payload"]
    assert payload["source"] == "set_next_input"
    return payload["text"], payload["replace"]


def test_what_is_added_is_importable_at_once_and_stands_in_the_offered_block(
    offline_home: Home, tmp_path: Path
) -> None:
    code = (
        "# what this needs\n# /// script\n# dependencies = ['alpha==1.0']  # as ever\n# ///\n"
        "import alpha"
    )
    path = write_notebook(tmp_path / "work" / "nb.ipynb", "1", code)
    before = path.read_bytes()
    with opened(offline_home, path) as kernel:
        assert kernel.execute(code).status == "ok"
        done = kernel.execute("%scriptenv add 'beta'")
        assert done.status == "ok"
        assert "declared: beta" in done.stdout
        text, replaces = offered(done)
        assert not replaces
        assert f"{NOTE} the cell with the block" in done.stdout
        assert text.startswith("# what this needs\n# /// script\n")
        assert text.endswith("import alpha")
        assert "'alpha==1.0'" in text
        assert "# as ever" in text
        assert "beta" in text
        assert kernel.execute("import beta\nprint(beta.__version__)").shown_text == "1.0\n"
        assert kernel.execute(text).shown_text == ""
        assert set(pip_list(environment_of(offline_home, path))) == {"alpha", "beta"}
        gone = kernel.execute("%scriptenv remove beta")
        assert "RestartNeeded" in gone.stderr  # it was imported
        assert offered(gone)[0] == code
        kernel.restart()
        assert kernel.execute("import alpha\nprint(alpha.__version__)").shown_text == "1.0\n"
        assert set(pip_list(environment_of(offline_home, path))) == {"alpha"}
    assert path.read_bytes() == before


def test_a_notebook_without_a_block_gets_one_in_the_cell_of_the_line(
    offline_home: Home, tmp_path: Path
) -> None:
    path = write_notebook(tmp_path / "work" / "nb.ipynb", "1")
    with opened(offline_home, path) as kernel:
        done = kernel.execute("%scriptenv add alpha==1.0")
        text, replaces = offered(done)
        assert replaces
        assert text == '# /// script\n# dependencies = [\n#     "alpha==1.0",\n# ]\n# ///'
        assert kernel.execute("import alpha\nprint(alpha.__version__)").shown_text == "1.0\n"
        more = kernel.execute("%scriptenv add beta\nprint('more')")
        assert not offered(more)[1]
        assert more.stdout.endswith("more\n")


def test_of_a_block_that_was_not_executed_the_file_s_is_changed_and_its_cell_is_named(
    offline_home: Home, path: Path
) -> None:
    with opened(offline_home, path) as kernel:
        done = kernel.execute("%scriptenv add beta")
        assert "alpha==1.0" in offered(done)[0]
        assert f"{NOTE} cell 1." in done.stdout
        failed = kernel.execute("%scriptenv add no-such-package")
        assert "no-such-package" in failed.stderr
        assert failed.reply["payload"] == []
        assert set(pip_list(environment_of(offline_home, path))) == {"alpha", "beta"}
        odd = kernel.execute("%scriptenv add --no-such-option x")
        assert "no-such-option" in odd.stderr
        assert "Usage" in kernel.execute("%scriptenv add --help").stdout
        assert kernel.execute("import alpha\nprint(alpha.__version__)").shown_text == "1.0\n"
        restart = kernel.execute("%scriptenv add alpha==1.1")
        assert "RestartNeeded" in restart.stderr
        assert "alpha==1.1" in offered(restart)[0]
        kernel.restart()
        assert kernel.execute("import alpha\nprint(alpha.__version__)").shown_text == "1.1\n"


def test_another_python_is_written_down_and_asks_for_a_restart(
    offline_home: Home, path: Path, other: str
) -> None:
    with opened(offline_home, path) as kernel:
        assert kernel.execute("import alpha").status == "ok"
        done = kernel.execute(f"%scriptenv python {other}")
        assert "RestartNeeded" in done.stderr
        assert f'requires-python = "=={other}.*"' in offered(done)[0]
        kernel.restart()
        told = kernel.execute("import sys, alpha\nprint(*sys.version_info[:2], sep='.')")
        assert told.shown_text == f"{other}\n"


def test_the_line_is_completed(offline_home: Home, path: Path) -> None:
    with opened(offline_home, path) as kernel:
        assert {"add"} == set(kernel.complete("%scriptenv ad"))
        assert "sync" in kernel.complete("%scriptenv ")
        assert kernel.execute("import alpha").status == "ok"
        assert "alpha" in kernel.complete("%scriptenv remove al")


def test_the_verbs_that_are_completed_are_those_of_the_command_line() -> None:
    assert list(VERBS) == sorted(command_line.commands)
