"""Real kernels side by side in one environment, while others change it and things go away."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

from ipy_scriptenv import environments
from ipy_scriptenv.environments import Context
from ipy_scriptenv.kernels.layer import layer_list, layer_name
from ipy_scriptenv.locks import RunningKernel, running_kernels
from tests.conftest import Home
from tests.jupyter_server import running_lab
from tests.kernels import (
    Kernel,
    block,
    kernelspec_of,
    launched,
    made,
    opened,
    pip_list,
    prefix,
    unasked,
    wait_until,
    write_notebook,
)
from tests.lifecycle import revise_record
from tests.stage import assert_whole, call, record_of, state_of, sync

NSPKG = "import nspkg.one\nnspkg.one.NUMBER"
ALPHA = "import alpha\nalpha.__version__"


@pytest.fixture
def environment(offline_home: Home, path: Path) -> Path:
    """Give the environment of a notebook that declares ``alpha==1.0``, in sync."""
    made(offline_home, path)
    return sync(path).path


def at_home(home: Home, environment: Path) -> list[RunningKernel]:
    return running_kernels(home.scriptenv / "locks" / f"{environment.name}.kernels")


@contextmanager
def three_kernels(home: Home, path: Path) -> Iterator[tuple[Kernel, Kernel, Kernel]]:
    """Open a notebook twice, and once more with a client that knows nothing but the argv."""
    with (
        opened(home, path) as first,
        opened(home, path) as second,
        launched(kernelspec_of(path), cwd=path.parent) as console,
    ):
        yield first, second, console


def prune() -> set[str]:
    """Name what another process prunes."""
    done = call("prune", "--yes", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    return {each["name"] for each in json.loads(done.stdout)["removed"]}


# Several kernels and a sync.


def test_three_kernels_of_one_environment_take_over_what_another_process_syncs(
    offline_home: Home, path: Path, environment: Path
) -> None:
    with three_kernels(offline_home, path) as kernels:
        assert [prefix(kernel) for kernel in kernels] == [environment] * 3
        assert [kernel.execute(ALPHA).result for kernel in kernels] == ["'1.0'"] * 3
        assert {each.pid for each in at_home(offline_home, environment)} == {
            kernel.pid for kernel in kernels
        }

        write_notebook(path, block("alpha==1.0", "nspkg-one"))
        done = call("sync", path, "--json")
        assert json.loads(done.stdout)["action"] == "updated", done.stdout
        assert [kernel.execute(NSPKG).result for kernel in kernels] == ["1"] * 3

        # What they have imported is theirs.
        write_notebook(path, block("alpha==2.0"))
        refused = call("sync", path, "--json")
        error = json.loads(refused.stdout)["error"]
        assert error["code"] == "environment-in-use"
        assert [kernel.execute(ALPHA).result for kernel in kernels] == ["'1.0'"] * 3
        assert pip_list(environment) == {"alpha": "1.0", "nspkg-one": "1.0"}
    assert at_home(offline_home, environment) == []
    assert json.loads(call("sync", path, "--json").stdout)["action"] == "updated"
    assert pip_list(environment) == {"alpha": "2.0"}


def test_cells_run_on_in_three_kernels_while_another_process_syncs_again_and_again(
    offline_home: Home, path: Path, environment: Path
) -> None:
    """A cell sees each package whole or not at all."""
    over = threading.Event()
    look = (
        "import importlib.util, pathlib\n"
        "import alpha\n"
        "spec = importlib.util.find_spec('many_files')\n"
        "alpha.__version__"
    )

    def work(kernel: Kernel) -> tuple[int, set[str | None]]:
        number, seen = 0, set()
        while not over.is_set() or number < 5:
            done = kernel.execute(look)
            assert done.status == "ok", done.traceback
            seen.add(done.result)
            number += 1
        return number, seen

    with three_kernels(offline_home, path) as kernels, ThreadPoolExecutor(3) as pool:
        # The first cell of a kernel's life syncs to the file: by then that may declare less.
        assert [kernel.execute(look).result for kernel in kernels] == ["'1.0'"] * 3
        at_work = [pool.submit(work, kernel) for kernel in kernels]
        try:
            ends = []
            for number in range(4):
                more = ["many-files"] if number % 2 == 0 else ["nspkg-two"]
                write_notebook(path, block("alpha==1.0", *more))
                ends.append(call("sync", path, "--json"))
        finally:
            over.set()
        for each in at_work:
            assert each.result()[1] == {"'1.0'"}
    for done in ends:
        if done.returncode:
            # A cell was running just then, and might have imported what was to go.
            assert json.loads(done.stdout)["error"]["code"] == "environment-in-use", done.stdout
    assert ends[0].returncode == 0, ends[0].stdout
    sync(path)
    assert_whole(environment)
    assert pip_list(environment) == {"alpha": "1.0", "nspkg-two": "1.0"}
    assert state_of(path) == "in-sync"


def test_three_kernels_that_run_the_same_new_block_at_once_all_get_it(
    offline_home: Home, path: Path, environment: Path
) -> None:
    cell = block("alpha==1.0", "nspkg-one", "nspkg-two") + NSPKG
    with three_kernels(offline_home, path) as kernels, ThreadPoolExecutor(3) as pool:
        done = [*pool.map(lambda kernel: kernel.execute(cell), kernels)]
        assert [each.result for each in done] == ["1"] * 3, [each.traceback for each in done]
        assert [kernel.execute(ALPHA).result for kernel in kernels] == ["'1.0'"] * 3
    assert_whole(environment)
    assert pip_list(environment) == {"alpha": "1.0", "nspkg-one": "1.0", "nspkg-two": "1.0"}


# Kernels that are killed.


def test_what_a_killed_kernel_had_imported_may_change_under_the_others(
    offline_home: Home, path: Path, environment: Path
) -> None:
    """Even if it was killed in the middle of a cell: its lock went with it."""
    with ExitStack() as stack:
        other = stack.enter_context(launched(kernelspec_of(path), cwd=path.parent))
        victim = stack.enter_context(launched(kernelspec_of(path), cwd=path.parent))
        assert other.execute("x = 1").status == "ok"
        assert victim.execute(ALPHA).result == "'1.0'"
        request = victim.send_code("print('at work')\nimport time\ntime.sleep(1000)")
        victim.wait_for_text(request, "at work")
        write_notebook(path, block("alpha==2.0"))
        assert json.loads(call("sync", path, "--json").stdout)["error"]["code"] == (
            "environment-in-use"
        )
        os.kill(victim.pid, signal.SIGKILL)
        wait_until(lambda: len(at_home(offline_home, environment)) == 1)
        done = call("sync", path, "--json")
        assert done.returncode == 0, done.stdout
        assert other.execute(ALPHA).result == "'2.0'"


def test_a_kernel_that_is_killed_while_it_syncs_leaves_a_whole_environment_behind(
    path: Path, environment: Path
) -> None:
    """Its host notices, and stops what it had begun."""
    with launched(kernelspec_of(path), cwd=path.parent) as other:
        with launched(kernelspec_of(path), cwd=path.parent) as victim:
            assert victim.execute("x = 1").status == "ok"
            request = victim.send_code(block("alpha==1.0", "pile", "many-files"))
            victim.wait_for_text(request, "packages in")  # a step of uv
            os.kill(victim.pid, signal.SIGKILL)
        done = other.execute(block("alpha==1.0", "pile", "many-files") + ALPHA)
        assert done.result == "'1.0'", done.traceback
    assert_whole(environment)
    assert len(pip_list(environment)) == 1 + 25 + 1


# A server that is restarted.


def test_a_kernel_lives_on_while_the_server_is_killed_and_started_again(
    offline_home: Home, path: Path, environment: Path
) -> None:
    """A new server starts its kernels beside those that live on."""
    with launched(kernelspec_of(path), cwd=path.parent) as living:
        assert living.execute(ALPHA).result == "'1.0'"
        with running_lab(path.parent) as server:
            session = server.create_session(path.name, "scriptenv")
            with server.connect(session["kernel"]["id"]) as kernel:
                assert kernel.execute(ALPHA).result == "'1.0'"
                orphan = int(kernel.execute("import os\nos.getpid()").result or 0)
                os.kill(server.pid, signal.SIGKILL)
        # A kernel of a server that is gone ends by itself.
        wait_until(lambda: not psutil.pid_exists(orphan), timeout=60)
        assert [each.pid for each in at_home(offline_home, environment)] == [living.pid]
        with running_lab(path.parent) as server:
            session = server.create_session(path.name, "scriptenv")
            with server.connect(session["kernel"]["id"]) as kernel:
                assert kernel.execute(ALPHA).result == "'1.0'"
                assert len(at_home(offline_home, environment)) == 2
                more = kernel.execute(block("alpha==1.0", "nspkg-one") + NSPKG)
                assert more.result == "1", more.error
            assert living.execute(NSPKG).result == "1"
        assert living.execute(ALPHA).result == "'1.0'"
    assert at_home(offline_home, environment) == []


# Parts that are replaced.


def other_layer(home: Home, environment: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Set another list for the layer, and let its layer stand; name the old one and the new."""
    old = record_of(environment).kernel
    chosen = home.path / "another-list.txt"
    chosen.write_bytes(layer_list() + b"# the same, by another name\n")
    monkeypatch.setenv("SCRIPTENV_LAYER_LOCK", str(chosen))
    new = layer_name(record_of(environment).python)
    layers = home.scriptenv / "kernels-v1"
    # No link, as the old one is: a kernel sees where its modules are. Byte code that another
    # kernel is writing at this moment has a name that ends in a number, and goes.
    being_written = shutil.ignore_patterns("*.pyc.*")
    shutil.copytree(layers / old, layers / new, copy_function=os.link, ignore=being_written)
    assert old != new
    return old, new


def test_a_layer_that_was_replaced_stays_for_as_long_as_a_kernel_runs_on_it(
    offline_home: Home, path: Path, environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = offline_home.scriptenv / "kernels-v1"
    where = "import ipykernel; print(ipykernel.__file__)"
    with launched(kernelspec_of(path), cwd=path.parent) as before:
        old, new = other_layer(offline_home, environment, monkeypatch)
        assert f"/{old}/" in unasked(before, where)
        with opened(offline_home, path) as after:
            assert f"/{new}/" in unasked(after, where)
            assert record_of(environment).kernel == new
            assert {each.kernel for each in at_home(offline_home, environment)} == {old, new}
            assert old not in prune()
            assert before.execute(ALPHA).result == "'1.0'"
            # What was not loaded until now is still found where it was.
            late = "import IPython.lib.latextools, sys; print(sys.modules['IPython'].__file__)"
            assert f"/{old}/" in unasked(before, late)
    assert {each.name for each in layers.iterdir()} == {old, new}
    assert old in prune()
    assert {each.name for each in layers.iterdir()} == {new}
    with opened(offline_home, path) as again:
        assert again.execute(ALPHA).result == "'1.0'"


def test_a_kernel_side_of_an_older_version_stays_for_as_long_as_a_kernel_runs_it(
    offline_home: Home, path: Path, environment: Path
) -> None:
    """As when the package is upgraded while kernels run."""
    sides = offline_home.scriptenv / "kernel-side-v1"
    current = record_of(environment).kernel_side
    shutil.copytree(sides / current, sides / "0.0.1-0ld")
    revise_record(environment, kernel_side="0.0.1-0ld")
    with launched(kernelspec_of(path), cwd=path.parent) as before:
        with opened(offline_home, path) as after:
            assert record_of(environment).kernel_side == current
            found = {each.side for each in at_home(offline_home, environment)}
            assert found == {"0.0.1-0ld", current}
            assert "0.0.1-0ld" not in prune()
            for kernel in (before, after):
                done = kernel.execute(block("alpha==1.0", "nspkg-one") + NSPKG)
                assert done.result == "1", done.traceback
                assert "in-sync" in kernel.execute("%scriptenv status").shown_text
        assert "0.0.1-0ld" not in prune()
        assert before.execute(ALPHA).result == "'1.0'"
    assert "0.0.1-0ld" in prune()
    assert {each.name for each in sides.iterdir()} == {current}


def test_a_kernel_whose_package_is_removed_runs_on_and_says_how_to_get_it_back(
    path: Path, environment: Path
) -> None:
    hosts = json.loads((environment / "scriptenv.json").read_text())["hosts"]
    with launched(kernelspec_of(path), cwd=path.parent) as kernel:
        assert kernel.execute(ALPHA).result == "'1.0'"
        revise_record(environment, hosts=[{**hosts[0], "python": "/nowhere/bin/python"}])
        assert kernel.execute(ALPHA).result == "'1.0'"
        assert kernel.execute(block("alpha==1.0") + ALPHA).result == "'1.0'"
        failed = kernel.execute(block("alpha==1.0", "nspkg-one") + "touched = True")
        assert failed.status == "error"
        assert "pip install ipy-scriptenv" in failed.traceback
        assert unasked(kernel, "print('touched' in globals())") == "False"
        assert pip_list(environment) == {"alpha": "1.0"}
        assert kernel.execute(block("alpha==1.0") + ALPHA).result == "'1.0'"

        # It is installed again, at another place: whatever it does first leaves its name here.
        environments.start(environments.locate(path), context=Context())
        done = kernel.execute(block("alpha==1.0", "nspkg-one") + NSPKG)
        assert done.result == "1", done.traceback
