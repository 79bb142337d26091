"""Run a notebook without a front end: nbclient, on the kernel of the notebook's own environment."""

from __future__ import annotations

import copy
import re
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ipy_scriptenv import environments, settings
from ipy_scriptenv.environments import Choosing, Context, Pin
from ipy_scriptenv.errors import EngineFailed, Interrupted, NotANotebook, ScriptEnvError
from ipy_scriptenv.files import require_place, rewrite, write_output
from ipy_scriptenv.identity import kernelspec_name
from ipy_scriptenv.record import Source

if TYPE_CHECKING:
    from nbclient import NotebookClient

__all__ = ["Outcome", "execute"]

_ATTEMPTS = 2
"""Kernels that are started at most: another process may take a port of one before it is there."""

_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What running a notebook gave.

    :param cells: how many code cells ran
    :param failed_cell: number of the cell that failed, counted from 1 over all cells
    :param error: what that cell said
    """

    notebook: Path
    output: Path | None
    cells: int
    failed_cell: int | None
    error: str | None

    def to_json(self) -> dict[str, Any]:
        """Give the object of ``execute``."""
        return {
            "schema": 1,
            "notebook": str(self.notebook),
            "output": None if self.output is None else str(self.output),
            "cells": self.cells,
            "failed_cell": self.failed_cell,
            "error": self.error,
        }


def execute(
    source: Source,
    *,
    context: Context,
    output: Path | None = None,
    show: Callable[[str], None] | None = None,
    strict: bool = False,
    python: str | None = None,
    pin: Pin = Pin.UPDATE,
    choosing: Choosing | None = None,
) -> Outcome:
    """Run all code cells in order, until one fails.

    Where *python*, *pin* or *choosing* asks for anything, the environment is synced so before;
    otherwise the first cell completes it as in any kernel.

    :param python: a request for the interpreter, kept in the record
    :param pin: what the notebook's lock means
    :param choosing: how versions are chosen in this call alone
    :param output: where the executed notebook is written, also after a failure
    :param show: gets the text of each cell's output
    :param strict: whether a cell fails that uses what the notebook does not declare
    :raises NotANotebook: if *source* is none
    :raises NotFound: if the folder of *output* is not there; nothing is run
    :raises SourceChanged: if *output* is the notebook, and somebody saved it meanwhile
    :raises ScriptEnvError: if no kernel can run there
    """
    from nbclient import NotebookClient

    path = Path(source.path or "")
    if path.suffix.lower() != ".ipynb":
        msg = f"`{source}` is no notebook."
        raise NotANotebook(msg, hint=f"A script is run by `jupyter scriptenv run {path.name}`.")
    environments.check(source)
    if output is not None:
        # Known before hours of work are done, not after.
        require_place(output)
    chosen = choosing or Choosing()
    if python is not None or pin is not Pin.UPDATE or chosen.says_something:
        # The kernel then finds everything as it is to be. As with `run`, what was installed by hand
        # stays, but where the lock is the law.
        exact = pin is not Pin.UPDATE
        environments.sync(
            source, context=context, python=python, pin=pin, choosing=chosen, exact=exact
        )
    # The kernelspec must stand before a client can name it.
    started = environments.start(source, context=context, wait=settings.lock_timeout())
    # What cells do from now on is theirs to tell.
    context.on_event({"event": "done"})
    data, notebook = _read(path)

    def new_client() -> NotebookClient:
        client = NotebookClient(
            notebook,
            kernel_name=kernelspec_name(started.name),
            timeout=None,
            # Of outputs that come later than that after a cell's end, the rest is lost.
            iopub_timeout=60,
            resources={"metadata": {"path": str(path.parent)}},
            on_cell_executed=_shower(show),
        )
        client.create_kernel_manager().transport_encryption = "auto"
        return client

    try:
        error = _ran(new_client, strict=strict)
    except (EngineFailed, Interrupted, KeyboardInterrupt):
        if output is not None and _count_of_run(notebook):
            # What hours have given is not lost with the kernel.
            _write(_text(notebook), output, notebook=path, read=data)
        raise
    if error is not None and show is not None:
        show(error.rstrip() + "\n")
    if output is not None:
        _write(_text(notebook), output, notebook=path, read=data)
    return Outcome(
        notebook=path,
        output=None if output is None else output.absolute(),
        cells=_count_of_run(notebook),
        failed_cell=None if error is None else _failed_cell(notebook),
        error=error,
    )


class _NeverReadyError(Exception):
    """A kernel ended before it was ready, so no cell has run."""


def _ran(new_client: Callable[[], NotebookClient], *, strict: bool) -> str | None:
    """Run all cells; give what the one said that failed, without its colours.

    :raises EngineFailed: if the kernel ended meanwhile
    :raises Interrupted: if a signal asked for it
    """
    failure = None
    for _ in range(_ATTEMPTS):
        try:
            return _run(new_client(), strict=strict)
        except _NeverReadyError as error:
            failure = error.__cause__
    msg = f"The kernel ended before it could run a cell: {failure!r}"
    hint = "What it printed tells why; `jupyter scriptenv doctor` looks for what is broken."
    raise EngineFailed(msg, hint=hint) from failure


def _run(client: NotebookClient, *, strict: bool) -> str | None:
    """Run all cells in one kernel, as :func:`_ran` does.

    :raises _NeverReadyError: if it ended before it was ready
    """
    from nbclient.exceptions import CellExecutionError

    is_ready = threading.Event()
    client.on_notebook_start = lambda **_: is_ready.set()
    patience_ends = time.monotonic() + client.startup_timeout
    try:
        client.execute(env=_kernel_environment(strict=strict))
    except CellExecutionError as failure:
        return _COLOURS.sub("", str(failure))
    except (ScriptEnvError, OSError):
        raise
    except Exception as failure:
        if getattr(client, "_async_cleanup_kernel_future", None) is not None:
            # nbclient takes SIGINT and SIGTERM: it ends the kernel, then stumbles over that.
            raise Interrupted("The run of the notebook was interrupted.") from failure
        if not is_ready.is_set():
            # What nbclient cleans up at the end of this process stumbles where there is nothing.
            client.create_kernel_manager()
            if time.monotonic() < patience_ends:
                raise _NeverReadyError from failure
            msg = f"The kernel was not ready within {client.startup_timeout} s."
            raise EngineFailed(msg) from failure
        # nbclient has many ways to say that a kernel ended: errors of its own, assertions.
        msg = f"The kernel ended while the notebook ran: {failure!r}"
        raise EngineFailed(msg) from failure
    return None


def _count_of_run(notebook: Any) -> int:
    """Count the cells that have run."""
    return sum(bool(cell.get("execution_count")) for cell in _code_cells(notebook))


def _read(path: Path) -> tuple[bytes, Any]:
    """Give a notebook's bytes, and the notebook without what an earlier run left.

    :raises NotANotebook: if it cannot be read
    """
    import nbformat

    try:
        data = path.read_bytes()
        notebook = nbformat.reads(data.decode("utf-8-sig"), as_version=4)
    except Exception as invalid:
        msg = f"`{path}` is no notebook that can be run: {invalid}"
        raise NotANotebook(msg) from invalid
    for cell in _code_cells(notebook):
        cell.outputs, cell.execution_count = [], None
    return data, notebook


def _kernel_environment(*, strict: bool) -> dict[str, str]:
    """Give the kernel's variables. What tells an outer notebook's kernel its source goes."""
    variables = settings.child_environment(add={"SCRIPTENV_STRICT": "1"} if strict else {})
    outer = ("JPY_SESSION_NAME", "SCRIPTENV_SOURCE", *([] if strict else ["SCRIPTENV_STRICT"]))
    return {name: value for name, value in variables.items() if name not in outer}


def _text(notebook: Any) -> str:
    """Give the executed notebook's text, each stream in one piece."""
    import nbformat

    for cell in _code_cells(notebook):
        cell.outputs = _joined(cell.outputs)
    return str(nbformat.writes(notebook))


def _write(text: str, output: Path, *, notebook: Path, read: bytes) -> None:
    """Write the executed notebook, whole or not at all.

    :param notebook: the one that was executed; what *output* else holds is replaced
    :param read: its content when it was read
    """
    # Half of a surrogate pair in an output becomes its escape, which JSON has too.
    data = text.encode("utf-8", "backslashreplace")
    try:
        if output.exists() and output.samefile(notebook):
            rewrite(output, data, expected=read)
        else:
            write_output(output, data)
    except OSError as error:
        msg = f"`{output}` could not be written: {error.strerror}."
        raise ScriptEnvError(msg) from error


def _shower(show: Callable[[str], None] | None) -> Callable[..., None]:
    def shown(cell: Any, **_more: Any) -> None:
        if show is None:
            return
        for given in _joined(cell.get("outputs", ())):
            text = given.get("text") or given.get("data", {}).get("text/plain")
            if text and given["output_type"] != "error":
                show(text if text.endswith("\n") else text + "\n")

    return shown


def _joined(outputs: Iterable[Any]) -> list[Any]:
    """Put pieces of one stream together: a kernel sends what is printed as time passes.

    nbclient's `coalesce_streams` does more: it puts together what is not side by side.
    """
    joined: list[Any] = []
    for stream, group in groupby(outputs, key=lambda output: output.get("name")):
        pieces = list(group)
        if stream is not None and len(pieces) > 1:
            whole = copy.copy(pieces[0])
            whole["text"] = "".join(piece["text"] for piece in pieces)
            pieces = [whole]
        joined += pieces
    return joined


def _code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _failed_cell(notebook: Any) -> int | None:
    failed = None
    for number, cell in enumerate(notebook.cells, 1):
        # The last one: cells before it may have been allowed to fail.
        if any(each.output_type == "error" for each in cell.get("outputs", ())):
            failed = number
    return failed
