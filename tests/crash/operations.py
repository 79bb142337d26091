"""What is killed: each operation prepares its stage, says what to do, and clears up behind it."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from ipy_scriptenv import environments
from ipy_scriptenv.environments import Context
from ipy_scriptenv.errors import ScriptEnvError
from tests.crash.staging import FILE, LAYER_LOCK, Stage
from tests.crash.working import START
from tests.kernels import block
from tests.stage import running_kernel, sync, write_notebook, write_script

__all__ = ["OLD", "OPERATIONS", "SLOW", "Act", "Operation"]

_PILE = frozenset({"pile==1.0", *(f"pkg-{number:02}==1.0" for number in range(24))})

OLD = "-old"
"""What marks a copy of a part that nobody uses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """What is done and killed, and what must stand after the next sync.

    :param words: what to do (:func:`tests.crash.working.run`)
    :param sources: what is synced next, with what its environment must hold then
    :param kernel: name of the live lock of a kernel that runs all the while
    :param before_sync: what the user does after the kill
    """

    words: tuple[str, ...]
    sources: Mapping[Path, frozenset[str]]
    kernel: str | None = None
    before_sync: Callable[[], None] = lambda: None


Operation = Callable[[Stage], AbstractContextManager[Act]]


@contextmanager
def create(stage: Stage) -> Iterator[Act]:
    """Make an environment for a new source, and install what it declares."""
    with _source(stage, "pile", "many-files") as script:
        yield Act(words=("sync", str(script)), sources={script: _PILE | {"many-files==1.0"}})


@contextmanager
def update(stage: Stage) -> Iterator[Act]:
    """Add a package with its requirements, remove one, and change the version of one."""
    with _source(stage, "alpha==1.0", "many-files", "pkg-00") as script:
        yield _updating(script)


@contextmanager
def update_in_place(stage: Stage) -> Iterator[Act]:
    """Do the same under a kernel that runs in the environment."""
    with _source(stage, "alpha==1.0", "many-files", "pkg-00") as script:
        name = sync(script).name
        with running_kernel(stage.home.scriptenv, name) as lock:
            yield _updating(script, kernel=lock)


def _updating(script: Path, kernel: str | None = None) -> Act:
    sync(script)
    write_script(script, "alpha==2.0", "pile")
    return Act(words=("sync", str(script)), sources={script: _PILE | {"alpha==2.0"}}, kernel=kernel)


@contextmanager
def rebuild(stage: Stage) -> Iterator[Act]:
    """Make a sound environment anew."""
    with _source(stage, "pile") as script:
        sync(script)
        yield Act(words=("rebuild", str(script)), sources={script: _PILE})


@contextmanager
def start(stage: Stage) -> Iterator[Act]:
    """Start a kernel for a new source."""
    with _source(stage, "beta", "alpha==1.1") as script:
        yield Act(words=(START, str(script)), sources={script: _BETA})


_BETA = frozenset({"alpha==1.1", "beta==1.0"})


@contextmanager
def layer(stage: Stage) -> Iterator[Act]:
    """Start a kernel where the kernel layer is missing; uv installs it."""
    with _source(stage, "beta", "alpha==1.1") as script:
        shutil.rmtree(stage.store.layers / sync(script).record.kernel)
        yield Act(words=(START, str(script)), sources={script: _BETA})


@contextmanager
def own_layer(stage: Stage) -> Iterator[Act]:
    """Make the layer of this package's own list, whose packages are copied from the host."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(LAYER_LOCK)
        # A bystander's layer stays; this one is new in each round, and goes.
        before = {*stage.store.layers.iterdir()}
        with _source(stage, "beta", "alpha==1.1") as script:
            yield Act(words=("sync", str(script)), sources={script: _BETA})
        for path in {*stage.store.layers.iterdir()} - before:
            shutil.rmtree(path)


@contextmanager
def move(stage: Stage) -> Iterator[Act]:
    """Give the environment of a renamed notebook, whose kernel it names, to the new path."""
    folder = stage.new_folder()
    old, new = folder / "old.ipynb", folder / "new.ipynb"
    declared = block("alpha==1.1", "beta")
    kernel = sync(write_notebook(old, declared)).kernelspec
    assert kernel is not None
    sync(write_notebook(old, declared, kernel_name=kernel))
    old.rename(new)
    yield Act(words=("move", str(old), str(new)), sources={new: _BETA})
    _delete(old, new)


@contextmanager
def prune(stage: Stage) -> Iterator[Act]:
    """Remove what nobody will miss; then one of the files that were gone comes back."""
    scripts = [stage.new_folder() / FILE for _ in range(4)]
    # A kernelspec that starts nothing, a layer and a copy of the kernel side that nobody uses.
    stage.store.remove_environment(
        [sync(write_script(script, "many-files")).path for script in scripts][3]
    )
    for script in scripts:
        script.unlink()
    for folder in (stage.store.layers, stage.store.kernel_sides):
        (some,) = folder.iterdir()
        shutil.copytree(some, folder / f"{some.name}{OLD}")
    yield Act(
        words=("prune", "--yes"),
        sources={scripts[0]: frozenset({"many-files==1.0"})},
        before_sync=lambda: _give_back(scripts[0]),
    )
    _delete(*scripts)
    for folder in (stage.store.layers, stage.store.kernel_sides):
        for left in folder.glob(f"*{OLD}"):
            shutil.rmtree(left)


def _give_back(script: Path) -> None:
    write_script(script, "many-files")


@contextmanager
def register(stage: Stage) -> Iterator[Act]:
    """Show the kernel of a source in the picker again."""
    with _source(stage, "beta", "alpha==1.1") as script:
        sync(script)
        environments.unregister(environments.locate(script), context=Context())
        yield Act(words=("register", str(script)), sources={script: _BETA})


@contextmanager
def unregister(stage: Stage) -> Iterator[Act]:
    """Take the kernel of a source out of the picker."""
    with _source(stage, "beta", "alpha==1.1") as script:
        sync(script)
        yield Act(words=("unregister", str(script)), sources={script: _BETA})


@contextmanager
def _source(stage: Stage, *dependencies: str) -> Iterator[Path]:
    """Write a new script; in the end its environment goes."""
    script = write_script(stage.new_folder() / FILE, *dependencies)
    yield script
    _delete(script)


def _delete(*sources: Path) -> None:
    """Remove environments of sources that are there or gone, so that a home stays small."""
    context = Context()
    for source in sources:
        located = environments.locate_or_gone(source)
        name = environments.name_of(located)
        # No kernel follows the starts of a round.
        (context.store.locks / f"{name}.starting").unlink(missing_ok=True)
        with contextlib.suppress(ScriptEnvError):
            environments.delete(located, context=context)


OPERATIONS: Mapping[str, Operation] = {
    "create": create,
    "update": update,
    "update-in-place": update_in_place,
    "rebuild": rebuild,
    "start": start,
    "layer": layer,
    "move": move,
    "prune": prune,
    "register": register,
    "unregister": unregister,
    "own-layer": own_layer,
}
"""All that can be killed, by name."""

SLOW = frozenset({"own-layer"})
"""What takes seconds, so that the test run leaves it out."""
