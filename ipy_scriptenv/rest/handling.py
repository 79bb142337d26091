"""What all handlers have in common: who may ask, how errors are told, where work is done."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable
from http import HTTPStatus
from typing import Any

from jupyter_server.base.handlers import APIHandler

from ipy_scriptenv.errors import ScriptEnvError, WrongCall
from ipy_scriptenv.rest.tasks import Busy
from ipy_scriptenv.rest.telling import error_answer, status_of

__all__ = ["RESOURCE", "Handler", "in_thread"]

RESOURCE = "scriptenv"
"""What an authorizer of the server's is asked about."""


class Handler(APIHandler):
    """A handler below ``/scriptenv/``; each of its methods is authenticated and authorized."""

    auth_resource = RESOURCE

    async def answer(
        self, work: Awaitable[dict[str, Any]], status: HTTPStatus = HTTPStatus.OK
    ) -> None:
        """Answer with what *work* gives, or with its error."""
        try:
            found = await work
        except ScriptEnvError as error:
            busy = HTTPStatus.SERVICE_UNAVAILABLE
            self.set_status(busy if isinstance(error, Busy) else status_of(error))
            found = error_answer(error)
        else:
            self.set_status(status)
        self.finish(json.dumps(found))

    def body(self) -> Any:
        """Give the JSON of the request.

        :raises WrongCall: if it is none
        """
        try:
            # Jupyter's own reading of it writes what is wrong into the log, at length.
            return json.loads(self.request.body or b"null")
        except (ValueError, RecursionError):
            msg = "The request's body is no JSON."
            raise WrongCall(msg) from None


async def in_thread(name: str, *arguments: Any, **options: Any) -> Any:
    """Call a function of :mod:`~.answers` in a thread, where it is loaded too.

    :raises ScriptEnvError: as it does, also for an error of the operating system
    """

    def call() -> Any:
        from ipy_scriptenv import explaining
        from ipy_scriptenv.rest import answers

        try:
            return getattr(answers, name)(*arguments, **options)
        except OSError as error:
            raise explaining.from_os_error(error) from error

    return await asyncio.to_thread(call)
