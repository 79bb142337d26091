"""The program of a host that is started before a kernel asks (:mod:`ipy_scriptenv.host`).

What a sync needs is loaded before the request comes. Meanwhile uv asks the environment's
interpreter about itself, which it does once and which takes as long as the rest of its work: so
what that needs is loaded first.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from pathlib import Path

from ipy_scriptenv.errors import ScriptEnvError
from ipy_scriptenv.processes import Cancel
from ipy_scriptenv.store import Store
from ipy_scriptenv.uv import Uv, find_uv

__all__ = ["main"]

_LAST_WORDS = 1.0
"""Seconds that the interpreter is waited for when all else is over."""


def main() -> int:
    """Serve one request, for the environment that the command line names; give the exit code."""
    environment = Path(sys.argv[1])
    cancel = Cancel()
    asking = threading.Thread(target=_make_known, args=(environment, cancel), daemon=True)
    asking.start()
    try:
        from ipy_scriptenv import host

        return host.serve(is_spare=True)
    finally:
        cancel.set()
        asking.join(_LAST_WORDS)


def _make_known(environment: Path, cancel: Cancel) -> None:
    """Have uv know the interpreter; what is wrong with it is told where it matters."""
    with contextlib.suppress(ScriptEnvError):
        work = Store(environment.parent.parent).work
        Uv(binary=find_uv(), work=work, cancel=cancel).meet(environment)


if __name__ == "__main__":
    from ipy_scriptenv.host import end

    end(main())
