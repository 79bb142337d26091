"""Throw away what is not needed: one environment, or all that nobody will miss."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Iterable

from ipy_scriptenv.environments.building import in_use
from ipy_scriptenv.environments.condition import inspect, whereabouts
from ipy_scriptenv.environments.items import Item, ItemKind, size_of
from ipy_scriptenv.environments.locating import name_of
from ipy_scriptenv.environments.standing import Context
from ipy_scriptenv.environments.superfluous import is_dead, is_still_superfluous
from ipy_scriptenv.environments.unused import all_leftovers
from ipy_scriptenv.errors import EnvironmentInUse, Foreign, NoEnvironment, ScriptEnvError
from ipy_scriptenv.files import explained
from ipy_scriptenv.identity import EnvironmentName
from ipy_scriptenv.kernels import specs
from ipy_scriptenv.leftovers import remove_leftover, sweep
from ipy_scriptenv.locks import exclusive, running_kernels
from ipy_scriptenv.record import Source
from ipy_scriptenv.settings import lock_timeout
from ipy_scriptenv.store import KERNEL_SIDE, Store

__all__ = ["delete", "delete_named", "prune", "remove_layer", "sweep_kernelspecs"]

_SWEEP_EVERY = 3600.0
_SWEEP_SECONDS = 0.2
_SWEEP_LEAST = 20
"""How many kernelspecs are looked at however long it takes: a server that starts is busy."""


def delete(source: Source, *, context: Context) -> Item:
    """Remove the environment of a source, and its kernelspec with it.

    :raises NoEnvironment: if there is none
    :raises EnvironmentInUse: if a kernel runs in it
    :raises Foreign: if what stands there is another's
    """
    store = context.store
    store.check()
    name = whereabouts(store, source)
    if not os.path.lexists(store.environment(name)):
        msg = f"`{source}` has no environment."
        raise NoEnvironment(msg, hint="`jupyter scriptenv list` names those that stand.")
    store.prepare()
    inspect(store, name, source)
    return _deleted(context, name, source=str(source))


def delete_named(name: EnvironmentName, *, context: Context) -> Item:
    """Remove an environment by its own name: its record may be broken, or its source a text.

    :raises ScriptEnvError: as :func:`delete`
    """
    store = context.store
    store.check()
    if not os.path.lexists(store.environment(name)):
        msg = f"There is no environment `{name}`."
        raise NoEnvironment(msg)
    store.prepare()
    record = store.record_of(name)
    return _deleted(context, name, source=None if record is None else str(record.source))


def prune(
    items: Iterable[Item], *, context: Context, everything: bool = False
) -> tuple[list[Item], list[tuple[Item, str]]]:
    """Remove what :func:`prunable` found. What has come into use meanwhile stays.

    :param everything: whether the parts for the next environment go too, and the home if nothing is
        left in it
    :returns: what went; and what stayed, each with the reason
    """
    removed, kept = [], []
    context.store.prepare()
    for item in items:
        try:
            if _remove(item, context, everything=everything):
                removed.append(item)
            else:
                kept.append((item, "It is in use by now, or gone already."))
        except (ScriptEnvError, OSError) as error:
            kept.append((item, str(error)))
    _forget_locks(context.store)
    if everything and not context.store.names():
        context.store.remove_home()
    return removed, kept


def remove_layer(name: str, *, context: Context) -> None:
    """Remove a damaged kernel layer, to be built again when it is needed.

    :raises EnvironmentInUse: if a kernel runs on it
    """
    store = context.store
    with exclusive(store.lock(f"layer-{name}"), timeout=lock_timeout()):
        for folder in store.live_folders():
            users = [kernel for kernel in running_kernels(folder) if kernel.kernel == name]
            if users:
                raise in_use(name, users, "is to be removed")
        store.remove_folder(store.layers / name)


def sweep_kernelspecs(context: Context) -> list[EnvironmentName]:
    """Remove kernelspecs of sources that are gone, so that the picker stays true.

    It is done once an hour at most, and for a moment only: of very many kernelspecs it looks at
    others each time. The environments stay until they are pruned: a deleted file may come back,
    and its next start writes the kernelspec again.
    """
    if not context.store.is_due("kernelspecs", every=_SWEEP_EVERY):
        return []
    end = time.monotonic() + _SWEEP_SECONDS
    removed = []
    for count, spec in enumerate(specs.ours(shuffled=True)):
        if count >= _SWEEP_LEAST and time.monotonic() > end:
            break
        with contextlib.suppress(ScriptEnvError, OSError):
            if is_dead(context.store, spec) and _swept(context.store, spec):
                removed.append(spec.name)
    return removed


def _swept(store: Store, spec: specs.Spec) -> bool:
    """Remove a kernelspec, unless its environment was only out of sight while it is replaced."""
    store.prepare()
    name = EnvironmentName(spec.environment.name)
    with exclusive(store.lock(name), timeout=0):
        if not is_dead(store, spec) or running_kernels(store.live(name)):
            return False
        specs.unregister(spec.name, trash=store.building)
        if not os.path.lexists(spec.environment):
            store.forget_locks(name)
        return True


def _deleted(context: Context, name: EnvironmentName, *, source: str | None) -> Item:
    path = context.store.environment(name)
    item = Item(
        kind=ItemKind.ENVIRONMENT,
        name=name,
        path=path,
        reason="It was asked for.",
        source=source,
        size=size_of(path),
    )
    _remove_environment(context, name, wait=lock_timeout())
    return item


def _remove(item: Item, context: Context, *, everything: bool) -> bool:
    """Remove one item, if nobody needs it by now; say whether it is gone."""
    store = context.store
    match item.kind:
        case ItemKind.ENVIRONMENT:
            _remove_environment(
                context,
                EnvironmentName(item.name),
                wait=0,
                retitle=False,
                last_used=item.last_used,
            )
        case ItemKind.KERNELSPEC:
            return _remove_kernelspec(item, store, everything=everything)
        case ItemKind.LAYER | ItemKind.KERNEL_SIDE:
            is_layer = item.kind is ItemKind.LAYER
            guard = f"layer-{item.name}" if is_layer else KERNEL_SIDE
            with exclusive(store.lock(guard), timeout=0):
                if not is_still_superfluous(item, store, everything=everything):
                    return False
                store.remove_folder(item.path)
        case ItemKind.BYTECODE:
            if not is_still_superfluous(item, store, everything=everything):
                return False
            store.remove_folder(item.path)
        case ItemKind.LEFTOVER:
            return _remove_leftover(item, store)
    return True


def _remove_kernelspec(item: Item, store: Store, *, everything: bool) -> bool:
    """Remove a kernelspec, unless its environment was only out of sight while it is replaced."""
    spec = specs.read(item.path)
    with contextlib.ExitStack() as stack:
        if spec is not None:
            stack.enter_context(exclusive(store.lock(spec.environment.name), timeout=0))
        still = is_still_superfluous(item, store, everything=everything)
        name = EnvironmentName(item.name.removeprefix("scriptenv-"))
        return still and specs.unregister(name, trash=store.building, retitle=False)


def _remove_leftover(item: Item, store: Store) -> bool:
    """Remove what a crash left, if it still counts as that when its guard is held."""
    guards = [left.guard for left in all_leftovers(store) if left.path == item.path]
    if not guards:
        return False
    with contextlib.ExitStack() as stack:
        if guards[0] is not None:
            stack.enter_context(exclusive(store.lock(guards[0]), timeout=0))
        left = next((left for left in all_leftovers(store) if left.path == item.path), None)
        return left is not None and remove_leftover(store, left)


def _remove_environment(
    context: Context,
    name: EnvironmentName,
    *,
    wait: float,
    retitle: bool = True,
    last_used: str | None = None,
) -> None:
    """Remove an environment with its kernelspec, if no kernel needs it.

    :param last_used: when it was found to be superfluous; one that was used since stays
    :raises EnvironmentInUse: if a kernel runs in it or is about to, or it was used since
    :raises NewerSchema: if a newer version made it
    """
    store = context.store
    path = store.environment(name)
    with exclusive(store.lock(name), timeout=wait, cancelled=lambda: context.cancel.is_set):
        sweep(store, name)
        record = store.read_record(path)
        _require_nobody(store, name)
        if record is not None and last_used not in (None, record.last_used):
            raise EnvironmentInUse(f"The environment `{name}` has been used meanwhile.")
        if os.path.lexists(path) and not store.is_ours(path):
            raise Foreign(f"Something that is not ours stands at `{path}`.")
        trash = store.building / f".replaced-{name}-{secrets.token_hex(4)}"
        with explained(path):
            path.rename(trash)
        try:
            # A start that has not seen that it is gone has left its note by now.
            _require_nobody(store, name)
        except EnvironmentInUse:
            trash.rename(path)
            raise
        store.remove_folder(trash)
        with contextlib.suppress(ScriptEnvError, OSError):
            specs.unregister(name, trash=store.building, retitle=retitle)
        if record is not None:
            store.forget_move(name_of(record.source))
        store.forget_locks(name)


def _require_nobody(store: Store, name: EnvironmentName) -> None:
    kernels = running_kernels(store.live(name))
    if kernels:
        raise in_use(name, kernels, "is to be removed")
    if store.is_starting(name):
        msg = f"A kernel is being started in the environment `{name}`."
        raise EnvironmentInUse(msg)


def _forget_locks(store: Store) -> None:
    """Remove the lock files of what is gone."""
    for name in store.lock_names():
        stands = store.layers / name.removeprefix("layer-") if name.startswith("layer-") else None
        stands = stands or store.environment(EnvironmentName(name))
        if os.path.lexists(stands):
            continue
        with contextlib.suppress(ScriptEnvError, OSError), exclusive(store.lock(name), timeout=0):
            if not running_kernels(store.live(EnvironmentName(name))):
                store.forget_locks(EnvironmentName(name))
