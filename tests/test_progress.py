"""Progress below a cell and on a terminal: it is seen while it goes on, and nothing of it stays."""

from __future__ import annotations

import os
import re
import threading
from itertools import groupby
from pathlib import Path

import pexpect  # type: ignore[import-untyped]
import pytest

from ipy_scriptenv import environments
from ipy_scriptenv.environments import Context
from ipy_scriptenv.uv import Event
from tests.conftest import Home
from tests.kernels import block, opened
from tests.stage import PROGRAM, write_notebook, write_script


def told_on_terminal(*words: str | Path, **variables: str) -> tuple[str, int]:
    """Run the command line in a terminal of its own; give all that it wrote, and its exit code."""
    terminal = pexpect.spawn(
        PROGRAM[0],
        [*PROGRAM[1:], *map(str, words)],
        encoding="utf-8",
        timeout=100,
        env={**os.environ, "TERM": "xterm", **variables},
        dimensions=(40, 120),
    )
    terminal.expect(pexpect.EOF)
    terminal.close()
    return str(terminal.before), int(terminal.exitstatus)


ERASED = "\x1b[2K"


def test_a_cell_shows_one_display_that_is_updated_and_gone_in_the_end(
    offline_home: Home, tmp_path: Path
) -> None:
    path = write_notebook(tmp_path / "work" / "nb.ipynb", "")
    with opened(offline_home, path) as kernel:
        done = kernel.execute(
            block("alpha==1.0", "pile") + "import alpha\nprint(alpha.__version__)"
        )
        # What takes more than a second is told before it is known what will be installed.
        said = done.contents("display_data")[-1]["data"]
        assert said["text/plain"].startswith("Installing for nb.ipynb: alpha 1.0, ")
        assert said["text/html"].startswith("<div")
        updates = [*done.contents("display_data"), *done.contents("update_display_data")]
        assert len({each["transient"]["display_id"] for each in updates}) == 1
        # It is taken away before the cell prints.
        kinds = [message["header"]["msg_type"] for message in done.messages]
        shown = ("display_data", "update_display_data", "clear_output", "stream")
        # A line may come in two pieces.
        in_turn = [kind for kind, _ in groupby(kind for kind in kinds if kind in shown)]
        assert in_turn[-2:] == ["clear_output", "stream"]
        assert done.shown == [{"msg_type": "stream", "name": "stdout", "text": "1.0\n"}]

        failed = kernel.execute(block("alpha==1.0", "no-such-thing"))
        assert [each["msg_type"] for each in failed.shown] == ["error"]
        assert kernel.execute(block("alpha==1.0")).status == "ok"

        # A line of ours shows it too; its result stays, without a folder of this machine.
        line = kernel.execute("# more\n%scriptenv add nspkg-one\nprint('after')")
        assert line.progress, "it was shown while it went on"
        assert [each["msg_type"] for each in line.shown] == ["stream"]
        assert line.stderr == ""
        assert line.stdout.startswith("declared: nspkg-one")
        assert line.stdout.endswith("after\n")
        assert str(tmp_path) not in line.stdout
        # What the cell has printed by then is not cleared away with it.
        behind = kernel.execute("print('before')\n%scriptenv add nspkg-two")
        assert behind.contents("clear_output") == []
        assert behind.shown_text.startswith("before\n")
        (display,) = behind.contents("display_data")
        last = behind.contents("update_display_data")[-1]
        assert last["transient"] == display["transient"]
        assert set(last["data"].values()) == {""}
        synced = kernel.execute("%scriptenv sync")
        assert [each["msg_type"] for each in synced.shown] == ["stream"]
        assert synced.stdout.count("\n") == 1

    other = write_notebook(tmp_path / "work" / "other.ipynb", block("alpha==1.0") + "print('mine')")
    told, code = told_on_terminal("execute", other)
    assert code == 0, told
    assert told.rpartition(ERASED)[2].endswith("mine\r\n"), "what cells print stands alone"
    assert "Installing for" not in told


@pytest.mark.usefixtures("lean_home")
def test_a_terminal_shows_one_live_line_that_is_gone_in_the_end(script: Path) -> None:
    write_script(script, "alpha==1.0", code="print('mine')")
    told, code = told_on_terminal("run", script)
    assert code == 0, told
    assert "Resolved 1 package in" in told
    assert "mine" in told[told.rindex(ERASED) :], "the line is gone before the script runs"

    write_script(script, "alpha==2.0")
    told, code = told_on_terminal("sync", script)
    assert code == 0, told
    left = told[told.rindex(ERASED) :]
    assert "alpha 2.0" in left
    assert "Resolved" not in left

    write_script(script, "no-such-thing")
    told, code = told_on_terminal("sync", script)
    assert code == 1, told


@pytest.mark.usefixtures("lean_home")
def test_a_terminal_that_cannot_erase_and_json_get_no_live_line(script: Path) -> None:
    write_script(script, "alpha==1.0")
    told, code = told_on_terminal("sync", script, TERM="dumb")
    assert code == 0, told
    assert "\x1b" not in told
    assert re.search(r"(?m)^Resolved 1 package in \S+\r$", told)
    told, code = told_on_terminal("sync", script, "--json")
    assert told.startswith("{"), told


@pytest.mark.usefixtures("lean_home")
def test_a_terminal_shows_for_whom_it_waits(script: Path) -> None:
    write_script(script, "alpha==1.0")
    environments.sync(environments.locate(script), context=Context())
    write_script(script, "alpha==2.0")
    waited: list[str] = []
    waiter = threading.Thread()

    def look(_event: Event) -> None:
        """Start another sync while this one holds the lock, and hold it until that tells so."""
        nonlocal waiter
        if waited or waiter.ident is not None:
            return
        terminal = pexpect.spawn(
            PROGRAM[0],
            [*PROGRAM[1:], "sync", str(script)],
            encoding="utf-8",
            timeout=100,
            env={**os.environ, "TERM": "xterm"},
            dimensions=(40, 120),
        )
        # Who is not quick enough to see the first second sees another.
        terminal.expect(r"Waiting for another change of this environment, \d+ s")
        waited.append(str(terminal.before))
        waiter = threading.Thread(target=terminal.expect, args=(pexpect.EOF,))
        waiter.start()

    environments.sync(environments.locate(script), context=Context(on_event=look))
    waiter.join()
    assert len(waited) == 1
