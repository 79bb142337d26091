"""``python -m benchmarks``: measure, print, and with ``--write`` renew ``docs/benchmarks.md``."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks import facts, headless
from benchmarks.contest import Contest
from benchmarks.contestants import Contestant, Ours, Plain
from benchmarks.figures import FIGURES
from benchmarks.ours import Alone
from benchmarks.report import markdown, put
from benchmarks.results import Results, about
from benchmarks.rivals import RIVALS
from benchmarks.stage import REPOSITORY, Broken, Stage

PAGE = REPOSITORY / "docs" / "benchmarks.md"
PLOT = REPOSITORY / "docs" / "images" / "benchmarks.svg"

_QUICK = frozenset({1, 2, 5, 7})
_ROUNDS, _QUICK_ROUNDS = 10, 5


def main() -> None:
    """Measure what is asked for."""
    # Whoever ends this run wants everything ended that it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    chosen = _arguments()
    if chosen.render:
        results = Results.load(chosen.render)
    else:
        results = _measured(chosen)
        if chosen.save:
            results.save(chosen.save)
    text = markdown(results)
    print(f"\n{text}")
    if chosen.write:
        from benchmarks.plot import draw

        put(text, PAGE)
        draw(results, PLOT)
        print(f"\nWritten: {PAGE.relative_to(REPOSITORY)}, {PLOT.relative_to(REPOSITORY)}")


def _arguments() -> argparse.Namespace:
    figures = "; ".join(f"{number} {title}" for number, title in FIGURES.items())
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two minutes: ours and plain, no page")
    parser.add_argument("--runs", type=int, metavar="N", help=f"rounds (default {_ROUNDS})")
    parser.add_argument("--only", type=_numbers, metavar="N,…", help=f"figures: {figures}")
    parser.add_argument("--rivals", metavar="NAME,…", help="these alone; an empty text: none")
    parser.add_argument("--many", type=int, default=10_000, metavar="N", help="environments in 12")
    parser.add_argument("--online", action="store_true", help="let uv ask its index all the time")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="work there, and leave it")
    parser.add_argument("--save", type=Path, metavar="FILE", help="write all numbers as JSON")
    parser.add_argument("--render", type=Path, metavar="FILE", help="measure nothing: take these")
    parser.add_argument("--write", action="store_true", help="renew the page and its plot")
    return parser.parse_args()


def _numbers(text: str) -> frozenset[int]:
    return frozenset(int(part) for part in text.split(","))


def _measured(chosen: argparse.Namespace) -> Results:
    results = Results()
    runs = chosen.runs or (_QUICK_ROUNDS if chosen.quick else _ROUNDS)
    wanted = chosen.only or (_QUICK if chosen.quick else frozenset(FIGURES))
    rivals = _rivals(chosen)
    before = _base_packages()
    began = time.monotonic()
    with Stage.open(chosen.keep, online=chosen.online) as stage, Contest(stage, results) as contest:
        version = stage.run("ipy-scriptenv", stage.uv, "--version").split()[1]
        results.about = about(version, online=chosen.online, runs=runs)
        print("Installing and rehearsing:", flush=True)
        # Ours first: the others' caches begin as copies of its cache.
        ours = Ours(stage)
        for contestant in (ours, Plain(stage), *(kind(stage) for kind in rivals)):
            contest.enter(contestant)
        if ours not in contest.everybody:
            sys.exit("This project's own kernel does not start: nothing to compare.")
        alone = Alone(stage=stage, contest=contest, contestant=ours, results=results)
        steps = _steps(stage, contest, alone, results, runs=runs, chosen=chosen)
        for number in sorted(wanted & steps.keys()):
            print(f"{FIGURES[number]} …", flush=True)
            with _told(results, FIGURES[number]):
                steps[number]()
            if chosen.save:
                results.save(chosen.save)
        if 9 in wanted:  # noqa: PLR2004 - last, because it spoils what is warm
            print(f"{FIGURES[9]} …", flush=True)
            facts.ask(stage, contest, results)
    print(f"Measured in {(time.monotonic() - began) / 60:.1f} minutes.")
    if _base_packages() != before:
        sys.exit("Something was installed into the Python that the environments are made from!")
    return results


def _steps(
    stage: Stage,
    contest: Contest,
    alone: Alone,
    results: Results,
    *,
    runs: int,
    chosen: argparse.Namespace,
) -> dict[int, Callable[[], None]]:
    """Give what measures each figure; the expensive ones take fewer rounds."""
    few = max(2, runs // 3)

    def sessions() -> None:
        contest.sessions(max(2, runs * 2 // 3))
        alone.uv_add(few)

    rivals = bool(_rivals(chosen))
    return {
        1: lambda: contest.warm(runs),
        2: sessions,
        5: lambda: alone.check(few),
        6: lambda: alone.read(few),
        7: lambda: alone.commands(runs),
        8: lambda: alone.first_imports(few),
        10: lambda: contest.together(32, few),
        11: lambda: alone.layer(few),
        12: lambda: alone.many(chosen.many),
        13: lambda: headless.measure(stage, results, few, rivals=rivals),
    }


def _rivals(chosen: argparse.Namespace) -> Sequence[type[Contestant]]:
    if chosen.rivals is not None:
        return [kind for kind in RIVALS if kind.name in chosen.rivals.split(",")]
    return () if chosen.quick else RIVALS


def _base_packages() -> list[str]:
    """List what is installed in the Python that all environments are made from."""
    library = Path(os.__file__).parent / "site-packages"
    return sorted(os.listdir(library)) if library.is_dir() else []


@contextlib.contextmanager
def _told(results: Results, what: str) -> Iterator[None]:
    """Keep the failure of a whole figure, and go on."""
    try:
        yield
    except (Broken, OSError, ValueError) as error:
        results.failed("ipy-scriptenv", what, error)


if __name__ == "__main__":
    main()
