"""A newcomer's first ten minutes, with the panel alone: no magic is typed."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.browsing import PATIENCE
from tests.jupyter_server import JupyterServer
from tests.lab.panel import (
    add,
    declared,
    open_panel,
    outputs,
    press,
    run_cell,
    saved,
    toolbar,
    wait_for_state,
    wait_until_idle,
    write_cell,
)
from tests.stage import call

if TYPE_CHECKING:
    from playwright.sync_api import Page


def test_the_first_ten_minutes_in_jupyterlab(
    lab: JupyterServer, page: Page, picture: Callable[..., None]
) -> None:
    page.goto(lab.lab_url())
    page.locator(".jp-LauncherCard[data-category=Notebook]", has_text="scriptenv").click()
    add_use_restart_lock(page)
    save(page)
    page.locator(".jp-Dialog input").first.fill("minutes.ipynb")
    page.locator(".jp-Dialog .jp-mod-accept").click()
    page.get_by_role("heading", name="minutes.ipynb").wait_for()
    check_saved(page, lab, "minutes.ipynb")
    picture(page, "minutes-jupyterlab")


def test_the_first_ten_minutes_in_notebook_7(
    lab: JupyterServer, page: Page, picture: Callable[..., None]
) -> None:
    (lab.root / "seven").mkdir()
    page.goto(f"{lab.url}tree/seven?token={lab.token}")
    page.locator(".jp-BreadCrumbs").get_by_text("seven").wait_for()  # or it is made elsewhere
    page.locator(".jp-DropdownMenu").get_by_text("New").click()
    with page.expect_popup() as opened:
        page.get_by_role("menu").get_by_text("Python (scriptenv)").click()
    notebook = opened.value
    add_use_restart_lock(notebook)
    save(notebook)
    check_saved(notebook, lab, "seven/Untitled.ipynb")
    picture(notebook, "minutes-notebook-7")


def add_use_restart_lock(page: Page) -> None:
    """Do it in a notebook that has just been made."""
    page.set_default_timeout(PATIENCE * 1000)
    wait_until_idle(page)
    toolbar(page).get_by_text("in sync").wait_for()
    panel = open_panel(page)
    add(panel, "alpha")
    panel.get_by_role("button", name="Remove alpha").wait_for()
    wait_for_state(panel, "in sync")
    write_cell(page, 2, "import alpha\nalpha.__version__")
    run_cell(page, 2)
    assert outputs(page, 2) == ["'2.0'"]

    page.get_by_role("menuitem", name="Kernel", exact=True).click()
    page.get_by_role("menuitem", name=re.compile("^Restart Kernel…")).click()
    with page.expect_response(lambda response: "/restart" in response.url):
        page.locator(".jp-Dialog .jp-mod-accept").click()
    wait_until_idle(page)
    run_cell(page, 2)
    assert outputs(page, 2) == ["'2.0'"]
    wait_for_state(panel, "in sync")

    press(panel, "Lock")
    panel.get_by_text("in the notebook, not saved yet").wait_for()
    wait_for_state(panel, "in sync")


def save(page: Page) -> None:
    """Save by the keyboard, as from a cell."""
    page.locator(".jp-Notebook .jp-CodeCell .cm-content").first.click()
    page.keyboard.press("ControlOrMeta+s")


def check_saved(page: Page, lab: JupyterServer, name: str) -> None:
    """See that all is well, and that the notebook runs without a browser."""
    panel = page.get_by_role("region", name="Environment")
    panel.get_by_text("in the notebook, up to date").wait_for()
    wait_for_state(panel, "in sync")
    assert declared(panel) == ["alpha>=2.0"]
    assert 'name = "alpha"' in saved(lab, name)["metadata"]["uv.lock"]
    done = call("execute", lab.root / name, "--locked")
    assert (done.returncode, done.stdout) == (0, "'2.0'\n"), done.stderr
