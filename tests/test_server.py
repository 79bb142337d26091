"""A real JupyterLab server, asked over REST and websockets as its front end asks it."""

from __future__ import annotations

import json
import os
import re
import select
import signal
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

from ipy_scriptenv import environments
from ipy_scriptenv.locks import exclusive
from ipy_scriptenv.store import Store
from tests.conftest import Home
from tests.jupyter_server import PATIENCE, Execution, Json, JupyterServer
from tests.kernels import kernelspec_of, wait_until
from tests.one_server import home, lab
from tests.stage import environment_of, write_notebook

__all__ = ["home", "lab"]  # fixtures

ALPHA = '# /// script\n# dependencies = ["alpha<2"]\n# ///\nimport alpha\nalpha.__version__'
NEWER_ALPHA = ALPHA.replace("<2", ">=2")
BETA = '# /// script\n# dependencies = ["beta"]\n# ///\nimport beta\nbeta.__version__'
NO_SUCH_PYTHON = '# /// script\n# requires-python = ">=3.99"\n# ///\n'
WHERE = "import os, sys\n[sys.prefix, os.getcwd()]"


def prefix(execution: Execution) -> Path:
    assert execution.result is not None, execution
    return Path(eval(execution.result)[0])  # noqa: S307 - our own list of strings


def folder(execution: Execution) -> Path:
    assert execution.result is not None, execution
    return Path(eval(execution.result)[1])  # noqa: S307 - our own list of strings


def open_later(lab: JupyterServer, path: str) -> HTTPConnection:
    """Ask for a notebook to be opened, and do not wait; what is asked later comes later."""
    address = urlsplit(lab.url)
    connection = HTTPConnection(address.netloc, timeout=PATIENCE)
    asked = {"path": path, "name": path, "type": "notebook", "kernel": {"name": "scriptenv"}}
    headers = {"Authorization": f"token {lab.token}", "Content-Type": "application/json"}
    connection.request("POST", f"{address.path}api/sessions", json.dumps(asked), headers)
    return connection


def is_answered(connection: HTTPConnection) -> bool:
    return select.select([connection.sock], [], [], 0)[0] != []


def session_of(connection: HTTPConnection) -> Json:
    """Wait for the answer, and give the session."""
    with connection.getresponse() as answer:
        return dict(json.load(answer))


def wait_for_the_move(lab: JupyterServer, new: Path) -> None:
    """Wait until the server has followed a rename: a restart meanwhile would not be at *new*."""
    wait_until(lambda: f" is that of {new}" in lab.log.read_text(encoding="utf-8"), what="the move")


def has_alpha(environment: Path) -> bool:
    return any(environment.glob("lib/*/site-packages/alpha"))


def test_the_kernel_picker_shows_the_generic_kernel_with_logos_of_its_own(
    lab: JupyterServer,
) -> None:
    found = lab.kernelspecs()

    assert found["scriptenv"]["spec"]["display_name"] == "Python (scriptenv)"
    pictures = found["scriptenv"]["resources"]
    others = found["python3"]["resources"]
    assert lab.fetch(pictures["logo-svg"]).lstrip().startswith((b"<svg", b"<?xml"))
    for size in ("logo-32x32", "logo-64x64"):
        assert lab.fetch(pictures[size]).startswith(b"\x89PNG")
        assert lab.fetch(pictures[size]) != lab.fetch(others[size])


def test_a_start_puts_the_kernel_of_the_notebook_into_the_picker(lab: JupyterServer) -> None:
    path = write_notebook(lab.root / "picker.ipynb", ALPHA)
    assert kernelspec_of(path) not in lab.kernelspecs()

    with lab.opened("picker.ipynb"):
        found = lab.kernelspecs()[kernelspec_of(path)]

    assert found["spec"]["display_name"] == "scriptenv: picker.ipynb"
    assert found["spec"]["argv"][0] == str(environment_of(path) / "bin" / "python")
    for picture in ("logo-svg", "logo-32x32", "logo-64x64"):
        assert lab.fetch(found["resources"][picture])


def test_a_notebook_on_the_generic_kernel_runs_in_its_own_environment(lab: JupyterServer) -> None:
    one = write_notebook(lab.root / "own-one.ipynb", ALPHA)
    two = write_notebook(lab.root / "own-two.ipynb", "1")

    with lab.opened("own-one.ipynb") as (_, first), lab.opened("own-two.ipynb") as (_, second):
        assert prefix(first.execute(WHERE)) == environment_of(one)
        assert prefix(second.execute(WHERE)) == environment_of(two)

    assert environment_of(one) != environment_of(two)


def test_the_first_cell_installs_what_is_missing_and_shows_only_its_own_output(
    lab: JupyterServer,
) -> None:
    path = write_notebook(lab.root / "first.ipynb", ALPHA)

    with lab.opened("first.ipynb") as (_, kernel):
        silent = kernel.execute("import sys", silent=True)
        assert silent.status == "ok"
        assert not has_alpha(environment_of(path))
        execution = kernel.execute(ALPHA)

    assert has_alpha(environment_of(path))
    assert any("alpha" in text for text in execution.progress)  # which was seen
    assert [each["data"]["text/plain"] for each in execution.shown] == ["'1.1'"]


def test_a_restart_keeps_the_environment_as_it_was_executed_last(lab: JupyterServer) -> None:
    path = write_notebook(lab.root / "restart.ipynb", ALPHA)

    with lab.opened("restart.ipynb") as (session, kernel):
        assert kernel.execute(ALPHA).result == "'1.1'"
        assert kernel.execute(BETA).result == "'1.0'"  # executed, but not saved
        lab.restart_kernel(session["kernel"]["id"])
        kernel.settle()
        again = kernel.execute("import beta\nbeta.__version__")
        where = kernel.execute(WHERE)
        told = kernel.execute("%scriptenv status")

    assert (again.result, len(again.messages)) == ("'1.0'", 4)  # busy, input, result, idle
    assert prefix(where) == environment_of(path)
    assert re.search(r"^declares +beta -> 1\.0$", told.shown_text, re.MULTILINE)


def test_a_kernel_that_is_killed_comes_back_in_its_environment(lab: JupyterServer) -> None:
    path = write_notebook(lab.root / "killed.ipynb", ALPHA)

    with lab.opened("killed.ipynb") as (session, kernel):
        assert kernel.execute(ALPHA).result == "'1.1'"
        before = kernel.execute("import os\nos.getpid()")
        os.kill(int(before.result or 0), signal.SIGKILL)
        kernel.wait_for_restart()
        assert lab.kernel(session["kernel"]["id"])["name"] == "scriptenv"
        assert kernel.execute("import alpha\nalpha.__version__").result == "'1.1'"
        assert prefix(kernel.execute(WHERE)) == environment_of(path)


def test_a_change_of_kernel_leads_into_the_environment_and_out_of_it(lab: JupyterServer) -> None:
    path = write_notebook(lab.root / "change.ipynb", ALPHA, kernel_name="python3")

    with lab.opened("change.ipynb", "python3") as (session, kernel):
        assert prefix(kernel.execute(WHERE)) != environment_of(path)
        for name in ("scriptenv", kernelspec_of(path)):
            changed = lab.change_kernel(session["id"], name)
            assert changed["kernel"]["name"] == name
            with lab.connect(changed["kernel"]["id"]) as other:
                assert prefix(other.execute(WHERE)) == environment_of(path)
                assert other.execute(ALPHA).result == "'1.1'"
        back = lab.change_kernel(session["id"], "python3")
        with lab.connect(back["kernel"]["id"]) as other:
            assert prefix(other.execute(WHERE)) != environment_of(path)


def test_two_opens_at_once_share_one_environment(home: Home, lab: JupyterServer) -> None:
    path = write_notebook(lab.root / "twice.ipynb", ALPHA)
    lock = Store(home.scriptenv).lock(environments.name_of(environments.locate(path)))

    with exclusive(lock, timeout=10):
        opens = [open_later(lab, "twice.ipynb") for _ in range(2)]
        for _ in range(5):  # until both have come
            lab.request("GET", "api/status")
        assert not any(map(is_answered, opens))
    kernels = {session_of(each)["kernel"]["id"] for each in opens}
    with ThreadPoolExecutor(2) as threads:
        results = [*threads.map(partial(_run_in, lab), kernels)]
    for session in lab.sessions():
        lab.delete_session(session["id"])
    for kernel in lab.request("GET", "api/kernels"):
        lab.delete_kernel(kernel["id"])

    assert results == [("'1.1'", environment_of(path))] * 2
    made = [each for each in (home.scriptenv / "environments-v1").iterdir() if "twice" in each.name]
    assert made == [environment_of(path)]


def _run_in(lab: JupyterServer, kernel_id: str) -> tuple[str | None, Path]:
    with lab.connect(kernel_id) as kernel:
        return kernel.execute(ALPHA).result, prefix(kernel.execute(WHERE))


def test_a_renamed_notebook_keeps_its_environment_until_the_kernel_is_restarted(
    lab: JupyterServer,
) -> None:
    before = write_notebook(lab.root / "before.ipynb", ALPHA)
    old = environment_of(before)

    with lab.opened("before.ipynb") as (session, kernel):
        assert kernel.execute(ALPHA).result == "'1.1'"
        told_before = kernel.execute("%scriptenv status")
        lab.rename("before.ipynb", "after.ipynb")
        new = environment_of(lab.root / "after.ipynb")
        assert prefix(kernel.execute(WHERE)) == old
        told = kernel.execute("%scriptenv status")
        wait_for_the_move(lab, lab.root / "after.ipynb")
        lab.restart_kernel(session["kernel"]["id"])
        kernel.settle()
        assert prefix(kernel.execute(WHERE)) == new
        assert kernel.execute(ALPHA).result == "'1.1'"
        told_after = kernel.execute("%scriptenv status")

    sentence = f"`{before}` is not at its place any more; this kernel keeps its environment"
    assert sentence in told.shown_text
    assert str(old) in told.shown_text
    assert sentence not in told_before.shown_text
    assert "any more" not in told_after.shown_text
    assert str(new) in told_after.shown_text


def test_a_notebook_in_a_renamed_folder_starts_where_the_folder_is_now(lab: JupyterServer) -> None:
    write_notebook(lab.root / "draft" / "nb.ipynb", ALPHA)

    with lab.opened("draft/nb.ipynb") as (session, kernel):
        assert folder(kernel.execute(WHERE)) == lab.root / "draft"
        lab.rename("draft", "final")
        wait_for_the_move(lab, lab.root / "final" / "nb.ipynb")
        lab.restart_kernel(session["kernel"]["id"])
        kernel.settle()
        where = kernel.execute(WHERE)
        assert kernel.execute(ALPHA).result == "'1.1'"

    assert folder(where) == lab.root / "final"
    assert prefix(where) == environment_of(lab.root / "final" / "nb.ipynb")


def test_a_copy_that_names_the_kernel_of_its_original_gets_its_own_environment(
    lab: JupyterServer,
) -> None:
    original = write_notebook(lab.root / "original.ipynb", ALPHA)
    with lab.opened("original.ipynb") as (_, kernel):
        assert kernel.execute(ALPHA).result == "'1.1'"
    name = kernelspec_of(original)
    write_notebook(original, ALPHA, kernel_name=name)
    copied = lab.request("POST", "api/contents", {"copy_from": "original.ipynb"})["path"]

    with lab.opened(copied, name) as (_, kernel):
        assert prefix(kernel.execute(WHERE)) == environment_of(lab.root / copied)
        assert kernel.execute(NEWER_ALPHA).result == "'2.0'"
    with lab.opened("original.ipynb", name) as (_, kernel):
        assert kernel.execute("import alpha\nalpha.__version__").result == "'1.1'"


def test_a_start_that_fails_gives_a_kernel_that_explains(lab: JupyterServer) -> None:
    path = write_notebook(lab.root / "no-python.ipynb", NO_SUCH_PYTHON)

    with lab.opened("no-python.ipynb") as (session, kernel):
        failed = kernel.execute("print('ran')")
        assert kernel.execute("raise SystemExit", silent=True).status == "ok"
        write_notebook(path, ALPHA)
        mended = kernel.execute(ALPHA)
        lab.restart_kernel(session["kernel"]["id"])
        kernel.settle()
        assert kernel.execute(ALPHA).result == "'1.1'"

    assert failed.error is not None
    assert [each["msg_type"] for each in failed.shown] == ["error"]
    assert failed.error["ename"] == "NoPython"
    assert ">=3.99" in failed.error["evalue"]
    assert any("requires-python" in line for line in failed.error["traceback"])
    assert mended.error is not None
    assert mended.error["ename"] == "RestartNeeded"


def test_a_restart_that_fails_gives_a_kernel_that_explains(lab: JupyterServer) -> None:
    path = write_notebook(lab.root / "restarted.ipynb", ALPHA)

    with lab.opened("restarted.ipynb") as (session, kernel):
        assert kernel.execute(ALPHA).result == "'1.1'"
        write_notebook(path, NO_SUCH_PYTHON)
        lab.restart_kernel(session["kernel"]["id"])
        kernel.settle()
        failed = kernel.execute("print('ran')")
        write_notebook(path, ALPHA)
        lab.restart_kernel(session["kernel"]["id"])
        kernel.settle()
        assert kernel.execute("import alpha\nalpha.__version__").result == "'1.1'"

    assert failed.error is not None
    assert [each["msg_type"] for each in failed.shown] == ["error"]
    assert failed.error["ename"] == "NoPython"


def test_other_requests_are_answered_while_a_start_waits(home: Home, lab: JupyterServer) -> None:
    path = write_notebook(lab.root / "slow.ipynb", ALPHA)
    name = environments.name_of(environments.locate(path))
    store = Store(home.scriptenv)

    with exclusive(store.lock(name), timeout=10):
        start = open_later(lab, "slow.ipynb")
        for _ in range(5):  # few: the start waits for half a minute at most
            assert lab.request("GET", "api/status")["started"]
            assert "scriptenv" in lab.kernelspecs()
        assert not is_answered(start)
        assert not environment_of(path).exists()
    session = session_of(start)
    with lab.connect(session["kernel"]["id"]) as kernel:
        assert kernel.execute(ALPHA).result == "'1.1'"
    lab.delete_session(session["id"])


def test_a_start_does_not_wait_for_one_who_changes_a_sound_environment(
    home: Home, lab: JupyterServer
) -> None:
    path = write_notebook(lab.root / "busy.ipynb", ALPHA)
    with lab.opened("busy.ipynb"):
        name = environments.name_of(environments.locate(path))

    with exclusive(Store(home.scriptenv).lock(name), timeout=10):
        session = lab.create_session("busy.ipynb", "scriptenv")
        kernel = lab.connect(session["kernel"]["id"])
        assert prefix(kernel.execute(f"{WHERE}", store_history=False)) == environment_of(path)
        request = kernel.begin(ALPHA)
        kernel.wait_for(request, "Waiting for another change of this environment")
        assert not has_alpha(environment_of(path))
    execution = kernel.collect(request)
    kernel.close()
    lab.delete_session(session["id"])

    assert execution.result == "'1.1'"
    assert len(execution.shown) == 1
