"""What this process has imported, and how new packages become importable without a restart."""

from __future__ import annotations

import importlib
import os
import site
import sys

__all__ = ["Packages", "file_of", "imported_from"]


def imported_from(folder: str) -> list[str]:
    """List what is imported from a folder of packages: one path for each package.

    The paths are relative to *folder*, with forward slashes: ``numpy/__init__.py``, ``six.py``;
    inside a namespace package, the first package that has a file of its own.
    """
    prefix = os.path.join(folder, "")
    found = set()
    for name, module in list(sys.modules.items()):
        path = file_of(module)
        if path is None or not path.startswith(prefix):
            continue
        parts = name.split(".")
        for count in range(1, len(parts) + 1):
            outer = file_of(sys.modules.get(".".join(parts[:count])))
            if outer is not None and outer.startswith(prefix):
                path = outer
                break
        found.add(os.path.relpath(path, folder).replace(os.sep, "/"))
    return sorted(found)


def file_of(module: object) -> str | None:
    """Read a module's file without running code of its own, such as a lazy module's loading."""
    try:
        path = object.__getattribute__(module, "__dict__").get("__file__")
    except Exception:  # noqa: BLE001 - anything may stand in sys.modules
        return None
    return path if isinstance(path, str) else None


class Packages:
    """The environment's and the layer's folders of packages, as this process sees them."""

    def __init__(self, environment: str, layer: str | None) -> None:
        prefix = os.path.join(environment, "")
        own = [entry for entry in sys.path if entry.startswith(prefix)]
        self.environment = next((e for e in own if e.endswith("site-packages")), "")
        self.layer = layer
        self.undeclared: dict[str, str] = {}
        """Modules that the user's code took from the layer alone, and their distributions."""
        self._seen = self._pth_files()
        self._modules = 0
        self._imported: list[str] = []

    def imports_changed(self) -> bool:
        """Say whether modules came or went since :meth:`imported` was last looked up."""
        return len(sys.modules) != self._modules

    def imported(self) -> list[str]:
        """What is imported from the environment; looked up anew only if modules came or went."""
        if self.imports_changed():
            self._modules = len(sys.modules)
            self._imported = imported_from(self.environment) if self.environment else []
        return self._imported

    def loaded(self) -> dict[str, list[str]]:
        """What is imported from either folder."""
        return {
            "environment": imported_from(self.environment) if self.environment else [],
            "layer": imported_from(self.layer) if self.layer else [],
        }

    def refresh(self) -> None:
        """Make what was installed meanwhile importable.

        *New* ``.pth`` files (editable installs) are processed as Python's start would, with their
        paths before the layer's; old ones are not run again.
        """
        importlib.invalidate_caches()
        found = self._pth_files()
        new = sorted(found - self._seen)
        self._seen = found
        if not new:
            return
        before = list(sys.path)
        for name in new:
            site.addpackage(self.environment, name, set(before))
        added = [entry for entry in sys.path if entry not in before]
        if added and self.layer in before:
            at = before.index(self.layer)
            sys.path[:] = before[:at] + added + before[at:]
        importlib.invalidate_caches()

    def _pth_files(self) -> set[str]:
        try:
            return {name for name in os.listdir(self.environment) if name.endswith(".pth")}
        except OSError:
            return set()
