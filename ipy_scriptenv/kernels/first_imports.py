"""Import what a kernel imports, so that its byte code is there before that.

Run by a Python of the layer's ABI, 3.9 or newer::

    python -I -S first_imports.py early|later <site-packages> <where it will stand>

Early is what a start waits for, and a layer is not given its name before; what comes later is made
in the background. The byte code names the files where they will stand: at each start Python would
have to put that right in every function. What no kernel imports is compiled when somebody does: all
of a layer is 20 MB of sources, most of them pygments' lexers and debugpy's parts.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import types
from importlib.machinery import SourceFileLoader
from typing import Any

EARLY = (
    "ipykernel.kernelapp",
    "ipykernel.ipkernel",
    "IPython.core.completerlib",
    "IPython.core.logger",
    "IPython.core.magics.ast_mod",
    "IPython.core.magics.execution",
    "IPython.extensions.storemagic",
    "psutil",
    "tornado.locks",
    "tornado.platform.asyncio",
    "tornado.queues",
)
"""What a start and a first cell import."""

LATER = (
    "ipykernel.debugger",
    "debugpy.server.api",
    "IPython.core.debugger",
    "IPython.core.debugger_backport",
    "IPython.core.guarded_eval",
    "IPython.core.latex_symbols",
    "IPython.core.oinspect",
    "IPython.core.ultratb",
    "IPython.external.pickleshare",
    "IPython.utils.module_paths",
    "IPython.utils.timing",
    "IPython.utils.wildcard",
    "dateutil.tz.win",
    "jedi",
    "jedi.inference.finder",
    "jedi.inference.star_args",
    "pexpect",
    "pygments.formatters.html",
    "pygments.formatters.terminal256",
    "pygments.lexers.python",
    "pygments.styles.default",
    "stack_data",
)
"""What a traceback, a completion, an inspection and the debugger import.

Some are missing in some versions, or on some systems.
"""


def main(part: str, site: str, final: str) -> None:
    """Import one part from *site*, with byte code as it will be in *final*."""

    def compiled(
        loader: SourceFileLoader, data: Any, path: str, *, _optimize: int = -1
    ) -> types.CodeType:
        del loader
        if path.startswith(site + os.sep):
            path = final + path[len(site) :]
        return compile(data, path, "exec", dont_inherit=True, optimize=_optimize)

    SourceFileLoader.source_to_code = compiled  # type: ignore[method-assign, assignment]
    # The same path as a kernel's: a folder of the standard library's name must not win.
    sys.path.append(site)
    if part == "later" and hasattr(os, "nice"):
        with contextlib.suppress(OSError):
            os.nice(19)
    for module in LATER if part == "later" else EARLY:
        with contextlib.suppress(Exception):
            importlib.import_module(module)


if __name__ == "__main__":
    main(*sys.argv[1:])
