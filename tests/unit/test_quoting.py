from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipy_scriptenv.metadata import shown, without_credentials


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://user:pass@host/x", "https://***@host/x"),
        ("https://token@host", "https://***@host"),
        ("https://user:@host", "https://***@host"),
        ("https://@host", "https://***@host"),
        ("https://user:p@ss@host/x", "https://***@host/x"),
        ("https://user:pa/s?s#w@host/x", "https://***@host/x"),
        ("https://user:12/ss@host/x", "https://user:12/ss@host/x"),
        ("HTTP://u:p@h", "HTTP://***@h"),
        ("git+https://token@github.com/a/b@v1", "git+https://***@github.com/a/b@v1"),
        ("git+ssh://git:pass@host/x", "git+ssh://***@host/x"),
        ("x @ https://u:p@a/1 and https://t@b/2.", "x @ https://***@a/1 and https://***@b/2."),
        (
            'error: `https://u:p@h/`\n  cause: "https://t@h"',
            'error: `https://***@h/`\n  cause: "https://***@h"',
        ),
        ("https://üser:pä@host", "https://***@host"),
    ],
)
def test_credentials_are_hidden(text: str, expected: str) -> None:
    assert without_credentials(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no address",
        "https://host/a/b@v1",
        "git+https://github.com/a/b.git@main",
        "https://host:8080/a@b",
        "https://[::1]:8080/a@b",
        "git+ssh://git@github.com/a/b",
        "ssh://git@github.com/a/b",
        "git@github.com:a/b",
        "file:///home/ada/a@b",
        "ada@example.org wrote https://host/",
    ],
)
def test_what_is_no_credential_stays(text: str) -> None:
    assert without_credentials(text) == text


@given(
    st.from_regex(r"[a-z0-9.:/@ ]{0,20}", fullmatch=True),
    st.from_regex(r"[a-z0-9%_-]{8,20}", fullmatch=True),
)
def test_no_password_survives(around: str, password: str) -> None:
    password = f"<{password}>"
    text = f"{around} https://user:{password}@host/{around}"
    assert password not in without_credentials(text)


def test_hiding_twice_changes_nothing() -> None:
    once = without_credentials("https://user:pass@host")
    assert without_credentials(once) == once


@pytest.mark.parametrize("text", ["://a:b" * 100_000, "://" * 300_000, "a" * 1_000_000])
def test_a_hostile_text_is_read_in_linear_time(text: str) -> None:
    # Quadratic time would take hours here; the suite's time limit is the measure.
    assert without_credentials(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\nb\x00\x1b[2J", r"a\nb\x00\x1b[2J"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\ud800", r"\ud800"),
        ("Größe 東京", "Größe 東京"),
        ("https://t@h\n", r"https://***@h\n"),
    ],
)
def test_what_is_shown_is_visible(text: str, expected: str) -> None:
    assert shown(text) == expected


def test_of_a_long_text_both_ends_are_shown() -> None:
    text = shown("start" + "x" * 1_000 + "end")
    assert text.startswith("start")
    assert text.endswith("end")
    assert len(text) < 250


def test_credentials_are_hidden_before_a_text_is_cut() -> None:
    assert "secret" not in shown("https://user:secret" + "x" * 1_000 + "@host")
