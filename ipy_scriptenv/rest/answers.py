"""The JSON of what a front end asks for at once; called in threads."""

from __future__ import annotations

from typing import Any

from packaging.utils import canonicalize_name

from ipy_scriptenv import card, environments, present_lists
from ipy_scriptenv.environments import Context, Listed
from ipy_scriptenv.errors import NoEnvironment
from ipy_scriptenv.rest.asking import Asked
from ipy_scriptenv.rest.paths import ContentsPaths
from ipy_scriptenv.rest.telling import told

__all__ = [
    "check",
    "environment",
    "known_names",
    "listed",
    "listing",
    "names",
    "place_of",
    "place_of_listed",
    "pythons",
]

_MOST_NAMES = 50


def place_of(path: str) -> str:
    """Give what tasks are told apart by for a file: the same for each way to name it.

    :raises ScriptEnvError: if it can be no source
    """
    return str(environments.locate(path))


def place_of_listed(asked: Asked) -> str:
    """Give the same for what a task names otherwise.

    :raises NoEnvironment: if it is no environment of ours
    """
    found = listed(asked)
    return str(found.source) if _has_address(found) else found.name


def listed(asked: Asked) -> Listed:
    """Find the environment that a task names by its source or by its own name.

    :raises NoEnvironment: if it is none of ours
    """
    for each in environments.list_environments(context=Context()):
        is_source = _has_address(each) and str(each.source) == asked.source
        if is_source if asked.environment is None else each.name == asked.environment:
            return each
    msg = f"There is no environment of `{asked.environment or asked.source}`."
    raise NoEnvironment(msg, hint="Look at the list again: it may be gone by now.")


def _has_address(listed: Listed) -> bool:
    """Say whether an environment's source is told from every other: texts are all called alike."""
    source = listed.source
    return source is not None and (source.path is not None or source.url is not None)


def environment(
    path: str, *, block: str | None, given: bool, lock: str | None = None
) -> dict[str, Any]:
    """Give all that is to be seen of a file and its environment.

    :param path: on the disk
    :param block: TOML to take instead of the file's, if *given*
    :param lock: the lock in an open notebook's metadata; ``None``: the file's
    """
    source = environments.locate(path)
    found = environments.overview(source, context=Context(), block=block, given=given, lock=lock)
    answer: dict[str, Any] = {
        "schema": 1,
        "source": str(source),
        "status": card.status_json(found.status),
        "lock": {
            "path": None if found.lock is None else str(found.lock.path),
            "embedded": found.lock is not None and found.lock.embedded,
            "state": found.lock_state.value,
        },
        "bytes": found.size,
        "packages": [
            {
                "name": each.name,
                "version": each.version,
                "declared": each.declared,
                "requires": list(each.requires),
                "required_by": list(each.required_by),
            }
            for each in found.packages
        ],
        "python": {"version": found.python_version, "request": found.python_request},
    }
    return told(answer)


def listing(paths: ContentsPaths, *, sizes: bool) -> dict[str, Any]:
    """Give every environment, with the contents path of its source, and totals."""
    listed = environments.list_environments(context=Context(), sizes=sizes)
    answer = present_lists.list_json(listed)
    for row in answer["environments"]:
        row["contents_path"] = paths.of(row["source"])
    total = sum(each.size or 0 for each in listed) if sizes else None
    answer["totals"] = {"number": len(listed), "bytes": total}
    return told(answer)


def pythons() -> dict[str, Any]:
    """Give the interpreters on this machine, the newest first."""
    found = environments.known_pythons(context=Context())
    return {
        "pythons": [
            {"version": each.version, "path": each.path, "is_host": each.is_host} for each in found
        ]
    }


def known_names() -> list[str]:
    """Give all names that this machine knows, in order."""
    return sorted(environments.known_names(context=Context()))


def names(known: list[str], prefix: str) -> dict[str, Any]:
    """Choose names for a completion: that very one, those that begin so, those that hold it."""
    begun = canonicalize_name(prefix.strip())
    same = [name for name in known if name == begun]
    begin = [name for name in known if name.startswith(begun) and name != begun]
    hold = [name for name in known if begun in name and not name.startswith(begun)]
    return {"names": [*same, *begin, *hold][:_MOST_NAMES]}


def check(requirement: str) -> dict[str, Any]:
    """Say whether a text can be a requirement."""
    found = environments.check_requirement(requirement)
    return {"valid": found.message is None, "name": found.name, "message": found.message}
