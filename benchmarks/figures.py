"""The figures, their goals, and how both are told in a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from benchmarks.contestants import OURS, PLAIN
from benchmarks.results import Results

__all__ = ["FIGURES", "Row", "rows"]

FIGURES = {
    1: "warm start",
    2: "new environment; first cell; a dependency more",
    5: "the check in the kernel",
    6: "a large notebook's block",
    7: "commands",
    8: "first imports",
    9: "what each does otherwise; files and bytes",
    10: "32 at once",
    11: "the kernel layer",
    12: "10,000 environments",
    13: "notebooks without a front end",
}
"""What can be measured alone, by number; 2 measures figures 2, 3 and 4 in one go."""

_KIB = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table of goals.

    :param met: None where there is no goal
    """

    figure: str
    goal: str
    ours: str
    met: bool | None
    beside: str


def rows(results: Results) -> list[Row]:
    """Tell all that was measured, in the order of the figures."""
    found = [row for make in _ROWS for row in make(results)]
    return [row for row in found if row is not None]


def _row(
    figure: str,
    value: float | None,
    limit: float | None,
    show: Callable[[float], str],
    beside: str = "",
) -> Row | None:
    if value is None:
        return None
    goal = "–" if limit is None else f"≤ {show(limit)}"
    # As it is shown: nobody misses a goal by what is rounded away.
    met = None if limit is None else round(value, 4) <= limit
    return Row(figure=figure, goal=goal, ours=show(value), met=met, beside=beside or "–")


def _times(value: float) -> str:
    return f"{value:.2f}×"


def _seconds(value: float) -> str:
    return f"{value:.2f} s"


def _milliseconds(value: float) -> str:
    return f"{value * 1000:.2f} ms" if value < 0.01 else f"{value * 1000:.0f} ms"  # noqa: PLR2004


def _bytes(value: float) -> str:
    size = value / _KIB
    return f"{size:,.0f} KiB" if size < 10 * _KIB else f"{size / _KIB:,.0f} MiB"


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _best(results: Results, figure: str, base: float | None, show: Callable[[float], str]) -> str:
    """Name the best rival of a figure."""
    others = {
        name: results.median(figure, name)
        for name in results.values.get(figure, {})
        if name not in (OURS, PLAIN, "uv sync --script")
    }
    known = {name: value for name, value in others.items() if value is not None}
    if not known or not base:
        return ""
    name = min(known, key=lambda one: known[one])
    return f"{name}: {show(known[name] / base)}"


def _starts(results: Results) -> Iterable[Row | None]:
    plain = results.median("warm", PLAIN)
    cell = results.median("cell", PLAIN)
    yield _row(
        "warm start, ÷ plain",
        results.ratio(("warm", OURS), ("warm", PLAIN)),
        1.05,
        _times,
        _best(results, "warm", plain, _times),
    )
    yield _row(
        "new environment, ÷ plain warm",
        # Plain kernels of the same rounds.
        results.ratio(("new", OURS), ("new", PLAIN)),
        1.25,
        _times,
        _best(results, "new", results.median("new", PLAIN), _times),
    )
    yield _row(
        "the same until the first cell's reply, ÷ plain",
        results.ratio(("cell", OURS), ("cell", PLAIN)),
        1.7,
        _times,
        _best(results, "cell", cell, _times),
    )
    beside = _best(results, "add", 1.0, _seconds)
    yield _row("a dependency more", results.median("add", OURS), 0.5, _seconds, beside)
    alone = results.median("add", "uv sync --script")
    ratio = results.ratio(("add", OURS), ("add", "uv sync --script"))
    beside = f"uv sync alone: {_seconds(alone)}" if alone else ""
    yield _row("the same, ÷ `uv sync` alone", ratio, 3.0, _times, beside)


def _checks(results: Results) -> Iterable[Row | None]:
    uv = results.median("check", "uv sync --script")
    beside = f"uv sync --script: {_milliseconds(uv)}" if uv else ""
    for figure, name, limit in (
        ("check", "in-sync check in the kernel", 0.002),
        ("check large", "the same, notebook of 200 MB", 0.005),
    ):
        parts = ("first", "cell", "with_block")
        found = [value for part in parts if (value := results.median(figure, part)) is not None]
        yield _row(name, max(found, default=None), limit, _milliseconds, beside)
    whole = results.median("read", "json.loads")
    yield _row(
        "200 MB notebook changed: read the block, ÷ `json.loads`",
        results.ratio(("read", "block"), ("read", "json.loads")),
        1.5,
        _times,
        f"json.loads: {_seconds(whole)}" if whole else "",
    )


def _commands(results: Results) -> Iterable[Row | None]:
    python = ("command", "python -c pass")
    base = results.median(*python)
    beside = f"python -c pass: {_milliseconds(base)}" if base else ""
    for name, limit in (("jupyter-scriptenv find", 5.0), ("jupyter scriptenv find", None)):
        ratio = results.ratio(("command", name), python)
        yield _row(f"`{name}`, ÷ `python -c pass`", ratio, limit, _times, beside)
    value = results.median("command", "%load_ext")
    yield _row("`%load_ext ipy_scriptenv`", value, 0.020, _milliseconds)


def _imports(results: Results) -> Iterable[Row | None]:
    for figure, name, limit in (
        ("import shared", "first import of pandas …, ÷ second", 1.15),
        ("import not shared", "the same, byte code not shared", None),
    ):
        second = results.median(figure, "second")
        beside = f"second import: {_seconds(second)}" if second else ""
        yield _row(
            name, results.ratio((figure, "first"), (figure, "second")), limit, _times, beside
        )


def _sizes(results: Results) -> Iterable[Row | None]:
    name = "an environment without dependencies"
    files = results.median("files", OURS)
    yield _row(f"files of {name}", files, 40, _count, _best(results, "files", 1.0, _count))
    size = results.median("bytes", OURS)
    yield _row(f"bytes of {name}", size, 150 * _KIB, _bytes, _best(results, "bytes", 1.0, _bytes))


def _rest(results: Results) -> Iterable[Row | None]:
    together = results.ratio(("together", OURS), ("together", PLAIN))
    plain = results.median("together", PLAIN)
    beside = f"plain: {_seconds(plain)}" if plain else ""
    yield _row("32 notebooks at once, ÷ 32 plain kernels", together, 1.2, _times, beside)
    for how, text in (("copied", "from the host's files"), ("installed", "by uv")):
        value = results.median("layer", how)
        yield _row(f"the layer, first time, {text}", value, 3.0, _seconds)
    few, *more = sorted((key for key in results.values if key.startswith("many ")), key=len)[
        :2
    ] or [""]
    for many in more:
        count = f"{int(many.split()[1]):,} environments"
        yield _row(f"{count}: list", results.median(many, "list"), 1.0, _seconds)
        yield _row(f"{count}: prune", results.median(many, "prune --dry-run"), 1.0, _seconds)
        growth = results.ratio((many, "get or init of one"), (few, "get or init of one"))
        yield _row(f"{count}: get or init, ÷ with one environment", growth, 1.25, _times)


_ROWS = (_starts, _checks, _commands, _imports, _sizes, _rest)
