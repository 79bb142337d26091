"""Pack a source's environment, complete, into an archive for another machine."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from ipy_scriptenv import __version__, policy
from ipy_scriptenv.environments.archiving import Entry, check_target, packed_files, write_archive
from ipy_scriptenv.environments.building import uv_version
from ipy_scriptenv.environments.bundles import built_wheel, gathered_wheels
from ipy_scriptenv.environments.condition import Condition, inspect
from ipy_scriptenv.environments.contents import (
    Distribution,
    distributions,
    files_of,
    layer_files,
)
from ipy_scriptenv.environments.job import Choosing, Pin
from ipy_scriptenv.environments.manifests import LOCK, WHEELS, Kind, Manifest, PackedPython
from ipy_scriptenv.environments.moving import holding
from ipy_scriptenv.environments.relocking import path_warnings, refuse_credentials
from ipy_scriptenv.environments.resolving import folder_of, resolver_options
from ipy_scriptenv.environments.sources import read_lock, read_source
from ipy_scriptenv.environments.standing import Context
from ipy_scriptenv.environments.syncing import Synced, sync
from ipy_scriptenv.errors import EnvironmentInUse, NoLock, NotPortable
from ipy_scriptenv.identity import EnvironmentName
from ipy_scriptenv.kernels.layer import ensure_layer, find_layer
from ipy_scriptenv.leftovers import scratch_folder
from ipy_scriptenv.metadata import rebased_lock
from ipy_scriptenv.record import OWN, Package, Record, Source
from ipy_scriptenv.settings import lock_timeout

__all__ = ["Packed", "pack"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """What was packed.

    :param path: the archive
    :param sha256: of the archive
    :param size: its bytes
    :param warnings: what in it is of use on this machine alone
    """

    source: Source
    path: Path
    manifest: Manifest
    sha256: str
    size: int
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """One packing: what stands, and where something may be built for it.

    :param found: what is installed
    :param options: of uv, where it builds
    """

    context: Context
    source: Source
    environment: Path
    record: Record
    found: tuple[Distribution, ...]
    lock: bytes | None
    scratch: Path
    options: tuple[str, ...]


def pack(
    source: Source,
    target: Path,
    *,
    context: Context,
    kind: Kind = Kind.ENVIRONMENT,
    kernel: bool = True,
    replacing: bool = False,
    pin: Pin = Pin.UPDATE,
) -> Packed:
    """Bring a source's environment up to date, then write it into an archive.

    The archive names nothing of this machine, and holds no credentials and no byte code; the same
    content gives the same bytes. Nobody changes the environment while it is read; kernels may run.
    While it is compressed nobody waits for that: a change is noticed then.

    :param target: absolute; its ending chooses how it is compressed
    :param kernel: whether the kernel layer goes with it
    :param replacing: whether a file that stands at *target* may go
    :param pin: what the source's lock means for the sync
    :raises NotPortable: if something that is installed cannot travel
    :raises NoLock: if *kind* is wheels, and the source has no lock
    :raises EnvironmentInUse: if somebody has changed it meanwhile
    :raises ScriptEnvError: if it cannot be completed or written; nothing is at *target* then
    """
    check_target(target, replacing=replacing)
    if kind is Kind.WHEELS and read_lock(source) is None:
        msg = f"`{source}` has no lock, which says the wheels to take."
        raise NoLock(msg)
    synced = sync(source, context=context, pin=pin)

    def tell() -> None:
        context.on_event({"event": "waiting", "for": "another change of this environment"})

    home = holding(context, source, None, timeout=lock_timeout(), on_wait=tell)
    with scratch_folder(context.store) as scratch, contextlib.ExitStack() as held:
        name, _ = held.enter_context(home)
        work = _work(context, source, synced, name, scratch)
        if kind is Kind.WHEELS:
            # They are fetched, not read from there.
            held.close()
        manifest, entries = _gathered(work, kind=kind, kernel=kernel)
        held.close()
        context.on_event({"event": "installing", "text": f"Packing {len(entries)} files"})
        digest = write_archive(
            target, manifest, entries, replacing=replacing, cancel=context.cancel
        )
    return Packed(
        source=source,
        path=target,
        manifest=manifest,
        sha256=digest,
        size=target.stat().st_size,
        warnings=() if work.lock is None else path_warnings(work.lock),
    )


def _work(
    context: Context, source: Source, synced: Synced, name: EnvironmentName, scratch: Path
) -> _Work:
    """Look at what a sync has left; the caller holds its lock.

    :raises EnvironmentInUse: if that is there no more
    """
    standing = inspect(context.store, name, source)
    record = standing.record
    sound = standing.condition is Condition.SOUND
    if record is None or not sound or record.fingerprint != synced.record.fingerprint:
        msg = f"The environment of `{source}` was changed by somebody else meanwhile."
        raise EnvironmentInUse(msg, hint="Run it again.")
    lock = read_lock(source)
    content = None if lock is None else lock.content
    toml, folder = record.block or "", folder_of(source)
    return _Work(
        context=context,
        source=source,
        environment=standing.path,
        record=record,
        found=distributions(standing.path, record.python),
        lock=content,
        scratch=scratch,
        options=resolver_options(
            policy.current(), Choosing(), toml=toml, folder=folder, lock=content
        ),
    )


def _gathered(work: _Work, *, kind: Kind, kernel: bool) -> tuple[Manifest, list[Entry]]:
    """Give all that goes into the archive, in its order, and what that says of it."""
    record = work.record
    layer, entries = _kernel(work) if kernel else (None, [])
    if work.lock is not None:
        refuse_credentials(work.lock)
        entries.append(Entry(path=LOCK, content=work.lock))
    found, more = _wheels(work) if kind is Kind.WHEELS else _installed(work)
    # What stands where is decided by the path alone; two distributions may bring one file.
    whole = {entry.path: entry for entry in (*entries, *more)}
    ordered = [whole[path] for path in sorted(whole)]
    work.context.on_event({"event": "installing", "text": f"Reading {len(ordered)} files"})
    manifest = Manifest(
        kind=kind,
        python=PackedPython(
            implementation="cpython", version=record.python.version, abi=record.python.abi
        ),
        block=record.block,
        packages=found,
        kernel=OWN if record.kernel == OWN else layer,
        project=__version__,
        uv=uv_version(),
        files=packed_files(ordered, cancel=work.context.cancel),
    )
    return manifest, ordered


def _kernel(work: _Work) -> tuple[str | None, list[Entry]]:
    """Give the kernel layer that the environment runs on, and its files."""
    if work.record.kernel == OWN:
        return None, []
    store, python = work.context.store, work.record.python
    layer = find_layer(store, work.record.kernel)
    if layer is None:
        layer = ensure_layer(store, work.context.uv(), python)
    return layer.name, list(layer_files(store.layers / layer.name / "site-packages"))


def _installed(work: _Work) -> tuple[tuple[Package, ...], list[Entry]]:
    """Give what is installed; what is editable is built, and packed as if it were not."""
    python, entries, packages = work.record.python, list[Entry](), []
    for found in work.found:
        place, distribution = work.environment, found
        if found.editable is not None:
            place, distribution = _not_editable(work, found, found.editable)
        entries += files_of(place, python, distribution)
        packages.append(Package(name=distribution.name, version=distribution.version))
    return tuple(packages), entries


def _not_editable(work: _Work, found: Distribution, folder: Path) -> tuple[Path, Distribution]:
    """Build a project, and install its wheel into an environment that is thrown away.

    :raises NotPortable: if its folder is gone
    :raises PolicyViolation: if nothing may be built
    """
    if not folder.is_dir():
        msg = f"`{found.name}` is imported from `{folder}`, which is not there."
        raise NotPortable(msg)
    uv, python = work.context.uv(), work.record.python
    place = work.scratch / found.name
    wheel = built_wheel(work.context, folder, place / WHEELS, work.options, python=python)
    uv.create(place / "environment", python=Path(python.base))
    uv.install(place / "environment", "--no-deps", "--no-index", str(wheel))
    (built,) = distributions(place / "environment", python)
    return place / "environment", built


def _wheels(work: _Work) -> tuple[tuple[Package, ...], list[Entry]]:
    """Give the wheels of what is installed, by its lock."""
    reading = read_source(work.source)
    block = None if reading is None else reading.document.block
    wheels = gathered_wheels(
        rebased_lock(work.lock or b"", folder=folder_of(work.source)),
        work.found,
        block="" if block is None else block.toml,
        context=work.context,
        python=work.record.python,
        scratch=work.scratch,
        options=work.options,
    )
    entries = [Entry(path=f"{WHEELS}/{wheel.name}", content=wheel) for wheel in wheels]
    return tuple(Package(name=each.name, version=each.version) for each in work.found), entries
