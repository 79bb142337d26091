"""Find what nobody would miss: nothing is changed."""

from __future__ import annotations

import contextlib
import enum
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ipy_scriptenv import policy
from ipy_scriptenv.bytecode import sharing
from ipy_scriptenv.environments.locating import name_of
from ipy_scriptenv.environments.standing import Context, is_at_home
from ipy_scriptenv.errors import NewerSchema
from ipy_scriptenv.files import entries, is_gone
from ipy_scriptenv.identity import EnvironmentName, kernelspec_name
from ipy_scriptenv.kernels import specs
from ipy_scriptenv.kernels.layer import layer_digest
from ipy_scriptenv.kernels.side import kernel_side_name
from ipy_scriptenv.leftovers import Leftover
from ipy_scriptenv.leftovers import leftovers as left_by_crashes
from ipy_scriptenv.locks import RunningKernel, is_held, running_kernels
from ipy_scriptenv.record import Glance, SourceKind
from ipy_scriptenv.store import Store

__all__ = [
    "Item",
    "ItemKind",
    "Kept",
    "all_leftovers",
    "is_dead",
    "is_still_superfluous",
    "leftovers",
    "prunable",
    "size_of",
]


_NEVER = datetime.min.replace(tzinfo=UTC)

_WITHOUT_FILE = timedelta(days=30)
"""How long the environment of an address or of a text is kept unused.

No file of theirs will ever be gone, and running them again makes it again.
"""


_BYTECODE_UNUSED = timedelta(days=30)
_BYTECODE_BYTES = 2 * 2**30
"""How long byte code is kept that no new environment has a use for, and how much of it."""


class ItemKind(enum.StrEnum):
    """What can be removed."""

    ENVIRONMENT = "environment"
    LAYER = "layer"
    KERNEL_SIDE = "kernel-side"
    BYTECODE = "byte-code"
    KERNELSPEC = "kernelspec"
    LEFTOVER = "leftover"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One thing to remove, or that was removed.

    :param reason: a sentence
    :param source: what an environment or a kernelspec is for, where that is known
    :param size: bytes; files that other environments share count too. ``None``: not asked
    """

    kind: ItemKind
    name: str
    path: Path
    reason: str
    source: str | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """How much may be kept; ``None``: no limit of that kind.

    :param unused_for: an environment that was not used for that long goes
    :param size: bytes that all environments together may have; the longest unused go first
    :param number: of environments, likewise
    :param everything: whether nothing is kept, but what is in use
    """

    unused_for: timedelta | None = None
    size: int | None = None
    number: int | None = None
    everything: bool = False


def prunable(kept: Kept, *, context: Context) -> list[Item]:
    """Find what can go; nothing is changed.

    Environments whose source is gone, those without a file that were not used for 30 days, and
    those that *kept* gives no room to; kernelspecs of ours
    without environment; kernel layers and copies of the kernel side that nobody uses; what crashes
    left. Never what is in use, and never what is not ours.
    """
    kept = _within_policy(kept)
    store = context.store
    store.check()
    records, newer = _records(store)
    environments = _superfluous(context, records, kept)
    gone = {item.name for item in environments}
    staying = {name: record for name, record in records.items() if name not in gone}
    items = [*leftovers(store), *environments, *_dead_kernelspecs(store, frozenset(records))]
    items += _unused_bytecode(store, everything=kept.everything)
    if not newer:
        items += _unused_parts(store, staying, everything=kept.everything)
    return items


def is_still_superfluous(item: Item, store: Store, *, everything: bool) -> bool:
    """Look again, just before it is removed, whether nobody needs something by now."""
    if item.kind is ItemKind.KERNELSPEC:
        spec = specs.read(item.path)
        return spec is not None and is_dead(store, spec)
    if item.kind is ItemKind.BYTECODE:
        return any(
            each.path == item.path for each in _unused_bytecode(store, everything=everything)
        )
    if item.kind in (ItemKind.LAYER, ItemKind.KERNEL_SIDE):
        records, newer = _records(store)
        found = _unused_parts(store, records, everything=everything)
        return not newer and any(each.path == item.path for each in found)
    return True


def size_of(path: Path) -> int:
    """Add up the sizes of all files at or under *path*, links not followed, in bytes."""
    total = 0
    folders = [str(path)]
    with contextlib.suppress(OSError):
        found = os.lstat(path)
        if not stat.S_ISDIR(found.st_mode):
            return found.st_size
    while folders:
        with contextlib.suppress(OSError), os.scandir(folders.pop()) as there:
            for entry in there:
                with contextlib.suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
    return total


def is_dead(store: Store, spec: specs.Spec) -> bool:
    """Say whether a kernelspec starts nothing, or something whose source is gone.

    One of another home is that home's to judge.
    """
    if spec.environment.parent != store.environments:
        return False
    if is_gone(spec.environment) or (Path(spec.source).is_absolute() and is_gone(spec.source)):
        return True
    return spec.alias and not specs.is_named_by(spec.source, spec.name)


def _within_policy(kept: Kept) -> Kept:
    allowed = policy.current()
    return replace(
        kept,
        size=_least(kept.size, allowed.max_bytes),
        number=_least(kept.number, allowed.max_environments),
    )


def _least(*limits: int | None) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)


def _records(store: Store) -> tuple[dict[EnvironmentName, Glance | None], bool]:
    """Read the records, and say whether a newer version made some: those are its own to judge."""
    found, newer = {}, False
    for name in store.names():
        try:
            found[name] = store.glance(name)
        except NewerSchema:
            newer = True
    return found, newer


def _superfluous(
    context: Context, records: dict[EnvironmentName, Glance | None], kept: Kept
) -> list[Item]:
    """Find the environments that can go, the longest unused first."""
    store = context.store
    lived = _lived(store)
    used = {name: max(_used(record), lived.get(name, _NEVER)) for name, record in records.items()}
    candidates = sorted(records, key=lambda name: used[name])
    chosen: dict[EnvironmentName, str] = {}
    for name in candidates:
        reason = _reason(store, name, records[name], kept, used[name])
        if reason is not None and not is_at_home(store, name):
            chosen[name] = reason
    rest = [name for name in candidates if name not in chosen]
    if kept.number is not None:
        for name in rest[: max(0, len(rest) - kept.number)]:
            if not is_at_home(store, name):
                chosen[name] = f"More than {kept.number} environments are too many."
    sizes: dict[EnvironmentName, int] = {}
    if kept.size is not None:
        rest = [name for name in candidates if name not in chosen]
        sizes = {name: size_of(store.environment(name)) for name in rest}
        total = sum(sizes.values())
        for name in rest:
            if total <= kept.size:
                break
            if not is_at_home(store, name):
                total -= sizes[name]
                chosen[name] = "The environments together are too large."
    return [
        Item(
            kind=ItemKind.ENVIRONMENT,
            name=name,
            path=store.environment(name),
            reason=reason,
            source=None if (record := records[name]) is None else str(record.source),
            size=sizes.get(name) or size_of(store.environment(name)),
        )
        for name, reason in chosen.items()
    ]


def _reason(
    store: Store, name: EnvironmentName, record: Glance | None, kept: Kept, used: datetime
) -> str | None:
    """Say why an environment can go, or ``None``."""
    if record is None:
        path = store.environment(name)
        return "Its record is gone or broken." if store.is_ours(path) else None
    if kept.everything:
        return "Everything goes."
    source = record.source
    if source.path is not None and is_gone(source.path):
        return "Its source is gone."
    if source.kind is SourceKind.EPHEMERAL:
        return "Its kernel has ended."
    limits = [kept.unused_for, None if source.path is not None else _WITHOUT_FILE]
    unused = datetime.now(UTC) - used
    if any(limit is not None and unused > limit for limit in limits):
        return f"It was last used on {used:%Y-%m-%d}."
    return None


def _used(record: Glance | None) -> datetime:
    """When an environment was last used; long ago where that is not told."""
    try:
        used = datetime.fromisoformat(record.last_used) if record else None
    except (ValueError, TypeError):
        used = None
    if used is None or used.tzinfo is None:
        return _NEVER
    return used


def _lived(store: Store) -> dict[str, datetime]:
    """When a kernel last came or went in each environment: also one that asked no host."""
    found = {}
    for entry in entries(store.locks):
        name, _, kind = entry.name.rpartition(".")
        if kind == "kernels":
            with contextlib.suppress(OSError):
                found[name] = datetime.fromtimestamp(entry.stat().st_mtime, UTC)
    return found


def _dead_kernelspecs(store: Store, standing: frozenset[EnvironmentName]) -> list[Item]:
    """List the kernelspecs of ours that start nothing; those of what stands go with that."""
    return [
        Item(
            kind=ItemKind.KERNELSPEC,
            name=kernelspec_name(spec.name),
            path=spec.folder,
            reason="What it would start is gone.",
            source=spec.source,
            size=size_of(spec.folder),
        )
        for spec in specs.ours(without=standing)
        if is_dead(store, spec)
    ]


def _unused_parts(
    store: Store, records: dict[EnvironmentName, Glance | None], *, everything: bool
) -> list[Item]:
    """List the kernel layers and copies of the kernel side that nothing names or runs on.

    The present ones stay, for the next environment.
    """
    stand = [record for record in records.values() if record is not None]
    kernels = [*_all_kernels(store)]
    layers = {record.kernel for record in stand} | {kernel.kernel for kernel in kernels}
    sides = {record.kernel_side for record in stand} | {kernel.side for kernel in kernels}
    present = f"-{layer_digest()}"
    found = [
        (ItemKind.LAYER, path, "No environment uses this kernel layer.")
        for path in _folders(store.layers, "layer.json")
        if path.name not in layers and (everything or not path.name.endswith(present))
    ]
    found += [
        (ItemKind.KERNEL_SIDE, path, "No environment uses this version.")
        for path in _folders(store.kernel_sides, "launcher.py")
        if path.name not in sides and (everything or path.name != kernel_side_name())
    ]
    return [
        Item(kind=kind, name=path.name, path=path, reason=reason, size=size_of(path))
        for kind, path, reason in found
    ]


def _unused_bytecode(store: Store, *, everything: bool) -> list[Item]:
    """List the byte code of wheels that no environment got for long, or that there is too much of.

    What environments have linked stays theirs.
    """
    limit = datetime.now(UTC) - _BYTECODE_UNUSED
    found, room = [], _BYTECODE_BYTES
    for used, path, size in sorted(sharing.kept(store), reverse=True):
        room -= size
        if everything:
            reason = "Everything goes."
        elif used < limit:
            reason = f"No environment got it since {used:%Y-%m-%d}."
        elif room < 0:
            reason = "There is too much byte code."
        else:
            continue
        kind = ItemKind.BYTECODE
        found.append(Item(kind=kind, name=path.name, path=path, reason=reason, size=size))
    return found


def _all_kernels(store: Store) -> Iterator[RunningKernel]:
    for folder in store.live_folders():
        yield from running_kernels(folder)


def _folders(folder: Path, proof: str) -> list[Path]:
    """List the folders of ours in one: no links, and with the file *proof* in it."""
    found = (Path(entry.path) for entry in entries(folder) if entry.is_dir(follow_symlinks=False))
    return sorted(path for path in found if path.name[0] != "." and (path / proof).is_file())


def leftovers(store: Store) -> list[Item]:
    """List what crashes left and nobody is at work on."""
    return [
        Item(
            kind=ItemKind.LEFTOVER,
            name=left.path.name,
            path=left.path,
            reason="A crash left it.",
            size=size_of(left.path),
        )
        for left in all_leftovers(store)
        if left.guard is None or not is_held(store.lock(left.guard))
    ]


def all_leftovers(store: Store) -> list[Leftover]:
    """List what crashes left, and what is being worked on: who removes one takes its guard first.

    To these belong the notes of moves whose environment is gone, or is another's.
    """
    found = left_by_crashes(store)
    for name in store.moves():
        old = store.moved_from(name)
        record = store.record_of(old) if old is not None else None
        if record is None or name_of(record.source) != name:
            found.append(Leftover(path=store.moved_note(name), guard=name))
    return found
