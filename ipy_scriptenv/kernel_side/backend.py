"""Keep matplotlib's inline backend in this process and out of its children.

ipykernel exports ``MPLBACKEND`` for the whole process. The environment's own Python does not have
that backend, so every subprocess that imports ``matplotlib.pyplot`` would fail. The variable is set
only while matplotlib is being imported here.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import os
import sys
from typing import Any

__all__ = ["keep_from_children"]

_VARIABLE = "MPLBACKEND"


def keep_from_children() -> None:
    """Take the variable out of the process's environment, and give it to matplotlib alone."""
    value = os.environ.pop(_VARIABLE, None)
    if value is not None:
        sys.meta_path.insert(0, _Finder(value))


class _Finder(importlib.abc.MetaPathFinder):
    """Finds matplotlib as the others do, and wraps the running of its module."""

    def __init__(self, value: str) -> None:
        self._value = value

    def find_spec(
        self,
        fullname: str,
        path: Any = None,  # noqa: ARG002 - importlib's signature
        target: Any = None,  # noqa: ARG002 - importlib's signature
    ) -> Any:
        if fullname != "matplotlib" or self not in sys.meta_path:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None:
            # It is not installed yet.
            sys.meta_path.insert(0, self)
            return None
        spec.loader = _Loader(spec.loader, self._value)
        return spec


class _Loader(importlib.abc.Loader):
    def __init__(self, inner: Any, value: str) -> None:
        self._inner = inner
        self._value = value

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def create_module(self, spec: Any) -> Any:
        return self._inner.create_module(spec)

    def exec_module(self, module: Any) -> None:
        before = os.environ.get(_VARIABLE)
        os.environ[_VARIABLE] = self._value if before is None else before
        try:
            self._inner.exec_module(module)
        finally:
            if before is None:
                os.environ.pop(_VARIABLE, None)
