"""What uv says, read into steps, reports and errors."""

from __future__ import annotations

import json

import pytest

from ipy_scriptenv.errors import (
    EngineFailed,
    InstallCutShort,
    InstallFailed,
    NoSpace,
    Offline,
    ResolutionFailed,
    ScriptEnvError,
)
from ipy_scriptenv.uv_output import Change, event_of, failure, report_of


@pytest.mark.parametrize(
    ("line", "kind", "data"),
    [
        ("Resolved 24 packages in 12ms", "resolving", {"packages": "24"}),
        (
            "Downloading numpy (16.1MiB)",
            "downloading",
            {"name": "numpy", "size": "16.1MiB", "bytes": 16882074, "finished": False},
        ),
        (
            "Downloading cpython-3.13.5-linux-x86_64-gnu (download) (30.0MiB)",
            "downloading",
            {
                "name": "cpython-3.13.5-linux-x86_64-gnu",
                "size": "30.0MiB",
                "bytes": 30 << 20,
                "finished": False,
            },
        ),
        (
            "Downloading x (much)",
            "downloading",
            {"name": "x", "size": "much", "finished": False},
        ),
        (" Downloaded numpy", "downloading", {"name": "numpy", "finished": True}),
        (
            "   Building old @ file:///x",
            "downloading",
            {"name": "old", "finished": False, "building": True},
        ),
        (
            "      Built old @ file:///x",
            "downloading",
            {"name": "old", "finished": True, "building": True},
        ),
        ("Prepared 1 package in 2ms", "installing", {"packages": "1"}),
        ("Installed 2 packages in 3ms", "installing", {"packages": "2"}),
    ],
)
def test_a_line_of_progress_is_a_step(line: str, kind: str, data: dict[str, object]) -> None:
    event = event_of(line)
    assert event is not None
    assert event["event"] == kind
    assert event["text"] == line.strip()
    assert {key: event[key] for key in event if key not in {"event", "text"}} == data


def test_another_line_is_no_step() -> None:
    assert event_of("error: No solution found") is None


@pytest.mark.parametrize(
    ("code", "words", "kind"),
    [
        (1, "error: No solution found when resolving dependencies", ResolutionFailed),
        (1, "error: Failed to build `x`", InstallFailed),
        (1, "error: something that nobody has seen yet", InstallFailed),
        (2, "error: something that nobody has seen yet", EngineFailed),
        (2, "error: failed to write\n  cause: No space left on device (os error 28)", NoSpace),
        (2, "error: x\n  cause: dns error", Offline),
        (1, "error: No solution found\n\nhint: … because the network was disabled.", Offline),
        (-9, "error: No solution found", InstallCutShort),
    ],
)
def test_the_words_and_the_exit_code_decide_the_error(
    code: int, words: str, kind: type[ScriptEnvError]
) -> None:
    error = failure(code, f"Resolved 1 package in 1ms\n{words}\n")
    assert type(error) is kind
    assert [problem.message for problem in error.problems] == [words]


def test_credentials_are_not_shown() -> None:
    error = failure(1, "error: Failed to fetch: https://me:secret@example.invalid/simple/")
    assert "secret" not in str(error.problems)


def test_changes_come_from_the_json() -> None:
    changes = [{"name": "a", "version": "1", "action": "uninstalled"}]
    out = json.dumps({"sync": {"environment": {"path": "/e"}, "changes": changes}})
    report = report_of(out, " + b==2\n")
    assert report.environment == "/e"
    assert report.changes == (Change(name="a", version="1", action="removed"),)


def test_changes_come_from_the_lines_where_the_json_is_not_as_expected() -> None:
    report = report_of("{}", "Would install 1 package\n + b==2\n - a==1\n")
    assert report.environment is None
    assert report.changes == (
        Change(name="b", version="2", action="installed"),
        Change(name="a", version="1", action="removed"),
    )
