"""Make what another machine has packed the environment of a source.

Nothing of an archive is run, and nothing of it stands before all of it was checked: it is unpacked
beside, as everything that is built here, and then gets its name.
"""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from ipy_scriptenv.environments.building import (
    building,
    carried_over,
    first_record,
    furnish,
    in_use,
    publish,
)
from ipy_scriptenv.environments.condition import Condition, Standing, inspect, installed_packages
from ipy_scriptenv.environments.extracting import Opened, opened
from ipy_scriptenv.environments.fitting import (
    check_packages,
    check_system,
    fitting_python,
    hold_against_policy,
    lies,
)
from ipy_scriptenv.environments.manifests import ENVIRONMENT, KERNEL, WHEELS, Kind, Manifest
from ipy_scriptenv.environments.moving import holding
from ipy_scriptenv.environments.standing import Context, Deciding, deciding
from ipy_scriptenv.environments.syncing import Action, Synced
from ipy_scriptenv.environments.wanted import Wanted, wanted_at_start
from ipy_scriptenv.errors import (
    BadArchive,
    EnvironmentInUse,
    NoSpace,
)
from ipy_scriptenv.files import explained
from ipy_scriptenv.identity import EnvironmentName, kernelspec_name
from ipy_scriptenv.kernels.layer import find_layer, layer_name
from ipy_scriptenv.kernels.received import receiving_layer
from ipy_scriptenv.kernels.wholeness import damaged_packages
from ipy_scriptenv.layout import CHANGING, LAUNCHER, RECORD
from ipy_scriptenv.leftovers import scratch_folder, sweep
from ipy_scriptenv.locks import Held, running_kernels
from ipy_scriptenv.metadata import read_toml
from ipy_scriptenv.record import OWN, Python, Source
from ipy_scriptenv.settings import lock_timeout
from ipy_scriptenv.uv_output import Change
from ipy_scriptenv.venvs import site_packages

__all__ = ["Unpacked", "unpack"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpacked:
    """What was unpacked.

    :param path: the archive
    :param in_sync: whether the source declares what was packed; if not, its next sync completes it
    """

    path: Path
    kind: Kind
    synced: Synced
    in_sync: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """One unpacking: what was found, and what it was found to depend on.

    :param held: the environment's exclusive lock
    """

    context: Context
    found: Opened
    source: Source
    standing: Standing
    wanted: Wanted
    python: Python
    held: Held


def unpack(
    archive: Path, source: Source, *, context: Context, python: str | None = None
) -> Unpacked:
    """Check an archive, and make what it holds the environment of a source.

    uv reaches no network for it, and builds nothing. What stood is replaced.

    :param archive: absolute
    :param python: a request for the interpreter, kept in the record
    :raises BadArchive: if anything in it is not as it says
    :raises NoPython: if this machine has no such Python
    :raises NotPortable: if a package in it needs another system than this one
    :raises EnvironmentInUse: if a kernel runs in the source's environment
    :raises ScriptEnvError: nothing of it stands then, and what stood still stands
    """
    store = context.store
    store.prepare()

    def tell() -> None:
        context.on_event({"event": "waiting", "for": "another change of this environment"})

    with opened(archive, cancel=context.cancel) as found:
        home = holding(context, source, None, timeout=lock_timeout(), on_wait=tell)
        with home as (name, held):
            sweep(store, name)
            standing = inspect(store, name, source)
            _refuse_used(context, name)
            wanted = wanted_at_start(source, standing.record)
            if wanted.error is not None:
                raise wanted.error
            base = fitting_python(context, found.manifest, wanted, request=python)
            _require_space(store.home, found.manifest)
            work = _Work(
                context=context,
                found=found,
                source=source,
                standing=standing,
                wanted=wanted,
                python=base,
                held=held,
            )
            return _unpacked(work)


def _unpacked(work: _Work) -> Unpacked:
    """Build beside, then give it the name."""
    context, standing, python = work.context, work.standing, work.python
    with building(context, standing, python, work.held) as path:
        kernel = _extract(work, path)
        packages = installed_packages(path, python)
        record = first_record(context, work.source, python, work.wanted, kernel=kernel)
        record = carried_over(standing.record, record)
        decides, warnings = _decides(work)
        record = replace(
            record,
            packages=packages,
            fingerprint=None if decides is None else decides.fingerprint,
            lock_sha256=None if decides is None else decides.lock_sha256,
            watch=record.watch if decides is None else decides.watch,
            settings=record.settings if decides is None else decides.settings,
        )
        furnish(context, path, record)
        _refuse_used(context, standing.name)
        context.store.place(path, standing.path)
    before = set(standing.record.packages) if standing.record else set()
    missing = standing.condition is Condition.MISSING
    changed = sorted(before ^ set(packages), key=lambda each: (each.name, each in before))
    synced = Synced(
        name=standing.name,
        path=standing.path,
        record=record,
        action=Action.CREATED if missing else Action.REBUILT,
        changes=tuple(
            Change(
                name=each.name,
                version=each.version,
                action="removed" if each in before else "installed",
            )
            for each in changed
        ),
        kernelspec=kernelspec_name(standing.name),
        warnings=warnings,
        curve=publish(context, standing, record),
    )
    return Unpacked(
        path=work.found.path,
        kind=work.found.manifest.kind,
        synced=synced,
        in_sync=record.fingerprint is not None,
    )


def _extract(work: _Work, path: Path) -> str:
    """Unpack an archive into an empty environment, which nobody else sees yet, and check it all.

    :returns: the layer that a kernel there starts on, or ``own``
    """
    context, found, python = work.context, work.found, work.python
    manifest = found.manifest
    with contextlib.ExitStack() as stack:
        layer, scratch = None, stack.enter_context(scratch_folder(context.store))
        starts_on = manifest.layer or layer_name(python)
        if manifest.layer is not None and find_layer(context.store, manifest.layer) is None:
            starts_on = manifest.layer_by_content
            layer = stack.enter_context(receiving_layer(context.store, python, starts_on))
        wheels = scratch / WHEELS
        wheels.mkdir()
        places = {ENVIRONMENT: path, WHEELS: wheels}
        if layer is not None:
            places[KERNEL] = layer
        count = len(manifest.files)
        context.on_event({"event": "installing", "text": f"Unpacking {count} files"})
        found.extract(places)
        hold_against_policy(found, work.source)
        if manifest.kind is Kind.WHEELS:
            _install(work, wheels, path)
        packages = installed_packages(path, python)
        check_packages(found, site_packages(path, python), packages)
        if layer is not None:
            if damaged_packages(layer) or not (layer / "ipykernel").is_dir():
                raise lies(found, "the kernel in it is not whole")
            check_system(layer)
        if any((path / name).exists() for name in (CHANGING, LAUNCHER, RECORD)):
            raise lies(found, "it holds what is made anew on each machine")
    has_own = any(each.name == "ipykernel" for each in packages)
    return OWN if has_own else starts_on


def _install(work: _Work, wheels: Path, path: Path) -> None:
    """Have uv make the environment of the wheels alone, each held against its checksum."""
    lines = []
    for file in work.found.manifest.files:
        folder, _, name = file.path.partition("/")
        if folder == WHEELS:
            try:
                project, version, *_ = parse_wheel_filename(name)
            except InvalidWheelFilename as error:
                raise BadArchive(f"`{name}` in the archive is no wheel.") from error
            lines.append(f"{project}=={version} --hash=sha256:{file.sha256}\n")
    if not lines:
        return
    listing = wheels.with_name("requirements.txt")
    listing.write_text("".join(lines), encoding="utf-8")
    options = ["--no-deps", "--require-hashes", "--only-binary", ":all:"]
    options += ["--no-index", "--offline", "--find-links", str(wheels)]
    work.context.uv(work.held).install(path, *options, "--requirements", str(listing))


def _decides(work: _Work) -> tuple[Deciding | None, tuple[str, ...]]:
    """Give what decides, if the source declares what was packed; if not, why, as a warning."""
    found, wanted = work.found, work.wanted
    decides, reason = deciding(work.source, wanted.block, python=work.python), None
    if _tables(wanted.recorded) != _tables(found.manifest.block):
        reason = "Its block is not the one that was packed"
    elif decides.lock not in (None, found.lock):
        reason = "Its lock is not the one that was packed"
    if reason is None:
        return decides, ()
    return None, (f"{reason}: the first cell, or `sync`, installs what differs.",)


def _tables(block: str | None) -> dict[str, Any]:
    return read_toml(block) if block else {}


def _refuse_used(context: Context, name: EnvironmentName) -> None:
    kernels = running_kernels(context.store.live(name))
    if kernels:
        raise in_use(name, kernels, "is to be replaced")
    if context.store.is_starting(name):
        raise EnvironmentInUse(f"A kernel is being started in the environment `{name}`.")


def _require_space(home: Path, manifest: Manifest) -> None:
    with explained(home):
        free = shutil.disk_usage(home).free
    if free < manifest.size:
        raise NoSpace(f"`{home}` has {free} bytes left; the archive holds {manifest.size}.")
