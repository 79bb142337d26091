"""Fixtures for a module whose tests share one server, each with its own notebooks: import both."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import Home
from tests.jupyter_server import JupyterServer, running_lab

__all__ = ["home", "lab"]


@pytest.fixture(scope="module")
def home(module_home: Home) -> Home:
    """Give the home that the tests of a module have in common."""
    return module_home


@pytest.fixture(scope="module")
def lab(home: Home) -> Iterator[JupyterServer]:
    """Run one server for all tests of a module."""
    with running_lab(home.path.parent / "work") as server:
        yield server
