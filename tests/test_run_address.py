"""``run https://…``: asked for, fetched within limits, and run in an environment of its own."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer

import pytest

from ipy_scriptenv import fetching
from ipy_scriptenv.errors import NotASource, NotFound, Offline, ScriptEnvError, WrongCall
from ipy_scriptenv.identity import url_environment_name
from ipy_scriptenv.kernels import specs
from tests.conftest import Home
from tests.stage import PROGRAM, block_of, call, commented, installed, write_notebook

CODE = "import beta, sys\nprint('ran', sys.argv[1:], sys.prefix)"


@dataclass(kw_only=True)
class Site:
    """A web site on this machine.

    :param pages: content by path
    :param redirects: address by path
    :param asked: paths that were asked for
    """

    port: int = 0
    pages: dict[str, bytes] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def url(self, path: str) -> str:
        """Give the address of a page."""
        return f"http://127.0.0.1:{self.port}{path}"


@pytest.fixture
def site() -> Iterator[Site]:
    """Serve pages for one test."""
    site = Site(pages={"/tools/Report.py": commented(block_of("beta"), CODE).encode()})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.asked.append(self.path)
            page, target = site.pages.get(self.path), site.redirects.get(self.path)
            self.send_response(302 if target else 404 if page is None else 200)
            if target:
                self.send_header("Location", target)
            self.end_headers()
            self.wfile.write(page or b"")

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    site.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield site
    server.shutdown()
    server.server_close()
    thread.join()


def environment_of(home: Home, url: str) -> Path:
    return home.scriptenv / "environments-v1" / url_environment_name(url)


def test_a_script_at_an_address_runs_in_an_environment_of_its_own(
    lean_home: Home, site: Site
) -> None:
    url = site.url("/tools/Report.py")
    ended = call("run", "--yes", url, "--a", "b")
    environment = environment_of(lean_home, url)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == f"ran ['--a', 'b'] {environment}\n"
    assert environment.name.startswith("report-")
    assert installed(environment) == {"alpha==2.0", "beta==1.0"}
    (copy,) = (environment / "fetched").iterdir()
    assert copy.read_bytes() == site.pages["/tools/Report.py"]
    assert (environment / "fetched").stat().st_mode & 0o077 == 0
    listed = json.loads(call("list", "--json").stdout)["environments"]
    assert [(each["source"], each["state"]) for each in listed] == [(url, "in-sync")]
    # Another content is the same address's.
    site.pages["/tools/Report.py"] = b"print('other')"
    assert call("run", "--yes", url).stdout == "other\n"
    assert installed(environment) == set()
    assert call("delete", url, "--yes").returncode == 0
    assert not environment.exists()


def test_an_address_has_no_kernelspec_that_would_show_its_query(
    lean_home: Home, site: Site
) -> None:
    path = "/tools/Report.py?token=SECRET"
    site.pages[path] = b"print('ran')"
    ended = call("run", "--yes", site.url(path))
    assert ended.stdout == "ran\n"
    kernels = specs.kernelspecs_folder()
    name = f"scriptenv-{environment_of(lean_home, site.url(path)).name}"
    assert name.startswith("scriptenv-report-")
    assert not (kernels / name).exists()
    (listed,) = json.loads(call("list", "--json").stdout)["environments"]
    assert listed["kernelspec"] is None
    # One of an earlier version goes.
    told = {"source": site.url(path), "environment": "/nowhere"}
    provisioner = {"provisioner_name": specs.PROVISIONER}
    (kernels / name).mkdir(parents=True)
    (kernels / name / "kernel.json").write_text(
        json.dumps({"metadata": {"kernel_provisioner": provisioner, "scriptenv": told}})
    )
    call("run", "--yes", site.url(path))
    assert not (kernels / name).exists()
    assert call("delete", site.url(path), "--yes").returncode == 0


def test_a_notebook_at_an_address_is_run_as_one(lean_home: Home, site: Site) -> None:
    notebook = write_notebook(lean_home.path / "nb.ipynb", "1", "!echo from a shell")
    site.pages["/nb.ipynb?raw=1"] = notebook.read_bytes()
    assert call("run", "-y", site.url("/nb.ipynb?raw=1")).stdout == "from a shell\n"


def test_where_nobody_can_be_asked_nothing_is_fetched(lean_home: Home, site: Site) -> None:
    ended = call("run", site.url("/tools/Report.py"), input="y\n")
    assert (ended.returncode, ended.stdout, site.asked) == (2, "", [])
    assert "Say --yes" in ended.stderr
    ended = call("run", "--yes", "--locked", site.url("/tools/Report.py"))
    assert (ended.returncode, ended.stdout, site.asked) == (2, "", [])
    assert not (lean_home.scriptenv / "environments-v1").exists() or not environments(lean_home)


@pytest.mark.parametrize("answer", ["y", "n"])
def test_on_a_terminal_the_address_and_the_block_are_shown_and_confirmed(
    lean_home: Home, site: Site, answer: str
) -> None:
    site.redirects["/short"] = "/tools/Report.py"
    block = f"{block_of('beta')}\n# {'x' * 500}\n"
    site.pages["/tools/Report.py"] = commented(block, CODE).encode()
    shown, code = typed("run", site.url("/short"), answer=answer)
    assert f"address    {site.url('/short')}" in shown
    assert f"leads to   {site.url('/tools/Report.py')}" in shown
    assert '  dependencies = ["beta"]' in shown
    assert f"  # {'x' * 500}" in shown, "a line is not cut: a person decides by it"
    assert code == (0 if answer == "y" else 1)
    assert ("ran []" in shown) == (answer == "y")
    assert len(environments(lean_home)) == (answer == "y")


def environments(home: Home) -> list[Path]:
    return [*(home.scriptenv / "environments-v1").glob("*")]


def typed(*words: str, answer: str) -> tuple[str, int]:
    """Call the command line on a terminal, and answer its question."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*PROGRAM, *words], stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        os.close(theirs)
        os.write(ours, f"{answer}\n".encode())
        out, _ = process.communicate(timeout=120)
    os.close(ours)
    return out.decode(), process.returncode


# What is fetched at all


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("http://example.com/a.py", NotASource),
        ("http://192.168.0.1/a.py", NotASource),
        ("http://127.0.0.1.example.com/a.py", NotASource),
        ("ftp://example.com/a.py", NotASource),
        ("file:///etc/passwd", WrongCall),
        ("https://", WrongCall),
        ("https://[::1/a.py", WrongCall),
        ("https://user:secret@example.com/a.py", WrongCall),
        ("https://token@example.com/a.py", WrongCall),
        ("http://127.0.0.1\\@example.com/a.py", WrongCall),
        ("https://example.com/a b.py", WrongCall),
        ("https://example.com:port/a.py", WrongCall),
        ("https://exämple.com/a.py", WrongCall),
    ],
)
def test_no_other_address_is_fetched(url: str, error: type[ScriptEnvError]) -> None:
    with pytest.raises(error) as refused:
        fetching.check_address(url)
    assert refused.value.exit_code == 2
    assert "secret" not in str(refused.value)
    assert "token" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/a.py",
        "http://localhost:8000/a.py",
        "http://127.8.8.8/",
        "http://[::1]/",
    ],
)
def test_https_is_fetched_and_this_machine_by_http(url: str) -> None:
    refused = None
    try:
        fetching.check_address(url)
    except ScriptEnvError as error:
        refused = error
    assert refused is None


@pytest.mark.parametrize(
    "target", ["http://192.168.0.1/a.py", "https://example.com/a.py", "file:///etc/passwd"]
)
def test_a_redirect_to_another_kind_of_place_is_not_followed(site: Site, target: str) -> None:
    site.redirects["/a.py"] = target
    with pytest.raises(ScriptEnvError):
        fetching.fetch(site.url("/a.py"))
    assert site.asked == ["/a.py"]


def test_a_circle_of_redirects_ends(site: Site) -> None:
    site.redirects["/a.py"] = "/a.py"
    with pytest.raises(NotFound):
        fetching.fetch(site.url("/a.py"))
    assert len(site.asked) < 10


def test_what_is_too_large_no_script_or_not_there_is_told(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.pages |= {"/page": b"\n<!DOCTYPE html><title>a.py</title>", "/large": b"#" * 2000}
    monkeypatch.setattr(fetching, "LARGEST", 1999)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    for path, error in (("/page", NotASource), ("/large", NotASource), ("/none", NotFound)):
        with pytest.raises(error):
            fetching.fetch(site.url(path))
    with pytest.raises(Offline):
        fetching.fetch("http://127.0.0.1:1/a.py")


def test_what_does_not_come_whole_is_refused() -> None:
    answer = b"HTTP/1.0 200 OK\r\nContent-Length: 1000\r\n\r\nprint('the beginning')"
    with answering(answer) as url, pytest.raises(Offline, match="did not come whole"):
        fetching.fetch(url)


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.0 200 OK\r\nX-A: ", b"HTTP/1.0 200 OK\r\n\r\nprint(1)"]
)
def test_what_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch, answer: bytes) -> None:
    """Before its first byte, in its headers, or in the content."""
    monkeypatch.setattr(fetching, "_WHOLE", 0.2)
    with answering(answer, ends=False) as url, pytest.raises(Offline, match="takes longer"):
        fetching.fetch(url)


@contextmanager
def answering(answer: bytes, *, ends: bool = True) -> Iterator[str]:
    """Give the address of something that says *answer*, and nothing after it."""

    class Handler(BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1 << 16)
            self.request.sendall(answer)
            while not ends and not over.wait(0.01):
                # Each byte begins a socket's patience anew.
                with suppress(OSError):
                    self.request.sendall(b"#")

    over = threading.Event()
    with ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/a.py"
        finally:
            over.set()
            server.shutdown()
