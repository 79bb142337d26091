"""Where everything happens: one folder with homes, caches and virtual environments of its own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

__all__ = ["Broken", "Stage", "Worker", "block"]

REPOSITORY = Path(__file__).resolve().parent.parent

_DROPPED = re.compile(
    r"(PYTHON|JUPYTER|JPY_|IPYTHON|SCRIPTENV_|CONDA|VIRTUAL_ENV|XDG_|PIP_|MPL|MARIMO|JUV|UV_).*"
)
_KEPT = re.compile(r"UV_(.*INDEX.*|FIND_LINKS|CONFIG_FILE|.*CERTS?.*|.*TLS|KEYRING.*|HTTP_TIMEOUT)")
"""What uv needs to reach an index; everything else that could change a contestant is dropped."""

_MARK = "BENCHMARKS_STAGE"
"""A variable of all processes of a run; its value is the run's folder."""


class Broken(Exception):
    """A contestant could not do what was asked, with its own words."""


def block(dependencies: Sequence[str]) -> str:
    """Write the inline script metadata that declares *dependencies*."""
    listed = ", ".join(json.dumps(name) for name in dependencies)
    return f'# /// script\n# requires-python = ">=3.11"\n# dependencies = [{listed}]\n# ///'


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """The folder of one run of the benchmarks.

    :param root: the folder
    :param run_name: tells the notebooks of this run from those of an earlier one
    :param online: whether uv may ask its index while something is measured
    """

    root: Path
    online: bool
    run_name: str

    @property
    def python(self) -> str:
        """The interpreter that everybody's environments are made from."""
        return os.path.realpath(sys.executable)

    @property
    def uv(self) -> str:
        """The uv that everybody uses: the one of this environment."""
        from uv import find_uv_bin

        return find_uv_bin()

    def home(self, name: str) -> Path:
        """Give a contestant's own folder, made if it is missing."""
        folder = self.root / name
        for part in ("tmp", "home"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        return folder

    def notebooks(self, name: str) -> Path:
        """Give the folder of a contestant's notebooks, made if it is missing."""
        folder = self.home(name) / "notebooks" / self.run_name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def environ(self, name: str, *, offline: bool | None = None) -> dict[str, str]:
        """Give the variables of a contestant's processes: a home of its own, byte code written.

        :param offline: whether uv must do with its cache; default: what this run is
        """
        home = self.home(name)
        kept = {
            key: value
            for key, value in os.environ.items()
            if not _DROPPED.fullmatch(key) or _KEPT.fullmatch(key)
        }
        here = {str(Path(sys.executable).parent), str(REPOSITORY / ".venv" / "bin")}
        path = [entry for entry in os.get_exec_path() if entry not in here]
        own = {
            _MARK: str(self.root),
            "HOME": str(home / "home"),
            "TMPDIR": str(home / "tmp"),
            "PATH": os.pathsep.join(
                [str(home / "venv" / "bin"), self._tools(), str(Path(self.python).parent), *path]
            ),
            "SCRIPTENV_HOME": str(home / "scriptenv"),
            "JUPYTER_DATA_DIR": str(home / "jupyter-data"),
            "JUPYTER_RUNTIME_DIR": str(home / "jupyter-runtime"),
            "JUPYTER_CONFIG_DIR": str(home / "jupyter-config"),
            "IPYTHONDIR": str(home / "ipython"),
            "UV_CACHE_DIR": str(home / "cache"),
            "UV_PYTHON_DOWNLOADS": "never",
        }
        configured = Path("~/.config/uv/uv.toml").expanduser()
        if configured.is_file() and "UV_CONFIG_FILE" not in kept:
            own["UV_CONFIG_FILE"] = str(configured)
        if not self.online if offline is None else offline:
            own["UV_OFFLINE"] = "1"
        return {**kept, **own}

    def _tools(self) -> str:
        """Give a folder for the search path that holds uv and nothing else."""
        tools = self.root / "bin"
        if not tools.is_dir():
            tools.mkdir(parents=True)
            (tools / "uv").symlink_to(self.uv)
        return str(tools)

    def run(
        self,
        name: str,
        *argv: str,
        cwd: Path | None = None,
        offline: bool | None = None,
        add: Mapping[str, str] | None = None,
        timeout: float = 600,
    ) -> str:
        """Run a command as a contestant; give what it printed.

        :raises Broken: if it fails or takes too long; nothing that it started is left
        """
        return self.timed(name, *argv, cwd=cwd, offline=offline, add=add, timeout=timeout)[1]

    def timed(
        self,
        name: str,
        *argv: str,
        cwd: Path | None = None,
        offline: bool | None = None,
        add: Mapping[str, str] | None = None,
        timeout: float = 600,
    ) -> tuple[float, str]:
        """Run a command as a contestant; give the seconds it took, and what it printed.

        :raises Broken: as :meth:`run`
        """
        environ = {**self.environ(name, offline=offline), **(add or {})}
        folder = cwd or self.notebooks(name)
        began = time.perf_counter()
        process = subprocess.Popen(
            argv,
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        try:
            output, words = process.communicate(timeout=timeout)
            seconds = time.perf_counter() - began
        except subprocess.TimeoutExpired:
            raise Broken(f"`{Path(argv[0]).name}` took more than {timeout:.0f} s") from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if process.returncode:
            lines = [line.strip() for line in (words or output).splitlines() if line.strip()]
            telling = [line for line in lines if "rror" in line] or lines or ["nothing"]
            raise Broken(
                f"`{Path(argv[0]).name}` ended with {process.returncode}: {telling[0][:200]}"
            )
        return seconds, output

    def venv(self, name: str, *requirements: str, options: Sequence[str] = ()) -> Path:
        """Make a contestant's virtual environment, compiled; give its Python.

        What it shares with the kernel layer has the layer's versions, where it can.
        """
        python = self.home(name) / "venv" / "bin" / "python"
        if not python.exists():
            place = str(python.parent.parent)
            self.run(name, self.uv, "venv", "-q", "--python", self.python, place, offline=False)
        pip = [self.uv, "pip", "install", "-q", "--compile-bytecode", "--python", str(python)]
        wanted = [*pip, *options, *requirements]
        layer = ["--constraint", str(REPOSITORY / "ipy_scriptenv" / "kernels" / "layer.txt")]
        try:
            self.run(name, *wanted, *layer, offline=False)
        except Broken:
            self.run(name, *wanted, offline=False)
        return python

    def share_cache(self, source: str, name: str) -> None:
        """Give a contestant a cache that holds what another's holds, as links."""
        cache = self.home(source) / "cache"
        if cache.is_dir() and not (self.home(name) / "cache").exists():
            shutil.copytree(
                cache,
                self.home(name) / "cache",
                symlinks=True,
                copy_function=_link,
                ignore=shutil.ignore_patterns("environments-v*", "builds-v*", ".lock", ".tmp*"),
            )

    @classmethod
    @contextlib.contextmanager
    def open(cls, keep: Path | None, *, online: bool) -> Iterator[Self]:
        """Give a stage in a folder that goes with it, unless it is to be kept.

        Whatever still runs with its variables in the end is killed.
        """
        with contextlib.ExitStack() as ends:
            if keep is None:
                made = tempfile.TemporaryDirectory(prefix="benchmarks-", ignore_cleanup_errors=True)
                keep = Path(ends.enter_context(made))
            root = keep.resolve()
            root.mkdir(parents=True, exist_ok=True)
            ends.callback(_end_processes, root)
            yield cls(root=root, online=online, run_name=secrets.token_hex(4))


def _end_processes(root: Path) -> None:
    """Kill the processes that have a stage's mark among their variables: no others have it.

    Only where the system tells them: kernels and commands have been ended one by one before.
    """
    mark = f"\0{_MARK}={root}\0".encode()
    for entry in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark in b"\0" + entry.read_bytes():
                os.kill(int(entry.parent.name), signal.SIGKILL)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


class Worker:
    """A contestant's worker process; see :mod:`benchmarks.worker`."""

    def __init__(self, stage: Stage, name: str, python: Path) -> None:
        self._process = subprocess.Popen(
            [str(python), "-P", str(Path(__file__).with_name("worker.py"))],
            cwd=stage.notebooks(name),
            env=stage.environ(name, offline=False),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )

    def ask(self, op: str, **arguments: Any) -> dict[str, Any]:
        """Have something done; give the answer.

        :raises Broken: if it could not be done
        """
        if self._process.stdin is None or self._process.stdout is None:
            raise Broken("the worker has no pipes")
        try:
            self._process.stdin.write(json.dumps({"op": op, **arguments}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except OSError as error:
            raise Broken(f"the worker is gone: {error}") from None
        if not line:
            raise Broken("the worker ended")
        answer: dict[str, Any] = json.loads(line)
        if not answer["ok"]:
            raise Broken(answer["error"])
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the worker; it ends its kernel."""
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
