"""What is launched where no kernel can run, so that the reason is seen.

The explaining kernel runs on this interpreter and its installed ipykernel; nothing is built for it.
It runs no code of the user: each execution tries again what can be tried by then, and gives the
error and the hint.
"""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ipy_scriptenv import settings
from ipy_scriptenv.errors import EngineFailed, NoSpace, PermissionRefused, ScriptEnvError
from ipy_scriptenv.record import Source

__all__ = ["command", "from_os_error", "told"]

_VARIABLE = "SCRIPTENV_EXPLAIN"
_ROOM = 100_000
"""Bytes of all that is handed over: Linux gives a variable 128 KiB, and starts nothing beyond."""


def command(
    error: Exception, *, source: Source, retry: bool = True
) -> tuple[tuple[str, ...], Mapping[str, str]]:
    """Give the argv, without the connection file's arguments, and the variables to add.

    :param retry: whether trying the start again can cure it
    """
    reason = _reason(error)
    data: dict[str, Any] = {
        "source": asdict(source),
        "retry": retry,
        "error": {**reason.to_json(), "name": type(reason).__name__},
    }
    argv = (sys.executable, "-P", "-m", "ipy_scriptenv.explain")
    return argv, {_VARIABLE: _fitting(data)}


def _reason(error: Exception) -> ScriptEnvError:
    if isinstance(error, ScriptEnvError):
        return error
    if isinstance(error, OSError):
        return from_os_error(error)
    return EngineFailed(f"Something unforeseen: {error!r}.")


def _fitting(data: dict[str, Any]) -> str:
    """Give *data* as JSON; what a notebook has made too long in its error is cut short."""
    text, longest = json.dumps(data), _ROOM
    while len(text) > _ROOM and longest:
        longest //= 2
        text = json.dumps({**data, "error": _cut(data["error"], longest)})
    return text


def _cut(value: Any, longest: int) -> Any:
    """Cut every text, and every list, to so many characters or items."""
    if isinstance(value, dict):
        return {key: _cut(each, longest) for key, each in value.items()}
    if isinstance(value, list):
        return [_cut(each, longest) for each in value[:longest]]
    return f"{value[:longest]} …" if isinstance(value, str) and len(value) > longest else value


def told() -> dict[str, Any]:
    """Give what the launching process said: ``source`` and ``error``."""
    data: dict[str, Any] = json.loads(settings.variable(_VARIABLE) or "{}")
    return data


def from_os_error(error: OSError) -> ScriptEnvError:
    """Make an error of ours of one of the operating system's."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpace(f"The disk is full: {error}.")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return PermissionRefused(f"The operating system refused access: {error}.")
    return EngineFailed(f"The operating system refused: {error}.")
