"""Keep interrupts back while a process is waited for that has to be ended with what it does.

An impatient person interrupts again and again: any of these could come between two lines of what
ends it, which then went on for nobody.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

__all__ = ["Kept", "kept_back"]


class Kept:
    """How many interrupts have come so far."""

    def __init__(self) -> None:
        self.number = 0

    def take(self, *_signal: object) -> None:
        """Note one more; a handler of signals."""
        self.number += 1


@contextlib.contextmanager
def kept_back() -> Iterator[Kept]:
    """Keep this thread's interrupts back, for whoever looks how many have come.

    Other threads than the main one get none, and where interrupts are ignored they stay so.

    :raises KeyboardInterrupt: in the end, if one came
    """
    kept = Kept()
    before = None
    if threading.current_thread() is threading.main_thread():
        before = signal.getsignal(signal.SIGINT)
    if not callable(before):
        yield kept
        return
    signal.signal(signal.SIGINT, kept.take)
    try:
        yield kept
    finally:
        signal.signal(signal.SIGINT, before)
        if kept.number:
            raise KeyboardInterrupt
