"""The front end in a browser: real JupyterLab, with the extension that is built beside."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import Home
from tests.jupyter_server import JupyterServer, running_lab
from tests.test_browser import new_page, picture

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

__all__ = ["picture"]

EXTENSION = Path(sys.prefix, "share", "jupyter", "labextensions", "ipy-scriptenv")


@pytest.fixture(scope="module", autouse=True)
def extension() -> None:
    """Skip where the extension is not built; under ``CI`` fail."""
    if not (EXTENSION / "package.json").is_file():
        missing = "the front end is not built: run `make labextension`, which needs Node"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)


@pytest.fixture(scope="module")
def home(module_home: Home) -> Home:
    return module_home


@pytest.fixture(scope="module")
def lab(home: Home) -> Iterator[JupyterServer]:
    """Run one server for all tests of a module; each has a notebook of its own."""
    with running_lab(home.path.parent / "demo") as server:
        yield server


@pytest.fixture
def page(browser: Browser) -> Page:
    return new_page(browser)
