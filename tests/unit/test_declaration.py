from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from ipy_scriptenv.errors import BadBlock, BadRequirement, Problem, ScriptEnvError
from ipy_scriptenv.metadata import EMPTY, Declaration, read_declaration

CASES = json.loads((Path(__file__).parents[1] / "cases" / "pep723.json").read_text("utf-8"))["toml"]


def outcome(toml: str) -> Declaration | ScriptEnvError:
    try:
        return read_declaration(toml)
    except ScriptEnvError as error:
        return error


def refused(toml: str, *, cell: int | None = None, line: int = 0) -> ScriptEnvError:
    with pytest.raises((BadBlock, BadRequirement)) as caught:
        read_declaration(toml, cell=cell, line=line)
    return caught.value


def only_problem(toml: str, *, cell: int | None = None, line: int = 0) -> Problem:
    (problem,) = refused(toml, cell=cell, line=line).problems
    return problem


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_every_case_is_read_as_expected(case: dict[str, Any]) -> None:
    expected = case["expect"]
    if "error" in expected:
        assert len(refused(case["toml"]).problems) == expected["problems"]
        return
    declaration = read_declaration(case["toml"])
    python = declaration.requires_python
    assert (None if python is None else str(python)) == expected.get("requires_python")
    assert list(declaration.dependencies) == expected["dependencies"]
    assert sorted(declaration.tools) == expected.get("tools", [])
    assert len(declaration.warnings) == expected.get("warnings", 0)


def test_a_block_is_read_into_its_parts() -> None:
    declaration = read_declaration(
        'requires-python = ">=3.11"\ndependencies = ["Rich >= 13", "x @ ./lib"]\n'
        "[tool.uv]\noffline = true\n"
    )
    assert declaration.requires_python == SpecifierSet(">=3.11")
    assert declaration.dependencies == ("Rich >= 13", "x @ ./lib")
    assert declaration.requirements == (Requirement("Rich>=13"), Requirement("x @ ./lib"))
    assert declaration.tools == {"uv": {"offline": True}}


def test_an_empty_block_declares_what_no_block_declares() -> None:
    assert read_declaration("") == EMPTY


def test_an_unknown_key_is_a_warning_that_names_it() -> None:
    (warning,) = read_declaration("dependancies = []\n").warnings
    assert "`dependancies`" in warning


@pytest.mark.parametrize(
    ("toml", "line"),
    [
        ("a = \n", 11),
        ("\n\na = 1\na = 2\n", 14),
        ("dependencies = [\n", 11),
        ("dependencies = [\n\n", 12),
        ("dependencies = [", 11),
        ("dependencies = []\n///\nx = 1\n", 12),
    ],
)
def test_broken_toml_names_the_line_in_the_cell(toml: str, line: int) -> None:
    error = refused(toml, cell=3, line=10)
    (problem,) = error.problems
    assert isinstance(error, BadBlock)
    assert (problem.cell, problem.line) == (3, line)
    assert "at line" not in problem.message


@pytest.mark.parametrize(
    ("toml", "key", "kind"),
    [
        ('dependencies = "rich"', "dependencies", "a string"),
        ("dependencies = {rich = 1}", "dependencies", "a table"),
        ("dependencies = 2026-01-01", "dependencies", "a date or time"),
        ('dependencies = ["rich", 3]', "dependencies[1]", "an integer"),
        ('dependencies = [["rich"]]', "dependencies[0]", "an array"),
        ("requires-python = 3.11", "requires-python", "a float"),
        ("requires-python = true", "requires-python", "a boolean"),
        ("tool = 1", "tool", "an integer"),
    ],
)
def test_a_wrong_type_is_named_with_its_key_and_line(toml: str, key: str, kind: str) -> None:
    error = refused(f"# first\n{toml}\n", line=1)
    (problem,) = error.problems
    assert isinstance(error, BadBlock)
    assert (problem.key, problem.line) == (key, 3)
    assert problem.message.endswith(f"not {kind}")


def test_shapes_and_texts_are_told_together_and_a_shape_decides_the_error() -> None:
    error = refused('requires-python = "three"\ndependencies = ["rich==", 3]\ntool = 1\n')
    assert isinstance(error, BadBlock)
    assert {problem.key for problem in error.problems} == {
        "requires-python",
        "dependencies[0]",
        "dependencies[1]",
        "tool",
    }


def test_texts_alone_are_bad_requirements() -> None:
    error = refused('requires-python = "three"\ndependencies = ["rich==", "ok", "a b c"]\n')
    assert isinstance(error, BadRequirement)
    assert str(error) == "3 requirements in the block cannot be read."
    assert [problem.key for problem in error.problems] == [
        "requires-python",
        "dependencies[0]",
        "dependencies[2]",
    ]


@pytest.mark.parametrize(
    ("toml", "line"),
    [
        ('dependencies = ["rich=="]\n', 1),
        ('\ndependencies = [\n  "ok", # "rich=="\n  "rich==",\n]\n', 4),
        ('dependencies = [\n  "ok", "rich==",\n]\n', 2),
        ("dependencies = [\n  'a [x,y]',\n  \"rich==\"]\n", 3),
        ('dependencies = [\n  "\\u0061",\n  """b""",\n  \'\'\'c\'\'\',\n  "rich\\u003d="]\n', 5),
        ('"dependencies" = [\n"rich=="]\n', 2),
        ('requires-python = ">=3"\ndependencies=[ # first\n  # ok\n\n  "rich=="]\n', 5),
        ('"dependenc\\u0069es" = ["rich=="]\n', None),
    ],
)
def test_a_bad_requirement_names_its_own_line(toml: str, line: int | None) -> None:
    bad = [problem for problem in refused(toml, line=7).problems if "rich==" in problem.message]
    assert [problem.line for problem in bad] == [None if line is None else line + 7]


def test_a_misleading_text_gives_the_line_of_what_looks_like_the_key() -> None:
    toml = 'x = """\ndependencies = [\n1, 2]\n"""\ndependencies = ["rich=="]\n'
    assert only_problem(toml).line == 2


def test_the_words_of_the_parser_are_kept() -> None:
    problem = only_problem('dependencies = ["rich =="]\n')
    assert problem.message.startswith("`rich ==` is no requirement: Expected ")
    assert "\n" not in problem.message


@pytest.mark.parametrize(
    "text", ["rich\\n", "x @ https://example.org/x\\n", "ri\\u0000ch", "\\u001b[2J"]
)
def test_a_control_character_is_refused_and_shown_escaped(text: str) -> None:
    for toml in (f'dependencies = ["{text}"]\n', f'requires-python = "{text}"\n'):
        error = refused(toml)
        assert isinstance(error, BadRequirement)
        (problem,) = error.problems
        assert problem.message.endswith("holds a control character")
        assert problem.message.isprintable()


def test_credentials_are_not_shown() -> None:
    for text in ("x @ https://ada:secret@example.org/x y", "https://secret@example.org/x"):
        problem = only_problem(f'dependencies = ["{text}"]\n')
        assert "secret" not in str(problem)
        assert "https://***@example.org/x" in problem.message


def test_half_a_surrogate_pair_is_no_toml() -> None:
    problem = only_problem('a = 1\nb = "\ud800"\n', line=1)
    assert problem.line == 3


@pytest.mark.parametrize(
    "toml",
    [
        "a = " + "[" * 5_000 + "]" * 5_000,
        "a = " + "[" * 70 + "]" * 70,
        "a = " + "{a = " * 70 + "1" + "}" * 70,
        "[" + ".".join("a" * 70) + "]\n",
        ".".join("a" * 100_000) + " = 1\n",
        "x = {" + " . ".join(["'a'"] * 100_000) + " = 1}\n",
    ],
)
def test_a_deeply_nested_block_is_refused(toml: str) -> None:
    with pytest.raises(BadBlock, match="nested too deeply"):
        read_declaration(toml)


def test_a_nested_marker_is_refused() -> None:
    marker = "(" * 3_000 + "os_name == 'x'" + ")" * 3_000
    assert "nested too deeply" in only_problem(f'dependencies = ["x; {marker}"]\n').message


def test_as_many_levels_as_anyone_needs_are_read() -> None:
    toml = "[" + ".".join(["tool", *"a" * 60]) + "]\nb = 1\n"
    assert read_declaration(toml).tools == tomllib.loads(toml)["tool"]


def test_a_large_block_is_refused() -> None:
    with pytest.raises(BadBlock, match="larger than 1 MiB"):
        read_declaration("#" + "x" * (1 << 20))


def test_more_dependencies_than_ten_thousand_are_refused() -> None:
    most = ", ".join(['"a"'] * 10_000)
    assert len(read_declaration(f"dependencies = [{most}]\n").dependencies) == 10_000
    problem = only_problem(f'dependencies = [{most}, "a"]\n', line=4)
    assert (problem.key, problem.line) == ("dependencies", 5)
    assert "10,001" in problem.message


def test_a_long_integer_is_refused() -> None:
    with pytest.raises(BadBlock, match="no TOML"):
        read_declaration("a = " + "9" * 5_000)


def test_a_long_text_is_shortened_in_its_message() -> None:
    problem = only_problem(f'dependencies = ["{"x " * 10_000}"]\n')
    assert len(problem.message) < 500


@given(st.text())
def test_any_text_is_a_declaration_or_an_error_with_places(toml: str) -> None:
    result = outcome(toml)
    assert isinstance(result, Declaration) or result.problems


@given(
    st.lists(st.sampled_from(['"ok"', "'ok'", '"rich=="', "1", "[1, 2]", "{a = '[,'}"])), st.data()
)
def test_every_item_is_told_with_its_own_line(items: list[str], data: st.DataObject) -> None:
    toml, line, lines = "dependencies = [", 1, []
    for item in items:
        gap = data.draw(st.sampled_from(["", " ", "\n", "# [',\n", "\n\n"]))
        line += gap.count("\n")
        lines.append(line)
        toml += f"{gap}{item},"
    expected = {
        (f"dependencies[{number}]", place)
        for number, (item, place) in enumerate(zip(items, lines, strict=True))
        if "ok" not in item
    }
    result = outcome(toml + "]\n")
    problems = () if isinstance(result, Declaration) else result.problems
    assert {(problem.key, problem.line) for problem in problems} == expected
