"""`%scriptenv` and `%pip` inside a kernel of ours; nothing needs to be installed there."""

from __future__ import annotations

import os
import shlex
import sys
from typing import Any

from . import cells, declaring, hosts
from .completing import Completion
from .failing import Failed, without_host
from .words import words_of

__all__ = ["register_magics"]


def register_magics(shell: Any, completion: Completion) -> None:
    """Give the shell its magics; ``%load_ext ipy_scriptenv`` succeeds without the package."""
    side = os.path.dirname(os.path.abspath(__file__))

    def scriptenv(line: str) -> None:
        """%scriptenv [VERB] [SOURCE] [OPTIONS]: this notebook's environment."""
        _scriptenv(shell, completion, line)

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

    def conda(line: str) -> None:
        """%conda is not used here: it says what is. Nothing is run."""
        print(_instead_of_conda(line), file=sys.stderr)

    for name in ("mamba", "micromamba"):
        shell.register_magic_function(conda, "line", name)
    for function in (scriptenv, pip, uv, conda):
        shell.register_magic_function(function, "line")
    cells.register_cells(shell, lambda: _host_command(completion))

    def installed() -> list[str]:
        return [package["name"] for package in completion.record["packages"]]

    declaring.complete_verbs(shell, installed)
    _accept_extension(shell.extension_manager)


def _accept_extension(manager: Any) -> None:
    """Let ``%load_ext ipy_scriptenv`` succeed, silently: all that it brings is here already."""
    load = manager.load_extension

    def load_extension(name: str) -> Any:
        return None if name == "ipy_scriptenv" else load(name)

    manager.load_extension = load_extension


def _scriptenv(shell: Any, completion: Completion, line: str) -> None:
    try:
        words = words_of(line)
    except ValueError as error:
        words = []
        print(f"%scriptenv: {error}", file=sys.stderr)
        return
    verb = words[0] if words else "status"
    mine = len(words) <= 1
    try:
        if verb == "run" and len(words) > 1 and words[1] != "--help":
            cells.run_line(words[1:], lambda: _host_command(completion))
            return
        if declaring.is_for_own_block(words):
            declaring.declare(shell, completion, words, _tell)
            return
        if verb == "upgrade" and not declaring.names_source(words):
            answer = completion.sync(_tell, upgrade=words[1:] or ["*"])
        elif verb == "sync" and mine:
            answer = completion.sync(_tell)
        else:
            answer = _verb(shell, completion, words or ["status"])
    except Failed as failed:
        print("\n".join(failed.lines()), file=sys.stderr)
        return
    if answer.get("html"):
        data = {"text/plain": answer["text"].rstrip(), "text/html": answer["html"]}
        shell.display_pub.publish(data)
    elif answer.get("text"):
        print(answer["text"], end="")
    if answer.get("replace"):
        print(f"Restart the kernel: {answer['replace']}.", file=sys.stderr)


def _verb(shell: Any, completion: Completion, words: list[str]) -> dict[str, Any]:
    """Have a host answer, and show its steps meanwhile.

    :raises Failed: with the host's error
    """
    aside = _Aside(shell)
    notes = completion.notes() if words == ["status"] else ()
    if declaring.reads_own_file(words) and completion.is_file_behind():
        aside.take({"event": "note", "text": declaring.SAVE_FIRST})
    answer = completion.verb(words, aside.take, notes=notes)
    aside.end()
    return answer


def _instead_of_conda(line: str) -> str:
    """Say how to do what a line of ``%conda`` asks for."""
    words = line.split()
    verb = words[0] if words else ""
    names = " ".join(word for word in words[1:] if not word.startswith("-")) or "NAME"
    instead = {
        "install": f"%scriptenv add {names}",
        "remove": f"%scriptenv remove {names}",
        "uninstall": f"%scriptenv remove {names}",
        "update": f"%scriptenv upgrade {names}",
        "upgrade": f"%scriptenv upgrade {names}",
        "list": "%pip list",
    }.get(verb, "%scriptenv add NAME")
    return (
        "This notebook's packages are its own, from a Python package index; no conda environment "
        f"belongs to it, and nothing was run. Instead: {instead}"
    )


def _host_command(completion: Completion) -> tuple[list[str], dict[str, str]]:
    """Give the command line of the newest host that is there, and the variables for it.

    :raises Failed: if there is none
    """
    found = hosts.reachable(completion.record)
    if not found:
        raise without_host("")
    return [found[0], "-P", "-m", "ipy_scriptenv"], hosts.variables(completion.initial)


class _Aside:
    """Shows the steps of a verb aside from its answer, which may be read by a program."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._lines: list[str] = []
        self._notes: list[str] = []

    def take(self, event: dict[str, Any]) -> None:
        """Show an event of a host, where it has something to say."""
        waits = event.get("for") if event.get("event") == "waiting" else None
        text = f"Waiting for {waits} …" if waits else event.get("text")
        if text and text not in self._lines[-1:]:
            print(text, file=sys.stderr)
            self._lines.append(text)
            if event.get("event") == "note":
                self._notes.append(text)

    def end(self) -> None:
        """Take the steps away, where nothing else of the cell would go with them; notes stay."""
        if len(self._lines) > len(self._notes) and declaring.stands_alone(self._shell):
            self._shell.display_pub.clear_output(wait=True)
            for note in self._notes:
                print(note, file=sys.stderr)


def _tell(event: dict[str, Any]) -> None:
    if event.get("text"):
        print(event["text"])


def _quoted(path: str) -> str:
    return f'"{path}"' if os.name == "nt" else shlex.quote(path)
