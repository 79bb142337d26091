"""Find what nobody would miss: nothing is changed."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ipy_scriptenv import policy
from ipy_scriptenv.environments.items import Item, ItemKind, size_of
from ipy_scriptenv.environments.standing import Context, is_at_home
from ipy_scriptenv.environments.unused import leftovers, unused_bytecode, unused_parts
from ipy_scriptenv.errors import NewerSchema
from ipy_scriptenv.files import entries, is_gone
from ipy_scriptenv.identity import EnvironmentName, kernelspec_name
from ipy_scriptenv.kernels import specs
from ipy_scriptenv.record import Glance, SourceKind
from ipy_scriptenv.store import Store

__all__ = ["Kept", "is_dead", "is_still_superfluous", "prunable"]


_NEVER = datetime.min.replace(tzinfo=UTC)

_WITHOUT_FILE = timedelta(days=30)
"""How long the environment of an address or of a text is kept unused.

No file of theirs will ever be gone, and running them again makes it again.
"""


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
    items += unused_bytecode(store, everything=kept.everything)
    if not newer:
        items += unused_parts(store, staying, everything=kept.everything)
    return items


def is_still_superfluous(item: Item, store: Store, *, everything: bool) -> bool:
    """Look again, just before it is removed, whether nobody needs something by now."""
    if item.kind is ItemKind.KERNELSPEC:
        spec = specs.read(item.path)
        return spec is not None and is_dead(store, spec)
    if item.kind is ItemKind.BYTECODE:
        return any(each.path == item.path for each in unused_bytecode(store, everything=everything))
    if item.kind in (ItemKind.LAYER, ItemKind.KERNEL_SIDE):
        records, newer = _records(store)
        found = unused_parts(store, records, everything=everything)
        return not newer and any(each.path == item.path for each in found)
    return True


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
            last_used="" if record is None else record.last_used,
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
    """When a kernel last came or ran a cell in each environment: also one that asked no host."""
    found = {}
    for entry in entries(store.locks):
        name, _, kind = entry.name.rpartition(".")
        if kind == "kernels":
            with contextlib.suppress(OSError):
                times = [entry.stat().st_mtime]
                times += [each.stat().st_mtime for each in entries(Path(entry.path))]
                found[name] = datetime.fromtimestamp(max(times), UTC)
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
