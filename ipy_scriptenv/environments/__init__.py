"""The verbs: get or init, sync, find, status, list. They return results and never print."""

from __future__ import annotations

from ipy_scriptenv.environments.job import Asker
from ipy_scriptenv.environments.looking import (
    Found,
    Listed,
    Status,
    find,
    list_environments,
    loaded_otherwise,
    status,
)
from ipy_scriptenv.environments.sources import (
    can_be_source,
    check,
    locate,
    locate_gone,
    name_of,
)
from ipy_scriptenv.environments.standing import Context
from ipy_scriptenv.environments.starting import (
    EPHEMERAL,
    Start,
    became_ready,
    discard,
    distrust,
    start,
)
from ipy_scriptenv.environments.syncing import Action, Synced, sync

__all__ = [
    "EPHEMERAL",
    "Action",
    "Asker",
    "Context",
    "Found",
    "Listed",
    "Start",
    "Status",
    "Synced",
    "became_ready",
    "can_be_source",
    "check",
    "discard",
    "distrust",
    "find",
    "list_environments",
    "loaded_otherwise",
    "locate",
    "locate_gone",
    "name_of",
    "start",
    "status",
    "sync",
]
