"""The verbs. They return results and never print.

Each is loaded when it is first asked for: a sync for a cell is waited for, and needs few of them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ipy_scriptenv.environments.belonging import Installed, installed_tree
    from ipy_scriptenv.environments.condition import whereabouts
    from ipy_scriptenv.environments.declared import Drift, Met, Undeclared
    from ipy_scriptenv.environments.declaring import (
        Declared,
        cell_of_block,
        cell_with,
        declare,
        declare_given,
        init,
    )
    from ipy_scriptenv.environments.doctor import Finding, examine, mend
    from ipy_scriptenv.environments.edits import Edit, Edited, Verb, edit_given
    from ipy_scriptenv.environments.ephemeral import EPHEMERAL, discard
    from ipy_scriptenv.environments.exporting import Form, export, tree
    from ipy_scriptenv.environments.filling import (
        SharedLayer,
        SharedParts,
        named_folder,
        pythons_here,
        share,
        share_python,
    )
    from ipy_scriptenv.environments.finding import Found, find
    from ipy_scriptenv.environments.following import adopt
    from ipy_scriptenv.environments.items import Item, ItemKind
    from ipy_scriptenv.environments.job import ALL_PACKAGES, Asker, Choosing, Pin
    from ipy_scriptenv.environments.known import (
        Checked,
        KnownPython,
        check_requirement,
        known_names,
        known_pythons,
    )
    from ipy_scriptenv.environments.layers import prepare
    from ipy_scriptenv.environments.locating import (
        address,
        can_be_source,
        locate,
        locate_gone,
        locate_or_gone,
        name_of,
    )
    from ipy_scriptenv.environments.locking import Locked, check_lock, lock
    from ipy_scriptenv.environments.looking import (
        ORDERS,
        STATES,
        Listed,
        Status,
        list_environments,
        loaded_otherwise,
        status,
    )
    from ipy_scriptenv.environments.manifests import Kind
    from ipy_scriptenv.environments.moving import Moved, move
    from ipy_scriptenv.environments.opened import (
        EditedCell,
        SyncedOpen,
        change_requirement,
        edit_cell,
        lock_opened,
        recording,
        sync_opened,
        waits_for_start,
    )
    from ipy_scriptenv.environments.packing import Packed, pack
    from ipy_scriptenv.environments.registering import register, unregister
    from ipy_scriptenv.environments.relocking import relocked
    from ipy_scriptenv.environments.removing import (
        delete,
        delete_named,
        prune,
        sweep_kernelspecs,
    )
    from ipy_scriptenv.environments.sources import (
        check,
    )
    from ipy_scriptenv.environments.standing import Context
    from ipy_scriptenv.environments.starting import (
        Start,
        became_ready,
        distrust,
        start,
    )
    from ipy_scriptenv.environments.superfluous import Kept, prunable
    from ipy_scriptenv.environments.surveying import LockState, Overview, lock_state, overview
    from ipy_scriptenv.environments.syncing import Action, Synced, sync
    from ipy_scriptenv.environments.unpacking import Unpacked, unpack

__all__ = [
    "ALL_PACKAGES",
    "EPHEMERAL",
    "ORDERS",
    "STATES",
    "Action",
    "Asker",
    "Checked",
    "Choosing",
    "Context",
    "Declared",
    "Drift",
    "Edit",
    "Edited",
    "EditedCell",
    "Finding",
    "Form",
    "Found",
    "Installed",
    "Item",
    "ItemKind",
    "Kept",
    "Kind",
    "KnownPython",
    "Listed",
    "LockState",
    "Locked",
    "Met",
    "Moved",
    "Overview",
    "Packed",
    "Pin",
    "SharedLayer",
    "SharedParts",
    "Start",
    "Status",
    "Synced",
    "SyncedOpen",
    "Undeclared",
    "Unpacked",
    "Verb",
    "address",
    "adopt",
    "became_ready",
    "can_be_source",
    "cell_of_block",
    "cell_with",
    "change_requirement",
    "check",
    "check_lock",
    "check_requirement",
    "declare",
    "declare_given",
    "delete",
    "delete_named",
    "discard",
    "distrust",
    "edit_cell",
    "edit_given",
    "examine",
    "export",
    "find",
    "init",
    "installed_tree",
    "known_names",
    "known_pythons",
    "list_environments",
    "loaded_otherwise",
    "locate",
    "locate_gone",
    "locate_or_gone",
    "lock",
    "lock_opened",
    "lock_state",
    "mend",
    "move",
    "name_of",
    "named_folder",
    "overview",
    "pack",
    "prepare",
    "prunable",
    "prune",
    "pythons_here",
    "recording",
    "register",
    "relocked",
    "share",
    "share_python",
    "start",
    "status",
    "sweep_kernelspecs",
    "sync",
    "sync_opened",
    "tree",
    "unpack",
    "unregister",
    "waits_for_start",
    "whereabouts",
]

_PLACES = {
    "belonging": ("Installed", "installed_tree"),
    "condition": ("whereabouts",),
    "declared": ("Drift", "Met", "Undeclared"),
    "declaring": (
        "Declared",
        "cell_of_block",
        "cell_with",
        "declare",
        "declare_given",
        "init",
    ),
    "doctor": ("Finding", "examine", "mend"),
    "edits": ("Edit", "Edited", "Verb", "edit_given"),
    "ephemeral": ("EPHEMERAL", "discard"),
    "exporting": ("Form", "export", "tree"),
    "filling": (
        "SharedLayer",
        "SharedParts",
        "named_folder",
        "pythons_here",
        "share",
        "share_python",
    ),
    "finding": ("Found", "find"),
    "following": ("adopt",),
    "items": ("Item", "ItemKind"),
    "job": ("ALL_PACKAGES", "Asker", "Choosing", "Pin"),
    "known": ("Checked", "KnownPython", "check_requirement", "known_names", "known_pythons"),
    "layers": ("prepare",),
    "locating": ("address", "can_be_source", "locate", "locate_gone", "locate_or_gone", "name_of"),
    "locking": ("Locked", "check_lock", "lock"),
    "looking": (
        "Listed",
        "ORDERS",
        "STATES",
        "Status",
        "list_environments",
        "loaded_otherwise",
        "status",
    ),
    "manifests": ("Kind",),
    "moving": ("Moved", "move"),
    "opened": (
        "EditedCell",
        "SyncedOpen",
        "change_requirement",
        "edit_cell",
        "lock_opened",
        "recording",
        "sync_opened",
        "waits_for_start",
    ),
    "packing": ("Packed", "pack"),
    "registering": ("register", "unregister"),
    "relocking": ("relocked",),
    "removing": ("delete", "delete_named", "prune", "sweep_kernelspecs"),
    "sources": ("check",),
    "standing": ("Context",),
    "starting": ("Start", "became_ready", "distrust", "start"),
    "superfluous": ("Kept", "prunable"),
    "surveying": ("LockState", "Overview", "lock_state", "overview"),
    "syncing": ("Action", "Synced", "sync"),
    "unpacking": ("Unpacked", "unpack"),
}
"""In which module each name is."""

_MODULES = {name: module for module, names in _PLACES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value
