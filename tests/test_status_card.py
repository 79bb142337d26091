"""``%scriptenv`` alone: a card with a twin in plain text."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from ipy_scriptenv import card, environments
from ipy_scriptenv.environments import Context, Drift, Undeclared
from ipy_scriptenv.environments.tools import run_tool
from tests.conftest import Home
from tests.kernels import block, environment_of, opened, write_notebook
from tests.stage import call, sync


class Words(HTMLParser):
    """What a reader sees of HTML, and the tags that it is made of."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.text += data + " "


def status(path: Path) -> Any:
    return environments.status(environments.locate(path), context=Context())


def test_a_kernel_displays_the_card_with_its_twin(offline_home: Home, path: Path) -> None:
    write_notebook(path, block("alpha>=1", "nspkg-one"))
    with opened(offline_home, path) as kernel:
        kernel.execute("import alpha")
        kernel.execute("!pip install nspkg-two")
        for line in ("%scriptenv", "%scriptenv status"):
            done = kernel.execute(line)
            (display,) = done.shown
            assert display["msg_type"] == "display_data"
            text, html = display["data"]["text/plain"], Words(display["data"]["text/html"])
            assert "alpha>=1 -> 2.0, nspkg-one -> 1.0" in text
            assert "alpha>=1 \N{RIGHTWARDS ARROW} 2.0" in html.text
            for both in (text, html.text):
                assert str(path) in both
                assert str(environment_of(offline_home, path)) in both
                assert re.search(r"state\s+in-sync", both)
                assert "nspkg-two 1.0 installed (not recorded" in both
            assert "script" not in html.tags
        told = json.loads(kernel.execute("%scriptenv status --json").stdout)
        assert told["declared"]["installed"] == ["2.0", "1.0"]
        assert told["drift"] == [{"name": "nspkg-two", "version": "1.0", "synced": None}]
        # The kernel's own notes are in it.
        path.write_text(path.read_text().replace("nspkg-one", "nspkg-two"))
        (display,) = kernel.execute("%scriptenv").shown
        for shown in display["data"].values():
            assert "The file has changed since" in shown
        # The next exact sync says beforehand what it removes.
        write_notebook(path, block("alpha>=1", "nspkg-one"))
        synced = kernel.execute("%scriptenv sync")
        going = (
            "Installed by hand, not declared: nspkg-two. What nothing declared needs is removed."
        )
        assert any(each.startswith(going) for each in synced.progress)
        (result,) = synced.shown
        assert re.fullmatch(
            r" - nspkg-two 1.0\nUpdated the environment of nb.ipynb \(Python \S+\)\n",
            result["text"],
        )


@pytest.mark.usefixtures("lean_home")
def test_status_tells_versions_and_drift_on_the_command_line(script: Path) -> None:
    script.write_text(block("beta", "alpha", 'with-entry-point; python_version < "3"'))
    environment = sync(script).path
    assert status(script).drift == ()
    assert run_tool(environment, "pip", ["install", "nspkg-one", "alpha==1.0"]) == 0
    assert run_tool(environment, "pip", ["uninstall", "-y", "beta"]) == 0
    found = status(script)
    assert found.drift == (
        Drift(name="alpha", version="1.0", synced="2.0"),
        Drift(name="beta", version=None, synced="1.0"),
        Drift(name="nspkg-one", version="1.0", synced=None),
    )
    text = call("status", script).stdout
    assert "beta -> not installed, alpha -> 1.0" in text
    assert "alpha 1.0 instead of 2.0, beta 1.0 removed, nspkg-one 1.0 installed" in text
    answer = json.loads(call("status", script, "--json").stdout)
    assert answer["declared"]["installed"] == [None, "1.0", None]
    again = call("sync", script)
    assert "not declared: nspkg-one." in again.stderr
    assert status(script).drift == ()


@pytest.mark.usefixtures("lean_home")
def test_the_card_is_html_whatever_a_source_is_called(tmp_path: Path) -> None:
    evil = tmp_path / "<img src=x onerror=alert(1)>\x1b[31m.py"
    evil.write_text(block("alpha"))
    found = status(evil)
    html = card.status_html(found, ["<b>note</b>"])
    words = Words(html)
    assert {"img", "b", "script"}.isdisjoint(words.tags)
    assert "<b>note</b>" in words.text
    assert "\x1b" not in html + card.status_text(found)
    # Light and dark: no colour of our own without the theme's before it.
    assert "currentColor" in html
    assert not re.search(r"color:\s*(#|black|white)", html)


@pytest.mark.usefixtures("lean_home")
def test_an_undeclared_import_is_told_with_the_line_that_declares_it(script: Path) -> None:
    script.write_text("")
    found = replace(status(script), undeclared_imports=(Undeclared(module="zmq", name="pyzmq"),))
    assert "%scriptenv add pyzmq" in card.status_text(found)
    assert "%scriptenv add pyzmq" in Words(card.status_html(found)).text
