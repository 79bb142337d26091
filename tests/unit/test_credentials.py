"""No credentials of a URL are kept, whatever they look like; what is no secret stays."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipy_scriptenv.environments.wanted import Wanted
from ipy_scriptenv.kernel_side import credentials
from ipy_scriptenv.kernel_side.check import settings_digest
from ipy_scriptenv.kernel_side.credentials import HIDDEN, without_credentials
from ipy_scriptenv.uv_output import event_of, failure
from tests.stage import block_of

SECRET = "s3cr3t"  # noqa: S105 - it must not be found


@pytest.mark.parametrize(
    "toml",
    [
        block_of(f"alpha @ https://ada:{SECRET}@a.example/alpha.whl"),
        block_of(f"alpha @ https://{SECRET}@a.example/alpha.whl ; python_version > '3'"),
        block_of(f"alpha[x]@git+https://ada:{SECRET}@a.example/alpha@main"),
        block_of(f"alpha @ git+ssh://git:{SECRET}@a.example/alpha"),
        block_of("alpha", uv=f'index-url = "https://ada:{SECRET}@a.example/simple"'),
        block_of("alpha", uv=f"index-url = 'https://ada:{SECRET}@a.example/simple'"),
        block_of("alpha", uv=f'extra-index-url = ["https://{SECRET}@a.example/simple"]'),
        block_of("alpha", uv=f'find-links = ["https://ada:{SECRET}@a.example/simple"]'),
        block_of("alpha", uv=f'[[tool.uv.index]]\nurl = """https://ada:{SECRET}@a.example/x"""'),
        block_of("alpha", uv=f'sources = {{ alpha = {{ git = "https://{SECRET}@a.example/x" }} }}'),
        f'dependencies = ["alpha"]  # was: https://ada:{SECRET}@a.example/simple',
        block_of(f"alpha @ HTTPS://ada:{SECRET}@a.example/alpha.whl"),
        block_of(f"alpha @ https://ada:p%40{SECRET}@a.example/alpha.whl"),
        block_of(f"alpha @ https://ada:p@{SECRET}@a.example/alpha.whl"),
        block_of(f"alpha @ https://ada:p/{SECRET}@a.example/alpha.whl"),
        block_of(f"alpha @ https://ada:p?{SECRET}#x@a.example/alpha.whl"),
    ],
)
def test_a_block_is_recorded_without_credentials(toml: str) -> None:
    wanted = Wanted(block=toml, declaration=None, stat=None)
    assert wanted.recorded is not None
    assert SECRET not in wanted.recorded
    assert "ada" not in wanted.recorded
    assert "a.example" in wanted.recorded
    assert HIDDEN in wanted.recorded


def test_what_is_around_the_credentials_stays_as_it_was() -> None:
    toml = block_of("alpha  >=1", uv=f'index-url = "https://ada:{SECRET}@a.example/x"  # ours')
    assert without_credentials(toml) == toml.replace(f"ada:{SECRET}", "***")


def test_no_block_is_recorded_as_none() -> None:
    assert Wanted(block=None, declaration=None, stat=None).recorded is None
    assert Wanted(block="", declaration=None, stat=None).recorded == ""


@pytest.mark.parametrize(
    "text",
    [
        "https://${TOKEN}@a.example/simple",
        "https://ada:${TOKEN}@a.example/simple",
        "https://:${TOKEN}@a.example/simple",
        "https://${USER}:${TOKEN}@a.example/simple",
        "git+https://${TOKEN}@a.example/alpha@main",
    ],
)
def test_the_name_of_a_variable_is_no_secret(text: str) -> None:
    assert without_credentials(text) == text


@pytest.mark.parametrize(
    "text",
    [
        f"https://${{TOKEN}}{SECRET}@a.example/simple",
        f"https://{SECRET}${{TOKEN}}@a.example/simple",
        f"https://ada:{SECRET}${{TOKEN}}@a.example/simple",
        f"https://{SECRET}:x:${{TOKEN}}@a.example/simple",
        f"https://$TOKEN{SECRET}@a.example/simple",
        f"https://${{TOKEN:-{SECRET}}}@a.example/simple",
    ],
)
def test_a_secret_beside_a_variable_is_hidden(text: str) -> None:
    assert SECRET not in without_credentials(text)


def test_each_url_of_a_text_is_judged_by_itself() -> None:
    text = f"https://${{TOKEN}}@a.example https://{SECRET}@b.example git+ssh://git@c.example"
    hidden = "https://${TOKEN}@a.example https://***@b.example git+ssh://git@c.example"
    assert without_credentials(text) == hidden


def test_what_uv_tells_and_why_it_failed_holds_no_credentials() -> None:
    url = f"https://ada:{SECRET}@a.example/simple/alpha/"
    told = event_of(f"warning: could not read {url}")
    assert told is None or SECRET not in str(told)
    for code in (1, 2, -9):
        assert SECRET not in str(failure(code, f"error: Failed to fetch: `{url}`").to_json())


def test_variables_that_differ_in_credentials_alone_decide_the_same() -> None:
    for name in ("UV_INDEX", "UV_DEFAULT_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS"):
        one = settings_digest({name: "https://ada:one@a.example/simple"})
        assert one == settings_digest({name: f"https://bob:{SECRET}@a.example/simple"})
        assert one != settings_digest({name: "https://ada:one@b.example/simple"})


@pytest.mark.parametrize(
    "text",
    [
        "://" * 400_000,
        "://a:b" * 20_000,
        "https://" + "a" * 1_000_000,
        "https://" + "a:" * 500_000,
        "https://a:" + "b/" * 500_000,
        "https://a:" * 20_000,
        "://${" * 100_000,
        "ssh://:" * 20_000,
        "https://a:$" + "{x}" * 300_000,
    ],
)
def test_a_long_hostile_text_without_credentials_is_read_and_stays(text: str) -> None:
    # Quadratic time would take hours here; the suite's time limit is the measure.
    assert without_credentials(text) == text


@pytest.mark.parametrize(
    "text",
    [
        f"https://{'a' * 1_000_000}:{SECRET}@a.example",
        f"https://ada:{SECRET}{'b' * 1_000_000}@a.example",
        f"https://ada:{'@' * 500_000}{SECRET}@a.example",
        f"https://ada:{SECRET}@a.example/ " * 30_000,
        f"{'://' * 300_000}ada:{SECRET}@a.example",
    ],
)
def test_the_credentials_of_a_long_hostile_text_are_hidden(text: str) -> None:
    assert SECRET not in without_credentials(text)


@given(
    st.text(max_size=30),
    st.text(st.characters(categories=["L", "N", "P", "S"], exclude_characters="@/?#"), max_size=20),
)
def test_hiding_twice_is_as_hiding_once(around: str, password: str) -> None:
    once = without_credentials(f"{around}https://ada:{password}@a.example {around}")
    assert without_credentials(once) == once


def test_the_kernels_side_hides_with_the_oldest_python_that_there_is(
    pythons: dict[str, Path],
) -> None:
    """The same file runs in the environment's Python, with the standard library alone."""
    python = next(iter(pythons.values()), Path(sys.executable))
    source = Path(credentials.__file__)
    question = f"from credentials import *; print(without_credentials('https://a:{SECRET}@b'))"
    answer = subprocess.run(
        [python, "-S", "-c", question],
        cwd=source.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout == "https://***@b\n"
