"""`%scriptenv add` and its like: the new block is shown where its user sees the old one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from .block import is_only_our_magics

if TYPE_CHECKING:
    from .below import Below
    from .completing import Completion
    from .front_end import FrontEnds

__all__ = [
    "SAVE_FIRST",
    "complete_verbs",
    "declare",
    "is_for_own_block",
    "names_source",
    "offer",
    "reads_own_file",
    "stands_alone",
]

_DECLARING = ("add", "remove", "python")
_RESOLVING = ("lock", "tree", "export")
SAVE_FIRST = "The file's block differs from what was executed last: save the notebook first."

_SOURCES = (".ipynb", ".py", ".qmd")


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
    *,
    below: Below,
    front_ends: FrontEnds | None,
) -> None:
    """Carry out such a line in a kernel of ours.

    What waits for the next start is no failure of the line: its cell is to be changed all the same,
    and front ends show no input that comes with an error.

    :raises Failed: with the host's error
    """
    count = completion.block_count
    with below.working() as tell:
        answer = completion.declare(words, tell)
    answer["count"] = count
    if "waits" in answer:
        below.note(*filter(None, (str(answer["waits"]), str(answer["hint"] or ""))))
    else:
        print(answer["text"], end="")
    offer(shell, answer, front_ends)
    if answer.get("replace"):
        below.note(f"Restart the kernel: {answer['replace']}.")


def offer(shell: Any, answer: dict[str, Any], front_ends: FrontEnds | None) -> None:
    """Have the front end write the new text of the block's cell, or show it as the next input.

    Where there was no block and the line stands alone, its own cell becomes the block's.

    :param answer: ``cell``, the text; ``had_block``; ``before``, the text of the old cell, where
        it is known; ``number`` of that cell in the file; ``count`` of its execution; ``lock`` that
        the notebook is to hold
    """
    alone = not answer["had_block"] and stands_alone(shell)
    writes = _ask_front_end(shell, answer, front_ends, alone=alone)
    if not writes:
        shell.set_next_input(answer["cell"], replace=alone)
    old = _named(answer)
    if alone:
        print("This cell is the notebook's block now.")
    elif writes:
        print(f"The notebook's block is changed, in {old}.")
    elif answer["had_block"]:
        print(f"The cell below is the new block: it replaces {old}.")
        print("Delete the old one: a notebook has one block.")
    else:
        print("The cell below is the notebook's block: keep it.")
    if answer.get("lock") and not writes:
        print("The notebook's lock is for the block before. Save the notebook, then run")
        print("`jupyter scriptenv lock NOTEBOOK`.")


def _ask_front_end(
    shell: Any, answer: dict[str, Any], front_ends: FrontEnds | None, *, alone: bool
) -> bool:
    """Have the front end that runs this line write the cell; say whether it can."""
    request = _request(shell)
    comm = None if front_ends is None else front_ends.asking(request)
    if front_ends is None or comm is None:
        return False
    before = request["content"]["code"] if alone else answer.get("before")
    edit = {name: answer.get(name) for name in ("cell", "number", "lock")}
    front_ends.write(comm, {**edit, "before": before})
    return True


def _named(answer: dict[str, Any]) -> str:
    """Name the cell that holds the block."""
    if answer.get("number"):
        return f"cell {answer['number']}"
    if answer.get("count"):
        return f"the cell that ran as [{answer['count']}]"
    return "the cell with the block" if answer["had_block"] else "a cell of its own"


def _request(shell: Any) -> dict[str, Any]:
    try:
        request = shell.get_parent()
    except AttributeError:
        return {}
    return request if isinstance(request, dict) else {}


def stands_alone(shell: Any) -> bool:
    """Say whether the line that runs is all of its cell."""
    try:
        code = _request(shell)["content"]["code"]
    except (KeyError, TypeError):
        return False
    return is_only_our_magics(code) and len(code.split("\n")) == 1


def complete_verbs(shell: Any, packages: Callable[[], Iterable[str]]) -> None:
    """Complete what may follow ``%scriptenv``: verbs, options, files, and installed packages."""

    def complete(_shell: Any, event: Any) -> list[str]:
        from . import options

        words = event.line[: event.text_until_cursor and len(event.text_until_cursor)].split()
        begun = event.symbol or ""
        before = words[1:-1] if begun and words and words[-1].endswith(begun) else words[1:]
        if not before:
            return [verb for verb in options.VERBS if verb.startswith(begun)]
        verb = before[0]
        if begun.startswith("-"):
            known = [*options.VERBS.get(verb, "").split(), "--help"]
            return [option for option in known if option.startswith(begun)]
        found = []
        if verb in options.OF_PACKAGES:
            found = [name for name in packages() if name.startswith(begun)]
        if verb in options.VERBS and verb not in options.WITHOUT_FILE:
            found += _files(begun)
        return found

    shell.set_hook("complete_command", complete, str_key="%scriptenv")


def _files(begun: str) -> list[str]:
    """Give the notebooks, scripts and folders whose path begins so."""
    folder, name = os.path.split(begun)
    try:
        entries = sorted(os.scandir(os.path.expanduser(folder) or "."), key=lambda each: each.name)
    except OSError:
        return []
    found = []
    for entry in entries:
        is_hidden = entry.name.startswith(".") and not name.startswith(".")
        if is_hidden or not entry.name.startswith(name):
            continue
        path = os.path.join(folder, entry.name)
        if entry.is_dir():
            found.append(f"{path}/")
        elif entry.name.lower().endswith(_SOURCES):
            found.append(path)
    return found
