"""Long work for a front end: a thread for each, and events that any number of listeners follow.

Everything but the work itself lives on the server's event loop, so nothing here needs a lock. Each
task has a thread of its own: those that the event loop lends are few, and kernels are started in
them.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import secrets
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from ipy_scriptenv.errors import (
    EngineFailed,
    EnvironmentInUse,
    Interrupted,
    Problem,
    ScriptEnvError,
)
from ipy_scriptenv.processes import Cancel
from ipy_scriptenv.rest.telling import error_event, told

__all__ = ["Busy", "Event", "Task", "Tasks", "Work"]

Event = Mapping[str, Any]
Work = Callable[[Callable[[Event], None], Cancel], dict[str, Any]]
"""What a task does: it gets whom to tell its steps, and its switch; it gives the verb's result."""

_BACKLOG = 1000
"""Events that are kept of a task: who comes late misses the first of very many."""

_MOST_AT_WORK = 8
_MOST_KNOWN = 200
_REMEMBERED = 600.0
"""Seconds that an ended task is known: a page may be loaded anew, and ask what became of it."""

_FAREWELL = 15.0
"""Seconds that the end of the server waits for the tasks that it has cancelled, together."""


class Busy(EngineFailed):
    """The server is at work on as much as it takes on at once."""


class Task:
    """One piece of work, its events, and its end; for the event loop alone, but :meth:`call`.

    :param path: what was asked for, as the client named it
    :param place: what it works on: another task there would disturb it
    """

    def __init__(self, *, verb: str, path: str | None, place: str) -> None:
        self.id = secrets.token_hex(16)
        self.verb, self.path, self.place = verb, path, place
        self.cancel = Cancel()
        self.has_ended = False
        self._events: deque[Event] = deque(maxlen=_BACKLOG)
        self._begin = 0
        self._news = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def call(self, callback: Callable[..., None], *arguments: Any) -> None:
        """Have something called on the event loop, from any thread."""
        # It is closed where the server has ended meanwhile.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback, *arguments)

    def take(self, event: Event) -> None:
        """Keep an event, and wake who waits for one."""
        if len(self._events) == _BACKLOG:
            self._begin += 1
        self._events.append(event)
        self._news.set()
        self._news = asyncio.Event()

    async def events(self) -> AsyncIterator[Event]:
        """Give the events so far, then each as it comes, until the last.

        A listener that is slower than the work misses some; the last one is never missed.
        """
        number = 0
        while True:
            number = max(number, self._begin)
            if number < self._begin + len(self._events):
                yield self._events[number - self._begin]
                number += 1
            elif self.has_ended:
                return
            else:
                await self._news.wait()


class Tasks:
    """The tasks of one server: one at a time for a place, and a few at a time in all.

    :param on_begin: is told of each
    """

    def __init__(self, *, log: Any, on_begin: Callable[[Task], None]) -> None:
        self._log, self._on_begin = log, on_begin
        self._tasks: dict[str, Task] = {}
        self._threads: dict[str, threading.Thread] = {}
        # Jupyter's server tells of its end to extensions that are apps, and to no other.
        atexit.register(self.close)

    def begin(self, verb: str, work: Work, *, place: str, path: str | None) -> Task:
        """Begin some work in a thread.

        :param place: what it works on
        :param path: the same as the client named it
        :raises EnvironmentInUse: if another task works there; its id is the error's problem
        :raises Busy: if there are too many
        """
        other = self.at(place)
        if other is not None:
            msg = f"Another operation ({other.verb}) is at work there."
            hint = "Wait for its end, or cancel it."
            raise EnvironmentInUse(msg, hint=hint, problems=(Problem(message=other.id),))
        if len(self._threads) >= _MOST_AT_WORK:
            msg = f"This server is at work on {_MOST_AT_WORK} operations already."
            raise Busy(msg, hint="Wait for the end of one of them, or cancel it.")
        task = Task(verb=verb, path=path, place=place)
        thread = threading.Thread(
            target=self._run, args=(task, work), name=f"scriptenv-{verb}", daemon=True
        )
        thread.start()  # or it raises; its end is told on this loop, so after what follows
        self._tasks[task.id], self._threads[task.id] = task, thread
        self._on_begin(task)
        return task

    def get(self, task_id: str) -> Task | None:
        """Give a task that is at work or has ended lately."""
        return self._tasks.get(task_id)

    def at(self, place: str) -> Task | None:
        """Give the task that is at work on a place."""
        found = (self._tasks[task_id] for task_id in self._threads)
        return next((task for task in found if task.place == place), None)

    def close(self) -> None:
        """Cancel what is at work, and let it clean up behind it; called when the process ends."""
        atexit.unregister(self.close)
        threads = list(self._threads.items())
        for task_id, _ in threads:
            self._tasks[task_id].cancel.set()
        end = time.monotonic() + _FAREWELL
        for _, thread in threads:
            thread.join(max(0.0, end - time.monotonic()))

    def _run(self, task: Task, work: Work) -> None:
        """Do the work; the task's thread calls this."""

        def tell(event: Event) -> None:
            # A verb's `done` is about its own steps; the task's ends it.
            if event.get("event") != "done":
                task.call(task.take, told(dict(event)))

        last: Event
        try:
            last = {"event": "done", "result": work(tell, task.cancel)}
        except ScriptEnvError as error:
            interrupted = Interrupted("The operation was cancelled.")
            last = error_event(interrupted if task.cancel.is_set else error)
        except Exception as error:  # noqa: BLE001 - whoever listens must hear of it
            self._log.exception("scriptenv: `%s` failed in an unforeseen way", task.verb)
            last = error_event(EngineFailed(f"Something unforeseen went wrong: {error!r}."))
        task.call(self._end, task, last)

    def _end(self, task: Task, last: Event) -> None:
        del self._threads[task.id]
        task.has_ended = True
        task.take(last)
        loop = asyncio.get_running_loop()
        loop.call_later(_REMEMBERED, self._tasks.pop, task.id, None)
        ended = [task_id for task_id in self._tasks if task_id not in self._threads]
        for task_id in ended[:-_MOST_KNOWN]:
            del self._tasks[task_id]
