"""A newcomer's first ten minutes, as ``docs/tutorial.md`` tells them, in a browser and without.

A new notebook, a package, a restart, a lock, a run without a browser; and all of it once more by
somebody else, who gets the notebook and its lock and has nothing.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.browsing import Notebook, new_page, picture
from tests.conftest import Home, Layers
from tests.jupyter_server import running_lab
from tests.kernels import pip_list
from tests.stage import GENERIC, HOST, call, environment_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

__all__ = ["picture"]  # a fixture

ADDED = '# /// script\n# dependencies = [\n#     "alpha>=2.0",\n# ]\n# ///'
"""What is to stand in the block's cell when ``alpha`` was added."""

TOLD = f"""\
declared: alpha>=2.0
 + alpha 2.0
Updated the environment of Untitled.ipynb (Python {platform.python_version()})
This cell is the notebook's block now."""
"""What then stands below it."""


@pytest.fixture
def somebody_else(
    offline_home: Home, layers: Layers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], Path]:
    """Give a function that moves this process into another, empty home, and gives its folder.

    Only the kernel layer stands there, which would be fetched.
    """

    def move() -> Path:
        theirs = tmp_path / "their-home"
        for name, value in dict(os.environ).items():
            if value.startswith(str(offline_home.path)):
                monkeypatch.setenv(name, str(theirs) + value.removeprefix(str(offline_home.path)))
        layers.link(
            Home(path=theirs, scriptenv=theirs / "scriptenv", jupyter_data=theirs / "jupyter-data")
        )
        folder = tmp_path / "their-work"
        folder.mkdir()
        return folder

    return move


def test_the_first_ten_minutes_in_jupyterlab(
    browser: Browser,
    somebody_else: Callable[[], Path],
    tmp_path: Path,
    picture: Callable[..., None],
) -> None:
    with running_lab(tmp_path / "work") as lab:
        page = new_page(browser)
        page.goto(lab.lab_url())
        page.locator(".jp-LauncherCard[data-category=Notebook]", has_text="scriptenv").click()
        notebook = Notebook(page=page, lab=lab, path="Untitled.ipynb")
        notebook.wait_until_idle()

        notebook.write(1, "%scriptenv add alpha")
        page.keyboard.press("Shift+Enter")
        notebook.wait_until_run(1)
        picture(page, "first-minutes-added")
        assert text_of(notebook, 1) == ADDED
        assert notebook.outputs(1) == [TOLD]

        notebook.write(2, "import alpha\nprint(alpha.__version__)")
        notebook.run_cell(2)
        notebook.wait_until_run(2)
        assert notebook.outputs(2) == ["2.0"]

        restart(page)
        notebook.wait_until_idle()
        notebook.run_cell(2)
        notebook.wait_until_run(2)
        assert (notebook.prompt(2), notebook.outputs(2)) == ("[1]:", ["2.0"])

        notebook.run_all()
        notebook.wait_until_run(1)
        notebook.wait_until_run(2)
        path = saved_as(notebook, "first.ipynb")
        picture(page, "first-minutes-saved")
        assert sources(path) == [ADDED, "import alpha\nprint(alpha.__version__)"]
        succeeds("lock", path)  # while the notebook is open
        assert succeeds("execute", path, "--locked") == "2.0\n"
    shared_and_run(path, somebody_else())


def test_the_first_ten_minutes_on_the_command_line(
    somebody_else: Callable[[], Path], tmp_path: Path
) -> None:
    path = tmp_path / "first.ipynb"
    assert "Made the environment" in succeeds("init", path)
    assert succeeds("add", path, "alpha").startswith("declared: alpha>=2.0\n + alpha 2.0\n")
    begun = ADDED.replace("script\n", f'script\n# requires-python = ">={HOST}"\n')
    assert sources(path) == [begun, ""]
    write(path, "import alpha\nprint(alpha.__version__)")
    assert succeeds("run", path) == "2.0\n"
    assert succeeds("sync", path).startswith("In sync")
    assert "Locked 1 package" in succeeds("lock", path)
    assert succeeds("lock", path, "--check").startswith("The lock is up to date: 1 package")
    assert succeeds("execute", path, "--locked") == "2.0\n"
    shared_and_run(path, somebody_else())


def text_of(notebook: Notebook, number: int) -> str:
    """Give what a cell says."""
    return notebook.cell(number).locator(".cm-content").inner_text()


def restart(page: Page) -> None:
    """Restart the kernel, by the menu; it is not idle again before it has started anew."""
    page.get_by_role("menuitem", name="Kernel", exact=True).click()
    page.get_by_role("menuitem", name=re.compile("^Restart Kernel…")).click()
    with page.expect_response(lambda response: "/restart" in response.url):
        page.locator(".jp-Dialog .jp-mod-accept").click()


def saved_as(notebook: Notebook, name: str) -> Path:
    """Save a new notebook for the first time, for which JupyterLab asks its name; give its path."""
    page = notebook.page
    page.keyboard.press("ControlOrMeta+s")
    page.locator(".jp-Dialog input[type=text], .jp-Dialog input.jp-FileDialog-input").first.fill(
        name
    )
    page.locator(".jp-Dialog .jp-mod-accept").click()
    path = notebook.lab.root / name
    while not path.exists() or ADDED not in sources(path):
        page.wait_for_timeout(100)
    return path


def sources(path: Path) -> list[str]:
    """Give what the cells of a notebook say in its file."""
    return ["".join(cell["source"]) for cell in content_of(path)["cells"]]


def content_of(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def write(path: Path, code: str) -> None:
    """Put code into the last cell of a notebook, as an editor does."""
    content = content_of(path)
    content["cells"][-1]["source"] = code
    path.write_text(json.dumps(content), encoding="utf-8")


def succeeds(*words: str | Path) -> str:
    """Call the command line, and give what it prints."""
    called = call(*words)
    assert called.returncode == 0, called.stderr
    return called.stdout


def shared_and_run(path: Path, folder: Path) -> None:
    """Check that who gets a notebook and its lock, and has nothing, sees the same."""
    assert content_of(path)["metadata"]["kernelspec"]["name"] == GENERIC
    theirs = Path(shutil.copy(path, folder / path.name))
    assert call("execute", theirs, "--locked").returncode == 1  # the lock was forgotten
    shutil.copy(f"{path}.lock", folder)
    before = {each.name: each.read_bytes() for each in folder.iterdir()}
    assert str(path.parent) not in (folder / f"{path.name}.lock").read_text(encoding="utf-8")
    assert succeeds("execute", theirs, "--locked") == "2.0\n"
    environment = environment_of(theirs)
    assert environment != environment_of(path)
    assert pip_list(environment) == {"alpha": "2.0"}
    assert {each.name: each.read_bytes() for each in folder.iterdir()} == before
