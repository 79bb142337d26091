"""The panel in both themes and in a narrow window, and whether everyone can use it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browsing import BLOCK, open_notebook
from tests.jupyter_server import JupyterServer
from tests.lab.panel import (
    add,
    declared,
    open_panel,
    run_cell,
    show,
    text_of,
    wait_for_state,
)

if TYPE_CHECKING:
    from playwright.sync_api import Page

AXE = Path("labextension", "node_modules", "axe-core", "axe.min.js")
OURS = [".jp-scriptenv-panel", ".jp-scriptenv-cell-header", ".jp-scriptenv-toolbar"]


THEMES = ("Dark", "Light")


def test_an_accessibility_check_finds_nothing_serious_in_either_theme(
    lab: JupyterServer, page: Page, picture: Callable[..., None]
) -> None:
    if not AXE.is_file():
        pytest.skip("axe-core is not installed: run `make labextension`")
    show(page, lab, "axe.ipynb", f"{BLOCK.replace('alpha<2', 'beta')}import beta")
    run_cell(page, 1)
    panel = open_panel(page)
    wait_for_state(panel, "in sync")
    page.add_script_tag(path=AXE)
    check(page, lambda theme: picture(page, f"checked-{theme}"))
    add(panel, "alpha>=9")
    panel.get_by_role("alert").wait_for()
    check(page, lambda theme: picture(page, f"failed-{theme}"))
    panel.get_by_role("tab", name="All environments").click()
    panel.get_by_role("list", name="Environments").get_by_text("axe.ipynb").wait_for()
    check(page, lambda theme: picture(page, f"all-{theme}"))


def check(page: Page, take_picture: Callable[[str], None]) -> None:
    """Check what the page shows, in each theme."""
    for theme in THEMES:
        name = f"JupyterLab {theme}"
        page.evaluate(f"jupyterapp.commands.execute('apputils:change-theme', {{theme: '{name}'}})")
        page.locator(f"body[data-jp-theme-name='{name}']").wait_for(state="attached")
        page.locator("#jupyterlab-splash").wait_for(state="detached")  # it covers the page
        take_picture(theme.lower())
        found = page.evaluate("ours => axe.run({include: ours})", OURS)
        assert not [
            f"{theme}, {each['id']}: {node['html']}"
            for each in found["violations"]
            if each["impact"] in ("serious", "critical")
            for node in each["nodes"]
        ]


def test_a_package_is_added_and_removed_with_the_keyboard_alone(
    lab: JupyterServer, page: Page, picture: Callable[..., None]
) -> None:
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

    # Who edits is in the field, and back at the button after Escape.
    panel.get_by_role("button", name="Edit alpha").focus()
    page.keyboard.press("Enter")
    edit = panel.get_by_role("combobox", name="Edit alpha")
    assert edit.evaluate("field => field === document.activeElement")
    page.keyboard.press("Escape")
    assert panel.get_by_role("button", name="Edit alpha").evaluate(
        "button => button === document.activeElement"
    )

    # An edit ends with its row: one that comes back leaves the keyboard where it is.
    page.keyboard.press("Enter")
    edit.wait_for()
    rewrite = "text => jupyterapp.shell.currentWidget.model.sharedModel.cells[0].setSource(text)"
    text = text_of(page, 1)
    for name in ("alphabet", "alpha"):
        page.evaluate(rewrite, text.replace("alpha", name))
        panel.get_by_role("button", name=f"Edit {name}", exact=True).wait_for()

    # An arrow opens the list of Pythons; each step through it would change the block otherwise.
    choice = panel.get_by_role("combobox", name="Python")
    before, first = text_of(page, 1), choice.input_value()
    choice.focus()
    for key in ("ArrowDown", "Escape"):
        page.keyboard.press(key)
    assert choice.input_value() == first
    assert text_of(page, 1) == before
    # Where it may not be opened, as in a frame of another site, the key is the system's.
    assert choice.evaluate(
        """select => {
            select.showPicker = () => { throw new DOMException('not here', 'SecurityError'); };
            const options = {key: 'ArrowDown', bubbles: true, cancelable: true};
            return select.dispatchEvent(new KeyboardEvent('keydown', options));
        }"""
    )

    panel.get_by_role("button", name="Remove alpha").focus()
    page.keyboard.press("Enter")
    panel.get_by_role("button", name="Remove alpha").wait_for(state="detached")
    assert declared(panel) == []
