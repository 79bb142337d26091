"""Kernels and a client that talks to them: started by Jupyter's manager, or by an argv alone.

:func:`started` is what JupyterLab, nbclient and others do: the kernelspec's provisioner starts the
kernel. :func:`launched` is what VS Code does: the kernelspec's argv is run as it stands there.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import psutil
import pytest
import zmq
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.connect import write_connection_file
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

from ipy_scriptenv import environments
from ipy_scriptenv.environments import Context
from ipy_scriptenv.identity import file_environment_name, kernelspec_name
from tests.index.build import Distribution, _wheel
from tests.jupyter_server import Execution as ServersExecution
from tests.stage import GENERIC, HOST, block_of, commented, write_notebook

__all__ = [
    "GENERIC",
    "Execution",
    "Kernel",
    "block",
    "environment_of",
    "ephemeral",
    "install_generic",
    "kernelspec_of",
    "launched",
    "made",
    "minor",
    "online",
    "opened",
    "other_than_host",
    "pip_list",
    "prefix",
    "python_of",
    "record_of",
    "started",
    "unasked",
    "wait_until",
    "wheel",
    "write_notebook",
]

Json = dict[str, Any]
_Value = TypeVar("_Value")

PATIENCE = 100.0
"""Seconds to wait for an answer before the test fails."""

_CHANNELS = ("shell", "iopub", "stdin", "control")

online = pytest.mark.skipif(
    bool(os.environ.get("UV_OFFLINE")), reason="UV_OFFLINE is set: it needs real packages"
)
"""For a test that installs from a public package index."""


class _HasHome(Protocol):
    @property
    def scriptenv(self) -> Path: ...
    @property
    def kernelspecs(self) -> Path: ...


# What a source says.


def block(*dependencies: str, python: str | None = None, more: str = "") -> str:
    """Write a block of inline script metadata, in lines that end in LF.

    :param python: what ``requires-python`` says
    :param more: TOML that follows, such as a ``[tool.uv]`` table
    """
    toml = block_of(*dependencies, requires_python=python)
    return commented("\n".join([toml, *more.splitlines()]))


# What stands for it.


def environment_of(home: _HasHome, source: Path) -> Path:
    """Give the place of a file's environment."""
    return home.scriptenv / "environments-v1" / file_environment_name(source.resolve())


def ephemeral(home: _HasHome) -> list[Path]:
    """Give the places of all environments that go with their kernels."""
    return sorted((home.scriptenv / "environments-v1").glob("ephemeral-*"))


def made(home: _HasHome, path: Path) -> Path:
    """Make the environment of a notebook and its kernelspec, as opening it does."""
    environments.start(environments.locate(path), context=Context())
    return environment_of(home, path)


def kernelspec_of(source: Path) -> str:
    """Name a file's kernelspec."""
    return kernelspec_name(file_environment_name(source.resolve()))


def python_of(environment: Path) -> Path:
    return environment / "bin" / "python"


def record_of(environment: Path) -> Json:
    """Read the record of an environment."""
    return dict(json.loads((environment / "scriptenv.json").read_text("utf-8")))


def pip_list(environment: Path) -> dict[str, str]:
    """List what is installed in an environment: versions by name, as its own Python sees them."""
    question = (
        "import importlib.metadata as m, json;"
        "print(json.dumps({d.metadata['Name']: d.version for d in m.distributions()}))"
    )
    answer = subprocess.run(
        [python_of(environment), "-I", "-c", question], capture_output=True, check=True, text=True
    )
    return dict(json.loads(answer.stdout))


def other_than_host(pythons: dict[str, Path]) -> tuple[str, Path]:
    """Give a version and an interpreter that are not the host's, the newest; skip without."""
    for minor, python in reversed(pythons.items()):
        if minor != HOST:
            return minor, python
    pytest.skip("there is one Python alone on this machine")


def install_generic(home: _HasHome) -> str:
    """Put the generic kernelspec, as this repository has it, into the home; give its name."""
    shipped = Path(__file__).parent.parent / "kernelspecs" / GENERIC
    shutil.copytree(shipped, home.kernelspecs / GENERIC, dirs_exist_ok=True)
    return GENERIC


def wheel(folder: Path, distribution: Distribution) -> Path:
    """Build the wheel of one distribution into *folder*, which is made where it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / distribution.wheel_name
    path.write_bytes(_wheel(distribution))
    return path


def wait_until(
    question: Callable[[], _Value], *, timeout: float = PATIENCE, what: str = "it"
) -> _Value:
    """Ask again until the answer is true, and give it.

    :raises TimeoutError: after *timeout* seconds
    """
    deadline = time.monotonic() + timeout
    while True:
        answer = question()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come about in {timeout} s")
        time.sleep(0.05)


# The client.


class PortTaken(TimeoutError):
    """Between the choice of the kernel's ports and its start, another process took one of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution(ServersExecution):
    """What came of one request, with what tests of kernels ask of it."""

    @property
    def ename(self) -> str | None:
        """Class of the error in the reply; ``None`` if there was none."""
        return self.reply.get("ename")

    @property
    def traceback(self) -> str:
        """The text of the error that the cell shows."""
        return "\n".join(self.error["traceback"]) if self.error else ""


class Kernel:
    """The channels of one kernel, and its process."""

    def __init__(
        self,
        client: BlockingKernelClient,
        *,
        log: Path,
        manager: KernelManager | None = None,
        process: subprocess.Popen[bytes] | None = None,
    ) -> None:
        self.client = client
        self.manager = manager
        self.log = log
        self.published: list[Json] = []
        """Everything on iopub since the start, whoever it is for."""
        self._process = process
        self._by_request: dict[str, list[Json]] = {}
        self._replies: dict[str, Json] = {}
        self._questions: list[Json] = []

    # Its process.

    @property
    def pid(self) -> int:
        if self._process is not None:
            return self._process.pid
        assert self.manager is not None
        return int(self.manager.provisioner.pid)  # type: ignore[union-attr]

    @property
    def is_alive(self) -> bool:
        """Whether the process is there and no zombie."""
        with suppress(psutil.NoSuchProcess):
            return bool(psutil.Process(self.pid).status() != psutil.STATUS_ZOMBIE)
        return False

    def interrupt(self) -> None:
        if self.manager is not None:
            self.manager.interrupt_kernel()
        else:
            os.kill(self.pid, signal.SIGINT)

    def restart(self, **more: Any) -> None:
        """Restart it as Jupyter's manager does, and wait until it answers.

        :param more: of the client, such as another ``env``
        """
        assert self.manager is not None
        self.manager.restart_kernel(**more)
        try:
            self.wait_until_ready()
        except PortTaken:
            # A restart keeps the ports, which are nobody's until the new process has them.
            self.client.stop_channels()
            self.manager.cleanup_connection_file()
            self.manager.provisioner.ports_cached = False  # type: ignore[union-attr]
            self.manager.restart_kernel(**more)
            self.client = self.manager.client(session=self.client.session)
            self.client.start_channels()
            self.wait_until_ready()

    def wait_until_ready(self, timeout: float = PATIENCE) -> Json:
        """Ask for the kernel's information until shell and iopub both answer; give it.

        :raises PortTaken: if it has ended because of that
        :raises TimeoutError: with what the kernel printed
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline and self.is_alive:
            request = self.send("kernel_info_request", {})
            with suppress(TimeoutError):
                self._hear(partial(self._replies.__contains__, request), seconds=1.0)
                # It may have published before iopub was connected: then it is asked once more.
                self._hear(partial(self._is_idle, request), seconds=0.1)
                return self._replies[request]
        failure = PortTaken if "Address already in use" in self.said else TimeoutError
        raise failure(f"the kernel did not become ready:\n{self.said}")

    @property
    def said(self) -> str:
        """What the process printed to its own standard output and error."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    # Its channels.

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
        """
        request = self.send_code(
            code,
            silent=silent,
            store_history=store_history,
            stdin=bool(answers),
            subshell=subshell,
        )
        return self.collect(request, answers=answers, timeout=timeout)

    def send_code(
        self,
        code: str,
        *,
        silent: bool = False,
        store_history: bool = True,
        stdin: bool = False,
        subshell: str | None = None,
        stop_on_error: bool = True,
    ) -> str:
        """Ask for an execution without waiting; give the request's id."""
        content = {
            "code": code,
            "silent": silent,
            "store_history": store_history,
            "user_expressions": {},
            "allow_stdin": stdin,
            "stop_on_error": stop_on_error,
        }
        return self.send("execute_request", content, subshell=subshell)

    def complete(self, code: str) -> list[str]:
        """Give the completions at the end of *code*."""
        content = {"code": code, "cursor_pos": len(code)}
        return list(self.request("complete_request", content)["matches"])

    def inspect(self, code: str) -> str:
        """Give what there is to read about the name at the end of *code*."""
        content = {"code": code, "cursor_pos": len(code), "detail_level": 0}
        return str(self.request("inspect_request", content)["data"].get("text/plain", ""))

    def debug(self, command: str, sequence: int, **arguments: Any) -> Json:
        """Make one request of the Debug Adapter Protocol and give the answer."""
        content = {"type": "request", "seq": sequence, "command": command, "arguments": arguments}
        return self.request("debug_request", content, channel="control")

    def request(self, message_type: str, content: Json, *, channel: str = "shell") -> Json:
        """Make any request and give the content of its reply."""
        return self.collect(self.send(message_type, content, channel=channel)).reply

    def send(
        self,
        message_type: str,
        content: Json,
        *,
        channel: str = "shell",
        subshell: str | None = None,
    ) -> str:
        """Send a message without waiting; give its id."""
        message = self.client.session.msg(message_type, content)
        if subshell is not None:
            message["header"]["subshell_id"] = subshell
        getattr(self.client, f"{channel}_channel").send(message)
        return str(message["header"]["msg_id"])

    def collect(
        self, request: str, *, answers: Sequence[str] = (), timeout: float = PATIENCE
    ) -> Execution:
        """Wait for the reply to *request* and for the idle status that ends it.

        :raises TimeoutError: after *timeout* seconds; it tells what had come until then
        """
        waiting_answers = iter(answers)
        deadline = time.monotonic() + timeout
        while not (request in self._replies and self._is_idle(request)):
            self._pump(deadline, request)
            while self._questions:
                self._questions.pop(0)
                self.client.input(next(waiting_answers))
        return Execution(
            reply=self._replies[request], messages=tuple(self._by_request.get(request, ()))
        )

    def wait_for(
        self, wanted: Callable[[Json], bool], *, since: int = 0, timeout: float = PATIENCE
    ) -> Json:
        """Wait for a message on iopub, whoever it is for; give it.

        :param since: how many of :attr:`published` are passed over
        """
        deadline = time.monotonic() + timeout
        while True:
            for message in self.published[since:]:
                if wanted(message):
                    return message
            self._pump(deadline, "a certain message")

    def outputs(self, request: str) -> Execution:
        """Give what has come for *request* until now; its reply is empty if it is not there yet."""
        return Execution(
            reply=self._replies.get(request, {}),
            messages=tuple(self._by_request.get(request, ())),
        )

    def wait_for_text(self, request: str, text: str, *, timeout: float = PATIENCE) -> None:
        """Wait until the output or the progress of *request* holds *text*."""

        def is_there(_message: Json) -> bool:
            shown = self.outputs(request)
            return any(text in each for each in (shown.stdout, *shown.progress))

        self.wait_for(is_there, since=0, timeout=timeout)

    def answers_in_order(self, requests: Sequence[str]) -> list[Execution]:
        """Wait for all of *requests*, and check that the replies came in their order."""
        found = [self.collect(request) for request in requests]
        replied = [request for request in self._replies if request in requests]
        assert replied == list(requests)
        return found

    def _is_idle(self, request: str) -> bool:
        return any(
            message["content"].get("execution_state") == "idle"
            for message in self._by_request.get(request, ())
        )

    def _hear(self, enough: Callable[[], bool], *, seconds: float) -> None:
        """Take messages until that is enough.

        :raises TimeoutError: after *seconds*
        """
        deadline = time.monotonic() + seconds
        while not enough():
            self._pump(deadline, "an answer")

    def _pump(self, deadline: float, what: str) -> None:
        """Take the messages that are there, or wait for the next one."""
        channels = {getattr(self.client, f"{name}_channel").socket: name for name in _CHANNELS}
        poller = zmq.Poller()
        for socket in channels:
            poller.register(socket, zmq.POLLIN)
        ready = poller.poll(max(1, min(200, int(1000 * (deadline - time.monotonic())))))
        for socket, _event in ready:
            name = channels[socket]
            message = getattr(self.client, f"{name}_channel").get_msg(timeout=0)
            parent = message["parent_header"].get("msg_id", "")
            if name == "iopub":
                self.published.append(message)
                self._by_request.setdefault(parent, []).append(message)
            elif name == "stdin":
                self._questions.append(message)
            else:
                self._replies.setdefault(parent, message["content"])
        if not ready and (time.monotonic() > deadline or not self.is_alive):
            gone = "" if self.is_alive else "; the kernel is dead"
            told = [
                (message["header"]["msg_type"], message["content"])
                for message in self._by_request.get(what, ())
            ]
            raise TimeoutError(f"no end to {what}{gone}; until now: {told}\n{self.said}")


# What is asked of it without a sync.


def unasked(kernel: Kernel, code: str) -> str:
    """Run *code* as a client does by itself, so that nothing is synced; give what it prints."""
    done = kernel.execute(code, store_history=False)
    assert done.status == "ok", done.traceback
    return done.stdout.strip()


def prefix(kernel: Kernel) -> Path:
    """Give the place of the environment in which a kernel runs."""
    return Path(unasked(kernel, "import sys; print(sys.prefix)"))


def minor(kernel: Kernel) -> str:
    """Give the minor version of a kernel's Python."""
    return unasked(kernel, "import sys; print('%d.%d' % sys.version_info[:2])")


# Ways to start one.


@contextmanager
def started(
    name: str,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    kill: bool = False,
    **manager_options: Any,
) -> Iterator[Kernel]:
    """Start a kernel as Jupyter's clients do, by its kernelspec; shut it down in the end.

    :param kill: whether it is killed in the end, which takes less time than asking it
    :param name: the kernelspec's
    :param env: variables that the client passes, beside those that there are; left out, the client
        passes none at all, as nbclient does
    """
    options: dict[str, Any] = {}
    if env is not None:
        options["env"] = {**os.environ, **env}
    if cwd is not None:
        options["cwd"] = str(cwd)
    with _log() as (log, file):

        @contextmanager
        def start() -> Iterator[Kernel]:
            manager = KernelManager(kernel_name=name, **manager_options)
            manager.start_kernel(stdout=file, stderr=file, **options)
            client = manager.client()
            client.start_channels()
            kernel = Kernel(client, log=log, manager=manager)
            try:
                yield kernel
            finally:
                kernel.client.stop_channels()
                manager.shutdown_kernel(now=kill)
                manager.cleanup_resources()

        with _ready(start) as kernel:
            yield kernel


@contextmanager
def opened(home: _HasHome, path: Path) -> Iterator[Kernel]:
    """Open a notebook on the generic kernelspec as JupyterLab does: its path is passed."""
    install_generic(home)
    variables = {"JPY_SESSION_NAME": str(path)}
    with started(GENERIC, env=variables, cwd=path.parent, kill=True) as kernel:
        yield kernel


@contextmanager
def launched(
    name_or_argv: str | Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Iterator[Kernel]:
    """Start a kernel as VS Code does: run the argv; what stands for provisioners is not looked at.

    :param name_or_argv: the kernelspec's name, or an argv with ``{connection_file}``
    """
    argv = (
        list(KernelSpecManager().get_kernel_spec(name_or_argv).argv)
        if isinstance(name_or_argv, str)
        else list(name_or_argv)
    )
    with _log() as (log, file):

        @contextmanager
        def start() -> Iterator[Kernel]:
            connection, _ = write_connection_file(
                str(log.parent / "connection.json"),
                ip="127.0.0.1",
                key=os.urandom(16).hex().encode(),
            )
            process = subprocess.Popen(
                [part.replace("{connection_file}", connection) for part in argv],
                env={**os.environ, **(env or {})},
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
            client = BlockingKernelClient()
            client.load_connection_file(connection)
            client.start_channels()
            kernel = Kernel(client, log=log, process=process)
            try:
                yield kernel
            finally:
                if process.poll() is None:
                    kernel.send("shutdown_request", {"restart": False}, channel="control")
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                client.stop_channels()

        with _ready(start) as kernel:
            yield kernel


@contextmanager
def _ready(start: Callable[[], AbstractContextManager[Kernel]]) -> Iterator[Kernel]:
    """Start a kernel and wait until it answers; once more where it finds a port taken."""
    with ExitStack() as stack:
        kernel = stack.enter_context(start())
        try:
            kernel.wait_until_ready()
        except PortTaken:
            kernel = stack.enter_context(start())
            kernel.wait_until_ready()
        yield kernel


@contextmanager
def _log() -> Iterator[tuple[Path, Any]]:
    """Give a file for what a kernel prints itself, where a failing test can read it."""
    runtime = Path(os.environ["JUPYTER_RUNTIME_DIR"])
    runtime.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="kernel-", dir=runtime))
    with (folder / "said.log").open("wb") as file:
        yield folder / "said.log", file
