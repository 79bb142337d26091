"""What an administrator allows: ``policy.toml`` in the system's and in the user's config folder.

A block cannot loosen it, and neither can the user's file loosen the system's: of two limits the
narrower one holds.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any, TypeVar

from ipy_scriptenv import settings
from ipy_scriptenv.errors import PolicyBroken
from ipy_scriptenv.files import read_regular

__all__ = ["FREE", "Named", "Policy", "current", "read_size"]

_T = TypeVar("_T", int, datetime)
_LARGEST = 1 << 20
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A folder, and the policy file that names it."""

    folder: Path
    file: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What is allowed; the values that allow everything are the defaults.

    :param allowed_indexes: for each file that says so, the beginnings of the addresses and paths
        that packages may come from; each of the files must allow one
    :param wheels_only: whether nothing is built from source
    :param exclude_newer: packages uploaded after this moment are not there
    :param register: whether kernelspecs of sources are written
    :param max_environments: that ``prune`` keeps
    :param max_bytes: that all environments together may have after ``prune``
    :param pass_env: names of environment variables that uv gets although they look like secrets
    :param shared: the folder with kernel layers and byte code that all users read
    :param files: the policy files that were read
    """

    allowed_indexes: tuple[tuple[str, ...], ...] = ()
    wheels_only: bool = False
    exclude_newer: datetime | None = None
    register: bool = True
    max_environments: int | None = None
    max_bytes: int | None = None
    pass_env: tuple[str, ...] = ()
    shared: Named | None = None
    files: tuple[Path, ...] = ()

    @property
    def says_what_comes(self) -> bool:
        """Whether it limits what may be installed."""
        return bool(self.allowed_indexes or self.wheels_only or self.exclude_newer)


FREE = Policy()
"""What holds where no administrator has said anything."""


def current() -> Policy:
    """Read the policy that holds now.

    :raises PolicyBroken: if a policy file cannot be read: nobody is let around it
    """
    policy = FREE
    for path in settings.policy_files():
        tables = _read(path)
        if tables is not None:
            policy = _narrowed(policy, _from_toml(tables, path))
    return policy


def read_size(text: str) -> int:
    """Read a size such as ``20G`` or ``500 MB``: bytes, in powers of ten.

    :raises ValueError: if it is none
    """
    stripped = text.strip().upper().removesuffix("B").rstrip()
    unit = stripped[-1:] if stripped[-1:].isalpha() else ""
    if unit not in _UNITS:
        raise ValueError(f"`{text}` is no size: write it as 500M or 20G.")
    try:
        size = float(stripped.removesuffix(unit))
    except ValueError:
        raise ValueError(f"`{text}` is no size: write it as 500M or 20G.") from None
    if not 0 <= size < float("inf"):
        raise ValueError(f"`{text}` is no size: write it as 500M or 20G.")
    return int(size * _UNITS[unit])


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return tomllib.loads(read_regular(path, limit=_LARGEST).decode())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, RecursionError) as error:
        msg = f"The policy file `{path}` cannot be read: {error}."
        raise PolicyBroken(msg) from error


def _from_toml(tables: Mapping[str, Any], path: Path) -> Policy:
    values: dict[str, Any] = {}
    for key, value in tables.items():
        reader = _KEYS.get(key)
        if reader is None:
            msg = f"The policy file `{path}` has a key that is not known: `{key}`."
            raise PolicyBroken(msg)
        try:
            values[key.replace("-", "_")] = reader(value)
        except (TypeError, ValueError) as error:
            msg = f"The policy file `{path}`, `{key}`: {error}"
            raise PolicyBroken(msg) from error
    if "shared" in values:
        values["shared"] = Named(folder=values["shared"], file=path)
    return Policy(**values, files=(path,))


def _narrowed(one: Policy, other: Policy) -> Policy:
    """Give the policy that allows what both do."""
    return Policy(
        allowed_indexes=(*one.allowed_indexes, *other.allowed_indexes),
        wheels_only=one.wheels_only or other.wheels_only,
        exclude_newer=_least(one.exclude_newer, other.exclude_newer),
        register=one.register and other.register,
        max_environments=_least(one.max_environments, other.max_environments),
        max_bytes=_least(one.max_bytes, other.max_bytes),
        pass_env=(*one.pass_env, *other.pass_env),
        # It is no limit: the system's is read first and holds.
        shared=one.shared or other.shared,
        files=(*one.files, *other.files),
    )


def _least(one: _T | None, other: _T | None) -> _T | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)


def _strings(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise TypeError("it must be an array of strings.")
    return tuple(value)


def _indexes(value: Any) -> tuple[tuple[str, ...], ...]:
    found = _strings(value)
    for each in found:
        is_address = each.startswith(("https://", "http://", "file://", "git+"))
        if not is_address and not (Path(each).is_absolute() and Path(each).name):
            raise ValueError(f"`{each}` is no beginning of an address or an absolute path.")
    return (found,)


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("it must be true or false.")
    return value


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TypeError("it must be a whole number.")
    return value


def _size(value: Any) -> int:
    return read_size(value) if isinstance(value, str) else _count(value)


def _folder(value: Any) -> Path:
    if not isinstance(value, str):
        raise TypeError("it must be a string.")
    if not Path(value).is_absolute():
        raise ValueError(f"`{value}` is no absolute path.")
    return Path(value)


def _moment(value: Any) -> datetime:
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    elif isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    if not isinstance(value, datetime):
        raise TypeError("it must be a date, or a date with a time.")
    return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


_KEYS: Mapping[str, Callable[[Any], Any]] = {
    "allowed-indexes": _indexes,
    "wheels-only": _boolean,
    "exclude-newer": _moment,
    "register": _boolean,
    "max-environments": _count,
    "max-bytes": _size,
    "pass-env": _strings,
    "shared": _folder,
}
