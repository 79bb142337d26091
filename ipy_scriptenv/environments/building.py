"""Make environments: which block and Python are wanted, and a new one beside the old."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from packaging.specifiers import SpecifierSet

from ipy_scriptenv import __version__, interpreters, plan, policy
from ipy_scriptenv.environments.condition import Standing
from ipy_scriptenv.environments.sources import read_source
from ipy_scriptenv.environments.standing import Context, deciding, now
from ipy_scriptenv.errors import EnvironmentInUse, NoPython, Problem, ScriptEnvError
from ipy_scriptenv.files import explained, read_regular, remove_tree, stat_of, write_atomically
from ipy_scriptenv.kernel_side.credentials import HIDDEN, without_credentials
from ipy_scriptenv.kernels.layer import find_layer, supports_curve
from ipy_scriptenv.kernels.side import ensure_kernel_side, launcher
from ipy_scriptenv.kernels.specs import register, tidy, unregister
from ipy_scriptenv.layout import LAUNCHER
from ipy_scriptenv.locks import Held, RunningKernel
from ipy_scriptenv.metadata import EMPTY, Declaration, read_declaration
from ipy_scriptenv.plan import Selected
from ipy_scriptenv.record import OWN, FileStat, Host, Python, Record, Source, SourceKind
from ipy_scriptenv.uv import find_uv
from ipy_scriptenv.venvs import site_packages

__all__ = [
    "Wanted",
    "building",
    "carried_over",
    "first_record",
    "furnish",
    "in_use",
    "kernel_can_encrypt",
    "publish",
    "this_host",
    "wanted_at_start",
    "wanted_python",
    "wanted_record",
    "wanted_text",
    "with_host",
]

_HOSTS_KEPT = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the environment should be for.

    :param block: TOML of the block, ``None`` without one
    :param declaration: what it says; ``None`` where it cannot be read
    :param stat: of the file it came from or was compared with, to be recorded
    :param error: why it cannot be read
    """

    block: str | None
    declaration: Declaration | None
    stat: FileStat | None
    error: ScriptEnvError | None = None

    @property
    def recorded(self) -> str | None:
        """The block as a record may hold it: without the credentials of URLs."""
        return None if self.block is None else without_credentials(self.block)

    @property
    def requires_nothing(self) -> bool:
        """Whether an empty environment is all that is wanted."""
        return self.declaration is not None and not self.declaration.dependencies


def wanted_text(block: str | None, stat: FileStat | None, *, line: int = 0) -> Wanted:
    """Read the text of a block that is given, such as a running cell's.

    :raises ScriptEnvError: if it cannot be read
    """
    declaration = EMPTY if block is None else read_declaration(block, line=line)
    return Wanted(block=block, declaration=declaration, stat=stat)


def wanted_record(record: Record) -> Wanted:
    """Read the block of a record.

    :raises ScriptEnvError: if it cannot be read
    """
    return wanted_text(_with_credentials(record.block, record.source), record.source_stat)


def wanted_at_start(source: Source, record: Record | None) -> Wanted:
    """Choose and read the text that decides at a start; nothing is raised for one that is bad."""
    found_stat = stat_of(Path(source.path)) if source.path is not None else None
    selection = plan.select_block(
        recorded_stat=record.source_stat if record else None,
        found_stat=found_stat,
        block=record.block if record else None,
        pending=record.pending if record else None,
        has_record=record is not None,
    )
    cell, line, stat, block = None, 0, found_stat, selection.block
    try:
        if selection.source is Selected.FILE:
            reading = read_source(source)
            if reading is not None:
                document, stat = reading.document, reading.stat
                if document.block is not None:
                    block, cell, line = document.block.toml, document.cell, document.block.line
        elif record is not None:
            stat = record.source_stat
            block = _with_credentials(block, source)
        declaration = EMPTY if block is None else read_declaration(block, cell=cell, line=line)
    except ScriptEnvError as error:
        return Wanted(block=block, declaration=None, stat=None, error=error)
    return Wanted(block=block, declaration=declaration, stat=stat)


def _with_credentials(block: str | None, source: Source) -> str | None:
    """Give a record's block with the credentials that stand in the file's, if that is the same."""
    if block is None or HIDDEN not in block:
        return block
    reading = read_source(source)
    found = reading.document.block if reading is not None else None
    return found.toml if found and without_credentials(found.toml) == block else block


def wanted_python(
    context: Context,
    standing: Standing,
    wanted: Wanted,
    *,
    request: str | None = None,
    fetch: bool = False,
) -> Python:
    """Choose the interpreter (``docs/contract.md``, *Which Python?*).

    :param request: the ``--python`` of this call
    :param fetch: whether a user has run a cell or a command: then the user's uv configuration
        counts, and uv may fetch an interpreter that is not there
    :raises NoPython: if none satisfies
    """
    requires = wanted.declaration.requires_python if wanted.declaration else None
    record = standing.record
    there = _still_usable(record, requires)
    if there is not None and request in (None, there.request):
        return there
    recorded = record.python.request if record else None
    uv = context.uv()
    if request is None and recorded is not None:
        # An earlier request holds until it contradicts what the source requires.
        with contextlib.suppress(NoPython):
            return interpreters.choose(
                uv, request=recorded, requires_python=requires, configured=fetch
            )
    try:
        return interpreters.choose(uv, request=request, requires_python=requires, configured=fetch)
    except NoPython:
        if not fetch or interpreters.fetchable(request, requires) is None:
            raise
        return interpreters.fetch(uv, request=request, requires_python=requires)


def _still_usable(record: Record | None, requires: SpecifierSet | None) -> Python | None:
    """Give the recorded interpreter as it is now, if it is there and satisfies; else ``None``.

    One that was upgraded in place is asked again; uv would make the environment anew for it.
    """
    if record is None or not os.access(record.python.base, os.X_OK):
        return None
    python = record.python
    if stat_of(Path(python.base)) != record.watch.get(python.base):
        try:
            python = interpreters.inspect_python(Path(python.base), request=python.request)
        except NoPython:
            return None
    return python if interpreters.satisfies(python.version, requires) else None


@contextlib.contextmanager
def building(context: Context, standing: Standing, python: Python, held: Held) -> Iterator[Path]:
    """Make an empty virtual environment beside the old one; what is not placed is removed."""
    store = context.store
    path = store.new_build(standing.name)
    try:
        with explained(path):
            context.uv(held).create(path, python=Path(python.base))
            path.chmod(0o700)
        yield path
    finally:
        if path.exists():
            remove_tree(path)


def first_record(
    context: Context, source: Source, python: Python, wanted: Wanted, *, kernel: str
) -> Record:
    """Describe an environment in which nothing is installed yet."""
    record = Record(
        source=source,
        python=python,
        block=wanted.recorded,
        source_stat=wanted.stat,
        kernel=kernel,
        kernel_side=ensure_kernel_side(context.store),
        hosts=(this_host(),),
        uv=uv_version(),
        created=now(),
        last_used=now(),
    )
    decides = deciding(source, wanted.block, python=python)
    if not wanted.requires_nothing:
        return replace(record, watch=decides.watch, settings=decides.settings)
    return replace(
        record,
        fingerprint=decides.fingerprint,
        lock_sha256=decides.lock_sha256,
        watch=decides.watch,
        settings=decides.settings,
    )


def carried_over(old: Record | None, new: Record) -> Record:
    """Give the record of an environment that is built anew what outlives its packages."""
    if old is None:
        return new
    return replace(new, created=old.created, hosts=with_host(old.hosts), register=old.register)


def furnish(context: Context, path: Path, record: Record) -> None:
    """Write launcher and record into an environment."""
    with explained(path):
        text = launcher()
        place = path / LAUNCHER
        if _content(place) != text:
            write_atomically(place, text)
    context.store.write_record(path, record)


def _content(path: Path) -> bytes | None:
    try:
        return read_regular(path, limit=1 << 20)
    except OSError:
        return None


def publish(context: Context, standing: Standing, record: Record) -> bool:
    """Write or remove the kernelspec of an environment; say whether its kernel can encrypt.

    Only files have one. A Jupyter folder that cannot be written costs the entry in the picker, not
    the kernel.
    """
    curve = kernel_can_encrypt(context, standing.path, record)
    # An earlier version wrote one for addresses too, where anybody could read their queries.
    is_file, is_address = (record.source.kind is kind for kind in (SourceKind.FILE, SourceKind.URL))
    if not is_file and not is_address:
        return curve
    try:
        tidy(standing.name)
        if is_file and record.register and policy.current().register:
            register(standing.name, record.source, standing.path, curve=curve)
        else:
            unregister(standing.name, trash=context.store.building)
    except (ScriptEnvError, OSError, ValueError) as error:
        context.on_event({"event": "warning", "text": str(error)})
    return curve


def kernel_can_encrypt(context: Context, path: Path, record: Record) -> bool:
    """Say whether the kernel of an environment can encrypt its connections."""
    if record.kernel == OWN:
        return supports_curve(site_packages(path, record.python))
    layer = find_layer(context.store, record.kernel)
    return layer is not None and layer.curve


def this_host() -> Host:
    """Describe the Python that runs this code."""
    return Host(python=sys.executable, version=__version__, uv=str(find_uv()))


def with_host(hosts: tuple[Host, ...]) -> tuple[Host, ...]:
    """Put this host first in a record's list."""
    here = this_host()
    others = [host for host in hosts if host.python != here.python]
    return (here, *others[: _HOSTS_KEPT - 1])


@cache
def uv_version() -> str:
    """Give the version of the uv in use, by the name of its metadata folder.

    `importlib.metadata` would load the parsers of mail for that, while a cell waits.
    """
    import uv

    folders = (Path(uv.__file__).parent.parent).glob("uv-*.dist-info")
    found = [folder.name.removesuffix(".dist-info").partition("-")[2] for folder in folders]
    if len(found) == 1:
        return found[0]
    from importlib.metadata import version

    return version("uv")


def in_use(
    name: str, others: list[RunningKernel], what: str = "must be rebuilt"
) -> EnvironmentInUse:
    """Say that kernels stand in the way of *what* is to happen to an environment."""
    processes = ", ".join(str(kernel.pid) for kernel in others)
    msg = f"The environment `{name}` {what}, and kernels run in it (process {processes})."
    return EnvironmentInUse(
        msg, problems=tuple(Problem(message=f"process {kernel.pid}") for kernel in others)
    )
