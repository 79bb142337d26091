"""The verbs. They return results and never print."""

from __future__ import annotations

from ipy_scriptenv.environments.doctor import Finding, examine, mend
from ipy_scriptenv.environments.job import Asker
from ipy_scriptenv.environments.looking import (
    ORDERS,
    STATES,
    Found,
    Listed,
    Status,
    find,
    list_environments,
    loaded_otherwise,
    status,
)
from ipy_scriptenv.environments.moving import Moved, adopt, move, whereabouts
from ipy_scriptenv.environments.registering import register, unregister
from ipy_scriptenv.environments.removing import delete, prune, sweep_kernelspecs
from ipy_scriptenv.environments.sources import (
    can_be_source,
    check,
    locate,
    locate_gone,
    locate_or_gone,
    name_of,
)
from ipy_scriptenv.environments.standing import Context
from ipy_scriptenv.environments.starting import (
    EPHEMERAL,
    Start,
    became_ready,
    discard,
    distrust,
    prepare,
    start,
)
from ipy_scriptenv.environments.superfluous import Item, ItemKind, Kept, prunable
from ipy_scriptenv.environments.syncing import Action, Synced, sync

__all__ = [
    "EPHEMERAL",
    "ORDERS",
    "STATES",
    "Action",
    "Asker",
    "Context",
    "Finding",
    "Found",
    "Item",
    "ItemKind",
    "Kept",
    "Listed",
    "Moved",
    "Start",
    "Status",
    "Synced",
    "adopt",
    "became_ready",
    "can_be_source",
    "check",
    "delete",
    "discard",
    "distrust",
    "examine",
    "find",
    "list_environments",
    "loaded_otherwise",
    "locate",
    "locate_gone",
    "locate_or_gone",
    "mend",
    "move",
    "name_of",
    "prepare",
    "prunable",
    "prune",
    "register",
    "start",
    "status",
    "sweep_kernelspecs",
    "sync",
    "unregister",
    "whereabouts",
]
