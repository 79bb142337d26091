"""Wait for the end of what a process has printed, which may be read after its own end."""

from __future__ import annotations

import selectors
import sys
import threading
import time
from typing import Any

__all__ = ["join_reader"]

_LONGEST = 10.0
"""Seconds that are waited where something always comes."""


def join_reader(thread: threading.Thread, stream: Any, *, patience: float) -> None:
    """Wait for a thread that reads a stream to its end, when the process has ended.

    A child that lives on may hold the stream open: it is not waited for. A thread that gets no turn
    on a machine that stalls is.

    :param patience: seconds without anything to read after which nothing more is expected
    """
    end = time.monotonic() + _LONGEST
    thread.join(patience)
    while thread.is_alive() and _has_more(stream) and time.monotonic() < end:
        thread.join(patience)


def _has_more(stream: Any) -> bool:
    """Say whether a stream has something that nobody has read, or its end; not on Windows."""
    if sys.platform == "win32":
        return False
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(stream, selectors.EVENT_READ)
            return bool(selector.select(0))
    except (OSError, ValueError):
        # It is closed.
        return False
