"""REST of the server extension, for a front end: ``/scriptenv/…`` (``docs/contract.md``, *REST*).

Nothing here knows what an environment is: handlers read what is asked for, the verbs of
:mod:`ipy_scriptenv.environments` do it in threads. What they need is loaded with the first request,
not with the server.
"""

from __future__ import annotations

from typing import Any

__all__ = ["register"]


def register(app: Any) -> None:
    """Add the handlers to a server.

    :param app: the server's ``ServerApp``
    """
    from ipy_scriptenv.rest.begun import telling_all
    from ipy_scriptenv.rest.handlers import handlers
    from ipy_scriptenv.rest.tasks import Tasks

    tasks = Tasks(log=app.log, on_begin=telling_all(app.event_logger))
    app.web_app.add_handlers(".*$", handlers(app.base_url, tasks))
