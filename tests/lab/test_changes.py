"""What is declared and installed is changed in the panel: edited, chosen, locked, recorded."""

from __future__ import annotations

import platform
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tests.jupyter_server import JupyterServer
from tests.lab.panel import (
    add,
    declared,
    open_panel,
    outputs,
    press,
    run_cell,
    show,
    text_of,
    toolbar,
    wait_for_state,
    wait_until_idle,
    write_cell,
)
from tests.stage import environment_of, installed

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page, Route

BLOCK = '# /// script\n# dependencies = [\n#     "alpha<2",  # a reason\n# ]\n# ///'


def change(panel: Locator, name: str, requirement: str) -> None:
    """Edit a declared requirement, as it would be typed."""
    press(panel, f"Edit {name}")
    panel.get_by_role("combobox", name=f"Edit {name}").fill(requirement)
    press(panel, "Save")


def wait_for_installed(panel: Locator, text: str) -> None:
    """Wait until a package is listed in a version, such as ``alpha 1.0``."""
    name, version = text.split()
    row = panel.get_by_role("list", name="Installed packages").get_by_role("listitem")
    row.filter(has_text=name).get_by_text(version, exact=True).wait_for()
    wait_for_state(panel, "in sync")


def inode_of(folder: Path) -> int | None:
    """Give it; ``None`` in the moment in which one folder takes another's place."""
    try:
        return folder.stat().st_ino
    except FileNotFoundError:
        return None


def test_a_requirement_is_edited_locked_upgraded_and_rebuilt(
    lab: JupyterServer, page: Page, picture: Callable[..., None]
) -> None:
    show(page, lab, "edited.ipynb", BLOCK, "import alpha\nalpha.__version__")
    environment = environment_of(lab.root / "edited.ipynb")
    panel = open_panel(page)
    press(panel, "Sync")
    wait_for_installed(panel, "alpha 1.1")

    # Word for word, in its place: its comment stays. What has no solution is not written.
    change(panel, "alpha", "alpha==1.0")
    wait_for_installed(panel, "alpha 1.0")
    assert text_of(page, 1) == BLOCK.replace("<2", "==1.0")
    change(panel, "alpha", "alpha==9")
    panel.get_by_role("alert").get_by_text("alpha==9").first.wait_for()
    field = panel.get_by_role("combobox", name="Edit alpha")
    assert field.input_value() == "alpha==9"
    assert text_of(page, 1) == BLOCK.replace("<2", "==1.0")
    field.press("Escape")
    assert declared(panel) == ["alpha==1.0"]

    # A lock in the open document counts before it is saved.
    press(panel, "Lock")
    panel.get_by_text("in the notebook, not saved yet").wait_for()
    wait_for_state(panel, "in sync")
    change(panel, "alpha", "alpha")
    wait_for_installed(panel, "alpha 1.0")
    press(panel, "Upgrade")
    wait_for_installed(panel, "alpha 2.0")
    assert text_of(page, 1) == BLOCK.replace("<2", "")

    before = environment.stat().st_ino
    press(panel, "Rebuild")
    picture(page, "rebuild")
    page.get_by_role("dialog").get_by_role("button", name="Rebuild").click()
    while inode_of(environment) in (None, before):
        page.wait_for_timeout(50)
    wait_until_idle(page)
    wait_for_state(panel, "in sync")
    run_cell(page, 2)
    assert outputs(page, 2) == ["'2.0'"]

    # What the kernel has imported cannot change under it.
    change(panel, "alpha", "alpha<2")
    banner = page.locator(".jp-scriptenv-banner")
    banner.get_by_text("alpha").wait_for()
    picture(page, "restart-panel")
    banner.get_by_role("button", name="Restart kernel").click()
    banner.wait_for(state="detached")
    wait_until_idle(page)
    run_cell(page, 2)
    assert outputs(page, 2) == ["'1.1'"]
    wait_for_installed(panel, "alpha 1.1")


def test_what_is_typed_into_the_block_while_an_edit_is_worked_out_is_not_lost(
    lab: JupyterServer, page: Page
) -> None:
    show(page, lab, "typed.ipynb", BLOCK)
    panel = open_panel(page)
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route(re.compile(r"/scriptenv/tasks\?"), hold, times=1)
    add(panel, "gamma")
    while not held:
        page.wait_for_timeout(20)
    page.evaluate(
        """() => {
            const {cells} = jupyterapp.shell.currentWidget.content.model.sharedModel;
            cells[0].setSource(cells[0].getSource().replace('a reason', 'a better one'));
        }"""
    )
    field = panel.get_by_role("combobox", name="Add a package")
    field.fill("beta")  # the next one
    held[0].continue_()
    panel.get_by_role("button", name="Edit gamma").wait_for()
    wait_for_state(panel, "in sync")
    assert field.input_value() == "beta"
    after = BLOCK.replace("a reason", "a better one")
    assert text_of(page, 1) == after.replace("# ]", '#     "gamma>=1.0",\n# ]')


def test_another_python_is_chosen_and_what_was_installed_by_hand_is_recorded_or_removed(
    lab: JupyterServer, page: Page, another_python: str, picture: Callable[..., None]
) -> None:
    minor = another_python
    show(page, lab, "python.ipynb", BLOCK, "import alpha", "import sys; sys.version_info[:2]")
    environment = environment_of(lab.root / "python.ipynb")
    run_cell(page, 2)
    write_cell(page, 2, "!uv pip install gamma")
    run_cell(page, 2)
    panel = open_panel(page)
    drift = panel.get_by_role("list", name="Packages that are not as declared")
    drift.get_by_text("gamma").wait_for()
    picture(page, "drift")
    press(panel, "Record gamma in the block")
    drift.wait_for(state="detached")
    assert declared(panel) == ["alpha<2", "gamma>=1.0"]
    wait_for_state(panel, "in sync")
    write_cell(page, 2, "!uv pip install with-entry-point")
    run_cell(page, 2)
    drift.get_by_text("with-entry-point").wait_for()
    press(panel, "Remove undeclared")
    drift.wait_for(state="detached")
    wait_for_state(panel, "in sync")
    assert installed(environment) == {"alpha==1.1", "gamma==1.0"}

    choice = panel.get_by_role("combobox", name="Python")
    assert choice.input_value() == ".".join(platform.python_version_tuple()[:2])
    choice.select_option(minor)
    page.locator(".jp-scriptenv-banner").wait_for()
    press(page.locator(".jp-scriptenv-banner"), "Restart kernel")
    wait_until_idle(page)
    run_cell(page, 3)
    assert outputs(page, 3) == [str(tuple(map(int, minor.split("."))))]
    assert f'requires-python = "=={minor}.*"' in text_of(page, 1)
    toolbar(page).get_by_text(minor, exact=True).wait_for()
    choice.locator("option:checked", has_text=minor).wait_for(state="attached")
    wait_for_installed(panel, "alpha 1.1")
    wait_for_installed(panel, "gamma 1.0")
