"""The record, and what a listing reads of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ipy_scriptenv.record import Glance, Package, Python, Record, Source, SourceKind

TRAP = '"\n "packages": [\n  {'


def record(*packages: str) -> Record:
    """Give a record with these packages, and with a text in it that looks like a list of them."""
    return Record(
        source=Source(kind=SourceKind.FILE, path=f"/notebooks/{TRAP}.ipynb"),
        python=Python(request=None, version="3.12.1", base="/usr/bin/python3", abi="cpython-312"),
        block=TRAP,
        kernel="layer",
        kernel_side="side",
        hosts=(),
        uv="0.13.9",
        created="2026-01-01T00:00:00+00:00",
        last_used="2026-01-02T00:00:00+00:00",
        fingerprint="f",
        packages=tuple(Package(name=name, version="1") for name in packages),
        watch={TRAP: None},
    )


@pytest.mark.parametrize("indent", [1, 2, None])
@pytest.mark.parametrize("packages", [(), ("alpha",), ("alpha", "beta", TRAP)])
def test_a_glance_says_what_the_record_says(packages: tuple[str, ...], indent: int | None) -> None:
    mine = record(*packages)
    text = mine.to_json()
    found = Glance.from_json(text if indent == 1 else json.dumps(json.loads(text), indent=indent))
    assert found.packages == len(packages)
    assert found.source == mine.source
    assert found.python_version == "3.12.1"
    assert (found.synced, found.pending) == (True, False)


@pytest.mark.parametrize("end", [-2, 40, -60])
def test_a_record_that_was_cut_is_broken(end: int) -> None:
    with pytest.raises(ValueError, match=r"."):
        Glance.from_json(record("alpha", "beta").to_json()[:end])


@pytest.mark.parametrize("value", [3, True, [], {"a": 1}])
@pytest.mark.parametrize(
    "key",
    [
        *("block", "created", "fingerprint", "kernel", "kernel_side", "last_used", "lock_sha256"),
        *("packages.0.version", "pending", "python.abi", "python.base", "python.request"),
        *("python.version", "settings", "source.path", "source.url", "uv"),
    ],
)
def test_a_record_with_something_else_than_a_text_is_broken(key: str, value: object) -> None:
    text = changed(key, value)
    with pytest.raises(ValueError, match=r"."):
        Record.from_json(text)
    if key.startswith("source."):
        with pytest.raises(ValueError, match=r"."):
            Glance.from_json(text)


@pytest.mark.parametrize("value", ["/x\0y", "\ud800"])
@pytest.mark.parametrize("key", ["kernel", "python.abi", "python.base", "source.path"])
def test_a_record_with_what_can_be_no_path_is_broken(key: str, value: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Record.from_json(changed(key, value))


def test_a_record_with_a_relative_path_or_a_number_without_end_is_broken() -> None:
    for text in (changed("source.path", "a.py"), changed("source_stat", [1, 1, float("inf")])):
        with pytest.raises(ValueError, match=r"."):
            Record.from_json(text)
    with pytest.raises(ValueError, match=r"."):
        Glance.from_json(text)


def changed(key: str, value: object) -> str:
    """Give the text of a record in which one value is another."""
    data: Any = json.loads(record("alpha").to_json())
    *parts, last = key.split(".")
    at = data
    for part in parts:
        at = at[int(part) if part.isdigit() else part]
    at[last] = value
    return json.dumps(data)
