"""Start anew in place: the same process, connection and requests, another interpreter or kernel.

Where the first execution shows that another Python, a kernel in the environment or other versions
than the layer's are needed, nobody is asked to restart: the kernel executes itself anew with the
same connection file. Requests that wait are taken along and handled by the new kernel, in their
order, as soon as the clients have connected again. Only ever before a cell of the user has run.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from typing import Any

from .inbox import QUIET, QUIET_LIMIT, decoded

__all__ = ["Listeners", "Streams", "become_new", "is_possible", "keep_streams", "take_over"]

_REPLAY = "SCRIPTENV_REPLAY"
"""Descriptor of the file in which a kernel hands its requests to the one that it becomes."""

_PEERS_LIMIT = 10.0
"""Seconds that clients have to connect again; those that do not are gone."""
_SETTLE = 0.2
"""Seconds from a connection to its use, where that cannot be seen."""
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
        if completion.lock is not None:
            completion.lock.keep()
        shell, control = inbox.release()
        _inject(kernel, shell[1:], control)


class Listeners:
    """Those who have subscribed to iopub since a kernel took over: only they hear its outputs.

    A client subscribes again when its own event loop comes to it, which may be long after it has
    connected.
    """

    def __init__(self) -> None:
        self.count = 0

    @classmethod
    def expected(cls) -> Listeners | None:
        """Begin to count; None where no kernel was before, or its ipykernel does not see them.

        Called before the app's ``initialize``.
        """
        import zmq
        from ipykernel.iostream import IOPubThread

        begin: Any = getattr(IOPubThread, "_setup_xpub_listener", None)
        if _REPLAY not in os.environ or begin is None:
            return None
        listeners = cls()

        def listen(thread: Any) -> None:
            with contextlib.suppress(AttributeError, zmq.ZMQError):
                # Each subscription, not only the first; before any is looked at.
                thread.socket.setsockopt(zmq.XPUB_VERBOSE, 1)
            begin(thread)
            stream = getattr(thread, "_xpub_stream", None)
            if stream is not None:
                listeners._hear(thread, stream)

        IOPubThread._setup_xpub_listener = listen  # type: ignore[method-assign] # noqa: SLF001
        return listeners

    def _hear(self, thread: Any, stream: Any) -> None:
        def take(frames: list[bytes]) -> None:
            self.count += sum(frame[:1] == b"\x01" for frame in frames)
            thread._handle_subscription(frames)  # noqa: SLF001 - what it replaces

        stream.on_recv(take)


def take_over(app: Any, listeners: Listeners | None) -> None:
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

    IOLoop.current().add_callback(_replay, kernel, contents, listeners)


def _adopt_comm(kernel: Any, name: str) -> None:
    """Go on with a comm that a front end opened in the kernel before."""
    import comm

    adopted = comm.create_comm(comm_id=name, primary=False, target_name="scriptenv")
    kernel.comm_manager.register_comm(adopted)
    kernel.known_front_ends().adopt(adopted)


async def _replay(kernel: Any, contents: dict[str, Any], listeners: Listeners | None) -> None:
    import asyncio

    try:
        ports = _ports(kernel)
        deadline = time.monotonic() + _PEERS_LIMIT
        while time.monotonic() < deadline:
            found = _peers(ports)
            if listeners is not None:
                found["iopub"] = listeners.count
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
            [decoded(frames) for frames in contents["shell"]] + shell,
            [decoded(frames) for frames in contents["control"]] + control,
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
    while socket.poll(int(QUIET * 1000)) and time.monotonic() - started < QUIET_LIMIT:
        kernel.inbox.lets_through(socket.recv_multipart(copy=True))


def _flush() -> None:
    """Let what was published reach the clients.

    A stream of ipykernel is flushed by the thread that publishes, behind all it was given before.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    time.sleep(QUIET)


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


def _messages(frames: list[bytes]) -> list[Any]:
    import zmq

    return [zmq.Frame(frame) for frame in frames]
