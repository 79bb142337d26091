"""What of a block's indexes another machine is told, and what only an engine needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from ipy_scriptenv.cluster.choosing import only_needed_by
from ipy_scriptenv.cluster.origins import places_of

HERE = Path("/notebooks")
LINUX = {"sys_platform": "linux"}


def test_a_block_without_indexes_says_nothing() -> None:
    found = places_of("dependencies = []", folder=HERE, markers=LINUX)

    assert found.indexes.options == []
    assert (found.explicit, found.local, found.warnings) == ({}, (), ())


def test_indexes_are_told_in_the_words_of_pip_and_uv() -> None:
    found = places_of(
        """
        [tool.uv]
        extra-index-url = ["https://c.example/simple"]
        find-links = ["https://d.example/wheels", "./wheels"]
        [[tool.uv.index]]
        url = "https://a.example/simple"
        default = true
        [[tool.uv.index]]
        name = "b"
        url = "https://b.example/simple"
        [[tool.uv.index]]
        name = "e"
        url = "https://e.example/simple"
        explicit = true
        [tool.uv.sources]
        My_Torch = { index = "e" }
        """,
        folder=HERE,
        markers=LINUX,
    )

    assert found.indexes.options == [
        *("--index-url", "https://a.example/simple"),
        *("--extra-index-url", "https://b.example/simple"),
        *("--extra-index-url", "https://c.example/simple"),
        *("--find-links", "https://d.example/wheels"),
    ]
    assert found.explicit == {"my-torch": "https://e.example/simple"}
    assert found.local == (HERE / "wheels",)


def test_of_several_indexes_the_one_for_this_system_is_told() -> None:
    toml = """
        [tool.uv]
        index-strategy = "unsafe-best-match"
        no-index = true
        [[tool.uv.index]]
        name = "cpu"
        url = "https://anna:s3cret@cpu.example/simple"
        explicit = true
        [[tool.uv.index]]
        name = "gpu"
        url = "https://gpu.example/simple"
        explicit = true
        [tool.uv.sources]
        torch = [
            { index = "gpu", marker = "sys_platform == 'linux'" },
            { index = "cpu", marker = "sys_platform != 'linux'" },
        ]
        """
    found = places_of(toml, folder=HERE, markers=LINUX)

    assert found.explicit == {"torch": "https://gpu.example/simple"}
    assert found.elsewhere == {"https://gpu.example/simple", "https://cpu.example/simple"}
    assert len(found.warnings) == 1
    assert found.indexes.options == ["--no-index"]
    assert found.indexes.strategy == "unsafe-best-match"
    elsewhere = places_of(toml, folder=HERE, markers={"sys_platform": "win32"})
    assert elsewhere.explicit == {"torch": "https://cpu.example/simple"}


@pytest.mark.parametrize("user", ["anna:s3cret", "t0ken", "***"])
def test_credentials_stay_and_that_is_told(user: str) -> None:
    found = places_of(
        f'[tool.uv]\nindex-url = "https://{user}@a.example/simple"', folder=HERE, markers=LINUX
    )

    assert found.indexes.default == "https://a.example/simple"
    (warning,) = found.warnings
    assert "https://a.example/simple" in warning
    assert ".netrc" in warning
    assert user not in warning


def test_a_folder_of_this_machine_is_looked_into(tmp_path: Path) -> None:
    (tmp_path / "my_pkg-1.0-py3-none-any.whl").touch()
    found = places_of(f"[tool.uv]\nfind-links = ['{tmp_path}']", folder=HERE, markers=LINUX)

    assert found.has_file("my-pkg", "1.0")
    assert not found.has_file("my-pkg", "1")
    assert not found.has_file("pkg", "1.0")


REQUIRES = {
    "dask": {"click", "numpy", "pandas"},  # the last two by an extra that is asked for
    "distributed": {"click", "dask", "msgpack", "urllib3"},
    "pandas": {"numpy"},
    "requests": {"urllib3"},
    "by-hand": set[str](),
}
EVERYTHING = {name: REQUIRES.get(name, set()) for name in set(REQUIRES).union(*REQUIRES.values())}
STATED = {
    "dask": ["click>=8", 'numpy>=1; extra == "array"', 'pandas; extra == "dataframe"'],
    "distributed": ["click>=8", "dask==1", "msgpack", "urllib3"],
}


@pytest.mark.parametrize(
    ("declared", "left"),
    [
        ({"dask", "distributed"}, {"click", "msgpack", "urllib3"}),
        ({"dask", "distributed", "requests"}, {"click", "msgpack"}),
        ({"dask", "distributed", "requests", "msgpack"}, {"click"}),
    ],
    ids=["extras are the notebook's", "shared", "declared"],
)
def test_what_only_the_engine_needs_stays_behind(declared: set[str], left: set[str]) -> None:
    present = EVERYTHING if "requests" in declared else {**EVERYTHING, "requests": set()}

    found = only_needed_by(
        {"dask", "distributed"}, requires=present, declared=declared, stated=STATED
    )

    assert found == {"dask", "distributed", *left}
