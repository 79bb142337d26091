from __future__ import annotations

import tomllib
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipy_scriptenv.errors import BadBlock
from ipy_scriptenv.metadata import local_paths, staged_block

POSIX = PurePosixPath("/home/ada/my work")
WINDOWS = PureWindowsPath(r"C:\Users\ada\my work")


def staged(toml: str, *, folder: PurePath = POSIX, add: tuple[str, ...] = ()) -> dict[str, Any]:
    return tomllib.loads(staged_block(toml, folder=folder, add=add))


@pytest.mark.parametrize(
    "toml",
    [
        "",
        "dependencies=[ 'rich' ]  # as it is\n",
        'requires-python = ">=3.11"\n',
        'dependencies = ["x @ https://example.org/x.whl", "y @ git+ssh://git@host/y"]\n',
        'dependencies = ["x @ /opt/x", "y @ file:///opt/y.whl", "z @ ${WHEELS}/z.whl"]\n',
        '[tool.uv]\nindex-url = "https://example.org"\nfind-links = ["/wheels"]\n',
        '[tool.uv.sources]\nx = { path = "/opt/x" }\ny = { git = "https://example.org/y" }\n',
        "[tool.uv]\nexclude-newer = 2026-01-01T00:00:00Z\n[tool.other]\npath = './x'\n",
        "a = nan\n",
        "tool = { uv = 1 }\n",
        "[tool.uv]\nsources = 1\nindex = 2\nfind-links = 3\ncache-dir = 4\n",
        "[tool.uv]\nsources = { x = 1, y = [1], z = { path = 1 } }\nindex = ['x', { url = 1 }]\n",
    ],
)
def test_a_block_without_relative_paths_is_given_back_as_it_is(toml: str) -> None:
    assert staged_block(toml, folder=POSIX) is toml


@pytest.mark.parametrize(
    ("reference", "posix", "windows"),
    [
        ("./lib", "file:///home/ada/my%20work/lib", "file:///C:/Users/ada/my%20work/lib"),
        ("lib", "file:///home/ada/my%20work/lib", "file:///C:/Users/ada/my%20work/lib"),
        ("../lib", "file:///home/ada/lib", "file:///C:/Users/ada/lib"),
        (
            "lib#sha256=0",
            "file:///home/ada/my%20work/lib#sha256=0",
            "file:///C:/Users/ada/my%20work/lib#sha256=0",
        ),
        ("a%20b", "file:///home/ada/my%20work/a%2520b", "file:///C:/Users/ada/my%20work/a%2520b"),
        ("file:a%20b", "file:///home/ada/my%20work/a%20b", "file:///C:/Users/ada/my%20work/a%20b"),
        ("file://./lib", "file:///home/ada/my%20work/lib", "file:///C:/Users/ada/my%20work/lib"),
        (
            "größe",
            "file:///home/ada/my%20work/gr%C3%B6%C3%9Fe",
            "file:///C:/Users/ada/my%20work/gr%C3%B6%C3%9Fe",
        ),
        (
            "file:%FF",
            "file:///home/ada/my%20work/%FF",
            "file:///C:/Users/ada/my%20work/%FF",
        ),
        ("/lib", "/lib", "file:///C:/lib"),
    ],
)
def test_a_relative_direct_reference_becomes_a_url(
    reference: str, posix: str, windows: str
) -> None:
    toml = f"dependencies = ['x[a] @ {reference} ; os_name == \"posix\"', 'rich']\n"
    for folder, url in ((POSIX, posix), (WINDOWS, windows)):
        dependencies = staged(toml, folder=folder)["dependencies"]
        assert dependencies == [f'x[a] @ {url} ; os_name == "posix"', "rich"]


@pytest.mark.parametrize(
    "reference",
    [r"D:\lib", "D:/lib", "file:///D:/lib", "file://localhost/D:/lib", r"\\server\share\lib"],
)
def test_an_absolute_path_of_windows_stays_on_windows(reference: str) -> None:
    toml = f"dependencies = ['x @ {reference}']\n"
    assert staged_block(toml, folder=WINDOWS) == toml


def test_a_folder_on_a_share_gives_a_url_with_its_server() -> None:
    toml = 'dependencies = ["x @ ./lib"]\n'
    folder = PureWindowsPath(r"\\server\share\work")
    assert staged(toml, folder=folder)["dependencies"] == ["x @ file://server/share/work/lib"]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            'override-dependencies = ["x @ ./a", "y>=1"]',
            ["x @ file:///home/ada/my%20work/a", "y>=1"],
        ),
        ('constraint-dependencies = ["x @ a"]', ["x @ file:///home/ada/my%20work/a"]),
        ('build-constraint-dependencies = ["x @ a"]', ["x @ file:///home/ada/my%20work/a"]),
        ('upgrade-package = ["x @ a"]', ["x @ file:///home/ada/my%20work/a"]),
        (
            'extra-build-dependencies = { x = ["y @ a"] }',
            {"x": ["y @ file:///home/ada/my%20work/a"]},
        ),
        (
            'dependency-metadata = [{ name = "x", requires-dist = ["y @ a"] }]',
            [{"name": "x", "requires-dist": ["y @ file:///home/ada/my%20work/a"]}],
        ),
        ('index-url = "simple"', "/home/ada/my work/simple"),
        ('extra-index-url = ["./simple", "https://h"]', ["/home/ada/my work/simple", "https://h"]),
        ('find-links = ["../wheels"]', ["/home/ada/wheels"]),
        ('cache-dir = ".cache"', "/home/ada/my work/.cache"),
        (
            'index = [{ name = "a", url = "a%20b" }, { url = "file:///b" }]',
            [{"name": "a", "url": "/home/ada/my work/a%20b"}, {"url": "file:///b"}],
        ),
        (
            'sources = { x = { path = "../x", editable = true }, y = { index = "a" } }',
            {"x": {"path": "/home/ada/x", "editable": True}, "y": {"index": "a"}},
        ),
        (
            "sources.x = [{ path = 'a', marker = 'm' }, { git = 'https://h', subdirectory = 'b' }]",
            {
                "x": [
                    {"path": "/home/ada/my work/a", "marker": "m"},
                    {"git": "https://h", "subdirectory": "b"},
                ]
            },
        ),
    ],
)
def test_a_relative_path_in_the_settings_of_uv_becomes_absolute(
    settings: str, expected: object
) -> None:
    toml = f'[tool.uv]\n{settings}\nexclude-newer = 2026-01-01\n[tool.other]\npath = "b"\n'
    (key,) = tomllib.loads(settings)
    unchanged = tomllib.loads(toml)
    unchanged["tool"]["uv"][key] = expected
    assert staged(toml) == unchanged


def test_paths_are_written_as_windows_writes_them() -> None:
    toml = '[tool.uv]\nfind-links = ["wheels/x", "D:/y"]\nsources.x.path = "../x"\n'
    assert staged(toml, folder=WINDOWS)["tool"]["uv"] == {
        "find-links": [r"C:\Users\ada\my work\wheels\x", "D:/y"],
        "sources": {"x": {"path": r"C:\Users\ada\x"}},
    }


def test_further_requirements_are_appended() -> None:
    assert staged('dependencies = ["rich"]\n', add=("a>=1", "b @ ./b"))["dependencies"] == [
        "rich",
        "a>=1",
        "b @ file:///home/ada/my%20work/b",
    ]
    assert staged("[tool.uv]\noffline = true\n", add=("a",)) == {
        "dependencies": ["a"],
        "tool": {"uv": {"offline": True}},
    }


def test_a_block_that_is_no_toml_is_refused() -> None:
    with pytest.raises(BadBlock):
        staged_block("a = ", folder=POSIX)
    with pytest.raises(BadBlock):
        local_paths("a = ", folder=POSIX)


@pytest.mark.parametrize("folder", [PurePosixPath("work"), PureWindowsPath(r"\work")])
def test_a_relative_folder_is_refused(folder: PurePath) -> None:
    with pytest.raises(ValueError, match="not absolute"):
        staged_block("", folder=folder)
    with pytest.raises(ValueError, match="not absolute"):
        local_paths("", folder=folder)


LOCAL = """
dependencies = ["a @ ./a", "b @ https://example.org/b", "c @ file:///opt/c%20c.whl#sha256=0", "d"]
[tool.uv]
find-links = ["wheels"]
override-dependencies = ["e @ ../e ; os_name == 'nt'"]
[tool.uv.sources]
a = { path = "a" }
f = [{ path = "/opt/f" }, { git = "https://example.org/f" }]
"""


def test_local_paths_are_those_of_references_and_sources_each_once() -> None:
    assert set(local_paths(LOCAL, folder=POSIX)) == {
        POSIX / "a",
        PurePosixPath("/opt/c c.whl"),
        PurePosixPath("/home/ada/e"),
        PurePosixPath("/opt/f"),
    }
    assert len(local_paths(LOCAL, folder=POSIX)) == 4


def test_local_paths_are_the_same_in_the_staged_block() -> None:
    elsewhere = PurePosixPath("/elsewhere")
    assert local_paths(staged_block(LOCAL, folder=POSIX), folder=elsewhere) == local_paths(
        LOCAL, folder=POSIX
    )


@pytest.mark.parametrize("toml", ["", "tool = { uv = 1 }\n", "[tool.uv]\nsources = { x = [1] }\n"])
def test_a_block_without_local_references_has_no_local_paths(toml: str) -> None:
    assert local_paths(toml, folder=POSIX) == ()


@given(st.text(), st.sampled_from([POSIX, WINDOWS]))
def test_staging_again_elsewhere_changes_nothing(reference: str, folder: PurePath) -> None:
    toml = staged_block("", folder=folder, add=(f"x @ {reference}",))
    assert staged_block(toml, folder=folder.parent) is toml


@given(st.text(st.characters(codec="utf-8")), st.sampled_from([POSIX, WINDOWS]))
def test_a_staged_path_is_absolute(path: str, folder: PurePath) -> None:
    toml = staged_block(f"[tool.uv.sources]\nx.path = {toml_string(path)}\n", folder=folder)
    assert type(folder)(tomllib.loads(toml)["tool"]["uv"]["sources"]["x"]["path"]).is_absolute()


def toml_string(text: str) -> str:
    return '"' + "".join(f"\\U{ord(character):08x}" for character in text) + '"'
