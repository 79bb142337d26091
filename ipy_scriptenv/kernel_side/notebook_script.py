"""Run a notebook's code, in order, as a script: ``notebook_script.py LAYER NOTEBOOK [ARGUMENTS]``.

Runs in the environment's Python. IPython, from the kernel layer LAYER or from the environment
itself, reads each cell, so that magics, ``!`` lines and top-level ``await`` mean what they mean in
a notebook. As in a script, values of expressions are not shown, and the first error ends it, with
the exit code that Python gives. A traceback names cell and line.
"""

from __future__ import annotations

import os  # Python itself has loaded it already
import sys

if __name__ == "__main__" and sys.path[0] == os.path.dirname(os.path.realpath(__file__)):
    # This folder's modules are a package's, and shadow nothing. Python names it without links.
    del sys.path[0]

import ast
import inspect
import json
import linecache
import traceback
import types
from typing import Any, Callable

__all__ = ["main"]

_SKIPPED = ("scriptenv", "pip", "uv", "conda", "mamba", "micromamba")
"""Magics that change environments: a script runs in what its block declares."""


def main(layer: str, notebook: str, arguments: list[str]) -> None:
    """Run all code cells; what a cell raises goes on to Python, which shows it and ends."""
    with open(notebook, encoding="utf-8-sig") as file:
        cells = json.load(file)["cells"]
    if layer:
        sys.path.append(layer)
    module = types.ModuleType("__main__")
    run = _Runner(_shell(module), module, notebook)
    _become_script(module, notebook, arguments)
    sys.excepthook = _show_error
    for number, cell in enumerate(cells, 1):
        if cell["cell_type"] == "code":
            source = cell["source"]
            run.cell(source if isinstance(source, str) else "".join(source), number)


def _become_script(module: types.ModuleType, notebook: str, arguments: list[str]) -> None:
    """Give the notebook a main module, arguments and a search path as a script has them.

    It has no ``__file__``, as in a kernel: child processes of ``multiprocessing`` would run it.
    """
    sys.argv[:] = [notebook, *arguments]
    if not getattr(sys.flags, "safe_path", False):
        sys.path.insert(0, os.path.dirname(os.path.realpath(notebook)))
    sys.modules["__main__"] = module


def _shell(module: types.ModuleType) -> Any:
    """Make IPython's shell around the main module, without history, prompt or display."""
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    config = Config()
    config.HistoryManager.enabled = False
    shell: Any = InteractiveShell.instance(config=config, user_module=module)
    shell.builtin_trap.activate()
    load = shell.extension_manager.load_extension
    shell.extension_manager.load_extension = lambda name: (
        None if name == "ipy_scriptenv" else load(name)
    )
    for name in _SKIPPED:
        shell.register_magic_function(_skipping(name), "line_cell", name)
    return shell


def _skipping(name: str) -> Callable[..., None]:
    def skip(line: str, cell: str | None = None) -> None:
        percent = "%" if cell is None else "%%"
        print(f"note: skipped in a script: {percent}{name} {line}".rstrip(), file=sys.stderr)

    return skip


class _Runner:
    """Runs cells one after the other, in one module and one event loop."""

    def __init__(self, shell: Any, module: types.ModuleType, notebook: str) -> None:
        self._shell = shell
        self._module = module
        self._notebook = notebook
        self._loop: Any = None

    def cell(self, source: str, number: int) -> None:
        """Run one cell.

        :param number: counted from 1 over all cells of the notebook
        """
        if not source.strip():
            return
        name = f"{self._notebook}, cell {number}"
        # Without a time, so that it is never looked for on the disk.
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
        code = compile(
            self._shell.transform_cell(source),
            name,
            "exec",
            flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
            dont_inherit=True,
        )
        if code.co_flags & inspect.CO_COROUTINE:
            self._await(code)
        else:
            exec(code, self._module.__dict__)  # noqa: S102 - it is what was asked for

    def _await(self, code: types.CodeType) -> None:
        if self._loop is None:
            import asyncio

            self._loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(eval(code, self._module.__dict__))  # noqa: S307 - likewise


def _show_error(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    """Show an error as Python does, without the frames of this file."""
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    traceback.print_exception(kind, error, trace)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
