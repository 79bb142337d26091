"""What is going on, from what uv said: recorded lines in, one state, one line of text."""

from __future__ import annotations

from typing import Any

import pytest

from ipy_scriptenv.kernel_side.progress import State, after, fraction, html, line
from ipy_scriptenv.kernel_side.showing import Showing
from ipy_scriptenv.uv_output import event_of

FETCHING = """\
Resolved 12 packages in 409ms
Downloading pygments (1.2MiB)
Downloading numpy (16.1MiB)
Downloading polars-runtime-32 (51.4MiB)
 Downloaded pygments
 Downloaded numpy
 Downloaded polars-runtime-32
Prepared 12 packages in 1.07s
Installed 12 packages in 48ms
 + anyio==4.16.0
""".splitlines()
"""As uv 0.13.9 told it; it names downloads of more than a mebibyte alone."""

BUILDING = """\
Resolved 2 packages in 110ms
   Building old @ file:///srv/old
      Built old @ file:///srv/old
Prepared 1 package in 2.93s
Installed 2 packages in 3ms
""".splitlines()

SENTENCE = {"event": "resolving", "text": "Installing for nb.ipynb: numpy 2.4.6, six 1.17.0"}


def lines(told: list[str], *, first: dict[str, Any] | None = None) -> list[str]:
    """Give the line after each of uv's, each a tenth of a second later."""
    state = State(since=0.0)
    if first is not None:
        state = after(state, first, 0.0)
    found = []
    for number, each in enumerate(told):
        event = event_of(each)
        if event is not None:
            state = after(state, event, number / 10)
        found.append(line(state, number / 10))
    return found


def test_downloads_are_counted_in_packages_and_bytes() -> None:
    assert lines(FETCHING) == [
        "Resolved 12 packages in 409ms",
        "0 of 1 downloaded, 0.0 of 1.3 MB",
        "0 of 2 downloaded, 0.0 of 18.1 MB",
        "0 of 3 downloaded, 0.0 of 72.0 MB",
        "1 of 3 downloaded, 1.3 of 72.0 MB",
        "2 of 3 downloaded, 18.1 of 72.0 MB",
        "3 of 3 downloaded, 72.0 of 72.0 MB",
        "Prepared 12 packages in 1.07s",
        "Installed 12 packages in 48ms",
        "Installed 12 packages in 48ms",
    ]


def test_what_it_is_about_stands_before_the_step() -> None:
    about = SENTENCE["text"]
    assert lines(BUILDING, first=SENTENCE) == [
        f"{about} … resolved 2 packages in 110ms",
        f"{about} … building old",
        f"{about} … resolved 2 packages in 110ms",
        f"{about} … prepared 1 package in 2.93s",
        f"{about} … installed 2 packages in 3ms",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.9, ""), (1.0, ", 1 s"), (59.9, ", 59 s"), (125.0, ", 2 min 5 s")],
)
def test_the_time_is_told_from_the_first_second_on(seconds: float, text: str) -> None:
    assert line(State(since=10.0), 10.0 + seconds) == f"Completing the environment{text}"


def test_a_wait_tells_for_whom_and_how_long_and_ends_with_the_next_step() -> None:
    waiting = {"event": "waiting", "for": "another start of this environment"}
    state = after(State(since=0.0), waiting, 2.0)
    state = after(state, waiting, 4.0)
    assert line(state, 2.5) == "Waiting for another start of this environment …"
    assert line(state, 5.5) == "Waiting for another start of this environment, 3 s"
    assert line(after(state, SENTENCE, 6.0), 6.0) == f"{SENTENCE['text']} … 6 s"


def test_the_bar_shows_the_share_of_bytes_while_there_are_downloads() -> None:
    state = State(since=0.0)
    shares = []
    for each in FETCHING:
        state = after(state, event_of(each) or {}, 0.0)
        shares.append(fraction(state))
    assert [None if share is None else round(share, 2) for share in shares] == [
        *(None, 0.0, 0.0, 0.0),
        *(0.02, 0.25, 1.0),
        *(None, None, None),
    ]
    assert "progressbar" not in html(state, 0.0)


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"event": "silence"},
        {"event": "of a newer host", "text": "x", "name": "y"},
    ],
)
def test_an_unknown_event_changes_nothing(event: dict[str, Any]) -> None:
    state = after(State(since=0.0), SENTENCE, 0.0)
    assert after(state, event, 1.0) == state


def test_an_older_host_that_tells_no_bytes_is_understood() -> None:
    event = {"event": "downloading", "text": "Downloading x (1MiB)", "name": "x", "size": "1MiB"}
    state = after(State(since=0.0), event, 0.0)
    assert line(state, 0.0) == "0 of 1 downloaded"
    assert fraction(state) is None


def test_what_is_told_is_data_in_the_html() -> None:
    event = {"event": "resolving", "text": "Installing for <img src=x onerror=alert(1)>&.ipynb"}
    waiting = {"event": "waiting", "for": "<script>"}
    building = {"event": "downloading", "name": "<b>", "building": True}
    state = State(since=0.0)
    for each in (event, building, waiting):
        state = after(state, each, 0.0)
        shown = html(state, 0.0)
        assert not any(tag in shown for tag in ("<img", "<b>", "<script"))
        assert "&lt;" in shown


def test_at_most_four_updates_a_second_are_sent_and_the_last_state_is_among_them() -> None:
    sent: list[tuple[str, dict[str, Any]]] = []
    now = 0.0
    showing = Showing(lambda kind, content: sent.append((kind, content)), clock=lambda: now)
    showing.take({"event": "silence"})
    assert not sent, "nothing is shown of what ends within a second"
    for step in range(41):
        now = step / 20
        told = FETCHING[step] if step < len(FETCHING) else ""
        showing.take({**(event_of(told) or {"event": "silence"})})
    kinds = [kind for kind, _ in sent]
    # One update for what came before the quarter of a second, one for each second that passed.
    assert kinds == ["display_data", *["update_display_data"] * (len(kinds) - 1)]
    assert 3 <= len(kinds) <= 8
    assert sent[-1][1]["data"]["text/plain"] == "Installed 12 packages in 48ms, 2 s"
    assert len({content["transient"]["display_id"] for _, content in sent}) == 1
    showing.end()
    showing.end()
    assert sent[len(kinds) :] == [("clear_output", {"wait": False})]


def test_a_new_sentence_is_displayed_anew_so_that_a_console_prints_it() -> None:
    sent: list[str] = []
    showing = Showing(lambda kind, _content: sent.append(kind), clock=lambda: 0.0)
    showing.take({"event": "waiting", "for": "another change of this environment"})
    showing.take(SENTENCE)
    assert sent == ["display_data", "clear_output", "display_data"]
