"""Complete the environment when a user runs code: when to ask a host, and what it answered."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from . import check
from .block import BlockError, block_of_cell, is_only_our_magics
from .failing import Failed, home_gone, interrupted, restart_needed, unreadable
from .imports import Packages
from .live import LiveLock
from .spare import Spare

__all__ = ["Completion"]

_Listener = Callable[[dict[str, Any]], None]


class Completion:
    """Decides whether a user's code may run here and now, and has a host complete what is missing.

    One thread at a time decides and syncs; others wait for it, and an interrupt ends it for all.
    What stands in the way is kept until a sync has succeeded or another process has taken over, so
    no cell slips past it.
    """

    def __init__(
        self,
        *,
        environment: str,
        home: str,
        record: dict[str, Any],
        packages: Packages,
        lock: LiveLock | None,
        spare: Spare,
    ) -> None:
        self.environment = environment
        self.home = home
        self.packages = packages
        self.lock = lock
        self.initial = spare.initial
        self.spare = spare
        self.fresh = True
        self.on_user_code: Callable[[], None] = lambda: None
        self.always = os.environ.get("SCRIPTENV_SYNC") == "always"
        # A kernel that a cell starts is not meant.
        self.strict = os.environ.pop("SCRIPTENV_STRICT", "") == "1"
        self.watched = check.WatchedRecord(environment, record)
        self._source = record["source"].get("path")
        self._first = True
        # The text of the cell with a block that was executed last, and the number that it then got.
        self.block_cell: str | None = None
        self.block_count: int | None = None
        # What stands in the way: a request that failed, a block that cannot be read, a new start.
        self._failed: dict[str, Any] | None = None
        self._failure: Failed | None = None
        self._unreadable: Failed | None = None
        self.must_restart: str | None = None
        self._turn, self._telling = threading.Lock(), threading.Lock()
        self._running: set[object] = set()
        self._interrupts = 0

    @property
    def record(self) -> dict[str, Any]:
        """The environment's record, as it was when it was last looked at."""
        return self.watched.now

    def cancel(self) -> None:
        """End the sync that runs now, if one does, for all who wait for it."""
        self._interrupts += 1

    def admit(self, code: str, on_event: _Listener) -> dict[str, Any]:
        """Let a user's cell run, once its environment is complete; give the host's answer.

        Where the answer says ``replace``, the cell must not run in this process. Blocks the
        calling thread, so that an interrupt raises KeyboardInterrupt here.

        :raises Failed: if the cell must not run
        """
        with self._turn_of(on_event) as begun:
            request = self._request_for(code)
            answer = {} if request is None else self._sync(request, on_event, begun)
            if not answer.get("replace") and not is_only_our_magics(code):
                # From now on nothing may be replaced silently.
                self.fresh = False
                self.on_user_code()
            return answer

    def begins(self, cell: object) -> None:
        """Let others know that a user's *cell* runs: it may import anything at any moment."""
        with self._telling:
            self._running.add(cell)
            self._tell()

    def ended(self, cell: object) -> None:
        """Let others know what is imported by now; *cell* runs no more, if it had begun."""
        with self._telling:
            if cell in self._running or self.packages.imports_changed():
                self._running.discard(cell)
                self._tell()

    def sync(self, on_event: _Listener, upgrade: Sequence[str] = ()) -> dict[str, Any]:
        """Bring the environment to exactly what is declared, for ``%scriptenv sync``.

        :param upgrade: packages that may be newer than they are; ``*`` for every one
        :raises Failed: with the host's error
        """
        request = {"op": "sync", "given": False, "block": None, "exact": True}
        with self._turn_of(on_event) as begun:
            return self._sync({**request, "upgrade": [*upgrade]}, on_event, begun)

    def declare(self, words: list[str], on_event: _Listener) -> dict[str, Any]:
        """Change what the notebook declares, for ``%scriptenv add`` and its like.

        The answer holds the new text of the block's cell, which counts as executed from now on.
        Where that has to wait for the next start, it holds ``waits``, the host's error: no further
        cell runs until then.

        :raises Failed: with the host's error; nothing was changed
        """
        with self._turn_of(on_event) as begun:
            request = {"op": "declare", "words": words, "cell": self.block_cell, "exact": True}
            try:
                answer = self._sync(request, on_event, begun)
            except Failed as failed:
                if "cell" not in failed.error:
                    raise
                answer = {**failed.error, "waits": failed}
                found = block_of_cell(answer["cell"])
                self._failed = {
                    "op": "sync",
                    "given": True,
                    "block": found.toml if found else None,
                    "line": found.line if found else 0,
                }
            self.block_cell, self.block_count = answer["cell"], None
            return answer

    def verb(
        self, words: list[str], on_event: _Listener, *, notes: Sequence[str] = ()
    ) -> dict[str, Any]:
        """Have a host answer a line of ``%scriptenv`` that changes nothing here.

        :param notes: what this kernel adds to its status
        :raises Failed: with the host's error
        """
        return self.answered({"op": "verb", "words": words, "notes": [*notes]}, on_event)

    def answered(self, request: dict[str, Any], on_event: _Listener) -> dict[str, Any]:
        """Have a host answer a request that changes nothing here.

        :raises Failed: with the host's error
        """
        answer = self._ask(request, on_event, self._interrupts)
        if answer["event"] == "error":
            raise Failed(answer["error"]["name"], answer["error"])
        return answer

    def _request_for(self, code: str) -> dict[str, Any] | None:  # noqa: PLR0911 - a list of cases
        """Give what must be asked of a host before *code* runs; None if it can run at once.

        :raises Failed: if it must not run, whatever a host would say
        """
        if is_only_our_magics(code):
            return None
        self.look_at_record()
        try:
            block = block_of_cell(code)
        except BlockError as error:
            self._unreadable = unreadable(error)
            raise self._unreadable from None
        unsettled = self.must_restart is not None or self.watched.needs_a_look()
        if block is not None:
            self._unreadable = None
            self.block_cell = code
            changed = check.surroundings_changed(self.record, os.environ)
            synced = self.watched.is_synced_to(block.toml)
            if unsettled or changed or self._failed or not synced:
                return {"op": "sync", "given": True, "block": block.toml, "line": block.line}
            self._first = False
            return None
        if self._unreadable is not None:
            raise self._unreadable
        if self.must_restart is not None and not self.fresh:
            raise restart_needed(self.must_restart)
        if self._failed is not None:
            return self._failed
        if self._first and check.may_have_changed(self.record, os.environ):
            return {"op": "sync", "given": False, "block": None}
        if unsettled:
            return {"op": "sync", "given": False, "block": None, "settle": not self._first}
        self._first = False
        return None

    def _sync(self, request: dict[str, Any], on_event: _Listener, begun: int) -> dict[str, Any]:
        """Have a host sync; the caller has the turn.

        :raises Failed: with the host's error; the next cell asks the same again
        """
        if not request.get("exact"):
            # Until it has succeeded; how another one failed counts no more.
            self._failed, self._failure = request, None
        try:
            answer = self._ask(request, on_event, begun)
        except KeyboardInterrupt:
            self.cancel()
            raise interrupted() from None
        self.watched.take_own_change()
        self.packages.refresh()
        if answer["event"] == "error":
            self._failure = Failed(answer["error"]["name"], answer["error"])
            raise self._failure
        self._failed = None
        self._first = False
        self.must_restart = answer.get("replace")
        return answer

    def _ask(self, request: dict[str, Any], on_event: _Listener, begun: int) -> dict[str, Any]:
        """Ask a host; give its last event.

        :param begun: the number of interrupts before
        :raises Failed: if none answers, and this kernel cannot do without
        """
        try:
            # Most kernels that start need no host.
            from .asking import ask
        except ImportError:
            raise home_gone() from None
        return ask(self, request, on_event, cancelled=lambda: self._interrupts != begun)

    @contextlib.contextmanager
    def _turn_of(self, on_event: _Listener) -> Iterator[int]:
        """Wait for the sync that another thread runs; give the number of interrupts from before.

        :raises Failed: if it is interrupted; an interrupt of this wait ends it too
        """
        begun = self._interrupts
        if not self._turn.acquire(blocking=False):
            try:
                while not self._turn.acquire(timeout=0.1):
                    on_event({"event": "waiting", "for": "another cell of this notebook"})
            except KeyboardInterrupt:
                self.cancel()
                raise interrupted() from None
        try:
            if self._interrupts != begun:
                raise interrupted()
            yield begun
        finally:
            self._turn.release()

    def look_at_record(self) -> None:
        """Read the record again if it has changed, and see what another process installed."""
        if self.watched.look():
            self.packages.refresh()

    def _tell(self) -> None:
        if self.lock is not None:
            imported, undeclared = self.packages.imported(), self.packages.undeclared
            self.lock.tell(imported, busy=bool(self._running), undeclared=undeclared)

    def notes(self) -> list[str]:
        """What `status` adds about this very kernel, a sentence each."""
        self.look_at_record()
        notes = []
        path = self._source
        if path is not None and (
            path != self.record["source"].get("path") or check.file_stat(path) is None
        ):
            notes.append(
                f"`{path}` is not at its place any more; this kernel keeps its environment until "
                "it is restarted."
            )
        elif not self._first and check.source_changed(self.record):
            notes.append("The file has changed since; run the block's cell to take it over.")
        if self.watched.changed_elsewhere:
            notes.append("Another process has changed this environment since this kernel started.")
        if self.must_restart is not None:
            notes.append(f"A restart is needed: {self.must_restart}.")
        return notes

    @property
    def hindrance(self) -> tuple[Failed | None, str | None]:
        """What stands in the way of the next cell: a failure, or why a restart is needed."""
        failure = self._failure if self._failed is not None else None
        return self._unreadable or failure, self.must_restart

    @property
    def standing(self) -> tuple[str, str]:
        """How the environment stands to what is declared, in a word and a sentence."""
        if self.record["pending"] is not None:
            return "pending", "A change waits for the kernel's next start."
        is_missing = self.record["fingerprint"] is None or self._failed is not None
        if is_missing or (self._first and check.may_have_changed(self.record, os.environ)):
            return "stale", "What is declared is installed when a cell is run."
        return "in-sync", "The environment holds what is declared."
