"""What a notebook shows of its environment, and how its block changes in the open document."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.browsing import BLOCK, open_notebook
from tests.jupyter_server import JupyterServer
from tests.lab.panel import show, show_again, toolbar, wait_until_idle
from tests.stage import write_notebook

if TYPE_CHECKING:
    from playwright.sync_api import Page

CODE = f"{BLOCK}import alpha"


def test_the_block_s_cell_is_changed_by_the_magic_folded_completed_and_asks_for_restarts(
    lab: JupyterServer, page: Page, picture: Callable[..., None]
) -> None:
    notebook = open_notebook(page, lab, "magic.ipynb", CODE, "%scriptenv add beta")
    toolbar(page).get_by_text(re.compile("pending|not made yet")).wait_for()

    notebook.run_cell(2)
    notebook.wait_until_run(2)
    notebook.cell(1).get_by_text('"beta').wait_for()
    toolbar(page).get_by_text("in sync").wait_for()
    assert notebook.cell(2).locator(".cm-content").inner_text() == "%scriptenv add beta"
    assert page.locator(".jp-Notebook .jp-CodeCell").count() == 2
    page.locator(".jp-scriptenv-status").get_by_text("in sync").wait_for()
    picture(page, "block")

    notebook.cell(1).locator(".cm-content").click()
    page.keyboard.press("ControlOrMeta+z")
    notebook.cell(1).get_by_text('"beta').wait_for(state="detached")

    # The block's cell says what it is for, and can be folded.
    header = notebook.cell(1).get_by_role("button", name="Environment of this notebook")
    header.click()
    notebook.cell(1).locator(".cm-content").wait_for(state="hidden")
    header.click()
    notebook.cell(1).locator(".cm-content").wait_for()
    notebook.cell(1).locator(".jp-InputCollapser").click()  # JupyterLab's own way
    notebook.cell(1).locator(".cm-content").wait_for(state="hidden")
    header.click()
    notebook.cell(1).locator(".cm-content").wait_for()

    # A restart that is needed is a banner with a button.
    show(page, lab, "restart.ipynb", CODE, "alpha.__version__")
    notebook.run_cell(1)
    notebook.wait_until_run(1)
    notebook.write(1, CODE.replace("alpha<2", "alpha>=2"))
    notebook.run_cell(1)
    banner = page.locator(".jp-scriptenv-banner")
    banner.get_by_text(re.compile("alpha")).wait_for()
    picture(page, "restart")
    # Of too many words for its width, the first ones stay.
    is_cut = """banner => {
        banner.style.width = '400px';
        const words = banner.querySelector('strong');
        const isCut = words.scrollWidth > words.clientWidth;
        banner.style.width = '';
        return isCut;
    }"""
    assert not banner.evaluate(is_cut)

    banner.get_by_role("button", name="Restart kernel").click()
    banner.wait_for(state="detached")
    wait_until_idle(page)
    notebook.run_cell(1)
    notebook.run_cell(2)
    notebook.wait_until_run(2)
    assert notebook.outputs(2) == ["'2.0'"]
    toolbar(page).get_by_text("in sync").wait_for()

    # Names of packages are completed inside the block.
    notebook.write(1, '# /// script\n# dependencies = ["alp')
    page.keyboard.insert_text('"]\n# ///')
    for _ in range(len('"]\n# ///')):
        page.keyboard.press("ArrowLeft")
    page.keyboard.press("Tab")
    page.locator(".jp-Completer-item", has_text="alpha").wait_for()
    page.keyboard.press("Enter")
    notebook.cell(1).get_by_text('"alpha"').wait_for()


def test_the_launcher_and_the_choice_of_a_kernel_stay_clean(
    lab: JupyterServer, page: Page, picture: Callable[..., None]
) -> None:
    open_notebook(page, lab, "own.ipynb", CODE)
    assert any(name.startswith("scriptenv-own-") for name in lab.kernelspecs())

    # It is in the picker, and not preselected for a notebook that names no kernel that is there.
    write_notebook(lab.root / "unrelated.ipynb", "1", kernel_name="gone")
    page.evaluate("jupyterapp.serviceManager.kernelspecs.refreshSpecs()")
    show_again(page, "unrelated.ipynb")
    choice = page.get_by_role("dialog").locator("select")
    choice.locator("option", has_text="scriptenv: own.ipynb").first.wait_for(state="attached")
    preselected = choice.evaluate("select => select.selectedOptions[0].text")
    assert not preselected.startswith("scriptenv: "), preselected

    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="detached")
    # With nothing else open, the launcher comes by itself.
    page.evaluate("[...jupyterapp.shell.widgets('main')].forEach(each => each.dispose())")
    page.locator(".jp-LauncherCard", has_text="Python (scriptenv)").first.wait_for()
    assert page.locator(".jp-LauncherCard", has_text="scriptenv: ").count() == 0
    picture(page, "launcher-clean")

    page.goto(f"{lab.url}tree?token={lab.token}")  # Notebook 7
    page.locator(".jp-DropdownMenu").get_by_text("New").click()
    menu = page.get_by_role("menu")
    menu.get_by_text("Python (scriptenv)").wait_for()
    assert not menu.get_by_text("scriptenv: own.ipynb").is_visible()
    picture(page, "new-menu-clean")

    lab.request(
        "PUT", "lab/api/settings/ipy-scriptenv:plugin", {"raw": '{"hideInLauncher": false}'}
    )
    page.goto(lab.lab_url())
    page.locator(".jp-LauncherCard", has_text="scriptenv: own.ipynb").first.wait_for()
