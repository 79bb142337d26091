from __future__ import annotations

import ast
import copy
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from ipy_scriptenv.kernel_side import block as block_module
from ipy_scriptenv.kernel_side.block import (
    Block,
    BlockError,
    block_of_cell,
    find_block,
    is_only_our_magics,
    render_block,
)

CASES = json.loads((Path(__file__).parents[1] / "cases" / "pep723.json").read_text("utf-8"))
TEXTS = CASES["text"]

BLOCK = "# /// script\n# dependencies = []\n# ///\n"

# The reference implementation's expression: https://peps.python.org/pep-0723/#reference-implementation
REFERENCE = re.compile(
    r"(?m)^# /// (?P<type>[a-zA-Z0-9-]+)$\s(?P<content>(^#(| .*)$\s)+)^# ///$",
)

LINES = [
    "# /// script",
    "# ///",
    "# /// other",
    "#",
    "# a = 1",
    "#  indented",
    "#no space",
    "",
    "x = 1",
    "# /// script ",
    "# /// ",
    " # /// script",
    'x = "# /// script"',
]


def found(text: str) -> Block | BlockError | None:
    try:
        return find_block(text)
    except BlockError as error:
        return error


def outcome(text: str) -> dict[str, Any]:
    result = found(text)
    if isinstance(result, BlockError):
        return {"error": result.code}
    return {"none": True} if result is None else {"toml": result.toml}


def reference_toml(text: str) -> str | None:
    matches = [match for match in REFERENCE.finditer(text) if match["type"] == "script"]
    if not matches:
        return None
    (match,) = matches
    lines = match["content"].splitlines(keepends=True)
    return "".join(line[2:] if line.startswith("# ") else line[1:] for line in lines)


@pytest.mark.parametrize("case", TEXTS, ids=[case["id"] for case in TEXTS])
def test_every_case_is_read_as_expected(case: dict[str, Any]) -> None:
    assert outcome(case["text"]) == case["expect"]


def test_lines_are_those_of_the_opening_and_the_closing_line() -> None:
    assert find_block("import os\n\n" + BLOCK) == Block("dependencies = []\n", 3, 5)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_are_counted_with_either_line_end(end: str) -> None:
    block = find_block(("\n" + BLOCK).replace("\n", end))
    assert block is not None
    assert (block.line, block.end_line) == (2, 4)


def test_a_closing_line_before_a_lone_carriage_return_is_none() -> None:
    assert outcome("# /// script\r\n# a = 1\r\n# ///\r") == {"error": "unclosed"}


@pytest.mark.parametrize(
    ("text", "code", "lines"),
    [
        ("\n# /// script\n", "unclosed", (2,)),
        ("# /// other\n# x\n# /// script\n", "unclosed", (3,)),
        (BLOCK + "\n" + BLOCK + "\n" + BLOCK, "duplicate", (1, 5, 9)),
        (BLOCK + "# /// script\n\n" + BLOCK, "duplicate", (1, 6)),
    ],
)
def test_an_error_names_the_opening_lines(text: str, code: str, lines: tuple[int, ...]) -> None:
    with pytest.raises(BlockError) as caught:
        find_block(text)
    assert (caught.value.code, caught.value.lines) == (code, lines)
    assert all(str(line) in str(caught.value) for line in lines)


def test_an_error_survives_pickling() -> None:
    # Copying takes the way of pickling.
    error = copy.copy(BlockError("duplicate", (1, 5)))
    assert (error.code, error.lines) == ("duplicate", (1, 5))


def test_a_script_opening_inside_a_block_of_another_type_is_content() -> None:
    assert find_block("# /// other\n# /// script\n# a = 1\n# ///\n") is None


def test_an_opening_that_does_not_follow_a_closing_line_directly_is_content() -> None:
    text = "# /// script\n# ///\n#\n# /// other\n# ///\n"
    assert outcome(text) == {"toml": "///\n\n/// other\n"}


def test_a_text_of_many_openings_is_read_in_linear_time() -> None:
    # Quadratic time would take hours here; the suite's time limit is the measure.
    assert outcome("# /// other\n" * 500_000 + "# /// script\n") == {"error": "unclosed"}
    assert outcome("# /// other\n" * 500_000 + "x # /// script\n") == {"none": True}
    assert outcome("# /// other\n# ///\n" * 500_000 + BLOCK) == {"toml": "dependencies = []\n"}


@pytest.mark.parametrize("magic", ["%%bash\n", "\n\n%%bash\n", "  %%bash\n"])
def test_a_cell_that_begins_with_a_cell_magic_has_no_block(magic: str) -> None:
    assert block_of_cell(magic + BLOCK) is None


def test_a_cell_may_have_a_cell_magic_in_a_later_line() -> None:
    assert block_of_cell(BLOCK + "%%bash\n") == find_block(BLOCK)


def test_a_block_is_rendered_in_its_normal_form() -> None:
    assert render_block("a = 1\n\n b = 2\n") == "# /// script\n# a = 1\n#\n#  b = 2\n# ///\n"
    assert render_block("") == "# /// script\n# ///\n"


def test_a_missing_last_line_end_is_added() -> None:
    assert render_block("a = 1") == render_block("a = 1\n")


@pytest.mark.parametrize("toml", ["///\n", "///\n///\n", "/// x\n", "/// script\n", "x\n///\ny\n"])
def test_content_that_looks_like_a_closing_line_survives(toml: str) -> None:
    block = find_block(render_block(toml))
    assert block is not None
    assert block.toml == toml


TOML = st.lists(
    st.sampled_from(["///", "/// x", "", " ", "#", "# ///"]) | st.text(st.characters(codec="utf-8"))
).map(lambda lines: "".join(line.replace("\n", "") + "\n" for line in lines))


@given(TOML)
def test_what_is_rendered_is_found_again(toml: str) -> None:
    assume("\r\n" not in toml)
    assume(not re.search(r"(?m)^///\n/// [A-Za-z0-9-]+$", toml))
    block = find_block(render_block(toml))
    assert block is not None
    assert block == Block(toml, 1, toml.count("\n") + 2)


TEXT = st.lists(st.tuples(st.sampled_from(LINES), st.sampled_from(["\n", "\r\n", "\r"]))).map(
    lambda lines: "".join(line + end for line, end in lines)
)


@given(TEXT | st.text(), st.sampled_from(["", BLOCK]))
def test_any_text_has_a_block_none_or_an_error_with_lines(start: str, end: str) -> None:
    text = start + end
    lines = [line.rstrip("\r") for line in text.removeprefix("\ufeff").split("\n")]
    result = found(text)
    if isinstance(result, BlockError):
        assert result.code in {"unclosed", "duplicate"}
        assert {lines[line - 1] for line in result.lines} == {"# /// script"}
    elif result is not None:
        assert (lines[result.line - 1], lines[result.end_line - 1]) == ("# /// script", "# ///")
        assert outcome(render_block(result.toml)) == {"toml": result.toml.replace("\r\n", "\n")}


PLAIN = st.lists(st.sampled_from(["#", "# a = 1", "#  b", "x = 1", ""])).map("\n".join)


@given(PLAIN, st.lists(st.sampled_from(["#", "# a = 1", "# /// x", "#  b"]), min_size=1), PLAIN)
@example("", ["# a = 1", "# ///", "# b = 2"], "")
def test_a_plain_block_is_read_as_the_reference_expression_reads_it(
    before: str, content: list[str], after: str
) -> None:
    text = "\n".join([before, "# /// script", *content, "# ///", after])
    assert outcome(text) == {"toml": reference_toml(text)}


@pytest.mark.parametrize(
    "code",
    [
        "%scriptenv",
        "%scriptenv add rich",
        "%load_ext ipy_scriptenv",
        "\n# setup\n  %load_ext   ipy_scriptenv\n\n%scriptenv status\n",
        "%scriptenv add \\\n%scriptenv status",
    ],
)
def test_a_cell_of_our_magics_is_known(code: str) -> None:
    assert is_only_our_magics(code)


@pytest.mark.parametrize(
    "code",
    [
        "",
        "\n",
        "# a comment",
        "import os",
        "%scriptenv\nimport os",
        "%scriptenv\x0cimport os",
        "%scriptenv add \\\nrich",
        "%scriptenvs",
        "%%scriptenv",
        "%load_ext autoreload",
        "%load_ext ipy_scriptenv autoreload",
        "!scriptenv",
        BLOCK + "%scriptenv status",
        "%scriptenv\n# /// script\n",
    ],
)
def test_any_other_cell_is_not_of_our_magics(code: str) -> None:
    assert not is_only_our_magics(code)


def test_the_module_runs_on_python_3_9_with_the_standard_library_alone() -> None:
    tree = ast.parse(Path(block_module.__file__).read_text("utf-8"), feature_version=(3, 9))
    imported: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add(node.module or "")
    assert {name.partition(".")[0] for name in imported} <= sys.stdlib_module_names
