"""Where less can be done: it is said in clear words, and nothing is lost."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.browsing import BLOCK
from tests.jupyter_server import JupyterServer
from tests.lab.panel import (
    add,
    declared,
    open_panel,
    outputs,
    press,
    run_cell,
    saved,
    show,
    show_again,
    text_of,
    toolbar,
    wait_for_state,
    wait_until_idle,
    write_cell,
)
from tests.stage import environment_of, installed, write_notebook

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

BETA = BLOCK.replace("alpha<2", "beta")


def test_what_is_wrong_with_a_block_or_a_name_is_said_and_nothing_is_lost(
    lab: JupyterServer, page: Page, picture: Callable[..., None]
) -> None:
    show(page, lab, "two.ipynb", BLOCK, BETA)
    panel = open_panel(page, "This notebook has more than one block")
    toolbar(page).get_by_text("failed").wait_for()
    assert panel.get_by_role("combobox", name="Add a package").count() == 0
    picture(page, "two-blocks")
    write_cell(page, 2, "# /// script\n# dependencies = [")
    panel.get_by_text("A block is opened and not closed").first.wait_for()
    write_cell(page, 2, "1")
    panel.get_by_text("Declared", exact=True).wait_for()
    assert declared(panel) == ["alpha<2"]

    # No such package, as far as can be told: there is no network here.
    add(panel, "no-such-package")
    alert = panel.get_by_role("alert")
    alert.get_by_text("no-such-package").first.wait_for()
    assert "requires-python" not in alert.inner_text()
    picture(page, "no-such-package")
    field = panel.get_by_role("combobox", name="Add a package")
    assert field.input_value() == "no-such-package"
    assert text_of(page, 1).strip() == BLOCK.strip()
    field.fill("beta ==")
    panel.locator(".jp-scriptenv-message").get_by_text(re.compile(r"\w+")).wait_for()
    assert panel.get_by_role("button", name="Add", exact=True).is_disabled()
    field.fill("beta")
    field.press("Enter")
    panel.get_by_role("button", name="Remove beta").wait_for()
    wait_for_state(panel, "in sync")
    assert alert.count() == 0

    # As long as a block is half typed, nothing is taken for superfluous, or for added.
    whole = text_of(page, 1)
    field.fill("gamma")
    page.evaluate(
        """() => {
            const {cells} = jupyterapp.shell.currentWidget.content.model.sharedModel;
            cells[0].setSource(cells[0].getSource().replace(/# ...\\s*$/, '# //'));
            const buttons = [...document.querySelectorAll('.jp-scriptenv-panel button')];
            for (const name of ['Add', 'Sync']) {
                buttons.find(each => each.innerText === name).click();
            }
        }"""
    )
    alert.get_by_text("A block is opened and not closed").first.wait_for()
    write_cell(page, 1, "# /// script\n# dependencies = [\n# ///")
    alert.get_by_text("The block is no TOML.").wait_for()
    press(alert, "Go to the block")
    write_cell(page, 1, whole)
    wait_for_state(panel, "in sync")
    assert installed(environment_of(lab.root / "two.ipynb")) == {"alpha==1.1", "beta==1.0"}


def test_a_notebook_that_runs_elsewhere_or_not_at_all_gets_its_own_environment(
    lab: JupyterServer, page: Page, picture: Callable[..., None]
) -> None:
    show(page, lab, "elsewhere.ipynb", BLOCK, "import sys; sys.prefix", kernel_name="python3")
    toolbar(page).get_by_text("not a scriptenv kernel").wait_for()
    panel = open_panel(page)
    picture(page, "not-ours")
    press(panel, "Run in its own environment")
    # Until then, what is idle is the kernel before.
    panel.get_by_role("button", name="Run in its own environment").wait_for(state="detached")
    wait_until_idle(page)
    run_cell(page, 2)
    assert outputs(page, 2) == [f"'{environment_of(lab.root / 'elsewhere.ipynb')}'"]
    wait_for_state(panel, "in sync")

    # Another notebook on the same kernel: of one page's connections, the first alone has comms.
    (session,) = [each for each in lab.sessions() if each["path"] == "elsewhere.ipynb"]
    write_notebook(lab.root / "beside.ipynb", BLOCK)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.evaluate(
        """async id => {
            const options = {path: 'beside.ipynb', kernel: {id}};
            await jupyterapp.commands.execute('docmanager:open', options);
        }""",
        session["kernel"]["id"],
    )
    page.locator(".jp-scriptenv-toolbar button:visible").get_by_text("not made yet").wait_for()
    assert not [each for each in said if "Comms are disabled" in each]
    show_again(page, "elsewhere.ipynb")
    wait_for_state(panel, "in sync")

    page.evaluate("jupyterapp.commands.execute('notebook:shutdown-kernel')")
    dialog = page.get_by_role("dialog")
    toolbar(page).get_by_text("no kernel").or_(dialog).first.wait_for()
    if dialog.is_visible():
        page.keyboard.press("Enter")
    wait_for_state(panel, "no kernel")
    assert session["id"] not in [each["id"] for each in lab.sessions()]
    press(panel, "Remove alpha")
    panel.get_by_role("button", name="Remove alpha").wait_for(state="detached")
    press(panel, "Run in its own environment")
    wait_for_state(panel, "in sync")


def test_a_notebook_that_cannot_be_written_or_a_server_without_us_is_shown_as_far_as_can_be(
    lab: JupyterServer, page: Page, picture: Callable[..., None]
) -> None:
    show(page, lab, "before.ipynb", "1")

    # As the server tells it of a file that is another user's; these tests may run as root.
    def locked(route: Route) -> None:
        answer = route.fetch()
        body = {**json.loads(answer.text()), "writable": False}
        route.fulfill(response=answer, json=body)

    page.route(re.compile(r"api/contents/locked\.ipynb\?"), locked)
    show(page, lab, "locked.ipynb", BLOCK, "1")
    panel = open_panel(page)
    panel.get_by_text("read-only").first.wait_for()
    assert panel.get_by_role("button", name="Remove alpha").is_disabled()
    assert panel.get_by_role("button", name="Sync", exact=True).is_disabled()
    picture(page, "read-only")
    write_cell(page, 2, "%scriptenv add beta")
    run_cell(page, 2)
    page.locator(".jp-Notebook .jp-CodeCell").nth(2).get_by_text('"beta').wait_for()
    assert text_of(page, 1).strip() == BLOCK.strip()

    page.route(re.compile("/scriptenv/"), lambda route: route.fulfill(status=404, body="{}"))
    show(page, lab, "alone.ipynb", BLOCK, "import alpha")
    panel.get_by_text("runs without the scriptenv extension").first.wait_for()
    run_cell(page, 2)
    wait_for_state(panel, "in sync")
    toolbar(page).get_by_text("in sync").wait_for()
    assert panel.get_by_role("button", name="Sync", exact=True).count() == 0
    panel.get_by_role("tab", name="All environments").click()
    panel.get_by_role("alert").get_by_text("without the scriptenv extension").wait_for()
    picture(page, "without-server")
    panel.get_by_role("tab", name="This notebook").click()

    page.unroute(re.compile("/scriptenv/"))
    page.route(re.compile("/scriptenv/"), lambda route: route.abort())
    show_again(page, "before.ipynb")
    panel.get_by_role("alert").get_by_text("The server does not answer").wait_for()
    assert saved(lab, "alone.ipynb")["cells"][0]["source"] == BLOCK
