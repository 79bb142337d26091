"""The one place where processes are started, watched and ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from ipy_scriptenv import descendants
from ipy_scriptenv.kernel_side.pipes import join_reader

__all__ = [
    "Cancel",
    "Finished",
    "heed_signals",
    "replace",
    "run",
    "run_visibly",
    "start_idle",
    "started",
]

_LAST_WORDS = 5.0
"""Seconds that output is waited for after the end; a child that lives on may hold the stream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A process that has ended.

    :param code: exit code; negative: the signal that ended it
    :param cancelled: whether it was ended because its :class:`Cancel` was set
    """

    code: int
    out: str
    err: str
    cancelled: bool = False


class Cancel:
    """A switch that ends the processes it was given to, from any thread, once and for all."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._processes: set[subprocess.Popen[str]] = set()
        self.is_set = False

    def set(self) -> None:
        """End the processes that run now, and every one that is started later."""
        with self._lock:
            self.is_set = True
            for process in self._processes:
                process.terminate()

    @contextlib.contextmanager
    def watching(self, process: subprocess.Popen[str]) -> Iterator[None]:
        """Take the process to end; :func:`run` waits for it meanwhile."""
        with self._lock:
            self._processes.add(process)
            if self.is_set:
                process.terminate()
        try:
            yield
        finally:
            with self._lock:
                self._processes.discard(process)


def run(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    on_line: Callable[[str], None] | None = None,
    inherit: Sequence[int] = (),
    cancel: Cancel | None = None,
) -> Finished:
    """Run a process to its end, without input.

    :param on_line: gets each line of standard error as it comes, without its line end
    :param inherit: file descriptors that the process keeps open, such as a lock's (POSIX only)
    :param cancel: ends the process when it is set
    :raises OSError: if it cannot be started
    """
    readers: list[_Reader] = []
    try:
        with _started(
            argv,
            env=env,
            inherit=inherit,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
        ) as process:
            # Both are there, because pipes were asked for.
            out, err = cast("tuple[IO[str], IO[str]]", (process.stdout, process.stderr))
            readers.append(_Reader(out))
            readers.append(_Reader(err, on_line=on_line, on_failure=process.terminate))
            with contextlib.nullcontext() if cancel is None else cancel.watching(process):
                code = process.wait()
    finally:
        texts = [reader.text() for reader in readers]
    if readers[1].failure is not None:
        raise readers[1].failure
    return Finished(
        code=code,
        out=texts[0],
        err=texts[1],
        cancelled=cancel is not None and cancel.is_set,
    )


class _Reader:
    """Reads a stream in a thread of its own."""

    def __init__(
        self,
        stream: IO[str],
        *,
        on_line: Callable[[str], None] | None = None,
        on_failure: Callable[[], None] = lambda: None,
    ) -> None:
        self.failure: BaseException | None = None
        self._stream = stream
        self._lines: list[str] = []
        self._on_line = on_line
        self._on_failure = on_failure
        self._thread = threading.Thread(target=self._collect, daemon=True)
        self._thread.start()

    def text(self) -> str:
        """Give what was read; called when the process has ended.

        A child that outlives it may hold the stream open: that is not waited for.
        """
        join_reader(self._thread, self._stream, patience=_LAST_WORDS)
        if not self._thread.is_alive():
            self._stream.close()
        return "".join(self._lines)

    def _collect(self) -> None:
        try:
            for line in self._stream:
                self._lines.append(line)
                if self._on_line is not None and self.failure is None:
                    self._on_line(line.rstrip("\r\n"))
        except BaseException as error:  # noqa: BLE001 - raised where the process is waited for
            self.failure = error
            with contextlib.suppress(OSError):
                self._on_failure()


def run_visibly(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    inherit: Sequence[int] = (),
    cwd: Path | None = None,
) -> int:
    """Run a process whose input and output are this one's; give its exit code.

    :param cwd: its folder; default: this process's
    """
    with _started(argv, env=env, inherit=inherit, cwd=cwd) as process:
        return process.wait()


@contextlib.contextmanager
def _started(
    argv: Sequence[str], *, env: Mapping[str, str], inherit: Sequence[int], **options: Any
) -> Iterator[subprocess.Popen[Any]]:
    """Start a process that is waited for within; where it fails, all that it has started ends too.

    So it does where it is not waited for to its end.
    """
    mark = descendants.new_mark()
    process = subprocess.Popen(
        list(argv),
        env={**env, descendants.VARIABLE: mark},
        pass_fds=tuple(inherit) if sys.platform != "win32" else (),
        **options,
    )
    try:
        yield process
    finally:
        if process.returncode != 0:
            descendants.end(mark)
            process.kill()
            process.wait()


def replace(argv: Sequence[str], *, env: Mapping[str, str], stdin: int | None = None) -> int:
    """Become another program; where that is impossible (Windows), run it and give its exit code.

    :param stdin: a descriptor that it reads from; default: this process's standard input
    """
    if sys.platform == "win32":
        # An interrupt reaches both: what it means is the program's to say.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        return subprocess.call(list(argv), env=dict(env), stdin=stdin)
    if stdin is not None:
        os.dup2(stdin, 0)
    return os.execve(argv[0], list(argv), dict(env))


_STARTED: list[subprocess.Popen[bytes]] = []
"""Processes that nobody waits for: looked at now and then, so that none stays as a zombie."""


def start_idle(argv: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> None:
    """Start a process that outlives this one and that nobody hears of again.

    On Windows it gets the lowest priority; elsewhere it takes that itself.

    :raises OSError: if it cannot be started
    """
    _STARTED[:] = [process for process in _STARTED if process.poll() is None]
    flags = 0
    if sys.platform == "win32":
        flags = subprocess.IDLE_PRIORITY_CLASS | subprocess.DETACHED_PROCESS
    process = subprocess.Popen(
        list(argv),
        cwd=cwd,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        creationflags=flags,
    )
    _STARTED.append(process)


def started() -> Sequence[subprocess.Popen[bytes]]:
    """Give the processes of :func:`start_idle` that may still run, for whoever has to wait."""
    return tuple(_STARTED)


def heed_signals() -> None:
    """Have SIGTERM and SIGHUP interrupt this process as Ctrl-C does, so that it ends what it runs.

    One that is ignored (`nohup`) stays so. For the main thread of a program.
    """
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
