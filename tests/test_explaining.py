"""The kernel that explains why none could start, and kernels that die at their start."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from dataclasses import asdict
from pathlib import Path
from threading import Semaphore

import pytest
from jupyter_client.manager import KernelManager

from ipy_scriptenv import environments, explain, explaining, launch, processes, provisioner
from ipy_scriptenv.environments import Context
from ipy_scriptenv.errors import Interrupted, LockTimeout
from ipy_scriptenv.explain import ExplainingKernel
from ipy_scriptenv.record import Source, SourceKind
from tests.conftest import Home, Layers
from tests.index.build import Distribution
from tests.kernels import (
    GENERIC,
    Kernel,
    block,
    environment_of,
    install_generic,
    kernelspec_of,
    launched,
    made,
    opened,
    pip_list,
    wait_until,
    wheel,
    write_notebook,
)

LONGEST_VARIABLE = 128 * 1024
"""Bytes of an environment variable that Linux gives a process, its name included."""

# The explaining kernel.


def test_without_a_python_that_satisfies_the_kernel_explains_and_runs_no_code(
    offline_home: Home, path: Path, tmp_path: Path
) -> None:
    write_notebook(path, block(python=">=3.99"))
    touched = tmp_path / "touched"
    code = f"open({str(touched)!r}, 'w').close()"
    with opened(offline_home, path) as kernel:
        assert kernel.request("kernel_info_request", {})["status"] == "ok"
        assert kernel.execute(code, silent=True).status == "ok"
        assert kernel.execute(code, store_history=False).status == "ok"
        assert kernel.complete("pri") == []
        for _ in range(2):
            failed = kernel.execute(code)
            assert (failed.status, failed.ename) == ("error", "NoPython")
            assert failed.error is not None
            assert failed.error["ename"] == "NoPython"
            assert ">=3.99" in failed.traceback
            assert "requires-python" in failed.traceback, "the hint"
            assert [each["msg_type"] for each in failed.shown] == ["error"]
        assert not touched.exists()

        write_notebook(path, block("alpha==1.0"))
        mended = kernel.execute(code)
        assert mended.ename == "RestartNeeded"
        assert "Restart the kernel" in mended.traceback
        assert not touched.exists()
        kernel.restart()
        done = kernel.execute(code + "\nimport alpha\nalpha.__version__")
        assert done.result == "'1.0'", done.traceback
        assert touched.exists()


@pytest.mark.usefixtures("offline")
def test_without_a_layer_the_kernel_explains_until_it_can_be_built(
    *,
    home: Home,
    path: Path,
    tmp_path: Path,
    layers: Layers,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listing = tmp_path / "layer.txt"
    listing.write_text(f"no-such-kernel==1.0 --hash=sha256:{'0' * 64}\n", encoding="utf-8")
    monkeypatch.setenv("SCRIPTENV_LAYER_LOCK", str(listing))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "empty-cache"))
    touched = tmp_path / "touched"
    code = f"open({str(touched)!r}, 'w').close()"
    with opened(home, path) as kernel:
        failed = kernel.execute(code)
        assert failed.status == "error"
        assert "no-such-kernel" in failed.traceback
        assert not touched.exists()
        monkeypatch.delenv("SCRIPTENV_LAYER_LOCK")
        layers.link(home)
        kernel.restart(env=dict(os.environ) | {"JPY_SESSION_NAME": str(path)})
        done = kernel.execute(code + "\nimport alpha\nalpha.__version__")
        assert done.result == "'1.0'", done.traceback
        assert touched.exists()


def test_an_argv_only_start_explains_too_however_long_its_error_is(
    offline_home: Home, path: Path, tmp_path: Path
) -> None:
    """No process can be given a variable as long as some notebooks can make it."""
    made(offline_home, path)
    # Few of them, each long: who reads them is not what is tested.
    excluded = "".join(f",!=2.{number:0200d}" for number in range(700))
    write_notebook(path, block(python=f">=3.99{excluded}"))
    touched = tmp_path / "touched"
    with launched(kernelspec_of(path), cwd=path.parent) as kernel:
        failed = kernel.execute(f"open({str(touched)!r}, 'w').close()")
        assert failed.ename == "NoPython"
        assert len(failed.traceback) > LONGEST_VARIABLE
        assert not touched.exists()


def test_an_argv_only_start_explains_what_nobody_has_foreseen_too(
    offline_home: Home, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record that was spoilt by hand, say; the process would end, and nobody would know why."""
    environment = made(offline_home, path)
    monkeypatch.setattr(environments, "start", lambda *_, **__: [].pop())
    told: list[tuple[list[str], dict[str, str]]] = []
    monkeypatch.setattr(processes, "replace", lambda argv, env: told.append((argv, env)))
    launch.main([str(environment), "-f", "connection.json"])
    ((argv, variables),) = told
    assert argv[-3:] == ["ipy_scriptenv.explain", "-f", "connection.json"]
    error = json.loads(variables["SCRIPTENV_EXPLAIN"])["error"]
    assert (error["code"], "pop from empty list" in error["message"]) == ("engine", True)


def test_what_a_start_waited_for_too_long_goes_on_behind_the_explaining_kernel(
    offline_home: Home, path: Path
) -> None:
    error = LockTimeout("The kernel is still being prepared.")
    argv, variables = explaining.command(error, source=environments.locate(path))
    with launched([*argv, "-f", "{connection_file}"], env=variables, cwd=path.parent) as kernel:
        environment = environment_of(offline_home, path)
        wait_until((environment / "scriptenv.json").exists, what="the environment")
        assert pip_list(environment) == {}
        assert kernel.execute("1").ename == "RestartNeeded"


def test_who_interrupts_the_explaining_kernel_twice_gets_its_reply_nevertheless(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second interrupt comes while it waits for the end of what the first one ended."""
    listening, interrupts = Semaphore(0), Semaphore(2)

    def go_on_until_interrupted_twice(*_: object, context: Context, **__: object) -> None:
        for _time in range(2):
            assert listening.acquire(timeout=60)
            os.kill(os.getpid(), signal.SIGINT)
        assert listening.acquire(timeout=60)
        assert context.cancel.is_set
        raise Interrupted("It was interrupted.")

    def listen(_events: object) -> dict[str, str]:
        # Here and nowhere else an interrupt comes: elsewhere it would end the tests. It may come as
        # soon as this is told.
        is_awaited = interrupts.acquire(blocking=False)
        listening.release()
        while is_awaited:
            time.sleep(0.01)
        return {"event": "silence"}

    monkeypatch.setattr(explain, "_next", listen)
    monkeypatch.setattr(environments, "start", go_on_until_interrupted_twice)
    source = asdict(Source(kind=SourceKind.FILE, path=str(path)))
    monkeypatch.setattr(ExplainingKernel, "told", {"source": source, "retry": True})
    monkeypatch.setattr(ExplainingKernel, "send_response", lambda *_: None)
    kernel = ExplainingKernel.__new__(ExplainingKernel)
    answer = kernel._try_again()
    assert answer is not None
    assert answer["name"] == "Interrupted"


# Kernels that die early.


@pytest.fixture
def deadly(tmp_path: Path, offline: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Offer a package that no kernel survives and that looks as if it fitted the layer."""
    hollow = Distribution(name="traitlets", version="5.99", files={"traitlets/__init__.py": ""})
    wheel(tmp_path / "wheels", hollow)
    monkeypatch.setenv("UV_FIND_LINKS", f"{offline},{tmp_path / 'wheels'}")
    # On a machine that is busy it takes its time to die.
    monkeypatch.setattr(provisioner, "_YOUNG", 1000.0)
    return "traitlets>=5.4"


def killed_by(kernel: Kernel, deadly: str) -> None:
    """Install what no kernel survives, and restart until Jupyter's manager has seen it die."""
    manager = kernel.manager
    assert manager is not None
    done = kernel.execute(block(deadly) + "mine = 1")
    assert done.status == "ok", done.traceback
    manager.restart_kernel()
    wait_until(lambda: not manager.is_alive(), what="the kernel's early death")


def test_a_kernel_that_dies_at_its_start_is_explained_at_the_next_until_the_block_is_mended(
    offline_home: Home, path: Path, deadly: str
) -> None:
    with opened(offline_home, path) as kernel:
        killed_by(kernel, deadly)
        kernel.restart()
        for _ in range(2):
            explained = kernel.execute("touched = True")
            assert explained.status == "error"
            assert "right after its start" in explained.traceback
        write_notebook(path, block("alpha==1.0"), "import alpha")
        kernel.execute("1 + 1")
        kernel.restart()
        assert kernel.execute("import alpha\nalpha.__version__").result == "'1.0'"


def test_an_early_death_that_nobody_has_watched_is_explained_after_one_restart(
    offline_home: Home, path: Path, deadly: str
) -> None:
    with opened(offline_home, path) as kernel:
        manager = kernel.manager
        assert manager is not None
        assert kernel.execute(block(deadly) + "mine = 1").status == "ok"
        manager.restart_kernel()
        process = kernel.pid
        wait_until(lambda: _has_ended(process), what="the kernel's early death")
        kernel.restart()
        assert "right after its start" in kernel.execute("touched = True").traceback


def test_a_port_that_was_taken_meanwhile_is_no_fault_of_the_environment(
    offline_home: Home, path: Path
) -> None:
    install_generic(offline_home)
    environ = {**os.environ, "JPY_SESSION_NAME": str(path)}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        manager = KernelManager(kernel_name=GENERIC, cache_ports=False, iopub_port=port)
        manager.start_kernel(env=environ)
        wait_until(lambda: not manager.is_alive(), what="the kernel's end")
    try:
        assert implementation(manager) == "ipython"
    finally:
        manager.shutdown_kernel(now=True)


def implementation(manager: KernelManager) -> str:
    """Restart a kernel as Jupyter's restarter does, whose new ports may be taken too."""
    for _ in range(3):
        manager.restart_kernel(newports=True)
        client = manager.client()
        client.start_channels()
        try:
            client.wait_for_ready(timeout=60)
            return str(client.kernel_info(reply=True)["content"]["implementation"])
        except RuntimeError:
            assert not manager.is_alive(), "it does not answer"
        finally:
            client.stop_channels()
    raise TimeoutError("no kernel became ready")


def _has_ended(process: int) -> bool:
    """Look whether a child has ended, without collecting it."""
    return os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None
