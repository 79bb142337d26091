"""The addresses below ``/scriptenv/``, and what is answered at once.

Every one is authenticated and authorized as Jupyter's own are, with its check of cross-site
requests. All work is done in threads.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.utils import url_path_join
from tornado.web import authenticated

from ipy_scriptenv.rest import asking
from ipy_scriptenv.rest.handling import Handler, in_thread
from ipy_scriptenv.rest.paths import ContentsPaths, path_on_disk
from ipy_scriptenv.rest.task_handlers import EventsHandler, TaskHandler, TasksHandler
from ipy_scriptenv.rest.tasks import Tasks

__all__ = ["handlers"]

_TASK = r"(?P<task_id>[0-9a-f]{32})"

_NAMES_KEPT = 60.0
"""Seconds that the names that this machine knows are kept: one is asked for at each key."""

Rule = tuple[str, type[JupyterHandler], dict[str, Any]]


def handlers(base_url: str, tasks: Tasks) -> list[Rule]:
    """Give the rules for a server's application.

    :param base_url: where the server's addresses begin
    """
    rules: list[Rule] = [
        ("environment", _Environment, {"tasks": tasks}),
        ("environments", _Environments, {}),
        ("pythons", _Pythons, {}),
        ("names", _Names, {"known": _KnownNames()}),
        ("check", _Check, {}),
        ("tasks", TasksHandler, {"tasks": tasks}),
        (f"tasks/{_TASK}", TaskHandler, {"tasks": tasks}),
        (f"tasks/{_TASK}/events", EventsHandler, {"tasks": tasks}),
    ]
    return [(url_path_join(base_url, "scriptenv", end), kind, more) for end, kind, more in rules]


class _Environment(Handler):
    """A document's environment, as its file or its editor has the block."""

    def initialize(self, tasks: Tasks) -> None:
        """Take the tasks of the server; tornado calls this."""
        self._tasks = tasks

    @authenticated
    @authorized
    async def get(self) -> None:
        """Answer for the block that the file has."""
        given = asking.Given(path=self.get_query_argument("path", ""))
        await self.answer(self._look(lambda: given))

    @authenticated
    @authorized
    async def post(self) -> None:
        """Answer for the block of a document that is open and not saved yet."""
        await self.answer(self._look(lambda: asking.read_given(self.body())))

    async def _look(self, read: Callable[[], asking.Given]) -> dict[str, Any]:
        asked = read()
        path = await path_on_disk(self.contents_manager, asked.path)
        found = await in_thread(
            "environment", path, block=asked.block, given=asked.given, lock=asked.lock
        )
        task = self._tasks.at(found["source"])
        return {**found, "task": None if task is None else task.id}


class _Environments(Handler):
    """All environments."""

    @authenticated
    @authorized
    async def get(self) -> None:
        """Answer with the listing."""
        sizes = self.get_query_argument("size", "0") not in ("", "0", "false")
        paths = ContentsPaths(self.contents_manager)
        await self.answer(in_thread("listing", paths, sizes=sizes))


class _Pythons(Handler):
    """The interpreters on this machine."""

    @authenticated
    @authorized
    async def get(self) -> None:
        """Answer with one for each minor version."""
        await self.answer(in_thread("pythons"))


class _KnownNames:
    """The names that this machine knows, read again after a while."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._read = float("-inf")
        self._names: list[str] = []

    async def get(self) -> list[str]:
        """Give them all; of many that ask at once, one reads, and the others wait for it."""
        async with self._turn:
            if time.monotonic() - self._read > _NAMES_KEPT:
                self._names = await in_thread("known_names")
                self._read = time.monotonic()
        return self._names


class _Names(Handler):
    """Names of distributions, for a completion."""

    def initialize(self, known: _KnownNames) -> None:
        """Take what the server knows; tornado calls this."""
        self._known = known

    @authenticated
    @authorized
    async def get(self) -> None:
        """Answer with those that fit what is typed."""
        await self.answer(self._matching(self.get_query_argument("prefix", "")))

    async def _matching(self, prefix: str) -> dict[str, Any]:
        return dict(await in_thread("names", await self._known.get(), prefix))


class _Check(Handler):
    """A requirement, as it is typed."""

    @authenticated
    @authorized
    async def post(self) -> None:
        """Answer whether it can be read."""
        await self.answer(self._check())

    async def _check(self) -> dict[str, Any]:
        return dict(await in_thread("check", asking.read_requirement(self.body())))
