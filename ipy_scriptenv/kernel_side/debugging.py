"""Load the debugger when a front end first asks for it.

ipykernel loads debugpy at every start, which takes about a sixth of it. From ipykernel 7 on that
happens where the kernel is made, and what stands for the debugger until then can be another thing.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["put_off"]

_MODULE = "ipykernel.debugger"
_FIRST = 7
"""The ipykernel from which on this works."""


@contextmanager
def put_off() -> Iterator[None]:
    """While a kernel is made, let its debugger be one that is loaded later."""
    import ipykernel
    from ipykernel._version import __version__

    can_wait = int(__version__.partition(".")[0]) >= _FIRST and _MODULE not in sys.modules
    if not can_wait or importlib.util.find_spec("debugpy") is None:
        yield
        return
    stand_in = types.ModuleType(_MODULE)
    vars(stand_in).update(Debugger=LateDebugger, _is_debugpy_available=True)
    sys.modules[_MODULE] = stand_in
    try:
        yield
    finally:
        if sys.modules.get(_MODULE) is stand_in:
            del sys.modules[_MODULE]
        if vars(ipykernel).get("debugger") is stand_in:
            del ipykernel.debugger


class LateDebugger:
    """Becomes ipykernel's debugger when anything is asked of it; made with its arguments."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        self._arguments = arguments, more
        self._real: Any = None
        self._asked: asyncio.Event | None = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._load(), name)

    async def handle_stopped_event(self) -> None:
        """Wait until the debugger has stopped somewhere; called again and again from the start."""
        if self._real is None:
            self._asked = asyncio.Event()
            await self._asked.wait()
        await self._real.handle_stopped_event()

    async def process_request(self, message: dict[str, Any]) -> Any:
        """Answer a front end's request; called in the thread of the control channel."""
        return await self._load().process_request(message)

    def _load(self) -> Any:
        if self._real is None:
            arguments, more = self._arguments
            before = set(sys.modules)
            self._real = importlib.import_module(_MODULE).Debugger(*arguments, **more)
            # What it brings along is no code of the user's to step into.
            new = [sys.modules[name] for name in {*sys.modules} - before]
            files = (getattr(module, "__file__", None) for module in new)
            self._real.kernel_modules.extend(file for file in files if file)
        if self._asked is not None:
            self._asked.set()
        return self._real
