"""The block parser beside two other readings of the same rule, on generated texts.

One is the rule of the module's docstring, written out once more without regard for speed. The other
is the regular expression of the inline script metadata specification, which may differ only where
the docstring says that the rule is made exact.
"""

from __future__ import annotations

import itertools
import re

from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from ipy_scriptenv.kernel_side.block import Block, BlockError, find_block

# https://packaging.python.org/en/latest/specifications/inline-script-metadata/#reference-implementation
REFERENCE = re.compile(
    r"(?m)^# /// (?P<type>[a-zA-Z0-9-]+)$\s(?P<content>(^#(| .*)$\s)+)^# ///$",
)
OPENING = re.compile(r"# /// [A-Za-z0-9-]+\Z")

LINES = st.sampled_from(
    [
        *("# /// script", "# ///", "# /// other", "# /// script-2", "#", "# a = 1", "#  b", "# "),
        *("# #", "# /// script x", "# ///x", "# /// ", "# ///  script", "#///", "# // /", "#\ta"),
        *("# /// script ", "# /// ", " # /// script", " # ///", "# ///\t", "\ufeff# /// script"),
        *("", " ", "x = 1", '"""', 'x = "# /// script"', "# \u2028# ///", "# \x0c# ///", "# \x85"),
    ]
)
OFTEN = st.sampled_from(["# /// script", "# ///", "# /// other", "#", "# a = 1", "x = 1", ""])
ENDS = st.sampled_from(["\n", "\n", "\n", "\r\n", "\r"])
TEXTS = st.builds(
    lambda mark, lines, last: mark + "".join(line + end for line, end in lines) + last,
    st.sampled_from(["", "", "\ufeff"]),
    st.lists(st.tuples(OFTEN | LINES, ENDS), max_size=14),
    st.sampled_from(["", "# ///", "# /// script", "#"]) | st.text(max_size=5),
)
PLAIN = st.lists(OFTEN | LINES, max_size=14).map(
    lambda lines: "".join(f"{line}\n" for line in lines)
)

Outcome = tuple[str, object]


def outcome(text: str) -> Outcome:
    """Read a text with the parser: what was found, and where."""
    try:
        block = find_block(text)
    except BlockError as error:
        return (error.code, error.lines)
    return ("none", None) if block is None else ("block", tuple(block))


# The rule of the docstring


def by_the_rule(text: str) -> Outcome:
    """Read a text by the docstring, sentence by sentence."""
    lines = split(text)
    blocks: list[tuple[str, int, int]] = []
    unclosed: list[int] = []
    at = 0
    while at < len(lines):
        if not OPENING.match(lines[at]):
            at += 1
            continue
        run = run_below(lines, at)
        closings = [place for place in run if lines[place] == "# ///"]
        if closings:
            last = closings[-1]
            if lines[at] == "# /// script":
                content = [
                    line.removeprefix("#").removeprefix(" ") for line in lines[at + 1 : last]
                ]
                blocks.append(("".join(f"{line}\n" for line in content), at + 1, last + 1))
            at = last + 1
            continue
        # None of the openings in the run is ever closed.
        scripts = [place for place in (at, *run) if lines[place] == "# /// script"]
        if scripts and not blocks:
            unclosed.append(scripts[0] + 1)
            break
        at = run[-1] + 1 if run else at + 1
    if unclosed:
        return ("unclosed", tuple(unclosed))
    if len(blocks) > 1:
        return ("duplicate", tuple(line for _, line, _ in blocks))
    return ("block", blocks[0]) if blocks else ("none", None)


def split(text: str) -> list[str]:
    """Split at LF and CRLF; a byte-order mark in front is ignored."""
    lines = text.removeprefix("\ufeff").split("\n")
    return [line.removesuffix("\r") for line in lines[:-1]] + lines[-1:]


def run_below(lines: list[str], opening: int) -> list[int]:
    """Give the places of the lines of an opening line's run."""
    run: list[int] = []
    for place in range(opening + 1, len(lines)):
        line = lines[place]
        if not (line == "#" or line.startswith("# ")):
            break
        directly_below_a_closing = bool(run) and lines[place - 1] == "# ///"
        if OPENING.match(line) and directly_below_a_closing:
            break
        run.append(place)
    return run


@settings(max_examples=500)
@given(TEXTS | st.text())
@example("# /// script\n# ///\n# /// script\n# ///\n")
@example("# /// other\n# ///\n# /// script\n# a\n# ///\n")
@example("# /// script\n# ///\n# ///\n# /// other")
@example("# /// other\n# /// script\n\n# /// script\n# ///\n")
@example("# /// script\r\n# ///\r")
@example("# /// script\n# ///\n# /// script\n")
def test_the_parser_reads_every_text_by_the_rule_of_its_docstring(text: str) -> None:
    expected = by_the_rule(text)
    event(expected[0])
    assert outcome(text) == expected


# The expression of the specification


def by_the_expression(text: str) -> list[str]:
    """Give the content of each ``script`` block that the expression finds.

    Lines are split at LF alone, as the expression has them; the implementation beside it takes a
    form feed or U+2028 for an end of a line too, and loses a character there.
    """
    found = [match for match in REFERENCE.finditer(text) if match["type"] == "script"]
    return [
        "".join(
            (line[2:] if line.startswith("# ") else line[1:]) + "\n"
            for line in match["content"].removesuffix("\n").split("\n")
        )
        for match in found
    ]


def differences(text: str) -> set[str]:
    """Name what of the listed differences a text gives occasion for."""
    lines = text.split("\n")
    pairs = list(itertools.pairwise(lines))
    kinds = {
        "CRLF": "\r" in text,
        "byte-order mark": text.startswith("\ufeff"),
        "empty block": ("# /// script", "# ///") in pairs or ("# /// other", "# ///") in pairs,
        "unclosed": outcome(text)[0] == "unclosed",
        "trailing space": any(re.match(r"# ///( \S+)?\s+\Z", line) for line in lines),
        # The expression lets a run go on over what closes and opens; the parser ends it there.
        "adjacent blocks": any(one == "# ///" and OPENING.match(other) for one, other in pairs),
        # ... and it lets an opening of another type, which nothing closes, run into a block.
        "another type above": any(OPENING.match(line) for line in comments_above_script(lines)),
        "duplicates": outcome(text)[0] == "duplicate",
    }
    return {kind for kind, is_there in kinds.items() if is_there}


def comments_above_script(lines: list[str]) -> list[str]:
    """Give the comment lines that stand without a gap above the opening lines of ``script``."""
    found = []
    for place, line in enumerate(lines):
        if line == "# /// script":
            above = place - 1
            while above >= 0 and (lines[above] == "#" or lines[above].startswith("# ")):
                found.append(lines[above])
                above -= 1
    return found


@settings(max_examples=500)
@given(TEXTS | PLAIN)
def test_the_parser_differs_from_the_specification_in_what_is_listed_alone(text: str) -> None:
    kind, found = outcome(text)
    expected = by_the_expression(text)
    toml = [found[0]] if isinstance(found, tuple) and kind == "block" else []
    if toml == expected and kind in {"block", "none"}:
        event("the same")
        return
    kinds = differences(text)
    for each in kinds:
        event(each)
    assert kinds, (kind, found, expected)


STRICT = st.lists(
    st.sampled_from(["#", "# a = 1", "#  b", "# # c", "# /// x y", "#\ta", "x = 1", "y", "# ///"])
    | st.just("# /// script"),
    max_size=12,
).map(lambda lines: "".join(f"{line}\n" for line in lines))


@settings(max_examples=500)
@given(STRICT)
@example("# /// script\n# a = 1\n# ///\n# b\n# ///\nx = 1\n")
@example("x = 1\n# /// script\n#\n# ///\n")
def test_where_nothing_listed_is_there_both_read_the_same(text: str) -> None:
    if differences(text):
        return
    event("compared")
    kind, found = outcome(text)
    toml = [found[0]] if isinstance(found, tuple) and kind == "block" else []
    assert toml == by_the_expression(text)


# Each of the listed differences is one


def test_line_ends_of_another_system_are_read() -> None:
    text = "# /// script\r\n# a = 1\r\n# ///\r\n"
    assert by_the_expression(text) == []
    assert outcome(text) == ("block", Block("a = 1\n", 1, 3))


def test_a_byte_order_mark_is_passed_over() -> None:
    text = "\ufeff# /// script\n# a = 1\n# ///\n"
    assert by_the_expression(text) == []
    assert outcome(text) == ("block", Block("a = 1\n", 1, 3))


def test_an_empty_block_is_one() -> None:
    text = "# /// script\n# ///\n"
    assert by_the_expression(text) == []
    assert outcome(text) == ("block", Block("", 1, 2))


def test_an_unclosed_block_is_an_error() -> None:
    text = "# /// script\n# a = 1\n"
    assert by_the_expression(text) == []
    assert outcome(text) == ("unclosed", (1,))


def test_a_block_directly_below_one_of_another_type_is_found() -> None:
    text = "# /// other\n# x\n# ///\n# /// script\n# a = 1\n# ///\n"
    assert by_the_expression(text) == []
    assert outcome(text) == ("block", Block("a = 1\n", 4, 6))


def test_two_adjacent_blocks_are_two() -> None:
    text = "# /// script\n# a = 1\n# ///\n# /// script\n# b = 2\n# ///\n"
    assert len(by_the_expression(text)) == 1
    assert outcome(text) == ("duplicate", (1, 4))


def test_a_space_behind_an_opening_or_closing_line_makes_it_a_comment() -> None:
    assert outcome("# /// script \n# a = 1\n# ///\n") == ("none", None)
    assert outcome("# /// script\n# a = 1\n# /// \n") == ("unclosed", (1,))
