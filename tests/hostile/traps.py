"""Links, pipes and folders in the place of what is ours.

Each builder takes what stands for a source, its environment included, and puts a trap in a place.
What a link leads to is in a folder aside, which nobody may touch.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import Home

__all__ = ["FOLDERS", "LINKS", "PIPES", "Stage", "assert_nobody_reads"]

PATIENCE = 60.0
"""Seconds after which what is not over is taken to wait for a pipe; the longest takes two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Where a trap is put.

    :param environment: of the source; it stands
    :param aside: what belongs to somebody else: a folder with files in it
    """

    home: Home
    environment: Path
    aside: Path

    @property
    def locks(self) -> Path:
        return self.home.scriptenv / "locks"

    @property
    def name(self) -> str:
        return self.environment.name

    @property
    def kernelspec(self) -> Path:
        return self.home.kernelspecs / f"scriptenv-{self.name}"

    @property
    def file(self) -> Path:
        """A file aside."""
        return self.aside / "precious.txt"

    @property
    def nowhere(self) -> Path:
        """A path aside where nothing stands, and where nothing may come to stand."""
        return self.aside / "nowhere"


FOLDERS = (*("environments-v1", "building-v1", "kernels-v1", "kernel-side-v1", "locks", "work-v1"),)
"""The folders in the home, each of which could be a link."""


def _put(place: Path, target: Path) -> None:
    """Put a link in a place where something of ours may stand."""
    if place.is_dir() and not place.is_symlink():
        place.rename(place.with_name(f".away-{place.name}"))
    place.unlink(missing_ok=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)


def lock(stage: Stage) -> None:
    _put(stage.locks / f"{stage.name}.lock", stage.file)


def lock_to_nowhere(stage: Stage) -> None:
    _put(stage.locks / f"{stage.name}.lock", stage.nowhere)


def live_folder(stage: Stage) -> None:
    _put(stage.locks / f"{stage.name}.kernels", stage.aside)


def live_folder_to_nowhere(stage: Stage) -> None:
    _put(stage.locks / f"{stage.name}.kernels", stage.nowhere)


def live_lock(stage: Stage) -> None:
    _put(stage.locks / f"{stage.name}.kernels" / ("0" * 32), stage.file)


def starting_note(stage: Stage) -> None:
    _put(stage.locks / f"{stage.name}.starting", stage.file)


def starting_note_to_nowhere(stage: Stage) -> None:
    _put(stage.locks / f"{stage.name}.starting", stage.nowhere)


def note_of_a_move(stage: Stage) -> None:
    _put(stage.home.scriptenv / "building-v1" / f".moved-{stage.name}", stage.file)


def note_of_a_move_to_a_folder(stage: Stage) -> None:
    _put(stage.home.scriptenv / "building-v1" / f".moved-{stage.name}", stage.aside)


def record(stage: Stage) -> None:
    _put(stage.environment / "scriptenv.json", stage.file)


def launcher(stage: Stage) -> None:
    _put(stage.environment / "kernel.py", stage.file)


def change_mark(stage: Stage) -> None:
    _put(stage.environment / "scriptenv.changing", stage.file)


def environment(stage: Stage) -> None:
    _put(stage.environment, stage.aside)


def kernelspec_folder(stage: Stage) -> None:
    _put(stage.kernelspec, stage.aside)


def kernelspec_folder_to_nowhere(stage: Stage) -> None:
    _put(stage.kernelspec, stage.nowhere)


def kernelspec_file(stage: Stage) -> None:
    _put(stage.kernelspec / "kernel.json", stage.file)


def kernelspec_logo(stage: Stage) -> None:
    (stage.kernelspec / "kernel.json").unlink()
    _put(stage.kernelspec / "logo-svg.svg", stage.file)


def leftover_build(stage: Stage) -> None:
    building = stage.home.scriptenv / "building-v1"
    _put(building / f".building-{stage.name}-0a0a0a0a", stage.aside)
    _put(building / f".replaced-{stage.name}-0a0a0a0a", stage.aside)
    _put(building / ".removed-0a0a0a0a", stage.aside)


def staged_script(stage: Stage) -> None:
    _put(stage.home.scriptenv / "work-v1" / f"{stage.name}.py", stage.file)


def leftover_layer(stage: Stage) -> None:
    _put(stage.home.scriptenv / "kernels-v1" / ".building-x-0a0a0a0a", stage.aside)


LINKS: tuple[Callable[[Stage], None], ...] = (
    lock,
    lock_to_nowhere,
    live_folder,
    live_folder_to_nowhere,
    live_lock,
    starting_note,
    starting_note_to_nowhere,
    note_of_a_move,
    note_of_a_move_to_a_folder,
    record,
    launcher,
    change_mark,
    environment,
    kernelspec_folder,
    kernelspec_folder_to_nowhere,
    kernelspec_file,
    kernelspec_logo,
    leftover_build,
    staged_script,
    leftover_layer,
)
"""Links to what is aside, in the place of one thing of ours."""


def _pipe(place: Path) -> Path:
    place.unlink(missing_ok=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(place)
    return place


def pipe_for_a_lock(stage: Stage) -> Path:
    return _pipe(stage.locks / f"{stage.name}.lock")


def pipe_for_a_live_lock(stage: Stage) -> Path:
    return _pipe(stage.locks / f"{stage.name}.kernels" / ("0" * 32))


def pipe_for_a_starting_note(stage: Stage) -> Path:
    return _pipe(stage.locks / f"{stage.name}.starting")


def pipe_for_a_note_of_a_move(stage: Stage) -> Path:
    return _pipe(stage.home.scriptenv / "building-v1" / f".moved-{stage.name}")


def pipe_for_a_mark(stage: Stage) -> Path:
    return _pipe(stage.environment / "scriptenv.changing")


PIPES: tuple[Callable[[Stage], Path], ...] = (
    pipe_for_a_lock,
    pipe_for_a_live_lock,
    pipe_for_a_starting_note,
    pipe_for_a_note_of_a_move,
    pipe_for_a_mark,
)
"""Pipes in the place of one thing of ours: who waits for one to tell something waits for ever."""


@contextmanager
def assert_nobody_reads(pipe: Path) -> Iterator[None]:
    """Check that nobody waits for a pipe to tell something; who does is let go after `PATIENCE`."""
    waiting = threading.Event()
    over = threading.Event()
    watcher = threading.Thread(target=_watch, args=(pipe, waiting, over), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
    assert not waiting.is_set(), f"somebody waited for the pipe {pipe}"


def _watch(pipe: Path, waiting: threading.Event, over: threading.Event) -> None:
    """Let go whoever waits, but not before that must be the reason why it is not over.

    Who waits for a writer cannot be told from who merely looks at the pipe, or holds it as a lock;
    and the first try to write would let everybody go.
    """
    pause = PATIENCE
    while not over.wait(pause):
        pause = 0.02
        try:
            descriptor = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            continue  # nobody has it open for reading
        waiting.set()
        with suppress(OSError):
            os.write(descriptor, b" ")
        os.close(descriptor)
