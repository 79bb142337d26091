"""Import what a kernel imports, so that its byte code is there before the first start.

Run by the Python of a layer that is being built, 3.9 or newer::

    python -I first_imports.py <site-packages> <where it will stand>

The byte code names the files where they will stand: at each start Python would have to put that
right in every function. What no kernel imports is compiled when somebody does: all of a layer is
20 MB of sources, most of them pygments' lexers and debugpy's parts.
"""

import contextlib
import importlib
import os
import sys
import types
from importlib.machinery import SourceFileLoader
from typing import Any

MODULES = (
    "ipykernel.kernelapp",
    "ipykernel.ipkernel",
    "ipykernel.debugger",
    "debugpy.server.api",
    "IPython.core.completerlib",
    "IPython.core.debugger",
    "IPython.core.debugger_backport",
    "IPython.core.guarded_eval",
    "IPython.core.latex_symbols",
    "IPython.core.logger",
    "IPython.core.magics.ast_mod",
    "IPython.core.magics.execution",
    "IPython.core.oinspect",
    "IPython.core.ultratb",
    "IPython.extensions.storemagic",
    "IPython.external.pickleshare",
    "IPython.utils.module_paths",
    "IPython.utils.timing",
    "IPython.utils.wildcard",
    "dateutil.tz.win",
    "jedi",
    "jedi.inference.finder",
    "jedi.inference.star_args",
    "pexpect",
    "psutil",
    "pygments.formatters.html",
    "pygments.formatters.terminal256",
    "pygments.lexers.python",
    "pygments.styles.default",
    "stack_data",
    "tornado.locks",
    "tornado.platform.asyncio",
    "tornado.queues",
)
"""What a start, a first cell, a traceback, a completion and an inspection import.

Some are missing in some versions, or on some systems.
"""


def main(site: str, final: str) -> None:
    """Import :data:`MODULES` from *site*, with byte code as it will be in *final*."""

    def compiled(
        loader: SourceFileLoader, data: Any, path: str, *, _optimize: int = -1
    ) -> types.CodeType:
        del loader
        if path.startswith(site + os.sep):
            path = final + path[len(site) :]
        return compile(data, path, "exec", dont_inherit=True, optimize=_optimize)

    SourceFileLoader.source_to_code = compiled  # type: ignore[method-assign, assignment]
    for module in MODULES:
        with contextlib.suppress(Exception):
            importlib.import_module(module)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
