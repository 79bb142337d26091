"""Links, pipes and devices in the place of what is ours or of a source: they are never followed."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ipy_scriptenv import environments
from ipy_scriptenv.environments import Context
from ipy_scriptenv.errors import Foreign, ScriptEnvError
from tests.conftest import Home
from tests.hostile import traps
from tests.hostile.pictures import changed, picture
from tests.hostile.traps import FOLDERS, LINKS, PIPES, Stage, assert_nobody_reads
from tests.kernels import GENERIC, environment_of, install_generic, made, opened, started
from tests.lifecycle import command
from tests.stage import sync

LONG_AGO = 86_400
"""Seconds: older than any file that a dead kernel may have left a moment ago."""


@pytest.fixture
def aside(tmp_path: Path) -> Path:
    """Give a folder of somebody else's, with old files in it."""
    folder = tmp_path / "aside"
    folder.mkdir()
    for name in ("precious.txt", "0" * 32, "kernel.json", "logo-svg.svg", "uv.toml"):
        (folder / name).write_text("precious")
        old = time.time() - LONG_AGO
        os.utime(folder / name, (old, old))
    return folder


@pytest.fixture
def stage(lean_home: Home, path: Path, aside: Path) -> Stage:
    """Give a notebook's environment, its kernelspec included."""
    return Stage(home=lean_home, environment=made(lean_home, path), aside=aside)


def everything_is_asked(path: Path, *, kernel: bool = False) -> None:
    """Do what an opening, a look and a rename do; errors of ours may come, others may not."""
    new = path.with_name("new.ipynb")
    source = environments.locate(path)
    with contextlib.suppress(ScriptEnvError, OSError):
        environments.start(source, context=Context(), wait=1)
    for words in (["status", path], ["find", path], ["list"], ["list", "--size"]):
        told = command(*words, "--json").json
        assert "unforeseen" not in str(told.get("error")), told
    if not kernel:
        path.rename(new)
        environments.adopt(path, new, context=Context())
        new.rename(path)


@pytest.mark.parametrize("trap", LINKS)
def test_a_link_is_not_followed(stage: Stage, path: Path, trap: Callable[[Stage], None]) -> None:
    trap(stage)
    before = picture(stage.aside)
    everything_is_asked(path)
    assert changed(before, picture(stage.aside)) == []


@pytest.mark.parametrize("verb", [environments.start, environments.sync])
@pytest.mark.parametrize("folder", ["", *FOLDERS])
def test_a_link_in_place_of_the_home_or_a_folder_in_it_is_refused(
    *, stage: Stage, path: Path, tmp_path: Path, folder: str, verb: Callable[..., object]
) -> None:
    place, aside = stage.home.scriptenv / folder, tmp_path / "elsewhere"
    place.rename(aside)
    place.symlink_to(aside)
    before = picture(aside)
    with pytest.raises(Foreign):
        verb(environments.locate(path), context=Context())
    assert changed(before, picture(aside)) == []


@pytest.mark.parametrize("folder", ["", "locks", "environments-v1"])
def test_looking_and_renaming_change_nothing_behind_a_link(
    stage: Stage, path: Path, tmp_path: Path, folder: str
) -> None:
    place, aside = stage.home.scriptenv / folder, tmp_path / "elsewhere"
    place.rename(aside)
    place.symlink_to(aside)
    before = picture(aside)
    new = path.rename(path.with_name("new.ipynb"))
    for words in (["status", new], ["find", new], ["list"], ["doctor"], ["prune", "--dry-run"]):
        command(*words, "--json")
    environments.adopt(path, new, context=Context())
    assert changed(before, picture(aside)) == []


@pytest.mark.parametrize("trap", PIPES)
def test_nobody_waits_for_a_pipe(stage: Stage, path: Path, trap: Callable[[Stage], Path]) -> None:
    pipe = trap(stage)
    with assert_nobody_reads(pipe):
        everything_is_asked(path)


@pytest.mark.parametrize(
    "trap",
    [traps.live_folder, traps.starting_note_to_nowhere, traps.lock, traps.kernelspec_folder],
)
def test_a_kernel_follows_no_link_either(
    *, offline_home: Home, path: Path, aside: Path, trap: Callable[[Stage], None]
) -> None:
    stage = Stage(home=offline_home, environment=made(offline_home, path), aside=aside)
    trap(stage)
    before = picture(aside)
    with opened(offline_home, path) as kernel:
        assert kernel.execute("1", silent=True).status == "ok"
        assert kernel.execute("1", store_history=False).status == "ok"
    assert changed(before, picture(aside)) == []


# Sources


@pytest.mark.parametrize("verb", ["status", "find", "sync"])
@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null", "/dev/stdin", "/dev/tty", "/dev"])
def test_a_device_is_no_source(lean_home: Home, verb: str, device: str) -> None:
    answer = command(verb, device, "--json")
    assert (answer.code, answer.json["error"]["code"]) in {(2, "not-a-source"), (2, "not-found")}
    assert not list((lean_home.scriptenv / "environments-v1").glob("*"))


@pytest.mark.parametrize("verb", ["status", "find", "sync"])
def test_a_pipe_is_no_source(lean_home: Home, tmp_path: Path, verb: str) -> None:
    pipe = tmp_path / "pipe.ipynb"
    os.mkfifo(pipe)
    (tmp_path / "link.py").symlink_to(pipe)
    with assert_nobody_reads(pipe):
        for path in (pipe, tmp_path / "link.py"):
            answer = command(verb, path, "--json")
            assert (answer.code, answer.json["error"]["code"]) == (2, "not-a-source")
    assert not list((lean_home.scriptenv / "environments-v1").glob("*"))


def test_a_notebook_that_became_a_pipe_is_not_read(stage: Stage, path: Path) -> None:
    path.unlink()
    os.mkfifo(path)
    with assert_nobody_reads(path):
        for verb in ("status", "find", "sync"):
            assert command(verb, path, "--json").json["error"]["code"] == "not-a-source"
        assert command("list", "--json").json["environments"][0]["path"] == str(stage.environment)


@pytest.mark.parametrize("device", ["/dev/zero", "pipe"])
def test_a_kernel_for_a_pipe_or_a_device_gets_an_environment_of_its_own(
    offline_home: Home, tmp_path: Path, device: str
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    (tmp_path / "nb.ipynb").symlink_to(pipe if device == "pipe" else device)
    variables = {"JPY_SESSION_NAME": str(tmp_path / "nb.ipynb")}
    install_generic(offline_home)
    with assert_nobody_reads(pipe), started(GENERIC, env=variables, cwd=tmp_path) as kernel:
        assert "ephemeral-" in kernel.execute("import sys; print(sys.prefix)").stdout


@pytest.mark.parametrize("suffix", ["pipe", "/dev/zero", "folder"])
def test_a_lock_beside_the_source_that_is_no_file_is_ignored(
    lean_home: Home, path: Path, suffix: str
) -> None:
    lock = path.with_name(f"{path.name}.lock")
    if suffix == "pipe":
        os.mkfifo(lock)
    elif suffix == "folder":
        lock.mkdir()
    else:
        lock.symlink_to(suffix)
    with assert_nobody_reads(lock) if suffix == "pipe" else contextlib.nullcontext():
        made(lean_home, path)
        assert command("status", path, "--json").code == 0
        assert {change.name for change in sync(path).changes} == {"alpha"}
    assert environment_of(lean_home, path).is_dir()
