"""What a front end is told of packages, locks and words, from texts and folders of a test's own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from ipy_scriptenv.environments import (
    Context,
    LockState,
    check_requirement,
    installed_tree,
    known_names,
    lock_state,
)
from ipy_scriptenv.errors import WrongCall
from ipy_scriptenv.metadata import read_declaration
from ipy_scriptenv.record import Python
from ipy_scriptenv.rest.answers import names
from ipy_scriptenv.rest.asking import read_asked, read_given
from ipy_scriptenv.rest.paths import ContentsPaths
from ipy_scriptenv.venvs import site_packages
from tests.conftest import Home

PYTHON = Python(request=None, version="3.12.1", base=sys.executable, abi="cpython-312")

REORDERED = 'dependencies = ["here @ file:///here", "beta", "alpha[x]<2,>=1"]'

LOCK = """\
version = 1
requires-python = ">=3.11, <4"

[manifest]
requirements = [
    { name = "alpha", extras = ["x"], specifier = "<2,>=1" },
    { name = "beta", marker = "python_full_version < '4'" },
    { name = "here", directory = "here" },
]
"""


def install(environment: Path, name: str, *requires: str, headers: str = "\n") -> None:
    site = site_packages(environment, PYTHON)
    info = site / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    lines = ["Metadata-Version: 2.1", f"Name: {name}", *(f"Requires-Dist: {r}" for r in requires)]
    text = headers.join(lines) + headers * 2 + "Requires-Dist: only-in-the-description\n"
    (info / "METADATA").write_bytes(text.encode())


def test_each_package_tells_what_it_requires_and_who_requires_it(tmp_path: Path) -> None:
    install(tmp_path, "Top_One", "mid[fast]>=1", "old; python_version < '3.10'")
    install(tmp_path, "mid", "low; extra == 'fast'", "never; extra == 'slow'", "not-there")
    install(tmp_path, "low", "mid", "low", "??", "x; sys_nonsense == '1'", headers="\r\n")
    install(tmp_path, "never")
    install(tmp_path, "old")
    install(tmp_path, "only-in-the-description")
    (site_packages(tmp_path, PYTHON) / "broken-1.0.dist-info").mkdir()

    found = {
        each.name: each
        for each in installed_tree(tmp_path, PYTHON, [Requirement("Top.One"), Requirement("zeta")])
    }
    assert {name for name, each in found.items() if each.declared} == {"top-one"}
    assert {name: each.requires for name, each in found.items() if each.requires} == {
        "top-one": ("mid",),
        "mid": ("low",),
        "low": ("mid",),
    }
    assert found["mid"].required_by == ("low", "top-one")
    assert found["never"].required_by == ()
    assert found["broken"].version == "1.0"
    asked = installed_tree(tmp_path, PYTHON, [Requirement("mid[slow]")])
    assert next(each for each in asked if each.name == "never").required_by == ("mid",)


@pytest.mark.parametrize(
    ("toml", "state"),
    [
        ('dependencies = ["Alpha[X]>=1,<2", "beta; python_version<\'4\'", "here"]', "current"),
        (f'requires-python = "<4,>=3.11"\n{REORDERED}', "current"),
        ('requires-python = ">=3.12"\ndependencies = ["alpha[x]>=1,<2", "beta", "here"]', "stale"),
        ('dependencies = ["alpha>=1,<2", "beta", "here"]', "stale"),
        ('dependencies = ["alpha[x]>=1", "beta", "here"]', "stale"),
        ('dependencies = ["alpha[x]>=1,<2", "here"]', "stale"),
        ('dependencies = ["alpha[x]>=1,<2", "beta", "beta", "here"]', "stale"),
        ("", "stale"),
    ],
)  # fmt: skip
def test_a_lock_is_held_against_its_block(toml: str, state: str) -> None:
    assert lock_state(read_declaration(toml), LOCK.encode()) == LockState(state)


@pytest.mark.parametrize(
    "lock", [b"", b"\xff", b"x = ", b"manifest = 3", b"[manifest]\nrequirements = [{}]"]
)
def test_a_damaged_lock_is_for_no_block_but_an_empty_one(lock: bytes) -> None:
    assert lock_state(read_declaration('dependencies = ["a"]'), lock) is LockState.STALE


@pytest.mark.parametrize(
    ("text", "name", "valid"),
    [
        ("numpy", "numpy", True),
        (" Scikit_Learn[a]>=1,<2 ; python_version>'3' ", "scikit-learn", True),
        ("x @ https://ada:secret@host/x.whl", "x", True),
        ("git+https://ada:secret@host/x", None, True),
        ("./wheel.whl", None, True),
        ("/srv/project", None, True),
        ("numpy>=1,<", "numpy", False),
        ("numpy>>1", "numpy", False),
        ("pandas[", "pandas", False),
        ("two words", "two", False),
        ("x @ https://ada:secret@ho st/?", "x", False),
        ("", None, False),
        ("-r", None, False),
        ("(" * 5000, None, False),
    ],
)
def test_a_requirement_is_checked_as_it_is_typed(
    text: str, name: str | None, *, valid: bool
) -> None:
    found = check_requirement(text)
    assert (found.name, found.message is None) == (name, valid)
    assert "secret" not in str(found)


def test_a_request_is_read_once_and_all_that_is_wrong_is_told() -> None:
    asked = read_asked({"verb": "sync", "path": "a.ipynb", "block": "x = 1", "given": True, "?": 1})
    assert (asked.block, asked.given, asked.packages) == ("x = 1\n", True, ())
    assert read_asked({"verb": "prune", "names": []}).names == ()
    assert read_asked({"verb": "prune"}).names is None
    given = read_given({"path": "a.ipynb", "block": None})
    assert (given.block, given.given) == (None, True)
    for body, keys in [
        ({"verb": "sync"}, {"path"}),
        ({"verb": "sync", "path": 1, "given": 1, "words": "x"}, {"path", "given", "words"}),
        ({"verb": "edit", "path": "a", "edit": "fly"}, {"edit", "words"}),
        ({"verb": "record", "path": "a"}, {"name"}),
        ({"verb": "move", "path": "a", "source": "/a"}, {"path", "new"}),
        ({"verb": "delete", "path": "a", "environment": "b"}, {"path"}),
        ({"verb": "rebuild", "source": "/a"}, {"source"}),
        ({"verb": None}, {"verb"}),
        ({}, {"verb"}),
    ]:
        with pytest.raises(WrongCall) as wrong:
            read_asked(body)
        assert {each.key for each in wrong.value.problems} == keys, body


class Manager:
    """As much of a contents manager as tells where files are."""

    allow_hidden = False

    def __init__(self, root: Path) -> None:
        self.root_dir = str(root)

    def _get_os_path(self) -> None: ...


def test_a_file_has_a_contents_path_where_the_server_serves_it(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "root").symlink_to(tmp_path / "real")
    paths = ContentsPaths(Manager(tmp_path / "root"))
    inside = str(tmp_path / "real" / "a b" / "nb.ipynb")
    assert paths.of(inside) == "a b/nb.ipynb"
    assert paths.of(str(tmp_path / "other" / "nb.ipynb")) is None
    assert paths.of(str(tmp_path / "real" / ".hidden" / "nb.ipynb")) is None
    assert [paths.of(each) for each in (None, "(text)", "https://host/x.py")] == [None] * 3
    assert ContentsPaths(object()).of(inside) is None


def test_names_are_read_from_a_cache_of_uv_that_anybody_may_have_written_to(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("UV_CACHE_DIR", str(cache))
    assert known_names(context=Context()) == frozenset()
    for path in (
        "simple-v99/pypi/alpha.rkyv",
        "simple-v99/index/0123/beta.rkyv",
        "wheels-v9/pypi/gamma",
        "sdists-v9/index/0123/delta-2",
        *(
            f"wheels-v9/pypi/{odd}"
            for odd in ("UPPER", "two words", "x" * 200, "-", ".hidden", "\n")
        ),
        "wheels-v9/url/0123/epsilon",
        "archive-v9/pypi/zeta",
        "elsewhere/eta",
    ):
        (cache / path).mkdir(parents=True)
    (cache / "wheels-v10").symlink_to(cache / "elsewhere")
    (cache / "wheels-v9" / "index").symlink_to(cache / "elsewhere")
    (cache / "simple-v99" / "index" / "4567").symlink_to(cache / "elsewhere")
    (cache / "simple-v98").write_text("no folder")
    assert known_names(context=Context()) == {"alpha", "beta", "gamma", "delta-2"}
    assert home.scriptenv.is_dir()


def test_names_for_a_completion_begin_with_the_very_one() -> None:
    known = ["alpha", "alpha-x", "alphabet", "beta-alpha"]
    assert names(known, "Alpha")["names"] == known
    assert names(known, "beta_")["names"] == ["beta-alpha"]
    assert names(known, "x")["names"] == ["alpha-x"]
    assert len(names([f"n{number}" for number in range(99)], "")["names"]) == 50
