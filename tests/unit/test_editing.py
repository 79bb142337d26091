from __future__ import annotations

import tomllib

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from ipy_scriptenv.errors import BadBlock
from ipy_scriptenv.kernel_side.block import BlockError, find_block, render_block
from ipy_scriptenv.metadata.editing import edited_toml, new_script, with_block
from ipy_scriptenv.metadata.positions import string_array, value_span

TOML = 'dependencies = ["a"]\n'
BLOCK = '# /// script\n# dependencies = ["a"]\n# ///\n'


def declaring(*dependencies: str, python: str = "", rest: str = "") -> str:
    """Write a block as uv does."""
    lines = "".join(f'    "{each}",\n' for each in dependencies)
    array = f"[\n{lines}]" if dependencies else "[]"
    first = f'requires-python = "{python}"\n' if python else ""
    return f"{first}dependencies = {array}\n{rest}"


def after(array: str, *dependencies: str) -> str:
    """Give the array after uv has made it hold *dependencies*."""
    edited = edited_toml(f"dependencies = {array}\n", declaring(*dependencies))
    return edited.removeprefix("dependencies = ").removesuffix("\n")


# One array


@pytest.mark.parametrize(
    ("array", "longer"),
    [
        ("[]", '[\n    "b",\n]'),
        ("[ ]", '[ "b" ]'),
        ("[\n]", '[\n    "b"\n]'),
        ("[\n  # none yet\n]", '[\n  # none yet\n  "b",\n]'),
        ('["a"]', '["a", "b"]'),
        ("['a']", "['a', 'b']"),
        ('["a",]', '["a", "b",]'),
        ('[ "a" ]', '[ "a", "b" ]'),
        ('["a"] # why', '["a", "b"] # why'),
        ('[\n  "a",\n]', '[\n  "a",\n  "b",\n]'),
        ('[\n\t"a"\n]', '[\n\t"a",\n\t"b"\n]'),
        ('[\n  "a" # one\n]', '[\n  "a", # one\n  "b"\n]'),
        ('[\n  "a", # one\n  # more\n]', '[\n  "a", # one\n  "b",\n  # more\n]'),
        ('["a",\n]', '["a", "b",\n]'),
        ('["0","a"]', '["0","a","b"]'),
        ('[\n  "0", "a",\n]', '[\n  "0", "a", "b",\n]'),
        ('["0",\n "a"]', '["0",\n "a",\n "b"]'),
        ('[ "0"\n, "a"\n]', '[ "0"\n, "a"\n, "b"\n]'),
    ],
)
def test_an_item_comes_in_the_style_of_its_array_and_goes_without_a_trace(
    array: str, longer: str
) -> None:
    items = tomllib.loads(f"x = {array}")["x"]
    assert after(array, *items, "b") == longer
    assert after(longer, *items) == array


@pytest.mark.parametrize(
    ("array", "longer"),
    [
        ('["b"]', '["a", "b"]'),
        ('["b",  "c"]', '["a",  "b",  "c"]'),
        ('[\n    # first\n  "b",\n]', '[\n  "a",\n    # first\n  "b",\n]'),
        ('[ # first\n  "b"\n]', '[ # first\n  "a",\n  "b"\n]'),
        ('["b",\n "c"]', '["a",\n "b",\n "c"]'),
    ],
)
def test_an_item_comes_where_uv_put_it(array: str, longer: str) -> None:
    items = tomllib.loads(f"x = {array}")["x"]
    assert after(array, "a", *items) == longer
    assert after(longer, *items) == array


@pytest.mark.parametrize(
    ("array", "rest", "shorter"),
    [
        ('[\n  "a", # one\n  "b", # two\n]', "a", '[\n  "a", # one\n]'),
        ('[\n  "a", # one\n  "b" # two\n]', "a", '[\n  "a" # one\n]'),
        ('[\n  "a",\n  # about b\n  "b",\n]', "a", '[\n  "a",\n  # about b\n]'),
        ('[\n  "a", # one\n  "b",\n]', "b", '[\n  "b",\n]'),
        ('[\n  "a",\n]', "", "[]"),
        ('[\n  "a", # one\n]', "", "[]"),
        ('[\n  # all\n  "a",\n]', "", "[\n  # all\n]"),
        ('["a"]', "", "[]"),
        ('["a",]', "", "[]"),
        ('["a", "b"]', "b", '["b"]'),
        ("['a', \"b\"]", "a", "['a']"),
    ],
)
def test_an_item_goes_with_the_comment_on_its_line(array: str, rest: str, shorter: str) -> None:
    assert after(array, *rest) == shorter


@pytest.mark.parametrize(
    ("array", "upgraded"),
    [
        ('["a", "b"]', '["a>=2", "b"]'),
        ("['a', 'b']", "['a>=2', 'b']"),
        ("[\n  \"a\", # one\n  'b',\n]", "[\n  \"a>=2\", # one\n  'b',\n]"),
    ],
)
def test_a_new_bound_comes_in_place_of_the_old_one_in_its_quotes(array: str, upgraded: str) -> None:
    assert after(array, "a>=2", "b") == upgraded


def test_of_two_items_with_one_name_the_one_that_stays_is_left_alone() -> None:
    array = """[\n  'a; sys_platform == "x"', # one\n  'a; sys_platform == "y"', # two\n]"""
    kept = """[\n  'a; sys_platform == "y"', # two\n]"""
    new = """dependencies = ['a; sys_platform == "y"']\n"""
    assert edited_toml(f"dependencies = {array}\n", new) == f"dependencies = {kept}\n"


def test_a_quote_in_a_marker_gets_the_quotes_that_can_hold_it() -> None:
    new = """dependencies = ["a", "b; sys_platform == 'x'"]\n"""
    expected = """dependencies = ['a', "b; sys_platform == 'x'"]\n"""
    assert edited_toml("dependencies = ['a']\n", new) == expected


def test_an_item_is_replaced_by_another_one_in_the_layout_of_the_first() -> None:
    assert after('["a"]', "b") == '["b"]'
    assert after('[\n  "a"\n]', "b") == '[\n  "b"\n]'


# The rest of the block


def test_the_required_python_changes_in_its_quotes() -> None:
    old = "# mine\nrequires-python = '>=3.11' # why\ndependencies = ['a', 'b']\n[tool.x]\ny = 1\n"
    new = declaring("a", "b", python=">=3.12", rest="[tool.x]\ny = 1\n")
    assert edited_toml(old, new) == old.replace("3.11", "3.12")


def test_the_required_python_comes_first_where_there_was_none() -> None:
    old = 'dependencies = ["a"]\n'
    assert edited_toml(old, declaring("a", python=">=3.12")) == f'requires-python = ">=3.12"\n{old}'


def test_what_says_the_same_is_left_alone() -> None:
    old = 'dependencies=["a"]   # mine\n\n\n'
    assert edited_toml(old, declaring("a")) == old


@pytest.mark.parametrize(
    "old",
    [
        'dependencies = ["a"]\ntool.uv.x = 1\n',
        'requires-python = ">=3.11"\n',
        "",
        'dependencies = ["""a"""] # other\nx = 1\n',
        'dependencies = "a"\n',
    ],
)
def test_anything_else_that_differs_is_taken_as_uv_wrote_it(old: str) -> None:
    new = declaring("a", "b", rest='[tool.uv.sources]\nb = { path = "b" }\n')
    assert edited_toml(old, new) == new


@pytest.mark.parametrize(
    "old",
    [
        '[tool.x]\ndependencies = ["a"]\n',
        '"depend\\u0065ncies" = ["a"]\n',
        'dependencies = [\n  "a" # one\n  , # two\n  "c",\n]\n',
    ],
)
def test_an_array_whose_place_is_not_sure_is_taken_as_uv_wrote_it(old: str) -> None:
    tables = tomllib.loads(old)
    tables["dependencies"] = ["a"]
    new = "".join(
        f"{key} = {value!r}\n" if key == "dependencies" else '[tool.x]\ndependencies = ["a"]\n'
        for key, value in sorted(tables.items())
    )
    assert tomllib.loads(edited_toml(old, new)) == tomllib.loads(new)


@pytest.mark.parametrize("value", ["[1, {}]", '"a"', "{ a = 1 }"])
def test_what_is_no_list_of_texts_is_taken_as_it_is(value: str) -> None:
    new = f"dependencies = {value}\n"
    assert edited_toml(TOML, new) == new
    assert edited_toml(new, TOML) == TOML


def test_a_text_that_looks_like_the_key_is_not_taken_for_it() -> None:
    old = 'x = """\ndependencies = ["z"]\n"""\ndependencies = ["a"]\n'
    new = old.replace('["a"]', '["a", "b"]')
    assert edited_toml(old, new) == new
    span = value_span(old, "dependencies")
    assert span is not None
    assert old[slice(*span)] == '["a"]'


@pytest.mark.parametrize("array", ["[1]", "[['a']]", "[{a = 1}]", "'a'"])
def test_what_is_no_array_of_strings_has_no_items(array: str) -> None:
    assert string_array(f"dependencies = {array}\n", "dependencies") is None


def test_a_text_that_is_no_toml_is_told() -> None:
    with pytest.raises(BadBlock):
        edited_toml("dependencies = [", declaring("a"))


def test_an_array_of_thousands_is_edited() -> None:
    names = [f"p{number}" for number in range(5000)]
    old = f"dependencies = {names!r}\n"
    new = edited_toml(old, declaring(*names, "zz"))
    assert new == old.replace("'p4999'", "'p4999', 'zz'")


def test_a_block_that_changes_in_thousands_of_places_is_written() -> None:
    old = [f"p{number}" for number in range(2500)]
    new = [f"{name}>=1" for name in old]
    toml = edited_toml(declaring(*old), declaring(*new))
    assert toml == declaring(*new)
    text = render_block(declaring(*old))
    assert with_block(text, toml) == render_block(toml)
    assert with_block(render_block(toml), declaring(*old)) == text


NAMES = st.lists(st.sampled_from("acegikm"), unique=True, max_size=5).map(sorted)
SPACES = st.sampled_from(["", "", " ", "  ", "\n", "\n  ", "\n\t", "\n\n    "])
COMMENTS = st.sampled_from(["", "", "", "# x\n", " # y, [\"']\n  "])


@st.composite
def arrays(draw: st.DrawFn) -> str:
    """Write an array in any layout that TOML knows."""
    names = draw(NAMES)
    parts = ["["]
    for number, name in enumerate(names):
        quote = draw(st.sampled_from("\"'"))
        parts += (draw(SPACES), draw(COMMENTS), draw(SPACES), f"{quote}{name}{quote}")
        if number < len(names) - 1 or draw(st.booleans()):
            parts += (draw(SPACES), draw(COMMENTS), ",")
    return "".join([*parts, draw(SPACES), draw(COMMENTS), draw(SPACES), "]"])


REST = st.sampled_from(["", " # tail", "\n\n[tool.x]\ny = [1]"])


@given(arrays(), st.sampled_from("bdfhjlnz"), REST)
@example('[\n  "a",# x\n]', "b", "")
@example('["a",\n\n    "c"]', "b", "")
def test_adding_and_removing_gives_the_same_bytes(array: str, name: str, rest: str) -> None:
    old = f"dependencies = {array}{rest}\n"
    before = tomllib.loads(old)
    names = before["dependencies"]
    tail = rest.removeprefix(" # tail")
    longer = edited_toml(old, declaring(*sorted([*names, name]), rest=tail))
    assert tomllib.loads(longer) == before | {"dependencies": sorted([*names, name])}
    # Where a comment makes it unsure whose it is, uv's own writing is taken.
    assume(longer != declaring(*sorted([*names, name]), rest=tail))
    assert edited_toml(longer, declaring(*names, rest=tail)) == old


@given(arrays(), st.lists(st.sampled_from(["a", "b", "c", "d>1", "e<2", "e", "zz"]), max_size=6))
def test_whatever_is_asked_for_is_what_the_result_says(array: str, names: list[str]) -> None:
    new = declaring(*names)
    edited = edited_toml(f"dependencies = {array}\n", new)
    assert tomllib.loads(edited) == tomllib.loads(new)


# A block in a text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", BLOCK),
        ("import os\n", f"{BLOCK}\nimport os\n"),
        ("import os", f"{BLOCK}\nimport os"),
        ("\nimport os\n", f"{BLOCK}\nimport os\n"),
        ('"""Doc."""\n', f'{BLOCK}\n"""Doc."""\n'),
        ("#!/usr/bin/python\nx = 1\n", f"#!/usr/bin/python\n{BLOCK}\nx = 1\n"),
        ("#!/usr/bin/python", f"#!/usr/bin/python\n{BLOCK}".removesuffix("\n")),
        ("#!/usr/bin/python\n", f"#!/usr/bin/python\n{BLOCK}"),
        ("#!/bin/x\n# coding: utf-8\nx\n", f"#!/bin/x\n# coding: utf-8\n{BLOCK}\nx\n"),
        ("# -*- coding: utf-8 -*-\nx\n", f"# -*- coding: utf-8 -*-\n{BLOCK}\nx\n"),
        ("\ufeffx\n", f"\ufeff{BLOCK}\nx\n"),
        ("# a comment\n# ///\n", f"{BLOCK}\n# a comment\n# ///\n"),
        ("# ---\n# jupyter: 1\n# ---\n\n# %%\n", f"# ---\n# jupyter: 1\n# ---\n\n{BLOCK}\n# %%\n"),
        ("# ---\n# no header\n", f"{BLOCK}\n# ---\n# no header\n"),
    ],
)
def test_a_text_without_a_block_gets_one_behind_what_must_be_first(
    text: str, expected: str
) -> None:
    assert with_block(text, TOML) == expected
    assert with_block(text.replace("\n", "\r\n"), TOML) == (
        expected.replace("\n", "\r\n") if "\n" in text else expected
    )


def test_a_line_that_stays_is_left_as_it_is_written() -> None:
    text = 'x\r\n# /// script\r\n# \r\n# dependencies = ["a"]\n#\r\n# # é\r\n# ///\ny'
    edited = with_block(text, '\ndependencies = ["a", "b"]\n\n# é\n')
    assert edited == text.replace('["a"]', '["a", "b"]')


def test_new_lines_end_as_the_opening_line_does() -> None:
    text = "# /// script\r\n# dependencies = []\r\n# ///\r\n"
    edited = with_block(text, declaring("a"))
    assert edited == render_block(declaring("a")).replace("\n", "\r\n")


def test_a_block_at_the_end_needs_no_line_end() -> None:
    assert with_block(BLOCK.removesuffix("\n"), declaring()) == (
        "# /// script\n# dependencies = []\n# ///"
    )


def test_a_text_with_two_blocks_is_not_written() -> None:
    with pytest.raises(BlockError):
        with_block(f"{BLOCK}\n{BLOCK}", TOML)


def test_a_new_script_is_its_block() -> None:
    assert new_script(TOML) == BLOCK.encode()


LINES = st.sampled_from(["", "x = 1", "#", "# ", "# a", '"""', "# /// other", "# ///", " # b", "é"])
ENDS = st.sampled_from(["\n", "\n", "\r\n"])
TEXTS = st.lists(st.tuples(LINES, ENDS), max_size=6).map(
    lambda lines: "".join(line + end for line, end in lines)
)
TOMLS = st.lists(
    st.sampled_from(["", "a = 1", "# c", 'x = "é"', "y = [", "]", "  z = 2"]), max_size=6
).map(lambda lines: "".join(f"{line}\n" for line in lines))


@given(TEXTS, TOMLS, TOMLS, TEXTS.map(lambda text: f"\n{text}"), ENDS)
def test_only_the_block_changes(before: str, old: str, new: str, behind: str, end: str) -> None:
    text = before + render_block(old).replace("\n", end) + behind
    try:
        found = find_block(text)
    except BlockError:
        found = None
    assume(found is not None and found.toml == old)
    edited = with_block(text, new)
    assert edited == before + render_block(new).replace("\n", end) + behind
    assert with_block(edited, old) == text


@given(TEXTS, TOMLS)
def test_a_new_block_is_found_again(text: str, toml: str) -> None:
    try:
        assume(find_block(text) is None)
    except BlockError:
        assume(False)  # noqa: FBT003 - as hypothesis has it
    edited = with_block(text, toml)
    found = find_block(edited)
    assert found is not None
    assert found.toml == toml
    lines = edited.splitlines(keepends=True)
    rest = "".join(lines[: found.line - 1] + lines[found.end_line :])
    assert rest.replace("\r", "").replace("\n", "") == text.replace("\r", "").replace("\n", "")
