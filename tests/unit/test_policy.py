"""The administrator's policy: how it is read, which of two limits holds, what it allows."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ipy_scriptenv import policy, settings
from ipy_scriptenv.environments.allowed import limits, refuse_forbidden
from ipy_scriptenv.environments.arguments import refuse_arguments
from ipy_scriptenv.errors import PolicyBroken, PolicyViolation
from ipy_scriptenv.policy import FREE, Policy, read_size
from tests.conftest import Home
from tests.policies import write_policy
from tests.stage import block_of

SIMPLE = "https://a.example/simple"


@pytest.fixture(autouse=True)
def _no_index(
    home: Home,  # noqa: ARG001 - it clears away settings, so it comes first
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Take away every index of the user's, so that a test names all that there is."""
    for name in ("UV_INDEX", "UV_DEFAULT_INDEX", "UV_EXTRA_INDEX_URL", "UV_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(tmp_path / "system"))


def refused(allowed: list[str], toml: str, *, lock: str | None = None) -> dict[str, str]:
    """Give the key and the words of each violation; none if all is allowed."""
    try:
        refuse_forbidden(
            Policy(allowed_indexes=(tuple(allowed),)),
            toml=toml,
            folder=Path("/srv"),
            lock=None if lock is None else lock.encode(),
        )
    except PolicyViolation as error:
        return {each.key or "": each.message for each in error.problems}
    return {}


def with_index(address: str) -> str:
    return block_of("alpha", uv=f"extra-index-url = [{json.dumps(address)}]")


def problems_with_index(address: str) -> list[str | None]:
    """Name the keys that the policy of this machine refuses of a block with that index."""
    try:
        refuse_forbidden(policy.current(), toml=with_index(address), folder=Path("/srv"))
    except PolicyViolation as violation:
        return [each.key for each in violation.problems]
    return []


def is_allowed(address: str, *allowed: str) -> bool:
    """Say whether a block may name an address as an index."""
    return "tool.uv.extra-index-url" not in refused([*allowed], with_index(address))


# Where it is.


def test_there_is_no_policy_by_itself() -> None:
    assert policy.current() == FREE
    assert Policy() == FREE


def test_the_systems_file_comes_before_the_users() -> None:
    system, user = write_policy("", system=True), write_policy("")
    assert settings.policy_files() == (system, user)
    assert policy.current().files == (system, user)


def test_every_folder_of_the_systems_configuration_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_DIRS", f"{tmp_path / 'one'}:{tmp_path / 'two'}")
    for name, text in (("one", "max-environments = 5"), ("two", "max-environments = 3")):
        path = tmp_path / name / "ipy-scriptenv" / "policy.toml"
        path.parent.mkdir(parents=True)
        path.write_text(text)
    assert policy.current().max_environments == 3


# How it is read.

ALL = f"""\
allowed-indexes = ["{SIMPLE}", "/wheels", "git+https://a.example/team"]
wheels-only = true
exclude-newer = 2026-01-01
register = false
max-environments = 20
max-bytes = "20G"
pass-env = ["TEAM_TOKEN"]
"""


def test_every_key_is_read() -> None:
    path = write_policy(ALL)
    assert policy.current() == Policy(
        allowed_indexes=((SIMPLE, "/wheels", "git+https://a.example/team"),),
        wheels_only=True,
        exclude_newer=datetime(2026, 1, 1, tzinfo=UTC),
        register=False,
        max_environments=20,
        max_bytes=20 * 10**9,
        pass_env=("TEAM_TOKEN",),
        files=(path,),
    )


@pytest.mark.parametrize(
    "value",
    [
        "2026-01-01",
        '"2026-01-01"',
        "2026-01-01T00:00:00Z",
        '"2026-01-01T00:00:00Z"',
        "2026-01-01T01:00:00+01:00",
        "2026-01-01T00:00:00",
    ],
)
def test_a_date_is_its_beginning_in_utc(value: str) -> None:
    write_policy(f"exclude-newer = {value}")
    assert policy.current().exclude_newer == datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("wheel-only = true", "wheel-only"),
        ("[tool]\nwheels-only = true", "tool"),
        ("allowed-indexes = 'https://a.example'", "allowed-indexes"),
        ("allowed-indexes = [1]", "allowed-indexes"),
        ("allowed-indexes = ['a.example']", "allowed-indexes"),
        ("allowed-indexes = ['']", "allowed-indexes"),
        ("allowed-indexes = ['/']", "allowed-indexes"),
        ("allowed-indexes = ['wheels']", "allowed-indexes"),
        ("allowed-indexes = { a = 1 }", "allowed-indexes"),
        ("wheels-only = 1", "wheels-only"),
        ("wheels-only = 'true'", "wheels-only"),
        ("exclude-newer = true", "exclude-newer"),
        ("exclude-newer = 2026", "exclude-newer"),
        ("exclude-newer = 'soon'", "exclude-newer"),
        ("exclude-newer = 12:00:00", "exclude-newer"),
        ("exclude-newer = '1 week'", "exclude-newer"),
        ("register = 'no'", "register"),
        ("max-environments = -1", "max-environments"),
        ("max-environments = 1.5", "max-environments"),
        ("max-environments = true", "max-environments"),
        ("max-environments = '20'", "max-environments"),
        ("max-bytes = 'much'", "max-bytes"),
        ("max-bytes = 1.5", "max-bytes"),
        ("max-bytes = -1", "max-bytes"),
        ("pass-env = 'TOKEN'", "pass-env"),
        ("pass-env = [1]", "pass-env"),
    ],
)
@pytest.mark.parametrize("system", [True, False])
def test_a_wrong_key_or_value_is_refused_with_its_file_and_name(
    text: str, key: str, *, system: bool
) -> None:
    path = write_policy(text, system=system)
    with pytest.raises(PolicyBroken) as broken:
        policy.current()
    assert f"`{path}`" in str(broken.value)
    assert f"`{key}`" in str(broken.value)
    assert broken.value.hint


@pytest.mark.parametrize("content", [b"wheels-only", b"\xff\xfe", b"a = 1\na = 2", b"\0"])
def test_a_file_that_is_no_toml_is_refused_with_its_name(content: bytes) -> None:
    path = write_policy("")
    path.write_bytes(content)
    with pytest.raises(PolicyBroken, match=r"policy\.toml"):
        policy.current()


def test_a_folder_in_the_place_of_the_file_lets_nobody_around_the_policy() -> None:
    path = write_policy("")
    path.unlink()
    path.mkdir()
    with pytest.raises(PolicyBroken, match=r"policy\.toml"):
        policy.current()


def test_a_broken_file_of_the_user_does_not_hide_behind_a_good_one_of_the_system() -> None:
    write_policy("wheels-only = true", system=True)
    path = write_policy("wheels-only = maybe")
    with pytest.raises(PolicyBroken) as broken:
        policy.current()
    assert str(path) in str(broken.value)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("500", 500),
        ("1k", 1000),
        ("500M", 500_000_000),
        ("500 MB", 500_000_000),
        ("1.5G", 1_500_000_000),
        (" 2 tb ", 2_000_000_000_000),
    ],
)
def test_a_size_is_read_in_powers_of_ten(text: str, size: int) -> None:
    assert read_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "G", "-1", "-1G", "1X", "1GG", "1e400", "nan", "inf", "1 2", "1e400G"]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no size"):
        read_size(text)


# Of two limits the narrower one holds.


@pytest.mark.parametrize(
    ("one", "other", "key", "narrower"),
    [
        ("wheels-only = true", "wheels-only = false", "wheels_only", True),
        ("wheels-only = true", "", "wheels_only", True),
        ("register = false", "register = true", "register", False),
        ("register = false", "", "register", False),
        ("max-environments = 3", "max-environments = 5", "max_environments", 3),
        ("max-environments = 0", "max-environments = 5", "max_environments", 0),
        ("max-bytes = '1G'", "max-bytes = '2G'", "max_bytes", 10**9),
        ("max-bytes = '1G'", "", "max_bytes", 10**9),
        (
            "exclude-newer = 2025-01-01",
            "exclude-newer = 2026-01-01",
            "exclude_newer",
            datetime(2025, 1, 1, tzinfo=UTC),
        ),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_the_narrower_limit_holds_whoever_sets_it(
    one: str, other: str, key: str, narrower: object, *, turned: bool
) -> None:
    write_policy(one, system=not turned)
    write_policy(other, system=turned)
    assert getattr(policy.current(), key) == narrower


@pytest.mark.parametrize(
    ("system", "user", "allowed", "forbidden"),
    [
        ("https://a.example", SIMPLE, SIMPLE, "https://a.example/other"),
        (SIMPLE, "https://a.example", SIMPLE, "https://a.example/other"),
        ("https://a.example", "https://a.example", SIMPLE, "https://b.example"),
        ("https://a.example", "https://a.example.evil", None, "https://a.example.evil/simple"),
        ("https://a.example", "https://a.example@evil.example", None, "https://evil.example"),
        (SIMPLE, f"{SIMPLE}/../evil", None, "https://a.example/evil"),
        ("/wheels", "/wheels-evil", None, "/wheels-evil"),
        ("/wheels", "/wheels/../evil", None, "/evil"),
        ("/wheels", "/wheels/team", "/wheels/team/x", "/wheels/other"),
    ],
)
def test_the_user_narrows_the_systems_indexes_and_never_widens_them(
    system: str, user: str, allowed: str | None, forbidden: str
) -> None:
    write_policy(f"allowed-indexes = ['{system}']", system=True)
    write_policy(f"allowed-indexes = ['{user}']")
    assert problems_with_index(forbidden) == ["tool.uv.extra-index-url"]
    if allowed is not None:
        assert problems_with_index(allowed) == []


@pytest.mark.parametrize("system", [False, True])
def test_an_empty_list_allows_nothing_whatever_the_other_file_says(*, system: bool) -> None:
    write_policy("allowed-indexes = []", system=system)
    assert problems_with_index(SIMPLE) == ["tool.uv.extra-index-url"]
    write_policy(f"allowed-indexes = ['{SIMPLE}']", system=not system)
    assert problems_with_index(SIMPLE) == ["tool.uv.extra-index-url"]


# Which addresses are allowed.


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        (SIMPLE, "https://a.example"),
        (SIMPLE, "https://a.example/"),
        (SIMPLE, SIMPLE),
        (f"{SIMPLE}/", SIMPLE),
        (SIMPLE, f"{SIMPLE}/"),
        ("HTTPS://A.Example/simple", SIMPLE),
        (SIMPLE, "https://A.EXAMPLE/simple"),
        (f"{SIMPLE}/team", SIMPLE),
        ("https://ada:secret@a.example/simple", SIMPLE),
        ("https://${TOKEN}@a.example/simple", SIMPLE),
        (SIMPLE, "https://ada:secret@a.example/simple"),
        (f"{SIMPLE}?x=1#y", SIMPLE),
        ("https://a.example:8443/simple", "https://a.example:8443"),
        ("https://a.example/%73imple", SIMPLE),
        ("file:///wheels/team", "/wheels"),
        ("/wheels/team", "file:///wheels"),
        ("/wheels", "/wheels"),
        ("/wheels/./x/../team", "/wheels/team"),
        ("/my wheels/team", "/my wheels"),
        ("file:///my%20wheels/team", "/my wheels"),
        ("https://ada:50%25@a.example/simple", SIMPLE),
    ],
)
def test_an_address_under_an_allowed_one_is_allowed(address: str, allowed: str) -> None:
    assert is_allowed(address, allowed)


@pytest.mark.parametrize(
    "address",
    [
        "https://a.example.evil/simple",
        "https://a.example/simple-evil",
        "https://a.example/simplest",
        "https://a.example/SIMPLE",
        "https://a.example",
        "https://a.example/",
        "http://a.example/simple",
        "https://a.example:8443/simple",
        "https://evil.example/simple",
        "https://evil.example/https://a.example/simple",
        "https://evil.example?https://a.example/simple",
        "https://evil.example#@a.example/simple",
        "https://a.example@evil.example/simple",
        "https://a.example:443@evil.example/simple",
        r"https://evil.example\@a.example/simple",
        r"https:\\evil.example\@a.example/simple",
        r"https://a.example/simple\..\evil",
        "https://a.example/simple/../evil",
        "https://a.example/simple/x/../../evil",
        "https://a.example/simple/%2e%2e/evil",
        "https://a.example/simple/.%2E/evil",
        "https://a.example/simple%2f..%2fevil",
        "https://a.example/simple/%252e%252e/evil",
        "https://a.example/simple/.. ",
        "https://a.example/simple/..\t",
        "https://a.example/${X}/simple",
        "https://a.example/simple/${X}",
        "https://${HOST}/simple",
        "https://a%2eexample/simple",
        "https://[::1/simple",
        "https://a.example:x/simple",
        "//a.example/simple",
        "https:a.example/simple",
        "git+https://a.example/simple",
        "ftp://a.example/simple",
        "",
    ],
)
def test_an_address_that_merely_looks_allowed_is_refused(address: str) -> None:
    """A URL is read as uv and browsers do: a backslash is a slash, blanks at the end go."""
    assert not is_allowed(address, SIMPLE)


@pytest.mark.parametrize(
    "address",
    [
        "/wheels-evil",
        "/wheels/../evil",
        "/",
        "/Wheels",
        "file:///wheels/../evil",
        "file:///wheels/%2e%2e/evil",
        "file:///wheels/${X}/evil",
        "file://evil/wheels/x",
        "/wheels/${X}/evil",
        "file:///evil",
        "file:/evil",
        "https://wheels",
    ],
)
def test_a_path_that_merely_looks_allowed_is_refused(address: str) -> None:
    assert not is_allowed(address, "/wheels")


def test_a_path_is_judged_by_where_its_links_lead(tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    (tmp_path / "evil").mkdir()
    (tmp_path / "wheels" / "out").symlink_to(tmp_path / "evil")
    (tmp_path / "in").symlink_to(tmp_path / "wheels")
    allowed = str(tmp_path / "wheels")
    assert not is_allowed(str(tmp_path / "wheels" / "out"), allowed)
    assert not is_allowed(f"file://{tmp_path}/wheels/out/x", allowed)
    assert not is_allowed(f"{tmp_path}/wheels/out/../evil", allowed)
    (tmp_path / "wheels" / "in").mkdir()
    (tmp_path / "evil" / "in").symlink_to(tmp_path / "wheels" / "in")
    for scheme in ("", "file://"):
        # By the text alone, as uv takes it, that is `evil/x`.
        assert not is_allowed(f"{scheme}{tmp_path}/evil/in/../x", allowed)
    assert is_allowed(str(tmp_path / "in"), allowed)
    assert is_allowed(allowed, str(tmp_path / "in"))


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("git+https://a.example/team/alpha", True),
        ("git+https://a.example/team/alpha@main", True),
        ("git+https://a.example/team/alpha.git@feature/x", True),
        ("git+https://token@a.example/team/alpha", True),
        ("git+https://a.example/other/alpha", False),
        ("git+https://a.example/team-evil/alpha", False),
        ("git+https://a.example/team/../evil/alpha", False),
        ("git+https://evil.example/x@https://a.example/team", False),
        ("git+ssh://git@a.example/team/alpha", False),
        ("https://a.example/team/alpha", False),
    ],
)
def test_a_repository_is_allowed_by_its_own_address(address: str, *, expected: bool) -> None:
    found = refused(["git+https://a.example/team"], block_of(f"alpha @ {address}"))
    assert (not found) == expected


def test_pypi_brings_its_files_along() -> None:
    files = "https://files.pythonhosted.org/packages/alpha.whl"
    assert is_allowed(files, "https://pypi.org/simple")
    assert is_allowed(files, "https://pypi.org/simple/")
    assert not is_allowed(files, SIMPLE)
    assert not is_allowed("https://files.pythonhosted.org.evil/x", "https://pypi.org/simple")


# Everything that is not allowed is named.


def test_every_violation_is_named_with_its_key() -> None:
    uv = """\
extra-index-url = ["https://one.example"]
find-links = ["./wheels"]
sources = { beta = { git = "https://two.example/beta" } }
override-dependencies = ["gamma @ https://three.example/gamma.whl"]
[[tool.uv.index]]
url = "https://ada:secret@four.example"
"""
    lock = '[[package]]\nname = "delta"\nsource = { url = "https://five.example/delta.whl" }\n'
    assert refused([SIMPLE], block_of("alpha @ ./alpha.whl", uv=uv), lock=lock) == {
        "dependencies": "`file:///srv/alpha.whl` is not allowed",
        "tool.uv.extra-index-url": "`https://one.example` is not allowed",
        "tool.uv.find-links": "`/srv/wheels` is not allowed",
        "tool.uv.sources.beta": "`git+https://two.example/beta` is not allowed",
        "tool.uv.override-dependencies": "`https://three.example/gamma.whl` is not allowed",
        "tool.uv.index": "`https://***@four.example` is not allowed",
        "the lock's delta": "`https://five.example/delta.whl` is not allowed",
    }


def test_a_violation_names_the_policys_files_and_is_no_mistake_of_the_machine() -> None:
    path = write_policy(f"allowed-indexes = ['{SIMPLE}']", system=True)
    with pytest.raises(PolicyViolation) as violation:
        refuse_forbidden(
            policy.current(), toml=block_of("a @ https://b.example/a"), folder=Path("/")
        )
    assert f"`{path}`" in str(violation.value)
    assert violation.value.hint
    assert violation.value.exit_code == 2


def test_nothing_is_refused_without_a_policy() -> None:
    refuse_forbidden(FREE, toml=block_of("a @ https://b.example/a"), folder=Path("/"))
    refuse_arguments(FREE, ["https://b.example/a"], folder=Path("/"))
    assert limits(FREE, toml=block_of("a", uv='exclude-newer = "soon"')) == ()


# A lock, as uv writes it for a local folder of wheels, names it relatively.


def test_a_lock_is_judged_from_the_sources_folder() -> None:
    lock = """\
[[package]]
name = "alpha"
source = { registry = "wheels" }
wheels = [{ path = "alpha-1.0-py3-none-any.whl" }]
"""
    assert refused(["/srv/wheels"], block_of("alpha"), lock=lock) == {}
    assert refused(["/other"], block_of("alpha"), lock=lock) != {}


def test_an_index_that_is_given_with_a_name_is_judged_by_its_address() -> None:
    known = Policy(allowed_indexes=((SIMPLE,),))
    for words in (["--index", f"a={SIMPLE}"], [f"--index=a.b-c={SIMPLE}"]):
        assert refuse_arguments(known, words, folder=Path("/")) == words
    for words in (["--index", "a=https://b.example"], ["--index", f"a=b={SIMPLE}"]):
        with pytest.raises(PolicyViolation):
            refuse_arguments(known, words, folder=Path("/"))
