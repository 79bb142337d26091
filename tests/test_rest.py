"""The REST of the server extension, in a real JupyterLab server: what each request gives."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Home
from tests.jupyter_server import JupyterServer, running_lab
from tests.kernels import block, write_notebook
from tests.rest_client import Json, ask, begin, events, run
from tests.stage import block_of, environment_of, installed, record_of


@pytest.fixture(scope="module")
def home(module_home: Home) -> Home:
    return module_home


@pytest.fixture(scope="module")
def lab(home: Home) -> Iterator[JupyterServer]:
    """Run one server for all tests here; each has notebooks of its own."""
    with running_lab(home.path.parent / "work") as server:
        yield server


def look(lab: JupyterServer, path: str) -> Json:
    answer = ask(lab, "GET", "environment", path=path)
    assert answer.status == 200, answer
    return dict(answer.body)


def packages(seen: Json) -> dict[str, Json]:
    return {each["name"]: each for each in seen["packages"]}


def embedded(path: Path) -> str | None:
    text = json.loads(path.read_text())["metadata"].get("uv.lock")
    return None if text is None else str(text)


def test_a_notebook_is_synced_looked_at_and_listed(lab: JupyterServer, home: Home) -> None:
    path = write_notebook(lab.root / "folder" / "first.ipynb", block("beta", "gamma"))
    before = look(lab, "folder/first.ipynb")
    assert before["status"]["state"] == "missing"
    assert (before["bytes"], before["packages"], before["task"]) == (None, [], None)
    assert before["lock"] == {"path": None, "embedded": False, "state": "none"}

    told = list(events(lab, begin(lab, "sync", path="folder/first.ipynb")))
    assert [each["event"] for each in told[:-1]] == ["resolving", "installing", "installing"]
    done = told[-1]
    assert done["event"] == "done"
    assert done["result"]["action"] == "created"
    assert done["result"]["lock"] is None

    after = look(lab, "folder/first.ipynb")
    assert after["status"]["state"] == "in-sync"
    assert after["bytes"] > 1000
    assert after["python"]["version"] == after["status"]["environment"]["python_version"]
    found = packages(after)
    assert found.keys() == {"alpha", "beta", "gamma"}
    assert (found["beta"]["declared"], found["alpha"]["declared"]) == (True, False)
    assert found["beta"]["requires"] == ["alpha"]
    assert "beta" in found["alpha"]["required_by"]

    listed = ask(lab, "GET", "environments", size="1").body
    (row,) = [each for each in listed["environments"] if each["source"] == str(path)]
    assert row["contents_path"] == "folder/first.ipynb"
    assert listed["totals"]["number"] == len(listed["environments"])
    assert listed["totals"]["bytes"] >= row["bytes"]
    assert ask(lab, "GET", "environments").body["totals"]["bytes"] is None
    assert home.scriptenv in environment_of(path).parents
