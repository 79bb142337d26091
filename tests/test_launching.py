"""How a kernel is launched, beside others and again, and what it does where things are gone."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning.factory import KernelProvisionerFactory

from ipy_scriptenv import environments, provisioner
from ipy_scriptenv.environments import Context
from ipy_scriptenv.record import Source, SourceKind
from tests.conftest import Home, Layers
from tests.kernels import (
    GENERIC,
    block,
    environment_of,
    ephemeral,
    install_generic,
    kernelspec_of,
    launched,
    made,
    minor,
    online,
    opened,
    pip_list,
    prefix,
    record_of,
    started,
    unasked,
    wait_until,
    write_notebook,
)

# Without a provisioner.


def test_an_argv_only_start_of_a_source_s_kernelspec_syncs_at_the_first_execution(
    offline_home: Home, path: Path
) -> None:
    environment = made(offline_home, path)
    with launched(kernelspec_of(path), cwd=path.parent) as kernel:
        assert prefix(kernel) == environment
        assert pip_list(environment) == {}
        done = kernel.execute("import alpha\nprint(alpha.__version__)")
        assert done.shown_text == "1.0\n", done.traceback
        status = kernel.execute("%scriptenv status").shown_text
        assert "in-sync" in status
        assert "in use       yes" in status
    status_after = environments.status(environments.locate(path), context=Context())
    assert not status_after.in_use


def test_an_argv_only_start_executes_itself_anew_where_the_file_asks_for_another_python(
    offline_home: Home, path: Path, other: str
) -> None:
    made(offline_home, path)
    write_notebook(path, block("alpha==1.0", python=f"=={other}.*"))
    with launched(kernelspec_of(path), cwd=path.parent) as kernel:
        assert minor(kernel) == other
        assert kernel.execute("import alpha\nalpha.__version__").result == "'1.0'"


def test_an_argv_only_start_takes_a_pending_block_s_python(
    offline_home: Home, path: Path, other: str
) -> None:
    made(offline_home, path)
    with launched(kernelspec_of(path), cwd=path.parent) as kernel:
        assert kernel.execute("x = 1").status == "ok"
        refused = kernel.execute(block("alpha==1.0", python=f"=={other}.*"))
        assert refused.ename == "RestartNeeded"
    with launched(kernelspec_of(path), cwd=path.parent) as kernel:
        assert minor(kernel) == other
        assert kernel.execute("import alpha\nalpha.__version__").result == "'1.0'"


def test_the_generic_kernelspec_s_argv_gives_an_ephemeral_environment_that_is_swept_later(
    offline_home: Home, tmp_path: Path
) -> None:
    install_generic(offline_home)
    with launched(GENERIC, cwd=tmp_path) as kernel:
        (place,) = ephemeral(offline_home)
        assert prefix(kernel) == place
        done = kernel.execute(block("alpha==1.0") + "import alpha\nalpha.__version__")
        assert done.result == "'1.0'", done.traceback
    # Nobody was there to remove it. While it may be about to be used, it stays; then it goes.
    record = record_of(place) | {"last_used": "2020-01-01T00:00:00Z"}
    (place / "scriptenv.json").write_text(json.dumps(record), encoding="utf-8")
    with started(GENERIC, cwd=tmp_path) as kernel:
        assert place not in ephemeral(offline_home)
        assert prefix(kernel).exists()


# Encryption.


def supported(home: Home, path: Path) -> object:
    spec = json.loads((home.kernelspecs / kernelspec_of(path) / "kernel.json").read_text())
    return spec["metadata"].get("supported_encryption")


def test_a_kernel_that_can_encrypt_says_so_and_does(offline_home: Home, path: Path) -> None:
    made(offline_home, path)
    assert supported(offline_home, path) == ["curve"]
    for name in (kernelspec_of(path), install_generic(offline_home)):
        variables = {"JPY_SESSION_NAME": str(path)}
        with started(name, env=variables, transport_encryption="auto") as kernel:
            assert kernel.client.curve_publickey
            assert kernel.execute("import alpha\nalpha.__version__").result == "'1.0'"


@online
def test_a_kernel_that_cannot_encrypt_does_not_say_so_and_becomes_ready_all_the_same(
    ready_home: Home, path: Path, layers: Layers, pythons: dict[str, Path]
) -> None:
    """The newest ipykernel for Python 3.9 cannot; it once waited for ever."""
    if "3.9" not in pythons:
        pytest.skip("there is no Python 3.9")
    layers.link(ready_home, pythons["3.9"])
    write_notebook(path, block(python="==3.9.*"))
    made(ready_home, path)
    assert supported(ready_home, path) is None
    for name in (kernelspec_of(path), install_generic(ready_home)):
        variables = {"JPY_SESSION_NAME": str(path)}
        with started(name, env=variables, transport_encryption="auto") as kernel:
            assert not kernel.client.curve_publickey
            assert minor(kernel) == "3.9"
            assert kernel.execute("1 + 1").result == "2"
            kernel.restart()
            assert kernel.execute("1 + 1").result == "2"
    # Where somebody insists, nothing is sent in plain text, and it is told why.
    with started(GENERIC, env=variables, transport_encryption="required") as kernel:
        refused = kernel.execute("1 + 1")
        assert refused.status == "error"
        assert "encrypt" in refused.traceback


# Twice at once, and restarts.


def test_two_starts_at_once_share_one_environment(
    offline_home: Home, path: Path, tmp_path: Path
) -> None:
    install_generic(offline_home)
    variables = {"JPY_SESSION_NAME": str(path)}

    def open_and_run(_number: int) -> tuple[str | None, Path]:
        with started(GENERIC, env=variables, cwd=tmp_path) as kernel:
            return kernel.execute("import alpha\nalpha.__version__").result, prefix(kernel)

    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(open_and_run, range(2)))
    environment = environment_of(offline_home, path)
    assert done == [("'1.0'", environment)] * 2
    left = {each.name for each in (offline_home.scriptenv / "environments-v1").iterdir()}
    assert left == {environment.name}


async def test_pre_launch_twice_at_once_on_one_provisioner_is_idempotent(
    offline_home: Home, path: Path
) -> None:
    """As when a page is loaded anew while a start is pending."""
    manager = AsyncKernelManager(kernel_name=install_generic(offline_home))
    factory = KernelProvisionerFactory.instance()
    assert manager.kernel_spec is not None
    provisioner = factory.create_provisioner_instance("id", manager.kernel_spec, parent=manager)
    env = {**os.environ, "JPY_SESSION_NAME": str(path)}
    first, second = await asyncio.gather(
        provisioner.pre_launch(env=dict(env)), provisioner.pre_launch(env=dict(env))
    )
    environment = environment_of(offline_home, path)
    for launch in (first, second):
        assert launch["cmd"][:2] == [
            str(environment / "bin" / "python"),
            str(environment / "kernel.py"),
        ]
        assert launch["cmd"][2] == "-f"
    assert [each.name for each in environment.parent.iterdir()] == [environment.name]
    manager.cleanup_connection_file()


def test_a_restart_never_raises_whatever_became_of_the_environment(
    offline_home: Home, path: Path, tmp_path: Path
) -> None:
    environment = environment_of(offline_home, path)
    with opened(offline_home, path) as kernel:
        assert kernel.execute("import alpha").status == "ok"

        # Something that is not ours stands in its place: it is left alone, and told.
        environment.rename(tmp_path / "away")
        environment.mkdir()
        (environment / "precious").write_text("not ours", encoding="utf-8")
        kernel.restart()
        assert kernel.execute("1 + 1").ename == "Foreign"
        assert (environment / "precious").exists()
        (environment / "precious").unlink()

        # An empty folder, a broken record, an interpreter that is gone, nothing at all.
        for harm in ("empty folder", "broken record", "no interpreter", "nothing"):
            if harm == "broken record":
                (environment / "scriptenv.json").write_text("{", encoding="utf-8")
            elif harm == "no interpreter":
                (environment / "bin" / "python").unlink()
            elif harm == "nothing":
                environment.rename(tmp_path / "gone")
            kernel.restart()
            done = kernel.execute("import alpha\nalpha.__version__")
            assert done.result == "'1.0'", done.traceback


def test_a_restart_of_a_kernel_whose_notebook_is_gone_keeps_its_environment(
    offline_home: Home, path: Path
) -> None:
    made(offline_home, path)
    with started(kernelspec_of(path), cwd=path.parent) as kernel:
        assert kernel.execute("import alpha").status == "ok"
        path.unlink()
        kernel.restart()
        assert prefix(kernel) == environment_of(offline_home, path)
        assert kernel.execute("import alpha\nalpha.__version__").result == "'1.0'"


def test_a_folder_that_is_gone_gives_way_to_the_source_s(
    offline_home: Home, path: Path, tmp_path: Path
) -> None:
    install_generic(offline_home)
    variables = {"JPY_SESSION_NAME": str(path)}
    with started(GENERIC, env=variables, cwd=tmp_path / "gone") as kernel:
        assert unasked(kernel, "import os; print(os.getcwd())") == str(path.parent)
    with started(GENERIC, env=variables, cwd=tmp_path) as kernel:
        assert unasked(kernel, "import os; print(os.getcwd())") == str(tmp_path), (
            "a given one stays"
        )


def test_a_folder_that_cannot_even_be_looked_at_gives_way_to_the_user_s_own(home: Home) -> None:
    """As one below a folder that may not be entered, or with a name that is too long."""
    source = Source(kind=SourceKind.FILE, path=f"/{'x' * 300}/nb.ipynb")
    assert provisioner._folder("/nowhere", source) == str(home.path)
    assert provisioner._folder(None, source) is None


def test_a_start_while_another_process_changes_the_environment_is_at_once_and_the_cell_waits(
    offline_home: Home, path: Path
) -> None:
    environment = made(offline_home, path)
    lock = offline_home.scriptenv / "locks" / f"{environment.name}.lock"
    with lock.open("r+b") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with opened(offline_home, path) as kernel:
            assert prefix(kernel) == environment
            request = kernel.send_code("import alpha\nprint(alpha.__version__)")
            kernel.wait_for_text(request, "Waiting")
            assert pip_list(environment) == {}
            fcntl.flock(held, fcntl.LOCK_UN)
            done = kernel.collect(request)
            assert done.shown_text == "1.0\n", done.traceback


def test_a_killed_kernel_leaves_its_environment_free(offline_home: Home, path: Path) -> None:
    environment = environments.sync(environments.locate(path), context=Context()).path
    source = environments.locate(path)
    with opened(offline_home, path) as kernel:
        assert environments.status(source, context=Context()).in_use
        os.kill(kernel.pid, 9)
        wait_until(lambda: not environments.status(source, context=Context()).in_use)
        # Jupyter's manager starts it again.
        kernel.restart(now=True)
        assert prefix(kernel) == environment


# Hosts that are gone.


def name_hosts(environment: Path, *hosts: Path | str) -> None:
    """Make the record name these hosts."""
    record = record_of(environment)
    named = [{**record["hosts"][0], "python": str(host)} for host in hosts]
    (environment / "scriptenv.json").write_text(
        json.dumps(record | {"hosts": named}), encoding="utf-8"
    )


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """Give a host whose Python is there still; the package was uninstalled."""
    program = tmp_path / "bare"
    program.write_text("#!/bin/sh\necho No module named ipy_scriptenv >&2\nexit 1\n")
    program.chmod(0o755)
    return program


@pytest.mark.usefixtures("offline_home")
def test_without_a_host_an_environment_in_sync_runs_and_any_other_says_how_to_reinstall(
    path: Path, bare: Path
) -> None:
    source = environments.locate(path)
    environment = environments.sync(source, context=Context()).path
    name_hosts(environment, "/nowhere/bin/python")
    with launched(kernelspec_of(path), cwd=path.parent) as kernel:
        assert kernel.execute("import alpha\nalpha.__version__").result == "'1.0'"

    # Saved anew with the same block, it has to be looked at, and is found in sync: with a note.
    write_notebook(path, block("alpha==1.0"), "import alpha")
    with launched(kernelspec_of(path), cwd=path.parent) as kernel:
        done = kernel.execute("import alpha\nalpha.__version__")
        assert done.result == "'1.0'", done.traceback
        assert "not installed any more" in done.shown_text
        for hosts in ([bare], ["/nowhere/bin/python"]):
            name_hosts(environment, *hosts)
            by_hand = kernel.execute("!pip list")
            assert "pip install ipy-scriptenv" in by_hand.stdout + by_hand.stderr
            # A line is not carried out, although the environment is in sync.
            for line in ("%scriptenv sync", "%scriptenv upgrade", "%%scriptenv\n1"):
                assert "pip install ipy-scriptenv" in kernel.execute(line).traceback, line
        # The block that asks for something else fails, and runs nothing.
        failed = kernel.execute(block("alpha==1.0", "nspkg-one") + "touched = True")
        assert failed.status == "error"
        assert "pip install ipy-scriptenv" in failed.traceback
        assert kernel.execute("assert 'touched' not in globals()", silent=True).status == "ok"
        told = kernel.execute("%scriptenv status")
        assert "pip install ipy-scriptenv" in told.traceback

    write_notebook(path, block("alpha==1.0", "nspkg-one"))
    with launched(kernelspec_of(path), cwd=path.parent) as kernel:
        failed = kernel.execute("touched = True")
        assert failed.status == "error"
        assert "pip install ipy-scriptenv" in failed.traceback
        assert kernel.execute("assert 'touched' not in globals()", silent=True).status == "ok"


def test_of_several_hosts_the_first_that_is_there_answers(
    offline_home: Home, path: Path, bare: Path
) -> None:
    environment = made(offline_home, path)
    hosts = ("/nowhere/bin/python", bare, sys.executable)
    name_hosts(environment, *hosts)
    with launched(kernelspec_of(path), cwd=path.parent) as kernel:
        assert kernel.execute("import alpha\nalpha.__version__").result == "'1.0'"
        name_hosts(environment, *hosts)
        assert "alpha" in kernel.execute("!pip list").stdout
        # What a cell sets for programs of its own is not for the hosts.
        kernel.execute("import os\nos.environ['PYTHONHOME'] = '/nowhere'")
        assert kernel.execute("%%scriptenv\nprint('there')").stdout == "there\n"
