"""Where the packages of a block, of a lock or of uv's configuration would come from."""

from __future__ import annotations

import contextlib
from pathlib import PurePath

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from ipy_scriptenv.errors import BadBlock
from ipy_scriptenv.metadata import Origin, origins_of_block, origins_of_lock, origins_of_settings
from tests.stage import block_of

FOLDER = PurePath("/srv")


def of_block(toml: str) -> set[tuple[str, str]]:
    return {(each.key, each.address) for each in origins_of_block(toml, folder=FOLDER)}


def of_lock(text: str) -> set[tuple[str, str]]:
    return {(each.key, each.address) for each in origins_of_lock(text)}


# Of a block.


@pytest.mark.parametrize(
    ("dependency", "address"),
    [
        ("alpha @ https://a.example/alpha.whl", "https://a.example/alpha.whl"),
        ("alpha[x]@https://a.example/alpha.whl", "https://a.example/alpha.whl"),
        (
            "alpha @ https://a.example/alpha.whl ; python_version > '3'",
            "https://a.example/alpha.whl",
        ),
        ("alpha @ git+https://a.example/alpha@main", "git+https://a.example/alpha@main"),
        ("alpha @ git+ssh://git@a.example/alpha", "git+ssh://git@a.example/alpha"),
        ("alpha @ file:///wheels/alpha.whl", "file:///wheels/alpha.whl"),
        ("alpha @ ./wheels/alpha.whl", "file:///srv/wheels/alpha.whl"),
        ("alpha @ ../alpha.whl", "file:///alpha.whl"),
        ("alpha @ /wheels/alpha.whl", "/wheels/alpha.whl"),
    ],
)
def test_a_direct_reference_is_an_origin(dependency: str, address: str) -> None:
    assert of_block(block_of(dependency)) == {("dependencies", address)}


def test_a_name_is_no_origin() -> None:
    assert of_block(block_of("alpha", "beta[x]>=1", "gamma; python_version > '3'")) == set()


def test_a_text_without_a_block_of_uv_names_no_origin() -> None:
    assert of_block("") == set()
    assert of_block('[tool.other]\nindex-url = "https://a.example"') == set()


@pytest.mark.parametrize(
    "key", ["constraint-dependencies", "override-dependencies", "build-constraint-dependencies"]
)
def test_a_direct_reference_in_a_setting_of_uv_is_an_origin(key: str) -> None:
    toml = block_of("alpha", uv=f'{key} = ["alpha @ https://a.example/alpha.whl"]')
    assert of_block(toml) == {(f"tool.uv.{key}", "https://a.example/alpha.whl")}


def test_direct_references_of_build_dependencies_and_given_metadata_are_origins() -> None:
    uv = (
        'extra-build-dependencies = { alpha = ["b @ https://b.example/b.whl",'
        ' { requirement = "c @ https://c.example/c.whl", match-runtime = false }] }\n'
        'dependency-metadata = [{ name = "alpha", requires-dist = ["d @ https://d.example/d"] }]'
    )
    assert of_block(block_of("alpha", uv=uv)) == {
        ("tool.uv.extra-build-dependencies", "https://b.example/b.whl"),
        ("tool.uv.extra-build-dependencies", "https://c.example/c.whl"),
        ("tool.uv.dependency-metadata", "https://d.example/d"),
    }


@pytest.mark.parametrize(
    ("source", "address"),
    [
        ('{ path = "../alpha" }', "/alpha"),
        ('{ path = "/alpha", editable = true }', "/alpha"),
        ('{ url = "https://a.example/alpha.whl" }', "https://a.example/alpha.whl"),
        ('{ git = "https://a.example/alpha", rev = "main" }', "git+https://a.example/alpha"),
        ('{ git = "ssh://git@a.example/alpha" }', "git+ssh://git@a.example/alpha"),
        ('{ git = "git+https://a.example/alpha" }', "git+https://a.example/alpha"),
    ],
)
def test_a_source_is_an_origin(source: str, address: str) -> None:
    expected = {("tool.uv.sources.alpha", address)}
    assert of_block(block_of("alpha", uv=f"sources = {{ alpha = {source} }}")) == expected
    assert of_block(block_of("alpha", uv=f"sources = {{ alpha = [{source}] }}")) == expected


def test_every_source_of_a_list_is_an_origin() -> None:
    uv = """\
[[tool.uv.sources.alpha]]
url = "https://a.example/alpha.whl"
marker = "sys_platform == 'linux'"
[[tool.uv.sources.alpha]]
path = "/alpha"
marker = "sys_platform == 'win32'"
"""
    assert of_block(block_of("alpha", uv=uv)) == {
        ("tool.uv.sources.alpha", "https://a.example/alpha.whl"),
        ("tool.uv.sources.alpha", "/alpha"),
    }


def test_a_source_that_names_an_index_is_covered_by_that_index() -> None:
    uv = """\
sources = { alpha = { index = "ours" } }
[[tool.uv.index]]
name = "ours"
url = "https://a.example/simple"
explicit = true
"""
    assert of_block(block_of("alpha", uv=uv)) == {("tool.uv.index", "https://a.example/simple")}


@pytest.mark.parametrize("key", ["index-url", "extra-index-url", "find-links"])
def test_an_index_is_an_origin(key: str) -> None:
    address = "https://a.example/simple"
    value = f'"{address}"' if key == "index-url" else f'["{address}"]'
    toml = block_of("alpha", uv=f"{key} = {value}")
    assert of_block(toml) == {(f"tool.uv.{key}", address)}


@pytest.mark.parametrize(
    ("uv", "address"),
    [
        ('find-links = ["./wheels"]', "/srv/wheels"),
        ('find-links = ["../wheels"]', "/wheels"),
        ('index-url = "./simple"', "/srv/simple"),
        ('[[tool.uv.index]]\nurl = "./simple"', "/srv/simple"),
    ],
)
def test_a_relative_index_starts_at_the_sources_folder(uv: str, address: str) -> None:
    assert {found for _, found in of_block(block_of("alpha", uv=uv))} == {address}


@pytest.mark.parametrize(
    ("uv", "replaces"),
    [
        ('index-url = "https://a.example"', True),
        ('extra-index-url = ["https://a.example"]', False),
        ('find-links = ["https://a.example"]', False),
        ('[[tool.uv.index]]\nurl = "https://a.example"', False),
        ('[[tool.uv.index]]\nurl = "https://a.example"\ndefault = true', True),
        ('[[tool.uv.index]]\nurl = "https://a.example"\ndefault = false', False),
    ],
)
def test_a_default_index_replaces_pypi(uv: str, *, replaces: bool) -> None:
    (origin,) = origins_of_block(block_of("alpha", uv=uv), folder=FOLDER)
    assert origin.replaces_default == replaces


def test_all_origins_are_listed() -> None:
    uv = """\
index-url = "https://one.example"
extra-index-url = ["https://two.example", "https://three.example"]
find-links = ["/wheels"]
sources = { beta = { url = "https://four.example/beta.whl" } }
[[tool.uv.index]]
url = "https://five.example"
"""
    found = of_block(block_of("alpha @ https://six.example/alpha.whl", uv=uv))
    assert {address for _, address in found} == {
        "https://one.example",
        "https://two.example",
        "https://three.example",
        "/wheels",
        "https://four.example/beta.whl",
        "https://five.example",
        "https://six.example/alpha.whl",
    }


@pytest.mark.parametrize(
    "toml",
    [
        'dependencies = ["=", ""]',
        "tool.uv = 1",
        "tool.uv.sources = 1",
        "tool.uv.sources.alpha = 1",
        "tool.uv.sources.alpha = [1]",
        "tool.uv.sources.alpha.path = 1",
        "tool.uv.index = 1",
        "tool.uv.index = [1]",
        "tool.uv.index.url = 1",
        "tool.uv.index-url = 1",
        "tool.uv.find-links = { a = 1 }",
    ],
)
def test_settings_of_wrong_types_do_no_harm(toml: str) -> None:
    """What cannot be an address is for uv to refuse; the rest was read before."""
    assert of_block(toml) == set()


@pytest.mark.parametrize("text", ["alpha @", "https://a.example/x"])
def test_a_requirement_that_cannot_be_read_is_an_origin_if_it_may_name_a_place(text: str) -> None:
    """Nobody knows what uv would make of it, so no policy can allow it."""
    assert of_block(block_of(text)) == {("dependencies", text)}


def test_a_text_that_is_no_toml_is_refused() -> None:
    with pytest.raises(BadBlock):
        origins_of_block("dependencies = [", folder=FOLDER)


# Of uv's configuration.


def test_the_indexes_of_a_configuration_are_origins() -> None:
    tables = {
        "index": [{"url": "https://one.example", "default": True}, {"name": "no address"}],
        "index-url": "https://two.example",
        "extra-index-url": ["https://three.example"],
        "find-links": ["/wheels"],
        "pip": {"index-url": "https://four.example"},
    }
    assert set(origins_of_settings(tables)) == {
        Origin(key="index", address="https://one.example", replaces_default=True),
        Origin(key="index-url", address="https://two.example", replaces_default=True),
        Origin(key="extra-index-url", address="https://three.example"),
        Origin(key="find-links", address="/wheels"),
        Origin(key="pip.index-url", address="https://four.example", replaces_default=True),
    }


# Of a lock.

LOCK = """\
version = 1

[[package]]
name = "alpha"
version = "1.0"
source = { registry = "https://a.example/simple" }
sdist = { url = "https://files.example/alpha.tar.gz", hash = "sha256:0" }
wheels = [
    { url = "https://files.example/alpha.whl", hash = "sha256:0" },
    { path = "/wheels/alpha.whl" },
]

[[package]]
name = "beta"
version = "1.0"
source = { git = "https://git.example/beta?rev=main#0123" }

[[package]]
name = "gamma"
version = "1.0"
source = { editable = "../gamma" }

[[package]]
name = "delta"
version = "1.0"
source = { url = "https://d.example/delta.whl" }
"""


def test_the_origins_of_all_packages_and_files_of_a_lock_are_listed() -> None:
    assert of_lock(LOCK) == {
        ("the lock's alpha", "https://a.example/simple"),
        ("the lock's alpha", "https://files.example/alpha.tar.gz"),
        ("the lock's alpha", "https://files.example/alpha.whl"),
        ("the lock's alpha", "/wheels/alpha.whl"),
        ("the lock's beta", "git+https://git.example/beta?rev=main#0123"),
        ("the lock's gamma", "../gamma"),
        ("the lock's delta", "https://d.example/delta.whl"),
    }


@pytest.mark.parametrize(
    "text",
    [
        "",
        "package = 1",
        "package = [1]",
        "[[package]]",
        "[[package]]\nsource = 1",
        "[[package]]\nwheels = 1",
        "[[package]]\nwheels = [1]",
        "[[package]]\nsdist = 1",
        "[[package]]\nsource = { url = 1 }",
    ],
)
def test_a_lock_of_wrong_types_does_no_harm(text: str) -> None:
    assert of_lock(text) == set()


def test_a_lock_that_is_no_toml_is_refused() -> None:
    with pytest.raises(BadBlock):
        origins_of_lock("version = ")


# Of anything.


VALUES = st.recursive(
    st.integers() | st.booleans() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["source", "wheels", "sdist", "url", "path", "name", "x"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@given(st.lists(st.dictionaries(st.sampled_from(["source", "wheels", "sdist"]), VALUES)))
def test_a_lock_of_any_shape_is_read(packages: list[dict[str, object]]) -> None:
    found = origins_of_lock(tomli_w.dumps({"package": packages}))
    assert all(isinstance(origin, Origin) for origin in found)


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    found: tuple[Origin, ...] = ()
    with contextlib.suppress(BadBlock):
        found = tuple(origins_of_lock(text))
    assert all(isinstance(origin, Origin) for origin in found)
