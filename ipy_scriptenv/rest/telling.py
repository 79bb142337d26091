"""How an answer is told: no credentials in it, and for each error its status of HTTP."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, TypeVar, cast

from ipy_scriptenv.errors import ScriptEnvError
from ipy_scriptenv.kernel_side.credentials import without_credentials

__all__ = ["error_answer", "error_event", "status_of", "told"]

_Json = TypeVar("_Json")

_STATUS = {
    "not-found": HTTPStatus.NOT_FOUND,
    "no-environment": HTTPStatus.NOT_FOUND,
    "no-lock": HTTPStatus.NOT_FOUND,
    "permission": HTTPStatus.FORBIDDEN,
    "environment-in-use": HTTPStatus.CONFLICT,
    "restart-needed": HTTPStatus.CONFLICT,
    "source-changed": HTTPStatus.CONFLICT,
    "stale-lock": HTTPStatus.CONFLICT,
    "foreign": HTTPStatus.CONFLICT,
    "newer-schema": HTTPStatus.CONFLICT,
    "lock-timeout": HTTPStatus.CONFLICT,
}
_WRONG_CALL = 2
"""Exit code of what is wrong with the call or the source."""


def told(value: _Json) -> _Json:
    """Give JSON with ``***`` for the credentials of every URL in it."""
    return cast("_Json", _told(value))


def _told(value: Any) -> Any:
    if isinstance(value, str):
        return without_credentials(value)
    if isinstance(value, dict):
        return {key: _told(item) for key, item in value.items()}
    return [_told(item) for item in value] if isinstance(value, list | tuple) else value


def status_of(error: ScriptEnvError) -> HTTPStatus:
    """Give the status that a request is answered with that ended in *error*."""
    is_call = error.exit_code == _WRONG_CALL
    other = HTTPStatus.BAD_REQUEST if is_call else HTTPStatus.INTERNAL_SERVER_ERROR
    return _STATUS.get(error.code, other)


def error_answer(error: ScriptEnvError) -> dict[str, Any]:
    """Give the JSON of an answer: ``message`` is where Jupyter's front ends look for it."""
    return told({"message": str(error), "error": error.to_json()})


def error_event(error: ScriptEnvError) -> dict[str, Any]:
    """Give the last event of a task that failed."""
    found = {"pending": False, **error.to_json(), "name": type(error).__name__}
    return {"event": "error", "error": told(found)}
