"""Which file of a lock is taken for an interpreter, and with which login."""

from __future__ import annotations

import sys
import sysconfig
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ipy_scriptenv.downloading import Login, download, logins
from ipy_scriptenv.environments.bundles import (
    _best,
    _buildable,
    _fetched,
    _files,
    _tags,
    gathered_wheels,
)
from ipy_scriptenv.environments.contents import Distribution
from ipy_scriptenv.environments.standing import Context
from ipy_scriptenv.errors import InstallFailed, NotPortable
from ipy_scriptenv.record import Python
from ipy_scriptenv.store import Store

PYTHON = Python(request=None, version="3.12.1", base="/usr/bin/python3.12", abi="cpython-312-x")
PLATFORM = sysconfig.get_platform().replace("-", "_").replace(".", "_")


def chosen(*wheels: str) -> str | None:
    """Choose among wheels for Python 3.12 on this machine."""
    package: dict[str, Any] = {"wheels": [{"url": f"https://a.example/{each}"} for each in wheels]}
    found = _best(_files(package, "wheels"), _tags(PYTHON))
    return None if found is None else found.name


@pytest.mark.skipif(sys.platform != "linux", reason="the platform's tag is told otherwise")
def test_the_wheel_that_fits_best_is_chosen() -> None:
    pure, newer, own = (
        "a-1-py3-none-any.whl",
        f"a-1-cp313-cp313-{PLATFORM}.whl",
        f"a-1-cp312-cp312-{PLATFORM}.whl",
    )
    stable = f"a-1-cp39-abi3-{PLATFORM}.whl"
    assert chosen(pure, newer, own, stable) == own
    assert chosen(pure, newer, stable) == stable
    assert chosen(pure, newer) == pure
    assert chosen(newer) is None
    assert chosen("a-1-cp312-cp312-plan9_mips.whl", "a-1-cp312-cp312t-win32.whl") is None
    assert chosen("a-1-1-py3-none-any.whl", "a-1-2-py3-none-any.whl") == "a-1-2-py3-none-any.whl"
    assert chosen("a.whl", "no wheel") is None


@pytest.mark.parametrize(
    ("source", "file", "place"),
    [
        ({"registry": "https://a.example/simple"}, {"url": "https://f.example/a.whl"}, "https://f.example/a.whl"),
        ({"registry": "/srv/wheels"}, {"path": "a.whl"}, "/srv/wheels/a.whl"),
        ({"registry": "file:///srv/my%20wheels"}, {"path": "a.whl"}, "/srv/my wheels/a.whl"),
        ({"registry": "/srv/wheels"}, {"path": "/srv/wheels/a.whl"}, "/srv/wheels/a.whl"),
        ({"url": "https://f.example/a.whl"}, {"hash": "sha256:00"}, "https://f.example/a.whl"),
        ({"path": "/srv/a.whl"}, {"filename": "a.whl"}, "/srv/a.whl"),
    ],
)  # fmt: skip
def test_a_lock_tells_where_a_file_is(
    source: dict[str, str], file: dict[str, str], place: str
) -> None:
    (found,) = _files({"source": source, "wheels": [file]}, "wheels")
    assert (found.place, found.name) == (place, "a.whl")
    assert found.digest == ("00" if "hash" in file else None)


def test_logins_stand_in_addresses_or_in_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_NO_CONFIG", "1")
    monkeypatch.setenv(
        "UV_INDEX", "one=https://ada:s%40x@one.example:8443/simple https://two.example/"
    )
    monkeypatch.setenv("UV_INDEX_MY_TEAM_USERNAME", "bea")
    monkeypatch.setenv("UV_INDEX_MY_TEAM_PASSWORD", "secret")
    monkeypatch.setenv("TOKEN", "t0ken")
    block = (
        '[[tool.uv.index]]\nname = "my-team"\nurl = "https://Team.example:443/simple"\n'
        '[[tool.uv.index]]\nurl = "https://${TOKEN}@four.example/simple"\n'
    )
    found = {login.host: login for login in logins(block)}
    one, team = found["one.example:8443"], found["team.example"]
    assert (one.scheme, one.user, one.password) == ("https", "ada", "s@x")
    assert (team.scheme, team.user, team.password) == ("https", "bea", "secret")
    assert found["four.example"].user == "t0ken"
    assert "two.example" not in found
    assert "s@x" not in repr(found)


@pytest.mark.parametrize("locked", ["sha256:00", "sha512:00", "odd:00"])
def test_a_file_that_is_not_the_locked_one_is_refused(tmp_path: Path, locked: str) -> None:
    wheel = tmp_path / "a-1-py3-none-any.whl"
    wheel.write_bytes(b"another one")
    package = {
        "source": {"path": str(wheel)},
        "wheels": [{"filename": wheel.name, "hash": locked}],
    }
    (file,) = _files(package, "wheels")
    (tmp_path / "wheels").mkdir()
    with pytest.raises(InstallFailed, match="its hash is another"):
        _fetched(file, tmp_path / "wheels", ())


def test_a_version_is_found_however_its_wheel_writes_it(tmp_path: Path) -> None:
    wheel = tmp_path / "a-2024.01-py3-none-any.whl"
    wheel.write_bytes(b"")
    lock = f"""
        [[package]]
        name = "a"
        version = "2024.1"
        source = {{ path = "{wheel}" }}
        wheels = [{{ filename = "{wheel.name}" }}]
    """
    wanted = Distribution(name="a", version="2024.01", info="a-2024.01.dist-info", editable=None)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    context = Context(store=Store(tmp_path / "home"))
    (found,) = gathered_wheels(
        lock.encode(),
        [wanted],
        block="",
        context=context,
        python=PYTHON,
        scratch=scratch,
        options=(),
    )
    assert found == scratch / "wheels" / wheel.name


def test_what_gives_no_wheel_is_refused(tmp_path: Path) -> None:
    wanted = Distribution(name="a", version="1", info="a-1.dist-info", editable=None)
    for source in ({"git": "https://git.example.com/a?rev=1#0"}, {"directory": "/not/there"}):
        with pytest.raises(NotPortable, match="uv hands out no wheel of it") as refused:
            _buildable({"source": source}, wanted, tmp_path, ())
        assert "--wheels" in refused.value.hint


def test_a_login_goes_to_its_host_alone(tmp_path: Path) -> None:
    asked: list[tuple[str, str | None]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers.get("Authorization")))
            if self.path == "/first":
                self.send_response(302)
                self.send_header("Location", f"http://127.0.0.1:{second.server_port}/second")
                self.send_header("Content-Length", "0")
            else:
                self.send_response(200)
                self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(b"" if self.path == "/first" else b"file")

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    with (
        ThreadingHTTPServer(("127.0.0.1", 0), Handler) as first,
        ThreadingHTTPServer(("127.0.0.1", 0), Handler) as second,
    ):
        for server in (first, second):
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        host = f"127.0.0.1:{first.server_port}"
        known = (Login(scheme="http", host=host, user="ada", password="s3cr3t"),)  # noqa: S106 - no real one
        other = (replace(known[0], scheme="https"),)
        download(f"http://{host}/first", tmp_path / "a", known)
        download(f"http://127.0.0.1:{second.server_port}/third", tmp_path / "b", known)
        # What is for HTTPS is not told to whoever listens.
        download(f"http://{host}/fourth", tmp_path / "c", other)
        for server in (first, second):
            server.shutdown()
    assert (tmp_path / "a").read_bytes() == b"file"
    assert asked == [
        ("/first", "Basic YWRhOnMzY3IzdA=="),
        *[(path, None) for path in ("/second", "/third", "/fourth")],
    ]
    with pytest.raises(InstallFailed, match="nothing that can be fetched"):
        download("file:///etc/hosts", tmp_path / "b", ())
