"""Starts of kernels, everybody's in turn: warm, in a new environment, with a new dependency."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Self

from benchmarks.contestants import DECLARED, FIRST_CELL, OURS, PLAIN, Contestant, Notebook
from benchmarks.results import Results
from benchmarks.stage import Broken, Stage, Worker

__all__ = ["Contest"]

NEW = "tabulate"
"""What is added: one module that neither ipykernel nor the notebook needs."""

_WAIT = 120.0
"""Seconds after which a start or a cell counts as failed."""

_EDITING = 1.0
"""Seconds for which everybody's kernel is left alone before a dependency is added.

A person types it and saves: that takes longer.
"""


class Contest:
    """Everybody who starts kernels, each with a worker of its own."""

    def __init__(self, stage: Stage, results: Results) -> None:
        self.stage = stage
        self.results = results
        self.everybody: list[Contestant] = []
        self._workers: dict[str, Worker] = {}
        self._warm: dict[str, Notebook] = {}
        self._ends = contextlib.ExitStack()
        self._serial = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End all workers and their kernels."""
        self._ends.close()

    def enter(self, contestant: Contestant) -> None:
        """Install a contestant and rehearse; one that cannot is told and left out."""
        name = contestant.name
        print(f"  {name} …", flush=True)
        if self.everybody:
            self.stage.share_cache(self.everybody[-1].name, name)
        try:
            python = contestant.prepare()
            worker = self._ends.enter_context(Worker(self.stage, name, python))
            self._workers[name] = worker
            # With network: now uv's cache gets what the measured sessions need.
            self._session(contestant, measured=False)
            warm = contestant.notebook("warm", DECLARED)
            warm = self._readied(contestant, warm)
            self._start(contestant, warm, offline=False)
            self._execute(contestant, FIRST_CELL)
            self._start(contestant, warm)
            worker.ask("stop")
        except (Broken, OSError) as error:
            self.results.failed(name, "everything", error)
            return
        self._warm[name] = warm
        self.everybody.append(contestant)

    def worker(self, contestant: Contestant) -> Worker:
        """Give a contestant's worker."""
        return self._workers[contestant.name]

    def warm_notebook(self, contestant: Contestant) -> Notebook:
        """Give the notebook whose environment stands."""
        return self._warm[contestant.name]

    def warm(self, runs: int) -> None:
        """Measure starts in environments that stand."""
        for contestant in self._in_turn(runs):
            with self._telling(contestant, "warm start"):
                seconds = self._start(contestant, self._warm[contestant.name])
                self.results.add("warm", contestant.name, seconds)
            self.worker(contestant).ask("stop")

    def sessions(self, runs: int) -> None:
        """Measure new notebooks: start, first cell, a dependency more."""
        for contestant in self._in_turn(runs):
            with self._telling(contestant, "new environment"):
                self._session(contestant, measured=True)
            self.worker(contestant).ask("stop")

    def together(self, count: int, runs: int) -> None:
        """Measure many starts at once, in environments that stand: plain kernels and ours."""
        chosen = [found for found in self.everybody if found.name in (PLAIN, OURS)]
        starts: dict[str, list[dict[str, Any]]] = {}
        for contestant in chosen:
            notebooks = [contestant.notebook(f"many-{number}", ()) for number in range(count)]
            starts[contestant.name] = [made.start(offline=self._offline) for made in notebooks]
            for made in notebooks if contestant.name == OURS else ():
                self._start(contestant, made)
                self._execute(contestant, "pass")
            self.worker(contestant).ask("stop")
        for contestant in self._in_turn(runs, chosen):
            with self._telling(contestant, f"{count} at once"):
                asked = {"starts": starts[contestant.name], "timeout": _WAIT}
                answer = self.worker(contestant).ask("together", **asked)
                self.results.add("together", contestant.name, answer["seconds"])

    def start(
        self,
        contestant: Contestant,
        label: str,
        dependencies: Sequence[str],
        *,
        wait: float = _WAIT,
        offline: bool | None = None,
    ) -> Notebook:
        """Start a new notebook's kernel, for those who look at it.

        :param wait: seconds after which it counts as failed
        :param offline: whether uv must do with its cache; default: what this run is
        :raises Broken: if it does not start
        """
        made = contestant.notebook(label, dependencies)
        offline = self._offline if offline is None else offline
        made = self._readied(contestant, made, offline=offline)
        start = made.start(offline=offline)
        self.worker(contestant).ask("start", **start, timeout=wait)
        return made

    def _session(self, contestant: Contestant, *, measured: bool) -> None:
        contestant.forget()
        self._serial += 1
        made = contestant.notebook(f"new-{self._serial}", DECLARED)
        try:
            began = time.perf_counter()
            made = self._readied(contestant, made, offline=self._offline and measured)
            before = time.perf_counter() - began if made.before else 0.0
            new = before + self._start(contestant, made, offline=self._offline and measured)
            if not measured:
                found = self.worker(contestant).ask("has", module=DECLARED[0], timeout=_WAIT)
                opening = "installs" if found["found"] else "installs nothing"
                if made.before:
                    opening = "is not possible before commands that install"
                self.results.fact(contestant.name, "opening a notebook", opening)
            cell = new + self._execute(contestant, FIRST_CELL)
            if measured:
                self.results.add("new", contestant.name, new)
                self.results.add("cell", contestant.name, cell)
            if contestant.name != PLAIN:
                added = self._add(contestant, made)
                if measured:
                    self.results.add("add", contestant.name, added)
        finally:
            self.worker(contestant).ask("stop")
            made.remove()

    def _add(self, contestant: Contestant, notebook: Notebook) -> float:
        """Add a dependency and import it; give the seconds that took."""
        time.sleep(_EDITING)
        seconds = 0.0
        for step in contestant.add(notebook, DECLARED, NEW):
            if step["op"] == "execute":
                seconds += self._execute(contestant, step["code"])
            else:
                answer = self.worker(contestant).ask(**step, timeout=_WAIT)
                seconds += answer["seconds"]
        return seconds + self._execute(contestant, f"import {NEW}")

    def _readied(
        self, contestant: Contestant, notebook: Notebook, *, offline: bool = False
    ) -> Notebook:
        """Do what is needed before the first start."""
        for argv in notebook.before:
            folder = notebook.path.parent
            self.stage.run(contestant.name, *argv, cwd=folder, offline=offline, add=notebook.env)
        return replace(notebook, kernel=contestant.kernel_of(notebook))

    def _start(
        self, contestant: Contestant, notebook: Notebook, *, offline: bool | None = None
    ) -> float:
        start = notebook.start(offline=self._offline if offline is None else offline)
        answer = self.worker(contestant).ask("start", **start, timeout=_WAIT)
        return float(answer["seconds"])

    def _execute(self, contestant: Contestant, code: str) -> float:
        answer = self.worker(contestant).ask("execute", code=code, timeout=_WAIT)
        if answer["status"] != "ok":
            details = re.sub(r"\x1b\[[0-9;]*m", "", answer["details"]).strip().splitlines()
            raise Broken(f"the cell failed: {answer['error'][:200]} {' '.join(details[-4:])[:300]}")
        return float(answer["seconds"])

    @property
    def _offline(self) -> bool:
        return not self.stage.online

    def _in_turn(self, runs: int, who: Sequence[Contestant] | None = None) -> Iterator[Contestant]:
        """Give everybody once in each round, in each place of it equally often."""
        everybody = list(self.everybody if who is None else who)
        for number in range(runs):
            at = number % len(everybody)
            yield from everybody[at:] + everybody[:at]

    @contextlib.contextmanager
    def _telling(self, contestant: Contestant, what: str) -> Iterator[None]:
        """Keep a failure, and go on."""
        try:
            yield
        except Broken as error:
            self.results.failed(contestant.name, what, error)
