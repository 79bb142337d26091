"""Locks as text: one value of a notebook is written, and every other byte stays."""

from __future__ import annotations

import json
import tomllib
from pathlib import PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipy_scriptenv.errors import NotANotebook
from ipy_scriptenv.metadata import (
    embedded_lock,
    located_block,
    locked_packages,
    machine_paths,
    portable_lock,
    rebased_lock,
    with_embedded_lock,
)

LOCK = 'version = 1\n\n[[package]]\nname = "alpha"\nversion = "1.0"\n'
WORK = PurePosixPath("/srv")


def embed(text: str, lock: str = LOCK) -> str:
    """Embed a lock into a notebook."""
    return with_embedded_lock(text.encode(), lock, name="nb.ipynb").decode()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{"cells": [], "metadata": {}}', '{"cells": [], "metadata": {"uv.lock": X}}'),
        ('{"cells":[],"metadata":{}}', '{"cells":[],"metadata":{"uv.lock":X}}'),
        ('{"cells": [],\n "nbformat": 4}', '{"cells": [],\n "metadata": {"uv.lock": X},\n Y'),
        (
            '{\n "cells": [],\n "metadata": {},\n "nbformat": 4\n}\n',
            '{\n "cells": [],\n "metadata": {\n  "uv.lock": X\n },\n "nbformat": 4\n}\n',
        ),
        (
            '{\n\t"metadata": {\n\t\t"a": 1.0e5,\n\t\t"widgets": "\\u00e9"\n\t},\n\t"cells": []\n}',
            (
                '{\n\t"metadata": {\n\t\t"a": 1.0e5,\n\t\t"uv.lock": X,\n'
                '\t\t"widgets": "\\u00e9"\n\t},\n\t"cells": []\n}'
            ),
        ),
        (
            '{"metadata": {\n"z": [ 1 ],\n"a": 2\n}, "cells": []}',
            '{"metadata": {\n"z": [ 1 ],\n"a": 2,\n"uv.lock": X\n}, "cells": []}',
        ),
        (
            '{"metadata" : {"uv.lock" : "old", "x": 1}, "cells": []}',
            '{"metadata" : {"uv.lock" : X, "x": 1}, "cells": []}',
        ),
        (
            '{"metadata": {"x": 1}, "metadata": {"uv.lock": "a", "uv.lock": "b"}}',
            '{"metadata": {"x": 1}, "metadata": {"uv.lock": "a", "uv.lock": X}}',
        ),
    ],
)
def test_a_lock_is_put_where_it_belongs(before: str, after: str) -> None:
    if after.endswith("Y"):
        assert json.loads(embed(before)) == {**json.loads(before), "metadata": {"uv.lock": LOCK}}
    else:
        assert embed(before) == after.replace("X", json.dumps(LOCK))


@given(
    others=st.dictionaries(st.text(), st.none() | st.integers() | st.text(), max_size=4),
    outputs=st.lists(st.text(), max_size=3),
    indent=st.sampled_from([None, 0, 1, 2, 4, "\t"]),
    ascii_only=st.booleans(),
    sort=st.booleans(),
    bom=st.booleans(),
)
def test_only_the_lock_differs(
    others: dict[str, Any],
    outputs: list[str],
    indent: int | str | None,
    *,
    ascii_only: bool,
    sort: bool,
    bom: bool,
) -> None:
    others.pop("uv.lock", None)
    notebook = {"cells": outputs, "metadata": others, "nbformat": 4}
    options: dict[str, Any] = {"indent": indent, "ensure_ascii": ascii_only, "sort_keys": sort}
    text = json.dumps(notebook, **options)
    data = b"\xef\xbb\xbf" * bom + text.encode("utf-8", "surrogatepass")
    try:
        data.decode()
    except UnicodeDecodeError:
        with pytest.raises(NotANotebook):
            with_embedded_lock(data, LOCK, name="nb.ipynb")
        return
    once = with_embedded_lock(data, LOCK, name="nb.ipynb")
    assert embedded_lock(once) == LOCK
    expected = {**notebook, "metadata": {**others, "uv.lock": LOCK}}
    assert json.loads(once.decode("utf-8-sig")) == expected
    assert once.startswith(b"\xef\xbb\xbf") is bom
    other = LOCK.replace("alpha", "béta")
    twice = with_embedded_lock(once, other, name="nb.ipynb")
    assert embedded_lock(twice) == other
    assert with_embedded_lock(twice, LOCK, name="nb.ipynb") == once
    if others or indent is None:
        # As the tool that wrote the notebook would have written it.
        written = json.dumps(expected, **(options | {"sort_keys": True})) if sort else None
        assert written is None or once.endswith(written.encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"[]", b'{"metadata": 1}', b'{"metadata": {"uv.lock": 1', b"\xff", b"[" * 10**5],
)
def test_what_is_no_notebook_holds_no_lock_and_gets_none(data: bytes) -> None:
    assert embedded_lock(data + b"uv.lock") is None
    with pytest.raises(NotANotebook):
        with_embedded_lock(data, LOCK, name="nb.ipynb")


@pytest.mark.parametrize("value", ["null", "1", "{}", '""'])
def test_a_value_that_is_no_text_is_no_lock(value: str) -> None:
    assert embedded_lock(f'{{"metadata": {{"uv.lock": {value}}}}}'.encode()) is None


def test_a_lock_without_paths_is_given_to_uv_as_it_is() -> None:
    assert rebased_lock(LOCK.encode(), folder=WORK) == LOCK.encode()


def test_paths_in_a_lock_are_made_absolute_for_another_folder() -> None:
    text = """\
[manifest]
requirements = [{ name = "local", directory = "local" }, { name = "b", index = "https://x/" }]
[[package]]
name = "local"
source = { editable = "../local" }
[[package]]
name = "b"
source = { registry = "wheels" }
wheels = [{ path = "b-1.0-py3-none-any.whl" }]
[[package]]
name = "c"
source = { registry = "https://pypi.org/simple" }
"""
    found = tomllib.loads(rebased_lock(text.encode(), folder=WORK).decode())
    assert found["manifest"]["requirements"][0]["directory"] == "/srv/local"
    sources = [package["source"] for package in found["package"]]
    assert sources == [
        {"editable": "/srv/../local"},
        {"registry": "/srv/wheels"},
        {"registry": "https://pypi.org/simple"},
    ]
    assert found["package"][1]["wheels"] == [{"path": "b-1.0-py3-none-any.whl"}]


def test_what_uv_takes_from_the_folder_of_the_call_is_made_absolute_and_back() -> None:
    toml = (
        'dependencies = ["b", "local"]\n[tool.uv]\nfind-links = ["wheels"]\n'
        'index = [{ name = "a", url = "../wheels" }, { name = "b", url = "https://x/y" }]\n'
        '[tool.uv.sources]\nlocal = { path = "local" }\n'
    )
    located, written = located_block(toml, folder=WORK)
    uv = tomllib.loads(located)["tool"]["uv"]
    assert [index["url"] for index in uv["index"]] == ["/wheels", "https://x/y"]
    assert uv["find-links"] == ["wheels"]
    assert uv["sources"]["local"] == {"path": "local"}
    assert written == {"/wheels": "../wheels"}
    made = b'source = { registry = "/wheels" }\n  { path = "/wheels/b-1.0.whl" }\n'
    expected = b'source = { registry = "../wheels" }\n  { path = "b-1.0.whl" }\n'
    assert portable_lock(made, written=written) == expected
    assert located_block('dependencies = ["b"]', folder=WORK) == ('dependencies = ["b"]', {})


def test_the_packages_of_a_lock_are_listed() -> None:
    assert locked_packages(LOCK.encode()) == (("alpha", "1.0"),)
    assert locked_packages(b"version = 1\n") == ()


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ('source = { registry = "https://pypi.example/simple" }', []),
        ('source = { registry = "../wheels" }\nwheels = [{ path = "a.whl" }]', []),
        ('source = { editable = "../project" }', []),
        (
            'source = { registry = "/srv/wheels" }\nwheels = [{ path = "/srv/wheels/a.whl" }]',
            ["/srv/wheels"],
        ),
        ('source = { registry = "C:\\\\wheels" }', ["C:\\wheels"]),
        ('source = { directory = "C:/project" }', ["C:/project"]),
        (
            'source = { git = "file:///srv/repository?rev=1#0a" }',
            ["file:///srv/repository?rev=1#0a"],
        ),
        (
            (
                'wheels = [{ url = "file:///srv/my%20wheels/a.whl" }]\n'
                'source = { registry = "/srv/my wheels" }'
            ),
            ["/srv/my wheels"],
        ),
        ('wheels = [{ url = "https://pypi.example/files/a.whl" }]', []),
        ('description = "/srv"', []),
    ],
)
def test_paths_of_a_machine_are_found_in_a_lock(said: str, found: list[str]) -> None:
    assert list(machine_paths(f"{LOCK}{said}\n".encode())) == found


def test_the_index_of_a_requirement_is_a_path_too() -> None:
    manifest = '[manifest]\nrequirements = [{ name = "alpha", index = "file:///srv/wheels" }]\n'
    assert machine_paths(f"{manifest}{LOCK}".encode()) == ("file:///srv/wheels",)
    both = f'{manifest}{LOCK}source = {{ registry = "/srv/wheels" }}\n'
    assert machine_paths(both.encode()) == ("/srv/wheels",)
