"""The pictures of cells in the README and ``docs/``, made anew with packages from an index.

``SCRIPTENV_SCREENSHOTS=docs/images .venv/bin/pytest tests/pictures.py``
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browsing import down_to, new_page, open_notebook, picture, real_packages
from tests.jupyter_server import running_lab
from tests.one_server import home

if TYPE_CHECKING:
    from playwright.sync_api import Browser

__all__ = ["home", "picture", "real_packages"]  # fixtures

PLANETS = """\
# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "matplotlib",
#     "pandas",
# ]
# ///
import pandas as pd

planets = pd.DataFrame(
    {"planet": ["Jupiter", "Saturn", "Uranus", "Neptune"], "moons": [97, 274, 28, 16]}
)
planets"""
PLOT = 'planets.plot.barh(x="planet", y="moons", figsize=(6, 1.8), legend=False, ylabel="");'


@pytest.mark.usefixtures("real_packages")
def test_pictures_for_the_documentation(
    browser: Browser,
    picture: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "empty-cache"))  # installing takes a moment
    with running_lab(tmp_path / "demo") as lab:
        page = new_page(browser)
        page.goto(lab.lab_url())
        page.get_by_text("Python (scriptenv)").first.wait_for()
        launcher = page.locator(".jp-Launcher-section").nth(1)
        picture(page, "launcher", clip=down_to(launcher, page, space=-6))

        notebook = open_notebook(page, lab, "planets.ipynb", PLANETS, PLOT)
        notebook.run_cell(1)
        notebook.cell(1).get_by_text("downloaded").first.wait_for()
        picture(page, "progress", clip=down_to(notebook.cell(1), page))
        notebook.wait_until_run(1)
        notebook.run_cell(2)
        notebook.cell(2).locator(".jp-OutputArea-output img").wait_for()
        notebook.wait_until_run(2)
        picture(page, "result", clip=down_to(notebook.cell(2), page))

        bad = PLANETS.replace('"pandas"', '"pandas>=99"')
        notebook = open_notebook(page, lab, "conflict.ipynb", bad)
        notebook.run_cell(1)
        notebook.cell(1).get_by_text("ResolutionFailed").first.wait_for()
        notebook.wait_until_idle()
        picture(page, "error", clip=down_to(notebook.cell(1), page))
