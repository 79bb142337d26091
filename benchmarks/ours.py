"""What is measured of this project alone, beside what uv, Python or json need for the same."""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contest import NEW, Contest
from benchmarks.contestants import DECLARED, OURS, Contestant, as_notebook
from benchmarks.inside import CHECK
from benchmarks.results import Results
from benchmarks.stage import Broken, Stage, block

__all__ = ["Alone"]

_LARGE = 200 << 20
"""Bytes of the large notebook."""

_CHECKS = 200
_BYTECODE = "bytecode-v1"
_FILLING = 240.0
"""Seconds that the shared byte code may take to be there; it is made at low priority."""

_IMPORTS = "import pandas, matplotlib.pyplot, sklearn.linear_model"
_HEAVY = ("pandas", "matplotlib", "scikit-learn")
_TIMED = f"import time; began = time.perf_counter(); {_IMPORTS}; print(time.perf_counter() - began)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alone:
    """The figures in which this project stands alone.

    :param contest: where its contestant has been entered
    """

    stage: Stage
    contest: Contest
    contestant: Contestant
    results: Results

    @property
    def _python(self) -> str:
        return str(self.stage.home(OURS) / "venv" / "bin" / "python")

    def check(self, runs: int) -> None:
        """Measure the check in the kernel, with a small and a large notebook, and uv's own."""
        self._check_in_kernel("check", "")
        self._check_in_kernel("check large", _output(_LARGE))
        script = self._script("no-op.py", DECLARED)
        for _ in range(runs + 1):
            self.results.add("check", "uv sync --script", self._sync(script))
        self.results.values["check"]["uv sync --script"].pop(0)  # it made the environment

    def uv_add(self, runs: int) -> None:
        """Measure what uv alone needs for a dependency more."""
        for number in range(runs):
            script = self._script(f"add-{number}.py", DECLARED)
            self._sync(script)
            self._script(script.name, (*DECLARED, NEW))
            self.results.add("add", "uv sync --script", self._sync(script))

    def read(self, runs: int) -> None:
        """Measure the reading of the block of a large notebook that has changed."""
        path = self.contestant.folder / "large.ipynb"
        path.write_text(_large(block(DECLARED), _output(_LARGE)), encoding="utf-8")
        for _ in range(runs):
            for name, seconds in json.loads(self._inside("read", str(path))).items():
                self.results.add("read", name, seconds)
        path.unlink()

    def commands(self, runs: int) -> None:
        """Measure the command line, and loading the extension into IPython."""
        notebook = self.contest.warm_notebook(self.contestant).path
        bin_ = Path(self._python).parent
        commands = {
            "python -c pass": (self._python, "-c", "pass"),
            "jupyter-scriptenv find": (str(bin_ / "jupyter-scriptenv"), "find", str(notebook)),
            "jupyter scriptenv find": (str(bin_ / "jupyter"), "scriptenv", "find", str(notebook)),
        }
        for number in range(runs + 1):
            for name, argv in commands.items():
                seconds, _ = self.stage.timed(OURS, *argv)
                if number:  # the first one wrote byte code
                    self.results.add("command", name, seconds)
            seconds = float(self._inside("load_ext"))
            if number:
                self.results.add("command", "%load_ext", seconds)

    def first_imports(self, runs: int) -> None:
        """Measure first imports in new environments, with shared byte code and without."""
        # The first environment of all compiles for those to come.
        self._imports("", "heavy", add={})
        self._await_store()
        for number in range(runs):
            self._imports("shared", f"heavy-{number}", add={})
            self._imports("not shared", f"heavy-off-{number}", add={"SCRIPTENV_BYTECODE": "0"})

    def layer(self, runs: int) -> None:
        """Measure the kernel layer's first time."""
        for _, how in itertools.product(range(runs), ("copied", "installed")):
            self.results.add("layer", how, float(self._inside("layer", how)))

    def many(self, count: int) -> None:
        """Measure what grows with the number of environments."""
        script = str(Path(__file__).with_name("many.py"))
        found = self.stage.run(OURS, self._python, "-P", script, "-n", str(count), "--json")
        for number, verbs in json.loads(found).items():
            for verb, times in verbs.items():
                self.results.add(f"many {number}", verb, *times)

    def _check_in_kernel(self, figure: str, output: str) -> None:
        label = figure.replace(" ", "-")
        path = self.contestant.folder / f"{label}.ipynb"
        made = self.contest.start(self.contestant, label, DECLARED)
        if output:
            path.write_text(_large(block(DECLARED), output), encoding="utf-8")
        worker = self.contest.worker(self.contestant)
        cell = block(DECLARED)
        try:
            worker.ask("execute", code=cell, timeout=60)
            worker.ask("stop")
            start = made.start(offline=not self.stage.online)
            worker.ask("start", **start, timeout=60)
            worker.ask("execute", code=cell, timeout=60)
            code = CHECK.format(block=cell, count=_CHECKS)
            answer = worker.ask("execute", code=code, timeout=120)
            if answer["status"] != "ok":
                raise Broken(answer["error"])
            for what, times in json.loads(answer["text"]).items():
                self.results.add(figure, what, *times)
        finally:
            worker.ask("stop")
            made.remove()

    def _imports(self, figure: str, label: str, *, add: dict[str, str]) -> None:
        """Import in a new environment, and again in a new kernel."""
        worker = self.contest.worker(self.contestant)
        made = self.contestant.notebook(label, _HEAVY)
        start = made.start(offline=bool(figure) and not self.stage.online)
        start["env"] |= add
        try:
            for turn in ("first", "second"):
                worker.ask("start", **start, timeout=60)
                # The first cell installs; only the import is measured.
                ready = worker.ask("execute", code="pass", timeout=600)
                answer = worker.ask("execute", code=_TIMED, timeout=120)
                if ready["status"] != "ok" or answer["status"] != "ok":
                    raise Broken(ready["error"] or answer["error"])
                if figure:
                    self.results.add(f"import {figure}", turn, float(answer["text"]))
        finally:
            worker.ask("stop")
            # Kept where byte code is shared: what is there must not depend on what goes.
            made.path.unlink(missing_ok=True)

    def _await_store(self) -> None:
        """Wait until the byte code of all that was installed has been stored."""
        store = self.stage.home(OURS) / "scriptenv" / _BYTECODE

        def is_filled() -> bool:
            names = os.listdir(store) if store.is_dir() else []
            # What is being made, and what is wanted, begins with a dot.
            pending = any(name.startswith(".") for name in names)
            return not pending and all(_is_among(wheel, names) for wheel in _HEAVY)

        if not _becomes(is_filled, seconds=_FILLING):
            self.results.failed(OURS, "shared byte code", f"not stored in {_FILLING:.0f} s")

    def _inside(self, *words: str) -> str:
        script = str(Path(__file__).with_name("inside.py"))
        return self.stage.run(OURS, self._python, "-P", script, *words)

    def _script(self, name: str, dependencies: tuple[str, ...]) -> Path:
        path = self.contestant.folder / name
        path.write_text(f"{block(dependencies)}\n", encoding="utf-8")
        return path

    def _sync(self, script: Path) -> float:
        return self.stage.timed(OURS, "uv", "sync", "--quiet", "--script", str(script))[0]


def _output(size: int) -> str:
    """Make the text of an image as Jupyter stores it."""
    line = "iVBORw0KGgoAAAANSUhEUgAAAoAAAAHgCAYAAAA10dzkAAAAOXRFWHRTb2Z0d2FyZQBNYXRwbG90bGli\\n"
    return line * (size // len(line))


def _large(declared: str, output: str, cells: int = 100) -> str:
    """Write a notebook whose outputs are that text, spread over its cells."""
    notebook = json.loads(as_notebook(declared, *["plot()"] * cells))
    part = len(output) // cells // 80 * 80
    for cell in notebook["cells"][1:]:
        cell["outputs"] = [
            {"output_type": "display_data", "metadata": {}, "data": {"image/png": "OUTPUT"}}
        ]
    return json.dumps(notebook, indent=1).replace('"OUTPUT"', f'"{output[:part]}"')


def _is_among(distribution: str, names: list[str]) -> bool:
    return any(name.startswith(f"{distribution.replace('-', '_')}-") for name in names)


def _becomes(condition: Callable[[], bool], *, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.2)
    return condition()
