"""A signal to a whole process group in the middle of its work: the next one finds all in order.

Thirty rounds: each operation and each signal once, at a moment that is always the same: when a part
of the time is over that the work takes here and now, or before one of its steps, where a step is
over in no time. Many more, at random moments, are done by ``make crash``.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ipy_scriptenv import processes
from ipy_scriptenv.processes import Cancel
from tests.crash.operations import OPERATIONS, SLOW
from tests.crash.rounds import SIGNALS, Crew
from tests.crash.working import Moment

PART = {"SIGKILL": 0.35, "SIGTERM": 0.5, "SIGINT": 0.65}
"""How much of the work is done when the signal comes."""

STEPS = {
    ("move", "SIGKILL"): r"os.rename building-v1/\.\.moved-",
    ("move", "SIGTERM"): r"os.remove building-v1/\.moved-",
    ("move", "SIGINT"): r"os.rename \S+/\.scriptenv\.json-",
    ("prune", "SIGKILL"): r"shutil.rmtree kernels/",
    ("register", "SIGKILL"): r"os.rename \S+/\.kernel\.json-",
    ("register", "SIGTERM"): r"open \S+/logo-",
    ("register", "SIGINT"): r"os.rename \S+/\.kernel\.json-",
    ("unregister", "SIGKILL"): r"shutil.rmtree kernels/",
    ("unregister", "SIGTERM"): r"os.rename \S+/\.scriptenv\.json-",
    ("unregister", "SIGINT"): r"os.rename \S+/\.scriptenv\.json-",
}
"""Before which step, where the operation is that quick; in the middle if there is no such step."""


@pytest.fixture(scope="module")
def crew(index: Path, uv_cache: Path) -> Iterator[Crew]:
    """Give what does the rounds: all on one stage, as long as none is broken."""
    with Crew(index=index, uv_cache=uv_cache) as crew:
        yield crew


@pytest.mark.parametrize("by", SIGNALS)
@pytest.mark.parametrize("operation", [each for each in OPERATIONS if each not in SLOW])
def test_after_a_signal_in_the_middle_of_an_operation_the_next_one_finds_all_in_order(
    crew: Crew, operation: str, by: str
) -> None:
    moment = Moment(seconds=PART[by] * crew.seconds(operation))
    pattern = STEPS.get((operation, by))
    if pattern is not None:
        steps = crew.steps(operation)
        found = (number for number, step in enumerate(steps) if re.match(pattern, step))
        moment = Moment(step=next(found, int(PART[by] * len(steps))))
    outcome = crew.round_at(operation, by, moment, start=by == "SIGTERM")
    assert outcome.broken == (), f"{operation} got {by} {outcome.moment}"
    assert outcome.killed or moment.step is None


def test_a_cancelled_process_is_not_waited_for_longer_because_a_daemon_holds_its_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has left the session goes on: ssh's connections, a compiler's server."""
    monkeypatch.setattr(processes, "_LAST_WORDS", 0.2)
    child = "import time; time.sleep(1000)"
    parent = (
        "import subprocess, sys\n"
        f"child = [sys.executable, '-c', {child!r}]\n"
        "child = subprocess.Popen(child, start_new_session=True)\n"
        "print(child.pid, file=sys.stderr, flush=True)\n"
        "child.wait()\n"
    )
    cancel, children = Cancel(), list[int]()

    def hear(line: str) -> None:
        children.append(int(line))
        cancel.set()

    def work() -> None:
        argv = [sys.executable, "-I", "-c", parent]
        processes.run(argv, cwd=tmp_path, env={}, on_line=hear, cancel=cancel)

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    worker.join(60)
    ended = not worker.is_alive()
    for each in children:
        os.kill(each, signal.SIGKILL)  # or it is not there
    worker.join(30)
    assert children
    assert ended
