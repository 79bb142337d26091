"""Before a cell of the user has run nobody is asked to restart: the kernel replaces itself.

Requests that wait are taken along. ``tests/rounds/replace_rounds.py`` does many rounds of it.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
import zmq
from ipykernel.iostream import IOPubThread
from nbclient import NotebookClient

from ipy_scriptenv.kernel_side import replace
from tests.conftest import Home, Layers
from tests.kernels import (
    GENERIC,
    Execution,
    Kernel,
    block,
    environment_of,
    install_generic,
    launched,
    online,
    opened,
    pip_list,
    record_of,
    started,
    wait_until,
    write_notebook,
)
from tests.rounds.replace_rounds import CELLS, EXPECTED, MINOR, first_cell


@pytest.fixture
def other(offline_home: Home, layers: Layers, pythons: dict[str, Path]) -> str:
    """Give the minor version of another Python than the host's, whose layer stands."""
    if MINOR not in pythons:
        pytest.skip(f"there is no Python {MINOR}")
    layers.link(offline_home, pythons[MINOR])
    return MINOR


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_notebook(tmp_path / "work" / "nb.ipynb", "")


def send_all(kernel: Kernel, cells: list[str]) -> list[Execution]:
    """Send all cells at once, as *Run All* in JupyterLab does, and check the replies' order."""
    return kernel.answers_in_order([kernel.send_code(code) for code in cells])


@contextmanager
def always_locked(folder: Path) -> Iterator[None]:
    """Look again and again whether a live lock in *folder* is held: it must be at all times."""
    (lock,) = folder.iterdir()
    end = threading.Event()
    free: list[str] = []

    def look() -> None:
        descriptor = os.open(lock, os.O_RDWR)
        while not end.is_set():
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass
            else:
                fcntl.flock(descriptor, fcntl.LOCK_UN)
                free.append("free")
            end.wait(0.002)
        os.close(descriptor)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()
    assert not free
    assert list(folder.iterdir()) == [lock]


def test_another_python_in_the_live_block_replaces_the_kernel_and_no_request_is_lost(
    offline_home: Home, tmp_path: Path, other: str
) -> None:
    install_generic(offline_home)
    with started(GENERIC, cwd=tmp_path) as kernel:
        process = kernel.pid
        done = send_all(kernel, [first_cell(other), *CELLS])
        assert [each.shown_text for each in done] == EXPECTED
        assert [each.status for each in done] == ["ok"] * len(EXPECTED)
        assert [each.reply["execution_count"] for each in done] == [1, 2, 3, 4, 5]
        assert kernel.pid == process

        # It is a kernel like any other: it is interrupted, restarted, and given another block.
        request = kernel.send_code("import time\nprint('now', flush=True)\ntime.sleep(60)")
        kernel.wait_for_text(request, "now")
        kernel.interrupt()
        assert kernel.collect(request).ename == "KeyboardInterrupt"
        more = kernel.execute(first_cell(other).replace('"alpha"', '"alpha", "nspkg-one"'))
        assert more.status == "ok", more.traceback
        kernel.restart()
        assert kernel.execute("import sys, alpha\nsys.version_info[:2]").result == (
            f"(3, {other.partition('.')[2]})"
        )


def test_a_client_that_is_busy_when_the_kernel_is_new_hears_all_of_it(
    offline_home: Home, tmp_path: Path, other: str
) -> None:
    install_generic(offline_home)
    with started(GENERIC, cwd=tmp_path) as kernel:
        before = psutil.Process(kernel.pid).exe()
        request = kernel.send_code(first_cell(other))
        # Nobody looks at iopub: its socket does not subscribe again.
        wait_until(lambda: psutil.Process(kernel.pid).exe() != before, what="the new kernel")
        time.sleep(1.5)
        done = kernel.collect(request)
    assert done.shown_text == EXPECTED[0]


def test_clients_that_are_there_before_the_kernel_looks_are_counted_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A subscription that stands already is told again only on demand."""
    clients = [_Subscribed() for _ in range(3)]
    begin: Any = IOPubThread._setup_xpub_listener

    def begin_late(thread: IOPubThread) -> None:
        for client in clients:
            client.wait()
        begin(thread)

    monkeypatch.setattr(IOPubThread, "_setup_xpub_listener", begin_late)
    monkeypatch.setenv("SCRIPTENV_REPLAY", "0")
    listeners = replace.Listeners.expected()
    assert listeners is not None
    publisher: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.XPUB)
    port = publisher.bind_to_random_port("tcp://127.0.0.1")
    for client in clients:
        client.connect(port)
    kind: Any = IOPubThread
    thread = kind(publisher, session=None)

    async def count_all() -> None:
        while listeners.count < len(clients):  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)

    try:
        thread.io_loop.run_sync(count_all, timeout=30)
    finally:
        thread.close()
        for client in clients:
            client.close()


class _Subscribed:
    """A client of iopub, of which it can be known when it is connected."""

    def __init__(self) -> None:
        self._socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.SUB)
        self._socket.subscribe(b"")
        self._monitor: zmq.Socket[bytes] = self._socket.get_monitor_socket(
            zmq.EVENT_HANDSHAKE_SUCCEEDED
        )

    def connect(self, port: int) -> None:
        self._socket.connect(f"tcp://127.0.0.1:{port}")

    def wait(self) -> None:
        assert self._monitor.poll(30_000), "it never connects"

    def close(self) -> None:
        self._socket.disable_monitor()
        self._socket.close(linger=0)


def test_the_live_lock_is_held_all_the_while_and_variables_are_the_new_environment_s(
    offline_home: Home, path: Path, other: str
) -> None:
    environment = environment_of(offline_home, path)
    with opened(offline_home, path) as kernel:
        assert environment.exists()
        with always_locked(offline_home.scriptenv / "locks" / f"{environment.name}.kernels"):
            done = kernel.execute(first_cell(other))
            assert done.shown_text == EXPECTED[0], done.traceback
        told = kernel.execute(
            "import json, os\n"
            "print(json.dumps([os.environ['VIRTUAL_ENV'], os.environ['PATH'].split(os.pathsep)]"
            "+ sorted(name for name in os.environ if name.startswith('SCRIPTENV_'))))"
        )
        virtual, places, *ours = json.loads(told.shown_text)
        assert Path(virtual) == environment
        assert Path(places[0]) == environment / "bin"
        ours_on_path = [each for each in places if each.startswith(str(offline_home.scriptenv))]
        assert len(ours_on_path) == len(set(ours_on_path)) == 2, "the environment's and our tools'"
        ours_set = ["SCRIPTENV_BYTECODE", "SCRIPTENV_HOME", "SCRIPTENV_SPARE_HOST"]
        assert ours == ours_set, "what the test has set"
        assert record_of(environment)["python"]["version"].startswith(f"{other}.")
        assert pip_list(environment) == {"alpha": "2.0"}


def test_start_up_code_that_a_client_ran_is_run_again(
    offline_home: Home, path: Path, other: str
) -> None:
    with opened(offline_home, path) as kernel:
        assert kernel.execute("probe = ['a']", store_history=False).status == "ok"
        assert kernel.execute("probe.append('b')", silent=True).status == "ok"
        done = kernel.execute(first_cell(other) + "print(probe)")
        assert done.shown_text == EXPECTED[0] + "['a', 'b']\n", done.traceback


def test_other_requests_that_wait_are_taken_along_too(
    offline_home: Home, path: Path, other: str
) -> None:
    with opened(offline_home, path) as kernel:
        requests = [
            kernel.send_code(first_cell(other)),
            kernel.send("kernel_info_request", {}),
            kernel.send("complete_request", {"code": "import alph", "cursor_pos": 11}),
            kernel.send_code("1 / 0", stop_on_error=False),
            kernel.send_code("print('after')"),
        ]
        first, info, completions, failed, last = kernel.answers_in_order(requests)
        assert first.status == "ok"
        assert info.reply["language_info"]["version"].startswith(f"{other}.")
        assert "alpha" in completions.reply["matches"]
        assert failed.ename == "ZeroDivisionError"
        assert last.shown_text == "after\n"


def test_after_a_cell_of_the_user_it_asks_for_a_restart_instead(
    offline_home: Home, path: Path, other: str
) -> None:
    with opened(offline_home, path) as kernel:
        assert kernel.execute("mine = 1").status == "ok"
        refused = kernel.execute(first_cell(other) + "touched = True")
        assert refused.ename == "RestartNeeded"
        assert "Restart the kernel" in refused.traceback
        there = kernel.execute("assert mine and 'touched' not in globals()", silent=True)
        assert there.status == "ok"
        kernel.restart()
        done = kernel.execute("import sys, alpha\nsys.version_info[1]")
        assert done.result == other.partition(".")[2], done.traceback


def test_a_subshell_cannot_replace_the_kernel_and_asks_for_a_restart(
    offline_home: Home, path: Path, other: str
) -> None:
    with opened(offline_home, path) as kernel:
        subshell = kernel.request("create_subshell_request", {}, channel="control")["subshell_id"]
        refused = kernel.execute(first_cell(other), subshell=subshell)
        assert refused.ename == "RestartNeeded"
        kernel.restart()
        assert kernel.execute("import sys\nsys.version_info[1]").result == other.partition(".")[2]


def test_an_encrypted_connection_stays_encrypted(
    offline_home: Home, path: Path, other: str
) -> None:
    install_generic(offline_home)
    variables = {"JPY_SESSION_NAME": str(path)}
    with started(GENERIC, env=variables, transport_encryption="required") as kernel:
        assert kernel.client.curve_publickey
        done = send_all(kernel, [first_cell(other), *CELLS])
        assert [each.shown_text for each in done] == EXPECTED
        assert "without encryption" not in kernel.said


def test_an_argv_only_kernel_replaces_itself_as_well(
    offline_home: Home, tmp_path: Path, other: str
) -> None:
    install_generic(offline_home)
    with launched(GENERIC, cwd=tmp_path) as kernel:
        process = kernel.pid
        done = send_all(kernel, [first_cell(other), *CELLS])
        assert [each.shown_text for each in done] == EXPECTED
        assert kernel.pid == process


def test_under_nbclient_every_cell_runs_in_the_new_kernel(
    offline_home: Home, tmp_path: Path, other: str
) -> None:
    install_generic(offline_home)
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(code) for code in (first_cell(other), *CELLS)]
    )
    NotebookClient(
        notebook,
        kernel_name=GENERIC,
        timeout=100,
        resources={"metadata": {"path": str(tmp_path)}},
    ).execute()
    shown = [cell.outputs for cell in notebook.cells]
    assert {output["output_type"] for each in shown for output in each} == {"stream"}
    # A line may come in two pieces.
    assert ["".join(output["text"] for output in each) for each in shown] == EXPECTED


@online
def test_a_declared_ipykernel_is_used_and_no_request_is_lost(ready_home: Home, path: Path) -> None:
    environment = environment_of(ready_home, path)
    first = block("ipykernel<7") + "import ipykernel\nn = 1\nprint(ipykernel.__version__[0])"
    with opened(ready_home, path) as kernel:
        done = send_all(kernel, [first, *CELLS])
        assert [each.shown_text for each in done] == ["6\n", *EXPECTED[1:]], done[0].traceback
        where = kernel.execute("ipykernel.__file__").result or ""
        assert where.strip("'").startswith(str(environment))
        assert record_of(environment)["kernel"] == "own"
        kernel.restart()
        assert kernel.execute("import ipykernel\nipykernel.__version__[0]").result == "'6'"


@online
def test_packages_that_break_the_layer_bring_a_kernel_of_their_own(
    ready_home: Home, path: Path
) -> None:
    environment = environment_of(ready_home, path)
    first = block("traitlets<5.1") + "import traitlets\nn = 1\nprint(traitlets.__version__[:2])"
    with opened(ready_home, path) as kernel:
        done = send_all(kernel, [first, *CELLS])
        assert [each.shown_text for each in done] == ["5.\n", *EXPECTED[1:]], done[0].traceback
        assert record_of(environment)["kernel"] == "own"
        assert "ipykernel" in pip_list(environment)
