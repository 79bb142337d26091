"""A host that is started before a kernel asks: loaded, and with its uv warmed up."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from pathlib import Path

from ipy_scriptenv import environments
from ipy_scriptenv.environments import Context
from ipy_scriptenv.errors import ScriptEnvError
from ipy_scriptenv.processes import Cancel
from ipy_scriptenv.store import Store

__all__ = ["awaited_line"]

_LONGEST = 120.0
"""How long a host waits that was started before it is needed."""

_IDLE = 0.2
"""Seconds without a request after which there is time for what makes its answer quicker."""

_LEFT = 1.0
"""Seconds that a request waits for that; begun anew for the request, it would be over later."""


def awaited_line(environment: Path) -> str:
    """Load what a sync needs, then wait for a request, but not for ever.

    Where none comes at once, uv queries the environment's interpreter, which it starts for that:
    half of its first call's time. For a cell that waits it would not be quicker.
    """
    cancel = Cancel()
    warming = threading.Timer(_IDLE, _warm_up, (environment, cancel))

    def end_warming(patience: float = 0.0) -> None:
        warming.cancel()
        warming.join(patience)
        cancel.set()
        warming.join()

    def give_up() -> None:
        end_warming()
        os._exit(0)

    timer = threading.Timer(_LONGEST, give_up)
    warming.daemon = timer.daemon = True
    timer.start()
    _ = environments.sync, environments.Asker
    warming.start()
    line = ""
    try:
        line = sys.stdin.readline()
    finally:
        timer.cancel()
        end_warming(_LEFT if line else 0.0)
    return line


def _warm_up(environment: Path, cancel: Cancel) -> None:
    """Have uv query the interpreter; what is wrong with it is told where it matters."""
    context = Context(store=Store(environment.parent.parent), cancel=cancel)
    with contextlib.suppress(ScriptEnvError, OSError, ImportError):
        context.uv().query_interpreter(environment)
