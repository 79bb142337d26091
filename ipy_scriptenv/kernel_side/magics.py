"""`%scriptenv` and `%pip` inside a kernel of ours; nothing needs to be installed there."""

from __future__ import annotations

import os
import shlex
import sys
from typing import Any

from .completing import Completion
from .failing import Failed

__all__ = ["register_magics"]


def register_magics(shell: Any, completion: Completion) -> None:
    """Give the shell its magics; ``%load_ext ipy_scriptenv`` succeeds without the package."""
    side = os.path.dirname(os.path.abspath(__file__))

    def scriptenv(line: str) -> None:
        """%scriptenv [VERB] [SOURCE] [OPTIONS]: this notebook's environment."""
        _scriptenv(completion, line)

    def pip(line: str) -> None:
        """%pip install X: into this notebook's environment."""
        shell.system(
            f"{_quoted(sys.executable)} -I {_quoted(os.path.join(side, 'tools.py'))} pip {line}"
        )
        completion.look_at_record()
        completion.packages.refresh()

    def uv(line: str) -> None:
        """%uv pip install X: into this notebook's environment."""
        shell.system(
            f"{_quoted(sys.executable)} -I {_quoted(os.path.join(side, 'tools.py'))} uv {line}"
        )
        completion.look_at_record()
        completion.packages.refresh()

    for function in (scriptenv, pip, uv):
        shell.register_magic_function(function, "line")
    _accept_extension(shell.extension_manager)


def _accept_extension(manager: Any) -> None:
    """Let ``%load_ext ipy_scriptenv`` succeed, silently: all that it brings is here already."""
    load = manager.load_extension

    def load_extension(name: str) -> Any:
        return None if name == "ipy_scriptenv" else load(name)

    manager.load_extension = load_extension


def _scriptenv(completion: Completion, line: str) -> None:
    try:
        words = shlex.split(line)
    except ValueError as error:
        words = []
        print(f"%scriptenv: {error}", file=sys.stderr)
        return
    verb = words[0] if words else "status"
    mine = len(words) <= 1
    try:
        if verb == "sync" and mine:
            answer = completion.sync(_tell)
        else:
            answer = completion.verb(words or ["status"], _tell)
    except Failed as failed:
        print("\n".join(failed.lines()), file=sys.stderr)
        return
    if answer.get("text"):
        print(answer["text"], end="")
    if answer.get("replace"):
        print(f"Restart the kernel: {answer['replace']}.", file=sys.stderr)
    if verb == "status" and mine:
        for note in completion.notes():
            print(note)


def _tell(event: dict[str, Any]) -> None:
    if event.get("text"):
        print(event["text"])


def _quoted(path: str) -> str:
    return f'"{path}"' if os.name == "nt" else shlex.quote(path)
