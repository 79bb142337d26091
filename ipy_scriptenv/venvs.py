"""Virtual environments as they lie on disk: where their parts are, and if they are complete."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from ipy_scriptenv.record import Python

__all__ = [
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
    if sys.platform == "win32":
        return environment / "Lib" / "site-packages"
    free_threaded = "t" if f"-{python.minor.replace('.', '')}t-" in python.abi else ""
    return environment / "lib" / f"python{python.minor}{free_threaded}" / "site-packages"


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
