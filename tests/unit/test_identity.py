from __future__ import annotations

import re
from pathlib import PurePath, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipy_scriptenv.identity import (
    EnvironmentName,
    ephemeral_environment_name,
    file_environment_name,
    is_environment_name,
    kernelspec_name,
    slug,
    text_environment_name,
    url_environment_name,
)

# A name that changes orphans everybody's environments: these values are never to be adapted. They
# were computed apart from the code, with `printf %s PATH | sha256sum | cut -c1-16`.
FILES = [
    (PurePosixPath("/home/ada/Analysis 2024.ipynb"), "analysis-2024-e08d8372dd4eb9b6"),
    (PurePosixPath("/home/ada/données.py"), "donn-es-5c29075640696785"),
    (PurePosixPath("/home/ada/donne\u0301es.py"), "donne-es-5c29075640696785"),
    (PurePosixPath("/home/ada/東京.ipynb"), "992da330af603c84"),
    (PurePosixPath("/home/ada/_draft_.py"), "draft-d98eaf71bace65f8"),
    (PurePosixPath("/home/ada") / ("a" * 39 + "-b.py"), "a" * 39 + "-f0072a8a0f66c31f"),
    (PurePosixPath("/data/bad\udcff.py"), "bad-dcb261be0ff9e803"),
    (PureWindowsPath(r"C:\Users\ada\plot.ipynb"), "plot-cf7dc26a95ebd7f5"),
    (PureWindowsPath(r"c:\Users\ada\plot.ipynb"), "plot-cf7dc26a95ebd7f5"),
    (PureWindowsPath(r"\\server\share\plot.ipynb"), "plot-b4a2410141c6ebda"),
]
URLS = [
    ("https://example.org/tools/report.py?raw=1", "report-16cedc68b3700e66"),
    ("https://example.org/", "8198d1bac40a1033"),
]
TEXTS = [('dependencies = ["rich"]\n', "56682efc6fd6d1cb"), ("", "e3b0c44298fc1c14")]


@pytest.mark.parametrize(("path", "name"), FILES)
def test_the_name_for_a_file_never_changes(path: PurePath, name: str) -> None:
    assert file_environment_name(path) == name


@pytest.mark.parametrize(("url", "name"), URLS)
def test_the_name_for_an_address_never_changes(url: str, name: str) -> None:
    assert url_environment_name(url) == name


@pytest.mark.parametrize(("toml", "name"), TEXTS)
def test_the_name_for_a_text_never_changes(toml: str, name: str) -> None:
    assert text_environment_name(toml) == name


@pytest.mark.parametrize(
    "path",
    [
        PurePosixPath("plot.ipynb"),
        PurePosixPath("/home/ada/../plot.ipynb"),
        PureWindowsPath("plot.ipynb"),
        PureWindowsPath(r"\plot.ipynb"),
        PureWindowsPath("C:plot.ipynb"),
    ],
)
def test_a_path_that_is_not_resolved_has_no_name(path: PurePath) -> None:
    with pytest.raises(ValueError, match="not absolute and resolved"):
        file_environment_name(path)


def test_the_case_of_a_path_matters() -> None:
    names = {
        file_environment_name(PurePosixPath(path)) for path in ("/a/x.py", "/A/x.py", "/a/X.py")
    }
    assert len(names) == 3


@pytest.mark.parametrize(
    ("stem", "expected"),
    [
        ("plot", "plot"),
        ("Plot 1 (copy)", "plot-1-copy"),
        ("--x--", "x"),
        ("a__b", "a-b"),
        ("naïve", "na-ve"),
        ("\u212a", ""),
        ("\uff11\uff12", ""),
        ("東京", ""),
        ("", ""),
        ("a" * 50, "a" * 40),
        ("a" * 39 + "-b", "a" * 39),
        ("-" + "a" * 40, "a" * 40),
    ],
)
def test_a_slug_is_made_by_the_rule_of_uv(stem: str, expected: str) -> None:
    assert slug(stem) == expected


def uv_slug(stem: str) -> str:
    """Follow uv's own loop over bytes."""
    normalized = ""
    for byte in stem.encode("utf-8", "surrogatepass"):
        character = chr(byte)
        if character.isascii() and character.isalnum():
            normalized += character.lower()
        elif not normalized.endswith("-"):
            normalized += "-"
    return normalized.removesuffix("-")


@given(st.text(st.characters() | st.sampled_from("aB-_ 9é")))
def test_a_slug_is_that_of_uv_without_a_leading_dash_and_cut(stem: str) -> None:
    assert slug(stem) == uv_slug(stem).removeprefix("-")[:40].removesuffix("-")


@given(
    st.text(st.characters(exclude_characters="/\0"), min_size=1).filter(
        lambda name: name not in "..."
    )
)
def test_every_file_has_a_name_of_the_right_form(name: str) -> None:
    environment = file_environment_name(PurePosixPath("/", name))
    assert is_environment_name(environment)
    assert re.fullmatch(r"([a-z0-9][a-z0-9-]{0,38}[a-z0-9]?-)?[0-9a-f]{16}", environment)


def test_an_ephemeral_name_holds_its_token() -> None:
    assert ephemeral_environment_name("0123456789abcdef") == "ephemeral-0123456789abcdef"


@pytest.mark.parametrize(
    "token",
    [
        "",
        "0123456789abcde",
        "0123456789abcdef0",
        "0123456789ABCDEF",
        "0123456789abcdeg",
        "0123456789abcdef\n",
    ],
)
def test_a_token_of_another_form_is_refused(token: str) -> None:
    with pytest.raises(ValueError, match="16 hexadecimal digits"):
        ephemeral_environment_name(token)


def test_an_address_is_named_by_the_unquoted_stem_of_its_last_part() -> None:
    assert url_environment_name("https://example.org/a/My%20Plot.py#x").startswith("my-plot-")


def test_a_kernelspec_is_named_after_its_environment() -> None:
    assert (
        kernelspec_name(EnvironmentName("plot-0123456789abcdef"))
        == "scriptenv-plot-0123456789abcdef"
    )


@pytest.mark.parametrize(
    "text",
    [
        "0123456789abcdef",
        "a-0123456789abcdef",
        "a-b-0123456789abcdef",
        "a" * 40 + "-0123456789abcdef",
    ],
)
def test_the_form_of_a_name_is_known(text: str) -> None:
    assert is_environment_name(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "0123456789abcde",
        "a0123456789abcdef",
        "-0123456789abcdef",
        "a--0123456789abcdef",
        "-a-0123456789abcdef",
        "A-0123456789abcdef",
        "a-0123456789ABCDEF",
        "a-0123456789abcdef\n",
        "../a-0123456789abcdef",
        "a" * 41 + "-0123456789abcdef",
        "\u0660-0123456789abcdef",
    ],
)
def test_anything_else_is_no_name(text: str) -> None:
    assert not is_environment_name(text)
