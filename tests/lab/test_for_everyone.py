"""The panel in both themes and in a narrow window, and whether everyone can use it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browsing import BLOCK, open_notebook
from tests.jupyter_server import JupyterServer
from tests.lab.panel import add, choose_theme, declared, open_panel, run_cell, wait_for_state

if TYPE_CHECKING:
    from playwright.sync_api import Page

AXE = Path("labextension", "node_modules", "axe-core", "axe.min.js")
OURS = [".jp-scriptenv-panel", ".jp-scriptenv-cell-header", ".jp-scriptenv-toolbar"]


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_an_accessibility_check_finds_nothing_serious(
    lab: JupyterServer, page: Page, picture: Callable[..., None], theme: str
) -> None:
    if not AXE.is_file():
        pytest.skip("axe-core is not installed: run `make labextension`")
    choose_theme(lab, f"JupyterLab {theme}")
    name = f"{theme.lower()}.ipynb"
    notebook = open_notebook(page, lab, name, f"{BLOCK.replace('alpha<2', 'beta')}import beta")
    run_cell(page, 1)
    panel = open_panel(page)
    wait_for_state(panel, "in sync")
    page.add_script_tag(path=AXE)

    def findings() -> list[str]:
        found = page.evaluate("ours => axe.run({include: ours})", OURS)
        return [
            f"{each['id']}: {node['html']}"
            for each in found["violations"]
            if each["impact"] in ("serious", "critical")
            for node in each["nodes"]
        ]

    picture(page, f"checked-{theme.lower()}")
    assert findings() == []
    add(panel, "alpha>=9")
    panel.get_by_role("alert").wait_for()
    picture(page, f"failed-{theme.lower()}")
    assert findings() == []
    panel.get_by_role("tab", name="All environments").click()
    panel.get_by_role("list", name="Environments").get_by_text(name).wait_for()
    picture(page, f"all-{theme.lower()}")
    assert findings() == []
    notebook.save()


def test_a_package_is_added_and_removed_with_the_keyboard_alone(
    lab: JupyterServer, page: Page, picture: Callable[..., None]
) -> None:
    choose_theme(lab, "JupyterLab Light")
    open_notebook(page, lab, "keys.ipynb", "1")
    panel = open_panel(page)
    page.set_viewport_size({"width": 760, "height": 900})
    panel.get_by_role("tab", name="This notebook").focus()
    page.keyboard.press("ArrowRight")
    panel.get_by_role("tab", name="All environments", selected=True).wait_for()
    page.keyboard.press("ArrowLeft")

    field = panel.get_by_role("combobox", name="Add a package")
    for _ in range(20):
        page.keyboard.press("Tab")
        if field.evaluate("field => field === document.activeElement"):
            break
    page.keyboard.type("alpha")
    page.keyboard.press("Enter")
    panel.get_by_role("button", name="Remove alpha").wait_for()
    wait_for_state(panel, "in sync")
    picture(page, "narrow")
    panel.get_by_role("button", name="Remove alpha").focus()
    page.keyboard.press("Enter")
    panel.get_by_role("button", name="Remove alpha").wait_for(state="detached")
    assert declared(panel) == []
