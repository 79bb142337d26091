"""Measure what grows with the number of environments: ``benchmarks/many.py [-n 10000]``.

Makes a home with that many environments, as far as anything but a kernel looks at them, then times
``list``, ``prune`` and get-or-init of one. Prints a table, or with ``--json`` all times.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

ROUNDS = 3
SECONDS = 0.5
"""Less than that says nothing: a verb of few milliseconds has as many rounds as fit in."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("-n", type=int, default=10_000, help="how many environments")
    parser.add_argument("--json", action="store_true", help="print all times as JSON")
    chosen = parser.parse_args()
    times = measure(chosen.n)
    if chosen.json:
        print(json.dumps(times))
        return
    print(f"{'environments':>12}  {'verb':<24}  seconds")
    for number, verbs in times.items():
        for name, found in verbs.items():
            print(f"{number:>12}  {name:<24}  {statistics.median(found):.3f}")


def measure(count: int) -> dict[str, dict[str, list[float]]]:
    """Give the seconds of each verb, with one environment and with *count*."""
    times: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        os.environ.update(
            SCRIPTENV_HOME=str(home / "scriptenv"), JUPYTER_DATA_DIR=str(home / "jupyter")
        )
        one = _first(home)
        for number in (1, count):
            _fill(one, home, number)
            times[str(number)] = {name: _seconds(verb) for name, verb in _verbs(one).items()}
    return times


def _first(home: Path) -> Path:
    """Make one real environment; give its source."""
    from ipy_scriptenv import environments

    source = home / "notebooks" / "first.py"
    source.parent.mkdir()
    source.write_text("# /// script\n# dependencies = []\n# ///\n", encoding="utf-8")
    environments.prepare(environments.Context())
    environments.start(environments.locate(source), context=environments.Context())
    return source


def _fill(one: Path, home: Path, count: int) -> None:
    """Copy the first environment's files until *count* stand, each with a source of its own."""
    from ipy_scriptenv import environments
    from ipy_scriptenv.kernels.specs import register
    from ipy_scriptenv.layout import LAUNCHER, RECORD
    from ipy_scriptenv.record import Package
    from ipy_scriptenv.store import Store
    from ipy_scriptenv.venvs import environment_python

    store = Store(home / "scriptenv")
    first = store.environment(environments.name_of(environments.locate(one)))
    record = store.read_record(first)
    if record is None:
        sys.exit("the first environment has no record")
    packages = tuple(Package(name=f"package-{n}", version="1.0") for n in range(30))
    for number in range(len(store.names()), count):
        path = one.with_name(f"n{number}.py")
        path.write_text("", encoding="utf-8")
        source = environments.locate(path)
        name = environments.name_of(source)
        folder = store.environment(name)
        found = path.stat()
        mine = replace(
            record,
            source=source,
            packages=packages,
            source_stat=(found.st_size, found.st_mtime_ns, found.st_ino),
        )
        for part in ("bin", "lib"):
            (folder / part).mkdir(parents=True)
        (folder / RECORD).write_text(mine.to_json(), encoding="utf-8")
        (folder / LAUNCHER).write_bytes((first / LAUNCHER).read_bytes())
        environment_python(folder).symlink_to(record.python.base)
        register(name, source, folder, curve=True)


def _verbs(one: Path) -> dict[str, Callable[[], object]]:
    from ipy_scriptenv import environments
    from ipy_scriptenv.environments import Context, Kept

    source = environments.locate(one)
    return {
        "list": lambda: environments.list_environments(context=Context()),
        "prune --dry-run": lambda: environments.prunable(Kept(), context=Context()),
        "get or init of one": lambda: environments.start(source, context=Context()),
    }


def _seconds(verb: Callable[[], object]) -> list[float]:
    times: list[float] = []
    while len(times) < ROUNDS or sum(times) < SECONDS:
        began = time.perf_counter()
        verb()
        times.append(time.perf_counter() - began)
    return times


if __name__ == "__main__":
    main()
