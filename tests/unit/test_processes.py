"""What was started is ended, also where nobody has had a turn for long."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import psutil
import pytest

from ipy_scriptenv import descendants

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
