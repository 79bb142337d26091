"""uv, the engine: what it is asked to do, and how its answers are read.

Every call runs in a folder of ours with an explicit target. No call that can write is ever made for
a folder that is no complete virtual environment: uv would then act on the interpreter behind it and
empty that (``docs/uv.md``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from ipy_scriptenv import processes, settings
from ipy_scriptenv.errors import EngineFailed, Interrupted, ScriptEnvError
from ipy_scriptenv.locks import Held
from ipy_scriptenv.processes import Cancel, Finished
from ipy_scriptenv.uv_output import Change, Event, event_of, failure, report_of
from ipy_scriptenv.venvs import environment_python, is_environment

__all__ = [
    "Change",
    "Event",
    "Interpreter",
    "Uv",
    "find_uv",
    "ignore",
]


_REGARDLESS = re.compile(r"(?m)^\s*hint: If you want to add the package regardless.*$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """An interpreter that uv knows."""

    path: str
    version: str
    implementation: str
    variant: str


def ignore(_event: Event) -> None:
    """Take no notice of an event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Uv:
    """uv, ready to be called.

    :param binary: the program
    :param work: a folder of ours to run it in, with an empty ``uv.toml``
    :param held: the lock that uv inherits, so that it is never free while a uv lives
    :param cancel: ends what runs
    :param pass_env: variables that uv gets although their names look like secrets
    :param on_event: gets what uv tells on the way
    """

    binary: Path
    work: Path
    held: Held | None = None
    cancel: Cancel = field(default_factory=Cancel)
    pass_env: tuple[str, ...] = ()
    on_event: Callable[[Event], None] = ignore

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

    def query_interpreter(self, environment: Path) -> None:
        """Have uv query an environment's interpreter, which it does once and remembers.

        A call that finds that done is quicker by what it takes: a start of that Python.

        :raises ScriptEnvError: if it fails, is cancelled or cannot be started
        """
        _require_environment(environment)
        self._call(
            "python",
            "find",
            "--no-project",
            "--no-config",
            "--no-python-downloads",
            str(environment_python(environment)),
        )

    def sync(
        self, script: Path, environment: Path, *options: str, dry_run: bool = False
    ) -> tuple[Change, ...]:
        """Bring an environment to exactly what a script declares.

        :param options: further ones, which win over the script's settings
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
        argv += [*options, *(["--dry-run"] if dry_run else [])]
        finished = self._call(*argv, VIRTUAL_ENV=str(environment))
        report = report_of(finished.out, finished.err)
        where = report.environment
        if where is not None and Path(where).resolve() != environment.resolve():
            msg = f"uv worked on `{where}` instead of `{environment}`."
            raise EngineFailed(msg)
        return report.changes

    def script(self, verb: str, script: Path, *arguments: str, python: Path) -> str:
        """Run one of uv's verbs on a script: ``add``, ``remove``, ``lock``, ``tree``, ``export``.

        No environment is touched; the script and its lock beside it may be.

        :param arguments: behind the verb; requirements behind a ``--``
        :param python: the interpreter to resolve for
        :returns: what uv printed
        :raises ScriptEnvError: in the words of uv
        """
        options = ["--no-python-downloads", "--python", str(python)]
        try:
            return self._call(verb, "--script", str(script), *options, *arguments).out
        except ScriptEnvError as error:
            # An option of `uv add` that ours has not.
            error.problems = tuple(
                replace(problem, message=_REGARDLESS.sub("", problem.message).rstrip())
                for problem in error.problems
            )
            raise

    def install(self, environment: Path, *arguments: str) -> None:
        """Run ``uv pip install`` for one of our environments."""
        _require_environment(environment)
        python = str(environment_python(environment))
        # The list is complete and hash-locked: only where to fetch it from is the user's to say.
        self._call(
            "pip", "install", "--exclude-newer", "9999-01-01", "--python", python, *arguments
        )

    def build(self, place: Path, folder: Path, *options: str, python: Path) -> Path:
        """Build the wheel of a project's folder, or of a source distribution.

        :param folder: where the wheel goes, which holds none yet
        :param python: the interpreter to build for
        :raises ScriptEnvError: in the words of uv
        """
        where = ["--out-dir", str(folder), "--no-create-gitignore", "--no-build-logs"]
        which = ["--no-python-downloads", "--python", str(python)]
        self._call("build", "--wheel", *where, *which, *options, str(place))
        found = sorted(folder.glob("*.whl"))
        if len(found) != 1:
            msg = f"uv has built {len(found)} wheels of `{place}`."
            raise EngineFailed(msg)
        return found[0]

    def pythons(self, *, configured: bool) -> tuple[Interpreter, ...]:
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
            Interpreter(
                path=entry["path"],
                version=entry["version"],
                implementation=entry["implementation"],
                variant=entry.get("variant", "default"),
            )
            for entry in json.loads(finished.out or "[]")
            if entry.get("path")
        )

    def cache_folder(self) -> Path:
        """Ask uv where its cache is, which may not be there yet."""
        return Path(self._call("cache", "dir").out.strip())

    def find_python(self, request: str) -> Path | None:
        """Ask uv for an interpreter by any of its request forms; ``None`` if there is none.

        :raises Interrupted: if it is cancelled
        """
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
        except Interrupted:
            raise
        except ScriptEnvError:
            return None
        return Path(finished.out.strip())

    def install_python(self, request: str) -> None:
        """Have uv fetch an interpreter, as the user's configuration allows."""
        self.on_event({"event": "downloading", "text": f"Fetching Python {request}"})
        self._call("python", "install", "--no-bin", request)

    def _call(self, *arguments: str, **variables: str) -> Finished:
        """Run uv.

        :raises ScriptEnvError: if it fails, is cancelled or cannot be started
        """
        try:
            finished = processes.run(
                [str(self.binary), *arguments],
                cwd=self.work,
                env=settings.uv_environment(self.pass_env, **variables),
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
            raise failure(finished.code, finished.err)
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


def _require_environment(path: Path) -> None:
    if not is_environment(path):
        msg = f"`{path}` is no complete virtual environment; uv was not called."
        raise EngineFailed(msg)
