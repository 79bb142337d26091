"""What decides what a sync installs, and makes an environment out of date when it changes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from uv import find_uv_bin

from ipy_scriptenv import plan
from ipy_scriptenv.errors import ScriptEnvError
from ipy_scriptenv.kernel_side.check import may_have_changed, settings_digest
from tests.conftest import Home
from tests.stage import (
    BASE,
    changes,
    installed,
    listing,
    site_of,
    state_of,
    sync,
    write_project,
    write_script,
)

pytestmark = pytest.mark.usefixtures("lean_home")


# All of [tool.uv], relative to the source's folder


def test_a_relative_source_is_taken_from_the_sources_folder(script: Path, index: Path) -> None:
    (script.parent / "wheels").mkdir()
    wheel = "alpha-1.0-py3-none-any.whl"
    (script.parent / "wheels" / wheel).symlink_to(index / wheel)
    write_script(script, "alpha", uv=f'sources = {{ alpha = {{ path = "wheels/{wheel}" }} }}')
    assert installed(sync(script).path) == {"alpha==1.0"}


def test_a_relative_reference_is_taken_from_the_sources_folder(script: Path, index: Path) -> None:
    wheel = "alpha-1.0-py3-none-any.whl"
    (script.parent / wheel).symlink_to(index / wheel)
    assert installed(sync(write_script(script, f"alpha @ ./{wheel}")).path) == {"alpha==1.0"}


@pytest.mark.parametrize("editable", [False, True])
def test_a_relative_project_is_built_from_the_sources_folder(
    script: Path, *, editable: bool
) -> None:
    write_project(script.parent / "project")
    source = f'local = {{ path = "project", editable = {str(editable).lower()} }}'
    environment = sync(write_script(script, "local", uv=f"sources = {{ {source} }}")).path
    question = "import local; print(local.__file__)"
    answer = subprocess.run(
        [environment / "bin" / "python", "-c", question], check=True, capture_output=True, text=True
    )
    where = script.parent / "project" if editable else site_of(environment)
    assert answer.stdout.strip() == str(where / "local.py")


def test_a_local_project_that_changes_its_version_is_built_anew(script: Path) -> None:
    write_project(script.parent / "project")
    sync(write_script(script, "local", uv='sources = { local = { path = "project" } }'))
    write_project(script.parent / "project", version="1.1")
    assert state_of(script) == "stale"
    assert installed(sync(script).path) == {"local==1.1"}


@pytest.mark.parametrize("setting", ['find-links = ["wheels"]', 'find-links = ["./wheels"]'])
def test_relative_links_are_taken_from_the_sources_folder(
    script: Path, index: Path, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    monkeypatch.delenv("UV_FIND_LINKS")
    (script.parent / "wheels").symlink_to(index)
    assert installed(sync(write_script(script, "alpha", uv=setting)).path) == {"alpha==2.0"}


def test_a_relative_index_is_taken_from_the_sources_folder(
    script: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("UV_FIND_LINKS")
    monkeypatch.delenv("UV_NO_INDEX")
    (script.parent / "wheels").symlink_to(index)
    table = 'index = [{ name = "local", url = "./wheels", format = "flat", default = true }]'
    assert installed(sync(write_script(script, "alpha", uv=table)).path) == {"alpha==2.0"}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ('constraint-dependencies = ["alpha<2"]', {"alpha==1.1", "beta==1.0"}),
        ('override-dependencies = ["alpha==1.0"]', {"alpha==1.0", "beta==1.0"}),
        ('resolution = "lowest"', {"alpha==1.0", "beta==1.0"}),
        ('exclude-newer = "2024-01-01T00:00:00Z"', {"alpha==2.0", "beta==1.0"}),
        ('prerelease = "allow"', {"alpha==2.0", "beta==1.0"}),
        ("no-build = true", {"alpha==2.0", "beta==1.0"}),
    ],
)
def test_settings_of_uv_in_the_block_are_honoured(
    script: Path, settings: str, expected: set[str]
) -> None:
    assert installed(sync(write_script(script, "beta", uv=settings)).path) == expected


def test_settings_that_forbid_something_are_honoured(script: Path) -> None:
    write_script(script, "evil-sdist", uv="no-build = true")
    with pytest.raises(ScriptEnvError) as refused:
        sync(script)
    assert refused.value.code in {"resolution-failed", "install-failed"}


def test_a_bad_setting_is_told_in_uvs_words(script: Path) -> None:
    with pytest.raises(ScriptEnvError) as refused:
        sync(write_script(script, "beta", uv="no-such-setting = true"))
    assert "no-such-setting" in refused.value.problems[0].message


def test_the_lock_beside_the_source_is_honoured_and_kept_in_step(script: Path) -> None:
    lock = write_lock(write_script(script, "alpha<2"))
    before = lock.read_bytes()
    sync(script)
    assert lock.read_bytes() == before
    write_script(script, "alpha")
    synced = sync(script)
    assert installed(synced.path) == {"alpha==1.1"}
    assert lock.read_bytes() != before
    assert {*script.parent.iterdir()} == {script, lock}
    assert synced.record.lock_sha256 is not None
    lock.unlink()
    assert state_of(script) == "stale"
    assert installed(sync(script).path) == {"alpha==2.0"}


def write_lock(script: Path) -> Path:
    argv = [find_uv_bin(), "lock", "--quiet", "--script", str(script), "--python", BASE]
    subprocess.run(argv, check=True)
    return script.with_name(script.name + ".lock")


def test_the_users_own_configuration_counts(home: Home, script: Path) -> None:
    configure(home, 'resolution = "lowest"')
    assert installed(sync(write_script(script, "alpha")).path) == {"alpha==1.0"}


def configure(home: Home, text: str) -> Path:
    path = home.path / "config" / "uv" / "uv.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("uv.toml", 'resolution = "lowest"\n'),
        ("uv.toml", "no such toml"),
        ("pyproject.toml", '[tool.uv]\nconstraint-dependencies = ["alpha<1"]\n'),
        ("pyproject.toml", '[project]\nname = "x"\nversion = "1"\nrequires-python = ">=3.99"\n'),
        (".python-version", "3.99\n"),
        (".env", "UV_RESOLUTION=lowest\n"),
    ],
)
def test_configuration_beside_the_source_or_above_does_not_count(
    script: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    for folder in (script.parent, script.parent.parent):
        (folder / name).write_text(text)
    monkeypatch.chdir(script.parent)
    assert installed(sync(write_script(script, "alpha")).path) == {"alpha==2.0"}


def test_variables_that_would_give_uv_another_target_do_not_reach_it(
    script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoy = tmp_path / "decoy"
    argv = [find_uv_bin(), "venv", "--quiet", "--no-project", "--python", BASE, decoy]
    subprocess.run(argv, check=True)
    before = listing(decoy)
    paths = (
        "CONDA_PREFIX",
        "PYTHONHOME",
        "PYTHONPATH",
        "UV_PREFIX",
        "UV_PROJECT",
        "UV_PROJECT_ENVIRONMENT",
        "UV_TARGET",
        "UV_WORKING_DIR",
        "VIRTUAL_ENV",
    )
    for name in paths:
        monkeypatch.setenv(name, str(decoy))
    flags = (
        "UV_BREAK_SYSTEM_PACKAGES",
        "UV_FROZEN",
        "UV_ISOLATED",
        "UV_LOCKED",
        "UV_NO_DEV",
        "UV_NO_EDITABLE",
        "UV_NO_INSTALL_PROJECT",
        "UV_NO_SYNC",
        "UV_SYSTEM_PYTHON",
        "UV_VENV_CLEAR",
        "UV_VENV_SEED",
    )
    for name in flags:
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("UV_PYTHON", "3.99")
    assert installed(sync(write_script(script, "alpha")).path) == {"alpha==2.0"}
    assert listing(decoy) == before


@pytest.mark.parametrize(
    "variable",
    [
        "UV_DEV=1",
        "UV_NO_DEFAULT_GROUPS=1",
        "UV_NO_GROUP=dev",
        "UV_NO_PROJECT=1",
        "UV_QUIET=1",
        "UV_SHOW_RESOLUTION=1",
        "FORCE_COLOR=1",
        "UV_COMPILE_BYTECODE=1",
        "UV_LINK_MODE=copy",
        "UV_MANAGED_PYTHON=1",
        "UV_PYTHON_PREFERENCE=only-managed",
        "UV_NO_MANAGED_PYTHON=1",
        "UV_PREVIEW=1",
        "UV_NO_CACHE=1",
        "UV_NO_CONFIG=1",
        "UV_REQUIRE_HASHES=1",
        "RUST_LOG=uv=debug",
    ],
)
def test_whatever_else_the_user_has_set_a_sync_works(
    script: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    name, _, value = variable.partition("=")
    monkeypatch.setenv(name, value)
    synced = sync(write_script(script, "alpha<2"))
    assert installed(synced.path) == {"alpha==1.1"}
    assert changes(synced) == {("alpha", "1.1", "installed")}


# What decides is in the fingerprint


def change_lock(_home: Home, script: Path, _patch: pytest.MonkeyPatch) -> None:
    write_lock(script)


def change_configuration(home: Home, _script: Path, _patch: pytest.MonkeyPatch) -> None:
    configure(home, 'resolution = "lowest"')


def change_index(_home: Home, _script: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("UV_DEFAULT_INDEX", "https://ada:secret@localhost/simple")


def change_constraint(_home: Home, script: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("UV_CONSTRAINT", str(script.parent / "constraints.txt"))


def change_prerelease(_home: Home, _script: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("UV_PRERELEASE", "allow")


def change_newest(_home: Home, _script: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("UV_EXCLUDE_NEWER", "2024-01-01")


def change_project(_home: Home, script: Path, _patch: pytest.MonkeyPatch) -> None:
    with (script.parent / "project" / "pyproject.toml").open("a") as file:
        file.write("# changed\n")


def change_setup(_home: Home, script: Path, _patch: pytest.MonkeyPatch) -> None:
    (script.parent / "project" / "setup.py").write_text("")


CHANGES = [
    change_lock,
    change_configuration,
    change_index,
    change_constraint,
    change_prerelease,
    change_newest,
    change_project,
    change_setup,
]


@pytest.mark.parametrize("change", CHANGES)
def test_what_decides_makes_an_environment_stale(
    *,
    home: Home,
    script: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Home, Path, pytest.MonkeyPatch], None],
) -> None:
    write_project(script.parent / "project")
    source = 'sources = { local = { path = "project" } }'
    synced = sync(write_script(script, "alpha<2", "local", uv=source))
    assert state_of(script) == "in-sync"
    change(home, script, monkeypatch)
    assert state_of(script) == "stale"
    # What a kernel asks at each start must notice it too, by stats alone.
    record = json.loads((synced.path / "scriptenv.json").read_text())
    assert may_have_changed(record, os.environ)


def test_what_does_not_decide_leaves_an_environment_in_sync(
    home: Home, script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_project(script.parent / "project")
    source = 'sources = { local = { path = "project" } }'
    sync(write_script(script, "alpha<2", "local", uv=source))
    monkeypatch.setenv("UV_HTTP_TIMEOUT", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(home.path / "another-cache"))
    monkeypatch.setenv("HTTPS_PROXY", "http://localhost:1")
    (script.parent / "project" / "local.py").write_text("")
    (script.parent / "uv.toml").write_text("")
    (script.parent / "pyproject.toml").write_text("")
    assert state_of(script) == "in-sync"


def test_the_request_for_a_python_is_in_the_fingerprint(script: Path) -> None:
    minor = f"{sys.version_info[0]}.{sys.version_info[1]}"
    first = sync(write_script(script, "alpha<2"))
    second = sync(script, python=minor)
    assert second.record.python.base == first.record.python.base
    assert second.record.fingerprint != first.record.fingerprint


def test_credentials_are_not_in_the_fingerprint() -> None:
    first = settings_digest({"UV_INDEX": "https://ada:one@index.example/simple"})
    assert first == settings_digest({"UV_INDEX": "https://ada:two@index.example/simple"})
    assert first == settings_digest({"UV_INDEX": "https://index.example/simple"})
    assert first != settings_digest({"UV_INDEX": "https://other.example/simple"})
    assert first != settings_digest({})


def test_credentials_are_not_in_the_record(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_INDEX", "https://ada:secret@localhost/simple")
    environment = sync(write_script(script, "alpha<2")).path
    assert "secret" not in (environment / "scriptenv.json").read_text()


@pytest.mark.parametrize("part", ["block", "lock_sha256", "python_request", "settings"])
def test_every_part_is_in_the_fingerprint(part: str) -> None:
    parts = {"block": None, "lock_sha256": None, "python_request": None, "settings": ""}

    def digest(**more: object) -> str:
        return plan.fingerprint(**{**parts, "config": {}, "local": {}, **more})  # type: ignore[arg-type]

    assert digest() == digest()
    assert digest(**{part: "x"}) != digest()
    assert digest(block=None) != digest(block="")
    assert digest(config={"a": "1"}) != digest()
    assert digest(local={"a": None}) != digest(local={"a": (1, 2, 3)})
    assert digest(config={"a": "1", "b": "2"}) == digest(config={"b": "2", "a": "1"})
