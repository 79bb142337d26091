"""Entries of ``[tool.uv.sources]`` come and go by whole lines."""

from __future__ import annotations

import pytest

from ipy_scriptenv.metadata.editing import edited_toml

MINE = 'mine = { path = "mine", editable = true }\n'
NEW = f'dependencies = [\n    "a",\n    "mine",\n]\n\n[tool.uv.sources]\n{MINE}'


def test_a_first_entry_brings_its_table_and_takes_it_along() -> None:
    old = "dependencies = ['a']  # one\n"
    added = edited_toml(old, NEW)
    assert added == f"dependencies = ['a', 'mine']  # one\n\n[tool.uv.sources]\n{MINE}"
    assert edited_toml(added, 'dependencies = [\n    "a",\n]\n') == old


def test_another_entry_stands_behind_those_that_are_there() -> None:
    old = (
        "dependencies = ['a']\n\n[tool.uv.sources]\n# where z is\nz = { path = 'z' }  # there\n\n"
        "[tool.x]\nnumber = 0x10\n"
    )
    rest = '[tool.uv.sources]\nz = { path = "z" }\n'
    table = "[tool.x]\nnumber = 16\n"
    added = edited_toml(old, f'dependencies = ["a", "mine"]\n{rest}{MINE}{table}')
    assert added == old.replace("['a']", "['a', 'mine']").replace("there\n", f"there\n{MINE}")
    assert edited_toml(added, f'dependencies = ["a"]\n{rest}{table}') == old


@pytest.mark.parametrize(
    "old",
    [
        "dependencies = ['a']\ntool.uv.sources.z = { path = 'z' }\n",
        "dependencies = ['a']\n[tool.uv]\nsources = { z = { path = 'z' } }\n",
        "dependencies = ['a']\n[tool.uv.sources.z]\npath = 'z'\n",
        "dependencies = ['a']\n[tool.uv.sources]\nz = [\n  { path = 'z' },\n]\n",
    ],
)
def test_a_table_that_is_written_otherwise_is_taken_as_uv_writes_it(old: str) -> None:
    new = f'dependencies = ["a", "mine"]\n[tool.uv.sources]\nz = {{ path = "z" }}\n{MINE}'
    assert edited_toml(old, new) == new


def test_an_entry_goes_whose_line_ends_another() -> None:
    table = "[tool.uv.sources]\nba = { path = 'x' }\nc = { path = 'y' }\n"
    old = f"dependencies = ['ba', 'c', 'a']  # three\n{table}a = {{ path = 'x' }}\n"
    assert edited_toml(old, f'dependencies = ["ba", "c"]\n{table}') == (
        f"dependencies = ['ba', 'c']  # three\n{table}"
    )
