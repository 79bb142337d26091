"""What is going on, from the events of a host: events in, one state, and from that one line.

The notebook and the terminal show the same state; each asks for the line as often as it likes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["Download", "State", "after", "counted", "fraction", "html", "line"]

_MEGABYTE = 1_000_000
_MINUTE = 60


class Download(NamedTuple):
    """A package that uv told of on its way.

    :param bytes: its size; 0 where uv did not tell
    :param building: it is built here from its source
    """

    name: str
    bytes: int = 0
    finished: bool = False
    building: bool = False


class State(NamedTuple):
    """How far a work has come.

    :param since: when it began, in seconds of a clock that only goes forward
    :param sentence: what it is about, as the host put it; empty as long as that is not known
    :param step: what uv did last
    :param downloads: since uv last resolved, in their order; uv tells of the large ones alone
    :param waits_for: whom the work waits for; empty if for nobody
    :param waits_since: when that began
    """

    since: float
    sentence: str = ""
    step: str = ""
    downloads: tuple[Download, ...] = ()
    waits_for: str = ""
    waits_since: float = 0.0


def after(state: State, event: Mapping[str, Any], now: float) -> State:
    """Give the state that follows; an event of an unknown kind changes nothing.

    Every field but the kind may be missing: the host may be of another version.
    """
    kind, text = event.get("event"), str(event.get("text") or "")
    if kind == "waiting":
        whom = str(event.get("for") or "another process")
        since = state.waits_since if state.waits_for == whom else now
        return state._replace(waits_for=whom, waits_since=since)
    if kind not in ("resolving", "downloading", "installing", "warning"):
        return state
    state = state._replace(waits_for="")
    if event.get("name"):
        return state._replace(downloads=_with(state.downloads, event))
    if event.get("packages"):
        return state._replace(step=text, downloads=())
    return state._replace(sentence=text or state.sentence, step="", downloads=())


def _with(downloads: tuple[Download, ...], event: Mapping[str, Any]) -> tuple[Download, ...]:
    """Take up one event of a package: it begins or it ends."""
    name = str(event["name"])
    before = next((each for each in downloads if each.name == name), Download(name))
    size = event.get("bytes")
    one = Download(
        name,
        bytes=size if isinstance(size, int) else before.bytes,
        finished=bool(event.get("finished")),
        building=bool(event.get("building")) or before.building,
    )
    if before not in downloads:
        return (*downloads, one)
    return tuple(one if each.name == name else each for each in downloads)


def fraction(state: State) -> float | None:
    """Give how much of the bytes is there, 0 to 1; None where nothing is being downloaded.

    uv tells when a download begins and when it ends, not how far it has come between.
    """
    total = sum(each.bytes for each in state.downloads)
    if not total or state.waits_for:
        return None
    return sum(each.bytes for each in state.downloads if each.finished) / total


def counted(state: State) -> tuple[int | None, int | None]:
    """Give how many packages are there of those that uv told of; none where it told of none."""
    if not state.downloads or state.waits_for:
        return None, None
    return sum(each.finished for each in state.downloads), len(state.downloads)


def line(state: State, now: float) -> str:
    """Give the state as one line of text, with the seconds it took so far."""
    if state.waits_for:
        return f"Waiting for {state.waits_for}{_elapsed(now - state.waits_since) or ' …'}"
    step = _downloaded(state.downloads) or state.step
    elapsed = _elapsed(now - state.since)
    if not state.sentence:
        return f"{_sentence_case(step) or 'Completing the environment'}{elapsed}"
    told = f"{step[:1].lower()}{step[1:]}{elapsed}" if step else elapsed.removeprefix(", ")
    return f"{state.sentence} … {told}".rstrip()


def _sentence_case(text: str) -> str:
    return text[:1].upper() + text[1:]


def _downloaded(downloads: tuple[Download, ...]) -> str:
    """Say how many downloads are done, and what is being built."""
    fetched = [each for each in downloads if not each.building]
    built = [each.name for each in downloads if each.building and not each.finished]
    parts = []
    if fetched:
        done = [each for each in fetched if each.finished]
        parts.append(f"{len(done)} of {len(fetched)} downloaded")
        total = sum(each.bytes for each in fetched)
        if total:
            there = sum(each.bytes for each in done)
            parts.append(f"{there / _MEGABYTE:.1f} of {total / _MEGABYTE:.1f} MB")
    if built:
        parts.append(f"building {', '.join(built)}")
    return ", ".join(parts)


def _elapsed(seconds: float) -> str:
    """Give a time behind a comma; nothing below a second."""
    whole = int(seconds)
    if whole < 1:
        return ""
    minutes, rest = divmod(whole, _MINUTE)
    return f", {minutes} min {rest} s" if minutes else f", {rest} s"


_TRACK = (
    "height: 3px; max-width: 32em; margin-top: 4px; border-radius: 2px; "
    "background: var(--jp-border-color2, rgba(128, 128, 128, 0.35))"
)
_BAR = "height: 100%; border-radius: 2px; background: var(--jp-brand-color1, currentColor)"
_TEXT = "color: var(--jp-ui-font-color2, currentColor)"


def html(state: State, now: float) -> str:
    """Give the state as HTML: the line, and below it a thin bar while packages are downloaded."""
    from html import escape

    text = f'<div style="{_TEXT}">{escape(line(state, now))}</div>'
    share = fraction(state)
    if share is None:
        return text
    percent = round(100 * share)
    return (
        f'{text}<div role="progressbar" aria-valuemin="0" aria-valuemax="100" '
        f'aria-valuenow="{percent}" style="{_TRACK}">'
        f'<div style="{_BAR}; width: {percent}%"></div></div>'
    )
