"""uv, the engine: what it is asked to do, and how its answers are read.

Every call runs in a folder of ours with an explicit target. No call that can write is ever made for
a folder that is no complete virtual environment: uv would then act on the interpreter behind it and
empty that (``docs/uv.md``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ipy_scriptenv import processes, settings
from ipy_scriptenv.errors import (
    EngineFailed,
    InstallFailed,
    Interrupted,
    NoSpace,
    Offline,
    PermissionRefused,
    Problem,
    ResolutionFailed,
    ScriptEnvError,
)
from ipy_scriptenv.locks import Held
from ipy_scriptenv.metadata import without_credentials
from ipy_scriptenv.processes import Cancel, Finished
from ipy_scriptenv.store import environment_python

__all__ = ["Change", "Event", "Found", "Uv", "is_environment"]

Event = Mapping[str, Any]
"""One step of a longer work: ``event`` is its kind, the rest its data (``docs/contract.md``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One distribution that comes or goes; *action* is ``installed`` or ``removed``."""

    name: str
    version: str
    action: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An interpreter that uv knows."""

    path: str
    version: str
    implementation: str
    variant: str


def _quiet(_event: Event) -> None:
    """Take no notice of an event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Uv:
    """uv, ready to be called.

    :param binary: the program
    :param work: a folder of ours to run it in, with an empty ``uv.toml``
    :param held: the lock that uv inherits, so that it is never free while a uv lives
    :param cancel: ends what runs
    :param on_event: gets what uv tells on the way
    """

    binary: Path
    work: Path
    held: Held | None = None
    cancel: Cancel | None = None
    on_event: Callable[[Event], None] = _quiet

    def is_cancelled(self) -> bool:
        """Say whether what runs was told to end."""
        return self.cancel is not None and self.cancel.is_set

    def create(self, environment: Path, *, python: Path) -> None:
        """Make an empty, relocatable virtual environment at a path where nothing stands.

        Nothing but the interpreter decides: no configuration is read, nothing is downloaded.
        """
        self._call(
            "venv",
            "--no-project",
            "--no-config",
            "--no-python-downloads",
            "--relocatable",
            "--python",
            str(python),
            str(environment),
        )

    def sync(self, script: Path, environment: Path, *, dry_run: bool = False) -> tuple[Change, ...]:
        """Bring an environment to exactly what a script declares.

        :param dry_run: only tell what would change
        :raises ScriptEnvError: in the words of uv; a dry run and a failed resolution change nothing
        """
        _require_environment(environment)
        argv = [
            "sync",
            "--script",
            str(script),
            "--active",
            "--no-python-downloads",
            "--python",
            str(environment_python(environment)),
            "--output-format",
            "json",
        ]
        finished = self._call(
            *argv, *(["--dry-run"] if dry_run else []), VIRTUAL_ENV=str(environment)
        )
        return _changes(finished.out, environment)

    def install(self, environment: Path, *arguments: str) -> None:
        """Run ``uv pip install`` for one of our environments."""
        _require_environment(environment)
        self._call("pip", "install", "--python", str(environment_python(environment)), *arguments)

    def pythons(self, *, configured: bool) -> tuple[Found, ...]:
        """List the interpreters on this machine.

        :param configured: whether the user's uv configuration counts; not before a cell runs
        """
        finished = self._call(
            "python",
            "list",
            "--only-installed",
            "--no-python-downloads",
            "--output-format",
            "json",
            *([] if configured else ["--no-config"]),
        )
        return tuple(
            Found(
                path=entry["path"],
                version=entry["version"],
                implementation=entry["implementation"],
                variant=entry.get("variant", "default"),
            )
            for entry in json.loads(finished.out or "[]")
            if entry.get("path")
        )

    def find_python(self, request: str) -> Path | None:
        """Ask uv for an interpreter by any of its request forms; ``None`` if there is none."""
        try:
            finished = self._call(
                "python",
                "find",
                "--no-project",
                "--system",
                "--no-config",
                "--no-python-downloads",
                request,
            )
        except ScriptEnvError:
            return None
        return Path(finished.out.strip())

    def install_python(self, request: str) -> None:
        """Have uv fetch an interpreter, as the user's configuration allows."""
        self.on_event({"event": "downloading", "name": f"Python {request}"})
        self._call("python", "install", "--no-bin", request)

    def _call(self, *arguments: str, **variables: str) -> Finished:
        """Run uv.

        :raises ScriptEnvError: if it fails, is cancelled or cannot be started
        """
        try:
            finished = processes.run(
                [str(self.binary), *arguments],
                cwd=self.work,
                env=settings.uv_environment(**variables),
                on_line=self._hear,
                inherit=() if self.held is None else (self.held.descriptor,),
                cancel=self.cancel,
            )
        except OSError as error:
            msg = f"uv could not be started: {error.strerror}."
            raise EngineFailed(
                msg, hint="Install it again: `pip install --force-reinstall uv`."
            ) from error
        if finished.cancelled:
            msg = "The work was interrupted."
            raise Interrupted(msg)
        if finished.code != 0:
            raise failure(finished)
        return finished

    def _hear(self, line: str) -> None:
        event = event_of(line)
        if event is not None:
            self.on_event(event)


@cache
def find_uv() -> Path:
    """Where the uv program is that came with the ``uv`` package.

    :raises EngineFailed: if it is not there
    """
    from uv import find_uv_bin

    try:
        return Path(find_uv_bin())
    except FileNotFoundError as error:
        msg = "The uv program is missing, although the package is installed."
        raise EngineFailed(
            msg, hint="Install it again: `pip install --force-reinstall uv`."
        ) from error


def is_environment(path: Path) -> bool:
    """Say whether a complete virtual environment stands at *path*: what uv may be let near.

    ``pyvenv.cfg`` is written last; without its ``home`` key uv would act on the base interpreter.
    """
    if path.is_symlink():
        return False
    try:
        text = (path / "pyvenv.cfg").read_text("utf-8", errors="replace")
    except OSError:
        return False
    has_home = any(re.match(r"\s*home\s*=\s*\S", line) for line in text.splitlines())
    return has_home and environment_python(path).exists()


def _require_environment(path: Path) -> None:
    if not is_environment(path):
        msg = f"`{path}` is no complete virtual environment; uv was not called."
        raise EngineFailed(msg)


_EVENTS: Sequence[tuple[re.Pattern[str], str]] = (
    (re.compile(r"Resolved (?P<packages>\d+) packages? in"), "resolving"),
    (
        re.compile(r"Downloading (?P<name>\S+)(?: (?P<version>\S+))?(?: \((?P<size>[^)]*)\))?"),
        "downloading",
    ),
    (re.compile(r"\s*Downloaded (?P<name>\S+)"), "downloading"),
    (re.compile(r"\s*Building (?P<name>\S+)"), "installing"),
    (re.compile(r"Prepared (?P<packages>\d+) packages? in"), "installing"),
    (re.compile(r"Installed (?P<packages>\d+) packages? in"), "installing"),
)


def event_of(line: str) -> Event | None:
    """Read one line of uv's standard error; ``None`` if it tells no step."""
    for pattern, kind in _EVENTS:
        match = pattern.match(line)
        if match:
            found = {key: value for key, value in match.groupdict().items() if value}
            return {"event": kind, "text": without_credentials(line.strip()), **found}
    return None


_WORK_BEGUN = re.compile(r"^(Prepared|Uninstalled|Installed) ", re.MULTILINE)

_CAUSES: Sequence[tuple[re.Pattern[str], type[ScriptEnvError], str]] = (
    (
        re.compile(r"No space left on device|os error 28\b|os error 112\b"),
        NoSpace,
        "The disk is full.",
    ),
    (
        re.compile(
            r"No solution found|unsatisfiable|was not found in the (?:package registry|provided)"
        ),
        ResolutionFailed,
        "No set of packages satisfies the dependencies.",
    ),
    (
        re.compile(
            r"error sending request|dns error|failed to lookup address|Could not connect|"
            r"Connection refused|network connectivity is disabled|network was disabled|"
            r"operation timed out|tcp connect error"
        ),
        Offline,
        "The package index could not be reached.",
    ),
    (
        re.compile(r"Permission denied|os error 13\b|Read-only file system|os error 30\b"),
        PermissionRefused,
        "The operating system refused access.",
    ),
    (
        re.compile(
            r"Failed to (?:build|download|fetch|install|unpack|prepare)|"
            r"hash mismatch|Hash mismatch|no usable wheels"
        ),
        InstallFailed,
        "The dependencies could not be installed.",
    ),
)


def failure(finished: Finished) -> ScriptEnvError:
    """Turn a failed call into an error of ours that keeps uv's words as its problem."""
    words = _words(finished.err)
    problems = (Problem(message=words),) if words else ()
    offline = re.search(r"network (?:connectivity is|was) disabled", words)
    for pattern, kind, message in _CAUSES:
        if pattern.search(words):
            # Without network uv finds "no solution" too; its own hint tells the true cause.
            if kind is ResolutionFailed and offline:
                return Offline(
                    "The packages are not in the cache, and the network is disabled.",
                    problems=problems,
                )
            return kind(message, problems=problems)
    if finished.code < 0:
        msg = f"uv was ended by signal {-finished.code}."
        return InstallFailed(msg, hint="Run it again.", problems=problems)
    kind = ResolutionFailed if finished.code == 1 else EngineFailed
    return kind(f"uv failed with exit code {finished.code}.", problems=problems)


def touched(error_text: str) -> bool:
    """Say whether uv's words show that it had begun to change the environment."""
    return bool(_WORK_BEGUN.search(error_text))


def _words(err: str) -> str:
    """Give what uv said without its progress, credentials and trailing space."""
    lines = [line.rstrip() for line in err.splitlines() if event_of(line) is None]
    return without_credentials("\n".join(lines).strip())


def _changes(out: str, environment: Path) -> tuple[Change, ...]:
    """Read the JSON of a sync; what is not as expected gives no changes (it is marked preview).

    :raises EngineFailed: if uv says that it worked somewhere else
    """
    try:
        sync = json.loads(out)["sync"]
        where = Path(sync["environment"]["path"])
        changes = tuple(
            Change(
                name=entry["name"],
                version=entry.get("version") or "",
                action="installed" if entry["action"] == "installed" else "removed",
            )
            for entry in sync["changes"]
        )
    except (ValueError, KeyError, TypeError):
        return ()
    if where.resolve() != environment.resolve():
        msg = f"uv worked on `{where}` instead of `{environment}`."
        raise EngineFailed(msg)
    return changes
