"""Load the debugger when a front end first asks for it.

ipykernel loads debugpy at every start, and asks again in each ``kernel_info_reply`` whether it is
there; that takes about a sixth of a start. From ipykernel 7 on it looks where it needs to know, and
finds a stand-in there until the debugger itself is asked for something.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import sys
import types
from typing import Any

__all__ = ["put_off"]

_MODULE = "ipykernel.debugger"
_FIRST = 7
"""The ipykernel from which on this works."""


def put_off() -> None:
    """Let a kernel's debugger be one that is loaded later; called before the kernel is made."""
    from ipykernel._version import __version__

    can_wait = int(__version__.partition(".")[0]) >= _FIRST and _MODULE not in sys.modules
    if can_wait and importlib.util.find_spec("debugpy") is not None:
        sys.modules[_MODULE] = _StandIn(_MODULE)


class _StandIn(types.ModuleType):
    """The module of ipykernel's debugger, until anything else is looked up in it."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        vars(self).update(Debugger=LateDebugger, _is_debugpy_available=True)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(_real_module(), name)


def _real_module() -> types.ModuleType:
    if isinstance(sys.modules.get(_MODULE), _StandIn):
        del sys.modules[_MODULE]
    return importlib.import_module(_MODULE)


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
            self._real = _real_module().Debugger(*arguments, **more)
            # What it brings along is no code of the user's to step into.
            new = [sys.modules[name] for name in {*sys.modules} - before]
            files = (getattr(module, "__file__", None) for module in new)
            self._real.kernel_modules.extend(file for file in files if file)
        if self._asked is not None:
            self._asked.set()
        return self._real
