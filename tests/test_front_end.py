"""A front end that can change a cell: a client of ours plays it, over the comm of the contract."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.conftest import Home
from tests.kernels import Execution, Kernel, block, opened, started, write_notebook
from tests.stage import call

Json = dict[str, Any]


class Window:
    """One window that shows the notebook: its comm, and what it heard there."""

    def __init__(self, kernel: Kernel, protocol: int = 1) -> None:
        self.kernel = kernel
        self.name = uuid4().hex
        self._since = len(kernel.published)
        content = {"comm_id": self.name, "target_name": "scriptenv", "data": {"protocol": protocol}}
        kernel.send("comm_open", content)

    def execute(self, code: str) -> Execution:
        """Run a cell as this window does: the request names its comm."""
        return self.kernel.collect(self.send_code(code))

    def send_code(self, code: str) -> str:
        session = self.kernel.client.session
        content = {"code": code, "silent": False, "store_history": True, "stop_on_error": True}
        named = {"scriptenv": {"protocol": 1, "comm": self.name}, "cellId": "c1"}
        message = session.msg("execute_request", content, metadata=named)
        self.kernel.client.shell_channel.send(message)
        return str(message["header"]["msg_id"])

    @property
    def heard(self) -> list[Json]:
        """What the kernel sent to this window, in order."""
        return [
            message["content"]["data"]
            for message in self.kernel.published[self._since :]
            if message["content"].get("comm_id") == self.name
        ]

    def wait_for(self, **wanted: Any) -> Json:
        """Wait for the next message that says so; what came before it is passed over."""

        def fits(message: Json) -> bool:
            data = message["content"].get("data", {})
            is_mine = message["content"].get("comm_id") == self.name
            return is_mine and all(data.get(key) == value for key, value in wanted.items())

        found = self.kernel.wait_for(fits, since=self._since)
        self._since = self.kernel.published.index(found) + 1
        return dict(found["content"]["data"])

    def say(self, **data: Any) -> None:
        self.kernel.send("comm_msg", {"comm_id": self.name, "data": data})

    def close(self) -> None:
        self.kernel.send("comm_close", {"comm_id": self.name, "data": {}})


def edits(window: Window) -> list[Json]:
    return [each for each in window.heard if each.get("op") == "write-block"]


def test_the_window_that_runs_the_line_gets_the_edit_and_no_other_does(
    offline_home: Home, path: Path
) -> None:
    code = block("alpha==1.0") + "import alpha"
    write_notebook(path, "1", code)
    with opened(offline_home, path) as kernel:
        # Two windows, opened before the first cell, which exchanges nothing here.
        one, two = Window(kernel), Window(kernel)
        assert one.wait_for(op="state")["state"] == "stale"
        done = one.execute("%scriptenv add beta")
        (edit,) = edits(one)
        assert edits(two) == []
        assert done.reply["payload"] == []
        assert "The notebook's block is changed, in cell 2." in done.stdout
        assert edit["before"] == code
        assert edit["number"] == 2
        assert edit["lock"] is None
        assert "alpha==1.0" in edit["cell"]
        assert '"beta' in edit["cell"]
        assert edit["cell"].endswith("import alpha")
        one.say(op="written", id=edit["id"])

        # A window that has closed, or is gone without a word: a request of another names none.
        two.close()
        assert two.execute("%scriptenv add gamma").reply["payload"][0]["source"] == "set_next_input"
        plain = kernel.execute("%scriptenv remove gamma")
        assert plain.reply["payload"][0]["source"] == "set_next_input"
        assert "the cell with the block" in plain.stdout

        # What cannot be read as a front end of the contract is told so.
        other = Window(kernel, protocol=99)
        assert other.wait_for(protocol=1) == {"protocol": 1}
        assert other.execute("%scriptenv add gamma").reply["payload"]


def test_a_notebook_without_a_block_gets_one_in_the_line_s_own_cell(
    offline_home: Home, tmp_path: Path
) -> None:
    path = write_notebook(tmp_path / "work" / "nb.ipynb", "1")
    with opened(offline_home, path) as kernel:
        window = Window(kernel)
        assert window.execute("%scriptenv add alpha").stdout.endswith(
            "This cell is the notebook's block now.\n"
        )
        assert edits(window)[0]["before"] == "%scriptenv add alpha"


def test_an_edit_is_not_lost_with_the_window_that_should_write_it(
    offline_home: Home, path: Path
) -> None:
    with opened(offline_home, path) as kernel:
        gone = Window(kernel)
        gone.execute("%scriptenv add beta")
        (edit,) = edits(gone)

        # The page is loaded anew, and gets it again until it says that it is written.
        anew = Window(kernel)
        assert anew.wait_for(op="write-block") == edit
        anew.say(op="written", id=edit["id"])
        kernel.execute("1")
        third = Window(kernel)
        assert third.wait_for(op="state")["state"] == "in-sync"
        kernel.execute("1")
        assert edits(third) == []

        # A front end without a comm is shown it as an input; once.
        third.execute("%scriptenv add gamma")
        failed = kernel.execute("1 / 0")
        assert failed.status == "error", "front ends show no input that comes with an error"
        shown = kernel.execute("1")
        assert '"gamma' in shown.reply["payload"][0]["text"]
        assert kernel.execute("1").reply["payload"] == []

        # A block that was executed since is newer than an edit that nobody wrote.
        third.execute("%scriptenv remove gamma")
        assert third.execute(block("alpha==1.0", "beta")).status == "ok"
        assert edits(Window(kernel)) == []
        assert kernel.execute("1").reply["payload"] == []


def test_the_comm_outlives_the_exchange_of_the_kernel_for_another(
    offline_home: Home, path: Path, other: str
) -> None:
    with opened(offline_home, path) as kernel:
        window = Window(kernel)
        before = minor_of(kernel)
        changed = window.execute(block("alpha", python=f"=={other}.*") + "import alpha")
        assert changed.status == "ok", changed.traceback
        assert minor_of(kernel) == other != before
        done = window.execute("%scriptenv add beta")
        assert done.reply["payload"] == []
        assert '"beta' in edits(window)[-1]["cell"]


def minor_of(kernel: Kernel) -> str:
    done = kernel.execute("import sys; print(*sys.version_info[:2], sep='.')", store_history=False)
    return done.stdout.strip()


def test_a_window_is_told_how_the_environment_stands(offline_home: Home, path: Path) -> None:
    with opened(offline_home, path) as kernel:
        window = Window(kernel)
        assert window.wait_for(op="state")["state"] == "stale"
        window.execute(block("alpha==1.0") + "import alpha")
        working = window.wait_for(state="working")
        assert working["text"]
        assert set(working) == {"op", "state", "text", "done", "of"}
        assert window.wait_for(state="in-sync")["text"] == "The environment holds what is declared."
        window.execute(block("alpha>=9"))
        assert "No set of packages" in window.wait_for(state="failed")["text"]
        window.execute(block("alpha==1.1"))
        assert "would change: alpha" in window.wait_for(state="restart-needed")["text"]
        window.execute(block("alpha==1.0"))
        window.wait_for(state="in-sync")
        window.execute("%scriptenv add alpha==1.1")
        assert "would change: alpha" in window.wait_for(state="restart-needed")["text"]


def test_the_lock_in_the_notebook_travels_with_the_block(offline_home: Home, path: Path) -> None:
    assert call("lock", path, "--embed").returncode == 0
    with opened(offline_home, path) as kernel:
        window = Window(kernel)
        window.execute("%scriptenv add beta")
        (edit,) = edits(window)
        assert 'name = "beta"' in edit["lock"]
        window.say(op="written", id=edit["id"])
        plain = kernel.execute("%scriptenv remove beta")
        assert "The notebook's lock is for the block before." in plain.stdout
        assert "jupyter scriptenv lock" in plain.stdout


@pytest.fixture
def ordinary(lean_home: Home, path: Path) -> Iterator[Kernel]:  # noqa: ARG001 - it sets the stage
    """Start the host's own kernel, as Jupyter does for a notebook that is on no kernel of ours."""
    variables = {"JPY_SESSION_NAME": str(path)}
    with started("python3", env=variables, cwd=path.parent, kill=True) as kernel:
        yield kernel


def test_an_ordinary_kernel_has_the_channel_once_the_extension_is_loaded(
    ordinary: Kernel, path: Path
) -> None:
    before = path.read_bytes()
    early = Window(ordinary)
    assert ordinary.execute("%load_ext ipy_scriptenv").status == "ok"
    assert early.heard == [{}], "it is closed"
    window = Window(ordinary)
    assert window.wait_for(op="state")["state"] == "other-kernel"
    done = window.execute("%scriptenv add beta")
    (edit,) = edits(window)
    assert edit["before"] == block("alpha==1.0")
    assert "This kernel is another" in done.stdout
    assert done.reply["payload"] == []
    # Steps are shown as below a cell of our own kernel.
    assert [each["msg_type"] for each in done.shown] == ["stream"]
    synced = window.execute("%scriptenv sync")
    assert synced.stdout.startswith("In sync")
    assert path.read_bytes() == before
    assert window.execute("%scriptenv find nowhere.ipynb").ename == "NotFound"
