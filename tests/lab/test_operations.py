"""Work that goes on: seen live in every window, cancelled in any."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.browsing import new_page
from tests.jupyter_server import JupyterServer
from tests.kernels import block
from tests.lab.panel import open_panel, press, show, toolbar, wait_for_state, wait_until_idle
from tests.stage import environment_of, installed, write_project

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

WAITING = """
import pathlib, time

BEFORE = build_wheel


def build_wheel(directory, config_settings=None, metadata_directory=None):
    while not pathlib.Path(__file__).with_name("go").exists():
        time.sleep(0.05)
    return BEFORE(directory, config_settings, metadata_directory)
"""
"""The end of a build backend that waits until a file is there, whatever becomes of uv."""

KEEP_SOCKETS = """
window.sockets = [];
window.WebSocket = class extends WebSocket {
    constructor(...words) {
        super(...words);
        window.sockets.push(this);
    }
};
"""
LOSE_CONNECTIONS = """() => {
    const open = window.sockets.filter(
        each => each.url.includes('/scriptenv/') && each.readyState === WebSocket.OPEN
    );
    open.forEach(each => each.close());
    return open.length;
}"""


def test_work_is_seen_live_and_cancelled_from_any_window(
    lab: JupyterServer, browser: Browser, page: Page, picture: Callable[..., None]
) -> None:
    project = write_project(lab.root / "slow")
    backend = project / "backend.py"
    backend.write_text(backend.read_text() + WAITING)
    source = '[tool.uv.sources]\nlocal = { path = "slow" }'
    page.add_init_script(KEEP_SOCKETS)
    show(page, lab, "slow.ipynb", block("local", more=source), "import local; local.VERSION")
    panel = open_panel(page)
    press(panel, "Sync")
    toolbar(page).get_by_text("installing 0/1").wait_for()
    panel.get_by_text("Last operation").wait_for()
    assert panel.get_by_role("button", name="Upgrade").is_disabled()
    picture(page, "installing")

    # Another window on it, or the same that is loaded anew. The server's events do not reach it.
    other = new_page(browser)
    other.route_web_socket(re.compile("api/events/subscribe"), lambda _: None)
    other.goto(lab.lab_url("slow.ipynb"))
    wait_until_idle(other)
    toolbar(other).get_by_text(re.compile("installing 0/1|working")).wait_for()
    beside = open_panel(other)
    press(beside, "Cancel")
    for each in (panel, beside):
        wait_for_state(each, "1 change pending")
    assert panel.get_by_role("alert").count() == 0
    assert not environment_of(lab.root / "slow.ipynb").joinpath("local.py").exists()

    # One that does not know of it yet: it is told when it asks for something, and follows.
    held: list[Route] = []
    holding = threading.Event()
    holding.set()

    def hold(route: Route) -> None:
        if holding.is_set():
            held.append(route)
        else:
            route.continue_()

    other.route("**/scriptenv/environment*", hold)
    press(panel, "Sync")
    toolbar(page).get_by_text("installing 0/1").wait_for()
    # By no mouse, which would wait for ever where an earlier question was answered late.
    beside.get_by_role("button", name="Lock", exact=True).dispatch_event("click")
    beside.locator("button:enabled", has_text="Cancel").wait_for()
    assert beside.get_by_role("alert").count() == 0
    holding.clear()  # the route stays: one that came while it is taken away would be held for good
    for route in held:
        route.continue_()
    press(panel, "Cancel")
    for each in (panel, beside):
        wait_for_state(each, "1 change pending")

    # One that the events reach sees it at once, and follows over a connection that is lost.
    press(beside, "Sync")
    toolbar(page).get_by_text("installing 0/1").wait_for()
    assert page.evaluate(LOSE_CONNECTIONS) == 1
    (project / "go").touch()
    for each in (panel, beside):
        wait_for_state(each, "in sync")
    assert panel.get_by_role("alert").count() == 0
    assert installed(environment_of(lab.root / "slow.ipynb")) == {"local==1.0"}
