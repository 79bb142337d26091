"""Run the explaining kernel: ``python -P -m ipy_scriptenv.explain -f FILE``."""

from __future__ import annotations

import contextlib
import queue
import sys
import threading
from functools import partial
from typing import Any, ClassVar

from ipykernel.kernelapp import IPKernelApp
from ipykernel.kernelbase import Kernel

from ipy_scriptenv import __version__, environments, explaining, settings
from ipy_scriptenv.environments import Context
from ipy_scriptenv.errors import EngineFailed, LockTimeout, ScriptEnvError
from ipy_scriptenv.kernel_side.showing import Showing
from ipy_scriptenv.processes import Cancel
from ipy_scriptenv.record import Source, SourceKind
from ipy_scriptenv.uv import Event

__all__ = ["ExplainingKernel", "main"]

_POLL = 0.1
"""Seconds between looks at the worker: short, so that an interrupt is felt on Windows too."""


class ExplainingKernel(Kernel):
    """A kernel that runs no code: it tells why the notebook's own could not start."""

    implementation = "ipy-scriptenv"
    implementation_version = __version__
    banner = "The kernel of this notebook could not be started; run a cell to see why."
    language_info: dict[str, object] = {  # noqa: RUF012 - ipykernel declares it so
        "name": "python",
        "mimetype": "text/x-python",
        "file_extension": ".py",
        "version": ".".join(map(str, sys.version_info[:3])),
        "codemirror_mode": {"name": "ipython", "version": 3},
        "pygments_lexer": "ipython3",
    }
    told: ClassVar[dict[str, Any]] = {}
    """What the launching process said (:data:`explaining.VARIABLE`)."""

    def do_execute(  # type: ignore[override]  # ipykernel takes what is no coroutine too
        self,
        code: str,  # noqa: ARG002 - no code of the user is run
        silent: bool,
        store_history: bool = True,
        user_expressions: Any = None,  # noqa: ARG002 - ipykernel's signature
        allow_stdin: bool = False,  # noqa: ARG002 - ipykernel's signature
        **_more: Any,
    ) -> dict[str, Any]:
        """Try again what can be tried by now, then give the error; blocks, to be interruptible."""
        if silent or not store_history:
            return {
                "status": "ok",
                "execution_count": self.execution_count,
                "payload": [],
                "user_expressions": {},
            }
        error = self._try_again() if self.told["retry"] else self.told["error"]
        if error is None:
            error = {
                "name": "RestartNeeded",
                "message": "The kernel can start now.",
                "hint": "Restart the kernel.",
                "problems": [],
            }
        return self._error_reply(error)

    def _try_again(self) -> dict[str, Any] | None:
        """Get or init, with all that running a cell allows; None if a kernel could start now."""
        cancel = Cancel()
        outcome: list[dict[str, Any] | None] = []
        events: queue.Queue[Event] = queue.Queue()
        showing = Showing(partial(self.send_response, self.iopub_socket))

        def work() -> None:
            try:
                environments.start(
                    _source(self.told),
                    context=Context(on_event=events.put, cancel=cancel),
                    wait=settings.lock_timeout(),
                    fetch=True,
                    launching=False,
                )
                outcome.append(None)
            except (ScriptEnvError, OSError) as error:
                told = (
                    error if isinstance(error, ScriptEnvError) else explaining.from_os_error(error)
                )
                outcome.append({**told.to_json(), "name": type(told).__name__})
            except Exception as error:  # noqa: BLE001 - without a reply the cell would wait for ever
                told = EngineFailed(f"Something unforeseen went wrong: {error!r}.")
                outcome.append({**told.to_json(), "name": type(told).__name__})

        worker = threading.Thread(target=work, daemon=True)
        worker.start()
        while worker.is_alive():
            try:
                # Shown in this thread, which knows the cell that it is for.
                showing.take(_next(events))
            except KeyboardInterrupt:
                # Whoever is impatient interrupts twice: there is a reply nevertheless.
                cancel.set()
        showing.end()
        return outcome[0]

    def _error_reply(self, error: dict[str, Any]) -> dict[str, Any]:
        lines = [f"{error['name']}: {error['message']}"]
        for problem in error["problems"]:
            lines += ["", *problem["message"].split("\n")]
        lines += ["", error["hint"]] if error["hint"] else []
        content = {"ename": error["name"], "evalue": error["message"], "traceback": lines}
        self.send_response(self.iopub_socket, "error", content)
        return {"status": "error", "execution_count": self.execution_count, **content}


def _next(events: queue.Queue[Event]) -> Event:
    try:
        return events.get(timeout=_POLL)
    except queue.Empty:
        return {"event": "silence"}


def main() -> None:
    """Run the kernel until it ends."""
    ExplainingKernel.told = explaining.told()
    if ExplainingKernel.told["error"]["code"] == LockTimeout.code:
        # What was waited for went on in the process that this one has replaced, if it did.
        threading.Thread(target=_go_on_preparing, daemon=True).start()
    IPKernelApp.launch_instance(kernel_class=ExplainingKernel, ignore_cwd=True)


def _go_on_preparing() -> None:
    """Prepare the start further, with what may happen before a cell runs."""
    with contextlib.suppress(ScriptEnvError, OSError):
        environments.start(
            _source(ExplainingKernel.told),
            context=Context(),
            wait=settings.lock_timeout(),
            launching=False,
        )


def _source(told: dict[str, Any]) -> Source:
    return Source(**{**told["source"], "kind": SourceKind(told["source"]["kind"])})


if __name__ == "__main__":
    main()
