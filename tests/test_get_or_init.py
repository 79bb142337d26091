"""Get or init: an environment is made, kept, or rebuilt for another Python; one for a file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ipy_scriptenv import environments
from ipy_scriptenv.environments import EPHEMERAL, Context, Start, wanted
from ipy_scriptenv.environments.sources import Reading, read_source
from ipy_scriptenv.errors import EnvironmentInUse, LockTimeout, NotFound
from ipy_scriptenv.layout import CHANGING, LAUNCHER, RECORD
from ipy_scriptenv.locks import is_held
from ipy_scriptenv.record import Source
from ipy_scriptenv.store import Store
from tests.conftest import Home
from tests.damages import dangling_interpreter, mark, no_configuration, no_interpreter, no_record
from tests.stage import (
    HOST,
    WANTED,
    assert_works,
    environment_of,
    exclusively_held,
    listing,
    pretend_layer,
    record_of,
    running_kernel,
    site_of,
    start,
    sync,
    write_notebook,
    write_script,
)

Verb = Callable[[Path], object]

pytestmark = pytest.mark.usefixtures("lean_home")


@pytest.fixture
def script(script: Path) -> Path:
    return write_script(script, "beta")


# Create


def test_a_start_makes_an_environment_and_installs_nothing(script: Path) -> None:
    started = start(script)
    assert started.path == environment_of(script)
    assert_works(started.path, set())
    assert started.argv == (
        str(started.path / "bin" / "python"),
        str(started.path / LAUNCHER),
    )
    record = record_of(started.path)
    assert record.source.path == str(script)
    assert record.fingerprint is None


def test_a_start_reads_no_more_than_the_block(script: Path) -> None:
    """Neither what it declares must exist nor must its ``tool.uv`` make sense."""
    write_script(script, "no-such-package", uv="no-such-setting = true")
    assert_works(start(script).path, set())


def test_a_start_writes_the_kernelspec(home: Home, script: Path) -> None:
    started = start(script)
    written = home.kernelspecs / f"scriptenv-{started.name}" / "kernel.json"
    assert json.loads(written.read_text())["argv"] == [*started.argv, "-f", "{connection_file}"]
    written.unlink()
    start(script)
    assert written.exists()


def test_a_source_without_a_block_gets_an_environment_that_is_in_sync(script: Path) -> None:
    script.write_text("print(1)\n")
    started = start(script)
    assert environments.status(started.source, context=Context()).state == "in-sync"


def test_a_notebook_that_is_being_written_is_read_when_that_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jupyter's server empties the file first, and saves a new notebook while its kernel starts."""
    path = write_notebook(tmp_path / "new.ipynb", "")
    text = path.read_text(encoding="utf-8")
    path.write_text("", encoding="utf-8")

    def read(source: Source) -> Reading | None:
        try:
            return read_source(source)
        finally:
            path.write_text(text, encoding="utf-8")

    monkeypatch.setattr(wanted, "read_source", read)
    record = record_of(start(path).path)
    assert record.fingerprint is not None
    assert record.source_stat is not None


def test_a_source_that_is_gone_has_no_environment_made(script: Path) -> None:
    script.unlink()
    with pytest.raises(NotFound):
        sync(script)


# Keep


def test_an_environment_that_stands_is_kept(script: Path) -> None:
    first = start(script)
    before = first.path.stat().st_ino
    assert start(script) == first
    assert first.path.stat().st_ino == before


def test_a_start_keeps_what_is_installed_although_the_block_asks_for_something_else(
    script: Path,
) -> None:
    environment = sync(script).path
    before = listing(site_of(environment))
    write_script(script, "nspkg-one")
    start(script)
    assert listing(site_of(environment)) == before


def test_a_block_that_cannot_be_read_keeps_the_environment(script: Path) -> None:
    environment = sync(script).path
    before = record_of(environment)
    script.write_text("# /// script\n# dependencies = [\n# ///\n")
    start(script)
    assert_works(environment, WANTED)
    assert record_of(environment).block == before.block


def test_a_block_that_cannot_be_read_gets_an_empty_environment(script: Path) -> None:
    script.write_text("# /// script\n# dependencies = [\n# ///\n")
    assert_works(start(script).path, set())


def test_a_launcher_that_is_missing_or_changed_is_written_anew(script: Path) -> None:
    launcher = start(script).path / LAUNCHER
    text = launcher.read_text()
    launcher.unlink()
    start(script)
    assert launcher.read_text() == text
    launcher.write_text("")
    start(script)
    assert launcher.read_text() == text


# Rebuild for another Python


@pytest.mark.parametrize("verb", [start, sync])
def test_an_environment_is_rebuilt_at_its_path_for_another_python(
    home: Home, script: Path, verb: Verb, pythons: dict[str, Path]
) -> None:
    other = next((minor for minor in pythons if minor != HOST), None)
    if other is None:
        pytest.skip("there is no other Python")
    pretend_layer(home.scriptenv, pythons[other])
    environment = sync(script).path
    write_script(script, "beta", requires_python=f"=={other}.*")
    verb(script)
    assert environment_of(script) == environment
    assert record_of(environment).python.minor == other
    assert_works(environment, WANTED if verb is sync else set())


@pytest.mark.parametrize("verb", [start, sync])
def test_an_environment_is_not_rebuilt_under_a_running_kernel(
    home: Home, script: Path, verb: Verb, pythons: dict[str, Path]
) -> None:
    other = next((minor for minor in pythons if minor != HOST), None)
    if other is None:
        pytest.skip("there is no other Python")
    environment = sync(script).path
    before = listing(environment / "lib")
    write_script(script, "beta", requires_python=f"=={other}.*")
    with (
        running_kernel(home.scriptenv, environment.name),
        pytest.raises(EnvironmentInUse) as refused,
    ):
        verb(script)
    assert f"process {os.getpid()}" in str(refused.value)
    assert listing(environment / "lib") == before


# One file, one environment


def test_every_spelling_of_a_path_leads_to_the_same_environment(
    script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = sync(script).path
    (tmp_path / "link.py").symlink_to(script)
    (tmp_path / "linked").symlink_to(script.parent)
    (tmp_path / "relative.py").symlink_to("work/a.py")
    monkeypatch.chdir(script.parent)
    for path in (
        tmp_path / "link.py",
        tmp_path / "linked" / "a.py",
        tmp_path / "relative.py",
        script.parent / ".." / "work" / "a.py",
        tmp_path / "linked" / ".." / "work" / "a.py",
        Path("a.py"),
        Path("./a.py"),
        Path("../work/a.py"),
    ):
        synced = sync(path)
        assert (synced.path, synced.action) == (environment, "kept")
    assert [*environment.parent.glob("[!.]*")] == [environment]


def test_files_of_the_same_name_have_environments_of_their_own(
    script: Path, tmp_path: Path
) -> None:
    (tmp_path / "else").mkdir()
    assert start(script).path != start(write_script(tmp_path / "else" / "a.py")).path


def test_hard_links_are_two_sources(script: Path) -> None:
    other = script.with_name("b.py")
    other.hardlink_to(script)
    assert start(script).path != start(other).path


@pytest.mark.parametrize(
    "name", ["with space.py", "größe ☃.py", "a'b\"c.py", "new\nline.py", "-dash.py", "%s{}$HOME.py"]
)
def test_names_of_all_kinds_work(
    script: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / f"hôme {name}"
    Store(Path(os.environ["SCRIPTENV_HOME"])).home.rename(home)
    monkeypatch.setenv("SCRIPTENV_HOME", str(home))
    folder = script.parent / f"földer {name}"
    folder.mkdir()
    path = write_script(folder / name, "beta", "with-entry-point")
    environment = sync(path).path
    assert environment.is_relative_to(home)
    assert_works(environment, {*WANTED, "with-entry-point==1.0"})
    command = environment / "bin" / "hello-entry"
    assert subprocess.run([command], check=True, capture_output=True).stdout.startswith(b"hello")
    assert sync(path).action == "kept"


def test_a_name_that_is_no_text_works(script: Path) -> None:
    """Linux lets a name be any bytes."""
    path = script.parent / os.fsdecode(b"\xff\xfe.py")
    try:
        write_script(path, "beta")
    except OSError:
        pytest.skip("the file system takes text alone")
    environment = sync(path).path
    assert sync(path).action == "kept"
    before = environment.stat().st_ino
    start(path)
    assert environment.stat().st_ino == before
    assert_works(environment, WANTED)


# Several at once


def test_starts_at_once_give_one_environment(script: Path) -> None:
    barrier = threading.Barrier(4)

    def begin(_number: int) -> Start:
        barrier.wait()
        return start(script, wait=100)

    with ThreadPoolExecutor(4) as pool:
        started = [*pool.map(begin, range(4))]
    assert len({(each.path, each.argv) for each in started}) == 1
    assert [*started[0].path.parent.iterdir()] == [started[0].path]
    assert_works(started[0].path, set())


def test_starts_and_syncs_of_several_processes_at_once_give_one_environment(script: Path) -> None:
    program = (
        "import sys; from tests.stage import start, sync; from pathlib import Path;"
        "sys.stdin.read(); path = Path(sys.argv[2]);"
        "start(path, wait=100) if sys.argv[1] == 'start' else sync(path)"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, verb, script],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent.parent,
        )
        for verb in ("start", "sync", "start", "sync")
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
    for process in processes:
        _, words = process.communicate(timeout=120)
        assert process.returncode == 0, words
    environment = environment_of(script)
    assert [*environment.parent.iterdir()] == [environment]
    assert_works(environment, WANTED)


def lock_of(environment: Path) -> Path:
    return environment.parent.parent / "locks" / f"{environment.name}.lock"


def test_a_start_during_a_change_launches_at_once_where_an_environment_stands(
    script: Path,
) -> None:
    environment = sync(script).path
    before = listing(environment)
    with exclusively_held(lock_of(environment)):
        started = start(script, wait=0)
    assert started.path == environment
    assert listing(environment) == before


def test_a_start_during_a_change_in_place_launches_at_once(script: Path) -> None:
    environment = sync(script).path
    mark(environment)
    with exclusively_held(lock_of(environment)):
        assert start(script, wait=0).path == environment
    assert (environment / CHANGING).exists()


@pytest.mark.parametrize(
    "damage", [no_configuration, no_interpreter, no_record, dangling_interpreter]
)
def test_a_start_during_a_change_waits_where_no_kernel_could_run(
    script: Path, damage: Callable[[Path], None]
) -> None:
    environment = sync(script).path
    damage(environment)
    with exclusively_held(lock_of(environment)), pytest.raises(LockTimeout) as refused:
        start(script, wait=0.1)
    assert refused.value.hint


def test_a_start_during_a_change_waits_where_the_kernel_itself_is_in_the_environment(
    script: Path,
) -> None:
    environment = sync(script).path
    record = environment / RECORD
    text = record.read_text()
    record.write_text(text.replace(f'"{record_of(environment).kernel}"', '"own"'))
    with exclusively_held(lock_of(environment)), pytest.raises(LockTimeout):
        start(script, wait=0.1)


def test_a_start_during_the_first_build_waits_for_it(script: Path) -> None:
    Context().store.prepare()
    told = threading.Event()
    started: list[Start] = []

    def begin() -> None:
        context = Context(on_event=lambda event: told.set() if "for" in event else None)
        source = environments.locate(script)
        started.append(environments.start(source, context=context, wait=100))

    with exclusively_held(lock_of(environment_of(script))):
        waiting = threading.Thread(target=begin)
        waiting.start()
        assert told.wait(60)
        assert not started
    waiting.join(60)
    assert_works(started[0].path, set())


@pytest.mark.parametrize("verb", [start, sync])
def test_a_lock_is_free_afterwards(script: Path, verb: Verb) -> None:
    verb(script)
    assert not is_held(lock_of(environment_of(script)))


# Without a source


def test_an_ephemeral_environment_is_new_each_time_and_in_no_list(home: Home) -> None:
    first, second = (environments.start(EPHEMERAL, context=Context()) for _ in range(2))
    assert first.path != second.path
    assert_works(first.path, set())
    assert environments.list_environments(context=Context()) == []
    assert not home.kernelspecs.exists()


def test_an_ephemeral_environment_is_kept_for_a_restart() -> None:
    first = environments.start(EPHEMERAL, context=Context())
    again = environments.start(EPHEMERAL, context=Context(), name=first.name)
    assert again == first


def test_an_ephemeral_environment_is_discarded_unless_a_kernel_runs_in_it(home: Home) -> None:
    started = environments.start(EPHEMERAL, context=Context(), launching=False)
    with running_kernel(home.scriptenv, started.name):
        environments.discard(started.name, context=Context())
        assert started.path.exists()
    environments.discard(started.name, context=Context())
    assert [*started.path.parent.iterdir()] == []
    assert not [path for path in (home.scriptenv / "locks").iterdir() if "ephem" in path.name]


def test_ephemeral_environments_whose_kernels_are_gone_are_swept_by_the_next_start(
    home: Home, script: Path
) -> None:
    abandoned, running, young = (
        environments.start(EPHEMERAL, context=Context(), launching=False) for _ in range(3)
    )
    kept = start(script)
    for each in (abandoned, running, kept):
        record = each.path / RECORD
        content = json.loads(record.read_text()) | {"last_used": "2020-01-01T00:00:00Z"}
        record.write_text(json.dumps(content))
    with running_kernel(home.scriptenv, running.name):
        last = environments.start(EPHEMERAL, context=Context())
    assert {*kept.path.parent.iterdir()} == {running.path, young.path, kept.path, last.path}
