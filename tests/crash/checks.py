"""What must hold after a kill and one more start or sync, whoever was killed when."""

from __future__ import annotations

import base64
import contextlib
import csv
import hashlib
import json
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from ipy_scriptenv import environments
from ipy_scriptenv.environments import Context
from ipy_scriptenv.identity import EnvironmentName, is_environment_name
from ipy_scriptenv.kernels.layer import find_layer
from ipy_scriptenv.layout import CHANGING
from ipy_scriptenv.locks import is_held
from tests.crash.operations import OLD, Act
from tests.crash.staging import Stage
from tests.crash.working import FAREWELL, PATIENCE
from tests.kernels import wait_until
from tests.stage import environment_of, installed, record_of, state_of, sync

__all__ = ["held", "next_one", "problems"]

_UVS_OWN = frozenset({".gitignore", ".lock"})
"""What uv puts into each environment."""

_LOGOS = frozenset({"logo-svg.svg", "logo-32x32.png", "logo-64x64.png"})


def held(stage: Stage, act: Act) -> Iterator[str]:
    """Name the locks that somebody holds; the last threads of who was killed have time to end."""
    end = time.monotonic() + FAREWELL
    for path in stage.store.locks.rglob("*"):
        if path.is_file() and path.name != act.kernel:
            while is_held(path) and time.monotonic() < end:
                time.sleep(0.02)
            if is_held(path):
                yield f"the lock `{path.name}` is held"


def next_one(act: Act, *, start: bool) -> Iterator[str]:
    """Do what a user does next: sync each source, after a start of its kernel if that is wanted."""
    act.before_sync()
    for source in act.sources:
        try:
            if start:
                environments.start(environments.locate(source), context=Context(), wait=PATIENCE)
            sync(source)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told
            yield f"the next {'start or ' if start else ''}sync fails: {error!r}"


def problems(stage: Stage, act: Act, before: dict[str, str]) -> list[str]:
    """Tell everything that is wrong when the next start or sync is over.

    :param before: what was in the environments of the bystanders
    """
    return [
        *_sources(act),
        *_standing(stage),
        *_temporary(stage),
        *_kernelspecs(stage, act),
        *held(stage, act),
        *_differences(before, stage.content()),
    ]


def _sources(act: Act) -> Iterator[str]:
    for source, packages in act.sources.items():
        environment = environment_of(source)
        try:
            state = state_of(source)
            found = installed(environment)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told
            yield f"`status` fails: {error!r}"
            continue
        if state != "in-sync":
            yield f"`status` says {state}"
        if found != packages:
            yield f"missing: {sorted(packages - found)}, too many: {sorted(found - packages)}"
        yield from _imports(environment, packages)


def _imports(environment: Path, packages: Iterable[str]) -> Iterator[str]:
    modules = [name.replace("-", "_") for name, _, _ in (each.partition("==") for each in packages)]
    question = f"import sys, {', '.join(sorted({*modules} - {'pile'}))}; print(sys.prefix)"
    python = environment / "bin" / "python"
    try:
        answer = subprocess.run(
            [python, "-I", "-c", question], capture_output=True, text=True, check=False
        )
    except OSError as error:
        yield f"its Python cannot be started: {error}"
        return
    if answer.stdout.strip() != str(environment):
        yield f"its Python says: {answer.stdout}{answer.stderr}"


def _standing(stage: Stage) -> Iterator[str]:
    """Look at everything that has a name: it is whole."""
    store = stage.store
    for environment in _folders(store.environments):
        if (environment / CHANGING).exists():
            yield f"{environment.name} is marked as half changed"
        try:
            record_of(environment)
        except (OSError, ValueError) as error:
            yield f"{environment.name} has no record: {error!r}"
        yield from _damaged(environment / "lib", environment.name)
    for layer in _folders(store.layers):
        if find_layer(store, layer.name) is None:
            yield f"the layer {layer.name} cannot be read"
        yield from _damaged(layer, layer.name)
    for side in _folders(store.kernel_sides):
        if _digest_of(side) != side.name.removesuffix(OLD).rpartition("-")[2]:
            yield f"the kernel side {side.name} is not whole"


def _folders(folder: Path) -> list[Path]:
    return sorted(folder.glob("[!.]*"))


def _digest_of(side: Path) -> str:
    """Digest a copy of the kernel side as its name does."""
    digest = hashlib.sha256()
    for path in sorted(each for each in side.rglob("*") if each.is_file()):
        if path.suffix != ".pyc":
            name, data = path.relative_to(side).as_posix(), path.read_bytes()
            digest.update(name.encode() + b"\0" + len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()[:8]


def _damaged(folder: Path, name: str) -> Iterator[str]:
    """Compare each file under *folder* with the size and the hash that its ``RECORD`` tells."""
    for record in folder.rglob("*.dist-info/RECORD"):
        site = record.parent.parent
        with record.open(newline="") as lines:
            for path, digest, size in csv.reader(lines):
                file = site / path
                if ".." in Path(path).parts and folder.name != "lib":
                    continue  # a layer holds no commands
                if not file.exists():
                    if file.suffix != ".pyc":
                        yield f"{name}: {path} is missing"
                elif size and file.stat().st_size != int(size):
                    yield f"{name}: {path} has {file.stat().st_size} bytes instead of {size}"
                elif digest and _digest(file, digest) != digest:
                    yield f"{name}: {path} has other bytes"
    for info in folder.rglob("*.dist-info"):
        if not (info / "RECORD").is_file():
            yield f"{name}: {info.name} has no RECORD"


def _digest(file: Path, like: str) -> str:
    kind = like.partition("=")[0]
    raw = hashlib.new(kind, file.read_bytes()).digest()
    return f"{kind}={base64.urlsafe_b64encode(raw).rstrip(b'=').decode()}"


def _temporary(stage: Stage) -> Iterator[str]:
    """Name what only a work that goes on may have, and none goes on.

    But for one that nobody waits for: a thread of this process deletes what was thrown away.
    """
    store = stage.store
    with contextlib.suppress(TimeoutError):
        wait_until(lambda: not [*store.building.glob(".removed-*")], timeout=FAREWELL)
    found = [
        *store.home.glob(".*"),
        *store.environments.glob(".*"),
        *(path for path in store.environments.glob("*/.*") if path.name not in _UVS_OWN),
        *store.building.iterdir(),
        *store.layers.glob(".*"),
        *store.kernel_sides.glob(".*"),
        *store.locks.rglob(".*"),
        *(path for path in store.work.iterdir() if path.name not in _UVS_OWN | {"uv.toml"}),
    ]
    for path in found:
        yield f"left over: {path.relative_to(store.home)}"


def _kernelspecs(stage: Stage, act: Act) -> Iterator[str]:
    folder = stage.home.kernelspecs
    for spec in folder.iterdir():
        if not is_environment_name(spec.name.removeprefix("scriptenv-")):
            yield f"left over among the kernelspecs: {spec.name}"
            continue
        there = {path.name for path in spec.iterdir()}
        if there - _LOGOS != {"kernel.json"}:
            yield f"half a kernelspec: {spec.name} holds {sorted(there)}"
            continue
        argv = json.loads((spec / "kernel.json").read_bytes())["argv"]
        environment = stage.store.environments / spec.name.removeprefix("scriptenv-")
        if environment.exists() and argv[0] != str(environment / "bin" / "python"):
            yield f"the kernelspec {spec.name} starts {argv[0]}"
    for source in act.sources:
        yield from _named_by(source, folder)
        name = environment_of(source).name
        record = stage.store.record_of(EnvironmentName(name))
        wanted = record is not None and record.register
        if (folder / f"scriptenv-{name}").exists() != wanted:
            yield f"the record says register={wanted}, which the kernelspecs do not show"


def _named_by(source: Path, folder: Path) -> Iterator[str]:
    """Follow the kernel that a notebook names to its interpreter."""
    if source.suffix != ".ipynb":
        return
    name = json.loads(source.read_bytes())["metadata"]["kernelspec"]["name"]
    content = folder / name / "kernel.json"
    if content.exists():
        python = json.loads(content.read_bytes())["argv"][0]
        if not Path(python).exists():
            yield f"the kernelspec {name}, which the notebook names, starts nothing: {python}"


def _differences(before: dict[str, str], after: dict[str, str]) -> Iterator[str]:
    for path in sorted({*before} | {*after}):
        if before.get(path) != after.get(path):
            yield f"of a bystander: {path} was {before.get(path)}, is {after.get(path)}"
