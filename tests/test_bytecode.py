"""Byte code is compiled once for each wheel, in the background, and linked into environments."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ipy_scriptenv import environments
from ipy_scriptenv.bytecode import compiling
from ipy_scriptenv.environments import Context, Item, ItemKind, Kept
from ipy_scriptenv.interpreters import host_python
from ipy_scriptenv.layout import bytecode_lock
from ipy_scriptenv.locks import is_held
from ipy_scriptenv.store import WANTED, Store
from tests.conftest import Home
from tests.kernels import wait_until
from tests.stage import running_kernel, site_of, sync, write_script

DAY = 86_400


@pytest.fixture(autouse=True)
def store(lean_home: Home, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.delenv("SCRIPTENV_BYTECODE")
    return Store(lean_home.scriptenv)


@pytest.fixture
def filled(store: Store, script: Path) -> Path:
    """Give the folder of a first environment's packages, when what it brought is compiled."""
    first = sync(write_script(script, "alpha==1.0"))
    settle(store)
    return site_of(first.path)


def settle(store: Store) -> None:
    """Wait until nobody compiles any more."""
    lock = store.lock(bytecode_lock(host_python().abi))
    wait_until(lambda: not hidden(store) and not is_held(lock), timeout=100, what="the byte code")


def hidden(store: Store) -> list[str]:
    return [name for name in os.listdir(store.bytecode) if name.startswith(".")]


def kept(store: Store) -> dict[str, Path]:
    """Give the folder of each wheel whose byte code is kept."""
    return {path.name.partition("-")[0]: path for path in store.bytecode.iterdir()}


def byte_code(site: Path, package: str = "alpha") -> Path:
    return site / package / "__pycache__" / f"__init__.{sys.implementation.cache_tag}.pyc"


def run(site: Path, code: str) -> str:
    """Run code in the environment of a folder of packages, as users do: with byte code."""
    python = site.parents[2] / "bin" / "python"
    variables = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [python, "-c", code], capture_output=True, text=True, check=True, env=variables
    )
    return done.stdout.strip()


def prunable(*, everything: bool = False) -> list[Item]:
    found = environments.prunable(Kept(everything=everything), context=Context())
    return [item for item in found if item.kind is ItemKind.BYTECODE]


def test_the_second_environment_of_a_wheel_has_its_byte_code_before_the_first_import(
    store: Store, filled: Path, script: Path
) -> None:
    assert not byte_code(filled).exists(), "the first one compiles at its imports, as ever"

    second = site_of(sync(write_script(script.with_name("b.py"), "alpha==1.0")).path)

    linked = byte_code(second)
    inside = kept(store)["alpha"] / linked.relative_to(second)
    assert linked.samefile(inside)
    before = linked.stat()
    assert run(second, "import alpha; print(alpha.__version__)") == "1.0"
    after = linked.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns), (
        "Python took it as it is"
    )


def test_what_is_added_to_a_standing_environment_gets_its_byte_code_too(
    store: Store, filled: Path, script: Path
) -> None:
    other = script.with_name("b.py")
    environment = sync(write_script(other)).path
    with running_kernel(store.home, environment.name):
        sync(write_script(other, "alpha==1.0", "beta==1.0"))
    site = site_of(environment)
    assert byte_code(site).samefile(kept(store)["alpha"] / byte_code(filled).relative_to(filled))
    assert not byte_code(site, "beta").exists()

    settle(store)

    assert set(kept(store)) == {"alpha", "beta"}
    assert not byte_code(site, "beta").exists(), "nobody changes an environment behind its back"


def test_a_changed_module_never_runs_old_byte_code(filled: Path, script: Path) -> None:
    site = site_of(sync(write_script(script.with_name("b.py"), "alpha==1.0")).path)
    module = site / "alpha" / "__init__.py"
    times = module.stat().st_mtime
    module.unlink()  # as an editor does; the file is a link to the one in uv's cache
    module.write_text('__version__ = "9.9"\n')
    os.utime(module, (times + 5, times + 5))

    assert run(site, "import alpha; print(alpha.__version__)") == "9.9"

    assert run(filled, "import alpha; print(alpha.__version__)") == "1.0"


def test_removing_a_package_removes_its_byte_code(store: Store, filled: Path, script: Path) -> None:
    assert filled.is_dir()
    other = script.with_name("b.py")
    environment = sync(write_script(other, "alpha==1.0")).path
    with running_kernel(store.home, environment.name):
        sync(write_script(other))
    assert not (site_of(environment) / "alpha").exists()


def test_a_copy_that_a_full_disk_cuts_short_is_not_left(
    store: Store, filled: Path, script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python takes half of a module's byte code for the whole, and fails to import it."""

    def refuse(*_given: object) -> None:
        raise OSError(errno.EXDEV, "another file system")

    def cut_short(source: str, target: str) -> None:
        Path(target).write_bytes(Path(source).read_bytes()[:-10])
        raise OSError(errno.ENOSPC, "No space left on device")

    assert filled.is_dir()
    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(shutil, "copyfile", cut_short)
    site = site_of(sync(write_script(script.with_name("b.py"), "alpha==1.0")).path)
    assert not byte_code(site).exists()
    assert run(site, "import alpha; print(alpha.__version__)") == "1.0"
    monkeypatch.undo()
    settle(store)


def test_copies_are_left_alone(store: Store, script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_LINK_MODE", "copy")

    sync(write_script(script, "alpha==1.0"))

    assert not kept(store), "each copy has a time of its own"


def test_it_can_be_switched_off(
    store: Store, filled: Path, script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert filled.is_dir()
    monkeypatch.setenv("SCRIPTENV_BYTECODE", "0")

    site = site_of(sync(write_script(script.with_name("b.py"), "alpha==1.0", "beta==1.0")).path)

    assert not byte_code(site).exists()
    assert set(kept(store)) == {"alpha"}


def test_files_that_were_fetched_again_are_compiled_again(
    store: Store, filled: Path, script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = kept(store)["alpha"]
    inode = old.stat().st_ino
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "another-cache"))
    # uv gives what it unpacks the time at which it does that, and Python looks at whole seconds.
    unpacked = int((filled / "alpha" / "__init__.py").stat().st_mtime)
    wait_until(lambda: int(time.time()) > unpacked, timeout=10, what="the next second")
    site = site_of(sync(write_script(script.with_name("b.py"), "alpha==1.0")).path)
    assert not byte_code(site).exists()

    settle(store)

    assert kept(store) == {"alpha": old}
    assert old.stat().st_ino != inode
    third = site_of(sync(write_script(script.with_name("c.py"), "alpha==1.0")).path)
    assert byte_code(third).exists()


def test_what_a_kill_left_is_swept_and_made_by_the_next(
    store: Store, filled: Path, script: Path
) -> None:
    abi = host_python().abi
    shutil.rmtree(kept(store)["alpha"])
    build = store.bytecode / f"{compiling.BUILDING}{abi}+0123"
    build.mkdir()
    (build / "half").touch()
    thrown = store.bytecode / f"{compiling.REMOVED}0123"
    thrown.mkdir()
    wheels = f'{{"site": "{filled}", "wheels": {{"alpha-again": "alpha-1.0.dist-info"}}}}'
    (store.bytecode / f"{WANTED}{abi}+a-0123456789abcdef").write_text(wheels)

    sync(write_script(script.with_name("b.py"), "beta==1.0"))
    settle(store)

    assert {path.name for path in store.bytecode.iterdir()} > {"alpha-again"}
    assert set(kept(store)) == {"alpha", "beta"}


@pytest.mark.parametrize("nonsense", ["", "[]", '{"site": 1, "wheels": {"a": "b"}}'])
def test_a_request_that_makes_no_sense_is_thrown_away(
    store: Store, script: Path, nonsense: str
) -> None:
    store.prepare()
    (store.bytecode / f"{WANTED}{host_python().abi}+a-0123456789abcdef").write_text(nonsense)

    sync(write_script(script, "alpha==1.0"))
    settle(store)

    assert set(kept(store)) == {"alpha"}


@pytest.mark.parametrize("content", ["", "{}", '{"schema": 99}'])
def test_a_damaged_store_costs_nothing_but_time(
    store: Store, filled: Path, script: Path, content: str
) -> None:
    assert filled.is_dir()
    (kept(store)["alpha"] / compiling.CONTENT).write_text(content)

    site = site_of(sync(write_script(script.with_name("b.py"), "alpha==1.0")).path)
    settle(store)

    assert run(site, "import alpha; print(alpha.__version__)") == "1.0"
    third = site_of(sync(write_script(script.with_name("c.py"), "alpha==1.0")).path)
    assert byte_code(third).exists()


def test_prune_takes_what_was_not_used_for_a_month(
    store: Store, filled: Path, script: Path
) -> None:
    assert filled.is_dir()
    folder = kept(store)["alpha"]
    assert prunable() == []
    assert [item.path for item in prunable(everything=True)] == [folder]
    old = time.time() - 40 * DAY
    os.utime(folder, (old, old))
    items = prunable()
    assert [(item.path, item.size) for item in items] == [(folder, items[0].size)]

    sync(write_script(script.with_name("b.py"), "alpha==1.0"))

    assert prunable() == [], "it is used again"
    os.utime(folder, (old, old))
    removed, stayed = environments.prune(prunable(), context=Context())
    assert [item.path for item in removed] == [folder]
    assert not stayed
    assert not kept(store)


def test_prune_takes_the_longest_unused_of_too_much(
    store: Store, filled: Path, script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert filled.is_dir()
    sync(write_script(script.with_name("b.py"), "pkg-01"))
    settle(store)
    earlier = time.time() - DAY
    os.utime(kept(store)["alpha"], (earlier, earlier))
    newer = next(item for item in prunable(everything=True) if "pkg" in item.name)
    monkeypatch.setattr("ipy_scriptenv.environments.unused._BYTECODE_BYTES", newer.size)

    assert [item.path for item in prunable()] == [kept(store)["alpha"]]


def test_what_cannot_be_compiled_is_left_out(store: Store, tmp_path: Path) -> None:
    store.prepare()
    site, info = tmp_path / "site", "odd-1.0.dist-info"
    files = {
        "odd/__init__.py": "x = 1\n",
        "odd/template.py": "{{ name }} = \n",
        "odd/tests/test_odd.py": "y = 1\n",
        "odd/nul.py": "\0",
    }
    for path, text in files.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(text)
    (site / info).mkdir()
    outside = ["../../../etc/passwd.py,,", "/etc/x.py,,", '"odd/a,b.py",,']
    (site / info / "RECORD").write_text("\n".join([*(f"{path},," for path in files), *outside]))
    abi = host_python().abi
    request = store.bytecode / f"{WANTED}{abi}+a-0123456789abcdef"
    request.write_text(f'{{"site": "{site}", "wheels": {{"odd": "{info}"}}}}')

    script = Path(compiling.__file__)
    lock = store.lock(bytecode_lock(abi))
    subprocess.run([sys.executable, "-I", "-S", script, store.bytecode, lock, abi], check=True)

    content = compiling.read_content(store.bytecode / "odd")
    assert content is not None
    assert content["files"] == [f"odd/__pycache__/__init__.{sys.implementation.cache_tag}.pyc"]
    assert not request.exists()


def test_what_another_process_is_throwing_away_is_not_listed(
    store: Store, filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = compiling.read_content

    def and_it_goes(folder: Path) -> object:
        content = read(folder)
        shutil.rmtree(folder)
        return content

    assert filled.is_dir()
    monkeypatch.setattr(compiling, "read_content", and_it_goes)
    assert prunable() == []
    assert not kept(store)
