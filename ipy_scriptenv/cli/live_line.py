"""Show progress on a terminal: one live line on standard error, gone when the work is done."""

from __future__ import annotations

import sys
import time

import click
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ipy_scriptenv import present
from ipy_scriptenv.kernel_side import progress
from ipy_scriptenv.uv import Event

__all__ = ["LiveLine"]

_UPDATES = 4
"""How often a second the line is written again, so that its seconds go on."""

_BAR = 24
"""Columns of the bar."""


class LiveLine:
    """Listens to events, and shows what they come to until :meth:`end`.

    What the host puts as a sentence is printed, and stays; the line below it tells the steps.
    Whoever hands the terminal on, to a script for one, ends the line first.

    :param since: when the verb began, by ``time.monotonic``
    """

    def __init__(self, *, since: float) -> None:
        self._state = progress.State(since=since)
        self._console = Console(file=sys.stderr, highlight=False)
        self._live: Live | None = None

    @property
    def can_show(self) -> bool:
        """Whether the terminal can write a line again."""
        return self._console.is_terminal and not self._console.is_dumb_terminal

    def take(self, event: Event) -> None:
        """Take up an event; ``done`` ends the line until the next one."""
        if event["event"] == "done":
            self.end()
            return
        state = progress.after(self._state, event, time.monotonic())
        if state.sentence:
            click.echo(present.escaped(state.sentence), err=True)
            state = state._replace(sentence="")
        self._state = state
        if self._live is None:
            # Standard output may go elsewhere, and is nobody's to redirect.
            self._live = Live(
                self,
                console=self._console,
                refresh_per_second=_UPDATES,
                transient=True,
                redirect_stdout=False,
            )
            self._live.start(refresh=True)

    def end(self) -> None:
        """Take the line away; the next event brings it back."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Give the line as it is now; rich calls this for each update."""
        state = self._state
        text = Text(present.escaped(progress.line(state, time.monotonic())), no_wrap=True)
        text.overflow = "ellipsis"
        share = progress.fraction(state)
        if share is None:
            yield text
            return
        row = Table.grid(padding=(0, 1))
        row.add_row(ProgressBar(total=1.0, completed=share, width=_BAR), text)
        yield row
