"""What an administrator allows holds for every sync and every ``pip``, and a kernel starts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from uv import find_uv_bin

from ipy_scriptenv import settings
from ipy_scriptenv.environments import Choosing, Pin
from ipy_scriptenv.errors import BadBlock, PolicyBroken, PolicyViolation, ScriptEnvError
from tests.conftest import Home
from tests.kernels import block, opened
from tests.lifecycle import command
from tests.policies import allow, write_policy
from tests.stage import (
    call,
    environment_of,
    installed,
    record_of,
    start,
    sync,
    write_notebook,
    write_project,
    write_script,
)
from tests.web_index import WebIndex

pytestmark = pytest.mark.usefixtures("lean_home", "system")

EVIL = "https://evil.example/simple"


def violations(script: Path) -> dict[str | None, str]:
    """Sync what the policy does not allow; give the words of each violation by its key."""
    with pytest.raises(PolicyViolation) as violation:
        sync(script)
    return {each.key: each.message for each in violation.value.problems}


def configure_uv(home: Home, text: str) -> Path:
    """Write the user's configuration of uv."""
    path = home.path / "config" / "uv" / "uv.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


# Where packages may come from.


def test_what_comes_from_an_allowed_place_is_installed(script: Path, index: Path) -> None:
    allow(index)
    assert installed(sync(write_script(script, "beta")).path) == {"alpha==2.0", "beta==1.0"}


def test_a_direct_reference_to_an_allowed_place_is_installed(script: Path, index: Path) -> None:
    allow(index)
    wheel = index / "alpha-1.0-py3-none-any.whl"
    assert installed(sync(write_script(script, f"alpha @ {wheel}")).path) == {"alpha==1.0"}


@pytest.mark.parametrize(
    ("uv", "key"),
    [
        (f'[[tool.uv.index]]\nurl = "{EVIL}"', "tool.uv.index"),
        (f'index-url = "{EVIL}"', "tool.uv.index-url"),
        (f'extra-index-url = ["{EVIL}"]', "tool.uv.extra-index-url"),
        ('find-links = ["./wheels"]', "tool.uv.find-links"),
        ('sources = { alpha = { path = "wheels/alpha" } }', "tool.uv.sources.alpha"),
        ('sources = { alpha = { git = "https://evil.example/a" } }', "tool.uv.sources.alpha"),
        ('sources = { alpha = { url = "https://evil.example/a.whl" } }', "tool.uv.sources.alpha"),
        (
            'override-dependencies = ["alpha @ https://evil.example/a.whl"]',
            "tool.uv.override-dependencies",
        ),
    ],
)
def test_what_a_block_names_and_the_policy_does_not_is_refused_by_its_key(
    script: Path, index: Path, uv: str, key: str
) -> None:
    policy = allow(index)
    write_script(script, "alpha", uv=uv)
    assert [*violations(script)] == [key]
    assert not environment_of(script).exists()
    said = command("sync", script, "--json")
    error = said.json["error"]
    assert said.code == 2
    assert [each["key"] for each in error["problems"]] == [key]
    assert str(policy) in error["message"]
    assert error["hint"]


@pytest.mark.parametrize(
    "dependency",
    [
        "alpha @ https://evil.example/alpha-1.0-py3-none-any.whl",
        "alpha @ git+https://evil.example/alpha",
        "alpha @ ./alpha-1.0-py3-none-any.whl",
    ],
)
def test_a_direct_reference_elsewhere_is_refused(
    script: Path, index: Path, dependency: str
) -> None:
    allow(index)
    write_script(script, "beta", dependency)
    assert [*violations(script)] == ["dependencies"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("UV_INDEX", EVIL),
        ("UV_INDEX", f"evil={EVIL}"),
        ("UV_DEFAULT_INDEX", EVIL),
        ("UV_INDEX_URL", EVIL),
        ("UV_EXTRA_INDEX_URL", f"{EVIL} {EVIL}/more"),
        ("UV_FIND_LINKS", "/evil"),
    ],
)
def test_an_index_in_a_variable_of_uv_is_refused_by_its_name(
    script: Path, index: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    allow(index)
    monkeypatch.setenv(name, value)
    write_script(script, "alpha")
    assert [*violations(script)] == [name]


@pytest.mark.parametrize(
    "text",
    [
        f'index-url = "{EVIL}"',
        f'extra-index-url = ["{EVIL}"]',
        'find-links = ["/evil"]',
        f'[[index]]\nurl = "{EVIL}"',
        f'[pip]\nindex-url = "{EVIL}"',
    ],
)
def test_an_index_in_the_users_configuration_of_uv_is_refused_by_its_file(
    home: Home, script: Path, index: Path, text: str
) -> None:
    allow(index)
    path = configure_uv(home, text)
    write_script(script, "alpha")
    (key,) = violations(script)
    assert str(key).startswith(f"{path}: ")


def test_pypi_is_refused_where_the_policy_does_not_name_it(
    home: Home, script: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A block counts before the configuration, which has settings that a sync does not read."""
    allow(index)
    monkeypatch.delenv("UV_NO_INDEX")
    # Of two indexes with one name uv takes the first alone.
    again = f'[[tool.uv.index]]\nname = "a"\nurl = "file://{index}"'
    pypi = {"uv's default index": "`https://pypi.org/simple` is not allowed"}
    for config, uv in (
        ("", ""),
        (f'[pip]\nno-index = true\nindex-url = "file://{index}"', ""),
        ("no-index = true", "no-index = false"),
        (f'index = [{{ name = "a", url = "file://{index}", default = true }}]', again),
        ("", f"{again}\n{again}\ndefault = true"),
    ):
        configure_uv(home, config)
        write_script(script, "alpha", uv=uv)
        assert violations(script) == pypi
    configure_uv(home, f'index = [{{ name = "a", url = "file://{index}", default = true }}]')
    write_script(script, "alpha")
    with pytest.raises(PolicyViolation, match="does not allow") as violation:
        sync(script, choosing=Choosing(index=(f"a=file://{index}",)))
    assert [each.key for each in violation.value.problems] == [*pypi]
    configure_uv(home, "no-index = false")
    system = settings.config_files()[1]
    system.parent.mkdir(parents=True)
    system.write_text(f'no-index = true\n[[index]]\nurl = "file://{index}"\ndefault = true\n')
    monkeypatch.setenv("UV_NO_SYSTEM_CONFIG", "1")
    assert violations(script) == pypi


def test_an_allowed_default_index_stands_in_for_pypi(script: Path, web: WebIndex) -> None:
    allow(web.url())
    assert installed(sync(write_script(script, "alpha")).path) == {"alpha==2.0"}


def test_a_blocks_own_default_index_stands_in_for_pypi(
    script: Path, web: WebIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("UV_DEFAULT_INDEX")
    allow(web.url())
    uv = f'[[tool.uv.index]]\nurl = "{web.url()}"\ndefault = true'
    assert installed(sync(write_script(script, "alpha", uv=uv)).path) == {"alpha==2.0"}
    assert call("add", script, "beta", "--index", web.url()).returncode == 0
    assert call("sync", script, "--index", f"again={web.url()}").returncode == 0
    assert "beta==1.0" in installed(environment_of(script))


def test_a_block_without_any_index_does_not_ask_pypi(
    script: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("UV_NO_INDEX")
    monkeypatch.delenv("UV_FIND_LINKS")
    allow(index)
    write_script(script, "alpha", uv=f'no-index = true\nfind-links = ["{index}"]')
    assert installed(sync(script).path) == {"alpha==2.0"}


@pytest.mark.parametrize("value", ["0", "false"])
def test_a_variable_that_says_no_switches_nothing_off(
    home: Home, script: Path, index: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    """For uv, ``0`` and ``false`` mean no."""
    allow(index)
    write_script(script, "alpha")
    monkeypatch.setenv("UV_NO_INDEX", value)
    assert [*violations(script)] == ["uv's default index"]
    monkeypatch.setenv("UV_NO_INDEX", "1")
    configure_uv(home, f'extra-index-url = ["{EVIL}"]')
    monkeypatch.setenv("UV_NO_CONFIG", value)
    assert len(violations(script)) == 1


def test_an_address_with_a_backslash_is_read_as_uv_reads_it(
    script: Path, web: WebIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    r"""For uv, ``http://one\@two`` is an address of *one*."""
    monkeypatch.delenv("UV_DEFAULT_INDEX")
    allow("http://allowed.example")
    url = rf"http://127.0.0.1:{web.port}\@allowed.example/simple"
    write_script(script, "alpha", uv=f"[[tool.uv.index]]\nurl = '{url}'\ndefault = true")
    assert [*violations(script)] == ["tool.uv.index"]
    assert web.asked == []


def test_every_violation_is_told_at_once(
    home: Home, script: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow(index)
    monkeypatch.setenv("UV_EXTRA_INDEX_URL", EVIL)
    monkeypatch.delenv("UV_NO_INDEX")
    path = configure_uv(home, 'find-links = ["/evil"]')
    script.with_name("a.py.lock").write_text(
        f'[[package]]\nname = "beta"\nsource = {{ registry = "{EVIL}" }}\n'
    )
    write_script(script, "alpha @ ./a.whl", uv=f'extra-index-url = ["{EVIL}"]')
    assert {*violations(script)} == {
        "dependencies",
        "tool.uv.extra-index-url",
        "UV_EXTRA_INDEX_URL",
        f"{path}: find-links",
        "the lock's beta",
        "uv's default index",
    }
    said = command("sync", script)
    assert said.code == 2
    assert "tool.uv.extra-index-url: " in said.err
    assert "the lock's beta: " in said.err


def test_a_lock_that_uv_wrote_from_an_allowed_place_is_taken(script: Path, index: Path) -> None:
    allow(index)
    write_script(script, "alpha<2")
    subprocess.run([find_uv_bin(), "lock", "--script", script], check=True, capture_output=True)
    assert script.with_name("a.py.lock").exists()
    assert installed(sync(script).path) == {"alpha==1.1"}


def test_a_violation_shows_no_credentials(script: Path, index: Path) -> None:
    allow(index)
    write_script(script, "alpha", uv='index-url = "https://ada:s3cr3t@evil.example/simple"')
    said = command("sync", script, "--json")
    assert "evil.example" in said.out
    assert "s3cr3t" not in said.out + said.err


def test_what_stands_still_stands_after_a_violation(script: Path, index: Path) -> None:
    before = sync(write_script(script, "alpha<2")).record
    allow(index)
    write_script(script, "alpha", uv=f'index-url = "{EVIL}"')
    assert [*violations(script)] == ["tool.uv.index-url"]
    environment = environment_of(script)
    assert installed(environment) == {"alpha==1.1"}
    assert record_of(environment).fingerprint == before.fingerprint


def test_the_users_policy_cannot_widen_the_systems(script: Path, index: Path) -> None:
    allow(index)
    evil = Path(f"{index}-evil")
    evil.mkdir(exist_ok=True)
    allow(index, evil, system=False)
    write_script(script, "alpha", uv=f'find-links = ["{evil}"]')
    assert [*violations(script)] == ["tool.uv.find-links"]


# Nothing is built.


@pytest.mark.parametrize(
    "uv",
    [
        "",
        "no-build = false",
        "no-build-package = []",
        'no-binary-package = ["evil-sdist"]',
        "no-binary = true",
    ],
)
def test_with_wheels_only_nothing_is_built(
    script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uv: str
) -> None:
    """For uv, a package for which wheels are not wanted is an exception to building nothing."""
    monkeypatch.setenv("EVIL_MARKER", str(tmp_path / "built"))
    write_policy("wheels-only = true", system=True)
    with pytest.raises(ScriptEnvError):
        sync(write_script(script, "evil-sdist", uv=uv))
    assert not (tmp_path / "built").exists()


@pytest.mark.parametrize("place", ["variable", "configuration"])
def test_with_wheels_only_the_users_settings_of_uv_build_nothing(
    home: Home, script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setenv("EVIL_MARKER", str(tmp_path / "built"))
    write_policy("wheels-only = true", system=True)
    if place == "variable":
        monkeypatch.setenv("UV_NO_BINARY_PACKAGE", "evil-sdist")
    else:
        configure_uv(home, 'no-binary-package = ["evil-sdist"]')
    with pytest.raises(ScriptEnvError):
        sync(write_script(script, "evil-sdist"))
    assert not (tmp_path / "built").exists()


def test_with_wheels_only_wheels_are_installed(script: Path) -> None:
    write_policy("wheels-only = true", system=True)
    assert installed(sync(write_script(script, "alpha<2")).path) == {"alpha==1.1"}


def test_with_wheels_only_a_folder_is_not_built_either(script: Path) -> None:
    write_policy("wheels-only = true", system=True)
    write_project(script.parent / "project")
    write_script(script, "local", uv='sources = { local = { path = "project" } }')
    with pytest.raises(ScriptEnvError):
        sync(script)


# Nothing newer.


@pytest.mark.parametrize(
    ("policy", "uv", "expected"),
    [
        ("2023-01-01", "", "1.1"),
        ("2021-01-01", "", "1.0"),
        ("2023-01-01", 'exclude-newer = "2021-01-01T00:00:00Z"', "1.0"),
        ("2023-01-01", 'exclude-newer = "2025-01-01T00:00:00Z"', "1.1"),
        ("2023-01-01", 'exclude-newer = "2025-01-01"', "1.1"),
        ("2022-01-01T11:00:00Z", "", "1.0"),
        ("2022-01-01T13:00:00Z", "", "1.1"),
        ("2022-01-01T13:30:00+02:00", "", "1.0"),
    ],
)
@pytest.mark.usefixtures("web")
def test_of_two_dates_the_older_one_holds(
    script: Path, policy: str, uv: str, expected: str
) -> None:
    write_policy(f"exclude-newer = {policy}", system=True)
    write_script(script, "alpha", uv=uv)
    assert installed(sync(script).path) == {f"alpha=={expected}"}


@pytest.mark.parametrize(("date", "expected"), [("2021-01-01", "1.0"), ("2025-01-01", "1.1")])
@pytest.mark.usefixtures("web")
def test_a_date_in_a_variable_or_in_uvs_configuration_is_one_of_them(
    home: Home, script: Path, monkeypatch: pytest.MonkeyPatch, date: str, expected: str
) -> None:
    write_policy("exclude-newer = 2023-01-01", system=True)
    monkeypatch.setenv("UV_EXCLUDE_NEWER", f"{date}T00:00:00Z")
    assert installed(sync(write_script(script, "alpha")).path) == {f"alpha=={expected}"}
    monkeypatch.delenv("UV_EXCLUDE_NEWER")
    configure_uv(home, f'exclude-newer = "{date}T00:00:00Z"')
    script.touch()
    assert installed(sync(script).path) == {f"alpha=={expected}"}


@pytest.mark.usefixtures("web")
def test_a_date_for_one_package_is_refused(
    home: Home, script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would stand above the date for all."""
    write_policy("exclude-newer = 2023-01-01", system=True)
    table = 'exclude-newer-package = { alpha = "2025-01-01T00:00:00Z" }'
    write_script(script, "alpha", uv=table)
    assert [*violations(script)] == ["tool.uv.exclude-newer-package"]
    write_script(script, "alpha")
    configure_uv(home, table)
    assert len(violations(script)) == 1
    configure_uv(home, "")
    monkeypatch.setenv("UV_EXCLUDE_NEWER_PACKAGE", "alpha=2025-01-01T00:00:00Z")
    assert installed(sync(script).path) == {"alpha==1.1"}


@pytest.mark.usefixtures("web")
def test_what_is_no_date_is_refused_where_the_policy_sets_one(script: Path) -> None:
    write_policy("exclude-newer = 2023-01-01", system=True)
    write_script(script, "alpha", uv='exclude-newer = "soon"')
    assert violations(script) == {"exclude-newer": "`soon` is no date"}


def test_a_lock_that_is_none_is_told_where_the_policy_sets_a_date(script: Path) -> None:
    write_policy("exclude-newer = 2023-01-01", system=True)
    write_script(script, "alpha")
    script.with_name(f"{script.name}.lock").write_text("<<<<<<< HEAD\n")
    with pytest.raises(BadBlock, match="The lock is no TOML"):
        sync(script, pin=Pin.FROZEN)


# A policy that cannot be read.


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("wheel-only = true", "wheel-only"),
        ("wheels-only = 'yes'", "wheels-only"),
        ("wheels-only", "policy.toml"),
    ],
)
def test_under_a_broken_policy_nothing_is_installed_and_a_kernel_starts(
    script: Path, text: str, key: str
) -> None:
    path = write_policy(text, system=True)
    write_script(script, "alpha")
    with pytest.raises(PolicyBroken) as broken:
        sync(script)
    assert key in str(broken.value)
    assert str(path) in str(broken.value)
    assert start(script).argv
    assert installed(environment_of(script)) == set()
    said = command("sync", script)
    assert said.code == 1
    assert str(path) in said.err
    assert "hint: " in said.err
    assert "Traceback" not in said.err
    assert command("prune", "--yes").code == 1
    assert command("status", script).code == 0
    path.write_text("wheels-only = true")
    assert installed(sync(script).path) == {"alpha==2.0"}


# In a kernel.


@pytest.mark.usefixtures("offline_home")
def test_a_kernel_tells_a_violation_in_the_cell_and_goes_on_when_it_is_mended(
    home: Home, tmp_path: Path, index: Path
) -> None:
    policy = allow(index)
    path = write_notebook(
        tmp_path / "work" / "nb.ipynb", block("alpha", more=f'[tool.uv]\nindex-url = "{EVIL}"')
    )
    with opened(home, path) as kernel:
        refused = kernel.execute("1")
        assert refused.ename == "PolicyViolation"
        assert "tool.uv.index-url" in refused.traceback
        assert str(policy) in refused.traceback
        done = kernel.execute(block("alpha") + "\nimport alpha; print(alpha.__version__)")
        assert done.shown_text.strip() == "2.0"
        pip = kernel.execute("!pip install https://evil.example/x-1.0-py3-none-any.whl; echo $?")
        assert "is not allowed" in pip.shown_text
        assert pip.shown_text.strip().endswith("2")


@pytest.mark.usefixtures("offline_home")
def test_a_kernel_starts_under_a_broken_policy_and_tells_it_when_a_cell_is_run(
    home: Home, tmp_path: Path
) -> None:
    path = write_policy("wheel-only = true", system=True)
    notebook = write_notebook(tmp_path / "work" / "nb.ipynb", block("alpha"))
    with opened(home, notebook) as kernel:
        refused = kernel.execute("1")
        assert refused.ename == "PolicyBroken"
        assert "wheel-only" in refused.traceback
        assert str(path) in refused.traceback
        path.write_text("wheels-only = true")
        assert kernel.execute("import alpha; print(alpha.__version__)").status == "ok"


def test_the_command_line_needs_no_policy_to_help() -> None:
    write_policy("wheel-only = true", system=True)
    said = subprocess.run(
        [sys.executable, "-m", "ipy_scriptenv", "doctor", "--help"], check=True, capture_output=True
    )
    assert said.stdout
