"""Simulate a hub on one store: ``benchmarks/hub.py [--users 500] [--notebooks 20]``.

Makes a home with an environment, a notebook and a kernelspec for each notebook of each user, as
they stand after the first start, and measures at several sizes what grows: files, bytes, the time
of `list` and `prune`, and of the kernel picker. Prints a table, and for each row the constants of
the line that fits best, by which another size can be told. Then what one user's own home costs.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

SHARES = (0.05, 0.25, 0.5, 1.0)
"""The sizes, as parts of the whole hub."""

ROUNDS = 5

_NOTEBOOK = {
    "cells": [
        {
            "cell_type": "code",
            "id": "block",
            "execution_count": None,
            "metadata": {},
            "outputs": [],
            "source": "# /// script\n# dependencies = []\n# ///\n",
        }
    ],
    "metadata": {"kernelspec": {"name": "scriptenv", "display_name": "Python (scriptenv)"}},
    "nbformat": 4,
    "nbformat_minor": 5,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """The line that fits measurements best: ``base + each * size``.

    :param fit: the coefficient of determination, 1 where all points lie on it
    """

    base: float
    each: float
    fit: float


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--users", type=int, default=500)
    parser.add_argument("--notebooks", type=int, default=20, help="of each user")
    parser.add_argument("--json", action="store_true", help="print all measurements as JSON")
    chosen = parser.parse_args()
    whole = chosen.users * chosen.notebooks
    sizes = sorted({max(1, round(whole * share)) for share in SHARES})
    with _stage() as home:
        found = {size: _measure(home, size) for size in sizes}
        layer = _counted(home / "scriptenv" / "kernels-v1")
    with _stage() as home:
        alone = _measure(home, chosen.notebooks)
    with _stage() as home:
        reference = _shared(home)
    if chosen.json:
        print(json.dumps({"sizes": found, "one user": alone, "layer": layer, "shared": reference}))
        return
    print(f"{chosen.users} users × {chosen.notebooks} notebooks on one store\n")
    _print_growth(found)
    print(f"\nOne user's own home with {chosen.notebooks} notebooks\n")
    print("| | |\n|---|---|")
    for name, value in alone.items():
        print(f"| {name} | {_shown(name, value)} |")
    files, size = layer
    print(f"| kernel layer of its own | {files:,} files, {size / 1e6:.0f} MB |")
    files, size = reference
    print(f"| kernel layer in a shared folder | {files} files, {size / 1e3:.0f} kB |")


def _print_growth(found: dict[int, dict[str, float]]) -> None:
    sizes = list(found)
    head = " | ".join(f"{size:,}" for size in sizes)
    print(f"| environments | {head} | each | fixed | fit |")
    print("|---|" + "--:|" * (len(sizes) + 3))
    for name in found[sizes[0]]:
        values = [found[size][name] for size in sizes]
        line = _line(sizes, values)
        cells = " | ".join(_shown(name, value) for value in values)
        each, base = _small(name, line.each), _shown(name, max(0.0, line.base))
        print(f"| {name} | {cells} | {each} | {base} | {line.fit:.4f} |")


def _line(sizes: list[int], values: list[float]) -> Line:
    if len(sizes) < 2:  # noqa: PLR2004 - one point lies on any line
        return Line(base=0.0, each=values[0] / sizes[0], fit=1.0)
    slope, intercept = statistics.linear_regression(sizes, values)
    mean = statistics.fmean(values)
    total = sum((value - mean) ** 2 for value in values)
    pairs = zip(sizes, values, strict=True)
    rest = sum((value - intercept - slope * size) ** 2 for size, value in pairs)
    return Line(base=intercept, each=slope, fit=1 - rest / total if total else 1.0)


def _shown(name: str, value: float) -> str:
    if name == "bytes":
        return f"{value / 1e6:,.1f} MB"
    return f"{value:.3f} s" if _is_time(name) else f"{value:,.0f}"


def _small(name: str, value: float) -> str:
    if name == "bytes":
        return f"{value / 1e3:,.1f} kB"
    return f"{value * 1e6:,.0f} µs" if _is_time(name) else f"{value:,.1f}"


def _is_time(name: str) -> bool:
    return name not in ("files", "bytes")


@contextmanager
def _stage() -> Iterator[Path]:
    """Give an empty home, which this process's environment variables lead to."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        os.environ.update(
            HOME=str(home),
            JUPYTER_DATA_DIR=str(home / "jupyter"),
            SCRIPTENV_HOME=str(home / "scriptenv"),
            XDG_CONFIG_DIRS=str(home / "no-policy"),
            XDG_CONFIG_HOME=str(home / "no-config"),
        )
        yield home


def _measure(home: Path, size: int) -> dict[str, float]:
    """Have *size* environments, and measure them."""
    from jupyter_client.kernelspec import KernelSpecManager

    from ipy_scriptenv import environments
    from ipy_scriptenv.environments import Context, Kept

    some = _fill(home, size)
    context, limit = Context(), Kept(size=10**15)
    picker = KernelSpecManager()
    folders = [_counted(home / "scriptenv" / "environments-v1"), _counted(home / "jupyter")]
    files, used = (sum(counts) for counts in zip(*folders, strict=True))
    verbs: dict[str, Callable[[], object]] = {
        "list": lambda: environments.list_environments(context=context),
        "prune": lambda: environments.prunable(Kept(), context=context),
        "prune --over": lambda: environments.prunable(limit, context=context),
        "kernel picker": picker.get_all_specs,
        "start of one": lambda: environments.start(some, context=context),
    }
    return {"files": files, "bytes": used, **{name: _seconds(verb) for name, verb in verbs.items()}}


def _seconds(verb: Callable[[], object]) -> float:
    """Give the processor's seconds of a verb, the best of some rounds.

    It waits for nothing but the disk, which has all in its cache; what else the machine does at
    that moment is no part of it.
    """
    times = []
    for _ in range(ROUNDS):
        began = time.process_time()
        verb()
        times.append(time.process_time() - began)
    return min(times)


def _counted(folder: Path) -> tuple[int, int]:
    """Count what is in a folder: entries, and the bytes that it takes on the disk."""
    files = taken = 0
    folders = [str(folder)]
    while folders:
        with os.scandir(folders.pop()) as there:
            for entry in there:
                files += 1
                # Blocks of 512 bytes, as POSIX has it.
                taken += entry.stat(follow_symlinks=False).st_blocks * 512
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
    return files, taken


def _shared(home: Path) -> tuple[int, int]:
    """Count what a home has of a layer that a folder for all users holds."""
    from ipy_scriptenv import environments, settings
    from ipy_scriptenv.environments import Context
    from ipy_scriptenv.interpreters import host_python

    policy = settings.policy_files()[-1]
    policy.parent.mkdir(parents=True)
    policy.write_text(f"shared = {json.dumps(str(home / 'shared'))}\n", encoding="utf-8")
    environments.share(home / "shared", [host_python()], context=Context())
    # Who has filled it has a layer of their own; this is about everybody else.
    os.environ["SCRIPTENV_HOME"] = str(home / "another" / "scriptenv")
    environments.prepare(Context())
    return _counted(home / "another" / "scriptenv" / "kernels-v1")


def _fill(home: Path, size: int) -> Any:
    """Copy a first real environment until *size* stand; give the first one's source."""
    from ipy_scriptenv import environments, processes
    from ipy_scriptenv.environments import Context
    from ipy_scriptenv.kernels.specs import register
    from ipy_scriptenv.layout import RECORD
    from ipy_scriptenv.store import Store

    store, first = Store(home / "scriptenv"), _notebook(home, 0)
    source = environments.locate(first)
    environments.start(source, context=Context(), wait=600, launching=False)
    for process in processes.started():
        # What the layer is compiled by in the background is no part of the measurements.
        process.wait()
    template = store.environment(environments.name_of(source))
    record = store.read_record(template)
    if record is None:
        sys.exit("the first environment has no record")
    for number in range(len(store.names()), size):
        path = _notebook(home, number)
        found = path.stat()
        mine = environments.locate(path)
        name = environments.name_of(mine)
        folder = store.environment(name)
        shutil.copytree(template, folder, symlinks=True)
        stat = (found.st_size, found.st_mtime_ns, found.st_ino)
        told = replace(record, source=mine, source_stat=stat)
        (folder / RECORD).write_text(told.to_json(), encoding="utf-8")
        register(name, mine, folder, curve=True)
    return source


def _notebook(home: Path, number: int) -> Path:
    path = home / "notebooks" / f"notebook-{number}.ipynb"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(_NOTEBOOK), encoding="utf-8")
    return path


if __name__ == "__main__":
    main()
