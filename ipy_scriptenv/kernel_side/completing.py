"""Complete the environment when a user runs code: when to ask a host, and what it answered."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from typing import Any, Callable

from . import check, hosts
from .block import BlockError, block_of_cell, is_only_our_magics
from .imports import Packages
from .live import LiveLock

__all__ = ["Completion", "Failed", "interrupted", "unforeseen"]

_UNCLOSED_HINT = (
    "Close the block with a line `# ///`; every line inside is `#` or begins with `# `."
)
_GONE_HINT = "Install it again: `pip install ipy-scriptenv`, in the Python that runs Jupyter."


class Failed(Exception):
    """The environment could not be completed; the cell must not run.

    :param name: class of the host's error, shown as the cell's ``ename``
    :param error: the ``error`` object of the contract: code, message, hint, problems
    """

    def __init__(self, name: str, error: dict[str, Any]) -> None:
        super().__init__(name, error)
        self.name = name
        self.error = error

    def __str__(self) -> str:
        return str(self.error["message"])

    def lines(self) -> list[str]:
        """What a person reads: what happened, the tool's own words, what to do."""
        lines = [f"{self.name}: {self.error['message']}"]
        for problem in self.error.get("problems", ()):
            place = ", ".join(
                str(part)
                for part in (
                    problem.get("cell") and f"cell {problem['cell']}",
                    problem.get("line") and f"line {problem['line']}",
                    problem.get("key"),
                )
                if part
            )
            lines += ["", f"{place}: {problem['message']}" if place else problem["message"]]
        if self.error.get("hint"):
            lines += ["", self.error["hint"]]
        return "\n".join(lines).split("\n")


def _unreadable(error: BlockError) -> Failed:
    """Make the failure of a cell whose block cannot be read."""
    unclosed = error.code == "unclosed"
    problems = [
        {"cell": None, "line": line, "key": None, "message": "a block begins here"}
        for line in error.lines
    ]
    return Failed(
        "Unclosed" if unclosed else "Duplicate",
        {
            "code": error.code,
            "message": str(error),
            "hint": _UNCLOSED_HINT if unclosed else "Keep one block.",
            "problems": problems,
        },
    )


def interrupted() -> Failed:
    """Make the failure of a sync that a person interrupted."""
    message = "Completing the environment was interrupted."
    hint = "Run the cell again to go on."
    return Failed(
        "Interrupted", {"code": "interrupted", "message": message, "hint": hint, "problems": []}
    )


def unforeseen(error: Exception) -> Failed:
    """Make a failure of an exception that should not have come."""
    message = f"Something unforeseen went wrong in the kernel: {error!r}."
    return Failed(
        "EngineFailed", {"code": "engine", "message": message, "hint": "", "problems": []}
    )


def _folder() -> str:
    try:
        return os.getcwd()
    except OSError:
        return os.path.expanduser("~")


class Completion:
    """Knows what this kernel's environment holds, and has a host complete it.

    One sync runs at a time in the process; others wait for it, and an interrupt ends it for all.
    """

    def __init__(
        self,
        *,
        environment: str,
        home: str,
        record: dict[str, Any],
        packages: Packages,
        lock: LiveLock | None,
        initial: Mapping[str, str],
    ) -> None:
        self.environment = environment
        self.home = home
        self.record = record
        self.packages = packages
        self.lock = lock
        self.initial = initial
        self.fresh = True
        self.running_on = (record["python"]["base"], record["kernel"])
        self.always = os.environ.get("SCRIPTENV_SYNC") == "always"
        self._first = True
        self._changed_elsewhere = False
        # What went wrong last; cells without a block fail the same way until it is mended.
        self._failed: dict[str, Any] | None = None
        self._unreadable: Failed | None = None
        self._record_stat = check.file_stat(self._record_path)
        self._mutex = threading.Lock()
        self._interrupts = 0

    @property
    def _record_path(self) -> str:
        return os.path.join(self.environment, "scriptenv.json")

    def cancel(self) -> None:
        """End the sync that runs now, if one does, for all who wait for it."""
        self._interrupts += 1

    def request_for(self, code: str) -> dict[str, Any] | None:
        """Give what must be asked of a host before *code* runs; None if it can run at once.

        :raises Failed: if the cell's block cannot be read
        """
        if is_only_our_magics(code):
            return None
        self.look_at_record()
        try:
            block = block_of_cell(code)
        except BlockError as error:
            self._unreadable = _unreadable(error)
            raise self._unreadable from None
        if block is not None:
            self._unreadable = None
            same = block.toml == self.record["block"] and self.record["fingerprint"] is not None
            changed = check.surroundings_changed(self.record, os.environ)
            if not same or changed or self._failed or self.record["pending"] is not None:
                return {"op": "sync", "given": True, "block": block.toml, "line": block.line}
            self._first = False
            return None
        if self._unreadable is not None:
            raise self._unreadable
        if self._failed is not None:
            return self._failed
        if self._first and check.may_have_changed(self.record, os.environ):
            return {"op": "sync", "given": False, "block": None}
        self._first = False
        return None

    def carry_out(
        self, request: dict[str, Any], on_event: Callable[[dict[str, Any]], None]
    ) -> dict[str, Any]:
        """Have a host carry out a request; give its last event.

        Blocks the calling thread, so that an interrupt raises KeyboardInterrupt here.

        :raises Failed: with the host's error
        """
        begun = self._interrupts
        waited = self._take_turn(begun)
        try:
            if waited and request["op"] == "sync" and self._done_meanwhile(request):
                return {"event": "done"}
            self.look_at_record()
            answer = hosts.ask(
                self.record,
                {**request, **self._about_me()},
                initial=self.initial,
                home=self.home,
                on_event=on_event,
                cancelled=lambda: self._interrupts != begun,
            )
        except KeyboardInterrupt:
            self.cancel()
            self._remember(request)
            raise interrupted() from None
        except hosts.HostGone as gone:
            return self._without_host(request, str(gone))
        finally:
            self._mutex.release()
        self._look_at_own_change()
        if answer["event"] == "error":
            self._remember(request)
            raise Failed(answer["error"]["name"], answer["error"])
        if request["op"] == "sync":
            self._failed = None
            self._first = False
            self.packages.refresh()
        return answer

    def _remember(self, request: dict[str, Any]) -> None:
        """Note a cell's failed request: the next cell asks the same again."""
        if request["op"] == "sync" and not request.get("exact"):
            self._failed = request

    def _take_turn(self, begun: int) -> bool:
        """Wait for the sync that another thread runs; say whether there was one.

        :param begun: the number of interrupts before
        :raises Failed: if it is interrupted; an interrupt of this wait ends it too
        """
        if self._mutex.acquire(blocking=False):
            return False
        try:
            while not self._mutex.acquire(timeout=0.1):
                pass
        except KeyboardInterrupt:
            self.cancel()
            raise interrupted() from None
        if self._interrupts != begun:
            self._mutex.release()
            raise interrupted()
        return True

    def _done_meanwhile(self, request: dict[str, Any]) -> bool:
        """Whether the sync that was waited for has done what is asked."""
        self.look_at_record()
        return self._failed is None and self._seems_in_sync(request)

    def look_at_record(self) -> None:
        """Read the record again if it has changed, and see what another process installed."""
        found = check.file_stat(self._record_path)
        if found is None or found == self._record_stat:
            return
        try:
            with open(self._record_path, encoding="utf-8") as file:
                self.record = json.load(file)
        except (OSError, ValueError):
            return
        self._record_stat = found
        self._changed_elsewhere = True
        self.packages.refresh()

    def _look_at_own_change(self) -> None:
        """Read the record that a host has written for this kernel."""
        before = self._changed_elsewhere
        self.look_at_record()
        self._changed_elsewhere = before

    def user_ran(self) -> None:
        """Note that a cell of the user ran: from now on nothing may be replaced silently."""
        self.fresh = False
        if self.lock is not None and self.packages.imports_changed():
            self.lock.tell(self.packages.loaded()["environment"])

    def notes(self) -> list[str]:
        """What `status` adds about this very kernel, a sentence each."""
        notes = []
        path = self.record["source"].get("path")
        if path is not None and check.file_stat(path) is None:
            notes.append(
                f"`{path}` is not at its place any more; this kernel keeps its environment until "
                "it is restarted."
            )
        elif not self._first and check.source_changed(self.record):
            notes.append("The file has changed since; run the block's cell to take it over.")
        if self._changed_elsewhere:
            notes.append("Another process has changed this environment since this kernel started.")
        return notes

    def _about_me(self) -> dict[str, Any]:
        return {
            "environment": self.environment,
            "folder": _folder(),
            "asker": {
                "uuid": self.lock.uuid if self.lock else "",
                "fresh": self.fresh,
                "python": self.running_on[0],
                "kernel": self.running_on[1],
                "loaded": self.packages.loaded(),
            },
        }

    def _without_host(self, request: dict[str, Any], words: str) -> dict[str, Any]:
        """Go on with an environment that is in sync; refuse otherwise."""
        if request["op"] == "sync" and self._seems_in_sync(request):
            self._first = False
            self._failed = None
            return {
                "event": "done",
                "note": "ipy-scriptenv is not installed any more; the environment stays as it is.",
            }
        message = "No host answers: ipy-scriptenv is not installed any more where it was."
        problems = [{"cell": None, "line": None, "key": None, "message": words}] if words else []
        error = {"code": "engine", "message": message, "hint": _GONE_HINT, "problems": problems}
        raise Failed("EngineFailed", error)

    def _seems_in_sync(self, request: dict[str, Any]) -> bool:
        """Say, as far as can be seen without a host, whether nothing has to be installed."""
        record = self.record
        if record["fingerprint"] is None or record["pending"] is not None:
            return False
        if request["given"]:
            return bool(request["block"] == record["block"])
        path = record["source"].get("path")
        if path is None or not check.source_changed(record):
            return True
        try:
            return bool(check.block_of_source(path) == record["block"])
        except (OSError, ValueError, KeyError, TypeError):
            return False
