"""Where everything of ours stands in the home: names and paths, nothing is read.

::

    <home>/environments-v1/<name>/                    a relocatable virtual environment
    <home>/environments-v1/<name>/scriptenv.json      its record
    <home>/environments-v1/<name>/kernel.py           the launcher
    <home>/building-v1/.building-<name>-<token>       one that is being made
    <home>/building-v1/.moved-<name>                  where the one stands that is to be <name>
    <home>/kernels-v1/<abi>-<digest>/                 the kernel layers
    <home>/kernel-side-v1/<version>/                  the code that runs in kernels
    <home>/bytecode-v1/                               what wheels were compiled to
    <home>/locks/                                     changes, and kernels that run
    <home>/work-v1/                                   what uv is given to read

What has no time to load more looks here too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "BUILDING",
    "CHANGING",
    "ENVIRONMENTS",
    "LAUNCHER",
    "MOVED",
    "RECORD",
    "Layout",
    "bytecode_lock",
]

ENVIRONMENTS = "environments-v1"
BUILDING = "building-v1"
MOVED = ".moved-"
"""Begins the names of notes in :data:`BUILDING`, of where an environment still stands."""

RECORD = "scriptenv.json"
LAUNCHER = "kernel.py"
CHANGING = "scriptenv.changing"
"""A mark: written before an environment is changed in place, removed after."""


class Layout:
    """The paths in one home folder; a class without data, so that it costs next to nothing."""

    __slots__ = ()

    home: Path

    @property
    def environments(self) -> Path:
        """The folder of the environments, one for each source."""
        return self.home / ENVIRONMENTS

    @property
    def building(self) -> Path:
        """The folder where environments are made and thrown away, on the same file system."""
        return self.home / BUILDING

    @property
    def layers(self) -> Path:
        """The folder of the kernel layers, one for each ABI and hash-locked list."""
        return self.home / "kernels-v1"

    @property
    def kernel_sides(self) -> Path:
        """The folder of the copies of the kernel side, one for each content."""
        return self.home / "kernel-side-v1"

    @property
    def bytecode(self) -> Path:
        """The folder of the byte code that environments share, one for each wheel."""
        return self.home / "bytecode-v1"

    @property
    def locks(self) -> Path:
        """The folder of all lock files, live locks included."""
        return self.home / "locks"

    @property
    def work(self) -> Path:
        """The folder that uv is called in, with what is staged for it."""
        return self.home / "work-v1"

    @property
    def folders(self) -> tuple[Path, ...]:
        """All folders of ours in the home."""
        return (
            self.environments,
            self.building,
            self.layers,
            self.kernel_sides,
            self.bytecode,
            self.locks,
            self.work,
        )

    def environment(self, name: str) -> Path:
        """Where the environment of that name stands or would stand."""
        return self.environments / name

    def lock(self, name: str) -> Path:
        """The lock file for changes of the environment or layer *name*."""
        return self.locks / f"{name}.lock"

    def live(self, name: str) -> Path:
        """The folder of the live locks of the kernels in the environment *name*."""
        return self.locks / f"{name}.kernels"

    def moved_note(self, name: str) -> Path:
        """Where it is noted that an environment is to be *name*."""
        return self.building / f"{MOVED}{name}"

    def starting(self, name: str) -> Path:
        """The note that a kernel is being launched in the environment *name*."""
        return self.locks / f"{name}.starting"


def bytecode_lock(abi: str) -> str:
    """Name the lock of the process that compiles for an ABI; no environment's name has a dot."""
    return f"bytecode.{abi}"
