"""The manifest of an archive: which paths are safe, and what is none."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipy_scriptenv.environments.manifests import (
    Kind,
    Manifest,
    PackedFile,
    PackedPython,
    archive_path,
)
from ipy_scriptenv.errors import NewerSchema
from ipy_scriptenv.record import Package

MANIFEST = Manifest(
    kind=Kind.ENVIRONMENT,
    python=PackedPython(
        implementation="cpython", version="3.12.1", abi="cpython-312-x86_64-linux-gnu"
    ),
    block='dependencies = ["alpha"]',
    packages=(Package(name="alpha", version="1.0"),),
    kernel="cpython-312-x86_64-linux-gnu-0123456789ab",
    project="0.1.0",
    uv="0.13.9",
    files=(
        PackedFile(path=archive_path("environment/lib/ä b.py"), size=3, sha256="0" * 64),
        PackedFile(path=archive_path("uv.lock"), size=0, sha256="f" * 64, executable=True),
    ),
)


@pytest.mark.parametrize("kernel", [MANIFEST.kernel, f"{MANIFEST.kernel}{'0' * 12}", "own", None])
@pytest.mark.parametrize("block", [MANIFEST.block, None])
def test_a_manifest_is_read_as_it_was_written(kernel: str | None, block: str | None) -> None:
    manifest = replace(MANIFEST, kernel=kernel, block=block)
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert manifest.layer == (None if kernel == "own" else kernel)
    assert (manifest.size, manifest.python.minor) == (3, "3.12")


@pytest.mark.parametrize(
    "path",
    [
        *("", "/", "/etc/hosts", "a//b", "a/", ".", "a/./b", "..", "a/../b", "a/..", "../a"),
        *("C:/a", "c:a", "a\\b", "\\\\host\\share", "a\0b", "a\nb", "a\x1b[2Jb", "a*", "a?", "a|b"),
        *("CON", "a/nul", "a/com1.txt", "a/LPT9", "a" * 1025, "a\ud800"),
        *("a/.. /b", "a./b", "a /b", "CONIN$"),
    ],
)
def test_a_path_that_might_lead_out_is_none(path: str) -> None:
    with pytest.raises(ValueError, match="no path that is safe"):
        archive_path(path)


@given(
    st.text(alphabet=st.characters(), max_size=30)
    | st.from_regex(r"[./\\:a~]{0,12}", fullmatch=True)
)
def test_what_is_taken_for_a_path_stays_in_its_folder(text: str) -> None:
    try:
        path = archive_path(text)
    except ValueError:
        return
    for flavour in (PurePosixPath, PureWindowsPath):
        joined = flavour("/home/of/it") / path
        assert joined.is_relative_to("/home/of/it")
        assert joined.parts[-len(path.split("/")) :] == tuple(path.split("/"))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("kind", "something"),
        ("python", {"implementation": "cpython", "version": 3, "abi": "x"}),
        ("python", {}),
        ("python", None),
        ("block", 1),
        ("block", "[[["),
        ("packages", [{"name": "alpha"}]),
        ("packages", [{"name": "alpha", "version": None}]),
        ("packages", 1),
        ("kernel", "cpython-311-x86_64-linux-gnu-0123456789ab"),
        ("kernel", "../x"),
        ("kernel", 1),
        ("files", [{"path": "other/x", "size": 1, "sha256": "0" * 64, "executable": False}]),
        ("files", [{"path": 1, "size": 1, "sha256": "0" * 64, "executable": False}]),
        ("files", [{"path": "uv.lock", "size": True, "sha256": "0" * 64, "executable": False}]),
        ("files", [{"path": "uv.lock", "size": 1, "sha256": "0", "executable": False}]),
        ("files", [{"path": "uv.lock", "size": 1, "sha256": "0" * 64, "executable": False}] * 2),
        ("files", [{"path": "wheels/x", "size": 1, "sha256": "0" * 64, "executable": False}]),
        ("format", 0),
        ("format", "1"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_none(key: str, value: object) -> None:
    data = {**json.loads(MANIFEST.to_json()), key: value}
    with pytest.raises(ValueError, match=r"."):
        Manifest.from_json(json.dumps(data))


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", '{"format": 1}', "[" * 100_000])
def test_a_text_that_is_no_manifest_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Manifest.from_json(text)


def test_a_manifest_of_a_newer_version_says_so() -> None:
    with pytest.raises(NewerSchema, match="format 2; this version reads 1"):
        Manifest.from_json('{"format": 2}')
