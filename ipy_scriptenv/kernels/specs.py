"""Kernelspecs: one folder per source in the user's Jupyter data folder."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
from pathlib import Path, PurePath
from typing import Any

from jupyter_core.paths import jupyter_data_dir

from ipy_scriptenv.identity import EnvironmentName, kernelspec_name
from ipy_scriptenv.record import Source
from ipy_scriptenv.store import LAUNCHER, environment_python, explained, write_atomically

__all__ = ["PROVISIONER", "kernelspec", "kernelspec_folder", "register"]

PROVISIONER = "scriptenv-provisioner"
"""The entry point's name of our kernel provisioner."""

_LOGOS = ("logo-svg.svg", "logo-32x32.png", "logo-64x64.png")


def kernelspec_folder(name: EnvironmentName) -> Path:
    """Where the kernelspec of an environment is or would be."""
    return Path(jupyter_data_dir()) / "kernels" / kernelspec_name(name)


def kernelspec(source: Source, environment: Path, *, curve: bool) -> dict[str, Any]:
    """Give the content of ``kernel.json`` for a source.

    It works without the provisioner too: the interpreter is the environment's, and the launcher
    finds the record beside it. The display name holds no path, because it is saved into notebooks.

    :param curve: whether the kernel's ipykernel can encrypt its connections; a kernel that was
        promised it and cannot never becomes ready
    """
    metadata: dict[str, Any] = {
        "debugger": True,
        "kernel_provisioner": {"provisioner_name": PROVISIONER},
        "scriptenv": {"source": source.path or source.url, "environment": str(environment)},
    }
    if curve:
        metadata["supported_encryption"] = ["curve"]
    return {
        "argv": [
            str(environment_python(environment)),
            str(environment / LAUNCHER),
            "-f",
            "{connection_file}",
        ],
        "display_name": f"scriptenv: {_title(source)}",
        "language": "python",
        "interrupt_mode": "signal",
        "metadata": metadata,
    }


def register(name: EnvironmentName, source: Source, environment: Path, *, curve: bool) -> str:
    """Write a source's kernelspec if it is missing or differs; give its name."""
    folder = kernelspec_folder(name)
    data = json.dumps(kernelspec(source, environment, curve=curve), indent=1).encode()
    file = folder / "kernel.json"
    try:
        if file.read_bytes() == data:
            return kernelspec_name(name)
    except OSError:
        pass
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for logo in _LOGOS:
            # The pictures come with the generic kernelspec; a kernel works without them.
            shipped = Path(sys.prefix, "share", "jupyter", "kernels", "scriptenv", logo)
            with contextlib.suppress(OSError):
                shutil.copyfile(shipped, folder / logo)
        write_atomically(file, data, mode=0o644)
    return kernelspec_name(name)


def _title(source: Source) -> str:
    name = PurePath(source.path or source.url or "").name
    return name.encode("unicode_escape").decode() if not name.isprintable() else name
