"""Put the front end into wheels and source distributions; called by hatchling.

A wheel holds what is built here, so its installation needs no Node. A source distribution holds it
too, so a wheel that is made of one needs none either. An editable installation has none of it:
``make labextension`` builds, and a link leads there.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PLACE = "share/jupyter/labextensions/ipy-scriptenv"
SOURCES = ("src", "style", "schema", "package.json", "package-lock.json", "tsconfig.json")


class LabExtensionHook(BuildHookInterface):
    """Builds the front end where it is missing or old, and Node is there."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Say what else goes into the distribution; called before it is made.

        :raises RuntimeError: for a source distribution that would lack the front end
        """
        if version == "editable":
            return
        folder = Path(self.root, "labextension")
        if is_old(folder):
            self._build(folder)
        if not (folder / "built" / "package.json").is_file():
            missing = "The front end is not built, and Node (npm) is not here to build it."
            if self.target_name == "sdist":
                raise RuntimeError(missing)
            self.app.display_warning(f"{missing} This wheel goes without; all else works.")
        elif self.target_name == "wheel":
            build_data["shared_data"][str(folder / "built")] = PLACE
            build_data["shared_data"][str(folder / "install.json")] = f"{PLACE}/install.json"

    def _build(self, folder: Path) -> None:
        npm = shutil.which("npm")
        if npm is None:
            return
        self.app.display_info("Building the front end …")
        if not (folder / "node_modules").is_dir():
            subprocess.run([npm, "ci"], cwd=folder, check=True)
        subprocess.run([npm, "run", "build"], cwd=folder, check=True)


def is_old(folder: Path) -> bool:
    """Say whether what is built is missing, or older than a source of it."""
    built = folder / "built" / "package.json"
    if not built.is_file():
        return True
    sources = [path for name in SOURCES for path in files(folder / name)]
    return any(path.stat().st_mtime > built.stat().st_mtime for path in sources)


def files(place: Path) -> list[Path]:
    """Give the files of a folder, or the one file."""
    return [path for path in place.rglob("*") if path.is_file()] if place.is_dir() else [place]
