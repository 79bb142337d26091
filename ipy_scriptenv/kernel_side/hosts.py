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

__all__ = ["PROTOCOL", "HostEnded", "HostGone", "ask", "reachable", "variables"]

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


def ask(
    record: dict[str, Any],
    request: dict[str, Any],
    *,
    initial: Mapping[str, str],
    home: str,
    on_event: Callable[[dict[str, Any]], None],
    cancelled: Callable[[], bool],
) -> dict[str, Any]:
    """Have a host do something, and give its last event: ``done`` or ``error``.

    :param initial: the environment variables that this kernel was started with
    :param on_event: gets every other event, in the calling thread; ``silence`` while none comes
    :param cancelled: looked at ten times a second; True stops the work
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
) -> tuple[dict[str, Any] | None, str]:
    try:
        process = subprocess.Popen(
            [python, "-P", "-m", "ipy_scriptenv.host"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=home,
            env=variables(initial),
            encoding="utf-8",
            errors="replace",
            start_new_session=os.name == "posix",
        )
    except OSError as error:
        return None, f"No module named ipy_scriptenv: {error}"
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
        answer = _listen(lines, process, on_event, cancelled)
    except BaseException:
        _stop(process)
        raise
    _stop(process)
    readers[1].join(1.0)
    return answer, "".join(words)


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
