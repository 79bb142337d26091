"""What a block is to say after a change: nothing is written here, and nothing installed.

uv edits a script of ours beside the source, and its lock; here that is taken over into the
source's own text.
"""

from __future__ import annotations

import contextlib
import enum
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import tomli_w
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from ipy_scriptenv import policy
from ipy_scriptenv.environments.allowed import limits, refuse_forbidden
from ipy_scriptenv.environments.arguments import refuse_arguments
from ipy_scriptenv.environments.beside import script_beside
from ipy_scriptenv.environments.condition import Standing, inspect, whereabouts
from ipy_scriptenv.environments.job import Choosing
from ipy_scriptenv.environments.relocking import refuse_credentials, relocked
from ipy_scriptenv.environments.sources import Lock, read_lock
from ipy_scriptenv.environments.standing import Context
from ipy_scriptenv.environments.wanted import Wanted, wanted_python
from ipy_scriptenv.errors import EngineFailed, InstallFailed, ResolutionFailed, WrongCall
from ipy_scriptenv.identity import EnvironmentName
from ipy_scriptenv.kernel_side.block import find_block
from ipy_scriptenv.leftovers import scratch_folder
from ipy_scriptenv.metadata import (
    Declaration,
    located_block,
    portable_lock,
    read_declaration,
    read_toml,
)
from ipy_scriptenv.metadata.editing import edited_toml
from ipy_scriptenv.policy import Policy
from ipy_scriptenv.record import Source
from ipy_scriptenv.store import Store
from ipy_scriptenv.uv import Event

__all__ = ["Edit", "Edited", "Verb", "edit_given", "specifier_of"]

_WHERE_FROM = ("--index", "--default-index", "--requirements")
"""Options of uv that name where packages come from."""

_PLAIN_VERSION = re.compile(r"\d+(\.\d+)*")
_MINOR = 2
"""Parts of a version of Python that name a minor one, such as ``3.13``."""


class Verb(enum.StrEnum):
    """What is changed."""

    ADD = "add"
    REMOVE = "remove"
    PYTHON = "python"


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One change of a block.

    :param words: requirements to add, names to remove, or one version or range of Python
    :param options: further ones for uv's verb of the same name, such as ``--bounds``
    :param exclude_newer: a date; what was uploaded later is passed over in this call
    :param folder: where relative paths in *words* start
    """

    verb: Verb
    words: tuple[str, ...]
    folder: Path
    options: tuple[str, ...] = ()
    exclude_newer: str | None = None

    @property
    def choosing(self) -> Choosing:
        """How the sync that follows chooses versions: as this does, but for what is written."""
        return Choosing(exclude_newer=self.exclude_newer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Edited:
    """A block that is to be another.

    :param before: its TOML; ``None``: there is none
    :param toml: what it is to be
    :param lock: the source's, which is to become :attr:`new_lock`; ``None``: none is to change
    :param choosing: how the sync that follows chooses versions
    """

    before: str | None
    toml: str
    lock: Lock | None
    new_lock: bytes | None
    choosing: Choosing = field(default_factory=Choosing)


def edit_given(
    source: Source,
    edit: Edit,
    *,
    context: Context,
    block: str | None,
    name: EnvironmentName | None = None,
    folder: Path,
    lock: Lock | None = None,
) -> Edited:
    """Say what a block is to be; nothing is changed.

    :param block: its TOML, in the file or in the cell that a user sees; ``None``: there is none
    :param name: the environment's, where the source does not give it
    :param folder: where relative paths in the block start
    :param lock: as an open document has it; ``None``: the source's own
    :raises ScriptEnvError: if it cannot be changed so, or uv finds no solution
    """
    context.store.prepare()
    lock = lock or read_lock(source)
    name = name or whereabouts(context.store, source)
    standing = inspect(context.store, name, source)
    # What the sync that follows tells would be told twice.
    quiet = replace(context, on_event=_but_resolving(context.on_event))
    content = None if lock is None else lock.content
    toml = block or ""
    read_declaration(toml)
    if edit.verb is Verb.PYTHON:
        toml, new_lock = _with_python(edit, toml, quiet, standing, source=source, lock=content)
    else:
        toml, new_lock = _with_packages(
            edit, toml, quiet, standing, source=source, lock=content, folder=folder
        )
    return Edited(before=block, toml=toml, lock=lock, new_lock=new_lock, choosing=edit.choosing)


def _but_resolving(listener: Callable[[Event], None]) -> Callable[[Event], None]:
    """Keep from a listener how many packages were resolved; it hears every other step."""

    def hear(event: Event) -> None:
        if event["event"] != "resolving" or "packages" not in event:
            listener(event)

    return hear


def specifier_of(request: str) -> SpecifierSet:
    """Give what ``requires-python`` says where a version or a range of Python is asked for.

    A version such as ``3.13`` means that one and no newer: so everybody gets the same.

    :raises WrongCall: if it is neither
    """
    text = request.strip()
    if _PLAIN_VERSION.fullmatch(text):
        text = f"=={text}.*" if text.count(".") < _MINOR else f"=={text}"
    with contextlib.suppress(InvalidSpecifier):
        specifier = SpecifierSet(text)
        if text:
            return specifier
    msg = f"`{request}` is no version of Python and no range of versions."
    hint = "Such as `3.13` or `>=3.11`; an interpreter's path goes to `sync --python`."
    raise WrongCall(msg, hint=hint)


def _with_python(
    edit: Edit,
    toml: str,
    context: Context,
    standing: Standing,
    *,
    source: Source,
    lock: bytes | None,
) -> tuple[str, bytes | None]:
    """Give a block for another Python, and the lock for it where there was one."""
    specifier = str(specifier_of(edit.words[0]))
    new = edited_toml(toml, tomli_w.dumps({**read_toml(toml), "requires-python": specifier}))
    if lock is None:
        return new, None
    python, date = _python_for(context, standing, new), edit.exclude_newer
    return new, relocked(context, source, new, lock, python=python, exclude_newer=date)


def _with_packages(
    edit: Edit,
    toml: str,
    context: Context,
    standing: Standing,
    *,
    source: Source,
    lock: bytes | None,
    folder: Path,
) -> tuple[str, bytes | None]:
    """Give a block with other dependencies, and the lock for it where there was one."""
    allowed = policy.current()
    words = _checked(edit, allowed, work=context.store.work)
    if edit.verb is Verb.REMOVE:
        _require_declared(words, read_declaration(toml))
    refuse_forbidden(allowed, toml=toml, folder=folder, lock=lock)
    dates = limits(allowed, toml=toml, exclude_newer=edit.exclude_newer)
    python = _python_for(context, standing, toml)
    located, written = located_block(toml, folder=folder)
    with _script(source, folder, located, lock, store=context.store) as script:
        try:
            options = (*dates, *edit.options, "--", *words)
            context.uv().script(edit.verb, script, *options, python=python)
        except (ResolutionFailed, InstallFailed) as error:
            error.hint = "Nothing was changed. Name other packages, or other versions of them."
            raise
        block = find_block(script.read_text("utf-8"))
        beside = script.with_name(script.name + ".lock")
        made = None if lock is None else portable_lock(beside.read_bytes(), written=written)
    new = "" if block is None else block.toml
    for absolute, text in written.items():
        new = new.replace(f'"{absolute}"', f'"{text}"')
    if made is not None:
        refuse_credentials(made)
    # uv ends a block that was empty with a blank line.
    new = edited_toml(toml, new) if toml.strip() else new.strip("\n") + "\n"
    read_declaration(new)
    refuse_forbidden(allowed, toml=new, folder=folder, lock=made)
    return new, made


def _checked(edit: Edit, allowed: Policy, *, work: Path) -> list[str]:
    """Hold what is asked for against the policy; give the words as uv is to have them.

    :param work: uv's working folder: a relative path that it is given is written down relative to
        the source
    :raises PolicyViolation: if an index or a file of requirements is not allowed
    :raises WrongCall: if a word would be an option
    """
    for word in edit.words:
        if word.startswith("-"):
            msg = f"`{word}` is no package."
            raise WrongCall(msg, hint="Options stand before the packages; see `--help`.")
    if edit.verb is Verb.REMOVE:
        return list(edit.words)
    if allowed.says_what_comes:
        pairs = zip(edit.options, edit.options[1:], strict=False)
        given = [word for pair in pairs if pair[0] in _WHERE_FROM for word in pair]
        refuse_arguments(allowed, given, folder=edit.folder)
    absolute = refuse_arguments(allowed, edit.words, folder=edit.folder)
    return [
        os.path.relpath(path, work.resolve()) if word != path and Path(path).is_absolute() else path
        for word, path in zip(edit.words, absolute, strict=True)
    ]


def _require_declared(names: Iterable[str], declaration: Declaration) -> None:
    """Hold names that are to be removed against what is declared.

    :raises EngineFailed: if one of them is not there
    """
    declared = {canonicalize_name(each.name) for each in declaration.requirements}
    missing = [f"`{name}`" for name in names if canonicalize_name(name) not in declared]
    if missing:
        msg = f"The block does not declare {', '.join(missing)}."
        hint = f"It declares {', '.join(sorted(declared)) or 'nothing'}."
        raise EngineFailed(msg, hint=hint)


@contextlib.contextmanager
def _script(
    source: Source, folder: Path, toml: str, lock: bytes | None, *, store: Store
) -> Iterator[Path]:
    """Give uv a script to edit: beside the source, or where a kernel has none, in our home."""
    if source.path is not None:
        with script_beside(folder, toml, lock) as script:
            yield script
        return
    with (
        scratch_folder(store) as place,
        script_beside(place, toml, lock) as script,
    ):
        yield script


def _python_for(context: Context, standing: Standing, toml: str) -> Path:
    """Choose the interpreter to resolve a block with: what its environment would be made from."""
    declaration = read_declaration(toml)
    wanted = Wanted(block=toml, declaration=declaration, stat=None)
    return Path(wanted_python(context, standing, wanted, fetch=True).base)
