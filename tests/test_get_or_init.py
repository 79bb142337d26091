"""Get or init: an environment is made, kept, rebuilt for another Python, or repaired."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ipy_scriptenv import environments, store
from ipy_scriptenv.environments import EPHEMERAL, Context, Start
from ipy_scriptenv.errors import (
    EnvironmentInUse,
    Foreign,
    LockTimeout,
    NewerSchema,
    NoEnvironment,
    NotFound,
)
from ipy_scriptenv.locks import is_held
from ipy_scriptenv.store import CHANGING, LAUNCHER, RECORD, Store
from tests.conftest import Home
from tests.stage import (
    exclusively_held,
    installed,
    listing,
    pretend_layer,
    record_of,
    record_rows,
    running_kernel,
    site_of,
    start,
    sync,
    throw_away_base,
    write_script,
)

HOST = f"{sys.version_info[0]}.{sys.version_info[1]}"
WANTED = {"alpha==2.0", "beta==1.0"}

Verb = Callable[[Path], object]


@pytest.fixture(autouse=True)
def home(lean_home: Home) -> Home:
    return lean_home


@pytest.fixture
def script(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return write_script(folder / "a.py", "beta")


def environment_of(path: Path) -> Path:
    name = environments.name_of(environments.locate(path))
    return Context().store.environment(name)


def assert_works(environment: Path, packages: set[str]) -> None:
    assert installed(environment) == packages
    assert all(path.stat().st_size == size for path, size in record_rows(environment) if size)
    modules = [package.partition("==")[0].replace("-", "_") for package in packages]
    question = f"import sys, {', '.join(['os', *modules])}; print(sys.prefix)"
    python = environment / "bin" / "python"
    answer = subprocess.run([python, "-c", question], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == str(environment)


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


# Repair


def no_configuration(environment: Path) -> None:
    (environment / "pyvenv.cfg").unlink()


def empty_configuration(environment: Path) -> None:
    (environment / "pyvenv.cfg").write_text("")


def truncated_configuration(environment: Path) -> None:
    text = (environment / "pyvenv.cfg").read_text()
    (environment / "pyvenv.cfg").write_text(text[: text.index("=") + 2])


def configuration_without_home(environment: Path) -> None:
    lines = (environment / "pyvenv.cfg").read_text().splitlines()
    kept = [line for line in lines if not line.startswith("home")]
    (environment / "pyvenv.cfg").write_text("\n".join(kept))


def folder_for_configuration(environment: Path) -> None:
    no_configuration(environment)
    (environment / "pyvenv.cfg").mkdir()


def no_interpreter(environment: Path) -> None:
    (environment / "bin" / "python").unlink()


def dangling_interpreter(environment: Path) -> None:
    no_interpreter(environment)
    (environment / "bin" / "python").symlink_to("/nonexistent/python")


def folder_for_interpreter(environment: Path) -> None:
    no_interpreter(environment)
    (environment / "bin" / "python").mkdir()


def no_commands(environment: Path) -> None:
    shutil.rmtree(environment / "bin")


def mark(environment: Path) -> None:
    (environment / CHANGING).touch()


def no_record(environment: Path) -> None:
    (environment / RECORD).unlink()


def empty_record(environment: Path) -> None:
    (environment / RECORD).write_text("")


def truncated_record(environment: Path) -> None:
    text = (environment / RECORD).read_text()
    (environment / RECORD).write_text(text[: len(text) // 2])


def incomplete_record(environment: Path) -> None:
    (environment / RECORD).write_text('{"schema": 1}')


def record_of_wrong_types(environment: Path) -> None:
    data = json.loads((environment / RECORD).read_text())
    (environment / RECORD).write_text(json.dumps(data | {"watch": 1}))


def folder_for_record(environment: Path) -> None:
    no_record(environment)
    (environment / RECORD).mkdir()


def emptied_packages(environment: Path) -> None:
    for path in site_of(environment).iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def no_packages(environment: Path) -> None:
    shutil.rmtree(environment / "lib")


def one_package_missing(environment: Path) -> None:
    for path in site_of(environment).glob("alpha*"):
        shutil.rmtree(path)


def nothing_but_a_folder(environment: Path) -> None:
    shutil.rmtree(environment)
    environment.mkdir()


DAMAGES = [
    no_configuration,
    empty_configuration,
    truncated_configuration,
    configuration_without_home,
    folder_for_configuration,
    no_interpreter,
    dangling_interpreter,
    folder_for_interpreter,
    no_commands,
    mark,
    no_record,
    empty_record,
    truncated_record,
    incomplete_record,
    record_of_wrong_types,
    folder_for_record,
    emptied_packages,
    no_packages,
    nothing_but_a_folder,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_told_and_rebuilt(
    script: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    source, context = environments.locate(script), Context()
    environment = sync(script).path
    damage(environment)
    shutil.copytree(environment, tmp_path / "damaged", symlinks=True)
    assert environments.status(source, context=context).state == "broken"
    with pytest.raises(NoEnvironment):
        environments.find(source, context=context)
    start(script)
    assert_works(environment, set())
    assert environments.status(source, context=context).state == "stale"
    shutil.rmtree(environment)
    (tmp_path / "damaged").rename(environment)
    assert sync(script).action == "rebuilt"
    assert not (environment / CHANGING).exists()
    assert_works(environment, WANTED)
    assert sync(script).action == "kept"


def test_a_sync_brings_back_a_package_that_is_missing(script: Path) -> None:
    environment = sync(script).path
    one_package_missing(environment)
    assert sync(script).action == "updated"
    assert_works(environment, WANTED)


@pytest.mark.parametrize("verb", [start, sync])
def test_the_base_interpreters_packages_are_not_touched_in_a_repair(
    script: Path, tmp_path: Path, verb: Verb
) -> None:
    """Without ``pyvenv.cfg`` uv takes it for the base, and an exact sync empties that."""
    python = throw_away_base(tmp_path / "base")
    packages = site_of(tmp_path / "base")
    before = listing(packages)
    environment = sync(script, python=str(python)).path
    assert record_of(environment).python.base == str(python)
    (environment / "pyvenv.cfg").unlink()
    verb(script)
    sync(script)
    assert listing(packages) == before
    assert_works(environment, WANTED)


def test_the_base_interpreters_packages_are_not_touched_under_a_running_kernel(
    home: Home, script: Path, tmp_path: Path
) -> None:
    python = throw_away_base(tmp_path / "base")
    packages = site_of(tmp_path / "base")
    before = listing(packages)
    environment = sync(script, python=str(python)).path
    (environment / "pyvenv.cfg").unlink()
    write_script(script, "gamma")
    with running_kernel(home.scriptenv, environment.name):
        sync(script)
    assert listing(packages) == before
    assert_works(environment, {"gamma==1.0", "alpha==1.1"})


@pytest.mark.parametrize("verb", [start, sync])
@pytest.mark.parametrize("gone", [True, False])
def test_an_interpreter_that_is_gone_or_does_not_start_is_replaced(
    script: Path, tmp_path: Path, verb: Verb, *, gone: bool
) -> None:
    python = throw_away_base(tmp_path / "base")
    environment = sync(script, python=str(python)).path
    if gone:
        shutil.rmtree(tmp_path / "base")
    else:
        python.chmod(0o600)
    verb(script)
    assert os.access(record_of(environment).python.base, os.X_OK)
    sync(script)
    assert_works(environment, WANTED)


# What is never touched


@pytest.mark.parametrize("verb", [start, sync])
def test_a_record_of_a_newer_version_is_an_error(script: Path, verb: Verb) -> None:
    environment = sync(script).path
    data = json.loads((environment / RECORD).read_text())
    (environment / RECORD).write_text(json.dumps({"schema": 2, "source": data["source"]}))
    before = listing(environment)
    with pytest.raises(NewerSchema) as refused:
        verb(script)
    assert "upgrade" in refused.value.hint.lower()
    assert listing(environment) == before


@pytest.mark.parametrize("verb", [start, sync])
def test_a_record_of_another_source_is_an_error(script: Path, verb: Verb) -> None:
    environment = sync(script).path
    record = environment / RECORD
    record.write_text(record.read_text().replace(str(script), "/another/source.py"))
    before = listing(environment)
    with pytest.raises(Foreign) as refused:
        verb(script)
    assert "`/another/source.py`" in str(refused.value)
    assert listing(environment) == before


def foreign_file(place: Path, _aside: Path) -> None:
    place.write_text("precious")


def foreign_folder(place: Path, _aside: Path) -> None:
    place.mkdir()
    (place / "precious").write_text("precious")


def foreign_environment(place: Path, _aside: Path) -> None:
    """A virtual environment that somebody else has made."""
    foreign_folder(place, _aside)
    (place / "pyvenv.cfg").write_text("home = /usr/bin\n")
    (place / "bin").mkdir()
    (place / "bin" / "python").symlink_to(sys.executable)


def link_to_a_folder(place: Path, aside: Path) -> None:
    foreign_folder(aside, aside)
    place.symlink_to(aside)


def link_to_an_empty_folder(place: Path, aside: Path) -> None:
    aside.mkdir()
    place.symlink_to(aside)


def link_to_nothing(place: Path, aside: Path) -> None:
    place.symlink_to(aside)


def link_to_an_environment(place: Path, aside: Path) -> None:
    """One of ours even: a link never is."""
    aside.mkdir()
    (aside / RECORD).write_text("{}")
    (aside / LAUNCHER).write_text("")
    place.symlink_to(aside)


def pipe(place: Path, _aside: Path) -> None:
    os.mkfifo(place)


@pytest.mark.parametrize("verb", [start, sync])
@pytest.mark.parametrize(
    "foreign",
    [
        foreign_file,
        foreign_folder,
        foreign_environment,
        link_to_a_folder,
        link_to_an_empty_folder,
        link_to_nothing,
        link_to_an_environment,
        pipe,
    ],
)
def test_what_is_foreign_is_not_touched(
    *, script: Path, tmp_path: Path, foreign: Callable[[Path, Path], None], verb: Verb
) -> None:
    Context().store.prepare()
    place = environment_of(script)
    foreign(place, tmp_path / "aside")
    before = listing(place.parent), listing(tmp_path / "aside"), place.lstat()
    with pytest.raises(Foreign) as refused:
        verb(script)
    assert refused.value.code == "foreign"
    assert f"`{place}`" in str(refused.value)
    after = listing(place.parent), listing(tmp_path / "aside"), place.lstat()
    assert after[:2] == before[:2]
    assert (after[2].st_ino, after[2].st_mtime_ns) == (before[2].st_ino, before[2].st_mtime_ns)


@pytest.mark.parametrize("folder", ["environments-v1", "kernels-v1", "locks", "work-v1"])
def test_a_link_in_place_of_a_folder_of_ours_is_refused(
    home: Home, script: Path, tmp_path: Path, folder: str
) -> None:
    aside = tmp_path / "aside"
    (home.scriptenv / folder).rename(aside)
    (home.scriptenv / folder).symlink_to(aside)
    before = listing(aside)
    with pytest.raises(Foreign):
        start(script)
    assert listing(aside) == before


@pytest.mark.parametrize("verb", [start, sync])
def test_nothing_is_written_beside_the_source(script: Path, verb: Verb) -> None:
    """So a folder that is read-only does as well; root may write into it all the same."""
    script.parent.chmod(0o555)
    before = listing(script.parent), script.parent.stat().st_mtime_ns
    verb(script)
    assert (listing(script.parent), script.parent.stat().st_mtime_ns) == before


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


# Leftovers


def test_builds_that_a_crash_left_are_swept(script: Path, tmp_path: Path) -> None:
    environment = start(script).path
    left = environment.parent / f".building-{environment.name}-0123abcd"
    anothers = environment.parent / f".building-{start(write_script(tmp_path / 'b.py')).name}-0"
    for folder in (left, anothers):
        folder.mkdir()
        (folder / "file").touch()
    start(script)
    assert not left.exists()
    assert anothers.exists()


def test_the_build_of_another_is_not_swept_however_long_it_takes(
    home: Home, script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A download may take hours, and nothing in the folder changes meanwhile."""
    other = environment_of(write_script(tmp_path / "b.py"))
    Context().store.prepare()
    build = other.with_name(f".building-{other.name}-0123abcd")
    build.mkdir()
    monkeypatch.setattr(store, "_ABANDONED", -1)
    with exclusively_held(home.scriptenv / "locks" / f"{other.name}.lock"):
        start(script)
        assert build.exists()


def test_a_sweep_takes_nothing_out_of_an_environment(
    script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = sync(script).path
    before = {path.name for path in environment.iterdir()}
    monkeypatch.setattr(store, "_ABANDONED", -1)
    start(script)
    assert {path.name for path in environment.iterdir()} == before


def test_what_was_removed_but_not_deleted_is_swept_when_it_is_old(
    script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed = start(write_script(tmp_path / "b.py")).path
    with monkeypatch.context() as killed:
        killed.setattr(store, "remove_tree", lambda _path: None)
        Context().store.remove_environment(removed)
    environment = start(script).path
    assert len([*environment.parent.iterdir()]) == 2
    monkeypatch.setattr(store, "_ABANDONED", -1)
    start(script)
    assert [*environment.parent.iterdir()] == [environment]


@pytest.mark.parametrize("verb", [start, sync])
def test_an_environment_that_a_kill_left_without_its_name_gets_it_back(
    script: Path, verb: Verb, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a kill leaves it that comes when the old one has gone and the new one has not come."""
    environment = sync(script).path
    before = environment.stat().st_ino
    rename = Path.rename

    def stop_at_the_build(path: Path, target: Path) -> Path:
        if path.name.startswith(".building-"):
            raise KeyboardInterrupt
        return rename(path, target)

    write_script(script, "nspkg-one")
    with monkeypatch.context() as killed:
        killed.setattr(Path, "rename", stop_at_the_build)
        with pytest.raises(KeyboardInterrupt):
            sync(script)
    assert not environment.exists()
    write_script(script, "beta")
    verb(script)
    assert environment.stat().st_ino == before
    assert_works(environment, WANTED)
    assert [*environment.parent.iterdir()] == [environment]


def test_a_link_among_leftovers_is_not_followed(script: Path, tmp_path: Path) -> None:
    environment = start(script).path
    aside = tmp_path / "aside"
    aside.mkdir()
    (aside / "precious").touch()
    (environment.parent / f".building-{environment.name}-0").symlink_to(aside)
    start(script)
    assert (aside / "precious").exists()


@pytest.mark.parametrize("verb", [start, sync])
def test_nothing_is_left_over(home: Home, script: Path, verb: Verb) -> None:
    environment = environment_of(script)
    verb(script)
    verb(script)
    (environment / "pyvenv.cfg").unlink()
    verb(script)
    assert [*environment.parent.iterdir()] == [environment]
    assert [path.name for path in (home.scriptenv / "work-v1").iterdir()] == ["uv.toml"]
    assert not [path for path in home.scriptenv.rglob(".*-*") if path.name != ".lock"]


@pytest.mark.parametrize(
    "left",
    [
        "work-v1/.{name}.py-0123abcd",
        "environments-v1/{name}/.scriptenv.json-0123abcd",
        "kernel-side-v1/.building-0123456789abcdef",
    ],
)
def test_files_that_a_crash_left_half_written_are_swept(
    home: Home, script: Path, left: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = start(script)
    path = home.scriptenv / left.format(name=started.name)
    path.touch()
    # What is nobody's by its name goes once it is older than any work can be.
    monkeypatch.setattr("ipy_scriptenv.store._ABANDONED", -1.0)
    sync(script)
    sync(script)
    assert not path.exists()


# Permissions


def test_everything_is_the_users_alone(home: Home, script: Path) -> None:
    home.scriptenv.chmod(0o755)
    old = os.umask(0)
    try:
        environment = sync(script).path
    finally:
        os.umask(old)
    folders = [home.scriptenv, environment, *(p for p in home.scriptenv.iterdir() if p.is_dir())]
    assert {str(path): oct(path.stat().st_mode & 0o777) for path in folders} == {
        str(path): "0o700" for path in folders
    }
    files = [
        environment / RECORD,
        environment / LAUNCHER,
        *(path for path in (home.scriptenv / "locks").iterdir() if path.is_file()),
    ]
    assert {str(path): oct(path.stat().st_mode & 0o777) for path in files} == {
        str(path): "0o600" for path in files
    }


# Several at once


def test_starts_at_once_give_one_environment(script: Path) -> None:
    barrier = threading.Barrier(4)

    def begin(_number: int) -> Start:
        barrier.wait()
        return start(script)

    with ThreadPoolExecutor(4) as pool:
        started = [*pool.map(begin, range(4))]
    assert len({(each.path, each.argv) for each in started}) == 1
    assert [*started[0].path.parent.iterdir()] == [started[0].path]
    assert_works(started[0].path, set())


def test_starts_and_syncs_of_several_processes_at_once_give_one_environment(script: Path) -> None:
    program = (
        "import sys; from tests.stage import start, sync; from pathlib import Path;"
        "sys.stdin.read(); {'start': start, 'sync': sync}[sys.argv[1]](Path(sys.argv[2]))"
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
        started.append(environments.start(environments.locate(script), context=context))

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
    started = environments.start(EPHEMERAL, context=Context())
    with running_kernel(home.scriptenv, started.name):
        environments.discard(started.name, context=Context())
        assert started.path.exists()
    environments.discard(started.name, context=Context())
    assert [*started.path.parent.iterdir()] == []
    assert not [path for path in (home.scriptenv / "locks").iterdir() if "ephem" in path.name]


def test_ephemeral_environments_whose_kernels_are_gone_are_swept_by_the_next_start(
    home: Home, script: Path
) -> None:
    abandoned, running, young = (environments.start(EPHEMERAL, context=Context()) for _ in range(3))
    kept = start(script)
    for each in (abandoned, running, kept):
        record = each.path / RECORD
        content = json.loads(record.read_text()) | {"last_used": "2020-01-01T00:00:00Z"}
        record.write_text(json.dumps(content))
    with running_kernel(home.scriptenv, running.name):
        last = environments.start(EPHEMERAL, context=Context())
    assert {*kept.path.parent.iterdir()} == {running.path, young.path, kept.path, last.path}
