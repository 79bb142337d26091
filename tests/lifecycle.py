"""What tests of moving, throwing away and registering share."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ipy_scriptenv import cli, environments
from ipy_scriptenv.environments import Context, Item, Kept, Moved, removing
from ipy_scriptenv.layout import RECORD
from tests.conftest import Home
from tests.kernels import kernelspec_of
from tests.stage import site_of

__all__ = [
    "Called",
    "command",
    "environment_of",
    "forget_start",
    "inodes",
    "kernel_json",
    "kernelspecs",
    "move",
    "notes",
    "paths",
    "prunable",
    "prune",
    "rename",
    "revise_record",
    "sweep",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Called:
    """What came of a call."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """Give the one object on standard output."""
        assert self.out.count("\n") == 1, self
        found = json.loads(self.out)
        assert found["schema"] == 1
        return dict(found)

    @property
    def error(self) -> str:
        """Give the code of the error on standard output."""
        return str(self.json["error"]["code"])


def command(*words: str | Path) -> Called:
    """Call the command line, in this process, which is faster; nobody can be asked."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main([str(word) for word in words])
        except SystemExit as ended:
            code = int(ended.code or 0)
    return Called(code=code, out=out.getvalue(), err=err.getvalue())


def environment_of(path: Path) -> Path:
    """Give the place of a source's environment, also if the source is gone."""
    source = environments.locate_or_gone(path)
    return Context().store.environment(environments.name_of(source))


def rename(old: Path, new: Path) -> Path:
    """Rename a source on disk, as a file manager does; give its new path."""
    new.parent.mkdir(parents=True, exist_ok=True)
    return old.rename(new)


def move(old: Path, new: Path) -> Moved:
    """Give the environment of *old*, there or gone, to *new*."""
    return environments.move(
        environments.locate_or_gone(old), environments.locate(new), context=Context()
    )


def notes() -> list[str]:
    """List the moves that are noted as not finished."""
    return [*Context().store.moves()]


def inodes(environment: Path) -> dict[str, int]:
    """Give the inode of each installed file."""
    site = site_of(environment)
    return {
        str(path.relative_to(site)): path.stat().st_ino
        for path in site.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def kernel_json(home: Home, path: Path) -> dict[str, Any]:
    """Read the kernelspec that has the name of a source."""
    text = (home.kernelspecs / kernelspec_of(path) / "kernel.json").read_text()
    return dict(json.loads(text))


def kernelspecs(home: Home) -> set[str]:
    """Name the kernelspecs of single sources."""
    return {path.name for path in home.kernelspecs.glob("scriptenv-*")}


def revise_record(environment: Path, **values: Any) -> None:
    """Write other values into the record of an environment."""
    file = environment / RECORD
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def sweep() -> set[str]:
    """Clear the kernel picker of what is dead, as if no sweep had been for long; name what went."""
    (Context().store.locks / "kernelspecs.done").unlink(missing_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        # On a machine that is busy the moment for it is over at once: a few are looked at even so.
        patch.setattr(removing, "_SWEEP_SECONDS", -1.0)
        return {*environments.sweep_kernelspecs(Context())}


def forget_start(*paths: Path) -> None:
    """Let the kernels that were to be started be at home, or dead, by now."""
    for path in paths:
        (Context().store.locks / f"{environment_of(path).name}.starting").unlink()


def prunable(**kept: Any) -> list[Item]:
    """Find what can go; nothing is changed."""
    return environments.prunable(Kept(**kept), context=Context())


def prune(**kept: Any) -> list[Item]:
    """Remove what can go, and give it."""
    everything = bool(kept.get("everything"))
    items = prunable(**kept)
    removed, _ = environments.prune(items, context=Context(), everything=everything)
    return removed


def paths(items: list[Item]) -> set[Path]:
    """Give where they stand."""
    return {item.path for item in items}
