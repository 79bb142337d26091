"""The outcome as Markdown, and its place in ``docs/benchmarks.md``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.contestants import PLAIN, Contestant, Ours, Plain
from benchmarks.figures import rows
from benchmarks.results import Results, Spread
from benchmarks.rivals import RIVALS, UvRun

__all__ = ["markdown", "put"]

BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"

_STARTS = (
    ("warm", "warm start"),
    ("new", "new environment"),
    ("cell", "… and first cell"),
    ("add", "a dependency more"),
)
_QUESTIONS = (
    "opening a notebook",
    "code at opening",
    "a dependency that does not exist",
    "after `uv cache prune`",
)


def markdown(results: Results) -> str:
    """Write everything that was found."""
    parts = [
        _about(results),
        "### Goals",
        _goals(results),
        "### Everybody's starts",
        _starts(results),
        "### What each does otherwise",
        _facts(results),
        "### Without a front end",
        _headless(results),
        "### What did not work",
        _failures(results),
    ]
    # A heading without anything below it goes.
    kept = [
        part
        for number, part in enumerate(parts)
        if part and not (part.startswith("###") and not parts[number + 1])
    ]
    return "\n\n".join(kept)


def put(text: str, page: Path) -> None:
    """Replace what stands between the marks of a page.

    :raises ValueError: if it has no marks
    """
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page.name} has no place for the results")
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")


def _about(results: Results) -> str:
    return "; ".join(f"{name}: {value}" for name, value in results.about.items()) + "."


def _goals(results: Results) -> str:
    marks = {True: "met", False: "**missed**", None: ""}
    lines = [(row.figure, row.goal, row.ours, marks[row.met], row.beside) for row in rows(results)]
    return _table(("figure", "goal", "ours", "", "beside it"), lines)


def _starts(results: Results) -> str:
    kinds: tuple[type[Contestant], ...] = (Plain, Ours, *RIVALS)
    lines = []
    for kind in kinds:
        name = kind.name
        cells = [_with_ratio(results, figure, name) for figure, _ in _STARTS]
        if any(cells):
            version = results.about["uv"] if kind is UvRun else kind.version
            version = "" if kind in (Plain, Ours) else f" {version}"
            lines.append((f"{name}{version}", *(cell or "–" for cell in cells)))
    return _table(("", *(title for _, title in _STARTS)), lines)


def _with_ratio(results: Results, figure: str, name: str) -> str:
    found = results.spread(figure, name)
    if found is None:
        return ""
    base = results.median(figure, PLAIN)
    ratio = f" · {found.median / base:.2f}×" if base else ""
    return _spread(found) + ratio


def _spread(found: Spread) -> str:
    return f"{found.median:.2f} s ({found.low:.2f}–{found.high:.2f})"


def _facts(results: Results) -> str:
    lines = []
    for name, answers in results.facts.items():
        if name == PLAIN or _QUESTIONS[1] not in answers:
            continue
        files, size = results.median("files", name), results.median("bytes", name)
        room = f"{files:,.0f} files, {size / 1024:,.0f} KiB" if files and size is not None else "–"
        lines.append((name, *(answers.get(question, "–") for question in _QUESTIONS), room))
    titles = ("", *_QUESTIONS, "one more empty notebook")
    return _table(titles, lines)


def _headless(results: Results) -> str:
    lines = []
    for name in results.values.get("run new", {}):
        found = [results.spread(figure, name) for figure in ("run new", "run again")]
        lines.append((name, *("–" if one is None else _spread(one) for one in found)))
    return _table(("", "a new notebook", "the same again"), lines)


def _failures(results: Results) -> str:
    found = [
        f"- {name}, {what}: {_quoted(why)}"
        for name, whats in results.failures.items()
        for what, why in whats.items()
    ]
    return "\n".join(found)


def _quoted(words: str) -> str:
    return json.dumps(words, ensure_ascii=False)


def _table(titles: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    written = [" | ".join(cell.replace("|", "\\|") for cell in line) for line in lines]
    if not written:
        return ""
    head = f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}"
    return "\n".join([head, *(f"| {line} |" for line in written)])
