"""One sync: who asks for it, and everything that it depends on."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from pathlib import Path

from ipy_scriptenv.environments.condition import Standing
from ipy_scriptenv.environments.standing import Context, Deciding
from ipy_scriptenv.environments.wanted import Wanted
from ipy_scriptenv.locks import Held, RunningKernel
from ipy_scriptenv.metadata import uv_settings
from ipy_scriptenv.plan import Loaded
from ipy_scriptenv.record import Python, Source
from ipy_scriptenv.settings import config_files
from ipy_scriptenv.venvs import is_made_from

__all__ = ["ALL_PACKAGES", "Asker", "Choosing", "Job", "Pin"]

ALL_PACKAGES = ("*",)
"""Upgrade every package; no package has such a name."""


class Pin(enum.Enum):
    """What the lock of a source, where it has one, means for a sync."""

    UPDATE = "update"
    """Install what it locks; where the block has changed, bring it up to date first.

    A kernel's sync, as a cell runs, installs what it would then be, and writes nothing.
    """
    LOCKED = "locked"
    """Install what it locks; refuse if there is none, or if the block has changed."""
    FROZEN = "frozen"
    """Install what it locks, whatever the block says by now; refuse if there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choosing:
    """How versions are chosen in one call, beside what the source says.

    :param upgrade: packages that need not stay as they are; :data:`ALL_PACKAGES` for every one
    :param exclude_newer: a date; what was uploaded later is passed over
    :param index: further indexes, each a URL or ``name=URL``
    """

    upgrade: tuple[str, ...] = ()
    exclude_newer: str | None = None
    index: tuple[str, ...] = ()

    @property
    def says_something(self) -> bool:
        """Whether anything is asked for."""
        return bool(self.upgrade or self.exclude_newer or self.index)

    @property
    def upgrade_options(self) -> tuple[str, ...]:
        """What uv is told to upgrade."""
        if ALL_PACKAGES[0] in self.upgrade:
            return ("--upgrade",)
        return tuple(word for name in self.upgrade for word in ("--upgrade-package", name))


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """The kernel that asks for a sync, where one does.

    :param uuid: name of its live lock
    :param fresh: no cell of the user has run in it, so it may replace itself
    :param python: base interpreter that it runs on
    :param kernel: the layer that it runs on, or ``own``
    :param loaded: what it has imported
    """

    uuid: str
    fresh: bool
    python: str
    kernel: str
    loaded: Loaded = field(default_factory=Loaded)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One sync, with everything that it was found to depend on.

    :param kernels: all that run in the environment, the asking one too
    :param held: the environment's exclusive lock
    :param folder: where relative paths in the block start
    :param refetch: whether uv's cache is passed over, because what is in it is damaged
    :param pin: what its lock means
    """

    context: Context
    source: Source
    standing: Standing
    wanted: Wanted
    python: Python
    decides: Deciding
    kernels: list[RunningKernel]
    asker: Asker | None
    held: Held
    folder: Path
    refetch: bool = False
    pin: Pin = Pin.UPDATE
    choosing: Choosing = field(default_factory=Choosing)

    @property
    def others(self) -> list[RunningKernel]:
        """The kernels that run in the environment, without the one that asks."""
        uuid = self.asker.uuid if self.asker else None
        return [kernel for kernel in self.kernels if kernel.uuid != uuid]

    @property
    def same_python(self) -> bool:
        """Whether the environment was made from the interpreter that is wanted, as it is now."""
        record = self.standing.record
        if record is None:
            # Its record is lost: what uv wrote tells it too.
            return is_made_from(self.standing.path, self.python)
        return (record.python.base, record.python.version) == (
            self.python.base,
            self.python.version,
        )

    @property
    def settings_changed(self) -> bool:
        """Whether what chooses the versions, beside the dependencies, is not as it was."""
        record = self.standing.record
        if record is None or record.fingerprint is None:
            return False
        files = map(str, config_files())
        return (
            record.settings != self.decides.settings
            or uv_settings(record.block) != uv_settings(self.wanted.recorded)
            or any(record.watch.get(each) != self.decides.watch.get(each) for each in files)
        )
