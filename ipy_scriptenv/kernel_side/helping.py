"""What the imports of a user's cell tell: what comes with the kernel, and what is missing."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import sys
from collections.abc import Iterator
from typing import Any

from .imports import Packages, file_of

__all__ = ["ImportHelp", "changed_by_hand"]

_THE_KERNEL_ITSELF = frozenset({"IPython", "comm", "ipykernel", "matplotlib_inline"})
"""Modules of the layer that a notebook rightly takes from whatever kernel it runs in.

They are how code speaks with the kernel and through it with the front end: ``IPython.display``,
comms, the settings of inline figures. A version that is declared could not be another anyway.
"""

_GONE = frozenset(
    "aifc asynchat asyncore audioop cgi cgitb chunk crypt imghdr imp lib2to3 mailcap msilib nis"  # noqa: SIM905 - or a line for each
    " nntplib ossaudiodev pipes smtpd sndhdr spwd sunau telnetlib uu xdrlib".split()
)
"""Modules that Python's standard library had before 3.12 or 3.13: no packages of these names."""

_SHARED = frozenset({"azure", "google", "zope"})
"""Namespaces of many packages: which one is wanted, only a known part of them tells."""

_BLOCKS = ("body", "orelse", "finalbody", "handlers")


class ImportHelp:
    """Looks at a user's cell after it has run. Each method gives lines to show, or none."""

    def __init__(self, packages: Packages) -> None:
        self._packages = packages
        self._seen: set[str] = set()

    def notes(self, code: str) -> list[str]:
        """Tell of each module that *code* imports and that the kernel's layer alone has.

        Each is told once in a kernel's life, and kept in ``packages.undeclared``. A cell without
        the word ``import`` costs nothing.
        """
        if self._packages.layer is None or "import" not in code:
            return []
        new = {name.partition(".")[0] for name in _imported_names(code)} - self._seen
        found = []
        for module in sorted(new - _THE_KERNEL_ITSELF):
            path = file_of(sys.modules.get(module))
            if path is None:
                # The import has failed or did not run; a later one may succeed.
                continue
            self._seen.add(module)
            if not path.startswith(os.path.join(self._packages.layer, "")):
                continue
            name = _owner(module, self._packages.layer)
            if name is None or name in _distributions(self._packages.environment):
                continue
            self._packages.undeclared[module] = name
            found.append(
                f"{module} comes with the kernel; this notebook does not declare it: "
                f"%scriptenv add {name}"
            )
        return found

    def missing(self, error: object, globals_: dict[str, Any], code: str) -> str | None:
        """Tell which package the user's own import lacks; None where nothing can be said.

        :param error: what ended the cell
        :param globals_: those of the user's code; an error inside a package has others
        :param code: the cell. Of `import google.cloud.storage` the error names `google` alone
        """
        if not isinstance(error, ModuleNotFoundError) or not _is_raised_in(error, globals_):
            return None
        from .names import known_distribution

        module = error.name if isinstance(error.name, str) else ""
        top = module.partition(".")[0]
        wanted = [each for each in _imported_names(code) if each.startswith(f"{module}.")]
        known = next(filter(None, map(known_distribution, [module, *wanted])), None)
        name = known or top.replace("_", "-")
        environment = self._packages.environment
        if (
            not all(part.isidentifier() for part in module.split("."))
            or self._is_no_package(top)
            or (known is None and top in _SHARED)
            # A part of it is missing, which another installation would not bring.
            or (_is_found(top) and known == known_distribution(top))
            or name in _distributions(environment)
            or _owner(top, environment) is not None
        ):
            return None
        if known is not None:
            return f"{top} comes with {known}, not installed here: %scriptenv add {known}"
        return (
            f"{top} is not installed here; if the package has the same name: %scriptenv add {name}"
        )

    @staticmethod
    def _is_no_package(module: str) -> bool:
        """Say whether a name means Python's own module, or a file that lies nearby."""
        standard = getattr(sys, "stdlib_module_names", sys.builtin_module_names)
        if module in standard or module in _GONE:
            return True
        # Anything may stand in `sys.path`; Python looks at texts alone.
        entries: list[Any] = sys.path[:1]
        folders = {os.curdir, *(entry for entry in entries if entry and isinstance(entry, str))}
        names = (module, f"{module}.py", f"{module}.ipynb")
        return any(
            os.path.exists(os.path.join(folder, each)) for folder in folders for each in names
        )


def changed_by_hand(record: dict[str, Any], folder: str) -> list[str]:
    """Name what is installed in an environment and was not there after its last sync.

    :param record: the decoded record
    :param folder: the environment's packages
    """
    synced = {package["name"]: package["version"] for package in record["packages"]}
    found = _distributions(folder)
    return sorted(
        f"{name} {version}" for name, version in found.items() if synced.get(name) != version
    )


def _imported_names(code: str) -> Iterator[str]:
    """Give the full names that a cell's own import statements name, outside its functions."""
    from IPython.core.inputtransformer2 import TransformerManager

    try:
        tree = ast.parse(TransformerManager().transform_cell(code))
    except Exception:  # noqa: BLE001 - what cannot be read imports nothing, and has told so itself
        return
    waiting: list[Any] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.module and not node.level:
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            for block in _BLOCKS:
                inner = getattr(node, block, None)
                waiting += inner if isinstance(inner, list) else []


def _is_raised_in(error: BaseException, globals_: dict[str, Any]) -> bool:
    """Say whether the innermost code that raised is the user's; the import machinery is no code."""
    innermost = None
    trace = error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_globals.get("__name__")
        if not (isinstance(name, str) and name.partition(".")[0] == "importlib"):
            innermost = trace.tb_frame
        trace = trace.tb_next
    return innermost is not None and innermost.f_globals is globals_


def _is_found(module: str) -> bool:
    """Say whether Python finds a top-level module: then only a part of it is missing."""
    if module in sys.modules:
        return True
    try:
        return importlib.util.find_spec(module) is not None
    except Exception:  # noqa: BLE001 - a finder of the user's may raise anything
        return False


def _distributions(folder: str) -> dict[str, str]:
    """Give the distributions in a folder of packages: versions by normalised name."""
    try:
        names = os.listdir(folder)
    except OSError:
        return {}
    pairs = (
        name[: -len(".dist-info")].partition("-") for name in names if name.endswith(".dist-info")
    )
    return {_normalised(name): version for name, _, version in pairs}


def _owner(module: str, folder: str) -> str | None:
    """Give the distribution in a folder of packages that has a top-level module, by its files."""
    beginnings = (f"{module}/", f"{module}.py,", f"{module}.cpython-", f"{module}.abi3.")
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(".dist-info"))
    except OSError:
        return None
    for name in names:
        if any(
            line.startswith(beginnings) for line in _lines(os.path.join(folder, name, "RECORD"))
        ):
            return _normalised(name.partition("-")[0])
    return None


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8") as file:
            return file.readlines()
    except (OSError, ValueError):
        return []


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
