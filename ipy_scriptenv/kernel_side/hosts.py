"""Talk to a host, a Python where ipy-scriptenv is installed: JSON lines over a process's pipes."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import threading
from collections.abc import Mapping
from typing import Any, Callable

__all__ = [
    "PROTOCOL",
    "HostEnded",
    "HostGone",
    "Spare",
    "ask",
    "reachable",
    "variables",
]

PROTOCOL = 1
_POLL = 0.1
"""Seconds between looks at the switch: short, because a wait cannot be interrupted on Windows."""
_GRACE = 10.0
"""Seconds that a host has to stop its uv and end, before it is killed."""

_SOON = 0.3
"""Seconds until a spare host is started: a start, or the reply of a cell, comes first."""

_RESTORED = ("PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "MPLBACKEND", "CONDA_PREFIX")
"""Variables that the host gets as they were before this kernel set its own."""


class HostGone(Exception):
    """No host is there: the package was removed where it was."""


class HostEnded(Exception):
    """A host ended without an answer, killed or broken; its last words are the message."""


def reachable(record: dict[str, Any]) -> list[str]:
    """Name the interpreters of the hosts that are there, newest first."""
    return [host["python"] for host in record["hosts"] if os.access(host["python"], os.X_OK)]


class Spare:
    """A host that is started before it is asked for: a cell need not wait for what it loads.

    It waits for two minutes and ends by itself, or when this kernel ends. It is asked only if it
    was started with the variables that a new host would get.

    :param initial: the environment variables that this kernel was started with
    """

    def __init__(self, initial: Mapping[str, str], home: str) -> None:
        self.initial = initial
        self._home = home
        self._turn = threading.Lock()
        self._timer: threading.Timer | None = None
        self._process: subprocess.Popen[str] | None = None
        self._python = ""
        self._variables: dict[str, str] = {}

    def start_soon(self, record: dict[str, Any]) -> None:
        """Start one when what goes on now is over, and nobody has asked by then."""
        if self.initial.get("SCRIPTENV_SPARE_HOST") == "0":
            return
        self._timer = threading.Timer(_SOON, self._start, (record,))
        self._timer.daemon = True
        self._timer.start()

    def _start(self, record: dict[str, Any]) -> None:
        with self._turn:
            if self._timer is None or (self._process and self._process.poll() is None):
                return
            for python in reachable(record)[:1]:
                # One that cannot be started is told when it is needed.
                with contextlib.suppress(OSError):
                    self._python, self._variables = python, variables(self.initial)
                    self._process = _started(python, self._home, self._variables, "--spare")

    def take(self, python: str, wanted: Mapping[str, str]) -> subprocess.Popen[str] | None:
        """Give the one that waits, if it is what is wanted; it is the caller's then."""
        process = self._given_up()
        if process is None or process.poll() is not None:
            return None
        if self._python == python and self._variables == wanted:
            return process
        _stop(process)
        return None

    def drop(self) -> None:
        """End the one that waits, and start none any more."""
        process = self._given_up()
        if process is not None:
            _stop(process)

    def _given_up(self) -> subprocess.Popen[str] | None:
        with self._turn:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            process, self._process = self._process, None
        return process


def ask(
    record: dict[str, Any],
    request: dict[str, Any],
    *,
    initial: Mapping[str, str],
    home: str,
    on_event: Callable[[dict[str, Any]], None],
    cancelled: Callable[[], bool],
    spare: Spare | None = None,
) -> dict[str, Any]:
    """Have a host do something, and give its last event: ``done`` or ``error``.

    :param initial: the environment variables that this kernel was started with
    :param on_event: gets every other event, in the calling thread; ``silence`` while none comes
    :param cancelled: looked at ten times a second; True stops the work
    :param spare: may hold a host that waits already
    :raises HostGone: if no host is there
    :raises HostEnded: if one was, and ended without an answer
    :raises KeyboardInterrupt: if it comes; the work is stopped first
    """
    heard = ""
    for python in reachable(record):
        answer, heard = _ask_one(
            python,
            request,
            initial=initial,
            home=home,
            on_event=on_event,
            cancelled=cancelled,
            spare=spare,
        )
        if answer is not None:
            return answer
        if "No module named" not in heard:
            raise HostEnded(heard.strip())
    raise HostGone(heard.strip())


def _ask_one(
    python: str,
    request: dict[str, Any],
    *,
    initial: Mapping[str, str],
    home: str,
    on_event: Callable[[dict[str, Any]], None],
    cancelled: Callable[[], bool],
    spare: Spare | None,
) -> tuple[dict[str, Any] | None, str]:
    wanted = variables(initial)
    waiting = None if spare is None else spare.take(python, wanted)
    if waiting is not None:
        answer, heard, begun = _converse(waiting, request, on_event, cancelled)
        if answer is not None or begun:
            return answer, heard
        # It had just waited for long enough.
    try:
        process = _started(python, home, wanted)
    except OSError as error:
        return None, f"No module named ipy_scriptenv: {error}"
    answer, heard, _ = _converse(process, request, on_event, cancelled)
    return answer, heard


def _started(
    python: str, home: str, environ: Mapping[str, str], *words: str
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [python, "-P", "-m", "ipy_scriptenv.host", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=home,
        env=environ,
        encoding="utf-8",
        errors="replace",
        start_new_session=os.name == "posix",
    )


def _converse(
    process: subprocess.Popen[str],
    request: dict[str, Any],
    on_event: Callable[[dict[str, Any]], None],
    cancelled: Callable[[], bool],
) -> tuple[dict[str, Any] | None, str, bool]:
    """Ask a host that runs; give its answer, its last words, and whether it said anything else.

    It has ended when this returns.
    """
    begun = False

    def hear(event: dict[str, Any]) -> None:
        nonlocal begun
        begun = begun or event["event"] != "silence"
        on_event(event)

    lines: queue.Queue[str | None] = queue.Queue()
    words: list[str] = []
    readers = [
        threading.Thread(target=_read_to_end, args=(process.stdout, lines), daemon=True),
        threading.Thread(target=_read, args=(process.stderr, words.append), daemon=True),
    ]
    for reader in readers:
        reader.start()
    _write(process.stdin, {"protocol": PROTOCOL, **request})
    try:
        answer = _listen(lines, process, hear, cancelled)
    except BaseException:
        _stop(process)
        raise
    _stop(process)
    readers[1].join(1.0)
    return answer, "".join(words), begun


def _listen(
    lines: queue.Queue[str | None],
    process: subprocess.Popen[str],
    on_event: Callable[[dict[str, Any]], None],
    cancelled: Callable[[], bool],
) -> dict[str, Any] | None:
    """Pass events on until the last one; None if the host ends without."""
    stopped = False
    while True:
        if not stopped and cancelled():
            # The host ends its uv when its input closes, and then says that it was interrupted.
            stopped = True
            _close(process.stdin)
        try:
            line = lines.get(timeout=_POLL)
        except queue.Empty:
            on_event({"event": "silence"})
            continue
        if line is None:
            return None
        try:
            event: dict[str, Any] = json.loads(line)
        except ValueError:
            continue
        if event.get("event") in ("done", "error"):
            return event
        on_event(event)


def _write(stream: Any, request: dict[str, Any]) -> None:
    """Hand the request over; that a host has ended already is seen where it is listened to."""
    with contextlib.suppress(OSError):
        stream.write(json.dumps(request) + "\n")
        stream.flush()


def _read(stream: Any, put: Callable[[str], None]) -> None:
    for line in stream:
        put(line)


def _read_to_end(stream: Any, lines: queue.Queue[str | None]) -> None:
    """Pass on every line, and None where there are no more."""
    _read(stream, lines.put)
    lines.put(None)


def _stop(process: subprocess.Popen[str]) -> None:
    """End the host: by closing its input, and by force if that does not help."""
    _close(process.stdin)
    try:
        process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        if os.name == "posix":
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.wait()


def _close(stream: Any) -> None:
    with contextlib.suppress(OSError):
        stream.close()


def variables(initial: Mapping[str, str]) -> dict[str, str]:
    """Give the variables as they are now, but for those that this kernel made its own."""
    found = dict(os.environ)
    for name in _RESTORED:
        found.pop(name, None)
        if name in initial:
            found[name] = initial[name]
    return found
