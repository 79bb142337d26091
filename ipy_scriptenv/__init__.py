"""One environment of its own for each notebook and script, at a path that never changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["__version__", "load_ipython_extension"]

__version__ = "0.1.0"


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Register ``%scriptenv``; called by IPython for ``%load_ext ipy_scriptenv``."""
    from ipy_scriptenv.magic import register

    register(shell)
