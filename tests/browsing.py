"""JupyterLab in a browser, seen with a user's eyes: pages, notebooks, pictures.

Pictures go into the folder that ``SCRIPTENV_SCREENSHOTS`` names, by default a temporary one.
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
from tests.jupyter_server import JupyterServer
from tests.kernels import other_than_host
from tests.stage import write_notebook

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

__all__ = [
    "BLOCK",
    "SCREENSHOTS",
    "Notebook",
    "another_python",
    "down_to",
    "new_page",
    "open_notebook",
    "page",
    "picture",
    "real_packages",
]

BLOCK = '# /// script\n# dependencies = ["alpha<2"]\n# ///\n'
PATIENCE = 60.0
"""Seconds to wait for what should show."""

SCREENSHOTS = os.environ.get("SCRIPTENV_SCREENSHOTS")  # a test's home clears it away


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """Open a page, and close all that are open when the test ends."""
    yield new_page(browser)
    for each in browser.contexts:
        each.close()


def new_page(browser: Browser) -> Page:
    page = browser.new_page(viewport={"width": 1520, "height": 900})
    page.set_default_timeout(PATIENCE * 1000)
    return page


@pytest.fixture
def picture(tmp_path: Path) -> Callable[[Page, str], None]:
    """Give a function that takes a picture of the whole page."""
    folder = Path(SCREENSHOTS or tmp_path).absolute()
    folder.mkdir(parents=True, exist_ok=True)

    def take(page: Page, name: str, **options: Any) -> None:
        page.screenshot(path=folder / f"{name}.png", **options)

    return take


@pytest.fixture
def another_python(home: Home, layers: Layers, pythons: dict[str, Path]) -> str:
    """Give the version of a Python that is not the host's and has its layer; skip without."""
    minor, python = other_than_host(pythons)
    layers.link(home, python)
    return minor


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


@pytest.fixture
def real_packages(
    home: Home,  # noqa: ARG001 - it sets the stage
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Take packages from a real index, and kernels into folders of the test's own; for pictures."""
    for name in ("UV_FIND_LINKS", "UV_NO_INDEX", "UV_OFFLINE"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter-data"))


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


def down_to(element: Locator, page: Page, *, space: int = 6) -> dict[str, float]:
    """Give the part of the page that ends just below *element*, without the bars at its sides."""
    main, last = page.locator("#jp-main-dock-panel").bounding_box(), element.bounding_box()
    assert main is not None
    assert last is not None
    height = last["y"] + last["height"] + space - main["y"]
    return {"x": main["x"], "y": main["y"], "width": main["width"], "height": height}
