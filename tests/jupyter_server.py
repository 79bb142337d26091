"""A real JupyterLab server, and a client that asks as JupyterLab's front end does.

REST goes through :class:`JupyterServer`, the messages of one kernel through :class:`Kernel`. What
they carry stays the plain JSON that it is, as in `Jupyter's own description
<https://jupyter-client.readthedocs.io/en/stable/messaging.html>`_.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

import websocket

from tests.stage import GENERIC, write_notebook

__all__ = ["Execution", "JupyterServer", "Kernel", "Refused", "running_lab", "write_notebook"]

Json = dict[str, Any]

PATIENCE = 60.0
"""Seconds to wait for an answer before the test fails."""


class Refused(Exception):
    """The server answered with an error.

    :param status: of HTTP
    :param message: what a user would read in JupyterLab's dialog
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """What came of one execute request.

    :param reply: content of the ``execute_reply``
    :param messages: everything that the kernel published for this request, in order
    """

    reply: Json
    messages: tuple[Json, ...]

    @property
    def status(self) -> str:
        return str(self.reply["status"])

    @property
    def stdout(self) -> str:
        return self._stream("stdout")

    @property
    def stderr(self) -> str:
        return self._stream("stderr")

    @property
    def progress(self) -> list[str]:
        """The texts of what was displayed and updated below the cell, gone or not, in order."""
        return [
            message["content"]["data"].get("text/plain", "")
            for message in self.messages
            if message["header"]["msg_type"] in ("display_data", "update_display_data")
        ]

    @property
    def result(self) -> str | None:
        """The cell's value as text; ``None`` if it had none."""
        results = self.contents("execute_result")
        return results[-1]["data"]["text/plain"] if results else None

    @property
    def error(self) -> Json | None:
        """``ename``, ``evalue`` and ``traceback``, as the cell shows them."""
        errors = self.contents("error")
        return errors[-1] if errors else None

    @property
    def shown(self) -> list[Json]:
        """The outputs that stand below the cell in the end, each with its ``msg_type``.

        They are what the saved notebook keeps. Progress that was cleared away again is not there.
        """
        shown: list[Json] = []
        clear_at_next = False
        for message in self.messages:
            kind, content = message["header"]["msg_type"], message["content"]
            if kind == "clear_output" and content["wait"]:
                clear_at_next = True
            elif kind == "clear_output":
                shown.clear()
            elif kind in ("stream", "display_data", "execute_result", "error"):
                if clear_at_next:
                    shown.clear()
                    clear_at_next = False
                if kind == "stream" and shown and shown[-1].get("name") == content["name"]:
                    # A line may come in two pieces; front ends put them together, too.
                    content = {**content, "text": shown.pop()["text"] + content["text"]}
                shown.append({"msg_type": kind, **content})
        return shown

    @property
    def shown_text(self) -> str:
        """What the cell shows in the end as text: its streams, and the twin of what it displays."""
        return "".join(
            each["text"] if each["msg_type"] == "stream" else each["data"]["text/plain"] + "\n"
            for each in self.shown
            if each["msg_type"] == "stream" or "text/plain" in each.get("data", {})
            if each["msg_type"] != "execute_result"
        )

    def contents(self, message_type: str) -> list[Json]:
        return [
            message["content"]
            for message in self.messages
            if message["header"]["msg_type"] == message_type
        ]

    def _stream(self, name: str) -> str:
        return "".join(
            content["text"] for content in self.contents("stream") if content["name"] == name
        )


class Kernel:
    """The channels of one kernel over the server's websocket; close it, or use it in ``with``.

    It survives restarts of its kernel, as JupyterLab's own connection does.
    """

    def __init__(self, url: str, token: str) -> None:
        self._session = uuid.uuid4().hex
        self._heard: dict[str, list[Json]] = {}
        self._socket = websocket.create_connection(
            f"{url}?session_id={self._session}",
            header=[f"Authorization: token {token}"],
            timeout=PATIENCE,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def execute(
        self,
        code: str,
        *,
        silent: bool = False,
        store_history: bool = True,
        answers: Sequence[str] = (),
        subshell: str | None = None,
        timeout: float = PATIENCE,
    ) -> Execution:
        """Run *code* and wait until the kernel has answered and is idle again.

        :param answers: what is typed at each ``input()``, in turn
        :param subshell: the id of the subshell that runs it
        :raises TimeoutError: after *timeout* seconds; it tells what had come until then
        """
        request = self.begin(
            code,
            silent=silent,
            store_history=store_history,
            allow_stdin=bool(answers),
            subshell=subshell,
        )
        return self.collect(request, answers=answers, timeout=timeout)

    def begin(
        self,
        code: str,
        *,
        silent: bool = False,
        store_history: bool = True,
        allow_stdin: bool = False,
        subshell: str | None = None,
    ) -> str:
        """Have *code* run and do not wait; give the id of the request for :meth:`collect`."""
        return self.send(
            "execute_request",
            {
                "code": code,
                "silent": silent,
                "store_history": store_history,
                "allow_stdin": allow_stdin,
                "user_expressions": {},
                "stop_on_error": True,
            },
            subshell=subshell,
        )

    def request(self, message_type: str, content: Json, *, channel: str = "shell") -> Json:
        """Send any other request, such as ``complete_request``, and give the reply's content."""
        return self.collect(self.send(message_type, content, channel=channel)).reply

    def send(
        self,
        message_type: str,
        content: Json,
        *,
        channel: str = "shell",
        subshell: str | None = None,
        parent: Json | None = None,
    ) -> str:
        """Send one message without waiting, and give its id."""
        header = {
            "msg_id": uuid.uuid4().hex,
            "msg_type": message_type,
            "session": self._session,
            "username": "test",
            "version": "5.4",
        }
        if subshell is not None:
            header["subshell_id"] = subshell
        message = {
            "channel": channel,
            "header": header,
            "parent_header": parent or {},
            "metadata": {},
            "content": content,
            "buffers": [],
        }
        self._socket.send(json.dumps(message))
        return header["msg_id"]

    def collect(
        self, request: str, *, answers: Sequence[str] = (), timeout: float = PATIENCE
    ) -> Execution:
        """Wait for the reply to *request* and for the idle status that ends it.

        :param request: the id that :meth:`send` gave
        :raises TimeoutError: after *timeout* seconds
        """
        deadline = time.monotonic() + timeout
        waiting_answers = iter(answers)
        heard = self._heard.setdefault(request, [])
        while not _is_complete(heard):
            message = self._receive(deadline, heard)
            if message["channel"] == "stdin" and _parent(message) == request:
                answer = {"status": "ok", "value": next(waiting_answers)}
                self.send("input_reply", answer, channel="stdin", parent=message["header"])
        del self._heard[request]
        return Execution(
            reply=next(each["content"] for each in heard if each["channel"] != "iopub"),
            messages=tuple(each for each in heard if each["channel"] == "iopub"),
        )

    def wait_for(self, request: str, text: str, *, timeout: float = PATIENCE) -> None:
        """Wait until *text* is shown for a request that goes on; :meth:`collect` still gives all.

        :raises TimeoutError: after *timeout* seconds, or at its end if it never was
        """
        deadline = time.monotonic() + timeout
        heard = self._heard.setdefault(request, [])
        while not any(text in _text(each["content"]) for each in heard):
            if _is_complete(heard):
                raise TimeoutError(f"{text!r} was never shown; it published {heard}")
            self._receive(deadline, heard)

    def wait_for_restart(self, *, timeout: float = PATIENCE) -> None:
        """Wait until the server has started a kernel anew that had died, and it answers.

        :raises TimeoutError: after *timeout* seconds
        """
        deadline = time.monotonic() + timeout
        state = None
        while state != "restarting":
            state = self._receive(deadline, ())["content"].get("execution_state")
        self.settle(timeout=deadline - time.monotonic())

    def settle(self, *, timeout: float = PATIENCE) -> None:
        """Wait until a kernel that was started anew answers, and is heard.

        What it publishes while the server connects again is lost, as in JupyterLab, so it is asked
        until both have come.

        :raises TimeoutError: after *timeout* seconds
        """
        deadline = time.monotonic() + timeout
        while True:
            try:
                self.collect(self.send("kernel_info_request", {}), timeout=2.0)
            except TimeoutError:
                if time.monotonic() > deadline:
                    raise
            else:
                return

    def _receive(self, deadline: float, heard: Sequence[Json]) -> Json:
        """Take the next message, and keep it for the request that it belongs to."""
        try:
            message = self._next(deadline)
        except websocket.WebSocketTimeoutException:
            raise TimeoutError(f"no end to the request; so far it published {heard}") from None
        if message["channel"] != "stdin":
            self._heard.setdefault(_parent(message), []).append(message)
        return message

    def _next(self, deadline: float) -> Json:
        while True:
            self._socket.settimeout(max(deadline - time.monotonic(), 0.01))
            # The server's pings are looked at too, or each would begin the wait anew.
            kind, data = self._socket.recv_data(control_frame=True)
            if kind == websocket.ABNF.OPCODE_TEXT:
                return dict(json.loads(data))
            if kind == websocket.ABNF.OPCODE_CLOSE:
                raise RuntimeError("the server has closed the kernel's channels")


def _parent(message: Json) -> str:
    return str(message["parent_header"].get("msg_id"))


def _text(content: Json) -> str:
    """Give the text of a stream, or of what is displayed."""
    return str(content.get("text") or content.get("data", {}).get("text/plain", ""))


def _is_complete(heard: Sequence[Json]) -> bool:
    """Tell whether the reply has come, and the idle status that ends a request."""
    return any(each["channel"] != "iopub" for each in heard) and any(
        each["content"].get("execution_state") == "idle" for each in heard
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class JupyterServer:
    """A running server.

    :param url: with a slash at its end
    :param root: the folder that it serves; paths of notebooks are relative to it
    :param log: the file with all that it prints
    :param pid: of the server's process
    """

    url: str
    token: str
    root: Path
    log: Path
    pid: int

    def request(self, method: str, path: str, body: Json | None = None) -> Any:
        """Make one REST request and give the JSON of its answer, ``None`` where it is empty.

        :param path: below the server's address, such as ``api/kernels``
        :raises Refused: with the message that a user would see
        """
        request = Request(  # noqa: S310 - the address is the server's own
            self.url + quote(path),
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"token {self.token}", "Content-Type": "application/json"},
            method=method,
        )
        text = _answer(request)
        return json.loads(text) if text else None

    def fetch(self, address: str) -> bytes:
        """Fetch a file that the server offers under *address*, such as a kernelspec's logo."""
        url = self.url.rstrip("/") + "/" + address.lstrip("/")
        return _answer(Request(url, headers={"Authorization": f"token {self.token}"}))  # noqa: S310

    def lab_url(self, path: str = "") -> str:
        """Give the address at which a browser, logged in, opens *path* and nothing else.

        :param path: of a file; left out: the launcher
        """
        workspace = f"lab/workspaces/{secrets.token_hex(4)}"  # another one's tabs stay closed
        place = f"{workspace}/tree/{quote(path)}" if path else workspace
        return f"{self.url}{place}?token={self.token}"

    def kernelspecs(self) -> Json:
        """Give the kernelspecs as the kernel picker sees them, by name."""
        return dict(self.request("GET", "api/kernelspecs")["kernelspecs"])

    def create_session(self, path: str, kernel_name: str) -> Json:
        """Open the notebook at *path*: its kernel starts, or goes on if it is open already."""
        return dict(
            self.request(
                "POST",
                "api/sessions",
                {
                    "path": path,
                    "name": Path(path).name,
                    "type": "notebook",
                    "kernel": {"name": kernel_name},
                },
            )
        )

    def sessions(self) -> list[Json]:
        return list(self.request("GET", "api/sessions"))

    @contextmanager
    def opened(self, path: str, kernel_name: str = GENERIC) -> Iterator[tuple[Json, Kernel]]:
        """Open a notebook as JupyterLab does; close it, with its kernel, at the end.

        :returns: its session, and the channels of its kernel
        """
        session = self.create_session(path, kernel_name)
        try:
            with self.connect(session["kernel"]["id"]) as kernel:
                yield session, kernel
        finally:
            self.delete_session(session["id"])

    def change_kernel(self, session_id: str, kernel_name: str) -> Json:
        """Pick another kernel for an open notebook."""
        return dict(
            self.request("PATCH", f"api/sessions/{session_id}", {"kernel": {"name": kernel_name}})
        )

    def delete_session(self, session_id: str) -> None:
        """Close the notebook and shut its kernel down."""
        self.request("DELETE", f"api/sessions/{session_id}")

    def kernel(self, kernel_id: str) -> Json:
        """Give the kernel's model: ``name``, ``execution_state``, ``last_activity`` …."""
        return dict(self.request("GET", f"api/kernels/{kernel_id}"))

    def start_kernel(self, kernel_name: str, path: str | None = None) -> Json:
        """Start a kernel that belongs to no session."""
        body = {"name": kernel_name} | ({} if path is None else {"path": path})
        return dict(self.request("POST", "api/kernels", body))

    def restart_kernel(self, kernel_id: str) -> Json:
        return dict(self.request("POST", f"api/kernels/{kernel_id}/restart"))

    def interrupt_kernel(self, kernel_id: str) -> None:
        self.request("POST", f"api/kernels/{kernel_id}/interrupt")

    def delete_kernel(self, kernel_id: str) -> None:
        self.request("DELETE", f"api/kernels/{kernel_id}")

    def connect(self, kernel_id: str) -> Kernel:
        """Open the channels of a running kernel."""
        address = self.url.replace("http", "ws", 1) + f"api/kernels/{kernel_id}/channels"
        return Kernel(address, self.token)

    def rename(self, path: str, new_path: str) -> Json:
        """Rename a file or a folder, and the session that has it open, as JupyterLab does both."""
        renamed = dict(self.request("PATCH", f"api/contents/{path}", {"path": new_path}))
        for session in self.sessions():
            if session["path"] == path or session["path"].startswith(f"{path}/"):
                moved = new_path + session["path"].removeprefix(path)
                body = {"path": moved, "name": Path(moved).name, "type": session["type"]}
                self.request("PATCH", f"api/sessions/{session['id']}", body)
        return renamed


@contextmanager
def running_lab(root: Path, *options: str) -> Iterator[JupyterServer]:
    """Run JupyterLab on *root*, with this process's environment variables, until the block is left.

    :param root: made where it is missing
    :param options: more of the command line, such as ``--ServerApp.base_url=/x/``
    :raises RuntimeError: if it ends or says nothing before it is ready; with its log
    """
    program = shutil.which("jupyter-lab", path=str(Path(sys.executable).parent))
    if program is None:
        raise RuntimeError("JupyterLab is not in the environment of the tests: run `make test`")
    root.mkdir(parents=True, exist_ok=True)
    runtime = Path(os.environ["JUPYTER_RUNTIME_DIR"])
    runtime.mkdir(parents=True, exist_ok=True)
    token = secrets.token_hex(16)
    log = runtime / f"server-{token[:8]}.log"  # two may run in one home
    command = [
        program,
        "--no-browser",
        "--allow-root",
        "--ServerApp.ip=127.0.0.1",
        "--ServerApp.port=0",  # a free one; the server tells which
        f"--ServerApp.root_dir={root}",
        f"--IdentityProvider.token={token}",
        "--LabApp.extension_manager=readonly",  # the other one asks the network
        "--LanguageServerManager.autodetect=False",  # it starts a dozen programs to find none
        *options,
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=root, stdout=output, stderr=subprocess.STDOUT)
    try:
        url = _address(process, runtime, log)
        server = JupyterServer(url=url, token=token, root=root, log=log, pid=process.pid)
        server.request(
            "PUT",
            "lab/api/settings/@jupyterlab/apputils-extension:notification",
            {
                "raw": '{"checkForUpdates": false, "fetchNews": "false"}'
            },  # or a question covers the page
        )
        yield server
    finally:
        _stop(process)


def _address(process: subprocess.Popen[bytes], runtime: Path, log: Path) -> str:
    """Wait until the server has said where it listens and answers there."""
    deadline = time.monotonic() + PATIENCE
    told = runtime / f"jpserver-{process.pid}.json"
    while time.monotonic() < deadline and process.poll() is None:
        try:
            url = str(json.loads(told.read_text(encoding="utf-8"))["url"])
            with urlopen(f"{url}api", timeout=PATIENCE):  # noqa: S310 - the server's own
                return url
        except (OSError, ValueError):
            time.sleep(0.1)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text(encoding='utf-8')}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the server, which ends its kernels, and make sure of it."""
    process.terminate()
    try:
        process.wait(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _answer(request: Request) -> bytes:
    try:
        with urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310 - the server's own address
            return bytes(answer.read())
    except HTTPError as error:
        raise Refused(error.code, _message(error)) from None


def _message(error: HTTPError) -> str:
    text = error.read().decode(errors="replace")
    try:
        return str(json.loads(text)["message"])
    except (KeyError, TypeError, ValueError):
        return text
