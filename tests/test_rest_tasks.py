"""Long work through the REST of a real server: one at a time, ended for good, and no secrets."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from uv import find_uv_bin

from ipy_scriptenv.locks import exclusive
from ipy_scriptenv.store import Store
from tests.conftest import Home
from tests.jupyter_server import JupyterServer, running_lab
from tests.kernels import block, kernelspec_of, wait_until, write_notebook
from tests.one_server import home, lab
from tests.rest_client import Json, ask, begin, events, run
from tests.stage import block_of, environment_of, installed, sync, write_project

__all__ = ["home", "lab"]  # fixtures

NEVER_ENDING = """
import os, pathlib, signal, time


def build_wheel(directory, config_settings=None, metadata_directory=None):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pathlib.Path(__file__).with_name("pid").write_text(str(os.getpid()))
    time.sleep(1000)
"""
"""A build backend that goes on, whatever becomes of uv, and whoever asks it to end."""

PATIENT = """
from ipy_scriptenv.rest import tasks

tasks._FAREWELL = 50.0
"""
"""A configuration: the build above takes a while to be ended, and on a busy machine a long one."""

FOLDER = '[tool.uv.sources]\nlocal = { path = "slow" }'
ADDRESS = "https://ada:secret@127.0.0.1:1/x-1.0-py3-none-any.whl"


def write_slow(root: Path) -> Path:
    """Write a notebook whose environment is never complete: a package of it is built for ever."""
    root.mkdir(exist_ok=True)
    (write_project(root / "slow") / "backend.py").write_text(NEVER_ENDING)
    return write_notebook(root / "slow.ipynb", block("local", more=FOLDER))


def builder(root: Path) -> int:
    """Wait until the build goes on, and give its process."""
    told = root / "slow" / "pid"
    wait_until(lambda: told.exists() and told.read_text() != "")
    return int(told.read_text())


def up_to_the_build(told: Iterator[Json]) -> list[Json]:
    """Take events up to the one that tells of a build that has begun."""
    heard = []
    for event in told:
        heard.append(event)
        if event.get("building"):
            break
    return heard


def is_gone(process: int) -> bool:
    with contextlib.suppress(OSError):
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        return state == "Z"
    return True


def test_a_cancelled_task_ends_uv_and_leaves_what_stood(lab: JupyterServer, home: Home) -> None:
    path = write_slow(lab.root)
    (lab.root / "link.ipynb").symlink_to(path)
    task = begin(lab, "sync", path="slow.ipynb")
    one, two = events(lab, task), events(lab, task)
    process = builder(lab.root)
    heard = up_to_the_build(one)  # which uv told before it is ended

    assert ask(lab, "GET", "environment", path="slow.ipynb").body["task"] == task
    second = ask(lab, "POST", "tasks", {"verb": "rebuild", "path": "link.ipynb"})
    assert (second.status, second.code) == (409, "environment-in-use")
    assert second.body["error"]["problems"][0]["message"] == task

    assert ask(lab, "DELETE", f"tasks/{task}").status == 204
    assert heard[-1]["name"] == "local"
    heard += one
    assert list(two) == heard
    assert heard[-1]["error"]["code"] == "interrupted"
    wait_until(lambda: is_gone(process))
    after = ask(lab, "GET", "environment", path="slow.ipynb").body
    assert (after["task"], after["status"]["state"]) == (None, "missing")
    assert not [*Store(home.scriptenv).building.iterdir()]
    assert list(events(lab, task)) == heard, "it is still known"
    assert ask(lab, "DELETE", f"tasks/{task}").status == 204


def test_a_task_that_waits_for_another_process_says_so_and_can_be_cancelled(
    lab: JupyterServer, home: Home
) -> None:
    path = write_notebook(lab.root / "held.ipynb", block("alpha"))
    with exclusive(Store(home.scriptenv).lock(environment_of(path).name), timeout=10):
        task = begin(lab, "sync", path="held.ipynb")
        told = events(lab, task)
        assert next(told)["event"] == "waiting"
        ask(lab, "DELETE", f"tasks/{task}")
        assert next(told)["error"]["code"] == "interrupted"
    assert run(lab, "sync", path="held.ipynb")["result"]["action"] == "created"


def test_the_end_of_the_server_ends_its_tasks(home: Home) -> None:
    root = home.path.parent / "ending"
    path = write_slow(root)
    config = home.path.parent / "patient.py"
    config.write_text(PATIENT)
    with running_lab(root, f"--config={config}") as lab:
        begin(lab, "sync", path="slow.ipynb")
        process = builder(root)
    wait_until(lambda: is_gone(process))
    store = Store(home.scriptenv)
    with exclusive(store.lock(environment_of(path).name), timeout=10):
        assert not environment_of(path).exists()
    assert not [*store.building.iterdir()]


def test_no_event_answer_or_log_shows_credentials(lab: JupyterServer) -> None:
    path = write_notebook(lab.root / "secret.ipynb", block(f"x @ {ADDRESS}"))
    told = list(events(lab, begin(lab, "sync", path="secret.ipynb")))
    assert told[-1]["event"] == "error"
    toml = block_of(f"x @ {ADDRESS}")
    seen = ask(lab, "POST", "environment", {"path": "secret.ipynb", "block": toml}).body
    assert seen["status"]["declared"]["dependencies"] == [
        f"x @ {ADDRESS}".replace("ada:secret", "***")
    ]
    wrong = ask(lab, "POST", "environment", {"path": "secret.ipynb", "block": f'"{ADDRESS}" ='})
    assert wrong.status == 400
    checked = ask(lab, "POST", "check", {"requirement": f"x @ {ADDRESS} ?"}).body
    unknown = ask(lab, "POST", "tasks", {"verb": "delete", "source": ADDRESS})
    assert "secret" not in f"{told}{seen}{wrong}{checked}{unknown}".replace("secret.ipynb", "")
    assert "ada:secret" not in lab.log.read_text()
    assert "Traceback" not in lab.log.read_text()

    # What goes back into the user's own document says what the user wrote there.
    cell = block(f"x @ {ADDRESS}")
    edited = run(lab, "edit", path="secret.ipynb", edit="python", words=["3.11"], cell=cell)
    assert ADDRESS in edited["result"]["cell"]
    assert ADDRESS in edited["result"]["block"]
    assert "secret" not in str(edited["result"]["added"])
    assert not environment_of(path).exists()


def test_what_was_installed_by_hand_is_recorded(lab: JupyterServer) -> None:
    path = write_notebook(lab.root / "drift.ipynb", block("alpha<2"))
    sync(path)
    python = environment_of(path) / "bin" / "python"
    subprocess.run([find_uv_bin(), "pip", "install", "-q", "-p", python, "gamma"], check=True)
    seen = ask(lab, "GET", "environment", path="drift.ipynb").body
    assert [each["name"] for each in seen["status"]["drift"]] == ["gamma"]
    cell = block("alpha<2")
    recorded = run(lab, "record", path="drift.ipynb", name="gamma", cell=cell)["result"]
    assert recorded["added"] == ["gamma>=1.0"]
    assert (
        run(lab, "record", path="drift.ipynb", name="zeta", cell=cell)["error"]["code"]
        == "wrong-call"
    )
    run(lab, "sync", path="drift.ipynb", block=recorded["block"], given=True)
    assert installed(environment_of(path)) == {"alpha==1.1", "gamma==1.0"}
    assert run(lab, "rebuild", path="drift.ipynb")["result"]["action"] == "rebuilt"


def test_environments_are_moved_shown_hidden_and_pruned(lab: JupyterServer) -> None:
    old = write_notebook(lab.root / "old.ipynb", block("alpha"))
    sync(old)
    place = environment_of(old)
    old.rename(lab.root / "new.ipynb")
    assert row_of(lab, str(old))["state"] == "orphan"
    moved = run(lab, "move", source=str(old), new="new.ipynb")["result"]
    new = lab.root / "new.ipynb"
    assert moved["environment"]["path"] == str(environment_of(new))
    assert not place.exists()
    assert row_of(lab, str(new))["contents_path"] == "new.ipynb"

    name = kernelspec_of(new)
    run(lab, "unregister", path="new.ipynb")
    assert name not in lab.kernelspecs()
    assert run(lab, "register", path="new.ipynb")["result"]["kernelspec"] == name
    assert name in lab.kernelspecs()

    other = write_notebook(lab.root / "other.ipynb", block("alpha"))
    sync(other)
    gone = {str(environment_of(each)): each for each in (new, other)}
    new.unlink()
    other.unlink()
    shown = run(lab, "prune", dry_run=True)["result"]
    assert shown["dry_run"]
    listed = {each["path"]: each["name"] for each in shown["removed"]}
    assert listed.keys() >= gone.keys()
    first, second = gone
    pruned = run(lab, "prune", names=[listed[first]])["result"]
    assert [each["path"] for each in pruned["removed"]] == [first]
    assert pruned["kept"] == []
    assert Path(second).exists()
    assert not Path(first).exists()
    (Path(second) / "scriptenv.json").write_text("{")
    assert run(lab, "delete", environment=Path(second).name)["result"]["bytes"] > 0
    assert not Path(second).exists()


def row_of(lab: JupyterServer, source: str) -> Json:
    rows = ask(lab, "GET", "environments").body["environments"]
    return dict(next(each for each in rows if each["source"] == source))


def test_names_pythons_and_words_are_known_without_network(lab: JupyterServer) -> None:
    sync(write_notebook(lab.root / "names.ipynb", block("gamma", "with-entry-point")))
    for prefix, names in [("Alp", ["alpha"]), ("with__e", ["with-entry-point"]), ("not a", [])]:
        assert ask(lab, "GET", "names", prefix=prefix).body == {"names": names}
    assert "gamma" in ask(lab, "GET", "names").body["names"]

    pythons = ask(lab, "GET", "pythons").body["pythons"]
    assert [each["is_host"] for each in pythons].count(True) == 1
    minors = [tuple(map(int, each["version"].split(".")[:2])) for each in pythons]
    assert minors == sorted(set(minors), reverse=True)
    assert ask(lab, "POST", "check", {"requirement": "numpy>=1,<"}).body == {
        "valid": False,
        "name": "numpy",
        "message": "Expected comma (within version specifier), semicolon (after version specifier)"
        " or end",
    }
