"""One environment of its own for each notebook and script, at a path that never changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = [
    "__version__",
    "_jupyter_server_extension_points",
    "_load_jupyter_server_extension",
    "load_ipython_extension",
]

__version__ = "0.1.0"


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Register ``%scriptenv``; called by IPython for ``%load_ext ipy_scriptenv``."""
    from ipy_scriptenv.magic import register

    register(shell)


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    """Name the server extension; called by Jupyter's server."""
    return [{"module": "ipy_scriptenv"}]


def _load_jupyter_server_extension(app: Any) -> None:
    """Start the server extension; called by Jupyter's server."""
    from ipy_scriptenv.server_extension import load

    load(app)
