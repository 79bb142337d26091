"""``%%scriptenv`` and ``%scriptenv run``: a script in an environment of its own, its output here.

The command line of a host does the work, as a process of its own whose streams are passed on while
they come. The host's own IPython uses this code too.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Callable

from .failing import named, wrong_call
from .words import words_of

if TYPE_CHECKING:
    import subprocess

    from .interrupts import Kept

__all__ = ["Command", "ScriptFailed", "register_cells", "run_line"]

Command = Callable[[], "tuple[Sequence[str], Mapping[str, str]]"]
"""Gives the beginning of a command line of a host, and the variables for it."""

_POLL = 0.1
"""Seconds between looks at the process: short, for a wait cannot be interrupted on Windows."""
_GRACE = 5.0
"""Seconds that an interrupted script has to end by itself."""
_LAST_WORDS = 1.0
"""Seconds that output is waited for after the end; a child that lives on may hold the stream."""


class ScriptFailed(Exception):
    """The script ended with an exit code that is not zero, or by a signal.

    :param code: as the standard library gives it: negative for a signal
    """

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code

    def __str__(self) -> str:
        if self.code < 0:
            return f"The script was ended by signal {-self.code}."
        return f"The script ended with exit code {self.code}."

    def _render_traceback_(self) -> list[str]:
        """Give what IPython shows: the script's own traceback has been shown."""
        return [f"{type(self).__name__}: {self}"]


def register_cells(shell: Any, command: Command) -> None:
    """Give the shell ``%%scriptenv``; its line magic is another's."""

    def scriptenv(line: str, cell: str) -> None:
        """%%scriptenv [ARGS]: run the cell as a script in an environment of its own, by its block.

        The environment is the same for all cells and texts that declare the same.
        """
        try:
            words = words_of(line)
        except ValueError as error:
            raise named(wrong_call(f"The line cannot be read: {error}.")) from None
        argv, variables = command()
        # The cell's first line is the magic's: so the script's lines count as the cell's do.
        text = f"\n{cell}"
        _run([*argv, "run", "-", *words], variables, text)

    shell.register_magic_function(scriptenv, "cell", "scriptenv")


def run_line(words: Sequence[str], command: Command) -> None:
    """Carry out ``%scriptenv run …``; *words* are those after ``run``.

    :raises ScriptFailed: if the exit code is not zero
    :raises KeyboardInterrupt: if it comes; the script has been ended
    """
    argv, variables = command()
    _run([*argv, "run", *map(os.path.expanduser, words)], variables, None)


def _run(argv: Sequence[str], variables: Mapping[str, str], text: str | None) -> None:
    # What it prints is read as UTF-8 here, whatever the locale says.
    ours = {"PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}
    code = _stream(argv, {**variables, **ours}, text)
    if code:
        raise ScriptFailed(code)


def _stream(argv: Sequence[str], variables: Mapping[str, str], text: str | None) -> int:
    """Run a process and show what it prints while it runs; give its exit code.

    :param text: its standard input; ``None``: nothing
    :raises KeyboardInterrupt: if it comes; the process and its children have been ended, as they
        are where its output cannot be shown
    """
    import subprocess

    from .interrupts import kept_back
    from .pipes import join_reader

    with kept_back() as interrupts:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL if text is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(variables),
            # A group of its own, so that an interrupt reaches its children and nobody else.
            start_new_session=os.name == "posix",
        )
        heard: queue.Queue[tuple[str, str]] = queue.Queue()
        readers = [
            (threading.Thread(target=_read, args=(stream, name, heard), daemon=True), stream)
            for name, stream in (("stdout", process.stdout), ("stderr", process.stderr))
        ]
        for thread, _ in readers:
            thread.start()
        if text is not None:
            threading.Thread(target=_write, args=(process.stdin, text), daemon=True).start()
        try:
            while process.poll() is None and not interrupts.number:
                _show(heard, _POLL)
            if interrupts.number:
                _end(process, heard, interrupts)
        except BaseException:
            _end(process, heard, interrupts)
            raise
        finally:
            for thread, stream in readers:
                join_reader(thread, stream, patience=_LAST_WORDS)
            _show_rest(heard)
    return process.returncode


def _read(stream: Any, name: str, heard: queue.Queue[tuple[str, str]]) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    with contextlib.suppress(OSError, ValueError):
        while True:
            piece = os.read(stream.fileno(), 1 << 16)
            words = decoder.decode(piece, final=not piece)
            if words:
                heard.put((name, words))
            if not piece:
                stream.close()
                return


def _write(stream: Any, text: str) -> None:
    """Hand over the input; that the process has ended already is seen where it is waited for.

    Half a character, as a front end may send it, is handed over too: who reads it refuses it.
    """
    with contextlib.suppress(OSError):
        stream.write(text.encode("utf-8", "surrogatepass"))
    with contextlib.suppress(OSError):
        stream.close()


def _show(heard: queue.Queue[tuple[str, str]], timeout: float) -> None:
    """Show what came, waiting *timeout* seconds for the first of it."""
    try:
        name, words = heard.get(timeout=timeout)
    except queue.Empty:
        return
    stream = getattr(sys, name)
    stream.write(words)
    stream.flush()


def _show_rest(heard: queue.Queue[tuple[str, str]]) -> None:
    while not heard.empty():
        _show(heard, 0)


def _end(
    process: subprocess.Popen[bytes], heard: queue.Queue[tuple[str, str]], interrupts: Kept
) -> None:
    """End a process and its children: as an interrupt does, and by force if that does not help.

    Who interrupts once more has force used at once.
    """
    _signal(process, signal.SIGINT)
    begun, end = interrupts.number, time.monotonic() + _GRACE
    try:
        while process.poll() is None and interrupts.number == begun and time.monotonic() < end:
            _show(heard, _POLL)
    finally:
        if os.name == "posix":
            # What is left of its group, the process or children that it did not wait for.
            _signal(process, signal.SIGKILL)
        else:
            process.kill()
        process.wait()


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(OSError):
        if os.name == "posix":
            os.killpg(process.pid, number)
        else:
            process.terminate()
