"""The extension's parts on a page, seen with a user's eyes."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from tests.jupyter_server import JupyterServer
from tests.stage import GENERIC, write_notebook

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

Json = dict[str, Any]


IS_IDLE = """path => {
    const {context, sessionContext} = globalThis.jupyterapp?.shell.currentWidget ?? {};
    return context?.path === path && sessionContext.session?.kernel?.status === 'idle';
}"""


def open_in_notebook_7(page: Page, lab: JupyterServer, name: str, *cells: str) -> None:
    """Write a notebook on the generic kernel and open it in Notebook 7, by the same server."""
    write_notebook(lab.root / name, *cells)
    page.goto(f"{lab.url}notebooks/{name}?token={lab.token}")
    wait_until_idle(page)


def show(
    page: Page, lab: JupyterServer, name: str, *cells: str, kernel_name: str = GENERIC
) -> None:
    """Write a notebook and open it in JupyterLab, in the place of those that the page shows."""
    write_notebook(lab.root / name, *cells, kernel_name=kernel_name)
    if page.url == "about:blank":
        page.goto(lab.lab_url(name))
    else:
        show_again(page, name)
    # What is run before it connects is lost; the words may be those of the notebook before.
    page.wait_for_function(IS_IDLE, arg=name)
    page.get_by_text("| Idle").wait_for()


def show_again(page: Page, name: str) -> None:
    """Open a notebook in the place of those that the page shows; what they have unsaved is lost."""
    page.evaluate(
        """async path => {
            for (const widget of [...jupyterapp.shell.widgets('main')]) widget.dispose();
            await jupyterapp.commands.execute('docmanager:open', {path});
        }""",
        name,
    )


def wait_until_idle(page: Page) -> None:
    """Wait until the kernel has nothing to do, in either front end."""
    page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for()


def toolbar(page: Page) -> Locator:
    """Give the button in the notebook's toolbar."""
    return page.locator(".jp-scriptenv-toolbar button")


def open_panel(page: Page, until: str = "Declared") -> Locator:
    """Press the button in the toolbar, and give the panel.

    :param until: what it shows when it is there
    """
    toolbar(page).click()
    panel = page.get_by_role("region", name="Environment")
    panel.get_by_text(until, exact=until == "Declared").first.wait_for()
    return panel


def add(panel: Locator, requirement: str) -> None:
    """Type a requirement, as it would be typed, and press Add."""
    panel.get_by_role("combobox", name="Add a package").fill(requirement)
    panel.get_by_role("button", name="Add", exact=True).click()


def wait_for_state(panel: Locator, state: str) -> None:
    """Wait for a state in the panel's head."""
    panel.locator(".jp-scriptenv-state").get_by_text(state, exact=True).wait_for()


def declared(panel: Locator) -> list[str]:
    """Give the declared dependencies."""
    names = panel.get_by_role("list", name="Declared dependencies").locator(".jp-scriptenv-name")
    return [text.strip() for text in names.all_inner_texts()]


def saved(lab: JupyterServer, name: str) -> Json:
    """Give a notebook as its file has it."""
    return dict(json.loads((lab.root / name).read_text(encoding="utf-8")))


def text_of(page: Page, number: int) -> str:
    """Give what a code cell says; the first is 1."""
    cell = page.locator(".jp-Notebook .jp-CodeCell").nth(number - 1)
    return str(cell.locator(".cm-content").inner_text())


def run_cell(page: Page, number: int) -> None:
    """Run a cell, stay there, and wait for its end."""
    cell = page.locator(".jp-Notebook .jp-CodeCell").nth(number - 1)
    cell.locator(".cm-content").click()
    page.keyboard.press("ControlOrMeta+Enter")
    cell.locator(".jp-InputPrompt").get_by_text(re.compile(r"^\[\d+\]:$")).wait_for()
    wait_until_idle(page)


def write_cell(page: Page, number: int, code: str) -> None:
    """Put *code* in the place of what a cell says."""
    page.locator(".jp-Notebook .jp-CodeCell").nth(number - 1).locator(".cm-content").click()
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.insert_text(code)


def outputs(page: Page, number: int) -> list[str]:
    """Give what stands below a code cell."""
    cell = page.locator(".jp-Notebook .jp-CodeCell").nth(number - 1)
    return [text.strip() for text in cell.locator(".jp-OutputArea-output").all_inner_texts()]


def press(panel: Locator, name: str) -> None:
    """Press a button of the panel, which is named in full."""
    panel.get_by_role("button", name=name, exact=True).click()


def choose_theme(lab: JupyterServer, theme: str) -> None:
    """Choose JupyterLab's theme, for pages that are opened from now on."""
    lab.request(
        "PUT",
        "lab/api/settings/@jupyterlab/apputils-extension:themes",
        {"raw": json.dumps({"theme": theme})},
    )
