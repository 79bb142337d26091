"""Start anew in place: the same process, connection and requests, another interpreter or kernel.

Where the first execution shows that another Python, a kernel in the environment or other versions
than the layer's are needed, nobody is asked to restart: the kernel executes itself anew with the
same connection file. Requests that wait are taken along and handled by the new kernel, in their
order, as soon as the clients have connected again. Only ever before a cell of the user has run.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import sys
import tempfile
import threading
import time
from typing import Any

__all__ = ["Inbox", "Streams", "become_new", "is_possible", "keep_streams", "take_over"]

_REPLAY = "SCRIPTENV_REPLAY"
"""Descriptor of the file in which a kernel hands its requests to the one that it becomes."""

_QUIET = 0.05
"""Seconds without a new request after which the waiting ones are taken to be all."""
_QUIET_LIMIT = 1.0
_PEERS_LIMIT = 5.0
"""Seconds that clients have to connect again; those that do not are gone."""
_SETTLE = 0.2
"""Seconds from a connection to the subscription that follows on it."""
_RAN_KEPT = 50
"""How much start-up code of clients is kept; some of them go on for ever."""
_DELIMITER = b"<IDS|MSG>"
_CHANNELS = ("shell", "iopub", "stdin", "control")


class Streams:
    """Standard output and error as this process got them; ipykernel replaces both by pipes."""

    def __init__(self) -> None:
        self.arguments = sys.argv[1:]
        self._copies = {number: os.dup(number) for number in (1, 2)}

    def put_back(self) -> None:
        """Give them their places again, before another program takes over."""
        for number, copy in self._copies.items():
            os.dup2(copy, number)


def keep_streams() -> Streams | None:
    """Keep the streams for a program that this process may become; None where it cannot."""
    if not is_possible():
        return None
    try:
        return Streams()
    except OSError:
        return None


def is_possible() -> bool:
    """Say whether a process can become another program here."""
    return os.name == "posix"


class Inbox:
    """The requests that have arrived and are not answered, until a user's code has run.

    A request is known by its header, which no other one has.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._closed = False
        self._held = False
        self._waiting: dict[bytes, list[bytes]] = {}
        self._control: list[list[bytes]] = []
        self._ran: list[str] = []
        self._last = 0.0

    @property
    def is_closed(self) -> bool:
        """Whether a user's code has run."""
        return self._closed

    def close(self) -> None:
        """Stop keeping anything: a user's code runs now, and this kernel stays what it is."""
        with self._lock:
            self._closed = True
            self._waiting.clear()
            self._ran.clear()

    def hold(self) -> None:
        """Keep what arrives from now on without letting it through."""
        self._held = True

    def ran_unasked(self, code: str) -> None:
        """Note start-up code that a client ran; a new kernel runs it again."""
        with self._lock:
            if not self._closed and code not in self._ran[-_RAN_KEPT:]:
                self._ran = [*self._ran[1 - _RAN_KEPT :], code]

    def lets_through(self, message: Any) -> bool:
        """Keep a request that arrives on the shell channel; say whether it may be handled now."""
        with self._lock:
            if self._closed and not self._held:
                return True
            frames = _frames(message)
            key = _key(frames)
            if key is not None:
                self._waiting[key] = frames
                self._last = time.monotonic()
            return not self._held

    def lets_control_through(self, message: Any) -> bool:
        """As :meth:`lets_through`, for the control channel, which is only kept while held."""
        with self._lock:
            if self._held:
                self._control.append(_frames(message))
            return not self._held

    def answered(self, message: Any) -> None:
        """Forget a request that was handled to its end."""
        if not self._closed:
            key = _key(_frames(message))
            if key is not None:
                with self._lock:
                    self._waiting.pop(key, None)

    def release(self) -> tuple[list[list[bytes]], list[list[bytes]]]:
        """Let everything through again; give what was held back, of shell and of control."""
        with self._lock:
            self._held = False
            shell, self._waiting = list(self._waiting.values()), {}
            control, self._control = self._control, []
            return shell, control

    def wait_until_quiet(self) -> None:
        """Wait until nothing has arrived for a moment, but not for ever."""
        started = time.monotonic()
        while True:
            now = time.monotonic()
            rest = max(started, self._last) + _QUIET - now
            if rest <= 0 or now - started > _QUIET_LIMIT:
                return
            time.sleep(rest)

    def contents(self) -> dict[str, Any]:
        """Give all that a new kernel must know, for JSON."""
        with self._lock:
            return {
                "shell": [_encoded(frames) for frames in self._waiting.values()],
                "control": [_encoded(frames) for frames in self._control],
                "ran": list(self._ran),
            }


def become_new(kernel: Any) -> None:
    """Become a new kernel with the requests of this one; returns only if that fails.

    Called in the main thread, inside the handling of the request that showed the need. Everything
    that takes time is done before the last look at what has arrived.
    """
    # An interrupt must not end what is no kernel for a moment; ignoring it outlives `exec`.
    interrupts = signal.signal(signal.SIGINT, signal.SIG_IGN)
    inbox, completion = kernel.inbox, kernel.completion
    inbox.hold()
    try:
        python = os.path.join(completion.environment, "bin", "python")
        argv = [python, os.path.join(completion.environment, "kernel.py")]
        file = tempfile.TemporaryFile()  # noqa: SIM115 - its descriptor is handed on
        os.set_inheritable(file.fileno(), True)
        variables = {
            **completion.initial,
            "SCRIPTENV_PREPARED": "1",
            _REPLAY: str(file.fileno()),
        }
        if completion.lock is not None:
            variables.update(completion.lock.bequest())
        completion.spare.drop()
        peers = _peers(_ports(kernel))
        _flush()
        _drain(kernel)
        inbox.wait_until_quiet()
        comms = [] if kernel.front_ends is None else kernel.front_ends.names
        left = {**inbox.contents(), "peers": peers, "front_ends": comms}
        file.write(json.dumps(left).encode())
        file.flush()
        kernel.streams.put_back()
        os.execve(python, [*argv, *kernel.streams.arguments], variables)
    except Exception:  # noqa: BLE001 - this kernel goes on, and its cell says what is needed
        signal.signal(signal.SIGINT, interrupts)
        shell, control = inbox.release()
        _inject(kernel, shell[1:], control)


def take_over(app: Any) -> None:
    """In a new kernel: handle what the old one left, once the clients are there again.

    Called between the app's ``initialize`` and ``start``.
    """
    descriptor = os.environ.pop(_REPLAY, None)
    if descriptor is None:
        return
    with os.fdopen(int(descriptor), "rb") as file:
        file.seek(0)
        contents = json.load(file)
    kernel = app.kernel
    kernel.replaced = True
    kernel.inbox.hold()
    for name in contents.get("front_ends", ()):
        # They need not notice; one that cannot be taken over has its edits shown as input.
        with contextlib.suppress(Exception):
            _adopt_comm(kernel, name)

    from tornado.ioloop import IOLoop

    IOLoop.current().add_callback(_replay, kernel, contents)


def _adopt_comm(kernel: Any, name: str) -> None:
    """Go on with a comm that a front end opened in the kernel before."""
    import comm

    adopted = comm.create_comm(comm_id=name, primary=False, target_name="scriptenv")
    kernel.comm_manager.register_comm(adopted)
    kernel.known_front_ends().adopt(adopted)


async def _replay(kernel: Any, contents: dict[str, Any]) -> None:
    import asyncio

    try:
        ports = _ports(kernel)
        deadline = time.monotonic() + _PEERS_LIMIT
        while time.monotonic() < deadline:
            found = _peers(ports)
            if all(found.get(name, 0) >= count for name, count in contents["peers"].items()):
                break
            await asyncio.sleep(0.02)
        await asyncio.sleep(_SETTLE)
        for code in contents["ran"]:
            kernel.shell.run_cell(code, store_history=False, silent=True)
            kernel.inbox.ran_unasked(code)
    finally:
        shell, control = kernel.inbox.release()
        _inject(
            kernel,
            [_decoded(frames) for frames in contents["shell"]] + shell,
            [_decoded(frames) for frames in contents["control"]] + control,
        )


def _inject(kernel: Any, shell: list[list[bytes]], control: list[list[bytes]]) -> None:
    """Handle requests as if they had just arrived, in their order."""
    for frames in control:
        kernel.control_thread.io_loop.add_callback(kernel.dispatch_control, _messages(frames))
    for frames in shell:
        kernel.inject(_messages(frames))


def _drain(kernel: Any) -> None:
    """Take what still stands in the shell socket, where no thread of its own reads it."""
    if getattr(kernel, "shell_channel_thread", None) is not None:
        return
    socket = kernel.shell_stream.socket
    started = time.monotonic()
    while socket.poll(int(_QUIET * 1000)) and time.monotonic() - started < _QUIET_LIMIT:
        kernel.inbox.lets_through(socket.recv_multipart(copy=True))


def _flush() -> None:
    """Let what was published reach the clients.

    A stream of ipykernel is flushed by the thread that publishes, behind all it was given before.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    time.sleep(_QUIET)


def _ports(kernel: Any) -> dict[str, int]:
    app = kernel.parent
    return {channel: int(getattr(app, f"{channel}_port")) for channel in _CHANNELS}


def _peers(ports: dict[str, int]) -> dict[str, int]:
    """Count the clients connected to each channel; none where it cannot be known."""
    try:
        import psutil

        process = psutil.Process()
        connections = getattr(process, "net_connections", None) or process.connections
        found = [
            each.laddr.port
            for each in connections(kind="tcp")
            if each.status == psutil.CONN_ESTABLISHED and each.laddr
        ]
    except Exception:  # noqa: BLE001 - psutil may be missing or refused; then time alone helps
        time.sleep(_SETTLE)
        return {}
    return {channel: found.count(port) for channel, port in ports.items()}


def _frames(message: Any) -> list[bytes]:
    return [bytes(getattr(frame, "bytes", frame)) for frame in message]


def _key(frames: list[bytes]) -> bytes | None:
    """The frame of the header, which holds the message's own name; None for what is no message."""
    try:
        return frames[frames.index(_DELIMITER) + 2]
    except (ValueError, IndexError):
        return None


def _messages(frames: list[bytes]) -> list[Any]:
    import zmq

    return [zmq.Frame(frame) for frame in frames]


def _encoded(frames: list[bytes]) -> list[str]:
    return [base64.b64encode(frame).decode("ascii") for frame in frames]


def _decoded(frames: list[str]) -> list[bytes]:
    return [base64.b64decode(frame) for frame in frames]
