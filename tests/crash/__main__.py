"""Kill operations at random moments, and tell what the next start or sync does not mend.

``python -m tests.crash [-n 500] [--operation NAME …] [--signal NAME …] [--seed TEXT]``

Each round runs one operation in a process group of its own, sends all of the group a signal while
it is at work, starts and syncs the source again, and looks whether everything is whole, nothing is
left over, and everybody else's environment is as it was, byte for byte.

With ``--every-step`` the moments are not random: there is one round before each change of a file
and each start of a process, as far as the host makes them.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.crash.operations import OPERATIONS
from tests.crash.rounds import SIGNALS, Crew, Outcome
from tests.crash.working import Moment
from tests.index.build import build_index

Cell = tuple[str, str]
"""An operation and a signal, by their names."""

Round = tuple[str, str, Outcome]


def main() -> int:
    """Do the rounds and print a table; the exit code is 1 if one was broken."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("-n", type=int, default=500, help="rounds altogether")
    parser.add_argument("--operation", choices=[*OPERATIONS], action="append", help="default: all")
    parser.add_argument("--signal", choices=[*SIGNALS], action="append", help="default: all")
    parser.add_argument("--seed", default=secrets.token_hex(4), help="decides all moments")
    parser.add_argument("--every-step", action="store_true", help="instead of random moments")
    options = parser.parse_args()
    cells = [
        (operation, by)
        for operation in options.operation or OPERATIONS
        for by in options.signal or SIGNALS
    ]
    counts: Counter[tuple[str, str, str]] = Counter()
    tell(f"seed {options.seed}")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place).resolve()
        cache = folder / "uv-cache"
        cache.mkdir()
        with Crew(index=build_index(folder / "index"), uv_cache=cache) as crew:
            rounds = (
                _every_step(crew, cells)
                if options.every_step
                else _random(crew, cells, options.n, options.seed)
            )
            for number, (operation, by, outcome) in enumerate(rounds):
                counts[operation, by, "rounds"] += 1
                counts[operation, by, "killed"] += outcome.killed
                counts[operation, by, "broken"] += bool(outcome.broken)
                if outcome.broken:
                    tell(f"round {number}: {operation}, {by} {outcome.moment}")
                    for each in outcome.broken[:5]:
                        tell(f"    {each}")
    _show_table(counts)
    tell(f"seed {options.seed}")
    return 1 if any(counts[operation, by, "broken"] for operation, by in cells) else 0


def _random(crew: Crew, cells: Sequence[Cell], rounds: int, seed: str) -> Iterator[Round]:
    for number in range(rounds):
        operation, by = cells[number % len(cells)]
        yield operation, by, crew.round(operation, by, f"{seed}-{number}")


def _every_step(crew: Crew, cells: Sequence[Cell]) -> Iterator[Round]:
    for operation, by in cells:
        for step in range(len(crew.steps(operation))):
            yield (
                operation,
                by,
                crew.round_at(operation, by, Moment(step=step), start=bool(step % 2)),
            )


def _show_table(counts: Counter[tuple[str, str, str]]) -> None:
    columns = ("rounds", "killed", "broken")
    tell(_line("operation", "signal", "rounds", "killed in the middle", "broken"))
    cells = dict.fromkeys((operation, by) for operation, by, _ in counts)
    for operation, by in cells:
        tell(_line(operation, by, *(counts[operation, by, column] for column in columns)))
    tell(_line("all", "", *(sum(counts[*cell, column] for cell in cells) for column in columns)))


def _line(operation: str, by: str, *numbers: str | int) -> str:
    rounds, killed, broken = numbers
    return f"{operation:<16} {by:<8} {rounds:>6} {killed:>20} {broken:>6}"


def tell(line: str) -> None:
    """Show a line at once, however slow the rounds are."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
