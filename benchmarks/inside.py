"""Measures from inside, in this project's own Python: ``inside.py WHAT …`` prints JSON.

Run by :mod:`benchmarks.ours`, each time in a new process. It looks at what no user sees, so it is
the part that a change of the package may break.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=sorted(_MEASURES))
    parser.add_argument("words", nargs="*")
    chosen = parser.parse_args()
    print(json.dumps(_MEASURES[chosen.what](*chosen.words)))


def _layer(how: str) -> float:
    """Build the kernel layer in an empty home; from the host's files or, as else, by uv."""
    from ipy_scriptenv import environments, processes
    from ipy_scriptenv.kernels import borrow

    if how == "installed":
        borrow.from_host = lambda *_: False
    with tempfile.TemporaryDirectory() as home:
        os.environ["SCRIPTENV_HOME"] = home
        began = time.perf_counter()
        environments.prepare(environments.Context())
        seconds = time.perf_counter() - began
        # What is compiled behind it would write into a folder that goes.
        for process in processes.started():
            process.wait()
        return seconds


def _read(path: str) -> dict[str, float]:
    """Read the block of a large notebook, and read all of its JSON; one after the other."""
    from ipy_scriptenv.metadata import read_document

    data = Path(path).read_bytes()
    json.loads(data[:0] or b"{}")
    found = {}
    for name, verb in (
        ("json.loads", lambda: json.loads(data)),
        ("block", lambda: read_document(data, name=path)),
    ):
        began = time.perf_counter()
        verb()
        found[name] = time.perf_counter() - began
    return found


def _load_ext() -> float:
    """Load the extension into an IPython that has just started."""
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell.instance()
    began = time.perf_counter()
    shell.run_line_magic("load_ext", "ipy_scriptenv")
    return time.perf_counter() - began


_MEASURES: dict[str, Callable[..., object]] = {
    "layer": _layer,
    "read": _read,
    "load_ext": _load_ext,
}

CHECK = """
def _measured():
    import json, os, sys, time
    kernel = get_ipython().kernel
    completion = kernel.completion
    check = sys.modules[type(kernel).__module__.rpartition(".")[0] + ".check"]
    block = {block!r}

    def first():
        # What the first cell of a session asks.
        completion.look_at_record()
        assert not check.may_have_changed(completion.record, os.environ)

    def cell():
        # What every later cell asks.
        completion.admit("1", print)
        completion.begins(cell)
        completion.ended(cell)

    def with_block():
        completion.admit(block, print)
        completion.begins(cell)
        completion.ended(cell)

    found = {{}}
    for verb in (first, cell, with_block):
        times = []
        for _ in range({count}):
            began = time.perf_counter()
            verb()
            times.append(time.perf_counter() - began)
        found[verb.__name__] = times
    print(json.dumps(found))
_measured()
"""
"""A cell that measures the check in its own kernel; *block* is a cell with the notebook's block."""


if __name__ == "__main__":
    main()
