"""The pictures of ``docs/jupyterlab.md`` and the README, made anew with packages from an index.

``SCRIPTENV_SCREENSHOTS=docs/images .venv/bin/pytest tests/lab/pictures.py``
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browsing import new_page, real_packages
from tests.jupyter_server import JupyterServer, running_lab
from tests.lab.panel import (
    add,
    choose_theme,
    open_panel,
    press,
    run_cell,
    show,
    wait_for_state,
    wait_until_idle,
    write_cell,
)
from tests.stage import sync, write_notebook

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

__all__ = ["real_packages"]  # a fixture

PLANETS = """\
import pandas as pd

planets = pd.DataFrame(
    {"planet": ["Jupiter", "Saturn", "Uranus", "Neptune"], "moons": [97, 274, 28, 16]}
)
planets.plot.barh(x="planet", y="moons", figsize=(5, 1.8), legend=False, ylabel="");"""
HIDE_FILES = "jupyterapp.commands.execute('application:toggle-left-area')"
OPTION = "--LabApp.expose_app_in_browser=True"


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("real_packages")
def test_pictures_for_the_documentation(
    browser: Browser,
    picture: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SCRIPTENV_HOME", str(tmp_path / "scriptenv"))
    with running_lab(tmp_path / "demo", OPTION) as lab:
        page = small_page(browser)
        page.goto(lab.lab_url())
        page.locator(".jp-LauncherCard[data-category=Notebook]", has_text="scriptenv").click()
        page.evaluate(HIDE_FILES)
        ten_minutes(page)
        page.keyboard.press("ControlOrMeta+s")
        page.locator(".jp-Dialog input").first.fill("planets.ipynb")
        page.locator(".jp-Dialog .jp-mod-accept").click()
        panel = page.get_by_role("region", name="Environment")
        panel.get_by_role("heading", name="planets.ipynb").wait_for()
        panel.get_by_text("in the notebook, up to date").wait_for()
        wait_for_state(panel, "in sync")
        picture(page, "panel")

        add(panel, "pandas>=99")
        panel.get_by_role("alert").wait_for()
        picture(page, "failed")
        write_notebook(lab.root / "seven" / "x.ipynb", "1")
        seven(browser, lab, picture)
        dark(browser, lab, picture)


def ten_minutes(page: Page) -> None:
    """Add packages, use them, restart, lock: in a notebook that has just been made."""
    wait_until_idle(page)
    panel = open_panel(page)
    for name in ("pandas", "matplotlib"):
        add(panel, name)
        panel.get_by_role("button", name=f"Remove {name}").wait_for()
        wait_for_state(panel, "in sync")
    write_cell(page, 2, PLANETS)
    run_cell(page, 2)
    page.get_by_role("menuitem", name="Kernel", exact=True).click()
    page.get_by_role("menuitem", name=re.compile("^Restart Kernel…")).click()
    with page.expect_response(lambda response: "/restart" in response.url):
        page.locator(".jp-Dialog .jp-mod-accept").click()
    wait_until_idle(page)
    run_cell(page, 2)
    press(panel, "Lock")
    panel.get_by_text("in the notebook, not saved yet").wait_for()
    wait_for_state(panel, "in sync")


def seven(browser: Browser, lab: JupyterServer, picture: Callable[..., None]) -> None:
    """Take a picture of Notebook 7."""
    page = new_page(browser)
    page.goto(f"{lab.url}tree/seven?token={lab.token}")
    page.locator(".jp-BreadCrumbs").get_by_text("seven").wait_for()  # or it is made elsewhere
    page.locator(".jp-DropdownMenu").get_by_text("New").click()
    with page.expect_popup() as opened:
        page.get_by_role("menu").get_by_text("Python (scriptenv)").click()
    notebook = opened.value
    notebook.set_default_timeout(120_000)
    ten_minutes(notebook)
    notebook.set_viewport_size({"width": 1200, "height": 700})
    picture(notebook, "notebook-7")


def dark(browser: Browser, lab: JupyterServer, picture: Callable[..., None]) -> None:
    """Take pictures in the dark theme: the panel, and all environments."""
    for name, block in (("survey", "polars"), ("report", "humanize"), ("draft", "rich")):
        text = f'# /// script\n# dependencies = ["{block}"]\n# ///'
        sync(write_notebook(lab.root / f"{name}.ipynb", text))
    (lab.root / "draft.ipynb").unlink()
    choose_theme(lab, "JupyterLab Dark")
    page = small_page(browser)
    text = '# /// script\n# dependencies = ["polars"]\n# ///\nimport polars'
    show(page, lab, "survey.ipynb", text, "!uv pip install -q humanize")
    page.evaluate(HIDE_FILES)
    run_cell(page, 1)
    run_cell(page, 2)
    panel = open_panel(page)
    panel.get_by_role("list", name="Packages that are not as declared").wait_for()
    picture(page, "panel-dark")
    panel.get_by_role("tab", name="All environments").click()
    panel.get_by_text(re.compile(r"^\d+ environments, [\d.]+ ")).wait_for()
    picture(page, "all-environments")


def small_page(browser: Browser) -> Page:
    """Give a page as small as it is readable in a document."""
    page = browser.new_page(viewport={"width": 1200, "height": 700})
    page.set_default_timeout(120_000)
    return page
