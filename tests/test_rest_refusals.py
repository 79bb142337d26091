"""Who may ask the server extension, and which files may be named."""

from __future__ import annotations

import json
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import HTTPCookieProcessor, Request, build_opener

import pytest
import websocket

from tests.conftest import Home
from tests.jupyter_server import JupyterServer, running_lab
from tests.kernels import block, write_notebook
from tests.one_server import home, lab
from tests.rest_client import ask, begin, events, run
from tests.stage import environment_of, sync

__all__ = ["home", "lab"]  # fixtures

REQUESTS: list[tuple[str, str, dict[str, Any] | None]] = [
    ("GET", "environment", None),
    ("POST", "environment", {"path": "nb.ipynb", "block": None}),
    ("GET", "environments", None),
    ("GET", "pythons", None),
    ("GET", "names", None),
    ("POST", "check", {"requirement": "alpha"}),
    ("POST", "tasks", {"verb": "sync", "path": "nb.ipynb"}),
    ("POST", "tasks", {"verb": "prune"}),
    ("DELETE", f"tasks/{'0' * 32}", None),
    ("GET", f"tasks/{'0' * 32}/events", None),
]
ALLOW_READING = """
from jupyter_server.auth import Authorizer

class Reading(Authorizer):
    def is_authorized(self, handler, user, action, resource):
        return resource != "scriptenv" or action == "read"

c.ServerApp.authorizer_class = Reading
"""


@pytest.fixture(scope="module", autouse=True)
def notebook(lab: JupyterServer) -> None:
    """Put a notebook there that requests may name."""
    write_notebook(lab.root / "nb.ipynb", block("alpha"))


def test_nobody_is_answered_without_the_token(lab: JupyterServer) -> None:
    for method, path, body in REQUESTS:
        assert ask(lab, method, path, body, token=False).status == 403, (method, path)
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        events(lab, "0" * 32, token=False)
    assert refused.value.status_code == 403


def test_a_page_of_another_site_is_refused(lab: JupyterServer) -> None:
    """The browser sends the cookie along; the mark against forgery it does not have."""
    jar = CookieJar()
    opener = build_opener(HTTPCookieProcessor(jar))
    opener.open(f"{lab.url}lab?token={lab.token}").close()
    with opener.open(f"{lab.url}scriptenv/names?prefix=a") as answer:
        assert json.load(answer).keys() == {"names"}
    body = json.dumps({"verb": "prune", "dry_run": True}).encode()
    for method, path, data in [("POST", "tasks", body), ("DELETE", f"tasks/{'0' * 32}", None)]:
        request = Request(f"{lab.url}scriptenv/{path}", data=data, method=method)  # noqa: S310
        with pytest.raises(HTTPError) as refused:
            opener.open(request)
        assert refused.value.code == 403
    # From elsewhere not even an answer can be read; the token itself is proof enough.
    elsewhere = "https://elsewhere.example"
    request = Request(f"{lab.url}scriptenv/names", headers={"Origin": elsewhere})  # noqa: S310
    with pytest.raises(HTTPError) as refused:
        opener.open(request)
    assert refused.value.code == 404
    task = begin(lab, "prune", dry_run=True)
    address = lab.url.replace("http", "ws", 1) + f"scriptenv/tasks/{task}/events"
    cookie = "; ".join(f"{each.name}={each.value}" for each in jar)
    with pytest.raises(websocket.WebSocketBadStatusException) as refused_socket:
        websocket.create_connection(address, cookie=cookie, origin=elsewhere)
    assert refused_socket.value.status_code == 403
    connection = websocket.create_connection(address, cookie=cookie, origin=lab.url.rstrip("/"))
    assert json.loads(connection.recv())["event"] == "done"
    connection.close()


def test_only_files_that_the_server_serves_can_be_named(lab: JupyterServer, tmp_path: Path) -> None:
    outside = write_notebook(lab.root.parent / "outside.ipynb", block("alpha"))
    write_notebook(lab.root / ".hidden.ipynb", block("alpha"))
    write_notebook(lab.root / ".folder" / "nb.ipynb", block("alpha"))
    (lab.root / "folder").mkdir()
    (lab.root / "dangling.ipynb").symlink_to(tmp_path / "nowhere.ipynb")
    refused = [
        "", "/", ".", "..", "../outside.ipynb", "folder/../../outside.ipynb", str(outside),
        f"/{outside}", ".hidden.ipynb", ".folder/nb.ipynb", "folder",
        "nowhere.ipynb", "dangling.ipynb", "nb.ipynb/x", "C:\\x", "file:///etc/passwd",
        "https://example.org/x.py", "%2e%2e/outside.ipynb", "RTC:nb.ipynb",
    ]  # fmt: skip
    for path in refused:
        answer = ask(lab, "GET", "environment", path=path)
        assert (answer.status, answer.code) == (404, "not-found"), path
        for verb in ("sync", "edit", "delete", "register"):
            fields = {"verb": verb, "path": path, "edit": "add", "words": ["alpha"]}
            answer = ask(lab, "POST", "tasks", fields)
            assert answer.status == (404 if path else 400), (path, answer)
    # In a query, tornado leaves such a character out.
    assert ask(lab, "POST", "environment", {"path": "nb.ipynb\0"}).status == 404
    moved = ask(lab, "POST", "tasks", {"verb": "move", "path": "nb.ipynb", "new": "../x.ipynb"})
    assert moved.status == 404
    assert not environment_of(outside).exists()

    # The contents manager serves what a link in its root leads to, and so do we.
    (lab.root / "link.ipynb").symlink_to(outside)
    seen = ask(lab, "GET", "environment", path="link.ipynb")
    assert (seen.status, seen.body["source"]) == (200, str(outside))
    assert ask(lab, "GET", "environment", path="folder/../nb.ipynb").status == 200


def test_a_source_of_the_listing_can_be_named_and_no_other(lab: JupyterServer) -> None:
    outside = write_notebook(lab.root.parent / "listed.ipynb", block("alpha==1.0"))
    sync(outside)
    for verb, fields in [
        ("delete", {"source": str(lab.root / "nb.ipynb")}),
        ("delete", {"source": "/etc/passwd"}),
        ("delete", {"source": "(text)"}),
        ("delete", {"environment": "../../etc"}),
        ("move", {"source": "/etc/passwd", "new": "nb.ipynb"}),
        ("unregister", {"source": "/etc/passwd"}),
    ]:
        answer = ask(lab, "POST", "tasks", {"verb": verb, **fields})
        assert (answer.status, answer.code) == (404, "no-environment"), (verb, fields)
    for verb in ("sync", "lock", "upgrade", "rebuild", "register", "record"):
        answer = ask(lab, "POST", "tasks", {"verb": verb, "source": str(outside), "name": "x"})
        assert (answer.status, answer.code) == (400, "wrong-call"), verb

    rows = ask(lab, "GET", "environments").body["environments"]
    (row,) = [each for each in rows if each["source"] == str(outside)]
    assert row["contents_path"] is None
    deleted = run(lab, "delete", source=str(outside))
    assert deleted["result"]["bytes"] > 1000
    assert not environment_of(outside).exists()


def test_what_cannot_be_read_is_told_at_once(lab: JupyterServer) -> None:
    answer = ask(lab, "POST", "tasks", {"verb": "sync", "path": 3, "given": "yes", "words": [1]})
    assert answer.status == 400
    problems = {each["key"]: each["message"] for each in answer.body["error"]["problems"]}
    assert problems.keys() >= {"path", "given", "words"}
    for words in (3, True, {"0": "alpha"}, ["\ud800"]):
        for edit in ("add", "change", "python"):
            asked = {"verb": "edit", "edit": edit, "path": "nb.ipynb", "words": words}
            answer = ask(lab, "POST", "tasks", asked)
            assert (answer.status, answer.code) == (400, "wrong-call"), asked
    for body in (b"{", b"[]", b"", b'"x"', b"null"):
        for path in ("tasks", "environment", "check"):
            answer = ask(lab, "POST", path, body)
            assert (answer.status, answer.code) == (400, "wrong-call"), (path, body)
    assert ask(lab, "POST", "tasks", {"verb": "explode"}).status == 400
    assert ask(lab, "DELETE", f"tasks/{'0' * 32}").code == "not-found"
    with pytest.raises(websocket.WebSocketBadStatusException) as unknown:
        events(lab, "0" * 32)
    assert unknown.value.status_code == 404

    (lab.root / "picture.png").write_bytes(b"\x89PNG\0\0")
    assert ask(lab, "GET", "environment", path="picture.png").code == "not-a-source"
    write_notebook(lab.root / "twice.ipynb", block("alpha"), block("beta"))
    twice = ask(lab, "GET", "environment", path="twice.ipynb")
    assert (twice.status, twice.code) == (400, "duplicate")
    assert [each["cell"] for each in twice.body["error"]["problems"]] == [1, 2]
    assert "Traceback" not in lab.log.read_text()


def test_a_user_who_may_only_look_changes_nothing(home: Home) -> None:
    config = home.path / "jupyter-config"
    config.mkdir(exist_ok=True)
    (config / "jupyter_server_config.py").write_text(ALLOW_READING)
    try:
        with running_lab(home.path.parent / "read-only", "--ServerApp.base_url=/x/") as lab:
            write_notebook(lab.root / "nb.ipynb", block("alpha"))
            assert ask(lab, "GET", "environment", path="nb.ipynb").status == 200
            for method, path, body in REQUESTS:
                if method != "GET":
                    assert ask(lab, method, path, body).status == 403, (method, path)
    finally:
        (config / "jupyter_server_config.py").unlink()
