"""Notebooks run without a front end: the nearest comparison with juv and marimo.

Neither of them gives Jupyter a kernel. ``juv run`` launches a JupyterLab of its own for each
notebook, and marimo has a server and a file format of its own. Both can run a notebook to its end.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks.contestants import DECLARED, FIRST_CELL, OURS, PLAIN, as_notebook
from benchmarks.results import Results
from benchmarks.stage import Broken, Stage, block

__all__ = ["JUV", "MARIMO", "measure"]

JUV, MARIMO = "0.5.0", "0.25.2"

_MARIMO = """{block}

import marimo

app = marimo.App()


@app.cell
def _():
    {cell}
    return


if __name__ == "__main__":
    app.run()
"""

_Argv = Callable[[Path], list[str]]


def measure(stage: Stage, results: Results, runs: int, *, rivals: bool) -> None:
    """Run a new notebook, and the same one again; everybody in turn."""
    ways = _ways(stage, results, rivals=rivals)
    for name, (who, write, argv) in list(ways.items()):
        try:
            # With network: uv's cache gets what is needed.
            path = write(stage.notebooks(who), "rehearsal")
            stage.run(who, *argv(path), offline=False)
        except Broken as error:
            results.failed(name, "running a notebook", error)
            del ways[name]
    names = list(ways)
    for number in range(runs):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            who, write, argv = ways[name]
            try:
                path = write(stage.notebooks(who), f"headless-{number}")
                for figure in ("run new", "run again"):
                    seconds, _ = stage.timed(who, *argv(path))
                    results.add(figure, name, seconds)
            except Broken as error:
                results.failed(name, "running a notebook", error)


def _ways(
    stage: Stage, results: Results, *, rivals: bool
) -> dict[str, tuple[str, Callable[[Path, str], Path], _Argv]]:
    def command(who: str, name: str) -> str:
        return str(stage.home(who) / "venv" / "bin" / name)

    plain, ours = command(PLAIN, "jupyter-execute"), command(OURS, "jupyter-scriptenv")
    kernel = "--kernel_name=plain"
    ways: dict[str, tuple[str, Callable[[Path, str], Path], _Argv]] = {
        "jupyter execute (ipykernel)": (PLAIN, _notebook, lambda p: [plain, kernel, str(p)]),
        "jupyter scriptenv execute": (OURS, _notebook, lambda p: [ours, "execute", str(p)]),
        "jupyter scriptenv run": (OURS, _notebook, lambda p: [ours, "run", str(p)]),
    }
    if not rivals:
        return ways
    ways["uv run (a script)"] = (
        "uv run",
        _script,
        lambda p: ["uv", "run", "--no-project", "--quiet", "--script", str(p)],
    )
    for who, version in (("juv", JUV), ("marimo", MARIMO)):
        stage.share_cache(OURS, who)
        try:
            stage.venv(who, f"{who}=={version}", f"uv=={_uv_version(stage)}")
        except Broken as error:
            results.failed(who, "everything", error)
            continue
        tool = command(who, who)
        if who == "juv":
            ways["juv exec"] = (who, _notebook, lambda p, tool=tool: [tool, "exec", str(p)])  # type: ignore[misc]
        else:
            ways["marimo export --sandbox"] = (who, _marimo, _exporting(tool))
    return ways


def _exporting(tool: str) -> _Argv:
    def argv(path: Path) -> list[str]:
        output = str(path.with_suffix(".html"))
        return [tool, "export", "html", "--sandbox", "--force", str(path), "-o", output]

    return argv


def _notebook(folder: Path, label: str) -> Path:
    path = folder / f"{label}.ipynb"
    path.write_text(as_notebook(block(DECLARED), FIRST_CELL), encoding="utf-8")
    return path


def _script(folder: Path, label: str) -> Path:
    path = folder / f"{label}.py"
    path.write_text(f"{block(DECLARED)}\n{FIRST_CELL}\n", encoding="utf-8")
    return path


def _marimo(folder: Path, label: str) -> Path:
    path = folder / f"{label}.py"
    declared = block((*DECLARED, f"marimo=={MARIMO}"))
    path.write_text(_MARIMO.format(block=declared, cell=FIRST_CELL), encoding="utf-8")
    return path


def _uv_version(stage: Stage) -> str:
    return stage.run(OURS, stage.uv, "--version").split()[1]
