"""What each contestant does where things go wrong or where caution is due: one start for each."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.contest import Contest
from benchmarks.contestants import FIRST_CELL, PLAIN, Contestant
from benchmarks.results import Results
from benchmarks.stage import Broken, Stage

__all__ = ["ask"]

_MISSING = "no-such-package-is-there"

_BACKEND = """
import pathlib

def _mark():
    pathlib.Path({mark!r}).write_text("built")

def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    _mark()
    raise SystemExit("enough")

def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    _mark()
    raise SystemExit("enough")
"""


def ask(stage: Stage, contest: Contest, results: Results) -> None:
    """Answer all questions for everybody but the baseline."""
    for contestant in contest.everybody:
        if contestant.name == PLAIN:
            continue
        print(f"  {contestant.name} …", flush=True)
        with _told(contest, results, contestant, "code at opening"):
            _code_at_opening(stage, contest, results, contestant)
        with _told(contest, results, contestant, "a dependency that does not exist"):
            _bad_dependency(stage, contest, results, contestant)
        with _told(contest, results, contestant, "size"):
            _size(stage, contest, results, contestant)
        with _told(contest, results, contestant, "after `uv cache prune`"):
            _after_prune(stage, contest, results, contestant)


def _code_at_opening(
    stage: Stage, contest: Contest, results: Results, contestant: Contestant
) -> None:
    """See whether opening a notebook runs the build of a package that it declares."""
    folder = stage.home(contestant.name) / "trap"
    folder.mkdir(exist_ok=True)
    mark = folder / "mark"
    (folder / "backend.py").write_text(_BACKEND.format(mark=str(mark)), encoding="utf-8")
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "trap"\nversion = "1"\n',
        encoding="utf-8",
    )
    declared = [f"trap @ {folder.as_uri()}"]
    needs_more = bool(contestant.notebook("trap", declared).before)
    with contextlib.suppress(Broken):
        contest.start(contestant, "trap", declared, wait=30)
    answer = "runs a package's build" if mark.exists() else "runs nothing"
    if needs_more:
        answer = "is not possible before commands that run it"
    results.fact(contestant.name, "code at opening", answer)


def _bad_dependency(
    stage: Stage, contest: Contest, results: Results, contestant: Contestant
) -> None:
    """See where a user learns that a dependency does not exist."""
    del stage
    try:
        contest.start(contestant, "bad", [_MISSING], wait=30)
    except Broken as error:
        words = str(error)
        if words.startswith("`"):
            answer = "a command fails before the start"
        elif words.startswith("TimeoutError"):
            answer = "no kernel, and nothing says so"
        else:
            answer = "no kernel; why is in the server's log"
    else:
        told = contest.worker(contestant).ask("execute", code=FIRST_CELL, timeout=60)
        names = _MISSING in told["error"] + told["details"] + told["text"]
        answer = (
            "kernel; the cell's error names it" if names else "kernel; the cell's error does not"
        )
    results.fact(contestant.name, "a dependency that does not exist", answer)


def _size(stage: Stage, contest: Contest, results: Results, contestant: Contestant) -> None:
    """Count what one more notebook without dependencies puts on the disk while its kernel runs."""
    # What is made once, for the first notebook of the kind, is no cost of the next. With network,
    # because juvio tells uv to use no cache where nothing is declared.
    contest.start(contestant, "size-0", (), offline=False)
    contest.worker(contestant).ask("execute", code="pass", timeout=60)
    contest.worker(contestant).ask("stop")
    before = _files(stage.home(contestant.name))
    contest.start(contestant, "size-1", (), offline=False)
    contest.worker(contestant).ask("execute", code="pass", timeout=60)
    after = _files(stage.home(contestant.name))
    new = [size for path, size in after.items() if path not in before]
    results.add("files", contestant.name, len(new))
    results.add("bytes", contestant.name, sum(new))


def _after_prune(stage: Stage, contest: Contest, results: Results, contestant: Contestant) -> None:
    """See whether the environments survive when uv's cache is tidied."""
    # Shown by what every cache loses: `uv cache prune` removes environments of uv's own.
    stage.run(contestant.name, "uv", "cache", "prune", "--quiet")
    warm = contest.warm_notebook(contestant)
    start = warm.start(offline=not stage.online)
    usual = results.median("warm", contestant.name)
    try:
        seconds = contest.worker(contestant).ask("start", **start, timeout=120)["seconds"]
    except Broken as error:
        words = str(error)
        results.fact(
            contestant.name, "after `uv cache prune`", f"no start without network: {words}"
        )
        return
    times = f", {seconds / usual:.1f}× its warm start" if usual else ""
    results.fact(contestant.name, "after `uv cache prune`", f"starts in {seconds:.1f} s{times}")


def _files(folder: Path) -> dict[str, int]:
    """Give the size of each file below a folder; symbolic links count for themselves."""
    skipped = ("jupyter-runtime", "ipython")
    return dict(_sizes(folder, skipped))


def _sizes(folder: Path, skipped: Sequence[str]) -> Iterator[tuple[str, int]]:
    for entry in folder.iterdir():
        if entry.name in skipped:
            continue
        if entry.is_dir() and not entry.is_symlink():
            with contextlib.suppress(OSError):
                yield from _sizes(entry, ())
        else:
            with contextlib.suppress(OSError):
                yield str(entry), entry.lstat().st_size


@contextlib.contextmanager
def _told(contest: Contest, results: Results, contestant: Contestant, what: str) -> Iterator[None]:
    """Keep a failure, end the kernel, go on."""
    try:
        yield
    except (Broken, OSError) as error:
        results.failed(contestant.name, what, error)
    finally:
        contest.worker(contestant).ask("stop")
