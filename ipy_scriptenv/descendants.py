"""All that a process has started: found by a variable that is handed down, and ended.

uv leaves a build to itself, where another one fails and where uv is ended. It goes on for nobody
then, and is no child of anybody who would know of it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

__all__ = ["VARIABLE", "end", "new_mark"]

VARIABLE = "SCRIPTENV_MARK"
"""The variable that holds the mark."""

_GRACE = 2.0
"""Seconds that processes have to end by themselves before they are killed, and after that."""
_POLL = 0.05


def new_mark() -> str:
    """Give a mark that no process has yet."""
    return os.urandom(8).hex()


def end(mark: str) -> None:
    """End all processes that have a mark: by asking, and by force where that does not help.

    An interrupt meanwhile does not stop it: who is impatient interrupts twice, and has force used.
    """
    grace = _GRACE
    while True:
        try:
            _end(mark, grace)
        except KeyboardInterrupt:
            grace = 0.0
        else:
            return


def _end(mark: str, grace: float) -> None:
    import psutil  # most processes end well

    began, forced, asked = time.monotonic(), None, set()
    while found := _marked(mark):
        now = time.monotonic()
        if forced is None and now - began >= grace:
            forced = now
        elif forced is not None and now - forced >= _GRACE:
            return
        for process in found:
            with contextlib.suppress(psutil.Error):
                if forced is not None:
                    process.kill()
                elif process not in asked:
                    asked.add(process)
                    process.terminate()
        time.sleep(_POLL)


def _marked(mark: str) -> list[psutil.Process]:
    """Find the processes that have a mark, but for those that have left this session.

    These go on by themselves on purpose: what keeps ssh's connections, or a compiler's cache.
    """
    import psutil

    session = 0 if sys.platform == "win32" else os.getsid(0)
    found = []
    for process in psutil.process_iter(["environ"]):
        with contextlib.suppress(OSError):
            is_marked = (process.info["environ"] or {}).get(VARIABLE) == mark
            if is_marked and (sys.platform == "win32" or os.getsid(process.pid) == session):
                found.append(process)
    return found
