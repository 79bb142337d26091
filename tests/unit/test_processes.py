"""What was started is ended, also where nobody has had a turn for long."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from ipy_scriptenv import descendants, processes
from ipy_scriptenv.processes import Cancel

STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(1000)
"""


def test_what_does_not_heed_is_killed_however_long_this_process_was_paused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(descendants, "_GRACE", 0.1)
    find, rounds = descendants._marked, 0

    def find_late(mark: str) -> list[psutil.Process]:
        nonlocal rounds
        rounds += 1
        if rounds > 1:
            time.sleep(0.3)
        return find(mark)

    monkeypatch.setattr(descendants, "_marked", find_late)
    mark = descendants.new_mark()
    variables = {**os.environ, descendants.VARIABLE: mark}
    argv = [sys.executable, "-c", STUBBORN]
    with subprocess.Popen(argv, env=variables, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        descendants.end(mark)
        try:
            assert process.wait(5) < 0
        finally:
            process.kill()


def test_a_switch_ends_all_that_it_was_given_to() -> None:
    """A host has uv query the interpreter, and syncs meanwhile: each has its process."""
    cancel, code = Cancel(), "import sys, time; print('x', file=sys.stderr); time.sleep(1000)"
    begun = threading.Event()
    told: list[processes.Finished] = []

    def stay() -> None:
        argv = [sys.executable, "-uc", code]
        env = dict(os.environ)
        told.append(
            processes.run(argv, cwd=Path(), env=env, on_line=lambda _: begun.set(), cancel=cancel)
        )

    staying = threading.Thread(target=stay, daemon=True)
    staying.start()
    assert begun.wait(60)
    processes.run([sys.executable, "-c", ""], cwd=Path(), env=dict(os.environ), cancel=cancel)
    cancel.set()
    staying.join(60)
    assert [each.cancelled for each in told] == [True]
