"""Find the environment that stands for a source."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ipy_scriptenv.environments.condition import Condition, Standing, inspect, whereabouts
from ipy_scriptenv.errors import NoEnvironment, NotFound
from ipy_scriptenv.files import stat_of
from ipy_scriptenv.identity import EnvironmentName
from ipy_scriptenv.record import Source
from ipy_scriptenv.store import Store
from ipy_scriptenv.venvs import environment_python

__all__ = ["Found", "find", "found_in"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A standing environment."""

    name: EnvironmentName
    path: Path
    python: Path
    python_version: str


def find(source: Source, *, store: Store, name: EnvironmentName | None = None) -> Found:
    """Find the environment of a source.

    :param name: its name, where the source does not give it (ephemeral ones)
    :raises NoEnvironment: if there is none, or it is damaged
    """
    standing = inspect(store, name or whereabouts(store, source), source)
    if standing.condition is Condition.MISSING:
        _require_file(source)
        msg = f"`{source}` has no environment yet."
        raise NoEnvironment(msg)
    found = found_in(standing)
    if found is None or standing.condition is Condition.BROKEN:
        msg = f"The environment of `{source}` is damaged. {standing.broken}"
        raise NoEnvironment(msg, hint="Mend it with `jupyter scriptenv sync SOURCE`.")
    return found


def found_in(standing: Standing) -> Found | None:
    """Describe an environment that stands; ``None`` if there is none, or none that is known."""
    if standing.record is None:
        return None
    return Found(
        name=standing.name,
        path=standing.path,
        python=environment_python(standing.path),
        python_version=standing.record.python.version,
    )


def _require_file(source: Source) -> None:
    """Check that a file source is still there.

    :raises NotFound: if it is gone
    """
    if source.path is not None and stat_of(Path(source.path)) is None:
        msg = f"`{source.path}` does not exist."
        raise NotFound(msg)
