"""Change what a source declares: the verbs ``add``, ``remove`` and ``python``.

uv decides what is written: it edits a script of ours beside the source, and its lock. Here that is
taken over into the source's own text, and the environment is brought to it. A change is whole or
not at all: nothing is written if resolving fails, and what was written is taken back if installing
does.
"""

from __future__ import annotations

import contextlib
import enum
import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import tomli_w
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from ipy_scriptenv import policy
from ipy_scriptenv.environments.allowed import limits, refuse_arguments, refuse_forbidden
from ipy_scriptenv.environments.beside import script_beside
from ipy_scriptenv.environments.building import Wanted, wanted_python
from ipy_scriptenv.environments.job import Asker
from ipy_scriptenv.environments.locking import refuse_credentials, relocked
from ipy_scriptenv.environments.moving import whereabouts
from ipy_scriptenv.environments.resolving import folder_of
from ipy_scriptenv.environments.sources import Lock, locate, read_lock
from ipy_scriptenv.environments.standing import Context, Standing, inspect
from ipy_scriptenv.environments.syncing import Synced, sync
from ipy_scriptenv.errors import (
    EngineFailed,
    InstallFailed,
    PermissionRefused,
    ResolutionFailed,
    RestartNeeded,
    ScriptEnvError,
    WrongCall,
)
from ipy_scriptenv.files import explained, is_gone, read_regular, rewrite
from ipy_scriptenv.identity import EnvironmentName
from ipy_scriptenv.kernel_side.block import find_block
from ipy_scriptenv.leftovers import scratch_folder
from ipy_scriptenv.metadata import (
    Declaration,
    located_block,
    portable_lock,
    read_declaration,
    read_document,
    read_toml,
    with_embedded_lock,
)
from ipy_scriptenv.metadata.editing import (
    edited_source,
    edited_toml,
    new_notebook,
    new_script,
    with_block,
)
from ipy_scriptenv.policy import Policy
from ipy_scriptenv.record import Source
from ipy_scriptenv.store import Store

__all__ = [
    "Declared",
    "Edit",
    "Edited",
    "Verb",
    "cell_of_block",
    "cell_with",
    "declare",
    "declare_given",
    "edit_given",
    "init",
]

_LARGEST = 2 * 2**30
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
    :param folder: where relative paths in *words* start
    """

    verb: Verb
    words: tuple[str, ...]
    folder: Path
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """A block that says something else now.

    :param before: its TOML before; ``None``: there was no block
    :param toml: its TOML now
    :param added: requirements as they stand in it now and did not before
    :param removed: those that went
    :param synced: what became of the environment
    """

    source: Source
    before: str | None
    toml: str
    added: tuple[str, ...]
    removed: tuple[str, ...]
    synced: Synced


def declare(source: Source, edit: Edit, *, context: Context) -> Declared:
    """Change the block in a source's file, its lock too, and the environment.

    :raises SourceChanged: if somebody else changed the file meanwhile
    :raises ScriptEnvError: nothing is written then, and nothing installed
    """
    context.store.prepare()
    folder, path = folder_of(source), Path(source.path or "")
    with explained(path):
        data = read_regular(path, limit=_LARGEST)
    if not _may_write(path):
        msg = f"`{path}` cannot be written, and nothing was installed."
        raise PermissionRefused(msg)
    found = read_document(data, name=path.name).block
    lock, before = read_lock(source), None if found is None else found.toml
    content = None if lock is None else lock.content
    standing = inspect(context.store, whereabouts(context.store, source), source)
    toml, new_lock = _edited(
        edit, before or "", context, standing, source=source, lock=content, folder=folder
    )
    new = edited_source(data, toml, name=path.name)
    with _written(path, data, new, lock, new_lock):
        synced = sync(source, context=context, keep_refused=False)
    return _declared(source, before, toml, synced)


@dataclass(frozen=True, slots=True, kw_only=True)
class Edited:
    """A block that is to be another, in a cell that a user sees.

    :param before: its TOML; ``None``: there is none
    :param toml: what it is to be
    :param lock: the one beside the file, and its new content; ``None`` where there is none
    """

    before: str | None
    toml: str
    lock: tuple[Lock, bytes] | None


def edit_given(
    source: Source,
    edit: Edit,
    *,
    context: Context,
    block: str | None,
    name: EnvironmentName | None = None,
    folder: Path,
) -> Edited:
    """Say what a block is to be that stands in a cell which a user sees; nothing is changed.

    :param block: the TOML of that cell; ``None``: there is none
    :param name: the environment's, where the source does not give it
    :param folder: where relative paths in the block start
    """
    context.store.prepare()
    lock = read_lock(source)
    content = None if lock is None else lock.content
    name = name or whereabouts(context.store, source)
    standing = inspect(context.store, name, source)
    toml, new_lock = _edited(
        edit, block or "", context, standing, source=source, lock=content, folder=folder
    )
    # An embedded one is the open document's, as the block is.
    beside = None if lock is None or lock.embedded or new_lock is None else (lock, new_lock)
    return Edited(before=block, toml=toml, lock=beside)


def declare_given(
    source: Source,
    edited: Edited,
    *,
    context: Context,
    asker: Asker | None,
    name: EnvironmentName | None = None,
    folder: Path,
) -> Declared:
    """Bring the environment to an edited block; who asks shows it, and the file stays as it is.

    A lock beside the file is kept in step.
    """
    lock, new_lock = edited.lock or (None, None)
    with _lock_written(lock, new_lock):
        synced = sync(
            source,
            context=context,
            block=edited.toml,
            given=True,
            asker=asker,
            name=name,
            folder=folder,
        )
    return _declared(source, edited.before, edited.toml, synced)


def init(path: Path, *, python: str | None = None) -> Source:
    """Make a notebook or a script with an empty block; a notebook is for the generic kernel.

    :param path: ends in ``.ipynb`` or ``.py``; nothing stands there
    :param python: what its ``requires-python`` is to say; ``None``: nothing
    :raises WrongCall: if something stands there, or it would be no source
    """
    suffix = path.suffix.lower()
    if suffix not in (".ipynb", ".py"):
        msg = f"`{path}` is neither a notebook (.ipynb) nor a script (.py) by its name."
        raise WrongCall(msg)
    if not is_gone(path):
        msg = f"`{path}` is there already."
        hint = f"`jupyter scriptenv add {path.name} NAME` writes a block into it."
        raise WrongCall(msg, hint=hint)
    requires = "" if python is None else f'requires-python = "{specifier_of(python)}"\n'
    toml = f"{requires}dependencies = []\n"
    data = new_notebook(toml) if suffix == ".ipynb" else new_script(toml)
    rewrite(path, data, expected=None)
    return locate(path)


def cell_of_block(source: Source) -> tuple[str | None, int | None]:
    """Give the text of the cell in a source's file that holds its block, and its number.

    Of a file without cells it is the block's own lines, without a number. Both are ``None``
    without a block or a file.

    :raises ScriptEnvError: if the file cannot be read
    """
    if source.path is None or is_gone(source.path):
        return None, None
    path = Path(source.path)
    with explained(path):
        data = read_regular(path, limit=_LARGEST)
    document = read_document(data, name=path.name)
    if document.block is None:
        return None, None
    if document.cell is None:
        # As blocks are read: lines end in LF or CRLF alone.
        lines = data.decode("utf-8-sig").split("\n")
        own = lines[document.block.line - 1 : document.block.end_line]
        return "\n".join(own).removesuffix("\r"), None
    text = json.loads(data.decode("utf-8-sig"))["cells"][document.cell - 1]["source"]
    return (text if isinstance(text, str) else "".join(text)), document.cell


def cell_with(text: str, toml: str) -> str:
    """Give the text of a cell with another block; a cell ends without a line end."""
    edited = with_block(text, toml)
    return edited if text.endswith("\n") else edited.rstrip("\n")


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


def _edited(
    edit: Edit,
    toml: str,
    context: Context,
    standing: Standing,
    *,
    source: Source,
    lock: bytes | None,
    folder: Path,
) -> tuple[str, bytes | None]:
    """Give the changed block, and the lock for it where there was one."""
    read_declaration(toml)
    if edit.verb is Verb.PYTHON:
        specifier = str(specifier_of(edit.words[0]))
        new = edited_toml(toml, tomli_w.dumps({**read_toml(toml), "requires-python": specifier}))
        if lock is None:
            return new, None
        python = _python_for(context, standing, new)
        return new, relocked(context, source, new, lock, python=python)
    allowed = policy.current()
    words = _checked(edit, allowed, work=context.store.work)
    if edit.verb is Verb.REMOVE:
        _require_declared(words, read_declaration(toml))
    refuse_forbidden(allowed, toml=toml, folder=folder, lock=lock)
    options = (*limits(allowed, toml=toml), *edit.options)
    python = _python_for(context, standing, toml)
    located, written = located_block(toml, folder=folder)
    with _script(source, folder, located, lock, store=context.store) as script:
        try:
            context.uv().script(edit.verb, script, *options, "--", *words, python=python)
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


def _may_write(path: Path) -> bool:
    return os.access(path, os.W_OK) and os.access(path.resolve().parent, os.W_OK)


@contextlib.contextmanager
def _written(
    path: Path, data: bytes, new: bytes, lock: Lock | None, new_lock: bytes | None
) -> Iterator[None]:
    """Write a source and its lock; take both back if what follows fails."""
    if lock is not None and lock.embedded and new_lock is not None:
        new = with_embedded_lock(new, new_lock.decode(), name=path.name)
        lock = None
    if new == data:
        with _lock_written(lock, new_lock):
            yield
        return
    rewrite(path, new, expected=data)
    try:
        with _lock_written(lock, new_lock):
            yield
    except BaseException:
        with contextlib.suppress(ScriptEnvError):
            rewrite(path, data, expected=new)
        raise


@contextlib.contextmanager
def _lock_written(lock: Lock | None, new: bytes | None) -> Iterator[None]:
    """Write a lock that stands beside its source; take it back if what follows fails."""
    if lock is None or new is None or new == lock.data:
        yield
        return
    rewrite(lock.path, new, expected=lock.data)
    try:
        yield
    except RestartNeeded:
        # The changed block waits for the next start, and so does what it locks.
        raise
    except BaseException:
        with contextlib.suppress(ScriptEnvError):
            rewrite(lock.path, lock.data, expected=new)
        raise


def _declared(source: Source, before: str | None, toml: str, synced: Synced) -> Declared:
    old, new = (read_declaration(text).dependencies for text in (before or "", toml))
    return Declared(
        source=source,
        before=before,
        toml=toml,
        added=tuple(each for each in new if each not in old),
        removed=tuple(each for each in old if each not in new),
        synced=synced,
    )
