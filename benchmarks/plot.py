"""The plot: start times as multiples of a plain kernel's."""

from __future__ import annotations

from pathlib import Path

from benchmarks.contestants import OURS, PLAIN
from benchmarks.results import Results

__all__ = ["draw"]

_INK = "#7d8590"
"""Grey that is read on white and on black."""

_BARS = (
    ("warm", "warm start", "#3b82c4"),
    ("cell", "new notebook, until its first cell has run", "#e08a2e"),
)


def draw(results: Results, path: Path) -> None:
    """Write the plot as SVG; equal numbers give an equal file."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams.update(
        {"svg.hashsalt": "benchmarks", "font.family": "DejaVu Sans", "font.size": 10}
    )
    names = _order(results)
    figure = Figure(figsize=(8, 0.8 + 0.55 * len(names)), layout="constrained")
    axes = figure.add_subplot()
    for at, (key, label, colour) in enumerate(_BARS):
        base = results.median(key, PLAIN) or 1.0
        for place, name in enumerate(names):
            found = results.spread(key, name)
            if found is None:
                continue
            ratio, y = found.median / base, place + (at - 0.5) * 0.36
            own = 1.0 if name in (OURS, PLAIN) else 0.55
            spread = [[(found.median - found.low) / base], [(found.high - found.median) / base]]
            axes.barh(y, ratio, 0.34, color=colour, alpha=own, label=label if not place else None)
            axes.errorbar(ratio, y, xerr=spread, color=_INK, elinewidth=1)
            end = found.high / base
            axes.annotate(f" {ratio:.2f}", (end, y), va="center", color=_INK, fontsize=8.5)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.axvline(1, color=_INK, linewidth=0.8, linestyle="--")
    axes.set_xlabel(f"times a plain kernel ({results.about.get('date', '')}; lower is better)")
    axes.xaxis.label.set_color(_INK)
    axes.tick_params(colors=_INK)
    for spine in axes.spines.values():
        spine.set_visible(False)
    figure.legend(frameon=False, labelcolor=_INK, loc="outside upper center", ncols=2)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="svg", transparent=True, metadata={"Date": None})


def _order(results: Results) -> list[str]:
    """Name who started anything: plain, ours, then the others from fast to slow."""
    names = set(results.values.get("warm", {})) | set(results.values.get("cell", {}))
    others = sorted(names - {PLAIN, OURS}, key=lambda name: results.median("cell", name) or 1e9)
    return [name for name in (PLAIN, OURS) if name in names] + others
