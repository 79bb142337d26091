"""`%scriptenv` and `%pip` inside a kernel of ours; nothing needs to be installed there."""

from __future__ import annotations

import os
import shlex
import sys
from typing import TYPE_CHECKING, Any

from . import cells, declaring
from .below import Below
from .block import block_of_cell
from .check import block_of_source
from .completing import Completion
from .failing import Failed, home_gone, named, without_host, wrong_call
from .words import words_of

if TYPE_CHECKING:
    from .front_end import FrontEnds

__all__ = ["register_magics"]


def register_magics(shell: Any, completion: Completion) -> None:
    """Give the shell its magics; ``%load_ext ipy_scriptenv`` succeeds without the package."""
    side = os.path.dirname(os.path.abspath(__file__))

    def told(state: Any, now: float) -> None:
        front_ends = _front_ends(shell)
        if front_ends is not None:
            front_ends.tell_progress(state, now)

    below = Below(shell, told)

    def scriptenv(line: str) -> None:
        """%scriptenv [VERB] [SOURCE] [OPTIONS]: this notebook's environment."""
        _scriptenv(shell, completion, below, line)

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


def _scriptenv(shell: Any, completion: Completion, below: Below, line: str) -> None:
    """Carry out a line.

    :raises Failed: the cell fails with it
    """
    try:
        words = words_of(line)
    except ValueError as error:
        raise named(wrong_call(f"The line cannot be read: {error}.")) from None
    try:
        answer = _answer(shell, completion, below, words)
    except Failed as failed:
        raise named(failed) from None
    finally:
        _front_ends_told(shell)
    if answer.get("html"):
        data = {"text/plain": answer["text"].rstrip(), "text/html": answer["html"]}
        shell.display_pub.publish(data)
    elif answer.get("text"):
        print(answer["text"], end="")
    if answer.get("replace"):
        below.note(f"Restart the kernel: {answer['replace']}.")


def _answer(shell: Any, completion: Completion, below: Below, words: list[str]) -> dict[str, Any]:
    verb = words[0] if words else "status"
    if verb == "run" and len(words) > 1 and words[1] != "--help":
        cells.run_line(words[1:], lambda: _host_command(completion))
        return {}
    if declaring.is_for_own_block(words):
        front_ends = _front_ends(shell)
        declaring.declare(shell, completion, words, below=below, front_ends=front_ends)
        return {}
    if verb == "upgrade" and not declaring.names_source(words):
        if any(word.startswith("-") for word in words[1:]):
            return _verb(completion, below, _with_own_file(completion, words))
        with below.working() as tell:
            return completion.sync(tell, upgrade=words[1:] or ["*"])
    if verb == "sync" and len(words) == 1:
        with below.working() as tell:
            return completion.sync(tell)
    return _verb(completion, below, words or ["status"])


def _with_own_file(completion: Completion, words: list[str]) -> list[str]:
    """Name the notebook's file in a line of `upgrade` with options: the command line takes it.

    :raises Failed: if it is not what was executed last
    """
    path = completion.record["source"].get("path")
    if "--help" in words or "-h" in words or path is None:
        return words
    if _is_file_behind(completion):
        raise wrong_call(declaring.SAVE_FIRST, "")
    return [words[0], path, *words[1:]]


def _verb(completion: Completion, below: Below, words: list[str]) -> dict[str, Any]:
    """Have a host answer, and show its steps meanwhile.

    :raises Failed: with the host's error
    """
    notes = completion.notes() if words == ["status"] else ()
    with below.working() as tell:
        if declaring.reads_own_file(words) and _is_file_behind(completion):
            tell({"event": "note", "text": declaring.SAVE_FIRST})
        return completion.verb(words, tell, notes=notes)


def _is_file_behind(completion: Completion) -> bool:
    """Say whether the source's file declares something else than what was executed last."""
    path = completion.record["source"].get("path")
    if completion.block_cell is None or path is None:
        return False
    try:
        executed = block_of_cell(completion.block_cell)
        found = block_of_source(path)
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return executed is not None and executed.toml != found


def _front_ends(shell: Any) -> FrontEnds | None:
    found: FrontEnds | None = getattr(getattr(shell, "kernel", None), "front_ends", None)
    return found


def _front_ends_told(shell: Any) -> None:
    """Tell front ends what has become of the environment."""
    front_ends = _front_ends(shell)
    if front_ends is not None:
        front_ends.tell_state()


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
    """Give the command line of the newest host that has one, and the variables for it.

    :raises Failed: if there is none
    """
    try:
        from . import hosts
    except ImportError:
        raise named(home_gone()) from None
    python = hosts.answering(completion.record, completion.initial)
    if python is None:
        raise named(without_host(""))
    return [python, "-P", "-m", "ipy_scriptenv"], hosts.variables(completion.initial)


def _quoted(path: str) -> str:
    return f'"{path}"' if os.name == "nt" else shlex.quote(path)
