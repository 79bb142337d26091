"""What a Dask cluster is given, as this very text: a plugin, and what it does on each machine.

It travels as its source, in one piece, because byte code of another Python would not load, and then
nobody could say so. It runs in the cluster's Python, where nothing of ours is: standard library,
distributed and packaging alone, which distributed needs itself.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from typing import Any

from distributed.core import clean_exception
from distributed.diagnostics.plugin import InstallPlugin, NannyPlugin, WorkerPlugin
from distributed.protocol.pickle import dumps
from distributed.protocol.serialize import Serialize, Serialized, deserialize
from distributed.semaphore import Semaphore
from packaging.markers import Marker

__all__ = ["ScriptEnvInstall"]

if "TEXT" not in globals():
    with open(__file__, encoding="utf-8") as _file:
        TEXT = _file.read()

_OPENED = """(lambda space: (exec(text, space), space[kind](shipment))[1])(
    {"__name__": "scriptenv_on_workers", "TEXT": text})"""


class _Travelling:
    """Pickled as this text and its shipment; nothing else need be importable where it arrives."""

    def __init__(self, shipment: dict[str, Any]) -> None:
        self.shipment = shipment

    def __reduce__(self) -> Any:
        space = {"text": TEXT, "kind": type(self).__name__, "shipment": self.shipment}
        return eval, (_OPENED, space)


class ScriptEnvInstall(_Travelling, InstallPlugin):
    """Gives the scheduler and every worker, now and later, the packages of a notebook.

    Everybody is looked at first, so that nothing is installed anywhere if one cannot have them.
    """

    # A notebook whose packages have changed is registered again.
    idempotent = False

    def __init__(self, shipment: dict[str, Any]) -> None:
        InstallPlugin.__init__(self, _Install(shipment), restart_workers=True)
        self.shipment = shipment
        self.name = f"scriptenv-{shipment['name']}"

    async def start(self, scheduler: Any) -> None:
        """Install; called by the scheduler when the plugin is registered.

        :raises RuntimeError: with what is wrong, and where
        """
        self._scheduler = scheduler
        if InstallPlugin._lock is None:
            InstallPlugin._lock = asyncio.Lock()
        async with InstallPlugin._lock:
            _refuse_rivals(scheduler, self.shipment)
            stale = await self._looked_at(scheduler)
            await asyncio.to_thread(_Install(self.shipment), keep=imported(self.shipment))
            here = {**self.shipment, "stale": stale}
            plugins = (scheduler.nanny_plugins, scheduler.worker_plugins)
            before = [each.get(self.name) for each in plugins]
            try:
                for plugin, register in (
                    (_OnNanny(here), scheduler.register_nanny_plugin),
                    (_OnWorker(self.shipment), scheduler.register_worker_plugin),
                ):
                    answers = await register(
                        comm=None, plugin=dumps(plugin), name=self.name, idempotent=False
                    )
                    _raise_first(answers)
            except BaseException:
                # Workers that come later would fail in the same way; they get what it was before.
                for each, old in zip(plugins, before):
                    each.pop(self.name, None)
                    if old is not None:
                        each[self.name] = old
                raise
            if self.name in scheduler.nanny_plugins:
                scheduler.nanny_plugins[self.name] = dumps(_OnNanny(self.shipment))
            scheduler.plugins.pop(self.name, None)

    async def close(self) -> None:
        """Do nothing: the cluster ends, and its workers with it."""

    async def _looked_at(self, scheduler: Any) -> list[str]:
        """Ask the scheduler and all workers what they lack; give the workers to be restarted."""
        problems = obstacles(self.shipment, "The scheduler")
        message = {"op": "run", "function": dumps(_Look(self.shipment)), "wait": True}
        answers = await scheduler.broadcast(msg={**message, "args": dumps(()), "kwargs": {}})
        stale = []
        for address, answer in answers.items():
            _raise_first({address: answer})
            found = _opened(answer["result"])
            problems += found["problems"]
            stale += [address] if found["stale"] else []
        if problems:
            raise RuntimeError("\n".join(["Nothing was installed.", *problems[:9]]))
        return stale


class _Look(_Travelling):
    """Says what stands in a worker's way, and what it has imported that would change."""

    def __call__(self, dask_worker: Any) -> dict[str, list[str]]:
        problems = obstacles(self.shipment, f"The worker {dask_worker.address}")
        stale = [] if problems else imported(self.shipment)
        if stale and dask_worker.nanny is None:
            names = ", ".join(stale)
            problems.append(
                f"The worker {dask_worker.address} has imported other versions of {names}, and "
                "has no nanny that could restart it. Start it with one, or start it anew with "
                "the notebook's versions."
            )
        return {"problems": problems, "stale": stale}


class _OnNanny(_Travelling, NannyPlugin):
    """Installs beside a worker's process, and restarts that if it has imported what changed."""

    restart = False

    async def setup(self, nanny: Any) -> None:
        """Install; called by the nanny, for later workers before their process is started."""
        await _install_in_turn(self.shipment, nanny)
        self.restart = nanny.worker_address in self.shipment.get("stale", ())


class _OnWorker(_Travelling, WorkerPlugin):
    """Installs in workers without a nanny; all others have it by then."""

    async def setup(self, worker: Any) -> None:
        """Install; called by the worker."""
        try:
            await _install_in_turn(self.shipment, worker)
        except RuntimeError as error:
            # Of one that comes later, Dask says so in that worker's log alone: tell the clients.
            told = {"message": dumps(str(error)), "category": dumps(UserWarning)}
            worker.log_event("warn", told)
            raise
        importlib.invalidate_caches()


class _Install(_Travelling):
    """What :class:`InstallPlugin` calls an installing function."""

    def __call__(self, keep: Any = ()) -> None:
        """Install what is lacking, but for the names in *keep*."""
        lack = [each for each in lacking(self.shipment) if each["name"] not in keep]
        install(lack, self.shipment["indexes"], self.shipment["strategy"])


async def _install_in_turn(shipment: dict[str, Any], server: Any) -> None:
    """Install what is lacking: one at a time on each host, which may be one environment.

    :raises RuntimeError: if that cannot be, or fails
    """
    problems = obstacles(shipment, f"The worker {server.address}")
    if problems:
        raise RuntimeError("\n".join(problems))
    if not lacking(shipment):
        return
    # Under the host's own name, as the other installing plugins of distributed.
    turn = await Semaphore(
        max_leases=1, name=socket.gethostname(), scheduler_rpc=server.scheduler, loop=server.loop
    )
    async with turn:
        await asyncio.to_thread(_Install(shipment))


def obstacles(shipment: dict[str, Any], who: str) -> list[str]:
    """Say why this Python cannot have the packages, a sentence each and what to do."""
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    source = shipment["source"]
    if python != shipment["python"]:
        problem = (
            f"{who} runs Python {python}, and {source} runs {shipment['python']}. Start the "
            f'cluster with that Python, or say `requires-python = "=={python}.*"` in the block.'
        )
        return [problem]
    if os.path.exists(os.path.join(sys.prefix, "scriptenv.json")) and not _is_own(shipment):
        problem = (
            f"{who} runs in `{sys.prefix}`, the environment of another notebook, which is left "
            "alone. Start it from an environment of its own."
        )
        return [problem]
    problems = []
    for name, version in shipment["engine"].items():
        found = _distribution(name)
        if found is None or found.version != version:
            has = "no" if found is None else f"{found.version} of"
            problems.append(
                f"{who} has {has} {name}, and {source} has {version}. They speak with each other "
                "by it: declare the cluster's version in the block, or start the cluster with "
                "the notebook's."
            )
    return problems


def lacking(shipment: dict[str, Any]) -> list[dict[str, Any]]:
    """List the packages that are not here as the notebook has them."""
    if _is_own(shipment):
        return []
    return [each for each in shipment["packages"] if _is_for_here(each) and not _is_here(each)]


def imported(shipment: dict[str, Any]) -> list[str]:
    """Name the packages of which this process has imported another version."""
    loaded = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    found = []
    for each in lacking(shipment):
        here = _distribution(each["name"])
        files = () if here is None else here.files or ()
        if here and any(str(here.locate_file(file)) in loaded for file in files):
            found.append(each["name"])
    return found


def install(packages: list[dict[str, Any]], indexes: list[str], strategy: str | None) -> None:
    """Install exactly these, with uv where it is here, otherwise with pip.

    :param strategy: how uv chooses among several indexes; pip has no choice

    :raises RuntimeError: in the words of the installer
    """
    by_index: dict[tuple[str, ...], list[str]] = {}
    with tempfile.TemporaryDirectory(prefix="scriptenv-") as folder:
        wheels = []
        for each in packages:
            wheel = each.get("wheel")
            if wheel is None:
                places = tuple(each["index"] or indexes)
                by_index.setdefault(places, []).append(f"{each['name']}=={each['version']}")
                continue
            # The folder is noted with what is installed: by it the wheel is known again.
            place = os.path.join(folder, wheel["digest"])
            os.makedirs(place, exist_ok=True)
            wheels.append(os.path.join(place, wheel["file"]))
            with open(wheels[-1], "wb") as file:
                file.write(wheel["data"])
        chosen = [] if strategy is None else ["--index-strategy", strategy]
        calls: list[tuple[Any, ...]] = [
            (pins, [*places], chosen, []) for places, pins in by_index.items()
        ]
        if wheels:
            calls.append((wheels, ["--no-index"], ["--reinstall"], ["--force-reinstall"]))
        # Where one of several calls would fail, the others are not to have changed anything.
        for is_trial in (True, False) if len(calls) > 1 else (False,):
            for words in calls:
                _run(*words, is_trial=is_trial)
    importlib.invalidate_caches()


def _run(
    wanted: list[str], options: list[str], for_uv: list[str], for_pip: list[str], *, is_trial: bool
) -> None:
    """Run the installer for this Python; requirements among the others are there already.

    :param is_trial: whether nothing is to be changed; older versions of pip cannot do that
    """
    uv = ["pip", "install", "--python", sys.executable, *for_uv, *["--dry-run"] * is_trial]
    if shutil.which("uv"):
        argv = ["uv", *uv]
    elif importlib.util.find_spec("uv"):
        argv = [sys.executable, "-m", "uv", *uv]
    elif importlib.util.find_spec("pip"):
        if is_trial:
            return
        argv = [sys.executable, "-m", "pip", "install", "--no-input"]
        argv += ["--disable-pip-version-check", *for_pip]
    else:
        msg = f"{_place()} has neither uv nor pip. Install one of them there."
        raise RuntimeError(msg)
    done = subprocess.run(
        [*argv, "--no-deps", *options, *wanted],
        capture_output=True,
        text=True,
        check=False,
        errors="replace",
    )
    if done.returncode != 0:
        msg = f"{_place()} could not install the notebook's packages:\n{done.stderr.strip()}"
        raise RuntimeError(msg)


def _refuse_rivals(scheduler: Any, shipment: dict[str, Any]) -> None:
    """Make sure that no other notebook has given this cluster other versions.

    :raises RuntimeError: if one has
    """
    wanted = {each["name"]: each for each in shipment["packages"] if _is_for_here(each)}
    for name, plugin in list(scheduler.plugins.items()):
        other = getattr(plugin, "shipment", None)
        if not isinstance(other, dict) or other.get("name") in (None, shipment["name"]):
            continue
        for each in filter(_is_for_here, other["packages"]):
            own = wanted.get(each["name"], each)
            wheels = {some["wheel"]["digest"] for some in (own, each) if "wheel" in some}
            if own["version"] == each["version"] and len(wheels) <= 1:
                continue
            version = own["version"] if own["version"] != each["version"] else "another build"
            msg = (
                f"{other['source']} has given this cluster {each['name']} {each['version']}, "
                f"and {shipment['source']} has {version}. Workers have one environment: use "
                f"another cluster, the same versions, or unregister `{name}` first."
            )
            raise RuntimeError(msg)


def _raise_first(answers: dict[str, Any]) -> None:
    """Raise the first exception among the answers of workers or nannies."""
    for answer in answers.values():
        if answer.get("status") == "error":
            _, error, _ = clean_exception(_opened(answer["exception"]))
            raise error or RuntimeError(answer.get("exception_text"))


def _opened(value: Any) -> Any:
    """Give what a worker has answered; one in the scheduler's own process sends it as it is."""
    if isinstance(value, Serialize):
        return value.data
    return deserialize(value.header, value.frames) if isinstance(value, Serialized) else value


def _is_own(shipment: dict[str, Any]) -> bool:
    """Say whether this process runs in the notebook's own environment, as a local cluster does."""
    return os.path.realpath(sys.prefix) == os.path.realpath(str(shipment["environment"]))


def _is_for_here(package: dict[str, Any]) -> bool:
    marker = package["marker"]
    return marker is None or bool(Marker(marker).evaluate())


def _is_here(package: dict[str, Any]) -> bool:
    found = _distribution(package["name"])
    wheel = package.get("wheel")
    if found is None or wheel is None:
        return found is not None and found.version == package["version"]
    # A project that is worked on may keep its version.
    return wheel["digest"] in (found.read_text("direct_url.json") or "")


def _distribution(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def _place() -> str:
    return f"`{sys.executable}` on {socket.gethostname()}"
