"""Tell all windows of a server that a task has begun, by the events that the server itself has.

A window hears of its own tasks by the answers to its requests; of others' it would hear only when
it asks next.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ipy_scriptenv.rest.tasks import Task

__all__ = ["SCHEMA", "telling_all"]

SCHEMA = "urn:ipy-scriptenv:task-begun:v1"
"""The id of these events' schema (``docs/contract.md``, *REST*)."""


def telling_all(logger: Any) -> Callable[[Task], None]:
    """Give what tells of a task; to be called on the event loop.

    :param logger: the server's ``EventLogger``
    """
    logger.register_event_schema(
        {
            "$id": SCHEMA,
            "version": "1",
            "title": "A task on the environment of a document has begun",
            "personal-data": True,
            "type": "object",
            "properties": {
                "task": {"title": "Id of the task", "type": "string"},
                "verb": {"title": "What it does", "type": "string"},
                "path": {"title": "Contents path of the document", "type": "string"},
            },
            "required": ["task", "verb", "path"],
        }
    )

    def tell(task: Task) -> None:
        # One of the listing's environments is no document that a window could show.
        if task.path is not None:
            data = {"task": task.id, "verb": task.verb, "path": task.path}
            logger.emit(schema_id=SCHEMA, data=data)

    return tell
