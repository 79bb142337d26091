"""`%scriptenv add` and its like: the new block is shown where its user sees the old one."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from .block import is_only_our_magics
from .failing import Failed

if TYPE_CHECKING:
    from .completing import Completion

__all__ = [
    "SAVE_FIRST",
    "VERBS",
    "complete_verbs",
    "declare",
    "is_for_own_block",
    "names_source",
    "offer",
    "reads_own_file",
    "stands_alone",
]

_DECLARING = ("add", "remove", "python")
_OF_PACKAGES = ("remove", "upgrade")
_RESOLVING = ("lock", "tree", "export")
SAVE_FIRST = "The file's block differs from what was executed last: save the notebook first."

_SOURCES = (".ipynb", ".py", ".qmd")

VERBS = (
    "add",
    "console",
    "delete",
    "doctor",
    "execute",
    "export",
    "find",
    "init",
    "list",
    "lock",
    "move",
    "prune",
    "python",
    "rebuild",
    "register",
    "remove",
    "run",
    "status",
    "sync",
    "tree",
    "unregister",
    "upgrade",
)
"""What may follow ``%scriptenv``: the verbs of the command line."""


def names_source(words: list[str]) -> bool:
    """Say whether the first argument of a verb is a file, and not a package."""
    return len(words) > 1 and _is_source(words[1])


def reads_own_file(words: list[str]) -> bool:
    """Say whether a line is about what the notebook's file declares, not what was executed."""
    if not words or words[0] not in _RESOLVING or "--help" in words or "-h" in words:
        return False
    return not any(map(_is_source, words[1:]))


def _is_source(word: str) -> bool:
    return word.lower().endswith(_SOURCES) and os.path.exists(os.path.expanduser(word))


def is_for_own_block(words: list[str]) -> bool:
    """Say whether a line changes the block of the notebook that it stands in."""
    if not words or words[0] not in _DECLARING or names_source(words):
        return False
    return "--help" not in words and "-h" not in words


def declare(
    shell: Any,
    completion: Completion,
    words: list[str],
    tell: Callable[[dict[str, Any]], None],
) -> None:
    """Carry out such a line in a kernel of ours.

    :raises Failed: with the host's error
    """
    try:
        answer = completion.declare(words, tell)
    except Failed as failed:
        if "cell" in failed.error:
            offer(shell, failed.error)
        raise
    if stands_alone(shell):
        # The steps on the way are not to stay in the notebook; what else the cell printed is.
        shell.display_pub.clear_output(wait=True)
    print(answer["text"], end="")
    offer(shell, answer)
    if answer.get("replace"):
        print(f"Restart the kernel: {answer['replace']}.", file=sys.stderr)


def offer(shell: Any, answer: dict[str, Any]) -> None:
    """Show the new text of the block's cell as the next input.

    Where there was no block and the line stands alone, its own cell becomes the block's.

    :param answer: ``cell``, the text; ``had_block``; ``number`` of the old cell in the file
    """
    alone = not answer["had_block"] and stands_alone(shell)
    shell.set_next_input(answer["cell"], replace=alone)
    if alone:
        print("This cell is the notebook's block now.")
    elif answer["had_block"]:
        which = f"cell {answer['number']}" if answer["number"] else "the cell with the block"
        print(f"The cell below is the new block: it replaces {which}.")
        print("Delete the old one: a notebook has one block.")
    else:
        print("The cell below is the notebook's block: keep it.")


def stands_alone(shell: Any) -> bool:
    """Say whether the line that runs is all of its cell."""
    try:
        code = shell.get_parent()["content"]["code"]
    except (AttributeError, KeyError, TypeError):
        return False
    return is_only_our_magics(code) and len(code.split("\n")) == 1


def complete_verbs(shell: Any, packages: Callable[[], Iterable[str]]) -> None:
    """Complete verbs behind ``%scriptenv``, and packages behind verbs that take them."""

    def complete(_shell: Any, event: Any) -> list[str]:
        words = event.line[: event.text_until_cursor and len(event.text_until_cursor)].split()
        begun = event.symbol or ""
        before = words[1:-1] if begun and words and words[-1].endswith(begun) else words[1:]
        if not before:
            return [verb for verb in VERBS if verb.startswith(begun)]
        if before[0] in _OF_PACKAGES:
            return [name for name in packages() if name.startswith(begun)]
        return []

    shell.set_hook("complete_command", complete, str_key="%scriptenv")
