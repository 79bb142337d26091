"""The side panel: what a person sees of a notebook's environment there, and changes."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.browsing import BLOCK, open_notebook
from tests.jupyter_server import JupyterServer
from tests.lab.panel import (
    add,
    declared,
    open_panel,
    run_cell,
    saved,
    show,
    text_of,
    toolbar,
    wait_for_state,
)
from tests.stage import environment_of, installed

if TYPE_CHECKING:
    from playwright.sync_api import Page


def test_a_package_is_added_locked_and_removed_without_a_typed_magic(
    lab: JupyterServer, page: Page, picture: Callable[..., None]
) -> None:
    notebook = open_notebook(page, lab, "first.ipynb", "import alpha; alpha.__version__")
    panel = open_panel(page)
    before = saved(lab, "first.ipynb")

    # What cannot be read is told as it is typed.
    panel.get_by_role("combobox", name="Add a package").fill("alpha>=1,<")
    panel.locator(".jp-scriptenv-message").get_by_text(re.compile(r"\w+")).wait_for()
    assert panel.get_by_role("button", name="Add", exact=True).is_disabled()

    add(panel, "alpha<2")
    panel.get_by_role("button", name="Remove alpha").wait_for()
    wait_for_state(panel, "in sync")
    page.get_by_text("Environment of this notebook").wait_for()
    assert declared(panel) == ["alpha<2"]
    assert text_of(page, 1).splitlines()[0] == "# /// script"
    assert saved(lab, "first.ipynb") == before, "nothing on disk is touched"
    assert installed(environment_of(lab.root / "first.ipynb")) == {"alpha==1.1"}
    run_cell(page, 2)
    assert notebook.outputs(2) == ["'1.1'"]

    add(panel, "beta")
    panel.get_by_text("by beta").or_(
        panel.get_by_role("button", name="Remove beta")
    ).first.wait_for()
    wait_for_state(panel, "in sync")
    panel.get_by_role("button", name="Lock", exact=True).click()
    panel.get_by_text("in the notebook, not saved yet").wait_for()
    notebook.save()
    panel.get_by_text("in the notebook, up to date").wait_for()
    picture(page, "added")
    assert 'name = "beta"' in saved(lab, "first.ipynb")["metadata"]["uv.lock"]

    panel.get_by_role("button", name="Remove beta").click()
    panel.get_by_role("button", name="Remove beta").wait_for(state="detached")
    wait_for_state(panel, "in sync")
    assert declared(panel) == ["alpha<2"]
    assert installed(environment_of(lab.root / "first.ipynb")) == {"alpha==1.1"}

    # The lock that follows the block is unsaved, until it goes back to what the file has.
    panel.get_by_text("in the notebook, not saved yet").wait_for()
    page.evaluate("jupyterapp.shell.currentWidget.context.revert()")
    panel.get_by_text("in the notebook, up to date").wait_for()


def test_what_cannot_be_resolved_changes_nothing_and_what_is_installed_says_why(
    lab: JupyterServer, page: Page, picture: Callable[..., None]
) -> None:
    open_notebook(page, lab, "conflict.ipynb", "1", f"{BLOCK}import alpha")
    panel = open_panel(page)
    add(panel, "alpha>=9")
    alert = panel.get_by_role("alert")
    alert.get_by_text(re.compile("alpha")).first.wait_for()
    toolbar(page).get_by_text("failed").wait_for()
    assert declared(panel) == ["alpha<2"]
    assert "alpha>=9" not in text_of(page, 2)
    picture(page, "conflict")
    alert.get_by_role("button", name="Go to the block").click()
    page.locator(".jp-Notebook .jp-CodeCell").nth(1).locator(".cm-focused").wait_for()

    # What is installed tells who brought it.
    block = '# /// script\n# dependencies = ["beta"]\n# ///\n'
    show(page, lab, "tree.ipynb", f"{block}import beta")
    run_cell(page, 1)
    packages = panel.get_by_role("list", name="Installed packages")
    packages.get_by_text("by beta").wait_for()

    panel.get_by_role("searchbox", name="Filter the installed packages").fill("nothing")
    panel.get_by_text("No package fits.").wait_for()
    panel.get_by_role("searchbox", name="Filter the installed packages").fill("alp")
    assert packages.get_by_role("listitem").count() == 1
    panel.get_by_role("checkbox", name="Tree").check()
    packages.locator("summary", has_text="beta").click()
    packages.get_by_role("listitem").filter(has_text="alpha").last.wait_for()
