"""The live block: running a cell with a block brings the running environment to that text."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path
from textwrap import dedent

import psutil
import pytest

from tests.conftest import Home
from tests.index.build import Distribution
from tests.kernels import (
    Kernel,
    block,
    environment_of,
    online,
    opened,
    pip_list,
    record_of,
    unasked,
    wait_until,
    wheel,
    write_notebook,
)
from tests.stage import call


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give a notebook on disk that declares nothing."""
    return write_notebook(tmp_path / "work" / "nb.ipynb", "")


def ran(kernel: Kernel, name: str) -> bool:
    """Say whether a variable is there; asked as no user does, so that nothing is synced."""
    return kernel.execute(f"assert {name!r} in globals()", silent=True).status == "ok"


# What a block does.


def test_a_block_is_installed_in_view_and_only_the_cell_s_output_stays(
    offline_home: Home, path: Path
) -> None:
    with opened(offline_home, path) as kernel:
        process = kernel.pid
        first = kernel.execute(block("alpha==1.0") + "import alpha\nprint(alpha.__version__)")
        assert first.shown == [{"msg_type": "stream", "name": "stdout", "text": "1.0\n"}]
        assert first.contents("clear_output")[-1] == {"wait": False}
        kinds = [message["header"]["msg_type"] for message in first.messages]
        assert kinds.index("display_data") < kinds.index("clear_output"), "there was progress"

        # A cell that prints nothing leaves nothing, and one line more costs no restart.
        second = kernel.execute(
            block("alpha==1.0", "nspkg-one", "pkg-00")
            + "import nspkg.one\nnumber = nspkg.one.NUMBER"
        )
        assert (second.status, second.shown) == ("ok", [])
        assert kernel.execute("number").result == "1"
        assert pip_list(environment_of(offline_home, path)) == {
            "alpha": "1.0",
            "nspkg-one": "1.0",
            "pkg-00": "1.0",
        }

        # What is declared no longer and was not imported goes; so does its module.
        third = kernel.execute(block("alpha==1.0", "nspkg-one") + "import pkg_00")
        assert third.ename == "ModuleNotFoundError"
        assert pip_list(environment_of(offline_home, path)) == {"alpha": "1.0", "nspkg-one": "1.0"}

        # A namespace package that is imported already grows.
        fourth = kernel.execute(
            block("alpha==1.0", "nspkg-one", "nspkg-two") + "import nspkg.two\nnspkg.two.NUMBER"
        )
        assert fourth.result == "2", fourth.traceback
        assert kernel.pid == process
        assert kernel.execute("number, alpha.__version__").result == "(1, '1.0')"


def test_one_line_names_what_will_be_installed_before_it_is(offline_home: Home, path: Path) -> None:
    with opened(offline_home, path) as kernel:
        done = kernel.execute(block("beta", "nspkg-one") + "1 + 1")
        named = next(text for text in done.progress if text.startswith("Installing for nb.ipynb"))
        for name in ("alpha", "beta", "nspkg-one"):
            assert name in named


def test_cells_without_a_block_and_cells_of_a_cell_magic_change_nothing(
    offline_home: Home, path: Path
) -> None:
    environment = environment_of(offline_home, path)
    with opened(offline_home, path) as kernel:
        # The block may stand anywhere in its cell, in lines that end in CRLF.
        code = "before = 1\n" + block("alpha==1.0") + "import alpha\nprint(before, alpha.__name__)"
        assert kernel.execute(code.replace("\n", "\r\n")).shown_text == "1 alpha\n"
        before = (environment / "scriptenv.json").read_bytes()
        for code in (
            "x = 1",
            "%%capture out\n" + block("nspkg-one") + "print('captured')",
            "\n\n%%capture out\n" + block("nspkg-one"),
            "%%writefile script.py\n" + block("nspkg-one"),
            "# script\n# dependencies = ['nspkg-one']\n",
        ):
            assert kernel.execute(code).status == "ok"
        assert kernel.execute("out.stdout").status == "ok"
        assert pip_list(environment) == {"alpha": "1.0"}
        assert (environment / "scriptenv.json").read_bytes() == before


def test_the_same_block_again_asks_no_host(offline_home: Home, path: Path) -> None:
    """Only what changed is looked at: running a cell again costs a few stats."""
    with opened(offline_home, path) as kernel:
        kernel.execute(block("alpha==1.0"))
        record = environment_of(offline_home, path) / "scriptenv.json"
        without_hosts = json.loads(record.read_text("utf-8")) | {"hosts": []}
        record.write_text(json.dumps(without_hosts), encoding="utf-8")
        again = kernel.execute(block("alpha==1.0") + "print('again')")
        assert (again.status, again.stdout) == ("ok", "again\n")
        other = kernel.execute(block("alpha==1.1"))
        assert other.status == "error", "without a host another block cannot have been synced"


def test_a_file_that_changes_meanwhile_is_told_by_status_and_changes_nothing(
    offline_home: Home, path: Path
) -> None:
    with opened(offline_home, path) as kernel:
        kernel.execute(block("alpha==1.0"))
        assert "changed" not in kernel.execute("%scriptenv status").shown_text
        write_notebook(path, block("nspkg-one"))
        assert kernel.execute("x = 1").status == "ok"
        assert pip_list(environment_of(offline_home, path)) == {"alpha": "1.0"}
        told = kernel.execute("%scriptenv status").shown_text.splitlines()
        assert len([line for line in told if "file has changed" in line]) == 1, told


# What needs a restart.


def test_changing_what_was_imported_needs_a_restart_and_waits_for_it(
    offline_home: Home, path: Path
) -> None:
    environment = environment_of(offline_home, path)
    wanted = block("alpha==1.1", "nspkg-one")
    with opened(offline_home, path) as kernel:
        kernel.execute(block("alpha==1.0", "nspkg-two") + "import alpha\nfrom nspkg import two")

        # To remove it is no better than to change it.
        removing = kernel.execute(block("alpha==1.0") + "touched = True")
        assert removing.ename == "RestartNeeded"
        assert "nspkg-two" in removing.traceback
        assert not ran(kernel, "touched")

        refused = kernel.execute(wanted + "touched = True")
        assert refused.status == "error"
        assert refused.ename == "RestartNeeded"
        assert refused.error is not None
        assert refused.error["ename"] == "RestartNeeded"
        assert "alpha" in refused.traceback
        assert "Restart the kernel" in refused.traceback
        assert not ran(kernel, "touched")
        assert pip_list(environment) == {"alpha": "1.0", "nspkg-two": "1.0"}
        record = record_of(environment)
        assert record["pending"] == 'dependencies = ["alpha==1.1", "nspkg-one"]\n'
        assert record["block"] == 'dependencies = ["alpha==1.0", "nspkg-two"]\n'
        status = kernel.execute("%scriptenv status")
        assert status.status == "ok"
        assert "pending" in status.shown_text

        kernel.restart()
        first = kernel.execute("import alpha, nspkg.one\nalpha.__version__")
        assert first.result == "'1.1'"
        assert pip_list(environment) == {"alpha": "1.1", "nspkg-one": "1.0"}
        assert record_of(environment)["pending"] is None


def test_taking_a_refused_block_back_needs_no_restart(offline_home: Home, path: Path) -> None:
    environment = environment_of(offline_home, path)
    with opened(offline_home, path) as kernel:
        kernel.execute(block("alpha==1.0") + "import alpha")
        assert kernel.execute(block("alpha==1.1")).ename == "RestartNeeded"
        back = kernel.execute(block("alpha==1.0") + "print('back')")
        assert (back.status, back.shown_text) == ("ok", "back\n")
        assert record_of(environment)["pending"] is None
        assert kernel.execute("alpha.__version__").result == "'1.0'"


def test_a_refused_block_gives_way_to_a_file_that_changed_since(
    offline_home: Home, path: Path
) -> None:
    with opened(offline_home, path) as kernel:
        kernel.execute(block("alpha==1.0") + "import alpha")
        assert kernel.execute(block("alpha==1.1")).ename == "RestartNeeded"
        write_notebook(path, block("alpha==2.0"))
        kernel.restart()
        assert kernel.execute("import alpha; alpha.__version__").result == "'2.0'"


def other_comm(folder: Path, version: str) -> Path:
    """Build a ``comm`` of another version than the layer's, out of the installed one."""
    installed = metadata.distribution("comm")
    files = {
        str(file): Path(str(file.locate())).read_text("utf-8").replace(installed.version, version)
        for file in installed.files or ()
        if file.suffix == ".py"
    }
    assert files
    wheel(folder, Distribution(name="comm", version=version, files=files))
    return folder


@pytest.fixture
def comms(tmp_path: Path, offline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offer an older ``comm``, which every kernel imports from the layer at its start."""
    older = other_comm(tmp_path / "wheels", "0.2.2")
    monkeypatch.setenv("UV_FIND_LINKS", f"{offline},{older}")


@pytest.mark.usefixtures("comms")
def test_a_fresh_kernel_replaces_itself_where_the_layer_s_loaded_version_fails_the_block(
    offline_home: Home, path: Path
) -> None:
    with opened(offline_home, path) as kernel:
        done = kernel.execute(block("comm<0.2.3") + "import comm\ncomm.__version__")
        assert (done.status, done.result) == ("ok", "'0.2.2'")
        assert kernel.execute("1 + 1").result == "2"


@pytest.mark.usefixtures("comms")
def test_after_a_user_s_cell_such_a_version_needs_a_restart(offline_home: Home, path: Path) -> None:
    with opened(offline_home, path) as kernel:
        assert kernel.execute("mine = 1").status == "ok"
        refused = kernel.execute(block("comm<0.2.3") + "touched = True")
        assert refused.ename == "RestartNeeded"
        assert "comm" in refused.traceback
        assert not ran(kernel, "touched")
        assert ran(kernel, "mine")
        kernel.restart()
        assert kernel.execute("import comm; comm.__version__").result == "'0.2.2'"


@pytest.mark.usefixtures("comms")
def test_a_loaded_version_that_satisfies_everything_costs_no_restart_and_is_told_by_status(
    offline_home: Home, path: Path
) -> None:
    loose = block("comm>=0.1", more='[tool.uv]\nconstraint-dependencies = ["comm<0.2.3"]')
    with opened(offline_home, path) as kernel:
        kernel.execute("mine = 1")
        done = kernel.execute(loose + "print(mine)")
        assert (done.status, done.shown_text) == ("ok", "1\n")
        assert pip_list(environment_of(offline_home, path)) == {"comm": "0.2.2"}
        told = kernel.execute("%scriptenv status").shown_text.splitlines()
        notes = [line for line in told if "comm" in line and "0.2.3" in line]
        assert len(notes) == 1, told


@online
def test_declaring_ipywidgets_costs_no_restart(ready_home: Home, path: Path) -> None:
    with opened(ready_home, path) as kernel:
        kernel.execute("mine = 1")
        done = kernel.execute(
            block("ipywidgets") + "import ipywidgets\nipywidgets.IntSlider(value=7)"
        )
        assert done.status == "ok", done.traceback
        shown = [each for each in done.shown if each["msg_type"] != "stream"]
        assert "application/vnd.jupyter.widget-view+json" in shown[0]["data"]
        assert kernel.execute("mine").result == "1"


@online
def test_an_older_ipython_replaces_the_fresh_kernel_and_costs_any_other_a_restart(
    ready_home: Home, path: Path, tmp_path: Path
) -> None:
    code = block("ipython<9") + "import IPython\nIPython.version_info[0]"
    with opened(ready_home, path) as kernel:
        done = kernel.execute(code)
        assert done.result == "8", done.traceback
    other = write_notebook(tmp_path / "work" / "other.ipynb", "")
    with opened(ready_home, other) as kernel:
        kernel.execute("mine = 1")
        assert kernel.execute(code).ename == "RestartNeeded"
        kernel.restart()
        done = kernel.execute("import IPython\nIPython.version_info[0]")
        assert done.result == "8", done.traceback


# What fails.


def test_a_failing_resolution_is_told_in_the_cell_and_mended_without_a_restart(
    offline_home: Home, path: Path
) -> None:
    with opened(offline_home, path) as kernel:
        process = kernel.pid
        failed = kernel.execute(block("conflict-a", "conflict-b") + "touched = True")
        assert failed.status == "error"
        assert failed.ename == "ResolutionFailed"
        assert failed.error is not None
        assert failed.error["ename"] == "ResolutionFailed"
        assert failed.reply["evalue"] == failed.error["evalue"]
        assert [each["msg_type"] for each in failed.shown] == ["error"]
        for words in ("conflict-a", "conflict-b", "alpha", "Mend the dependencies in the block"):
            assert words in failed.traceback
        assert "Traceback" not in failed.traceback
        assert not ran(kernel, "touched")

        later = kernel.execute("touched = True")
        assert later.ename == "ResolutionFailed"
        assert "conflict-a" in later.traceback
        assert not ran(kernel, "touched")
        status = kernel.execute("%scriptenv status")
        assert (status.status, status.error) == ("ok", None)
        assert "state" in status.shown_text

        mended = kernel.execute(block("alpha==1.0") + "import alpha\nprint(alpha.__version__)")
        assert (mended.status, mended.shown_text) == ("ok", "1.0\n")
        assert kernel.execute("touched = True").status == "ok"
        assert kernel.pid == process


def test_a_failing_block_on_disk_fails_every_cell_until_it_is_mended(
    offline_home: Home, path: Path
) -> None:
    write_notebook(path, block("no-such-thing"), "touched = True")
    with opened(offline_home, path) as kernel:
        for _ in range(2):
            failed = kernel.execute("touched = True")
            assert failed.ename in ("ResolutionFailed", "Offline")
            assert "no-such-thing" in failed.traceback
        assert not ran(kernel, "touched")
        assert kernel.execute(block() + "touched = True").status == "ok"
        assert kernel.execute("touched").result == "True"


UNREADABLE = {
    "Unclosed": ("x = 1\n# /// script\n# dependencies = []\ntouched = True", "line 2"),
    "Duplicate": (block() + "x = 1\n" + block() + "touched = True", "line 1"),
    "BadBlock": ("# /// script\n# dependencies = [\n# ///\ntouched = True", "line"),
    "BadRequirement": (block("alpha ~= nonsense") + "touched = True", "dependencies[0]"),
}
"""Class of the error → a cell that gives it, and words of what is told."""


def test_a_block_that_cannot_be_read_is_an_error_of_its_cell(
    offline_home: Home, path: Path
) -> None:
    with opened(offline_home, path) as kernel:
        kernel.execute(block("alpha==1.0"))
        for name, (code, words) in UNREADABLE.items():
            failed = kernel.execute(code)
            assert (failed.status, failed.ename) == ("error", name)
            assert failed.error is not None
            assert failed.error["ename"] == name
            assert words in failed.traceback, failed.traceback
            assert not ran(kernel, "touched")
            assert kernel.execute("%scriptenv status").status == "ok"
        assert pip_list(environment_of(offline_home, path)) == {"alpha": "1.0"}
        assert kernel.execute(block("alpha==1.0") + "touched = True").status == "ok"
        assert ran(kernel, "touched")


def test_after_a_block_that_cannot_be_read_later_cells_fail_the_same_way(
    offline_home: Home, path: Path
) -> None:
    with opened(offline_home, path) as kernel:
        later = {}
        for name, (code, _words) in UNREADABLE.items():
            assert kernel.execute(code).ename == name
            later[name] = kernel.execute("touched = True").ename
        assert later == {name: name for name in UNREADABLE}


# What becomes importable.

BACKEND = '''\
"""A build backend that needs nothing: an editable wheel is a `.pth` file."""

import pathlib
import zipfile

INFO = "local_thing-1.0.dist-info"


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    name = "local_thing-1.0-py3-none-any.whl"
    source = pathlib.Path(__file__).parent / "src"
    files = {
        "local_thing.pth": f"{source}\\n",
        f"{INFO}/METADATA": "Metadata-Version: 2.1\\nName: local-thing\\nVersion: 1.0\\n",
        f"{INFO}/WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    }
    lines = [f"{path},," for path in [*files, f"{INFO}/RECORD"]]
    with zipfile.ZipFile(pathlib.Path(wheel_directory, name), "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)
        wheel.writestr(f"{INFO}/RECORD", "\\n".join(lines) + "\\n")
    return name
'''

EDITABLE = '[tool.uv.sources]\nlocal-thing = { path = "thing", editable = true }'


def local_project(folder: Path) -> Path:
    """Write a project that uv installs in editable mode without any network."""
    source = folder / "src" / "local_thing"
    source.mkdir(parents=True)
    (source / "__init__.py").write_text("ANSWER = 42\n", encoding="utf-8")
    (folder / "backend.py").write_text(BACKEND, encoding="utf-8")
    (folder / "pyproject.toml").write_text(
        dedent(
            """\
            [build-system]
            requires = []
            build-backend = "backend"
            backend-path = ["."]

            [project]
            name = "local-thing"
            version = "1.0"
            """
        ),
        encoding="utf-8",
    )
    return folder


def test_an_editable_install_is_importable_at_once_and_stands_before_the_layer(
    offline_home: Home, path: Path
) -> None:
    project = local_project(path.parent / "thing")
    with opened(offline_home, path) as kernel:
        kernel.execute("mine = 1")
        done = kernel.execute(
            block("local-thing", more=EDITABLE) + "import local_thing\nlocal_thing.ANSWER"
        )
        assert done.result == "42", done.traceback
        (project / "src" / "local_thing" / "extra.py").write_text("MORE = 43\n", encoding="utf-8")
        assert kernel.execute("from local_thing.extra import MORE; MORE").result == "43"
        where = kernel.execute(
            "import sys, ipykernel, pathlib\n"
            f"sys.path.index({str(project / 'src')!r})"
            " < sys.path.index(str(pathlib.Path(ipykernel.__file__).parent.parent))"
        )
        assert where.result == "True", where.traceback
        assert kernel.execute("mine").result == "1"


def test_what_another_process_installs_is_importable_in_the_next_cell(
    offline_home: Home, path: Path
) -> None:
    write_notebook(path, block("alpha==1.0"))
    with opened(offline_home, path) as kernel:
        assert kernel.execute("import alpha").status == "ok"
        assert kernel.execute("import nspkg.one").ename == "ModuleNotFoundError"
        local_project(path.parent / "thing")
        write_notebook(path, block("alpha==1.0", "nspkg-one", "local-thing", more=EDITABLE))
        synced = call("sync", path)
        assert synced.returncode == 0, synced.stderr
        done = kernel.execute("import nspkg.one, local_thing\nnspkg.one.NUMBER, local_thing.ANSWER")
        assert done.result == "(1, 42)", done.traceback


def test_another_process_may_not_change_what_a_kernel_has_imported(
    offline_home: Home, path: Path
) -> None:
    write_notebook(path, block("alpha==1.0"))
    with opened(offline_home, path) as kernel:
        kernel.execute("import alpha")
        write_notebook(path, block("alpha==1.1"))
        synced = call("sync", path, "--json")
        assert synced.returncode == 1
        error = json.loads(synced.stdout)["error"]
        assert error["code"] == "environment-in-use"
        assert str(kernel.pid) in error["message"]
        assert pip_list(environment_of(offline_home, path)) == {"alpha": "1.0"}
        assert kernel.execute("alpha.__version__").result == "'1.0'"


# Interrupts, and two who ask at once.


class StallingIndex:
    """A package index over HTTP that has one package, ``slow``, whose wheel stalls until let go.

    :ivar asked: set when the wheel was asked for
    :ivar go: set it, and the wheel is served
    """

    def __init__(self, folder: Path) -> None:
        self.asked = threading.Event()
        self.go = threading.Event()
        self.times = 0
        distribution = Distribution(name="slow", version="1.0")
        wheel_path = wheel(folder, distribution)
        name, data = wheel_path.name, wheel_path.read_bytes()
        described = distribution.content()["slow-1.0.dist-info/METADATA"].encode()
        listing = f'<a href="/{name}" data-core-metadata="true">{name}</a>'.encode()
        index = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                pages = {
                    "/simple/slow/": ("text/html", listing),
                    f"/{name}.metadata": ("text/plain", described),
                    f"/{name}": ("application/octet-stream", data),
                }
                if self.path not in pages:
                    self.send_error(404)
                    return
                kind, page = pages[self.path]
                if self.path == f"/{name}":
                    index.times += 1
                    index.asked.set()
                    index.go.wait(100)
                with suppress(ConnectionError):  # it was interrupted
                    self.send_response(200)
                    self.send_header("Content-Type", kind)
                    self.send_header("Content-Length", str(len(page)))
                    self.end_headers()
                    self.wfile.write(page)

            def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
                """Keep quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/simple"


@contextmanager
def running(index: StallingIndex) -> Iterator[StallingIndex]:
    thread = threading.Thread(target=index.server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield index
    finally:
        index.go.set()
        index.server.shutdown()
        index.server.server_close()
        thread.join()


@pytest.fixture
def stalling(
    offline: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[StallingIndex]:
    """Put an index that stalls beside the folder of wheels, and give uv a cache of its own."""
    with running(StallingIndex(tmp_path / "slow")) as index:
        for name in ("UV_NO_INDEX", "UV_OFFLINE"):
            monkeypatch.delenv(name)
        monkeypatch.setenv("UV_DEFAULT_INDEX", index.url)
        monkeypatch.setenv("UV_FIND_LINKS", str(offline))
        monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield index


def workers(environment: Path) -> list[psutil.Process]:
    """List the processes of uv and of hosts that work for an environment, whoever's children.

    Other tests run at the same time, and have hosts too. A host that was started before it was
    asked is none of them: another may wait by now.
    """
    found = []
    for process in psutil.process_iter(["name", "cmdline", "environ"]):
        variables = process.info["environ"] or {}
        words = process.info["cmdline"] or []
        is_uv = process.info["name"] == "uv" and variables.get("VIRTUAL_ENV") == str(environment)
        is_build = process.info["name"] == "uv" and any(environment.name in word for word in words)
        is_ours = variables.get("SCRIPTENV_HOME") == os.environ["SCRIPTENV_HOME"]
        is_host = "ipy_scriptenv.host" in words and "--spare" not in words
        if is_uv or is_build or (is_host and is_ours):
            found.append(process)
    return found


HINDRANCE = "c = get_ipython().kernel.completion; print(c.hindrance, c.standing[0])"
"""Asks a kernel what front ends are told to stand in the way of the next cell, and the state."""


def test_an_interrupted_install_leaves_no_process_and_is_tried_again_by_the_next_cell(
    ready_home: Home, path: Path, stalling: StallingIndex
) -> None:
    environment = environment_of(ready_home, path)
    with opened(ready_home, path) as kernel:
        process = kernel.pid
        kernel.execute(block("alpha==1.0") + "import alpha\nmine = 1")
        assert kernel.execute(block("conflict-a", "conflict-b")).ename == "ResolutionFailed"
        assert unasked(kernel, HINDRANCE).startswith("(Failed('ResolutionFailed'")
        request = kernel.send_code(block("alpha==1.0", "slow") + "touched = True")
        assert stalling.asked.wait(60)
        assert any(each.info["name"] == "uv" for each in workers(environment))
        kernel.interrupt()
        interrupted = kernel.collect(request)
        assert (interrupted.status, interrupted.ename) == ("error", "Interrupted")
        assert "again" in interrupted.traceback
        assert unasked(kernel, HINDRANCE) == "(None, None) stale", "no failure any more"
        wait_until(lambda: not workers(environment), what="the end of uv")
        assert kernel.is_alive
        assert not ran(kernel, "touched")
        assert ran(kernel, "mine")

        stalling.go.set()
        done = kernel.execute("import slow\nslow.__version__, alpha.__version__, mine")
        assert done.result == "('1.0', '1.0', 1)", done.traceback
        assert kernel.pid == process


def test_an_interrupt_while_nothing_is_synced_is_an_ordinary_one(
    offline_home: Home, path: Path
) -> None:
    with opened(offline_home, path) as kernel:
        kernel.execute(block("alpha==1.0"))
        request = kernel.send_code("import time\nprint('now', flush=True)\ntime.sleep(60)")
        kernel.wait_for_text(request, "now")
        kernel.interrupt()
        assert kernel.collect(request).ename == "KeyboardInterrupt"
        assert kernel.execute("import alpha\n1 + 1").result == "2"


def test_of_two_subshells_that_ask_at_once_one_syncs_and_the_other_waits(
    ready_home: Home, path: Path, stalling: StallingIndex
) -> None:
    with opened(ready_home, path) as kernel:
        subshell = kernel.request("create_subshell_request", {}, channel="control")["subshell_id"]
        code = block("slow") + "import slow\nprint(slow.__version__)"
        first = kernel.send_code(code)
        assert stalling.asked.wait(60)
        second = kernel.send_code(code, subshell=subshell)
        kernel.wait_for_text(second, "Waiting for another cell of this notebook")
        stalling.go.set()
        done = [kernel.collect(request) for request in (first, second)]
        assert [each.status for each in done] == ["ok", "ok"], [each.traceback for each in done]
        assert [each.shown_text for each in done] == ["1.0\n", "1.0\n"]
        assert not any("Waiting" in text for text in done[0].progress)
        assert stalling.times == 1


def test_an_interrupt_ends_a_sync_that_a_subshell_runs_alone_and_one_for_all_who_wait_for_it(
    ready_home: Home, path: Path, stalling: StallingIndex
) -> None:
    environment = environment_of(ready_home, path)
    with opened(ready_home, path) as kernel:
        subshell = kernel.request("create_subshell_request", {}, channel="control")["subshell_id"]
        # On a machine that is busy a host takes its time to end.
        assert unasked(kernel, "import scriptenv_kernel.hosts as h; h._GRACE = 100.0") == ""
        # The main shell is idle.
        alone = kernel.send_code(block("slow"), subshell=subshell)
        assert stalling.asked.wait(60)
        kernel.interrupt()
        assert kernel.collect(alone).ename == "Interrupted"
        wait_until(lambda: not workers(environment), what="the end of uv")

        stalling.asked.clear()
        first = kernel.send_code(block("slow"))
        assert stalling.asked.wait(60)
        second = kernel.send_code(block("slow"), subshell=subshell)
        kernel.wait_for_text(second, "Waiting for another cell of this notebook")
        kernel.interrupt()
        assert kernel.collect(first).ename == "Interrupted"
        assert kernel.collect(second).ename == "Interrupted"
        wait_until(lambda: not workers(environment), what="the end of uv")

        stalling.go.set()
        assert kernel.execute("import slow\nslow.__version__").result == "'1.0'"

        # Nor is one waited for for ever whose host does not end.
        hangs = path.with_name("hangs")
        hangs.write_text("#!/bin/sh\nexec sleep 1000\n")
        hangs.chmod(0o755)
        record = record_of(environment)
        named = {"hosts": [{**record["hosts"][0], "python": str(hangs)}]}
        (environment / "scriptenv.json").write_text(json.dumps(record | named))
        soon = "import scriptenv_kernel.hosts\nscriptenv_kernel.hosts._GRACE = 0.1"
        assert unasked(kernel, soon) == ""
        stuck = kernel.send_code(block("slow", "alpha"), subshell=subshell)
        kernel.wait_for_text(stuck, "Completing the environment")
        kernel.interrupt()
        assert kernel.collect(stuck).ename == "Interrupted"
