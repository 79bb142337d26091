"""How fast kernels start: ours, warm and in a new environment, against a plain ipykernel.

Measures the time from ``start_kernel()`` to the first ``kernel_info_reply``, all three in turn, and
prints medians, quartiles and the ratio to the plain kernel. The plain kernel is the same ipykernel,
byte-compiled, in a virtual environment of the same Python. Everything lives in a temporary folder.

    python benchmarks/start.py [--runs 15]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

WARM, NEW, PLAIN = "warm", "new environment", "plain ipykernel"


def main() -> None:
    """Set up, measure in turn, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=15, help="starts of each kind (default 15)")
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory(prefix="scriptenv-bench-") as folder:
        root = Path(folder)
        _isolate(root)
        plain = _plain_kernel(root)
        warm = _notebook(root / "warm.ipynb")
        _first_start(warm)
        times: dict[str, list[float]] = {PLAIN: [], WARM: [], NEW: []}
        _time_start(plain)
        for number in range(runs):
            new = _notebook(root / f"new-{number}.ipynb")
            kinds: list[tuple[str, Callable[[], float]]] = [
                (PLAIN, lambda: _time_start(plain)),
                (WARM, lambda: _time_start("scriptenv", warm)),
                (NEW, lambda new=new: _time_start("scriptenv", new)),  # type: ignore[misc]
            ]
            # Each kind takes each place in the round equally often.
            for kind, measure in kinds[number % 3 :] + kinds[: number % 3]:
                times[kind].append(measure())
    _print(times, runs)


def _isolate(root: Path) -> None:
    """Give this process and its children a home of their own; byte code is written, as by users."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    for name, part in {
        "SCRIPTENV_HOME": "scriptenv",
        "JUPYTER_DATA_DIR": "jupyter-data",
        "JUPYTER_RUNTIME_DIR": "jupyter-runtime",
        "JUPYTER_CONFIG_DIR": "jupyter-config",
        "IPYTHONDIR": "ipython",
    }.items():
        os.environ[name] = str(root / part)


def _plain_kernel(root: Path) -> str:
    """Install the layer's own list into a virtual environment, compiled; give its kernelspec."""
    from ipy_scriptenv.kernels.layer import layer_list
    from ipy_scriptenv.uv import find_uv

    environment = root / "plain"
    listing = root / "plain.txt"
    listing.write_bytes(layer_list())
    uv = str(find_uv())
    python = str(environment / "bin" / "python")
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, str(environment)], check=True)
    install = [uv, "pip", "install", "-q", "--compile-bytecode", "--python", python]
    subprocess.run([*install, "-r", str(listing)], check=True)
    folder = root / "jupyter-data" / "kernels" / "plain"
    folder.mkdir(parents=True)
    argv = [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    metadata = {"supported_encryption": ["curve"]}
    spec = {"argv": argv, "display_name": "plain", "language": "python", "metadata": metadata}
    (folder / "kernel.json").write_text(json.dumps(spec))
    return "plain"


def _notebook(path: Path) -> Path:
    notebook = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(notebook))
    return path


def _first_start(notebook: Path) -> None:
    """Build the layer and let the kernel's own files be compiled."""
    from ipy_scriptenv import environments

    environments.start(environments.locate(notebook), context=environments.Context(), wait=600)
    _time_start("scriptenv", notebook)


def _time_start(kernel: str, notebook: Path | None = None) -> float:
    """Start a kernel and wait until it answers; give the seconds that took."""
    from jupyter_client.manager import KernelManager

    manager = KernelManager(kernel_name=kernel, transport_encryption="auto")
    env = dict(os.environ)
    if notebook is not None:
        env["JPY_SESSION_NAME"] = str(notebook)
    began = time.perf_counter()
    manager.start_kernel(env=env)
    client = manager.client()
    client.start_channels()
    try:
        client.kernel_info()
        client.get_shell_msg(timeout=60)
        return time.perf_counter() - began
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def _print(times: dict[str, list[float]], runs: int) -> None:
    base = statistics.median(times[PLAIN])
    python = platform.python_version()
    print(f"start_kernel() to the first kernel_info_reply; {runs} starts each, CPython {python}")
    print(f"{'':<18}{'median s':>10}{'quartiles':>18}{'/ plain':>10}")
    for kind, found in times.items():
        low, _, high = statistics.quantiles(found, n=4)
        median = statistics.median(found)
        print(f"{kind:<18}{median:>10.3f}{f'{low:.3f}-{high:.3f}':>18}{median / base:>10.2f}")


if __name__ == "__main__":
    main()
