"""The front end in a browser: real JupyterLab, with the extension that is built beside."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browsing import another_python, page, picture
from tests.conftest import Home, Layers, running_browser, shared_home
from tests.jupyter_server import JupyterServer, running_lab

if TYPE_CHECKING:
    from playwright.sync_api import Browser

__all__ = ["another_python", "page", "picture"]  # fixtures

EXTENSION = Path(sys.prefix, "share", "jupyter", "labextensions", "ipy-scriptenv")


@pytest.fixture(scope="package", autouse=True)
def extension() -> None:
    """Skip where the extension is not built; under ``CI`` fail."""
    if not (EXTENSION / "package.json").is_file():
        missing = "the front end is not built: run `make labextension`, which needs Node"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)


@pytest.fixture(scope="package")
def home(
    tmp_path_factory: pytest.TempPathFactory, uv_cache: Path, index: Path, layers: Layers
) -> Iterator[Home]:
    """Give one home for all tests here."""
    with shared_home(tmp_path_factory.mktemp("lab"), uv_cache, index, layers) as home:
        yield home


@pytest.fixture(scope="package")
def lab(home: Home) -> Iterator[JupyterServer]:
    """Run one server for all tests here; each has notebooks of its own."""
    # With the application within reach, a test opens a second notebook without loading all anew.
    option = "--LabApp.expose_app_in_browser=True"
    with running_lab(home.path.parent / "demo", option) as server:
        yield server


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Run one browser for all tests here."""
    with running_browser() as browser:
        yield browser
