"""The side panel: what a person sees of a notebook's environment there, and changes."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.jupyter_server import JupyterServer
from tests.lab.panel import (
    add,
    declared,
    open_in_notebook_7,
    open_panel,
    run_cell,
    saved,
    text_of,
    toolbar,
    wait_for_state,
    wait_until_idle,
)
from tests.stage import environment_of, installed
from tests.test_browser import BLOCK, open_notebook

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
    picture(page, "panel")
    assert 'name = "beta"' in saved(lab, "first.ipynb")["metadata"]["uv.lock"]

    panel.get_by_role("button", name="Remove beta").click()
    panel.get_by_role("button", name="Remove beta").wait_for(state="detached")
    wait_for_state(panel, "in sync")
    assert declared(panel) == ["alpha<2"]
    assert installed(environment_of(lab.root / "first.ipynb")) == {"alpha==1.1"}


def test_what_cannot_be_resolved_changes_nothing_and_shows_the_resolver_s_words(
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
    picture(page, "failed")
    alert.get_by_role("button", name="Go to the block").click()
    page.locator(".jp-Notebook .jp-CodeCell").nth(1).locator(".cm-focused").wait_for()


def test_the_installed_packages_tell_who_brought_them(lab: JupyterServer, page: Page) -> None:
    block = '# /// script\n# dependencies = ["beta"]\n# ///\n'
    open_notebook(page, lab, "tree.ipynb", f"{block}import beta")
    run_cell(page, 1)
    panel = open_panel(page)
    packages = panel.get_by_role("list", name="Installed packages")
    packages.get_by_text("by beta").wait_for()

    panel.get_by_role("searchbox", name="Filter the installed packages").fill("nothing")
    panel.get_by_text("No package fits.").wait_for()
    panel.get_by_role("searchbox", name="Filter the installed packages").fill("alp")
    assert packages.get_by_role("listitem").count() == 1
    panel.get_by_role("checkbox", name="Tree").check()
    packages.locator("summary", has_text="beta").click()
    packages.get_by_role("listitem").filter(has_text="alpha").last.wait_for()


def test_the_first_minutes_run_in_notebook_7(
    lab: JupyterServer, page: Page, picture: Callable[..., None]
) -> None:
    open_in_notebook_7(page, lab, "seven.ipynb", "import alpha; alpha.__version__")
    panel = open_panel(page)
    add(panel, "alpha<2")
    panel.get_by_role("button", name="Remove alpha").wait_for()
    wait_for_state(panel, "in sync")
    run_cell(page, 2)
    page.get_by_text("'1.1'").wait_for()
    panel.get_by_role("button", name="Lock", exact=True).click()
    panel.get_by_text("in the notebook, not saved yet").wait_for()
    picture(page, "notebook-7")

    page.get_by_role("menuitem", name="Kernel", exact=True).click()
    page.get_by_role("menuitem", name=re.compile(r"^Restart Kernel…")).click()
    page.get_by_role("button", name="Confirm Kernel Restart").click()
    wait_until_idle(page)
    run_cell(page, 2)
    toolbar(page).get_by_text("in sync").wait_for()


def test_all_environments_are_listed_opened_and_deleted(
    lab: JupyterServer, page: Page, picture: Callable[..., None]
) -> None:
    open_notebook(page, lab, "kept.ipynb", f"{BLOCK}import alpha")
    run_cell(page, 1)
    gone = lab.root / "gone.ipynb"
    open_notebook(page, lab, "gone.ipynb", f"{BLOCK}import alpha")
    run_cell(page, 1)
    (session,) = [each for each in lab.sessions() if each["path"] == "gone.ipynb"]
    lab.delete_session(session["id"])
    environment = environment_of(gone)

    page.goto(lab.lab_url("kept.ipynb"))
    wait_until_idle(page)
    panel = open_panel(page)
    panel.get_by_role("tab", name="All environments").click()
    panel.get_by_role("button", name="gone.ipynb", exact=True).wait_for()
    panel.get_by_text(re.compile(r"^\d+ environments?, [\d.]+ ")).wait_for()
    picture(page, "all-environments")

    panel.get_by_role("button", name="Delete the environment of gone.ipynb").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    panel.get_by_role("button", name="gone.ipynb", exact=True).wait_for(state="detached")
    assert not environment.exists()
    panel.get_by_role("button", name="kept.ipynb", exact=True).click()

    panel.get_by_role("button", name=re.compile("^Prune")).click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("Nothing to remove").wait_for()
    dialog.get_by_role("button", name="Ok").click()
