"""An IPython session in an environment: ``console.py ENVIRONMENT LAYER [ARGUMENTS OF IPYTHON]``.

Runs in the environment's Python. The session counts as a kernel of the environment: what it has
imported is safe from change, and ``%scriptenv`` works as in one. Only an exchange for a new kernel
there is not: where that is needed, the session has to be ended and begun again.
"""

from __future__ import annotations

import os  # Python itself has loaded it already
import sys

if __name__ == "__main__" and sys.path[0] == os.path.dirname(os.path.realpath(__file__)):
    # This folder's modules are a package's, and shadow nothing. Python names it without links.
    del sys.path[0]

import importlib.util
import json
from typing import Any

__all__ = ["main"]


def main(environment: str, layer: str, arguments: list[str]) -> None:
    """Run the session until the user ends it."""
    home = os.path.dirname(os.path.dirname(environment))
    with open(os.path.join(environment, "scriptenv.json"), encoding="utf-8") as file:
        record = json.load(file)
    _load_package()
    from scriptenv_kernel import (  # type: ignore[import-not-found]  # loaded just now
        completing,
        imports,
        live,
        magics,
        spare,
        start,
    )

    if layer:
        sys.path.append(layer)
    initial = dict(os.environ)
    start.set_variables(environment, os.path.dirname(os.path.abspath(__file__)))
    completion = completing.Completion(
        environment=environment,
        home=home,
        record=record,
        packages=imports.Packages(environment, layer or None),
        lock=live.hold(environment, home, record["kernel"]),
        spare=spare.Spare(initial, environment),
    )
    completion.fresh = False

    from IPython.terminal.ipapp import TerminalIPythonApp

    app = TerminalIPythonApp.instance()
    app.initialize(arguments)
    if app.shell is not None:
        magics.register_magics(app.shell, completion)
        _tell_imports(app.shell, completion)
    app.start()


def _load_package() -> None:
    """Make this folder importable as the package that it is, under the launcher's name for it."""
    entry = os.path.join(os.path.dirname(os.path.abspath(__file__)), "__init__.py")
    spec = importlib.util.spec_from_file_location("scriptenv_kernel", entry)
    package = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]  # it is there
    sys.modules["scriptenv_kernel"] = package
    spec.loader.exec_module(package)  # type: ignore[union-attr]  # likewise


def _tell_imports(shell: Any, completion: Any) -> None:
    """Let others know what this session has imported, and when it may import anything."""
    if completion.lock is None:
        return
    lock, packages = completion.lock, completion.packages
    lock.ready = True
    lock.tell(packages.imported())
    shell.events.register("pre_run_cell", lambda *_: lock.tell(packages.imported(), busy=True))
    shell.events.register("post_run_cell", lambda *_: lock.tell(packages.imported()))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
