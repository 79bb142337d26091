"""Show progress below a cell: one display that is updated, and gone when the work is done."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any, Callable

from . import progress

__all__ = ["Showing"]

_PAUSE = 0.25
"""Seconds between two updates, at least."""

_SILENCE = 1.0
"""Seconds after which something is shown although nothing was heard yet."""


class Showing:
    """The progress of one work below one cell.

    A client that knows no updates, such as a terminal, prints what is *displayed*. So a new
    sentence is displayed anew, in the place of the one before; steps and seconds are updates.

    :param send: publishes a message of a type with a content, for the cell
    :param clears: whether the cell has nothing else to lose: what it shows is taken away in the
        end. Otherwise an empty display stays, and new sentences are updates too
    :param on_shown: is told each state that is shown, with the clock's time
    :param clock: seconds, only going forward
    """

    def __init__(
        self,
        send: Callable[[str, dict[str, Any]], None],
        *,
        clears: bool = True,
        on_shown: Callable[[progress.State, float], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._send = send
        self._clears = clears
        self._on_shown = on_shown
        self._clock = clock
        self._state = progress.State(since=clock())
        self._display = os.urandom(16).hex()
        self._shown: str | None = None
        self._about = ""
        self._last = 0.0

    def take(self, event: Mapping[str, Any]) -> None:
        """Take up an event of a host; called ten times a second while nothing is heard, too."""
        now = self._clock()
        before, self._state = self._state, progress.after(self._state, event, now)
        heard = self._shown is not None or self._state != before
        if heard or now - self._state.since >= _SILENCE:
            self._show(now)

    def _show(self, now: float) -> None:
        html, about = progress.html(self._state, now), _about(self._state)
        is_new = self._shown is None or (self._clears and about != self._about)
        if html == self._shown or (not is_new and now - self._last < _PAUSE):
            return
        if is_new and self._shown is not None:
            self._send("clear_output", {"wait": True})
        self._put(progress.line(self._state, now), html, is_new=is_new)
        self._shown, self._about, self._last = html, about, now
        if self._on_shown is not None:
            self._on_shown(self._state, now)

    def _put(self, text: str, html: str, *, is_new: bool) -> None:
        content = {
            "data": {"text/plain": text, "text/html": html},
            "metadata": {},
            "transient": {"display_id": self._display},
        }
        self._send("display_data" if is_new else "update_display_data", content)

    def end(self) -> None:
        """Take everything away that was shown; called when the work is done, or has failed."""
        if self._shown is None:
            return
        if self._clears:
            # `wait=True` would leave the progress standing when the cell prints nothing.
            self._send("clear_output", {"wait": False})
        else:
            self._put("", "", is_new=False)
        self._shown = None


def _about(state: progress.State) -> str:
    return state.waits_for or state.sentence
