"""Tasks over REST: begin one, follow its events, cancel it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from jupyter_server.auth.decorator import authorized, ws_authenticated
from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.base.websocket import WebSocketMixin
from tornado.web import HTTPError, authenticated
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from ipy_scriptenv.errors import NotFound
from ipy_scriptenv.processes import Cancel
from ipy_scriptenv.rest import asking
from ipy_scriptenv.rest.asking import Asked, TaskVerb
from ipy_scriptenv.rest.handling import RESOURCE, Handler, in_thread
from ipy_scriptenv.rest.paths import path_on_disk
from ipy_scriptenv.rest.tasks import Event, Task, Tasks

__all__ = ["EventsHandler", "TaskHandler", "TasksHandler"]


class TasksHandler(Handler):
    """Long work."""

    def initialize(self, tasks: Tasks) -> None:
        """Take the tasks of the server; tornado calls this."""
        self._tasks = tasks

    @authenticated
    @authorized
    async def post(self) -> None:
        """Begin a task, and answer at once."""
        await self.answer(self._begin(), HTTPStatus.CREATED)

    async def _begin(self) -> dict[str, Any]:
        asked = asking.read_asked(self.body())
        manager = self.contents_manager
        path = None if asked.path is None else await path_on_disk(manager, asked.path)
        new = None if asked.new is None else await path_on_disk(manager, asked.new)
        place = await _place(asked, path)

        def work(tell: Callable[[Event], None], cancel: Cancel) -> dict[str, Any]:
            from ipy_scriptenv.environments import Context
            from ipy_scriptenv.rest import verbs

            context = Context(on_event=tell, cancel=cancel)
            return verbs.carry_out(asked, path=path, new=new, context=context)

        task = self._tasks.begin(asked.verb.value, work, place=place, path=asked.path)
        return {"id": task.id, "verb": task.verb, "path": task.path}


class TaskHandler(Handler):
    """One task."""

    def initialize(self, tasks: Tasks) -> None:
        """Take the tasks of the server; tornado calls this."""
        self._tasks = tasks

    @authenticated
    @authorized
    async def delete(self, task_id: str) -> None:
        """Cancel it: uv is ended; the task's own end comes as its last event."""
        task = self._tasks.get(task_id)
        if task is None:
            await self.answer(_unknown_task())
            return
        task.cancel.set()
        self.set_status(HTTPStatus.NO_CONTENT)
        self.finish()


class EventsHandler(WebSocketMixin, WebSocketHandler, JupyterHandler):
    """The events of a task, one JSON object a message."""

    auth_resource = RESOURCE

    def initialize(self, tasks: Tasks) -> None:
        """Take the tasks of the server; tornado calls this."""
        self._tasks = tasks
        self._telling: asyncio.Task[None] | None = None

    def set_default_headers(self) -> None:
        """Set none: those of pages mean nothing for a websocket."""

    @ws_authenticated
    @authorized
    async def get(self, task_id: str) -> None:
        """Open the websocket, if there is such a task."""
        if self._tasks.get(task_id) is None:
            raise HTTPError(HTTPStatus.NOT_FOUND, "There is no such task.")
        await super().get(task_id=task_id)

    def open(self, task_id: str) -> None:
        """Begin to tell; tornado calls this when the connection stands."""
        super().open()
        task = self._tasks.get(task_id)
        if task is None:
            self.close()
            return
        self._telling = asyncio.create_task(self._tell(task))

    async def _tell(self, task: Task) -> None:
        with contextlib.suppress(WebSocketClosedError):
            async for event in task.events():
                await self.write_message(json.dumps(event))
        self.close()

    def on_message(self, message: str | bytes) -> None:
        """Take no notice of what a client says."""

    def on_close(self) -> None:
        """End the telling; the task goes on."""
        if self._telling is not None:
            self._telling.cancel()


async def _place(asked: Asked, path: str | None) -> str:
    """Give what a task works on, for which there can be one task at a time.

    :raises ScriptEnvError: if no environment of ours is named
    """
    if asked.verb is TaskVerb.PRUNE:
        return "(prune)"
    if path is not None:
        return str(await in_thread("place_of", path))
    return str(await in_thread("place_of_listed", asked))


async def _unknown_task() -> dict[str, Any]:
    msg = "There is no such task."
    raise NotFound(msg, hint="It has ended some time ago, or the server was started anew.")
