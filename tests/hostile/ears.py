"""Ears: every process that a Python of the test starts is written down, however short it lives.

Python itself tells: an audit hook is set in this process, and in all that inherit its variables by
a ``sitecustomize`` in a folder of the test's own, which is put on ``PYTHONPATH``.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil
import pytest

__all__ = ["Ears", "our_processes"]

_HOOK = """
import json, os, sys

STARTS = {"subprocess.Popen": 1, "os.exec": 1, "os.posix_spawn": 1, "os.system": 0, "pty.spawn": 0}


def words(found):
    found = [found] if isinstance(found, (str, bytes)) else found
    return [os.fsdecode(each) if isinstance(each, (bytes, os.PathLike)) else each for each in found]


def hook(log, guarded):
    def hear(event, arguments):
        try:
            if event in STARTS:
                told = words(arguments[STARTS[event]] or [arguments[0]])
            elif event == "exec":
                name = getattr(arguments[0], "co_filename", "")
                if not name.startswith(guarded):
                    return
                told = [name]
            else:
                return
            line = json.dumps([event, told]) + "\\n"
            descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            os.write(descriptor, line.encode())
            os.close(descriptor)
        except Exception:
            pass

    return hear
"""

_here: list[Ears] = []
"""Whoever listens in this process; a hook stays for ever, so there is one that asks here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ears:
    """What was heard.

    :param folder: the one for ``PYTHONPATH``
    :param log: one line for each event
    """

    folder: Path
    log: Path

    @classmethod
    def listening(cls, folder: Path, guarded: Path, patch: pytest.MonkeyPatch) -> Ears:
        """Listen from now on to this process and to all that it starts.

        :param folder: where the ears may put their own files
        :param guarded: code that is run from there is heard too
        """
        folder.mkdir()
        ears = cls(folder=folder, log=folder / "heard.jsonl")
        set_up = f"sys.addaudithook(hook({str(ears.log)!r}, {str(guarded) + os.sep!r}))\n"
        (folder / "sitecustomize.py").write_text(_HOOK + set_up, encoding="utf-8")
        patch.setenv("PYTHONPATH", str(folder))
        _hook_here()
        _here[:] = [ears]
        return ears

    @property
    def heard(self) -> list[tuple[str, list[str]]]:
        """Each event with its words."""
        if not self.log.exists():
            return []
        return [tuple(json.loads(line)) for line in self.log.read_text("utf-8").splitlines()]

    @property
    def code(self) -> list[str]:
        """The files in the guarded folder of which code was run."""
        return [words[0] for event, words in self.heard if event == "exec"]

    @property
    def commands(self) -> list[list[str]]:
        """The command line of each process that was started."""
        return [words for event, words in self.heard if event != "exec"]

    @property
    def uv(self) -> list[str]:
        """What uv was asked: its verbs, such as ``venv`` and ``pip install``."""
        found = [words[1:] for words in self.commands if Path(words[0]).name == "uv"]
        return [" ".join(words[:2] if words[:1] == ["pip"] else words[:1]) for words in found]

    def forget(self) -> None:
        """Begin anew."""
        self.log.unlink(missing_ok=True)

    def stop(self) -> None:
        """Listen no longer in this process."""
        if _here == [self]:
            _here.clear()


def our_processes(home: Path) -> set[int]:
    """Give the ids of the processes, but for this one, whose home for environments is *home*.

    A host that waits for a kernel's first cell is not among them: it ends with the kernel.
    """
    found = set()
    for process in psutil.process_iter():
        try:
            told = process.environ().get("SCRIPTENV_HOME")
            waits = "--spare" in process.cmdline()
        except psutil.Error:
            continue
        if told == str(home) and process.pid != os.getpid() and not waits:
            found.add(process.pid)
    return found


@cache
def _hook_here() -> None:
    sys.addaudithook(_hear_here)


def _hear_here(event: str, arguments: Sequence[object]) -> None:
    if _here and event == "subprocess.Popen":
        told = [os.fsdecode(each) for each in arguments[1]]  # type: ignore[attr-defined]
        with _here[0].log.open("a", encoding="utf-8") as file:
            file.write(json.dumps([event, told]) + "\n")
