"""The REST of the server extension, in a real JupyterLab server: what each request gives."""

from __future__ import annotations

import json
from pathlib import Path

from tests.conftest import Home
from tests.jupyter_server import JupyterServer
from tests.kernels import block, write_notebook
from tests.one_server import home, lab
from tests.rest_client import Json, ask, begin, events, run
from tests.stage import block_of, environment_of, installed, record_of

__all__ = ["home", "lab"]  # fixtures


ADDRESS = "https://ada:pw@127.0.0.1:1/gamma-1.0-py3-none-any.whl"


def look(lab: JupyterServer, path: str) -> Json:
    answer = ask(lab, "GET", "environment", path=path)
    assert answer.status == 200, answer
    return dict(answer.body)


def packages(seen: Json) -> dict[str, Json]:
    return {each["name"]: each for each in seen["packages"]}


def embedded(path: Path) -> str | None:
    text = json.loads(path.read_text())["metadata"].get("uv.lock")
    return None if text is None else str(text)


def test_a_notebook_is_synced_looked_at_and_listed(lab: JupyterServer, home: Home) -> None:
    path = write_notebook(lab.root / "fo lder" / "nötebook.ipynb", block("beta", "gamma"))
    before = look(lab, "fo lder/nötebook.ipynb")
    assert before["status"]["state"] == "missing"
    assert (before["bytes"], before["packages"], before["task"]) == (None, [], None)
    assert before["lock"] == {"path": None, "embedded": False, "state": "none"}

    told = list(events(lab, begin(lab, "sync", path="fo lder/nötebook.ipynb")))
    # A server prepares the kernel by itself: the last step is told where it has not yet.
    steps = [each["event"] for each in told[:-1]]
    assert steps in (["resolving", "installing", "installing"], ["resolving", "installing"])
    done = told[-1]
    assert done["event"] == "done"
    assert done["result"]["action"] == "created"
    assert done["result"]["lock"] is None

    after = look(lab, "fo lder/nötebook.ipynb")
    assert after["status"]["state"] == "in-sync"
    assert after["bytes"] > 1000
    assert after["python"]["version"] == after["status"]["environment"]["python_version"]
    found = packages(after)
    assert found.keys() == {"alpha", "beta", "gamma"}
    assert (found["beta"]["declared"], found["alpha"]["declared"]) == (True, False)
    assert found["beta"]["requires"] == ["alpha"]
    assert "beta" in found["alpha"]["required_by"]

    listed = ask(lab, "GET", "environments", size="1").body
    (row,) = [each for each in listed["environments"] if each["source"] == str(path)]
    assert row["contents_path"] == "fo lder/nötebook.ipynb"
    assert listed["totals"]["number"] == len(listed["environments"])
    assert listed["totals"]["bytes"] >= row["bytes"]
    assert ask(lab, "GET", "environments").body["totals"]["bytes"] is None
    assert home.scriptenv in environment_of(path).parents


def test_a_package_is_added_in_the_open_document_and_nothing_on_disk_is_touched(
    lab: JupyterServer,
) -> None:
    path = write_notebook(lab.root / "open.ipynb", "1", block("alpha==1.0") + "import alpha")
    before = path.read_bytes()
    edited = run(lab, "edit", path="open.ipynb", edit="add", words=["gamma"], cell=cell_of(path))
    result = edited["result"]
    assert result["cell"].endswith("import alpha")
    assert "gamma" in result["cell"]
    assert result["had_block"]
    assert [each.partition(">")[0] for each in result["added"]] == ["gamma"]
    assert result["lock"] is None
    assert look(lab, "open.ipynb")["status"]["state"] == "missing", "nothing is installed"

    unsaved = {"path": "open.ipynb", "block": result["block"], "given": True}
    synced = run(lab, "sync", **unsaved)
    assert synced["result"]["action"] == "created"
    assert installed(environment_of(path)) == {"alpha==1.0", "gamma==1.0"}
    seen = ask(lab, "POST", "environment", unsaved).body
    assert seen["status"]["state"] == "in-sync"
    assert seen["status"]["declared"]["installed"] == ["1.0", "1.0"]
    other = ask(lab, "POST", "environment", {**unsaved, "block": block_of("beta")}).body
    assert other["status"]["state"] == "stale"
    assert not any(each["declared"] for each in other["packages"])
    assert path.read_bytes() == before

    fresh = run(lab, "edit", path="open.ipynb", edit="add", words=["beta"], cell=None)["result"]
    assert fresh["cell"].startswith("# /// script")
    assert not fresh["had_block"]
    gone = run(lab, "edit", path="open.ipynb", edit="remove", words=["zeta"], cell=cell_of(path))
    assert gone["error"]["message"] == "The block does not declare `zeta`."
    bad = run(lab, "edit", path="open.ipynb", edit="add", words=["alpha>=9"], cell=cell_of(path))
    assert bad["error"]["code"] == "resolution-failed"
    assert bad["error"]["problems"]
    unclosed = run(lab, "edit", path="open.ipynb", edit="add", words=["beta"], cell="# /// script")
    assert unclosed["error"]["code"] == "unclosed"
    for words in (["--help"], ["-r", "/etc/passwd"], ["alpha", "--index", "https://host/simple"]):
        option = run(lab, "edit", path="open.ipynb", edit="add", words=words, cell=cell_of(path))
        assert option["error"]["code"] == "wrong-call"


def test_a_requirement_is_changed_word_for_word(lab: JupyterServer) -> None:
    path = write_notebook(lab.root / "change.ipynb", block("gamma", "alpha[extra]<2"))
    cell = cell_of(path).replace('"alpha', '# why\n#     "alpha')
    asked = {"path": "change.ipynb", "edit": "change", "cell": cell}
    done = run(lab, "edit", words=["alpha[extra]<2", "alpha"], **asked)["result"]
    assert done["cell"] == cell.replace("alpha[extra]<2", "alpha")
    assert (done["added"], done["removed"]) == (["alpha"], ["alpha[extra]<2"])
    other = run(lab, "edit", words=["gamma", "beta"], **asked)["result"]
    assert other["cell"] == cell.replace("gamma", "beta")
    unknown = run(lab, "edit", words=["alpha", "beta"], **asked)["error"]
    assert unknown["message"] == "The block does not declare `alpha`."
    unsolved = run(lab, "edit", words=["gamma", "gamma>=9"], **asked)["error"]
    assert unsolved["code"] == "resolution-failed"
    assert unsolved["hint"].startswith("Nothing was changed.")
    assert "requires-python" not in str(unsolved["problems"])
    secret = {**asked, "cell": block(f"gamma @ {ADDRESS}")}
    hidden = run(lab, "edit", words=[f"gamma @ {ADDRESS}".replace("ada:pw", "***"), "x"], **secret)
    assert hidden["error"]["hint"] == "It holds a password: change it in the block itself."
    bad = ask(lab, "POST", "tasks", {"verb": "edit", "words": ["alpha"], **asked})
    assert (bad.status, bad.code) == (400, "wrong-call")


def cell_of(path: Path) -> str:
    """Give the cell with the block, as an editor has it."""
    texts = ["".join(each["source"]) for each in json.loads(path.read_text())["cells"]]
    return next(text for text in texts if "# /// script" in text)


def test_a_lock_in_the_notebook_is_the_editor_s_to_write(lab: JupyterServer) -> None:
    path = write_notebook(lab.root / "locked.ipynb", block("alpha<2"))
    before = path.read_bytes()
    locked = run(lab, "lock", path="locked.ipynb", embed=True)["result"]
    assert locked["lock"]["embedded"]
    assert 'name = "alpha"' in locked["text"]
    assert path.read_bytes() == before

    # It counts as the document has it, also before it is saved.
    unsaved = {"path": "locked.ipynb", "block": block_of("alpha<2"), "lock": locked["text"]}
    assert run(lab, "sync", given=True, **unsaved)["result"]["lock"] is None
    seen = ask(lab, "POST", "environment", unsaved).body
    assert (seen["status"]["state"], seen["lock"]["state"]) == ("in-sync", "current")
    del unsaved["lock"]
    seen = ask(lab, "POST", "environment", unsaved).body
    assert (seen["status"]["state"], seen["lock"]["state"]) == ("stale", "none")

    save_lock(path, locked["text"])
    saved = path.read_bytes()
    assert look(lab, "locked.ipynb")["lock"]["state"] == "current"
    edited = run(lab, "edit", path="locked.ipynb", edit="add", words=["gamma"], cell=cell_of(path))
    assert 'name = "gamma"' in edited["result"]["lock"]
    unsaved = {"path": "locked.ipynb", "block": edited["result"]["block"], "given": True}
    assert ask(lab, "POST", "environment", unsaved).body["lock"]["state"] == "stale"
    synced = run(lab, "sync", **unsaved)["result"]
    assert installed(environment_of(path)) == {"alpha==1.1", "gamma==1.0"}
    assert synced["lock"] == edited["result"]["lock"], "what is installed is what it locks"
    raised = {**unsaved, "block": block_of("alpha")}
    assert "alpha==1.1" in {
        f"{each['name']}=={each['version']}"
        for each in run(lab, "lock", **raised)["result"]["packages"]
    }
    upgraded = run(lab, "upgrade", packages=["alpha"], **raised)["result"]
    assert 'version = "2.0"' in upgraded["lock"]
    assert installed(environment_of(path)) == {"alpha==2.0"}
    assert path.read_bytes() == saved

    # What the editor then saves is what the environment holds.
    write_notebook(path, block("alpha"))
    save_lock(path, upgraded["lock"])
    assert look(lab, "locked.ipynb")["status"]["state"] == "in-sync"


def save_lock(path: Path, text: str) -> None:
    notebook = json.loads(path.read_text())
    notebook["metadata"]["uv.lock"] = text
    path.write_text(json.dumps(notebook))


def test_a_lock_beside_the_notebook_is_kept_in_step(lab: JupyterServer) -> None:
    path = write_notebook(lab.root / "beside.ipynb", block("alpha<2"))
    beside = path.with_name("beside.ipynb.lock")
    locked = run(lab, "lock", path="beside.ipynb")["result"]
    assert (locked["lock"]["path"], locked["text"]) == (str(beside), None)
    unsaved = {"path": "beside.ipynb", "block": block_of("alpha<2", "gamma"), "given": True}
    assert run(lab, "sync", **unsaved)["result"]["lock"] is None
    assert 'name = "gamma"' in beside.read_text()
    assert ask(lab, "POST", "environment", unsaved).body["lock"]["state"] == "current"


def test_what_a_kernel_has_imported_waits_for_its_restart(lab: JupyterServer) -> None:
    cell = block("alpha==1.0") + "import alpha\nalpha.__version__"
    path = write_notebook(lab.root / "used.ipynb", cell)
    with lab.opened("used.ipynb") as (session, kernel):
        assert kernel.execute(cell).result == "'1.0'"
        unsaved = {"path": "used.ipynb", "block": block_of("alpha==1.1"), "given": True}
        refused = run(lab, "sync", **unsaved)["error"]
        assert (refused["code"], refused["pending"]) == ("environment-in-use", True)
        assert "Restart" in refused["hint"]
        assert ask(lab, "POST", "environment", unsaved).body["status"]["state"] == "pending"
        rebuilt = run(lab, "rebuild", path="used.ipynb")["error"]
        assert (rebuilt["code"], rebuilt["pending"]) == ("environment-in-use", False)
        assert run(lab, "delete", path="used.ipynb")["error"]["code"] == "environment-in-use"
        lab.restart_kernel(session["kernel"]["id"])
        kernel.settle()
        assert kernel.execute("import alpha\nalpha.__version__").result == "'1.1'"
    assert record_of(environment_of(path)).pending is None
