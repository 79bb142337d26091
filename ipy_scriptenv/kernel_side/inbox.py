"""The requests that have arrived at a kernel that may yet start anew."""

from __future__ import annotations

import base64
import threading
import time
from typing import Any

__all__ = ["QUIET", "QUIET_LIMIT", "Inbox", "decoded"]

QUIET = 0.05
"""Seconds without a new request after which the waiting ones are taken to be all."""
QUIET_LIMIT = 1.0
"""Seconds after which they are, whatever arrives."""

_RAN_KEPT = 50
"""How much start-up code of clients is kept; some of them go on for ever."""
_DELIMITER = b"<IDS|MSG>"


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
            rest = max(started, self._last) + QUIET - now
            if rest <= 0 or now - started > QUIET_LIMIT:
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


def _frames(message: Any) -> list[bytes]:
    return [bytes(getattr(frame, "bytes", frame)) for frame in message]


def _key(frames: list[bytes]) -> bytes | None:
    """The frame of the header, which holds the message's own name; None for what is no message."""
    try:
        return frames[frames.index(_DELIMITER) + 2]
    except (ValueError, IndexError):
        return None


def _encoded(frames: list[bytes]) -> list[str]:
    return [base64.b64encode(frame).decode("ascii") for frame in frames]


def decoded(frames: list[str]) -> list[bytes]:
    """Read the parts of a request as :meth:`Inbox.contents` gives them."""
    return [base64.b64decode(frame) for frame in frames]
