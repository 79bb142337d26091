"""Which executions complete the environment; ``test_hostile.py`` has what runs before them."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import Home
from tests.kernels import (
    GENERIC,
    block,
    environment_of,
    install_generic,
    opened,
    pip_list,
    record_of,
    started,
    write_notebook,
)
from tests.lifecycle import revise_record


def test_the_folder_is_importable_and_its_modules_complete_once_a_user_has_run_a_cell(
    offline_home: Home, tmp_path: Path
) -> None:
    path = write_notebook(tmp_path / "work" / "nb.ipynb", "")
    (path.parent / "beside.py").write_text("NUMBER_OF_MINE = 5\n", encoding="utf-8")
    with opened(offline_home, path) as kernel:
        unasked = kernel.execute("import beside", store_history=False)
        assert unasked.ename == "ModuleNotFoundError"
        assert kernel.execute("import beside\nbeside.NUMBER_OF_MINE").result == "5"
        assert "NUMBER_OF_MINE" in " ".join(kernel.complete("from beside import NUMBER_OF"))
        assert kernel.execute("import sys; sys.path[0]").result == "''"


def test_only_an_execution_of_a_user_syncs(offline_home: Home, tmp_path: Path) -> None:
    path = write_notebook(tmp_path / "work" / "nb.ipynb", block("alpha==1.0"))
    environment = environment_of(offline_home, path)
    with opened(offline_home, path) as kernel:
        for silent, store_history in ((True, True), (True, False), (False, False)):
            done = kernel.execute(
                block("beta") + "x = 1", silent=silent, store_history=store_history
            )
            assert done.status == "ok"
            assert pip_list(environment) == {}
        assert kernel.execute("import alpha\nalpha.__version__, x").result == "('1.0', 1)"
        assert pip_list(environment) == {"alpha": "1.0"}

        # Nor do they get our error.
        assert kernel.execute(block("conflict-a", "conflict-b")).ename == "ResolutionFailed"
        assert kernel.execute("1 + 1", silent=True).status == "ok"
        assert kernel.execute("1 + 1", store_history=False).status == "ok"
        assert kernel.execute("1 + 1").ename == "ResolutionFailed"


def test_a_client_that_keeps_no_history_syncs_where_it_says_so(
    offline_home: Home, tmp_path: Path
) -> None:
    """``SCRIPTENV_SYNC=always``: for a client that runs a user's cells otherwise."""
    path = write_notebook(tmp_path / "work" / "nb.ipynb", block("alpha==1.0"))
    variables = {"JPY_SESSION_NAME": str(path), "SCRIPTENV_SYNC": "always"}
    with started(install_generic(offline_home), env=variables, cwd=path.parent) as kernel:
        assert kernel.execute("x = 1", silent=True).status == "ok"
        assert pip_list(environment_of(offline_home, path)) == {}
        done = kernel.execute("import alpha\nalpha.__version__", store_history=False)
        assert done.result == "'1.0'", done.traceback


def test_a_cell_of_our_own_magics_alone_runs_without_a_sync(
    offline_home: Home, tmp_path: Path
) -> None:
    path = write_notebook(tmp_path / "work" / "nb.ipynb", block("conflict-a", "conflict-b"))
    environment = environment_of(offline_home, path)
    with opened(offline_home, path) as kernel:
        for code in (
            "%scriptenv",
            "%load_ext ipy_scriptenv",
            "# what is it?\n\n%load_ext ipy_scriptenv\n%scriptenv status\n",
            "%scriptenv list\n%scriptenv find",
        ):
            done = kernel.execute(code)
            assert (done.status, done.error) == ("ok", None), done.traceback
        assert record_of(environment)["fingerprint"] is None
        # It ran, but it was no cell of the user's, and code beside the magics makes it one.
        for code in ("%scriptenv status\nx = 1", "%scriptenv status\n!true", "x = %scriptenv find"):
            assert kernel.execute(code).ename == "ResolutionFailed", code
        assert kernel.execute(block("alpha==1.0") + "import alpha").status == "ok"


def test_the_first_execution_of_a_user_syncs_whatever_cell_it_is(
    offline_home: Home, tmp_path: Path
) -> None:
    """The block may stand in a later cell: the file tells what the notebook declares."""
    path = write_notebook(tmp_path / "work" / "nb.ipynb", "x = 1", block("alpha==1.0"))
    with opened(offline_home, path) as kernel:
        first = kernel.execute("x = 1")
        assert (first.status, first.shown) == ("ok", [])
        assert any("alpha" in text for text in first.progress)
        assert pip_list(environment_of(offline_home, path)) == {"alpha": "1.0"}
        assert kernel.execute("import alpha").stdout == ""


def test_a_notebook_without_a_block_runs_at_once_and_asks_nobody(
    offline_home: Home, tmp_path: Path
) -> None:
    path = write_notebook(tmp_path / "work" / "nb.ipynb", "x = 1")
    with opened(offline_home, path) as kernel:
        revise_record(environment_of(offline_home, path), hosts=[])  # nobody could answer
        done = kernel.execute("print(1)")
        kinds = [message["header"]["msg_type"] for message in done.messages]
        assert "clear_output" not in kinds
        assert done.shown_text == "1\n"


def test_a_kernel_without_a_source_syncs_to_the_blocks_it_is_given(
    offline_home: Home, tmp_path: Path
) -> None:
    install_generic(offline_home)
    with started(GENERIC, cwd=tmp_path) as kernel:
        assert kernel.execute("1 + 1").result == "2"
        done = kernel.execute(block("alpha==1.0") + "import alpha\nalpha.__version__")
        assert done.result == "'1.0'", done.traceback
