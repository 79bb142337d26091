"""The host's side of the pipe: what a kernel asks for, JSON lines in and out.

A kernel writes one request to standard input and keeps it open; events come on standard output,
the last is ``done`` or ``error``. When standard input closes, the work is stopped: uv is ended,
then this process ends. ``--tool ENVIRONMENT pip|uv ARGUMENTS`` serves the commands of those names
that stand on a kernel's ``PATH``. ``--spare ENVIRONMENT`` is for a kernel that is about to ask:
what a sync needs is loaded before the request comes.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

# A cell waits for this process: what only one kind of request needs is imported there.
from ipy_scriptenv import environments, present
from ipy_scriptenv.environments import Asker, Choosing, Context
from ipy_scriptenv.errors import (
    Displaced,
    EngineFailed,
    EnvironmentInUse,
    Interrupted,
    NoEnvironment,
    RestartNeeded,
    ScriptEnvError,
)
from ipy_scriptenv.identity import EnvironmentName
from ipy_scriptenv.kernel_side.block import block_of_cell
from ipy_scriptenv.plan import Loaded
from ipy_scriptenv.processes import Cancel, heed_signals
from ipy_scriptenv.record import Record
from ipy_scriptenv.store import Store
from ipy_scriptenv.uv import Event, ignore

if TYPE_CHECKING:
    from ipy_scriptenv.environments import Synced

__all__ = ["main"]

_PROTOCOLS = (1,)
"""The protocols that this version understands: the present one and the one before."""


def main() -> int:
    """Serve one request; give the exit code."""
    words = sys.argv[1:]
    heed_signals()
    if words[:1] == ["--tool"]:
        from ipy_scriptenv.environments import tools

        return tools.run_tool(Path(words[1]), words[2], words[3:])
    is_spare = words[:1] == ["--spare"]
    if is_spare:
        from ipy_scriptenv.spare import awaited_line
    try:
        line = awaited_line(Path(words[1])) if is_spare else sys.stdin.readline()
    except KeyboardInterrupt:
        return 1
    if is_spare and not line:
        return 0
    cancel = Cancel()
    # What a verb prints is caught, and its steps are told meanwhile.
    tell = partial(_tell, sys.stdout, cancel)
    interrupted = Interrupted("Completing the environment was interrupted.")
    threading.Thread(target=_watch_input, args=(cancel,), daemon=True).start()
    try:
        answer = _serve(json.loads(line or "{}"), cancel, tell)
    except KeyboardInterrupt:
        answer = _error(interrupted)
    except ScriptEnvError as error:
        answer = _error(interrupted if cancel.is_set else error)
    except OSError as error:
        from ipy_scriptenv import explaining

        answer = _error(explaining.from_os_error(error))
    except Exception as error:  # noqa: BLE001 - the kernel must hear of it
        answer = _error(EngineFailed(f"Something unforeseen went wrong: {error!r}."))
    tell(answer)
    return 0


def _error(error: ScriptEnvError) -> dict[str, Any]:
    return {"event": "error", "error": {**error.to_json(), "name": type(error).__name__}}


def _watch_input(cancel: Cancel) -> None:
    """Stop the work when the kernel closes its end, or is gone."""
    # Not `sys.stdin`: its lock, held by this thread, would bring down the end of the process.
    while os.read(0, 4096):
        pass
    cancel.set()


def _tell(stream: TextIO, cancel: Cancel, event: Event) -> None:
    try:
        stream.write(json.dumps(event) + "\n")
        stream.flush()
    except OSError:
        # The kernel is gone; what runs here has to end first.
        cancel.set()


def _serve(
    request: dict[str, Any], cancel: Cancel, tell: Callable[[Event], None]
) -> dict[str, Any]:
    protocol = request.get("protocol")
    if protocol not in _PROTOCOLS:
        msg = f"This kernel speaks protocol {protocol}; this host speaks {_PROTOCOLS[-1]}."
        raise EngineFailed(msg, hint="Restart the kernel, so that it is of the same version.")
    path = Path(request["environment"])

    def tell_step(event: Event) -> None:
        # A verb's `done` is about its own live line; the kernel's ends the answer.
        if event.get("event") != "done":
            tell(event)

    context = Context(store=Store(path.parent.parent), on_event=tell_step, cancel=cancel)
    record = context.store.read_record(path)
    if record is None:
        msg = f"The record of the environment `{path}` is gone."
        raise NoEnvironment(msg, hint="Restart the kernel.")
    if request["op"] == "verb":
        return _verb(request, record, context)
    if request["op"] == "sync":
        return _sync(request, path, record, context)
    if request["op"] == "declare":
        return _declare(request, path, record, context)
    if request["op"] == "ship":
        from ipy_scriptenv.cluster.shipping import answer

        return {"event": "done", "shipment": answer(request, context, EnvironmentName(path.name))}
    msg = f"This host does not know the request `{request['op']}`."
    raise EngineFailed(msg, hint="Restart the kernel.")


def _verb(request: dict[str, Any], record: Record, context: Context) -> dict[str, Any]:
    from ipy_scriptenv import magic_line

    if list(request["words"]) in ([], ["status"]):
        return _status(request, record, replace(context, on_event=ignore))
    text = magic_line.answer(
        request["words"],
        default=record.source,
        name=EnvironmentName(Path(request["environment"]).name),
        folder=Path(request["folder"]),
        context=context,
    )
    return {"event": "done", "text": text}


def _status(request: dict[str, Any], record: Record, context: Context) -> dict[str, Any]:
    from ipy_scriptenv import card

    name = EnvironmentName(Path(request["environment"]).name)
    status = environments.status(record.source, context=context, name=name)
    loaded = environments.loaded_otherwise(_asker(request), record, context=context)
    notes = [
        *(
            f"note: {name} {version}, which the kernel has loaded, stays until its next start"
            for name, version in loaded.items()
        ),
        *map(str, request.get("notes", ())),
    ]
    html = card.status_html(status, notes)
    return {"event": "done", "text": card.status_text(status, notes), "html": html}


def _sync(request: dict[str, Any], path: Path, record: Record, context: Context) -> dict[str, Any]:
    synced = environments.sync(
        record.source,
        context=context,
        block=request["block"],
        given=request["given"],
        line=request.get("line", 0),
        exact=request.get("exact", False),
        settle=request.get("settle", False),
        choosing=Choosing(upgrade=tuple(request.get("upgrade", ()))),
        name=EnvironmentName(path.name),
        folder=Path(request["folder"]),
        asker=_asker(request),
    )
    return _done(synced, exact=request.get("exact", False))


def _declare(
    request: dict[str, Any], path: Path, record: Record, context: Context
) -> dict[str, Any]:
    """Change the block of a cell; the kernel shows the new text of the cell."""
    from ipy_scriptenv.cli.declaring import edit_of

    verb, *words = request["words"]
    folder, name = Path(request["folder"]), EnvironmentName(path.name)
    cell, number = _cell_of_block(request["cell"], record)
    block = None if cell is None else block_of_cell(cell)
    edited = environments.edit_given(
        record.source,
        edit_of(verb, words, folder=folder),
        context=context,
        block=None if block is None else block.toml,
        name=name,
        folder=folder,
    )
    is_embedded = edited.lock is not None and edited.lock.embedded
    lock = edited.new_lock if is_embedded else None
    shown = {
        "cell": environments.cell_with(cell or "", edited.toml),
        "before": cell,
        "had_block": block is not None,
        "number": number,
        "lock": None if lock is None else lock.decode(),
    }
    try:
        declared = environments.declare_given(
            record.source, edited, context=context, asker=_asker(request), name=name, folder=folder
        )
    except Displaced:
        raise
    except (RestartNeeded, EnvironmentInUse) as error:
        # The record has it, as pending: the next start takes it over.
        answer = _error(error)
        return {**answer, "error": {**answer["error"], **shown}}
    text = present.declared_text(declared, brief=True)
    return {**_done(declared.synced, exact=False), **shown, "text": text}


def _cell_of_block(executed: str | None, record: Record) -> tuple[str | None, int | None]:
    """Give the text of the block's cell that counts, and its number where the file has it so.

    :param executed: the cell as it was executed; ``None``: none was
    """
    try:
        cell, number = environments.cell_of_block(record.source)
    except ScriptEnvError:
        if executed is None:
            raise
        return executed, None
    if executed is None or executed == cell:
        return cell, number
    return executed, None


def _asker(request: dict[str, Any]) -> Asker:
    asker = request["asker"]
    loaded = asker["loaded"]
    return Asker(
        uuid=asker["uuid"],
        fresh=asker["fresh"],
        python=asker["python"],
        kernel=asker["kernel"],
        loaded=Loaded(
            environment=frozenset(loaded["environment"]), layer=frozenset(loaded["layer"])
        ),
    )


def _done(synced: Synced, *, exact: bool) -> dict[str, Any]:
    return {
        "event": "done",
        "action": synced.action.value,
        "changes": [
            {"name": change.name, "version": change.version, "action": change.action}
            for change in synced.changes
        ],
        "replace": synced.replace,
        "curve": synced.curve,
        "text": present.sync_text(synced, brief=True) if exact else None,
        "warnings": list(synced.warnings),
    }


def _end(code: int) -> NoReturn:
    """End this process, without taking apart what was loaded: a cell waits for its end."""
    for thread in threading.enumerate():
        if not thread.daemon and thread is not threading.main_thread():
            # It removes what a crash has left.
            thread.join()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _end(main())
