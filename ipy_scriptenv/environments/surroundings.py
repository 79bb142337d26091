"""What is outside an environment and still decides how its kernel fares."""

from __future__ import annotations

import os
from collections.abc import Iterable
from importlib.machinery import all_suffixes
from pathlib import Path

from jupyter_core.paths import jupyter_path

from ipy_scriptenv import settings
from ipy_scriptenv.record import Package

__all__ = ["missing_front_ends", "shadowing_path"]

_FRONT_ENDS = {
    "ipywidgets": ("@jupyter-widgets/jupyterlab-manager", "jupyterlab_widgets"),
    "ipympl": ("jupyter-matplotlib", "ipympl"),
    "anywidget": ("anywidget", "anywidget"),
}
"""Packages with a half that must be beside JupyterLab: its name there, and what brings it."""


def missing_front_ends(packages: Iterable[Package]) -> tuple[str, ...]:
    """Tell which packages would not show anything, because JupyterLab lacks their front end.

    Nothing is told where there is no JupyterLab beside this package.
    """
    folders = [Path(folder) for folder in jupyter_path("labextensions")]
    names = {package.name for package in packages}
    wanted = [name for name in _FRONT_ENDS if name in names]
    if not wanted or not _has_lab():
        return ()
    found = []
    for name in wanted:
        extension, brought_by = _FRONT_ENDS[name]
        if not any((folder / extension / "package.json").is_file() for folder in folders):
            found.append(
                f"{name} draws in the browser, and JupyterLab lacks its front end: "
                f"`pip install {brought_by}` beside JupyterLab, then reload the page."
            )
    return tuple(found)


def shadowing_path(packages: Iterable[Package]) -> tuple[str, ...]:
    """Tell which folders of ``PYTHONPATH`` hide packages of an environment, or could."""
    entries = [Path(entry) for entry in settings.python_path()]
    names = {package.name.replace("-", "_") for package in packages}
    found = []
    for entry in entries:
        try:
            there = {
                name.partition(".")[0].lower().replace("-", "_")
                for name in os.listdir(entry)
                if "." not in name or name.endswith(tuple(all_suffixes()))
            }
        except OSError:
            continue
        hidden = sorted(names & there)
        if hidden:
            found.append(
                f"PYTHONPATH holds `{entry}`, whose {', '.join(hidden)} Python finds before the "
                "environment's: take it out of PYTHONPATH."
            )
    return tuple(found)


def _has_lab() -> bool:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return bool(version("jupyterlab"))
    except PackageNotFoundError:
        return False
