"""JupyterLab in a browser: what a user sees.

Each test leaves a picture of its end in the folder that ``SCRIPTENV_SCREENSHOTS`` names, by default
in a temporary one. The pictures of the documentation are made anew with
``SCRIPTENV_SCREENSHOTS=docs/images pytest tests/test_browser.py -k pictures``.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from tests.conftest import Home, Layers
from tests.jupyter_server import JupyterServer, running_lab
from tests.kernels import environment_of, other_than_host
from tests.stage import write_notebook

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

BLOCK = '# /// script\n# dependencies = ["alpha<2"]\n# ///\n'
BAD_BLOCK = '# /// script\n# dependencies = ["conflict-a", "conflict-b"]\n# ///\n'
PATIENCE = 60.0
"""Seconds to wait for what should show."""

_SCREENSHOTS = os.environ.get("SCRIPTENV_SCREENSHOTS")  # a test's home clears it away


@pytest.fixture(scope="module")
def home(module_home: Home) -> Home:
    return module_home


@pytest.fixture(scope="module")
def lab(home: Home) -> Iterator[JupyterServer]:
    """Run one server for all tests here; each has a notebook of its own."""
    with running_lab(home.path.parent / "demo") as server:
        yield server


@pytest.fixture
def page(browser: Browser) -> Page:
    return new_page(browser)


def new_page(browser: Browser) -> Page:
    page = browser.new_page(viewport={"width": 1520, "height": 900})
    page.set_default_timeout(PATIENCE * 1000)
    return page


@pytest.fixture
def picture(tmp_path: Path) -> Callable[[Page, str], None]:
    """Give a function that takes a picture of the whole page."""
    folder = Path(_SCREENSHOTS or tmp_path).absolute()
    folder.mkdir(parents=True, exist_ok=True)

    def take(page: Page, name: str, **options: Any) -> None:
        page.screenshot(path=folder / f"{name}.png", **options)

    return take


@dataclass(frozen=True, slots=True, kw_only=True)
class Notebook:
    """A notebook that is open in JupyterLab, seen with a user's eyes."""

    page: Page
    lab: JupyterServer
    path: str

    def wait_until_idle(self) -> None:
        """Wait until the kernel has nothing to do; what is run before it connects is lost."""
        self.page.get_by_text("| Idle").wait_for()

    def run_all(self) -> None:
        self.page.get_by_role("menuitem", name="Run", exact=True).click()
        self.page.get_by_role("menuitem", name="Run All Cells", exact=True).click()

    def cell(self, number: int) -> Locator:
        """Give a code cell; the first is 1."""
        return self.page.locator(".jp-Notebook .jp-CodeCell").nth(number - 1)

    def prompt(self, number: int) -> str:
        """Give what stands beside a cell, such as ``[1]:``, or ``[*]:`` while it runs."""
        return self.cell(number).locator(".jp-InputPrompt").inner_text()

    def outputs(self, number: int) -> list[str]:
        return [
            text.strip()
            for text in self.cell(number).locator(".jp-OutputArea-output").all_inner_texts()
        ]

    def wait_until_run(self, number: int) -> None:
        """Wait until a cell has run to its end, well or not."""
        prompt = self.cell(number).locator(".jp-InputPrompt")
        prompt.get_by_text(re.compile(r"^\[\d+\]:$")).wait_for()
        self.wait_until_idle()

    def write(self, number: int, code: str) -> None:
        """Put *code* in place of what a cell says, by mouse and keyboard."""
        self.cell(number).locator(".cm-content").click()
        self.page.keyboard.press("ControlOrMeta+a")
        self.page.keyboard.insert_text(code)

    def run_cell(self, number: int) -> None:
        """Run a cell, and stay there."""
        self.cell(number).locator(".cm-content").click()
        self.page.keyboard.press("ControlOrMeta+Enter")

    def save(self) -> list[list[str]]:
        """Save, and give what the file then shows below each code cell."""
        with self.page.expect_response(
            lambda response: (
                response.request.method == "PUT" and f"contents/{self.path}" in response.url
            )
        ):
            self.page.keyboard.press("ControlOrMeta+s")
        cells = json.loads((self.lab.root / self.path).read_text(encoding="utf-8"))["cells"]
        return [
            ["".join(output.get("text") or output["data"]["text/plain"]) for output in outputs]
            for outputs in (cell["outputs"] for cell in cells if cell["cell_type"] == "code")
        ]

    def kernel(self) -> tuple[str, int]:
        """Give the kernel's id and its process."""
        (session,) = [each for each in self.lab.sessions() if each["path"] == self.path]
        environment = f"{os.sep}{Path(self.path).stem}-"
        (process,) = [
            child.pid
            for child in psutil.Process(self.lab.pid).children(recursive=True)
            if any(word.endswith("kernel.py") and environment in word for word in words_of(child))
        ]
        return session["kernel"]["id"], process


def words_of(process: psutil.Process) -> list[str]:
    """Give a process's command line; nothing of one that has ended just now."""
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


def open_notebook(page: Page, lab: JupyterServer, name: str, *cells: str) -> Notebook:
    """Write a notebook on the generic kernel and open it."""
    write_notebook(lab.root / name, *cells)
    page.goto(lab.lab_url(name))
    notebook = Notebook(page=page, lab=lab, path=name)
    notebook.wait_until_idle()
    return notebook


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


@pytest.fixture
def another_python(home: Home, layers: Layers, pythons: dict[str, Path]) -> str:
    """Give the version of a Python that is not the host's and has its layer; skip without."""
    minor, python = other_than_host(pythons)
    layers.link(home, python)
    return minor


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
    assert logo.evaluate("image => image.complete && image.naturalWidth > 0")

    card.click()
    notebook = Notebook(page=page, lab=lab, path="Untitled.ipynb")
    notebook.wait_until_idle()
    notebook.write(1, f"{BLOCK}import alpha, sys\nprint(alpha.__version__, sys.prefix)")
    notebook.run_cell(1)
    notebook.wait_until_run(1)
    environment = environment_of(home, lab.root / "Untitled.ipynb")
    assert notebook.outputs(1) == [f"1.1 {environment}"]


PLANETS = """\
# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "matplotlib",
#     "pandas",
# ]
# ///
import pandas as pd

planets = pd.DataFrame(
    {"planet": ["Jupiter", "Saturn", "Uranus", "Neptune"], "moons": [97, 274, 28, 16]}
)
planets"""
PLOT = 'planets.plot.barh(x="planet", y="moons", figsize=(6, 1.8), legend=False, ylabel="");'


@pytest.mark.skipif(not _SCREENSHOTS, reason="SCRIPTENV_SCREENSHOTS names no folder")
@pytest.mark.usefixtures("home")
def test_pictures_for_the_documentation(
    browser: Browser,
    picture: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("UV_FIND_LINKS", "UV_NO_INDEX", "UV_OFFLINE"):
        monkeypatch.delenv(name)  # real packages, and many of them
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "empty-cache"))  # installing takes a moment
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter-data"))
    with running_lab(tmp_path / "demo") as lab:
        page = new_page(browser)
        page.goto(lab.lab_url())
        page.get_by_text("Python (scriptenv)").first.wait_for()
        launcher = page.locator(".jp-Launcher-section").nth(1)
        picture(page, "launcher", clip=down_to(launcher, page, space=-6))

        notebook = open_notebook(page, lab, "planets.ipynb", PLANETS, PLOT)
        notebook.run_cell(1)
        notebook.cell(1).get_by_text("downloaded").first.wait_for()
        picture(page, "progress", clip=down_to(notebook.cell(1), page))
        notebook.wait_until_run(1)
        notebook.run_cell(2)
        notebook.cell(2).locator(".jp-OutputArea-output img").wait_for()
        notebook.wait_until_run(2)
        picture(page, "result", clip=down_to(notebook.cell(2), page))

        bad = PLANETS.replace('"pandas"', '"pandas>=99"')
        notebook = open_notebook(page, lab, "conflict.ipynb", bad)
        notebook.run_cell(1)
        notebook.cell(1).get_by_text("ResolutionFailed").first.wait_for()
        notebook.wait_until_idle()
        picture(page, "error", clip=down_to(notebook.cell(1), page))


def down_to(element: Locator, page: Page, *, space: int = 6) -> dict[str, float]:
    """Give the part of the page that ends just below *element*, without the bars at its sides."""
    main, last = page.locator("#jp-main-dock-panel").bounding_box(), element.bounding_box()
    assert main is not None
    assert last is not None
    height = last["y"] + last["height"] + space - main["y"]
    return {"x": main["x"], "y": main["y"], "width": main["width"], "height": height}
