"""What a notebook shows of its environment, and how its block changes in the open document."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.conftest import Home
from tests.jupyter_server import JupyterServer
from tests.test_browser import BLOCK, open_notebook

if TYPE_CHECKING:
    from playwright.sync_api import Page


def test_a_line_of_the_magic_changes_the_block_in_its_cell(
    home: Home,  # noqa: ARG001 - the server runs in it
    lab: JupyterServer,
    page: Page,
) -> None:
    notebook = open_notebook(page, lab, "magic.ipynb", f"{BLOCK}import alpha", "%scriptenv add beta")
    toolbar = page.locator(".jp-scriptenv-toolbar button")
    toolbar.get_by_text(re.compile("pending")).wait_for()

    notebook.run_cell(2)
    notebook.wait_until_run(2)
    notebook.cell(1).get_by_text('"beta').wait_for()
    toolbar.get_by_text("in sync").wait_for()
    assert notebook.cell(2).locator(".cm-content").inner_text() == "%scriptenv add beta"
    assert page.locator(".jp-Notebook .jp-CodeCell").count() == 2

    notebook.cell(1).locator(".cm-content").click()
    page.keyboard.press("ControlOrMeta+z")
    notebook.cell(1).get_by_text('"beta').wait_for(state="detached")
