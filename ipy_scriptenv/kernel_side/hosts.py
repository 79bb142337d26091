"""Talk to a host, a Python where ipy-scriptenv is installed: JSON lines over a process's pipes."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import threading
import time
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Callable

from .interrupts import kept_back
from .pipes import join_reader

if TYPE_CHECKING:
    from .spare import Spare

__all__ = [
    "PROTOCOL",
    "HostEnded",
    "HostGone",
    "answering",
    "ask",
    "reachable",
    "start",
    "stop",
    "variables",
]

PROTOCOL = 1
_POLL = 0.1
"""Seconds between looks at the switch: short, because a wait cannot be interrupted on Windows."""
_GRACE = 10.0
"""Seconds that a host has to stop its uv and end, before it is killed."""

_RESTORED = ("PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "MPLBACKEND", "CONDA_PREFIX")
"""Variables that the host gets as they were before this kernel set its own."""


class HostGone(Exception):
    """No host is there: the package was removed where it was."""


class HostEnded(Exception):
    """A host ended without an answer, killed or broken; its last words are the message."""


def reachable(record: dict[str, Any]) -> list[str]:
    """Name the interpreters of the hosts that are there, newest first."""
    return [host["python"] for host in record["hosts"] if os.access(host["python"], os.X_OK)]


def answering(record: dict[str, Any], initial: Mapping[str, str]) -> str | None:
    """Name the interpreter of the newest host that has the package still, to run it as a program.

    :param initial: the environment variables that this kernel was started with
    :returns: ``None``: there is none
    """
    null, wanted = subprocess.DEVNULL, variables(initial)
    for python in reachable(record):
        asked = [python, "-P", "-c", "import ipy_scriptenv"]
        with contextlib.suppress(OSError):
            if subprocess.run(asked, stderr=null, env=wanted, check=False).returncode == 0:
                return python
    return None


_started: weakref.WeakSet[subprocess.Popen[str]] = weakref.WeakSet()
"""The hosts of this process."""


def _let_go() -> None:
    """Let go of the hosts, in a forked child: a pipe that it held too would keep them at work."""
    null = os.open(os.devnull, os.O_RDWR)
    for process in _started:
        if process.stdin is not None and not process.stdin.closed:
            # Closed, its number could be another file's by the time that this object goes.
            os.dup2(null, process.stdin.fileno(), inheritable=False)
    os.close(null)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


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
    with kept_back() as interrupts:
        for python in reachable(record):
            answer, heard = _ask_one(
                python,
                request,
                initial=initial,
                home=home,
                on_event=on_event,
                cancelled=lambda: interrupts.number > 0 or cancelled(),
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
        process = start(python, home, wanted)
    except OSError as error:
        return None, f"No module named ipy_scriptenv: {error}"
    answer, heard, _ = _converse(process, request, on_event, cancelled)
    return answer, heard


def start(python: str, home: str, environ: Mapping[str, str], *words: str) -> subprocess.Popen[str]:
    """Start a host, which waits for one request.

    :raises OSError: if that interpreter cannot be run
    """
    process = subprocess.Popen(
        [python, "-P", "-m", "ipy_scriptenv.host", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # Where the home is gone, the host is the one to say what is missing.
        cwd=home if os.path.isdir(home) else os.sep,
        env=environ,
        encoding="utf-8",
        errors="replace",
        start_new_session=os.name == "posix",
    )
    _started.add(process)
    return process


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
    try:
        _write(process.stdin, {"protocol": PROTOCOL, **request})
        answer = _listen(lines, process, hear, cancelled)
    except BaseException:
        stop(process)
        raise
    stop(process)
    join_reader(readers[1], process.stderr, patience=1.0)
    return answer, "".join(words), begun


def _listen(
    lines: queue.Queue[str | None],
    process: subprocess.Popen[str],
    on_event: Callable[[dict[str, Any]], None],
    cancelled: Callable[[], bool],
) -> dict[str, Any] | None:
    """Pass events on until the last one; None if the host ends without, or does not end."""
    limit = None
    while True:
        if limit is None and cancelled():
            # The host ends its uv when its input closes, and then says that it was interrupted.
            limit = time.monotonic() + _GRACE
            _close(process.stdin)
        try:
            line = lines.get(timeout=_POLL)
        except queue.Empty:
            if limit is not None and time.monotonic() > limit:
                return None
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


def stop(process: subprocess.Popen[str]) -> None:
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
