"""Where the rounds take place: a home of their own, with environments that nobody may touch."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest

from ipy_scriptenv.store import Store
from tests.conftest import Home, _go_offline, _move_in
from tests.index.build import hash_locked
from tests.kernels import block
from tests.stage import environment_of, sync, write_notebook, write_script

__all__ = ["FILE", "LAYER_LOCK", "Stage", "stage"]

FILE = "same.py"
"""The file's name of most sources: kernelspecs of equal names tell the folder too."""

LAYER_LOCK = "SCRIPTENV_LAYER_LOCK"

_IN_LAYER = ("many_files-1.0", *(f"pkg_{number:02}-1.0" for number in range(6)))


@dataclass(frozen=True, slots=True)
class Stage:
    """A home, with two environments that nobody works on.

    :param folder: for the sources
    :param bystanders: sources of those environments
    """

    home: Home
    folder: Path
    bystanders: tuple[Path, ...]
    numbers: Iterator[int] = field(default_factory=count)

    @property
    def store(self) -> Store:
        return Store(self.home.scriptenv)

    def new_folder(self) -> Path:
        """Make a folder for a source of one round."""
        folder = self.folder / str(next(self.numbers))
        folder.mkdir()
        return folder

    def content(self) -> dict[str, str]:
        """Give all that is in the bystanders' environments, byte for byte."""
        return {
            str(path): _digest(path)
            for source in self.bystanders
            for path in environment_of(source).rglob("*")
        }


def _digest(path: Path) -> str:
    """Tell the mode of what is at *path*, and its bytes where it has some."""
    mode = oct(path.lstat().st_mode)
    if path.is_symlink():
        return f"{mode} {path.readlink()}"
    if path.is_dir():
        return mode
    return f"{mode} {hashlib.sha256(path.read_bytes()).hexdigest()}"


@contextmanager
def stage(index: Path, uv_cache: Path) -> Iterator[Stage]:
    """Move this process into a new home, offline, with a kernel layer of a few small packages.

    :param index: folder of the local package index
    """
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place,
        pytest.MonkeyPatch.context() as patch,
    ):
        folder = Path(place).resolve()
        home = _move_in(folder / "home", uv_cache, patch)
        _go_offline(index, patch)
        patch.setenv(LAYER_LOCK, str(_layer_list(index, folder / "layer.txt")))
        patch.setenv("SCRIPTENV_LOCK_TIMEOUT", "60")  # nobody else is there to be waited for
        work = folder / "work"
        (work / "bystander").mkdir(parents=True)
        script = write_script(work / "bystander" / FILE, "many-files", "alpha==1.1")
        notebook = write_notebook(work / "bystander" / "other.ipynb", block("beta", "pkg-00"))
        for source in (script, notebook):
            sync(source)
        yield Stage(home=home, folder=work, bystanders=(script, notebook))


def _layer_list(index: Path, listing: Path) -> Path:
    """Write a hash-locked list of packages of the local index, and give its path."""
    listing.write_text(hash_locked(*(index / f"{each}-py3-none-any.whl" for each in _IN_LAYER)))
    return listing
