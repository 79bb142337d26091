"""The panel's second tab, the commands and the settings."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.browsing import BLOCK
from tests.jupyter_server import JupyterServer
from tests.kernels import kernelspec_of
from tests.lab.panel import open_panel, press, show, wait_for_state
from tests.stage import environment_of, sync, write_notebook

if TYPE_CHECKING:
    from playwright.sync_api import Page

SETTINGS = "lab/api/settings/ipy-scriptenv:plugin"


def test_all_environments_are_listed_opened_moved_deleted_and_pruned(
    lab: JupyterServer, page: Page, picture: Callable[..., None]
) -> None:
    paths = {
        name: write_notebook(lab.root / "all" / f"{name}.ipynb", BLOCK, "1")
        for name in ("kept", "unwanted", "old", "orphan")
    }
    for path in paths.values():
        sync(path)
    new = paths["old"].rename(lab.root / "all" / "new.ipynb")
    orphan = environment_of(paths["orphan"])
    paths["orphan"].unlink()
    show(page, lab, "all/kept.ipynb", BLOCK, "1")
    panel = open_panel(page)
    panel.get_by_role("tab", name="All environments").click()
    panel.get_by_text(re.compile(r"^\d+ environments, [\d.]+ ")).wait_for()
    row = panel.get_by_role("list", name="Environments").get_by_role("listitem")
    row.filter(has_text="orphan.ipynb").get_by_text("orphan", exact=True).wait_for()
    assert panel.get_by_role("button", name="orphan.ipynb", exact=True).count() == 0
    picture(page, "all")

    press(panel, "Delete the environment of unwanted.ipynb")
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    row.filter(has_text="unwanted.ipynb").wait_for(state="detached")
    assert not environment_of(paths["unwanted"]).exists()

    press(panel, "Move the environment of old.ipynb")
    page.get_by_role("dialog").locator("input").fill("all/nowhere.ipynb")
    press(page.get_by_role("dialog"), "Move")
    panel.get_by_role("alert").get_by_text("nowhere.ipynb").wait_for()
    press(panel, "Move the environment of old.ipynb")
    page.get_by_role("dialog").locator("input").fill("all/new.ipynb")
    press(page.get_by_role("dialog"), "Move")
    panel.get_by_role("button", name="new.ipynb", exact=True).wait_for()
    assert environment_of(new).exists()

    # No more goes than what was shown and agreed to.
    press(panel, "Prune …")
    dialog = page.get_by_role("dialog")
    dialog.get_by_text(str(paths["orphan"])).wait_for()
    picture(page, "prune")
    press(dialog, "Cancel")
    assert orphan.exists()
    press(panel, "Prune …")
    press(dialog, "Remove")
    row.filter(has_text="orphan.ipynb").wait_for(state="detached")
    assert not orphan.exists()
    press(panel, "Prune …")
    dialog.get_by_text("Nothing to remove").wait_for()
    press(dialog, "Ok")

    panel.get_by_role("searchbox", name="Filter the environments").fill("new")
    panel.get_by_role("button", name="kept.ipynb", exact=True).wait_for(state="detached")
    press(panel, "new.ipynb")
    page.get_by_role("tab", name="new.ipynb").wait_for()
    panel.get_by_role("tab", name="This notebook").click()
    panel.get_by_role("heading", name="new.ipynb").wait_for()
    wait_for_state(panel, "in sync")

    page.keyboard.press("ControlOrMeta+Shift+C")
    page.locator("#modal-command-palette input").fill("Lock the Environment")
    page.locator("#modal-command-palette li", has_text="Lock the Environment").click()
    panel.get_by_text("in the notebook, not saved yet").wait_for()


def test_the_kernels_of_notebooks_leave_the_picker_where_a_setting_says_so(
    lab: JupyterServer, page: Page
) -> None:
    path = write_notebook(lab.root / "hidden.ipynb", BLOCK)
    sync(path)
    assert kernelspec_of(path) in lab.kernelspecs()
    lab.request("PUT", SETTINGS, {"raw": '{"register": false}'})
    show(page, lab, "hidden.ipynb", BLOCK)
    while kernelspec_of(path) in lab.kernelspecs():
        page.wait_for_timeout(100)
    lab.request("PUT", SETTINGS, {"raw": "{}"})
    page.reload()
    wait_for_state(open_panel(page), "in sync")
    assert kernelspec_of(path) not in lab.kernelspecs(), "it stays out until it is asked for"
