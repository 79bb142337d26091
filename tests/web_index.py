"""The local index over HTTP: with times of upload, and with a password where a test wants one."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

__all__ = ["UPLOADED", "WebIndex", "serving", "use_web_index"]

UPLOADED = {"alpha-1.0": "2020-01-01", "alpha-1.1": "2022-01-01", "alpha-2.0": "2024-01-01"}
"""When a version was uploaded; all others in 2020."""


@dataclass(kw_only=True)
class WebIndex:
    """An index that runs on this machine.

    :param user: name and password, such as ``ada:secret``, that each request must carry
    :param asked: paths of the requests that were answered
    :param refused: paths of those without the password
    """

    folder: Path
    port: int = 0
    user: str | None = None
    asked: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def url(self, user: str = "") -> str:
        """Give the address of the index, with the user part *user*."""
        return f"http://{user}{'@' * bool(user)}127.0.0.1:{self.port}/simple"

    @property
    def page(self) -> str:
        """The address of a page that links all files: a flat index."""
        return f"http://127.0.0.1:{self.port}/page"

    def file(self, name: str, user: str = "") -> str:
        """Give the address of one file."""
        return f"{self.url(user)}/files/{name}"

    def answer(self, path: str) -> tuple[str, bytes] | None:
        """Give type and content of a page or a file; ``None`` if there is none."""
        name = path.rstrip("/").rpartition("/")[2]
        if "/empty/" in path or "/page/" in path:
            return None
        if name == "page":
            wheels = sorted(self.folder.glob("*.whl"))
            links = "".join(f"<a href='{self.file(each.name)}'>{each.name}</a>" for each in wheels)
            return "text/html", links.encode()
        if "/files/" in path:
            wheel = self.folder / name
            return ("application/zip", wheel.read_bytes()) if wheel.is_file() else None
        wheels = sorted(self.folder.glob(f"{name.replace('-', '_')}-*.whl"))
        files = [
            {
                "filename": wheel.name,
                "url": self.file(wheel.name),
                "hashes": {},
                "upload-time": f"{UPLOADED.get(wheel.name[:9], '2020-01-01')}T12:00:00Z",
            }
            for wheel in wheels
        ]
        page = {"meta": {"api-version": "1.1"}, "name": name, "versions": [], "files": files}
        return ("application/vnd.pypi.simple.v1+json", json.dumps(page).encode()) if files else None


@contextmanager
def serving(folder: Path, *, user: str | None = None) -> Iterator[WebIndex]:
    """Serve the wheels in a folder for as long as the block lasts."""
    index = WebIndex(folder=folder, user=user)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            given = self.headers.get("Authorization", "")
            wanted = base64.b64encode((index.user or "").encode()).decode()
            if index.user is not None and given != f"Basic {wanted}":
                index.refused.append(self.path)
                self.send_response(401)
                self.send_header("WWW-Authenticate", "Basic")
                self.end_headers()
                return
            index.asked.append(self.path)
            found = index.answer(self.path)
            self.send_response(404 if found is None else 200)
            self.send_header("Content-Type", found[0] if found else "text/plain")
            self.send_header("Content-Length", str(len(found[1]) if found else 0))
            self.end_headers()
            if found:
                self.wfile.write(found[1])

        do_HEAD = do_GET  # noqa: N815 - likewise

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    index.port = server.server_port
    # It looks that often, in seconds, whether it is to end.
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield index
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def use_web_index(index: WebIndex, patch: pytest.MonkeyPatch, *, default: bool = True) -> None:
    """Let uv reach an index of this machine, and no other.

    :param default: whether it stands in for PyPI by a variable
    """
    for name in ("UV_OFFLINE", "UV_NO_INDEX", "UV_FIND_LINKS"):
        patch.delenv(name, raising=False)
    for name in ("NO_PROXY", "no_proxy"):
        patch.setenv(name, "127.0.0.1")
    if default:
        patch.setenv("UV_DEFAULT_INDEX", index.url())
