"""Many rounds of a kernel that replaces itself, under JupyterLab.

``python -m tests.rounds.lab_rounds [-n 100] [--client websocket|browser] [--show]``

Each round opens a notebook of its own, whose kernel starts on the host's Python. Then all five
cells are run at once; the block in the first one asks for another Python, so the kernel executes
itself anew while the others wait. A round is right if every cell shows what it should, under its
number:

- ``websocket`` sends the requests over the server's websocket, as *Run All* does;
- ``browser`` chooses *Run All Cells* in JupyterLab, in headless Chromium.
"""

# ruff: noqa: T201 - it prints its table

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import BROWSER_OPTIONS, BROWSERS
from tests.jupyter_server import Execution, JupyterServer, running_lab, write_notebook
from tests.rounds.replace_rounds import CELLS, EXPECTED, MINOR, _set_stage, first_cell

if TYPE_CHECKING:
    from playwright.sync_api import Page

__all__ = ["main"]

ALL_CELLS = (first_cell(MINOR), *CELLS)

Round = Callable[[JupyterServer, str], list[str]]
"""Runs a notebook that is open; gives number and output of each cell, such as ``[1]: hello``."""

WANTED = [f"[{number}]: {text}" for number, text in enumerate(EXPECTED, 1)]


@contextmanager
def with_websocket() -> Iterator[Round]:
    def run(lab: JupyterServer, name: str) -> list[str]:
        (session,) = [each for each in lab.sessions() if each["path"] == name]
        with lab.connect(session["kernel"]["id"]) as kernel:
            requests = [kernel.begin(code) for code in ALL_CELLS]
            return [_seen(kernel.collect(request, timeout=60)) for request in requests]

    yield run


def _seen(execution: Execution) -> str:
    text = "".join(str(each.get("text", each["msg_type"])) for each in execution.shown)
    return f"[{execution.reply['execution_count']}]: {text}"


@contextmanager
def with_browser() -> Iterator[Round]:
    from playwright.sync_api import sync_playwright

    program = next(path for name in BROWSERS if (path := shutil.which(name)))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=[*BROWSER_OPTIONS])

        def run(lab: JupyterServer, name: str) -> list[str]:
            page = browser.new_page(viewport={"width": 1520, "height": 900})
            try:
                return _run_all(page, lab, name)
            finally:
                page.close()

        yield run
        browser.close()


def _run_all(page: Page, lab: JupyterServer, name: str) -> list[str]:
    page.goto(lab.lab_url(name))
    page.get_by_text("| Idle").wait_for()
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    cells = page.locator(".jp-Notebook .jp-CodeCell")
    deadline = time.monotonic() + 60
    seen: list[str] = []
    while seen != WANTED and time.monotonic() < deadline:
        page.wait_for_timeout(200)
        seen = [
            f"{cell.locator('.jp-InputPrompt').inner_text()} "
            + "".join(cell.locator(".jp-OutputArea-output").all_inner_texts())
            for cell in cells.all()
        ]
    return seen


CLIENTS = {"websocket": with_websocket, "browser": with_browser}


def main() -> int:
    """Do the rounds and print a table; the exit code is 1 if one was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("-n", type=int, default=100, help="rounds under each client")
    parser.add_argument("--client", choices=[*CLIENTS], action="append", help="default: all")
    parser.add_argument("--show", action="store_true", help="show what a wrong round gave")
    options = parser.parse_args()
    wrong_ones = 0
    with tempfile.TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
        folder = _set_stage(Path(place), patch)
        print(f"{'client':<10} {'rounds':>6} {'right':>6} {'wrong':>6} {'seconds a round':>16}")
        with running_lab(folder) as lab:
            for client in options.client or CLIENTS:
                begun, right = time.monotonic(), 0
                with CLIENTS[client]() as run:
                    for number in range(options.n):
                        seen = _round(lab, run, f"{client}-{number}.ipynb")
                        right += seen == WANTED
                        if seen != WANTED and options.show:
                            print(f"  {number}: {seen}", flush=True)
                each = (time.monotonic() - begun) / max(options.n, 1)
                wrong = options.n - right
                print(
                    f"{client:<10} {options.n:>6} {right:>6} {wrong:>6} {each:>16.2f}", flush=True
                )
                wrong_ones += wrong
    return 1 if wrong_ones else 0


def _round(lab: JupyterServer, run: Round, name: str) -> list[str]:
    path = write_notebook(lab.root / name, "1")
    session = lab.create_session(name, "scriptenv")
    try:
        write_notebook(path, *ALL_CELLS)
        return run(lab, name)
    except Exception as error:  # noqa: BLE001 - a round that fails is a wrong one
        return [repr(error)]
    finally:
        lab.delete_session(session["id"])


if __name__ == "__main__":
    raise SystemExit(main())
