"""What stands below a cell beside its own output: progress that goes again, notes that stay."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Callable

from .showing import Showing

__all__ = ["Below", "note"]

_STYLE = "color: var(--jp-ui-font-color2, currentColor)"
_MAGIC = "%scriptenv"


def note(*lines: str) -> dict[str, Any]:
    """Give the content of a display that tells something which is no error, a line each."""
    from html import escape

    html = "".join(f'<div style="{_STYLE}">{escape(line)}</div>' for line in lines)
    return {"data": {"text/plain": "\n".join(lines), "text/html": html}, "metadata": {}}


class Below:
    """The place below the cell in which a line of ``%scriptenv`` runs; one for each shell.

    :param told: is told the progress that is shown, by its state and the time
    """

    def __init__(self, shell: Any, told: Callable[[Any, float], None] | None = None) -> None:
        self._shell = shell
        self._told = told
        self._seen = ""

    @contextlib.contextmanager
    def working(self) -> Iterator[Callable[[Mapping[str, Any]], None]]:
        """Show the events that the given listener gets, while the work goes on; notes stay."""
        notes = []
        showing = Showing(self._send, clears=self._is_empty(), on_shown=self._told)

        def take(event: Mapping[str, Any]) -> None:
            kind, text = event.get("event"), event.get("text")
            if kind == "note" or (kind == "warning" and not event.get("name")):
                notes.append(str(text or ""))
            else:
                showing.take(event)

        try:
            yield take
        finally:
            showing.end()
            if notes:
                self.note(*notes)

    def note(self, *lines: str) -> None:
        """Tell something that is no error."""
        self._send("display_data", note(*lines))

    def _send(self, kind: str, content: dict[str, Any]) -> None:
        kernel = getattr(self._shell, "kernel", None)
        if kernel is None:
            # A terminal prints what is displayed, and cannot change it.
            if kind == "display_data":
                print(content["data"]["text/plain"], file=sys.stderr)
            return
        with contextlib.suppress(Exception):
            # The cell may have put anything in its place; what it has printed comes first.
            sys.stdout.flush()
        kernel.send_response(kernel.iopub_socket, kind, content)

    def _is_empty(self) -> bool:
        """Say whether the cell can have shown nothing yet: the line is its first statement."""
        try:
            parent = self._shell.get_parent()
            request, code = parent["header"]["msg_id"], parent["content"]["code"]
        except (AttributeError, KeyError, TypeError):
            return False
        if request == self._seen:
            return False
        self._seen = request
        stripped = (line.strip() for line in code.splitlines())
        first = next((line for line in stripped if line and not line.startswith("#")), "")
        return bool(first.split()[:1] == [_MAGIC])
