"""The first steps of a kernel: its paths, its variables, its live lock, then ipykernel."""

from __future__ import annotations

import os
import sys
from typing import Any

from . import check, live

__all__ = ["PORT_TAKEN", "main", "set_variables"]

PORT_TAKEN = 75
"""Exit code of a kernel whose port was taken meanwhile, as ``sysexits.h`` has it: try again."""

_PREPARED = "SCRIPTENV_PREPARED"
"""Set where a host has just made sure that everything stands: nothing is looked at twice."""


_LAUNCH = """
import os, sys
try:
    from ipy_scriptenv.launch import main
except ImportError:
    environment, *words = sys.argv[1:]
    folder = "Scripts" if os.name == "nt" else "bin"
    python = os.path.join(environment, folder, "python")
    os.environ["SCRIPTENV_PREPARED"] = "1"
    os.execv(python, [python, os.path.join(environment, "kernel.py"), *words])
sys.exit(main())
"""
"""What a host runs to start the kernel anew; without the package it starts as it is."""


def main(environment: str, home: str, record: dict[str, Any]) -> None:
    """Run the kernel of *environment* until it ends.

    Called by the launcher, which is ``__main__``, with the record as it was read just now.
    """
    if "PYTHONPATH" in os.environ:
        os.environ["PYTHONPATH"] = check.absolute_entries(os.environ["PYTHONPATH"])
    prepared = os.environ.pop(_PREPARED, None) is not None
    layer = _layer_path(home, record)
    if not prepared and _must_ask_host(environment, record, layer):
        _become_host_launch(environment, record)
        if layer is not None and not os.path.isdir(layer):
            sys.exit(f"The kernel's packages, `{layer}`, are gone: `pip install ipy-scriptenv`.")
    _set_paths(environment, layer)
    initial = dict(os.environ)
    set_variables(environment, os.path.join(home, "kernel-side-v1", record["kernel_side"]))
    lock = live.hold(environment, home, record["kernel"])
    from .app import run

    run(environment, home, record, lock, layer=layer, initial=initial)


def _layer_path(home: str, record: dict[str, Any]) -> str | None:
    """Give the layer's folder of packages, where its byte code says that it is.

    One that the machine's users share is a link in the home.
    """
    if record["kernel"] == "own":
        return None
    path = os.path.join(home, "kernels-v1", record["kernel"], "site-packages")
    return os.readlink(path) if os.path.islink(path) else path


def _must_ask_host(environment: str, record: dict[str, Any], layer: str | None) -> bool:
    """Whether what decides about interpreter and kernel may differ from what stands."""
    if os.path.exists(os.path.join(environment, "scriptenv.changing")):
        return True
    if layer is not None and not os.path.isdir(layer):
        return True
    return record["pending"] is not None or check.source_changed(record)


def _become_host_launch(environment: str, record: dict[str, Any]) -> None:
    """Let a host get or init, and start anew; without a host, go on with what stands."""
    for host in record["hosts"]:
        if not os.access(host["python"], os.X_OK):
            continue
        argv = [host["python"], "-P", "-c", _LAUNCH, environment, *sys.argv[1:]]
        if os.name == "posix":
            os.execv(argv[0], argv)
        import subprocess

        sys.exit(subprocess.call(argv))


def _set_paths(environment: str, layer: str | None) -> None:
    """Take the launcher's folder off the path; put the layer behind the environment's packages."""
    # Python has put it there as it is without links, such as that of a `/home`.
    place = os.path.realpath(environment)
    sys.path[:] = [entry for entry in sys.path if os.path.realpath(entry) != place]
    if layer is not None:
        sys.path.append(layer)


def set_variables(environment: str, side: str) -> None:
    """Make commands reach this environment: its own first, then our ``pip`` and ``uv``."""
    scripts = os.path.join(environment, "Scripts" if os.name == "nt" else "bin")
    rest = os.environ.get("PATH", os.defpath)
    ours = {scripts, os.path.join(side, "bin")}
    # A relative entry means the notebook's folder: it counts from the user's first cell on.
    kept = [entry for entry in rest.split(os.pathsep) if entry not in ours and os.path.isabs(entry)]
    os.environ["PATH"] = os.pathsep.join([scripts, os.path.join(side, "bin"), *kept])
    os.environ["VIRTUAL_ENV"] = environment
    # The debugger would warn at every start that it cannot step into Python's frozen modules.
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    for name in ("SCRIPTENV_SOURCE", "CONDA_PREFIX", "PYTHONHOME"):
        os.environ.pop(name, None)
