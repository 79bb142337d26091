"""JupyterLab in a browser: what a user sees.

Each test leaves a picture of its end in the folder that ``SCRIPTENV_SCREENSHOTS`` names, by default
in a temporary one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.browsing import (
    BLOCK,
    Notebook,
    another_python,
    open_notebook,
    page,
    picture,
)
from tests.conftest import Home
from tests.jupyter_server import JupyterServer
from tests.kernels import environment_of
from tests.one_server import home, lab

if TYPE_CHECKING:
    from playwright.sync_api import Page

__all__ = ["another_python", "home", "lab", "page", "picture"]  # fixtures

BAD_BLOCK = '# /// script\n# dependencies = ["conflict-a", "conflict-b"]\n# ///\n'


def test_run_all_installs_what_is_missing_and_leaves_only_the_results(
    home: Home, lab: JupyterServer, page: Page, picture: Callable[..., None]
) -> None:
    cells = (f"{BLOCK}import alpha", "alpha.__version__", "import sys\nprint(sys.prefix)", "1 + 1")
    notebook = open_notebook(page, lab, "run-all.ipynb", *cells)

    notebook.run_all()
    notebook.wait_until_run(4)

    prefix = str(environment_of(home, lab.root / "run-all.ipynb"))
    assert [notebook.outputs(number) for number in (1, 2, 3, 4)] == [[], ["'1.1'"], [prefix], ["2"]]
    assert [notebook.prompt(number) for number in (1, 2, 3, 4)] == ["[1]:", "[2]:", "[3]:", "[4]:"]
    assert notebook.save() == [[], ["'1.1'"], [f"{prefix}\n"], ["2"]]
    picture(page, "run-all")


def test_a_bad_dependency_is_mended_in_its_cell_without_a_restart(
    lab: JupyterServer, page: Page, picture: Callable[..., None]
) -> None:
    cells = (f"{BAD_BLOCK}import alpha\nprint('ran')", "alpha.__version__")
    notebook = open_notebook(page, lab, "mend.ipynb", *cells)
    kernel = notebook.kernel()

    notebook.run_all()
    notebook.cell(1).get_by_text("ResolutionFailed").first.wait_for()
    notebook.wait_until_idle()
    picture(page, "bad-dependency")
    (error,) = notebook.outputs(1)
    assert "conflict-a" in error
    assert "Mend the dependencies in the block and run the cell again." in error
    assert "ran" not in error.splitlines()
    assert notebook.outputs(2) == []

    notebook.write(1, f"{BLOCK}import alpha\nprint('ran')")
    notebook.run_cell(1)
    notebook.cell(1).get_by_text("ran", exact=True).wait_for()
    notebook.run_cell(2)
    notebook.wait_until_run(2)

    assert [notebook.outputs(number) for number in (1, 2)] == [["ran"], ["'1.1'"]]
    assert notebook.kernel() == kernel
    picture(page, "mended")


def test_run_all_on_a_block_for_another_python_runs_every_cell_there(
    lab: JupyterServer, page: Page, another_python: str, picture: Callable[..., None]
) -> None:
    later = [f"alpha.__version__, {number}" for number in range(2, 7)]
    notebook = open_notebook(page, lab, "another.ipynb", "0", *later)
    kernel = notebook.kernel()  # it runs on the host's Python

    notebook.write(
        1,
        f'# /// script\n# requires-python = "=={another_python}.*"\n'
        '# dependencies = ["alpha"]\n# ///\n'
        "import alpha, sys\nprint('%d.%d' % sys.version_info[:2])",
    )
    notebook.run_all()
    notebook.wait_until_run(6)

    expected = [[another_python], *([f"('2.0', {number})"] for number in range(2, 7))]
    assert [notebook.outputs(number) for number in range(1, 7)] == expected
    assert [notebook.prompt(number) for number in range(1, 7)] == [f"[{n}]:" for n in range(1, 7)]
    assert notebook.kernel() == kernel
    picture(page, "another-python")


def test_the_launcher_shows_one_card_that_opens_a_notebook_in_its_own_environment(
    home: Home, lab: JupyterServer, page: Page, picture: Callable[..., None]
) -> None:
    page.goto(lab.lab_url())
    card = page.locator(".jp-LauncherCard[data-category=Notebook]", has_text="Python (scriptenv)")
    card.first.wait_for()
    picture(page, "launcher")

    assert card.count() == 1
    logo = card.locator("img")
    assert "kernelspecs/scriptenv/logo" in (logo.get_attribute("src") or "")
    # It is loaded after its card is there.
    assert logo.evaluate("image => image.decode().then(() => image.naturalWidth > 0)")

    card.click()
    notebook = Notebook(page=page, lab=lab, path="Untitled.ipynb")
    notebook.wait_until_idle()
    notebook.write(1, f"{BLOCK}import alpha, sys\nprint(alpha.__version__, sys.prefix)")
    notebook.run_cell(1)
    notebook.wait_until_run(1)
    environment = environment_of(home, lab.root / "Untitled.ipynb")
    assert notebook.outputs(1) == [f"1.1 {environment}"]
