"""Parts that environments share and none needs, and what crashes left: nothing is changed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ipy_scriptenv.bytecode import sharing
from ipy_scriptenv.environments.items import Item, ItemKind, size_of
from ipy_scriptenv.environments.locating import name_of
from ipy_scriptenv.files import entries
from ipy_scriptenv.identity import EnvironmentName
from ipy_scriptenv.kernels.layer import layer_digest
from ipy_scriptenv.kernels.side import kernel_side_name
from ipy_scriptenv.leftovers import Leftover
from ipy_scriptenv.leftovers import leftovers as left_by_crashes
from ipy_scriptenv.locks import RunningKernel, is_held, running_kernels
from ipy_scriptenv.record import Glance
from ipy_scriptenv.store import Store

__all__ = ["all_leftovers", "leftovers", "unused_bytecode", "unused_parts"]

_BYTECODE_UNUSED = timedelta(days=30)
_BYTECODE_BYTES = 2 * 2**30
"""How long byte code is kept that no new environment has a use for, and how much of it."""


def unused_parts(
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


def unused_bytecode(store: Store, *, everything: bool) -> list[Item]:
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
