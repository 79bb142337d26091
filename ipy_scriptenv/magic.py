"""``%scriptenv`` in the host's own IPython, after ``%load_ext ipy_scriptenv``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ipy_scriptenv import settings

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["register"]


def register(shell: InteractiveShell) -> None:
    """Give the shell its magic; called by ``%load_ext ipy_scriptenv``."""

    def scriptenv(line: str) -> None:
        """%scriptenv [VERB] [SOURCE] [OPTIONS]: the environment of a notebook or script."""
        _run(shell, line)

    # IPython's method is typed as the function that it wraps, without `self`.
    shell.register_magic_function(scriptenv, "line")  # type: ignore[arg-type]


def _run(shell: InteractiveShell, line: str) -> None:
    from ipy_scriptenv import environments, magic_line, present
    from ipy_scriptenv.errors import ScriptEnvError

    try:
        words = shlex.split(line)
    except ValueError as error:
        sys.stderr.write(f"%scriptenv: {error}\n")
        return

    def tell(event: Any) -> None:
        if event.get("text"):
            sys.stderr.write(f"{event['text']}\n")

    try:
        text = magic_line.answer(
            words,
            default=_own_source(shell),
            folder=Path.cwd(),
            context=environments.Context(on_event=tell),
            capture=False,
        )
    except ScriptEnvError as error:
        sys.stderr.write(present.error_text(error))
        return
    sys.stdout.write(text)


def _own_source(shell: InteractiveShell) -> Any:
    """Find the notebook that this shell belongs to, where the front end told its path."""
    from ipy_scriptenv import environments

    told = (settings.variable("JPY_SESSION_NAME"), shell.user_ns.get("__vsc_ipynb_file__"))
    for path in told:
        if isinstance(path, str) and environments.can_be_source(path):
            return environments.locate(path)
    return None
