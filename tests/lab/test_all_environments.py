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
    from playwright.sync_api import Locator, Page, Response, Route

SETTINGS = "lab/api/settings/ipy-scriptenv:plugin"


def test_all_environments_are_listed_opened_moved_deleted_and_pruned(
    lab: JupyterServer, page: Page, picture: Callable[..., None]
) -> None:
    paths = {
        name: write_notebook(lab.root / "all" / f"{name}.ipynb", BLOCK, "1")
        for name in ("kept", "unwanted", "old", "orphan", "twin/kept", "damaged")
    }
    for path in paths.values():
        sync(path)
    new = paths["old"].rename(lab.root / "all" / "new.ipynb")
    orphan = environment_of(paths["orphan"])
    paths["orphan"].unlink()
    damaged = environment_of(paths["damaged"])
    (damaged / "scriptenv.json").write_text("{")
    show(page, lab, "all/kept.ipynb", BLOCK, "1")
    panel = open_panel(page)
    panel.get_by_role("tab", name="All environments").click()
    panel.get_by_text(re.compile(r"^\d+ environments, [\d.]+ ")).wait_for()
    row = panel.get_by_role("list", name="Environments").get_by_role("listitem")
    row.filter(has_text="orphan.ipynb").get_by_text("orphan", exact=True).wait_for()
    assert panel.get_by_role("button", name="orphan.ipynb", exact=True).count() == 0
    # Of two with one name, the folder is told; a damaged one has no name but its own.
    panel.get_by_text(f"{lab.root / 'all' / 'twin'}/", exact=False).wait_for()
    twins = panel.get_by_role("button", name=re.compile("Delete the environment of .*kept.ipynb"))
    assert len({each.get_attribute("title") for each in twins.all()}) == 2
    assert panel.get_by_role("button", name=f"Move the environment of {damaged.name}").is_disabled()
    picture(page, "all")
    for name, gone in (
        (damaged.name, damaged),
        ("unwanted.ipynb", environment_of(paths["unwanted"])),
    ):
        delete(panel, name)
        assert not gone.exists()

    move(panel, "old.ipynb", "all/nowhere.ipynb")
    panel.get_by_role("alert").get_by_text("nowhere.ipynb").wait_for()
    move(panel, "old.ipynb", "all/new.ipynb")
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

    check_portions(page, panel)
    panel.get_by_role("searchbox", name="Filter the environments").fill("new")
    panel.get_by_role("button", name="kept.ipynb", exact=True).first.wait_for(state="detached")
    press(panel, "new.ipynb")
    page.get_by_role("tab", name="new.ipynb").wait_for()
    panel.get_by_role("tab", name="This notebook").click()
    panel.get_by_role("heading", name="new.ipynb").wait_for()
    wait_for_state(panel, "in sync")

    choose_command(page, "Lock the Environment")
    panel.get_by_text("in the notebook, not saved yet").wait_for()


def check_portions(page: Page, panel: Locator) -> None:
    """Check that of thousands, which a browser would take seconds to draw, a portion is drawn."""
    environments = re.compile("/scriptenv/environments")
    row = panel.get_by_role("list", name="Environments").get_by_role("listitem")
    page.route(environments, four_hundred_and_fifty)
    press(panel, "Refresh")
    press(panel, "Show 200 of 250 more")
    press(panel, "Show 50 of 50 more")
    panel.get_by_role("button", name=re.compile("^Show .* more$")).wait_for(state="detached")
    assert row.count() == 450
    panel.get_by_text(re.compile(r"^\d+ environments, [\d.]+ ")).wait_for()  # all is answered
    page.unroute(environments)
    press(panel, "Refresh")
    row.nth(100).wait_for(state="detached")


def four_hundred_and_fifty(route: Route) -> None:
    """Answer with the first of the environments that there are, 450 times."""
    answer = route.fetch()
    body = answer.json()
    first = body["environments"][0]
    body["environments"] = [{**first, "name": f"{first['name']}-{n}"} for n in range(450)]
    route.fulfill(response=answer, json=body)


def choose_command(page: Page, words: str) -> None:
    """Choose a command in the palette."""
    page.keyboard.press("ControlOrMeta+Shift+C")
    page.locator("#modal-command-palette input").fill(words)
    page.locator("#modal-command-palette li", has_text=words).click()


def delete(panel: Locator, name: str) -> None:
    """Delete an environment, and wait until it is listed no more."""
    press(panel, f"Delete the environment of {name}")
    press(panel.page.get_by_role("dialog"), "Delete")
    row = panel.get_by_role("list", name="Environments").get_by_role("listitem")
    row.filter(has_text=name).wait_for(state="detached")


def move(panel: Locator, name: str, new: str) -> None:
    """Ask for an environment to be another file's."""
    press(panel, f"Move the environment of {name}")
    dialog = panel.page.get_by_role("dialog")
    dialog.locator("input").fill(new)
    press(dialog, "Move")


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

    page.evaluate("jupyterapp.commands.execute('settingeditor:open', {query: 'Environments of'})")
    switch = page.locator("input[type=checkbox][id$=plugin_register]")
    picker = f"{kernelspec_of(path)!r} in jupyterapp.serviceManager.kernelspecs.specs.kernelspecs"
    # No mouse: a notebook may come in front of the editor of settings.
    # JupyterLab writes a setting and reads it again: before that, the next would take its place.
    methods: list[str] = []

    def is_read_again(each: Response) -> bool:
        if SETTINGS in each.url:
            methods.append(each.request.method)
        return methods[-1:] == ["GET"] and "PUT" in methods

    with page.expect_response(is_read_again):
        switch.dispatch_event("click")
    for expected in (picker, f"!({picker})", picker):
        switch.dispatch_event("click")
        page.wait_for_function(f"() => {expected}")
    assert kernelspec_of(path) in lab.kernelspecs()
