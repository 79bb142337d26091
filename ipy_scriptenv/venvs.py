"""Virtual environments as they lie on disk: where their parts are, and if they are complete.

``find`` is asked by shells and editors, again and again: nothing here loads more than it needs.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ipy_scriptenv.layout import CHANGING

if TYPE_CHECKING:
    from ipy_scriptenv.record import Python

__all__ = [
    "damage",
    "environment_python",
    "is_environment",
    "is_made_from",
    "made_from_version",
    "site_packages",
]


def environment_python(environment: Path) -> Path:
    """Where the interpreter of a virtual environment is."""
    if sys.platform == "win32":
        return environment / "Scripts" / "python.exe"
    return environment / "bin" / "python"


def site_packages(environment: Path, python: Python) -> Path:
    """Where a virtual environment keeps its packages."""
    return _site_packages(environment, python.version, python.abi)


def _site_packages(environment: Path, version: str, abi: str) -> Path:
    minor = ".".join(version.split(".")[:2])
    if sys.platform == "win32":
        return environment / "Lib" / "site-packages"
    free_threaded = "t" if f"-{minor.replace('.', '')}t-" in abi else ""
    return environment / "lib" / f"python{minor}{free_threaded}" / "site-packages"


def is_environment(path: Path) -> bool:
    """Say whether a complete virtual environment stands at *path*: what uv may be let near.

    ``pyvenv.cfg`` is written last; without its ``home`` key uv would act on the base interpreter.
    """
    if path.is_symlink():
        return False
    try:
        text = (path / "pyvenv.cfg").read_text("utf-8", errors="replace")
    except OSError:
        return False
    has_home = any(re.match(r"\s*home\s*=\s*\S", line) for line in text.splitlines())
    return has_home and environment_python(path).is_file()


def damage(path: Path, *, base: str, version: str, abi: str, has_packages: bool) -> str | None:
    """Say what is wrong with an environment of ours, as far as a handful of stats tell.

    :param base: its interpreter, *version* and *abi* likewise, as its record says
    :param has_packages: whether something was installed, likewise
    """
    if (path / CHANGING).exists():
        return "A change of it was interrupted."
    if not os.access(base, os.X_OK):
        return f"The interpreter `{base}` is gone."
    broken = _damaged_interpreter(path, base, version)
    if broken is None and has_packages and not _has_packages(_site_packages(path, version, abi)):
        return "Its packages are gone."
    return broken


def _damaged_interpreter(path: Path, base: str, version: str) -> str | None:
    if not is_environment(path):
        return "Its interpreter or `pyvenv.cfg` is missing."
    if not os.access(environment_python(path), os.X_OK):
        return "Its interpreter cannot be run."
    if not _is_its_interpreter(path, base, version):
        return "Its interpreter is not the one that it was made from."
    return None


def _is_its_interpreter(path: Path, base: str, version: str) -> bool:
    """Say whether an environment has the interpreter, in the version, that it was made from.

    uv would make the environment anew where `pyvenv.cfg` tells another version.
    """
    if made_from_version(path) not in (None, version):
        return False
    if os.name != "posix":
        return True
    try:
        return environment_python(path).samefile(base)
    except OSError:
        return False


def _has_packages(site: Path) -> bool:
    try:
        return any(name.endswith(".dist-info") for name in os.listdir(site))
    except OSError:
        return False


def is_made_from(path: Path, python: Python) -> bool:
    """Say whether the virtual environment at *path* was made from an interpreter, as it is now."""
    told = _configuration(path)
    try:
        same = Path(told["home"]).samefile(Path(python.base).parent)
    except (KeyError, OSError):
        return False
    return same and told.get("version_info") == python.version


def made_from_version(path: Path) -> str | None:
    """Give the version of Python that a virtual environment says it is of; ``None`` if none."""
    return _configuration(path).get("version_info")


def _configuration(path: Path) -> dict[str, str]:
    try:
        text = (path / "pyvenv.cfg").read_text("utf-8", errors="replace")
    except OSError:
        return {}
    return dict(re.findall(r"(?m)^\s*(\w+)\s*=\s*(.*?)\s*$", text))
