"""Make ``ipy_scriptenv.cluster`` importable in kernels, where nothing of ours is installed."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from typing import Any

__all__ = ["make_importable"]

_PACKAGE = "ipy_scriptenv"
_MODULE = f"{_PACKAGE}.cluster"


def make_importable() -> None:
    """Let it be found where nobody else finds it: an environment that has the package keeps it."""
    sys.meta_path.append(_Finder())


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the package, with that one module in it."""

    def find_spec(
        self,
        fullname: str,
        path: Any = None,  # noqa: ARG002 - importlib's signature
        target: Any = None,  # noqa: ARG002 - importlib's signature
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in (_PACKAGE, _MODULE):
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=fullname == _PACKAGE)

    def exec_module(self, module: Any) -> None:
        if module.__name__ == _MODULE:
            from . import asking

            module.__doc__, module.__all__ = asking.__doc__, asking.__all__
            for name in asking.__all__:
                setattr(module, name, getattr(asking, name))
