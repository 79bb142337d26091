"""Run a source as a script in its own environment, or open IPython there.

The environment is made complete first; then this process becomes the script's, so that exit code,
signals and standard input are the script's own.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ipy_scriptenv import environments, processes, settings
from ipy_scriptenv.environments import Context, Synced
from ipy_scriptenv.errors import NotASource
from ipy_scriptenv.fetching import Fetched
from ipy_scriptenv.files import explained, write_atomically
from ipy_scriptenv.kernel_side import live
from ipy_scriptenv.kernels.layer import ensure_layer, find_layer
from ipy_scriptenv.kernels.side import ensure_kernel_side
from ipy_scriptenv.metadata import Document, Kind, read_document, shown
from ipy_scriptenv.record import OWN, Source, SourceKind
from ipy_scriptenv.store import Store
from ipy_scriptenv.venvs import environment_python

__all__ = [
    "LARGEST_TEXT",
    "Ready",
    "become",
    "console",
    "declared",
    "fetched",
    "file",
    "is_address",
    "text",
]

LARGEST_TEXT = 10 * 2**20
"""Bytes of the largest script that is read from standard input."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A process that can be started: its environment is complete.

    :param synced: the environment that it is to hold as a kernel does; ``None``: it does so itself
    :param text: what its standard input gives; ``None``: this process's
    """

    argv: tuple[str, ...]
    variables: Mapping[str, str]
    synced: Synced | None = None
    text: bytes | None = None


def is_address(text: str) -> bool:
    """Say whether a person names an address, and no file."""
    return "://" in text and not Path(text).exists()


def file(
    given: str, arguments: Sequence[str], *, context: Context, options: Mapping[str, Any]
) -> Ready:
    """Make the environment of a script or notebook complete, for running it.

    :param given: the path as a person wrote it, which is what the script finds in ``sys.argv``
    :param options: of ``environments.sync``
    :raises ScriptEnvError: if the environment cannot be completed; nothing is run then
    """
    source = environments.locate(given)
    environments.check(source)
    _refuse_prose(source.path or "")
    synced = environments.sync(source, context=context, **options)
    # An option of Python's else.
    path = f".{os.sep}{given}" if given.startswith("-") else given
    run = _notebook if Path(source.path or "").suffix.lower() == ".ipynb" else _script
    return run(context, synced, path, arguments)


def text(
    data: bytes, arguments: Sequence[str], *, context: Context, options: Mapping[str, Any]
) -> Ready:
    """Make the environment of a text without a file complete; it is named by the text's block.

    Relative paths in the block start in this process's folder.

    :raises ScriptEnvError: as :func:`file`
    """
    if len(data) > LARGEST_TEXT:
        raise NotASource("What comes on standard input is larger than 10 MiB; no script is.")
    synced = _synced(
        Source(kind=SourceKind.TEXT),
        read_document(data, name="standard input"),
        context=context,
        options={**options, "folder": Path.cwd()},
    )
    argv = (str(environment_python(synced.path)), "-", *arguments)
    variables = _variables(context, synced)
    return Ready(argv=argv, variables=variables, synced=synced, text=data)


def fetched(
    found: Fetched, arguments: Sequence[str], *, context: Context, options: Mapping[str, Any]
) -> Ready:
    """Make the environment of a fetched script or notebook complete; it is named by the address.

    :raises ScriptEnvError: as :func:`file`
    """
    _refuse_prose(found.name)
    document = read_document(found.data, name=found.name)
    source = environments.address(found.url)
    synced = _synced(source, document, context=context, options=options)
    is_notebook = document.kind is Kind.NOTEBOOK
    # In the environment, so that it goes when that goes; by its content, so that a run that goes
    # on keeps its own.
    folder = synced.path / "fetched"
    path = folder / f"{found.digest}{'.ipynb' if is_notebook else '.py'}"
    with explained(path):
        folder.mkdir(mode=0o700, exist_ok=True)
        write_atomically(path, found.data)
    run = _notebook if is_notebook else _script
    return run(context, synced, str(path), arguments)


def declared(found: Fetched) -> str | None:
    """Give the TOML of the block of what was fetched; ``None`` without one.

    :raises ScriptEnvError: if it cannot be read
    """
    block = read_document(found.data, name=found.name).block
    return None if block is None else block.toml


def console(
    given: str, arguments: Sequence[str], *, context: Context, options: Mapping[str, Any]
) -> Ready:
    """Make the environment of a file complete, for an IPython session in it.

    :param arguments: IPython's own
    :raises ScriptEnvError: as :func:`file`
    """
    source = environments.locate(given)
    environments.check(source)
    synced = environments.sync(source, context=context, **options)
    program = str(_side(context) / "console.py")
    python, layer = str(environment_python(synced.path)), _layer(context, synced)
    argv = (python, program, str(synced.path), layer, *arguments)
    # It sets its own variables, and remembers these for the hosts that it asks.
    return Ready(argv=argv, variables=settings.child_environment())


def become(ready: Ready, *, store: Store) -> int:
    """Become the process; where that is impossible (Windows), run it and give its exit code."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    if ready.synced is not None:
        _move_in(ready.synced, store)
    if ready.text is None:
        return processes.replace(ready.argv, env=ready.variables)
    with explained(store.work), tempfile.TemporaryFile(dir=store.work) as stdin:
        stdin.write(ready.text)
        stdin.seek(0)
        return processes.replace(ready.argv, env=ready.variables, stdin=stdin.fileno())


def _refuse_prose(name: str) -> None:
    """Refuse a document that Quarto runs, before anything is installed for it.

    :raises NotASource: if it is one
    """
    if name.lower().endswith(".qmd"):
        hint = "Render it with Quarto, on the kernel that `jupyter scriptenv register` names."
        raise NotASource(f"`{shown(name)}` is a document, no script.", hint=hint)


def _move_in(synced: Synced, store: Store) -> None:
    """Take a live lock, as a kernel does that may import anything at any moment.

    The program that this process becomes keeps it to its end, without knowing of it.
    """
    lock = live.hold(str(synced.path), str(store.home), synced.record.kernel)
    if lock is not None:
        lock.tell([], busy=True)
        os.set_inheritable(lock.descriptor, True)


def _synced(
    source: Source, document: Document, *, context: Context, options: Mapping[str, Any]
) -> Synced:
    """Sync to the block that was just read, since no file tells it."""
    block = document.block
    return environments.sync(
        source,
        context=context,
        block=None if block is None else block.toml,
        given=True,
        line=0 if block is None else block.line,
        **options,
    )


def _script(context: Context, synced: Synced, path: str, arguments: Sequence[str]) -> Ready:
    argv = (str(environment_python(synced.path)), path, *arguments)
    return Ready(argv=argv, variables=_variables(context, synced), synced=synced)


def _notebook(context: Context, synced: Synced, path: str, arguments: Sequence[str]) -> Ready:
    program = str(_side(context) / "notebook_script.py")
    python, layer = str(environment_python(synced.path)), _layer(context, synced)
    argv = (python, program, layer, path, *arguments)
    return Ready(argv=argv, variables=_variables(context, synced), synced=synced)


def _layer(context: Context, synced: Synced) -> str:
    """Give the folder of packages where IPython is; empty where the environment has it itself."""
    store, record = context.store, synced.record
    if record.kernel == OWN:
        return ""
    found = find_layer(store, record.kernel)
    if found is None:
        # It was thrown away since, and a sync that finds all in order does not ask for it.
        found = ensure_layer(store, context.uv(), record.python)
    return str(store.layers / found.name / "site-packages")


def _side(context: Context) -> Path:
    """Give the folder of this version's kernel side; the record may name an older one's."""
    return context.store.kernel_sides / ensure_kernel_side(context.store)


def _variables(context: Context, synced: Synced) -> dict[str, str]:
    """Make commands reach the environment: its own first, then our ``pip`` and ``uv``."""
    ours = [str(environment_python(synced.path).parent), str(_side(context) / "bin")]
    given = settings.child_environment()
    rest = given.get("PATH", os.defpath).split(os.pathsep)
    path = [*ours, *(entry for entry in rest if entry not in ours)]
    for name in ("SCRIPTENV_SOURCE", "CONDA_PREFIX"):
        given.pop(name, None)
    return {**given, "PATH": os.pathsep.join(path), "VIRTUAL_ENV": str(synced.path)}
