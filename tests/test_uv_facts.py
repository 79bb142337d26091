"""What uv does that this package relies on (``docs/uv.md``): a uv that does otherwise is noticed.

These tests call uv alone, nothing of the package.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from uv import find_uv_bin

from tests.conftest import Home
from tests.stage import (
    exclusively_held,
    installed,
    listing,
    record_rows,
    site_of,
    throw_away_base,
    write_project,
    write_script,
)

Finished = subprocess.CompletedProcess[str]

pytestmark = pytest.mark.usefixtures("offline")


@pytest.fixture
def work(home: Home) -> Path:
    """Give an empty folder for uv to run in."""
    folder = home.path / "work"
    folder.mkdir()
    return folder


def uv(*arguments: str | Path, cwd: Path, **variables: str | Path) -> Finished:
    environment = {name: str(value) for name, value in variables.items()}
    return subprocess.run(
        [find_uv_bin(), *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        cwd=cwd,
        env=os.environ | {"NO_COLOR": "1", "UV_NO_PROGRESS": "1"} | environment,
    )


def base() -> str:
    return str(getattr(sys, "_base_executable", sys.executable))


def make(environment: Path, *, python: str | Path | None = None) -> Path:
    """Make an environment as this package does."""
    options = ("--no-project", "--no-config", "--no-python-downloads", "--relocatable")
    python = python or base()
    finished = uv("venv", *options, "--python", python, environment, cwd=environment.parent)
    assert finished.returncode == 0, finished.stderr
    return environment


def sync(script: Path, environment: Path, *more: str, cwd: Path | None = None) -> Finished:
    """Sync an environment as this package does."""
    return uv(
        "sync",
        "--script",
        script,
        "--active",
        "--no-python-downloads",
        "--python",
        environment / "bin" / "python",
        "--output-format",
        "json",
        *more,
        cwd=cwd or script.parent,
        VIRTUAL_ENV=environment,
    )


def test_active_syncs_the_environment_that_virtual_env_names(work: Path) -> None:
    environment = make(work / "chosen")
    finished = sync(write_script(work / "a.py", "alpha==1.0"), environment)
    assert finished.returncode == 0
    assert installed(environment) == {"alpha==1.0"}
    assert json.loads(finished.stdout)["sync"]["environment"]["path"] == str(environment)


def test_a_sync_is_exact(work: Path) -> None:
    environment = make(work / "env")
    sync(write_script(work / "a.py", "beta", "alpha<2"), environment)
    assert installed(environment) == {"alpha==1.1", "beta==1.0"}
    sync(write_script(work / "a.py", "nspkg-one"), environment)
    assert installed(environment) == {"nspkg-one==1.0"}


@pytest.mark.parametrize("dry", [False, True])
def test_the_json_of_a_sync_tells_environment_and_changes(work: Path, *, dry: bool) -> None:
    environment = make(work / "env")
    sync(write_script(work / "a.py", "beta"), environment)
    script = write_script(work / "a.py", "alpha<2")
    told = json.loads(sync(script, environment, *(["--dry-run"] if dry else [])).stdout)
    assert told["dry_run"] is dry
    assert told["sync"]["environment"]["path"] == str(environment)
    changes = {(each["name"], each["version"], each["action"]) for each in told["sync"]["changes"]}
    assert changes == {
        ("alpha", "2.0", "uninstalled"),
        ("alpha", "1.1", "installed"),
        ("beta", "1.0", "uninstalled"),
    }


def test_a_dry_run_changes_nothing(work: Path) -> None:
    environment = make(work / "env")
    sync(write_script(work / "a.py", "beta"), environment)
    before = listing(environment)
    assert sync(write_script(work / "a.py", "alpha<2"), environment, "--dry-run").returncode == 0
    assert listing(environment) == before


def test_the_steps_of_a_sync_are_told_in_lines(work: Path) -> None:
    environment = make(work / "env")
    steps = sync(write_script(work / "a.py", "beta"), environment).stderr.splitlines()
    assert any(re.fullmatch(r"Resolved 2 packages in \S+", line) for line in steps)
    assert any(re.fullmatch(r"Installed 2 packages in \S+", line) for line in steps)
    assert {" + alpha==2.0", " + beta==1.0"} <= {*steps}


@pytest.mark.parametrize(
    ("dependencies", "words"),
    [
        (("conflict-a", "conflict-b"), "No solution found"),
        (("alpha>=3",), "No solution found"),
        (("no-such-package",), "network was disabled"),
    ],
)
def test_a_failed_resolution_exits_1_prints_nothing_and_changes_nothing(
    work: Path, dependencies: tuple[str, ...], words: str
) -> None:
    environment = make(work / "env")
    sync(write_script(work / "a.py", "beta"), environment)
    before = listing(environment)
    finished = sync(write_script(work / "a.py", *dependencies), environment)
    assert finished.returncode == 1
    assert finished.stdout == ""
    assert finished.stderr.startswith("error: ")
    assert words in finished.stderr
    assert listing(environment) == before


def test_relative_sources_mean_the_scripts_folder(work: Path, index: Path) -> None:
    beside = work / "beside"
    beside.mkdir()
    shutil.copy(index / "alpha-1.0-py3-none-any.whl", beside)
    source = 'sources = { alpha = { path = "./alpha-1.0-py3-none-any.whl" } }'
    script = write_script(beside / "a.py", "alpha", uv=source)
    environment = make(work / "env")
    finished = sync(script, environment, cwd=work)
    assert finished.returncode == 0, finished.stderr
    assert installed(environment) == {"alpha==1.0"}


def test_an_environment_that_is_renamed_works(work: Path) -> None:
    environment = make(work / "before")
    sync(write_script(work / "a.py", "with-entry-point"), environment)
    renamed = environment.rename(work / "after")
    command = subprocess.run([renamed / "bin" / "hello-entry"], capture_output=True, check=True)
    assert command.stdout == b"hello from an entry point\n"
    question = "import sys, with_entry_point; print(sys.prefix)"
    answer = subprocess.run(
        [renamed / "bin" / "python", "-c", question], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == str(renamed)
    finished = sync(write_script(work / "a.py", "alpha==1.0"), renamed)
    assert finished.returncode == 0
    assert installed(renamed) == {"alpha==1.0"}
    assert not environment.exists()


def test_metadata_counts_as_installed_whatever_is_missing(work: Path) -> None:
    """So an interrupted installation is not mended by another run: marks and rebuilds are."""
    environment = make(work / "env")
    script = write_script(work / "a.py", "alpha==1.0")
    sync(script, environment)
    module = site_of(environment) / "alpha" / "__init__.py"
    module.unlink()
    finished = sync(script, environment)
    assert finished.returncode == 0
    assert json.loads(finished.stdout)["sync"]["changes"] == []
    assert not module.exists()


def test_a_wheels_record_tells_every_file_and_its_size(work: Path) -> None:
    """The tests of kills look at environments by it."""
    environment = make(work / "env")
    sync(write_script(work / "a.py", "beta", "with-entry-point"), environment)
    rows = record_rows(environment)
    assert rows
    assert all(path.stat().st_size == size for path, size in rows if size is not None)


def test_an_empty_configuration_in_the_working_folder_ends_the_search(work: Path) -> None:
    inner = work / "inner"
    inner.mkdir()
    (work / "uv.toml").write_text("no-such-setting = true")
    script = write_script(inner / "a.py", "alpha==1.0")
    environment = make(inner / "env")
    assert sync(script, environment).returncode == 2
    (inner / "uv.toml").write_text("")
    assert sync(script, environment).returncode == 0


def test_the_users_own_configuration_counts_beside_an_empty_one(home: Home, work: Path) -> None:
    (work / "uv.toml").write_text("")
    configuration = home.path / "config" / "uv" / "uv.toml"
    configuration.parent.mkdir(parents=True)
    configuration.write_text('resolution = "lowest"')
    environment = make(work / "env")
    sync(write_script(work / "a.py", "alpha>=1.1"), environment)
    assert installed(environment) == {"alpha==1.1"}


def test_the_lock_beside_a_script_decides(work: Path) -> None:
    script = write_script(work / "a.py", "alpha<2")
    assert uv("lock", "--script", script, "--python", base(), cwd=work).returncode == 0
    lock = work / "a.py.lock"
    assert '"1.1"' in lock.read_text()
    write_script(script, "alpha")
    environment = make(work / "env")
    sync(script, environment)
    assert installed(environment) == {"alpha==1.1"}


def test_a_lock_tells_paths_as_they_were_given(
    work: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("UV_FIND_LINKS")
    monkeypatch.delenv("UV_NO_INDEX")
    folder = work / "sources"
    shutil.copytree(index, folder / "wheels")
    write_project(folder / "project")
    index_at = 'index = [{{ name = "own", url = "{}", format = "flat", explicit = true }}]\n'
    settings = f'find-links = ["wheels"]\n{index_at}sources.local.path = "project"\n'
    script = write_script(folder / "a.py", "beta", "local", uv=settings.format("wheels"))
    call = ("lock", "--script", script, "--python", base())
    assert uv(*call, cwd=work).returncode == 0
    lock = (folder / "a.py.lock").read_text()
    assert lock.count('registry = "wheels"') == 2
    assert 'directory = "project"' in lock
    (folder / "a.py.lock").unlink()
    settings += 'sources.nspkg-one.index = "own"\n'
    write_script(script, "nspkg-one", uv=settings.format("wheels"))
    assert "No such file" in uv(*call, cwd=work).stderr
    wheels = folder / "wheels"
    write_script(script, "nspkg-one", uv=settings.format(wheels))
    assert uv(*call, cwd=work).returncode == 0
    lock = (folder / "a.py.lock").read_text()
    assert f'registry = "{wheels}"' in lock
    assert f'index = "file://{wheels}"' in lock


def test_a_lock_serves_in_another_folder_with_absolute_paths(work: Path) -> None:
    project = write_project(work / "project")
    here = write_script(work / "a.py", "local", uv='sources.local.path = "project"')
    assert uv("lock", "--script", here, "--python", base(), cwd=work).returncode == 0
    lock = (work / "a.py.lock").read_text()
    (work / "there").mkdir()
    there = write_script(work / "there" / "b.py", "local", uv=f'sources.local.path = "{project}"')
    (work / "there" / "b.py.lock").write_text(lock.replace('"project"', f'"{project}"'))
    call = ("lock", "--check", "--script", there, "--python", base())
    assert uv(*call, cwd=work).returncode == 0
    before = listing(work / "there")
    write_script(there, "local", "alpha", uv=f'sources.local.path = "{project}"')
    stale = uv(*call, cwd=work)
    assert stale.returncode == 1
    assert "needs to be updated" in stale.stderr
    assert {name for name, *_ in listing(work / "there")} == {name for name, *_ in before}


def test_a_frozen_sync_installs_the_lock_alone(work: Path) -> None:
    script = write_script(work / "a.py", "alpha<2")
    assert uv("lock", "--script", script, "--python", base(), cwd=work).returncode == 0
    write_script(script, "beta", "nspkg-one")
    environment = make(work / "env")
    sync(script, environment, "--frozen")
    assert installed(environment) == {"alpha==1.1"}


def test_uv_keeps_a_lock_that_it_inherits_for_as_long_as_it_lives(work: Path) -> None:
    """The resolver reads requirements from a pipe, so it lives until that is closed."""
    pipe = work / "requirements.in"
    os.mkfifo(pipe)
    with exclusively_held(work / "lock") as descriptor:
        process = subprocess.Popen(
            [find_uv_bin(), "pip", "compile", "--quiet", "--python", base(), str(pipe)],
            cwd=work,
            pass_fds=[descriptor],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
    with pipe.open("w") as requirements:
        assert is_locked(work / "lock")
        requirements.write("alpha\n")
    _, words = process.communicate(timeout=60)
    assert process.returncode == 0, words
    assert not is_locked(work / "lock")


def test_an_environment_is_made_without_packages_and_byte_code(work: Path) -> None:
    environment = make(work / "env")
    assert installed(environment) == set()
    assert not [*environment.rglob("*.pyc")]
    assert "relocatable = true" in (environment / "pyvenv.cfg").read_text()
    sync(write_script(work / "a.py", "beta"), environment)
    assert not [*site_of(environment).glob("[ab]*/**/*.pyc")], "a sync compiles nothing either"


def test_an_environment_without_its_configuration_leads_uv_to_the_base_interpreter(
    work: Path,
) -> None:
    """The reason why uv is never let near a folder without a whole ``pyvenv.cfg``."""
    environment = make(work / "env", python=throw_away_base(work / "base"))
    (environment / "pyvenv.cfg").unlink()
    script = write_script(work / "a.py", "alpha==1.0")
    told = json.loads(sync(script, environment, "--dry-run").stdout)
    assert told["sync"]["environment"]["path"] == str(work / "base")


def is_locked(lock: Path) -> bool:
    descriptor = os.open(lock, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
