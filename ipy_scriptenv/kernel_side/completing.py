"""Complete the environment when a user runs code: when to ask a host, and what it answered."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

from . import check, hosts
from .block import BlockError, block_of_cell, is_only_our_magics
from .credentials import without_credentials
from .failing import Failed, host_ended, interrupted, restart_needed, unreadable, without_host
from .imports import Packages
from .live import LiveLock

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
        spare: hosts.Spare,
    ) -> None:
        self.environment = environment
        self.home = home
        self.record = record
        self.packages = packages
        self.lock = lock
        self.initial = spare.initial
        self.spare = spare
        self.fresh = True
        self.on_user_code: Callable[[], None] = lambda: None
        self.always = os.environ.get("SCRIPTENV_SYNC") == "always"
        # A kernel that a cell starts is not meant.
        self.strict = os.environ.pop("SCRIPTENV_STRICT", "") == "1"
        self._source = record["source"].get("path")
        self._runs_on = (record["python"]["base"], record["kernel"])
        self._first = True
        # The text of the cell with a block that was executed last, and the number that it then got.
        self.block_cell: str | None = None
        self.block_count: int | None = None
        # What stands in the way: a request that failed, a block that cannot be read, a new start.
        self._failed: dict[str, Any] | None = None
        self._failure: Failed | None = None
        self._unreadable: Failed | None = None
        self._must_restart: str | None = None
        self._changed_elsewhere = False
        self._must_look = False
        self._record_stat = check.file_stat(self._record_path)
        self._turn = threading.Lock()
        self._counting = threading.Lock()
        self._running_cells = 0
        self._interrupts = 0

    @property
    def _record_path(self) -> str:
        return os.path.join(self.environment, "scriptenv.json")

    def cancel(self) -> None:
        """End the sync that runs now, if one does, for all who wait for it."""
        self._interrupts += 1

    def admit(self, code: str, on_event: _Listener) -> dict[str, Any]:
        """Let a user's cell run, once its environment is complete; give the host's answer.

        Where the answer says ``replace``, the cell must not run in this process. Blocks the
        calling thread, so that an interrupt raises KeyboardInterrupt here. Each call that lets a
        cell run is followed by one of :meth:`ended`.

        :raises Failed: if the cell must not run
        """
        begun = self._interrupts
        self._take_turn(begun, on_event)
        try:
            request = self._request_for(code)
            answer = {} if request is None else self._sync(request, on_event, begun)
            if not answer.get("replace"):
                if not is_only_our_magics(code):
                    # From now on nothing may be replaced silently.
                    self.fresh = False
                    self.on_user_code()
                self._count_cells(1)
            return answer
        finally:
            self._turn.release()

    def ended(self, *, admitted: bool) -> None:
        """Note that a cell ended, so that others know what this kernel has imported by now."""
        if admitted:
            self._count_cells(-1)
        elif self.packages.imports_changed():
            self._count_cells(0)

    def sync(self, on_event: _Listener, upgrade: Sequence[str] = ()) -> dict[str, Any]:
        """Bring the environment to exactly what is declared, for ``%scriptenv sync``.

        :param upgrade: packages that may be newer than they are; ``*`` for every one
        :raises Failed: with the host's error
        """
        begun = self._interrupts
        self._take_turn(begun, on_event)
        try:
            request = {"op": "sync", "given": False, "block": None, "exact": True}
            request["upgrade"] = [*upgrade]
            return self._sync(request, on_event, begun)
        finally:
            self._turn.release()

    def declare(self, words: list[str], on_event: _Listener) -> dict[str, Any]:
        """Change what the notebook declares, for ``%scriptenv add`` and its like.

        The answer holds the new text of the block's cell, which counts as executed from now on.
        Where that has to wait for the next start, it holds ``waits``, the host's error: no further
        cell runs until then.

        :raises Failed: with the host's error; nothing was changed
        """
        begun = self._interrupts
        self._take_turn(begun, on_event)
        try:
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
        finally:
            self._turn.release()

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
        try:
            answer = self._ask(request, on_event, self._interrupts)
        except hosts.HostGone as gone:
            raise without_host(str(gone)) from None
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
        unsettled = self._is_unsettled()
        if block is not None:
            self._unreadable = None
            self.block_cell = code
            changed = check.surroundings_changed(self.record, os.environ)
            if unsettled or changed or self._failed or not self._is_recorded(block.toml):
                return {"op": "sync", "given": True, "block": block.toml, "line": block.line}
            self._first = False
            return None
        if self._unreadable is not None:
            raise self._unreadable
        if self._must_restart is not None and not self.fresh:
            raise restart_needed(self._must_restart)
        if self._failed is not None:
            return self._failed
        if self._first and check.may_have_changed(self.record, os.environ):
            return {"op": "sync", "given": False, "block": None}
        if unsettled:
            return {"op": "sync", "given": False, "block": None, "settle": not self._first}
        self._first = False
        return None

    def _is_unsettled(self) -> bool:
        """Whether this kernel may be another than is needed, or a change is going on."""
        python, kernel = self._runs_on
        record = self.record
        return (
            self._must_look
            or self._must_restart is not None
            or record["python"]["base"] != python
            or (record["kernel"] == "own") != (kernel == "own")
            or os.path.exists(os.path.join(self.environment, "scriptenv.changing"))
        )

    def _is_recorded(self, toml: str) -> bool:
        record = self.record
        return (
            bool(without_credentials(toml) == record["block"])
            and record["fingerprint"] is not None
            and record["pending"] is None
        )

    def _sync(self, request: dict[str, Any], on_event: _Listener, begun: int) -> dict[str, Any]:
        """Have a host sync; the caller has the turn.

        :raises Failed: with the host's error; the next cell asks the same again
        """
        if not request.get("exact"):
            self._failed = request
        try:
            answer = self._ask(request, on_event, begun)
        except KeyboardInterrupt:
            self.cancel()
            raise interrupted() from None
        except hosts.HostGone as gone:
            answer = self._without_host(request, str(gone))
        before = self._changed_elsewhere
        self.look_at_record()
        self._changed_elsewhere, self._must_look = before, False
        self.packages.refresh()
        if answer["event"] == "error":
            self._failure = Failed(answer["error"]["name"], answer["error"])
            raise self._failure
        self._failed = None
        self._first = False
        self._must_restart = answer.get("replace")
        return answer

    def _ask(self, request: dict[str, Any], on_event: _Listener, begun: int) -> dict[str, Any]:
        asker = {
            "uuid": self.lock.uuid if self.lock else "",
            "fresh": self.fresh,
            "python": self._runs_on[0],
            "kernel": self._runs_on[1],
            "loaded": self.packages.loaded(),
        }
        about = {"environment": self.environment, "folder": _folder(), "asker": asker}
        try:
            answer = hosts.ask(
                self.record,
                {**request, **about},
                initial=self.initial,
                home=self.home,
                on_event=on_event,
                cancelled=lambda: self._interrupts != begun,
                spare=self.spare,
            )
        except hosts.HostEnded as ended:
            raise host_ended(str(ended)) from None
        has_changed = answer["event"] == "done" and request["op"] in ("sync", "declare")
        if has_changed and not answer.get("replace"):
            # Who has changed something often changes more.
            self.spare.start_soon(self.record)
        return answer

    def _take_turn(self, begun: int, on_event: _Listener) -> None:
        """Wait for the sync that another thread runs.

        :param begun: the number of interrupts before
        :raises Failed: if it is interrupted; an interrupt of this wait ends it too
        """
        if self._turn.acquire(blocking=False):
            return
        try:
            while not self._turn.acquire(timeout=0.1):
                on_event({"event": "waiting", "for": "another cell of this notebook"})
        except KeyboardInterrupt:
            self.cancel()
            raise interrupted() from None
        if self._interrupts != begun:
            self._turn.release()
            raise interrupted()

    def look_at_record(self) -> None:
        """Read the record again if it has changed, and see what another process installed."""
        found = check.file_stat(self._record_path)
        if found is None or found == self._record_stat:
            return
        try:
            with open(self._record_path, encoding="utf-8") as file:
                record = json.load(file)
        except (OSError, ValueError):
            return
        self._record_stat = found
        decides = ("fingerprint", "packages", "kernel", "python")
        if any(record[key] != self.record[key] for key in decides):
            self._changed_elsewhere = self._must_look = True
            self.packages.refresh()
        self.record = record

    def _count_cells(self, change: int) -> None:
        with self._counting:
            self._running_cells += change
            if self.lock is not None:
                self.lock.tell(
                    self.packages.imported(),
                    busy=self._running_cells > 0,
                    undeclared=self.packages.undeclared,
                )

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
        if self._changed_elsewhere:
            notes.append("Another process has changed this environment since this kernel started.")
        if self._must_restart is not None:
            notes.append(f"A restart is needed: {self._must_restart}.")
        return notes

    @property
    def hindrance(self) -> tuple[Failed | None, str | None]:
        """What stands in the way of the next cell: a failure, or why a restart is needed."""
        failure = self._failure if self._failed is not None else None
        return self._unreadable or failure, self._must_restart

    @property
    def standing(self) -> tuple[str, str]:
        """How the environment stands to what is declared, in a word and a sentence."""
        if self.record["pending"] is not None:
            return "pending", "A change waits for the kernel's next start."
        if self.record["fingerprint"] is None or (
            self._first and check.may_have_changed(self.record, os.environ)
        ):
            return "stale", "What is declared is installed when a cell is run."
        return "in-sync", "The environment holds what is declared."

    def is_file_behind(self) -> bool:
        """Whether the source's file declares something else than what was executed last."""
        if self.block_cell is None or self._source is None:
            return False
        try:
            executed = block_of_cell(self.block_cell)
            found = check.block_of_source(self._source)
        except (OSError, ValueError, KeyError, TypeError):
            return False
        return executed is not None and executed.toml != found

    def _without_host(self, request: dict[str, Any], words: str) -> dict[str, Any]:
        """Go on with an environment that is in sync; refuse otherwise."""
        if request["op"] == "sync" and self._seems_in_sync(request):
            note = "ipy-scriptenv is not installed any more; the environment stays as it is."
            return {"event": "done", "note": note}
        raise without_host(words)

    def _seems_in_sync(self, request: dict[str, Any]) -> bool:
        """Say, as far as can be seen without a host, whether nothing has to be installed."""
        self._must_look = False
        record = self.record
        if record["fingerprint"] is None or record["pending"] is not None or self._is_unsettled():
            return False
        if request["given"]:
            return bool(without_credentials(request["block"] or "") == (record["block"] or ""))
        path = record["source"].get("path")
        if path is None or not check.source_changed(record):
            return True
        try:
            found = check.block_of_source(path)
            return bool(without_credentials(found or "") == (record["block"] or ""))
        except (OSError, ValueError, KeyError, TypeError):
            return False


def _folder() -> str:
    try:
        return os.getcwd()
    except OSError:
        return os.path.expanduser("~")
