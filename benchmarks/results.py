"""What a run has found: numbers by figure and contestant, facts, failures, and where it ran."""

from __future__ import annotations

import json
import os
import platform
import statistics
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

__all__ = ["Results", "Spread"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Median and quartiles of what was measured; seconds unless the figure says otherwise."""

    low: float
    median: float
    high: float
    count: int

    @classmethod
    def of(cls, values: list[float]) -> Self:
        """Summarise at least one value."""
        ends = statistics.quantiles(values, n=4) if len(values) > 1 else [values[0]] * 3
        # With few values the quartiles would lie outside of them.
        low, high = max(ends[0], min(values)), min(ends[2], max(values))
        return cls(low=low, median=statistics.median(values), high=high, count=len(values))


@dataclass(slots=True, kw_only=True)
class Results:
    """The outcome of one run.

    :param values: figure → contestant or part → what was measured, in order
    :param facts: contestant → question → answer
    :param failures: contestant → what it could not do, in its own words
    :param about: where and when it ran
    """

    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    facts: dict[str, dict[str, str]] = field(default_factory=dict)
    failures: dict[str, dict[str, str]] = field(default_factory=dict)
    about: dict[str, str] = field(default_factory=dict)

    def add(self, figure: str, who: str, *values: float) -> None:
        """Keep what was measured."""
        self.values.setdefault(figure, {}).setdefault(who, []).extend(values)

    def failed(self, who: str, what: str, why: object) -> None:
        """Keep what could not be measured, and why; the first reason stays."""
        self.failures.setdefault(who, {}).setdefault(what, str(why))
        print(f"  ! {who}, {what}: {why}", flush=True)

    def fact(self, who: str, question: str, answer: str) -> None:
        """Keep an answer."""
        self.facts.setdefault(who, {})[question] = answer

    def spread(self, figure: str, who: str) -> Spread | None:
        """Summarise a figure of somebody; None if there is nothing."""
        found = self.values.get(figure, {}).get(who)
        return Spread.of(found) if found else None

    def median(self, figure: str, who: str) -> float | None:
        """Give a median; None if there is nothing."""
        found = self.spread(figure, who)
        return None if found is None else found.median

    def ratio(self, one: tuple[str, str], other: tuple[str, str]) -> float | None:
        """Divide two medians, each named by figure and contestant."""
        above, below = self.median(*one), self.median(*other)
        return above / below if above is not None and below else None

    def save(self, path: Path) -> None:
        """Write all of it."""
        path.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what :meth:`save` wrote."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))


def about(uv: str, *, online: bool, runs: int) -> dict[str, str]:
    """Describe when and where, without names of machines or folders."""
    release = platform.release().partition("-")[0]
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "system": f"{platform.system()} {release}, {platform.machine()}",
        "Python": platform.python_version(),
        "uv": uv,
        "rounds": str(runs),
        "network": "uv may ask its index" if online else "none while measuring (`UV_OFFLINE=1`)",
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown processor"
