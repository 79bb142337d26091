"""What a client asks for, read once from the JSON of its request."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ipy_scriptenv.errors import Problem, WrongCall

__all__ = ["Asked", "Given", "TaskVerb", "read_asked", "read_given", "read_requirement"]


class TaskVerb(enum.StrEnum):
    """What a task can do."""

    SYNC = "sync"
    LOCK = "lock"
    UPGRADE = "upgrade"
    REBUILD = "rebuild"
    EDIT = "edit"
    RECORD = "record"
    DELETE = "delete"
    MOVE = "move"
    PRUNE = "prune"
    REGISTER = "register"
    UNREGISTER = "unregister"


_OF_ANY_SOURCE = frozenset({TaskVerb.DELETE, TaskVerb.MOVE, TaskVerb.UNREGISTER})
"""The verbs that take the source of a listing in the place of a path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A document that is open.

    :param path: its contents path
    :param block: TOML of its block, if *given*; ``None``: it has none
    :param lock: the lock in its metadata; ``None``: the file's
    """

    path: str
    block: str | None = None
    given: bool = False
    lock: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A task; of the fields, each verb has its own (``docs/contract.md``, *REST*).

    :param path: contents path of the document
    :param source: as in the listing, in the place of *path*
    :param environment: name of an environment in the listing, in the place of both
    """

    verb: TaskVerb
    path: str | None = None
    source: str | None = None
    environment: str | None = None
    block: str | None = None
    given: bool = False
    lock: str | None = None
    embed: bool = False
    packages: tuple[str, ...] = ()
    edit: str | None = None
    words: tuple[str, ...] = ()
    cell: str | None = None
    name: str | None = None
    new: str | None = None
    dry_run: bool = False
    unused_for: str | None = None
    names: tuple[str, ...] | None = None


_FLAGS = ("given", "embed", "dry_run")
_LISTS = ("packages", "words", "names")
_TEXTS = (
    "path",
    "source",
    "environment",
    "block",
    "lock",
    "edit",
    "cell",
    "name",
    "new",
    "unused_for",
)

_NEEDS = {
    TaskVerb.EDIT: ("edit", "words"),
    TaskVerb.RECORD: ("name",),
    TaskVerb.MOVE: ("new",),
}
_EDITS = ("add", "remove", "change", "python")
_OLD_AND_NEW = 2
_HALVES = re.compile("[\ud800-\udfff]")


def read_asked(body: Any) -> Asked:
    """Read the request for a task.

    :raises WrongCall: telling all that is wrong
    """
    fields = _table(body)
    problems = _shapes(fields)
    verbs = [each.value for each in TaskVerb]
    if fields.get("verb") not in verbs:
        problems.append(Problem(key="verb", message=f"it must be one of {', '.join(verbs)}"))
        raise _wrong(problems)
    verb = TaskVerb(fields["verb"])
    problems += [
        Problem(key=key, message=f"`{verb}` needs it")
        for key in _NEEDS.get(verb, ())
        if not fields.get(key)
    ]
    if verb is TaskVerb.EDIT and fields.get("edit") not in (None, *_EDITS):
        problems.append(Problem(key="edit", message=f"it must be one of {', '.join(_EDITS)}"))
    words = fields.get("words")
    number = len(words) if isinstance(words, list) else 0
    if fields.get("edit") == "python" and number > 1:
        problems.append(Problem(key="words", message="`python` takes one version or range"))
    if fields.get("edit") == "change" and number != _OLD_AND_NEW:
        problems.append(Problem(key="words", message="`change` takes the old one and the new one"))
    problems += _about_place(verb, fields)
    if problems:
        raise _wrong(problems)
    known = {key: fields[key] for key in (*_FLAGS, *_TEXTS) if fields.get(key) is not None}
    known["block"] = _block(fields)
    lists: dict[str, Any] = {
        key: tuple(fields[key]) for key in _LISTS if fields.get(key) is not None
    }
    return Asked(verb=verb, **known, **lists)


def read_given(body: Any) -> Given:
    """Read the request for what a document declares that is open and may not be saved.

    :raises WrongCall: telling all that is wrong
    """
    fields = _table(body)
    problems = _shapes(fields)
    if not fields.get("path"):
        problems.append(Problem(key="path", message="the document's path is missing"))
    if problems:
        raise _wrong(problems)
    return Given(
        path=fields["path"],
        block=_block(fields),
        given=bool(fields.get("given", True)),
        lock=fields.get("lock"),
    )


def read_requirement(body: Any) -> str:
    """Read the request to check a requirement.

    :raises WrongCall: if there is none
    """
    text = _table(body).get("requirement")
    if not isinstance(text, str):
        raise _wrong([Problem(key="requirement", message="it must be a text")])
    return text


def _block(fields: Mapping[str, Any]) -> str | None:
    """Give a block as files are read: each line ended, or it would seem to be another."""
    block: str | None = fields.get("block")
    return f"{block}\n" if block and not block.endswith("\n") else block


def _table(body: Any) -> Mapping[str, Any]:
    if not isinstance(body, dict):
        msg = "The request's body is no JSON object."
        raise WrongCall(msg)
    return body


def _shapes(fields: Mapping[str, Any]) -> list[Problem]:
    """Say which fields are not of their kind; what is unknown may be a newer client's."""
    wrong = [
        *((key, "it must be true or false") for key in _FLAGS if not _is(bool, fields.get(key))),
        *((key, "it must be a text") for key in _TEXTS if not _is(str, fields.get(key))),
        *((key, "it must be a list of texts") for key in _LISTS if not _is_list(fields.get(key))),
    ]
    return [Problem(key=key, message=message) for key, message in wrong]


def _about_place(verb: TaskVerb, fields: Mapping[str, Any]) -> list[Problem]:
    """Say what is wrong with how the environment is named."""
    given = [key for key in ("path", "source", "environment") if fields.get(key)]
    if verb is TaskVerb.PRUNE:
        return []
    allowed = ["path"]
    if verb in _OF_ANY_SOURCE:
        allowed.append("source")
    if verb is TaskVerb.DELETE:
        allowed.append("environment")
    if len(given) == 1 and given[0] in allowed:
        return []
    message = f"`{verb}` takes exactly one of {', '.join(allowed)}"
    return [Problem(key=given[0] if given else "path", message=message)]


def _is(kind: type, value: object) -> bool:
    return value is None or isinstance(value, kind)


def _is_list(value: object) -> bool:
    return value is None or (isinstance(value, list) and all(map(_is_word, value)))


def _is_word(value: object) -> bool:
    """Say whether something can be a word of a command line: half a character cannot."""
    return isinstance(value, str) and not _HALVES.search(value)


def _wrong(problems: list[Problem]) -> WrongCall:
    return WrongCall("The request cannot be carried out as it is.", problems=tuple(problems))
