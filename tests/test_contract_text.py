"""The contract, *Which text?* and *What syncs?*: rows that no other test names."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from uv import find_uv_bin

from ipy_scriptenv import processes
from ipy_scriptenv.environments import Asker
from ipy_scriptenv.errors import RestartNeeded
from ipy_scriptenv.plan import Loaded
from tests.conftest import Home
from tests.kernels import (
    Kernel,
    block,
    environment_of,
    opened,
    pip_list,
    python_of,
    write_notebook,
)
from tests.kernels import record_of as json_record_of
from tests.lifecycle import command
from tests.stage import (
    block_of,
    commented,
    exclusively_held,
    installed,
    record_of,
    running_kernel,
    start,
    sync,
    write_script,
)

ALPHA = "alpha/__init__.py"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give a notebook on disk that declares nothing."""
    return write_notebook(tmp_path / "work" / "nb.ipynb", "")


@pytest.fixture
def script(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder / "a.py"


# A kernel runs


def test_which_text_a_running_kernels_is_that_of_the_last_executed_cell_that_had_one(
    offline_home: Home, path: Path
) -> None:
    """Not the file's, nor that of the cell farthest down: cells may be run in any order."""
    write_notebook(path, block("alpha==1.0"))
    environment = environment_of(offline_home, path)
    first, second = block("nspkg-one"), block("nspkg-two")
    with opened(offline_home, path) as kernel:
        for code, expected in (
            (first, {"nspkg-one": "1.0"}),
            (second, {"nspkg-two": "1.0"}),
            ("x = 1", {"nspkg-two": "1.0"}),
            (first, {"nspkg-one": "1.0"}),
            ("%%capture\n" + second, {"nspkg-one": "1.0"}),
        ):
            done = kernel.execute(code)
            assert done.status == "ok", done.traceback
            assert pip_list(environment) == expected
        record = json_record_of(environment)
        assert record["block"] == 'dependencies = ["nspkg-one"]\n'
        kernel.restart()
        assert kernel.execute("import nspkg.one").status == "ok"
        assert pip_list(environment) == {"nspkg-one": "1.0"}


@pytest.mark.usefixtures("lean_home")
def test_which_text_cells_that_begin_with_a_cell_magic_are_never_read_for_a_block(
    path: Path,
) -> None:
    """On disk either: two blocks would be an error, and one of the two is none."""
    for hidden in ("%%writefile a.py\n" + block("nspkg-one"), "\n%%bash\n" + block("nspkg-two")):
        write_notebook(path, hidden)
        assert sync(path).record.block is None
        write_notebook(path, hidden, block("alpha==1.0"), hidden)
        assert installed(sync(path).path) == {"alpha==1.0"}


# A kernel starts


def another_size(path: Path) -> None:
    found = path.stat()
    path.write_text(path.read_text() + "#\n")
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert path.stat().st_ino == found.st_ino


def another_time(path: Path) -> None:
    found = path.stat()
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns + 1000))
    assert (path.stat().st_size, path.stat().st_ino) == (found.st_size, found.st_ino)


def another_inode(path: Path) -> None:
    copy = path.with_name("copy")
    shutil.copy2(path, copy)
    found = path.stat()
    copy.replace(path)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert path.stat().st_size == found.st_size


@pytest.mark.usefixtures("lean_home")
@pytest.mark.parametrize("change", [another_size, another_time, another_inode])
def test_which_text_the_file_s_if_its_size_time_or_inode_has_changed_else_the_record_s(
    script: Path, change: Callable[[Path], None]
) -> None:
    """Each of the three alone is enough; none of them means that the executed block stands."""
    first = sync(write_script(script, "alpha<2"))
    python = first.record.python.base
    asker = Asker(uuid="", fresh=False, python=python, kernel=first.record.kernel)
    sync(script, block=block_of("beta"), given=True, asker=asker)
    start(script)
    assert sync(script).action == "kept"
    assert installed(first.path) == {"alpha==2.0", "beta==1.0"}
    change(script)
    start(script)
    assert installed(sync(script).path) == {"alpha==1.1"}


@pytest.fixture
def pending(lean_home: Home, script: Path) -> str:
    """Leave a block pending, as a kernel does that has imported what it changes; give its TOML."""
    first = sync(write_script(script, "alpha<2"))
    with running_kernel(lean_home.scriptenv, first.name, imported=[ALPHA]) as uuid:
        asker = Asker(
            uuid=uuid,
            fresh=False,
            python=first.record.python.base,
            kernel=first.record.kernel,
            loaded=Loaded(environment=frozenset({ALPHA})),
        )
        with pytest.raises(RestartNeeded):
            sync(script, block=block_of("alpha>=2"), given=True, asker=asker)
    assert record_of(first.path).pending == block_of("alpha>=2")
    return block_of("alpha>=2")


@pytest.mark.usefixtures("pending")
def test_which_text_sync_and_status_on_the_command_line_choose_in_the_same_way_as_a_start(
    script: Path,
) -> None:
    told = command("status", script, "--json").json
    assert (told["state"], told["declared"]["dependencies"]) == ("pending", ["alpha>=2"])
    synced = command("sync", script, "--json").json
    assert {(each["name"], each["version"], each["action"]) for each in synced["changes"]} == {
        ("alpha", "1.1", "removed"),
        ("alpha", "2.0", "installed"),
    }
    # It is executed and not saved, and stands for both.
    told = command("status", script, "--json").json
    assert (told["state"], told["declared"]["dependencies"]) == ("in-sync", ["alpha>=2"])
    assert command("sync", script, "--json").json["action"] == "kept"


@pytest.mark.usefixtures("pending")
def test_which_text_a_file_that_has_changed_comes_before_what_is_pending_for_both(
    script: Path,
) -> None:
    write_script(script, "beta", "alpha<2")
    told = command("status", script, "--json").json
    assert (told["state"], told["declared"]["dependencies"]) == ("stale", ["beta", "alpha<2"])
    environment = Path(command("sync", script, "--json").json["environment"]["path"])
    assert installed(environment) == {"alpha==1.1", "beta==1.0"}
    assert record_of(environment).pending is None


# A block that cannot be read


def test_which_text_mending_one_that_cannot_be_read_needs_no_restart_while_the_python_stays(
    offline_home: Home, path: Path
) -> None:
    """In its cell, after other cells have run and packages were imported."""
    environment = environment_of(offline_home, path)
    with opened(offline_home, path) as kernel:
        process = kernel.pid
        kernel.execute(block("alpha==1.0") + "import alpha\nmine = 1")
        assert kernel.execute("# /// script\n# dependencies = [\n# ///\n").ename == "BadBlock"
        assert kernel.execute("mine").ename == "BadBlock"
        mended = kernel.execute(block("alpha==1.0", "nspkg-one") + "import nspkg.one\nmine")
        assert mended.result == "1", mended.traceback
        assert kernel.pid == process
        assert pip_list(environment) == {"alpha": "1.0", "nspkg-one": "1.0"}


# What uv reads


@pytest.fixture
def staged(monkeypatch: pytest.MonkeyPatch) -> dict[Path, dict[str, str]]:
    """Give what uv is given to read: each script with its text, and that of the lock beside it."""
    seen: dict[Path, dict[str, str]] = {}
    run = processes.run

    def reading(argv: Sequence[str], **options: Any) -> processes.Finished:
        if "--script" in argv:
            path = Path(argv[argv.index("--script") + 1])
            lock = path.with_name(path.name + ".lock")
            seen[path] = {"script": path.read_bytes().decode()}
            if lock.exists():
                seen[path]["lock"] = lock.read_bytes().decode()
        return run(argv, **options)

    monkeypatch.setattr(processes, "run", reading)
    return seen


def test_uv_reads_a_normalised_copy_of_the_block_in_a_folder_of_ours(
    lean_home: Home, script: Path, staged: dict[Path, dict[str, str]]
) -> None:
    """The block alone, whatever its line ends and the code around it."""
    block = commented(block_of("alpha==1.0"), "import no_such_thing\n").replace("\n", "\r\n")
    script.write_bytes(b'\xef\xbb\xbf"""A script."""\r\n\r\n' + block.encode())
    assert installed(sync(script).path) == {"alpha==1.0"}
    ((place, texts),) = staged.items()
    assert place.is_relative_to(lean_home.scriptenv)
    assert texts == {"script": '# /// script\n# dependencies = ["alpha==1.0"]\n# ///\n'}
    assert not place.exists()


def test_uv_reads_relative_paths_made_absolute_against_the_sources_folder_in_the_lock_too(
    lean_home: Home, script: Path, index: Path, staged: dict[Path, dict[str, str]]
) -> None:
    wheels = script.parent / "wheels"
    wheels.symlink_to(index)
    source = 'sources = { alpha = { path = "wheels/alpha-1.0-py3-none-any.whl" } }'
    beside = lock(write_script(script, "alpha", uv=source))
    text = beside.read_text()
    assert str(script.parent) not in text
    assert installed(sync(script).path) == {"alpha==1.0"}
    wheel = str(wheels / "alpha-1.0-py3-none-any.whl")
    assert staged
    for place, texts in staged.items():
        assert place.is_relative_to(lean_home.scriptenv)
        assert wheel in texts["script"]
        assert wheel in texts["lock"]
        assert not place.exists()
    assert beside.read_text() == text


# The first execution of a kernel's life


def lock(script: Path) -> Path:
    """Have uv write the lock of a script, and give it."""
    options = ("--quiet", "--script", str(script), "--python", sys.executable)
    subprocess.run([find_uv_bin(), "lock", *options], check=True)
    return script.with_name(script.name + ".lock")


def change_the_file(_home: Home, path: Path) -> None:
    write_notebook(path, block("alpha==1.0"))


def change_the_lock(_home: Home, path: Path) -> None:
    lock(write_script(path.with_name("a.py"), "alpha==1.0"))
    # What is locked stays, although the script asks for less now.
    lock(write_script(path.with_name("a.py"), "alpha")).rename(path.with_name("nb.ipynb.lock"))


def change_the_configuration(home: Home, _path: Path) -> None:
    folder = home.path / "config" / "uv"
    folder.mkdir(parents=True)
    (folder / "uv.toml").write_text('resolution = "lowest"\n')


def change_a_variable(_home: Home, _path: Path) -> None:
    os.environ["UV_RESOLUTION"] = "lowest-direct"


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put back what a change does to this process's variables."""
    monkeypatch.setenv("UV_RESOLUTION", "")
    monkeypatch.delenv("UV_RESOLUTION")


@pytest.mark.usefixtures("variables")
def test_what_syncs_the_first_execution_of_a_kernels_life_if_anything_that_decides_has_changed(
    offline_home: Home, path: Path
) -> None:
    environment = sync(write_notebook(path, block("alpha"))).path
    before = json_record_of(environment)["fingerprint"]
    with opened(offline_home, path) as kernel:
        first = kernel.execute("print(1)")
        assert (first.shown_text, first.stdout) == ("1\n", "1\n"), "nothing has"
        assert json_record_of(environment)["fingerprint"] == before
    for change in (change_the_lock, change_the_configuration, change_a_variable, change_the_file):
        change(offline_home, path)
        with opened(offline_home, path) as kernel:
            assert json_record_of(environment)["fingerprint"] == before, change
            first = kernel.execute("print(1)")
            assert first.shown_text == "1\n", (change, first.traceback)
            after = json_record_of(environment)["fingerprint"]
            assert after not in (None, before), change
            assert "in-sync" in status_of(kernel), change
        before = after


BACKEND = '''\
"""A build backend that needs nothing."""

import pathlib
import re
import zipfile


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    version = re.search('version = "(.*)"', pathlib.Path("pyproject.toml").read_text())[1]
    info = f"local-{version}.dist-info"
    files = {
        "local.py": f"VERSION = {version!r}\\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\\nName: local\\nVersion: {version}\\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    }
    lines = [f"{path},," for path in [*files, f"{info}/RECORD"]]
    name = f"local-{version}-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(wheel_directory, name), "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)
        wheel.writestr(f"{info}/RECORD", "\\n".join(lines) + "\\n")
    return name
'''


def write_project(folder: Path, version: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "backend.py").write_text(BACKEND)
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        f'[project]\nname = "local"\nversion = "{version}"\n'
    )


def test_what_syncs_the_first_execution_if_a_local_source_has_changed_and_a_cell_with_the_block(
    offline_home: Home, path: Path
) -> None:
    """Any other cell of a kernel that has synced changes nothing."""
    text = block("local", more='[tool.uv.sources]\nlocal = { path = "project" }')
    write_notebook(path, text)
    write_project(path.parent / "project", "1.0")
    environment = sync(path).path
    write_project(path.parent / "project", "1.1")
    with opened(offline_home, path) as kernel:
        assert kernel.execute("x = 1").status == "ok"
        assert pip_list(environment) == {"local": "1.1"}
        write_project(path.parent / "project", "1.2")
        assert kernel.execute("x = 2").stdout == ""
        assert pip_list(environment) == {"local": "1.1"}
        done = kernel.execute(text + "import local\nlocal.VERSION")
        assert done.result == "'1.2'", done.traceback


# A cell with a block


def test_what_syncs_a_cell_with_a_block_if_what_else_decides_is_not_as_in_the_record(
    offline_home: Home, path: Path
) -> None:
    """The text is the same, and there is another lock beside it."""
    environment = environment_of(offline_home, path)
    with opened(offline_home, path) as kernel:
        assert kernel.execute(block("alpha")).status == "ok"
        assert kernel.execute(block("alpha")).stdout == ""
        assert pip_list(environment) == {"alpha": "2.0"}
        change_the_lock(offline_home, path)
        assert kernel.execute("x = 1").stdout == ""
        done = kernel.execute(block("alpha") + "import alpha\nalpha.__version__")
        assert done.result == "'1.0'", done.traceback


@pytest.mark.parametrize(
    "toml", ["", '[tool.uv]\nresolution = "lowest"'], ids=["the configuration", "the block"]
)
def test_what_syncs_a_cell_with_a_block_to_the_versions_that_a_new_environment_would_have(
    offline_home: Home, path: Path, toml: str
) -> None:
    """Also where what is installed would satisfy the dependencies themselves."""
    with opened(offline_home, path) as kernel:
        assert kernel.execute(block("alpha")).status == "ok"
        if not toml:
            change_the_configuration(offline_home, path)
        done = kernel.execute(block("alpha", more=toml) + "import alpha\nalpha.__version__")
        assert done.result == "'1.0'", done.traceback


# The remedy


def status_of(kernel: Kernel) -> str:
    done = kernel.execute("# How is it?\n%load_ext ipy_scriptenv\n\n%scriptenv status")
    assert (done.status, done.error) == ("ok", None), done.traceback
    return done.shown_text


def test_what_syncs_no_cell_of_our_magics_whatever_the_state(
    offline_home: Home, path: Path
) -> None:
    """Being changed by another process, in need of a restart, half changed, broken."""
    environment = environment_of(offline_home, path)
    lock = offline_home.scriptenv / "locks" / f"{environment.name}.lock"
    with opened(offline_home, path) as kernel:
        with exclusively_held(lock):
            assert "stale" in status_of(kernel) or "in-sync" in status_of(kernel)
        kernel.execute(block("alpha==1.0") + "import alpha")
        assert kernel.execute(block("alpha==1.1")).ename == "RestartNeeded"
        assert "pending" in status_of(kernel)
        (environment / "scriptenv.changing").touch()
        assert "broken" in status_of(kernel)
        (environment / "scriptenv.changing").unlink()
        python_of(environment).unlink()
        assert "broken" in status_of(kernel)
        assert json_record_of(environment)["pending"] == 'dependencies = ["alpha==1.1"]\n'
