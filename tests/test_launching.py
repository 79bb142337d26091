"""How a kernel is launched: for which source, in which environment, and what tells a failure.

The tables are those of the contract: *Which source is it?*, *Which text of the block?*.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning.factory import KernelProvisionerFactory

from ipy_scriptenv import environments, explaining
from ipy_scriptenv.environments import EPHEMERAL, Context
from ipy_scriptenv.errors import LockTimeout
from ipy_scriptenv.provisioner import source_of
from ipy_scriptenv.record import Source
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
    online,
    opened,
    pip_list,
    record_of,
    started,
    wait_until,
    wheel,
    write_notebook,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_notebook(tmp_path / "work" / "nb.ipynb", block("alpha==1.0"))


def unasked(kernel: Kernel, code: str) -> str:
    """Run *code* as a client does by itself, so that nothing is synced; give what it prints."""
    done = kernel.execute(code, store_history=False)
    assert done.status == "ok", done.traceback
    return done.stdout.strip()


def prefix(kernel: Kernel) -> Path:
    return Path(unasked(kernel, "import sys; print(sys.prefix)"))


def minor(kernel: Kernel) -> str:
    return unasked(kernel, "import sys; print('%d.%d' % sys.version_info[:2])")


def ephemeral(home: Home) -> list[Path]:
    return sorted((home.scriptenv / "environments-v1").glob("ephemeral-*"))


def made(home: Home, path: Path) -> Path:
    """Make the environment of a notebook and its kernelspec, as opening it does."""
    environments.start(environments.locate(path), context=Context())
    return environment_of(home, path)


# Which source is it?


def named(path: Path | str) -> dict[str, dict[str, str]]:
    """Give the metadata of a kernelspec for a source."""
    return {"scriptenv": {"source": str(path)}}


@pytest.mark.usefixtures("home")
def test_which_source_the_first_that_applies(tmp_path: Path) -> None:
    first, second, third = (write_notebook(tmp_path / f"{name}.ipynb", "") for name in "abc")
    a, b, c = (environments.locate(each) for each in (first, second, third))
    script = tmp_path / "s.py"
    script.write_text("print(1)\n", encoding="utf-8")
    picture = tmp_path / "p.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n\x00")
    session, given = {"JPY_SESSION_NAME": str(first)}, {"SCRIPTENV_SOURCE": str(third)}
    rows: list[tuple[dict[str, str], dict[str, dict[str, str]], Source]] = [
        # 1. the path of the session, if it is an existing file that can be a source
        (session | given, named(second), a),
        ({"JPY_SESSION_NAME": str(script)}, named(second), environments.locate(script)),
        # 2. the kernelspec's
        ({}, named(second), b),
        (given, named(second), b),
        ({"JPY_SESSION_NAME": str(tmp_path / "Console 1")}, named(second), b),
        ({"JPY_SESSION_NAME": str(tmp_path)}, named(second), b),
        ({"JPY_SESSION_NAME": "a.ipynb"}, named(second), b),
        ({"JPY_SESSION_NAME": ""}, named(second), b),
        ({"JPY_SESSION_NAME": "\0"}, named(second), b),
        ({"JPY_SESSION_NAME": str(picture)}, named(second), b),
        # 3. SCRIPTENV_SOURCE
        (given, {}, c),
        (given | {"JPY_SESSION_NAME": str(tmp_path / "nowhere.ipynb")}, {}, c),
        # 4. none
        ({}, {}, EPHEMERAL),
        ({"JPY_SESSION_NAME": str(tmp_path / "nowhere.ipynb")}, {}, EPHEMERAL),
        ({"SCRIPTENV_SOURCE": str(tmp_path / "nowhere.ipynb")}, {}, EPHEMERAL),
    ]
    found = [source_of(env, metadata) for env, metadata, _ in rows]
    assert found == [wanted for *_, wanted in rows]


@pytest.mark.usefixtures("home")
def test_which_source_the_server_s_own_variables_are_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outer = write_notebook(tmp_path / "outer.ipynb", "")
    monkeypatch.setenv("JPY_SESSION_NAME", str(outer))
    monkeypatch.setenv("SCRIPTENV_SOURCE", str(outer))
    assert source_of({}, {}) == EPHEMERAL


def test_which_source_1_a_copy_gets_an_environment_of_its_own(
    offline_home: Home, path: Path, tmp_path: Path
) -> None:
    original = made(offline_home, path)
    copy = write_notebook(tmp_path / "work" / "copy.ipynb", block("nspkg-one"))
    variables = {"JPY_SESSION_NAME": str(copy), "SCRIPTENV_SOURCE": str(path)}
    with started(kernelspec_of(path), env=variables, cwd=tmp_path) as kernel:
        assert prefix(kernel) == environment_of(offline_home, copy) != original
        assert kernel.execute("import nspkg.one").status == "ok"
        assert unasked(kernel, "import os; print(os.environ.get('SCRIPTENV_SOURCE'))") == "None"
    assert pip_list(original) == {}
    spec = json.loads((offline_home.kernelspecs / kernelspec_of(copy) / "kernel.json").read_text())
    assert spec["metadata"]["scriptenv"]["source"] == str(copy)
    assert spec["display_name"] == "scriptenv: copy.ipynb"


def test_which_source_2_the_kernelspec_s_where_the_client_tells_no_path(
    offline_home: Home, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As under nbclient and papermill, also inside another notebook's kernel."""
    environment = made(offline_home, path)
    outer = write_notebook(tmp_path / "outer.ipynb", "")
    monkeypatch.setenv("JPY_SESSION_NAME", str(outer))
    with started(kernelspec_of(path), cwd=tmp_path) as kernel:
        assert prefix(kernel) == environment
        assert kernel.execute("import alpha\nalpha.__version__").result == "'1.0'"
    assert not environment_of(offline_home, outer).exists()


def test_which_source_3_scriptenv_source_and_no_kernel_inherits_it(
    offline_home: Home, path: Path, tmp_path: Path
) -> None:
    install_generic(offline_home)
    with started(GENERIC, env={"SCRIPTENV_SOURCE": str(path)}, cwd=tmp_path) as kernel:
        assert prefix(kernel) == environment_of(offline_home, path)
        assert unasked(kernel, "import os; print('SCRIPTENV_SOURCE' in os.environ)") == "False"


def test_which_source_4_none_is_an_ephemeral_environment_that_goes_with_its_kernel(
    offline_home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outer = write_notebook(tmp_path / "outer.ipynb", "")
    for name in ("JPY_SESSION_NAME", "SCRIPTENV_SOURCE"):
        monkeypatch.setenv(name, str(outer))
    install_generic(offline_home)
    with started(GENERIC, cwd=tmp_path) as kernel:
        (place,) = ephemeral(offline_home)
        assert prefix(kernel) == place
        assert record_of(place)["source"]["kind"] == "ephemeral"
        done = kernel.execute(block("alpha==1.0") + "import alpha\nalpha.__version__")
        assert done.result == "'1.0'", done.traceback
        assert environments.list_environments(context=Context()) == []
        assert [each.name for each in offline_home.kernelspecs.iterdir()] == [GENERIC]
        kernel.restart()
        assert ephemeral(offline_home) == [place]
        assert kernel.execute("import alpha\nalpha.__version__").result == "'1.0'"
        with started(GENERIC, cwd=tmp_path) as second:
            assert prefix(second) not in (place, None)
            assert len(ephemeral(offline_home)) == 2
        assert ephemeral(offline_home) == [place]
    assert ephemeral(offline_home) == []
    assert not list((offline_home.scriptenv / "locks").glob("ephemeral-*"))


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
        status = kernel.execute("%scriptenv status").stdout
        assert "in-sync" in status
        assert "in use       yes" in status
    # The live lock went with it.
    folder = offline_home.scriptenv / "locks" / f"{environment.name}.kernels"
    status_after = environments.status(environments.locate(path), context=Context())
    assert not status_after.in_use
    assert not list(folder.iterdir())


@pytest.fixture
def other(offline_home: Home, layers: Layers, pythons: dict[str, Path]) -> str:
    """Give the minor version of another Python than the host's, whose layer stands."""
    import sys

    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    found = [each for each in ("3.12", "3.13", "3.11", "3.10") if each in pythons and each != here]
    if not found:
        pytest.skip("there is but one Python")
    layers.link(offline_home, pythons[found[0]])
    return found[0]


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


def test_an_argv_only_start_explains_too(offline_home: Home, path: Path, tmp_path: Path) -> None:
    made(offline_home, path)
    write_notebook(path, block(python=">=3.99"))
    touched = tmp_path / "touched"
    with launched(kernelspec_of(path), cwd=path.parent) as kernel:
        failed = kernel.execute(f"open({str(touched)!r}, 'w').close()")
        assert failed.ename == "NoPython"
        assert not touched.exists()


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


# Hosts that are gone.


def without_host(environment: Path) -> None:
    """Make the record name a host that is not there any more."""
    record = record_of(environment)
    gone = {**record["hosts"][0], "python": "/nowhere/bin/python"}
    (environment / "scriptenv.json").write_text(
        json.dumps(record | {"hosts": [gone]}), encoding="utf-8"
    )


@pytest.mark.usefixtures("offline_home")
def test_without_a_host_an_environment_in_sync_runs_and_any_other_says_how_to_reinstall(
    path: Path,
) -> None:
    source = environments.locate(path)
    environment = environments.sync(source, context=Context()).path
    without_host(environment)
    with launched(kernelspec_of(path), cwd=path.parent) as kernel:
        assert kernel.execute("import alpha\nalpha.__version__").result == "'1.0'"

    # Saved anew with the same block, it has to be looked at, and is found in sync: with a note.
    write_notebook(path, block("alpha==1.0"), "import alpha")
    with launched(kernelspec_of(path), cwd=path.parent) as kernel:
        done = kernel.execute("import alpha\nalpha.__version__")
        assert done.result == "'1.0'", done.traceback
        assert "not installed any more" in done.shown_text
        by_hand = kernel.execute("!pip list")
        assert "pip install ipy-scriptenv" in by_hand.stdout + by_hand.stderr
        # The block that asks for something else fails, and runs nothing.
        failed = kernel.execute(block("alpha==1.0", "nspkg-one") + "touched = True")
        assert failed.status == "error"
        assert "pip install ipy-scriptenv" in failed.traceback
        assert kernel.execute("assert 'touched' not in globals()", silent=True).status == "ok"
        told = kernel.execute("%scriptenv status")
        assert "pip install ipy-scriptenv" in told.stdout + told.stderr, told.traceback

    write_notebook(path, block("alpha==1.0", "nspkg-one"))
    with launched(kernelspec_of(path), cwd=path.parent) as kernel:
        failed = kernel.execute("touched = True")
        assert failed.status == "error"
        assert "pip install ipy-scriptenv" in failed.traceback
        assert kernel.execute("assert 'touched' not in globals()", silent=True).status == "ok"


def test_of_several_hosts_the_first_that_is_there_answers(offline_home: Home, path: Path) -> None:
    environment = made(offline_home, path)
    record = record_of(environment)
    gone = {**record["hosts"][0], "python": "/nowhere/bin/python"}
    (environment / "scriptenv.json").write_text(
        json.dumps(record | {"hosts": [gone, *record["hosts"]]}), encoding="utf-8"
    )
    with launched(kernelspec_of(path), cwd=path.parent) as kernel:
        assert kernel.execute("import alpha\nalpha.__version__").result == "'1.0'"


# A notebook that moves.


def test_a_renamed_notebook_keeps_its_kernel_s_environment_until_the_restart(
    offline_home: Home, path: Path
) -> None:
    old = environment_of(offline_home, path)
    with opened(offline_home, path) as kernel:
        assert kernel.execute("import alpha").status == "ok"
        assert "not at its place" not in kernel.execute("%scriptenv status").stdout
        new = path.rename(path.with_name("renamed.ipynb"))
        status = kernel.execute("%scriptenv status")
        assert len([line for line in status.stdout.splitlines() if "not at its place" in line]) == 1
        assert str(old) in status.stdout
        more = kernel.execute(block("alpha==1.0", "nspkg-one") + "import nspkg.one")
        assert more.status == "ok", more.traceback
        assert prefix(kernel) == old

        kernel.restart(env={**os.environ, "JPY_SESSION_NAME": str(new)})
        assert prefix(kernel) == environment_of(offline_home, new) != old
        assert kernel.execute("import alpha\nalpha.__version__").result == "'1.0'"


# Which text of the block?


def test_which_text_the_file_s_if_it_has_changed_since(offline_home: Home, path: Path) -> None:
    environment = environments.sync(environments.locate(path), context=Context()).path
    write_notebook(path, block("nspkg-one"))
    with opened(offline_home, path) as kernel:
        assert pip_list(environment) == {"alpha": "1.0"}, "opening changes nothing"
        assert kernel.execute("import nspkg.one").status == "ok"
        assert pip_list(environment) == {"nspkg-one": "1.0"}


def test_which_text_the_record_s_if_the_file_has_not_changed(
    offline_home: Home, path: Path
) -> None:
    """What was executed and not yet saved stands after a restart, and in the next kernel."""
    environment = environment_of(offline_home, path)
    with opened(offline_home, path) as kernel:
        assert kernel.execute(block("nspkg-one") + "import nspkg.one").status == "ok"
        kernel.restart()
        again = kernel.execute("import nspkg.one")
        assert (again.status, again.stdout) == ("ok", "")
        assert pip_list(environment) == {"nspkg-one": "1.0"}
    with opened(offline_home, path) as kernel:
        assert kernel.execute("import nspkg.one").status == "ok"
        assert kernel.execute("import alpha").ename == "ModuleNotFoundError"
    # Saved at last with what was executed: nothing is left to do.
    write_notebook(path, block("nspkg-one"))
    with opened(offline_home, path) as kernel:
        saved = kernel.execute("import nspkg.one")
        assert (saved.status, saved.stdout) == ("ok", "")


UNREADABLE = "# /// script\n# dependencies = [\n# ///\n"


def test_which_text_one_that_cannot_be_read_makes_an_empty_environment_and_fails_the_cell(
    offline_home: Home, path: Path, other: str
) -> None:
    environment = environment_of(offline_home, path)
    write_notebook(path, UNREADABLE)
    with opened(offline_home, path) as kernel:
        assert prefix(kernel) == environment
        assert pip_list(environment) == {}
        failed = kernel.execute("touched = True")
        assert failed.ename == "BadBlock"
        assert kernel.execute("touched = True").ename == "BadBlock"
        assert kernel.execute("assert 'touched' not in globals()", silent=True).status == "ok"
        assert kernel.execute("%scriptenv status").status == "ok"
        mended = kernel.execute(block("alpha==1.0") + "import alpha\nalpha.__version__")
        assert mended.result == "'1.0'", mended.traceback
        # It is saved as it was; the file has not changed, so what was executed stands.
        kernel.restart()
        assert kernel.execute("import alpha\nalpha.__version__").result == "'1.0'"
        # Only another interpreter would have needed a restart.
        assert kernel.execute(block(python=f"=={other}.*")).ename == "RestartNeeded"


def test_which_text_one_that_cannot_be_read_keeps_the_standing_environment(
    offline_home: Home, path: Path
) -> None:
    environment = environments.sync(environments.locate(path), context=Context()).path
    for text, name in (
        (UNREADABLE, "BadBlock"),
        ("# /// script\n# dependencies = []\nx = 1", "Unclosed"),
        ("# /// script\n# dependencies = ['a b c']\n# ///\n", "BadRequirement"),
    ):
        write_notebook(path, text)
        with opened(offline_home, path) as kernel:
            assert unasked(kernel, "import alpha; print(alpha.__version__)") == "1.0"
            assert kernel.execute("import alpha").ename == name
            assert pip_list(environment) == {"alpha": "1.0"}
    write_notebook(path, block(), "x = 1", block())
    with opened(offline_home, path) as kernel:
        failed = kernel.execute("x = 1")
        assert failed.ename == "Duplicate"
        assert "cell 1" in failed.traceback
        assert "cell 3" in failed.traceback


# Kernels that are gone.


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


@pytest.fixture
def deadly(tmp_path: Path, offline: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Offer a package that no kernel survives and that looks as if it fitted the layer."""
    hollow = Distribution(name="traitlets", version="5.99", files={"traitlets/__init__.py": ""})
    wheel(tmp_path / "wheels", hollow)
    monkeypatch.setenv("UV_FIND_LINKS", f"{offline},{tmp_path / 'wheels'}")
    return "traitlets>=5.4"


def killed_by(kernel: Kernel, deadly: str) -> None:
    """Install what no kernel survives, and restart until Jupyter's manager has seen it die."""
    manager = kernel.manager
    assert manager is not None
    done = kernel.execute(block(deadly) + "mine = 1")
    assert done.status == "ok", done.traceback
    manager.restart_kernel()
    wait_until(lambda: not manager.is_alive(), what="the kernel's early death")


def test_a_kernel_that_dies_at_its_start_is_explained_at_the_next(
    offline_home: Home, path: Path, deadly: str
) -> None:
    with opened(offline_home, path) as kernel:
        killed_by(kernel, deadly)
        kernel.restart()
        for _ in range(2):
            explained = kernel.execute("touched = True")
            assert explained.status == "error"
            assert "right after its start" in explained.traceback


def test_mending_the_block_brings_back_a_kernel_that_dies_at_its_start(
    offline_home: Home, path: Path, deadly: str
) -> None:
    with opened(offline_home, path) as kernel:
        killed_by(kernel, deadly)
        kernel.restart()
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


def _has_ended(process: int) -> bool:
    """Look whether a child has ended, without collecting it."""
    return os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None
