"""Many rounds of a kernel that replaces itself, under several clients.

``python -m tests.rounds.replace_rounds [-n 100] [--client nbclient|console|queue] [--show]``

Each round starts the generic kernelspec with an environment of its own and runs five cells. The
block in the first one asks for another Python, so the kernel executes itself anew while the others
wait. A round is right if every cell showed what it should, in order. The clients:

- ``nbclient`` sends each cell when the one before has ended, at once;
- ``console`` is ``jupyter console``, which does the same and draws what it is told;
- ``queue`` sends all cells at once, as *Run All* in JupyterLab does.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

__all__ = ["CELLS", "EXPECTED", "MINOR", "first_cell", "main"]

MINOR = "3.12" if sys.version_info[:2] != (3, 12) else "3.13"
"""Another Python than the host's."""

CELLS = (
    "n += 1\nprint(n)",
    "import time\ntime.sleep(0.05)\nn += 1\nprint(n)",
    "n += 1\nprint(n)",
    "print(n + 1)",
)
"""What waits while the first cell is handled."""

EXPECTED = [f"(3, {MINOR.partition('.')[2]}) alpha\n", "2\n", "3\n", "4\n", "5\n"]
"""What the cells show."""


def first_cell(minor: str) -> str:
    """Write the cell whose block asks for another Python; it ends in a new line."""
    return (
        f'# /// script\n# requires-python = "=={minor}.*"\n# dependencies = ["alpha"]\n# ///\n'
        "import sys, alpha\nn = 1\nprint(sys.version_info[:2], alpha.__name__)\n"
    )


def with_nbclient(folder: Path) -> list[str]:
    """Run a round under nbclient; give what each cell shows."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(code) for code in (first_cell(MINOR), *CELLS)]
    )
    client = NotebookClient(
        notebook,
        kernel_name="scriptenv",
        timeout=60,
        allow_errors=True,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute()
    return [
        "".join(output.get("text", output["output_type"]) for output in cell.outputs)
        for cell in notebook.cells
    ]


_CONSOLE = """\
import json, sys, time
from jupyter_console.app import ZMQTerminalIPythonApp
app = ZMQTerminalIPythonApp.instance()
app.initialize(["--simple-prompt", "--kernel=scriptenv"])
end = time.monotonic() + 5
while app.shell._execution_state != "idle" and time.monotonic() < end:
    time.sleep(0.05)
    app.shell.handle_iopub()
for code in json.load(sys.stdin):
    print("\\x1e", end="", flush=True)
    app.shell.run_cell(code)
print("\\x1e", end="", flush=True)
app.kernel_manager.shutdown_kernel()
"""
"""``jupyter console``, whose prompt is left out: its simple one takes no cell of several lines.

That the kernel is idle after the console's first question is heard before: the console would take
it for the first cell's end, and show what that prints with the next.
"""


def with_console(folder: Path) -> list[str]:
    """Run a round under ``jupyter console``; give what each cell shows."""
    finished = subprocess.run(
        [sys.executable, "-c", _CONSOLE],
        input=json.dumps([first_cell(MINOR), *CELLS]).encode(),
        cwd=folder,
        capture_output=True,
        timeout=120,
        check=False,
    )
    _banner, *shown = finished.stdout.decode().split("\x1e")
    # The console cannot take back lines that it has written: what was cleared stands above.
    return [each.rpartition("\r")[2] for each in shown[:-1]] or [repr(finished)]


def with_queue(folder: Path) -> list[str]:
    """Run a round in which all requests are sent at once; give what each cell shows."""
    from tests.kernels import GENERIC, started

    with started(GENERIC, cwd=folder) as kernel:
        requests = [kernel.send_code(code) for code in (first_cell(MINOR), *CELLS)]
        return [kernel.collect(request, timeout=30).shown_text for request in requests]


CLIENTS: dict[str, Callable[[Path], list[str]]] = {
    "nbclient": with_nbclient,
    "console": with_console,
    "queue": with_queue,
}


def tell(line: str) -> None:
    """Show a line at once, however slow the rounds are."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Do the rounds and print a table; the exit code is 1 if one was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("-n", type=int, default=100, help="rounds under each client")
    parser.add_argument("--client", choices=[*CLIENTS], action="append", help="default: all")
    parser.add_argument("--show", action="store_true", help="show what a wrong round gave")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
        folder = _set_stage(Path(place), patch)
        wrong_ones = 0
        tell(f"{'client':<10} {'rounds':>6} {'right':>6} {'wrong':>6} {'seconds a round':>16}")
        for name in options.client or CLIENTS:
            begun, wrong = time.monotonic(), 0
            for _ in range(options.n):
                try:
                    shown = CLIENTS[name](folder)
                except Exception as error:  # noqa: BLE001 - a round that fails is a wrong one
                    shown = [repr(error)]
                if shown != EXPECTED:
                    wrong += 1
                    if options.show:
                        tell(f"  {shown}")
            each = (time.monotonic() - begun) / max(options.n, 1)
            right = options.n - wrong
            tell(f"{name:<10} {options.n:>6} {right:>6} {wrong:>6} {each:>16.2f}")
            wrong_ones += wrong
    return 1 if wrong_ones else 0


def _set_stage(place: Path, patch: pytest.MonkeyPatch) -> Path:
    """Move this process into a home of its own, with the layers and an offline index."""
    from tests.conftest import Layers, _move_in, _real_interpreter
    from tests.index.build import build_index
    from tests.kernels import install_generic

    home = _move_in(place / "home", place / "uv-cache", patch)
    layers = Layers(folder=place / "layers", uv_cache=place / "uv-cache")
    layers.folder.mkdir()
    layers.link(home)
    candidates = [Path(folder) / f"python{MINOR}" for folder in os.get_exec_path()]
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    candidates += sorted(pyenv.glob(f"versions/*/bin/python{MINOR}"))
    found = next(filter(None, (_real_interpreter(each, MINOR) for each in candidates)), None)
    if found is None:
        raise SystemExit(f"there is no Python {MINOR} on this machine")
    layers.link(home, found)
    patch.setenv("UV_FIND_LINKS", str(build_index(place / "index")))
    patch.setenv("UV_NO_INDEX", "1")
    patch.setenv("UV_OFFLINE", "1")
    install_generic(home)
    folder = place / "work"
    folder.mkdir()
    return folder


if __name__ == "__main__":
    sys.exit(main())
