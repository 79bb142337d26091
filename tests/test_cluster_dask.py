"""A Dask cluster whose workers have an environment of their own, empty but for Dask itself."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from uv import find_uv_bin

from tests.conftest import Home
from tests.kernels import Kernel, block, online, opened, pip_list, wait_until, write_notebook
from tests.stage import BASE, write_project
from tests.test_notebooks import NOTEBOOKS, run_all, text_of
from tests.web_index import WebIndex, serving

pytestmark = [online, pytest.mark.timeout(400)]


class Cluster:
    """A scheduler and workers, each a process of its own, from a virtual environment."""

    def __init__(self, folder: Path, *, uv_cache: Path) -> None:
        self.environment = folder / "cluster"
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        # Whatever installers the machine has, the workers have but their own.
        self._environ = {**os.environ, "UV_CACHE_DIR": str(uv_cache), "PATH": os.defpath}
        uv = [find_uv_bin(), "--quiet"]
        self._run(*uv, "venv", "--python", BASE, str(self.environment))
        python = str(self.environment / "bin" / "python")
        self._run(*uv, "pip", "install", "--python", python, "distributed", "uv")
        self.before = set(pip_list(self.environment))

    def start(self) -> None:
        """Start the scheduler and a worker."""
        file = self._folder / "scheduler.json"
        self._start("scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", str(file))
        # What it imports is compiled for the first time.
        self.address = wait_until(
            partial(_address_in, file), timeout=180, what="the scheduler's address"
        )
        self.add_worker()

    def add_worker(self, *options: str) -> None:
        """Start a worker; it may take a moment until the scheduler knows it."""
        self._start("worker", self.address, "--no-dashboard", "--nthreads", "1", *options)

    def end(self) -> None:
        """End all processes."""
        for process in self._processes:
            # A nanny has its worker in its group; asked to end, it takes a while.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def replace(self, *names: str, by: str) -> None:
        """Take packages away from the workers and give them another, as if by another image."""
        uv, python = find_uv_bin(), str(self.environment / "bin" / "python")
        self._run(uv, "--quiet", "pip", "uninstall", "--python", python, *names)
        self._run(uv, "--quiet", "pip", "install", "--python", python, by)

    def _run(self, *words: str) -> None:
        subprocess.run(words, env=self._environ, check=True)

    def _start(self, *words: str) -> None:
        with (self._folder / "said.log").open("ab") as said:
            self._processes.append(
                subprocess.Popen(
                    [self.environment / "bin" / "dask", *words],
                    cwd=self._folder,
                    env=self._environ,
                    stdout=said,
                    stderr=said,
                    start_new_session=True,
                )
            )


def _address_in(file: Path) -> str:
    """Give the address of the scheduler that writes *file*, in place; empty until it has ended."""
    try:
        return str(json.loads(file.read_text())["address"])
    except (FileNotFoundError, json.JSONDecodeError):
        return ""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, uv_cache: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("dask"), uv_cache=uv_cache)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.end()


@pytest.fixture
def cluster(
    ready_home: Home,  # noqa: ARG001 - it clears away settings, so it comes first
    running: Cluster,
    monkeypatch: pytest.MonkeyPatch,
) -> Cluster:
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", running.address)
    return running


@pytest.fixture
def links(index: Path) -> Iterator[WebIndex]:
    """Serve a page that links to files which are nowhere else."""
    with serving(index) as web:
        yield web


def shown(kernel: Kernel, code: str) -> str:
    """Run *code*, which must not fail, and give what it prints."""
    done = kernel.execute(code)
    assert done.status == "ok", done.traceback
    return done.stdout


def test_the_notebooks_workers_print_the_versions_of_the_notebook(
    ready_home: Home, cluster: Cluster, tmp_path: Path
) -> None:
    path = Path(shutil.copy(NOTEBOOKS / "dask.ipynb", tmp_path))

    with opened(ready_home, path) as kernel:
        executions = run_all(kernel, path)

    text = text_of(executions)
    assert [each.error for each in executions] == [None] * len(executions)
    (here,) = re.findall(r"(?m)^notebook (.+)$", text)
    (there,) = re.findall(r"(?m)^worker   (.+)$", text)
    assert there == here
    assert "2.0 billion" in text
    assert "humanize" not in cluster.before
    assert set(pip_list(cluster.environment)) == {*cluster.before, "humanize"}


def test_workers_have_what_a_notebook_has_and_nothing_else_of_them_changes(
    ready_home: Home, cluster: Cluster, tmp_path: Path, links: WebIndex
) -> None:
    project = write_project(tmp_path / "project")
    others = [pip_list(cluster.environment)["distributed"], "0.12.0"]
    more = (
        "[tool.uv.sources]\n"
        'local = { path = "project", editable = true }\n'
        'many-files = { index = "page" }\n'
        "[[tool.uv.index]]\n"
        'name = "page"\n'
        f'url = "{links.page}"\n'
        'format = "flat"\n'
        "explicit = true"
    )
    dependencies = [f"distributed=={others[0]}", f"toolz=={others[1]}", "local", "sniffio"]
    path = write_notebook(tmp_path / "nb.ipynb", block(*dependencies, "many-files", more=more))
    before = pip_list(cluster.environment)

    with opened(ready_home, path) as kernel:
        shown(
            kernel,
            "import os\n"
            "from distributed import Client\n"
            "from ipy_scriptenv.cluster import scriptenv_plugin\n"
            "client, plugin = Client(), scriptenv_plugin()\n"
            "client.wait_for_workers(1)\n"
            "def register(plugin):\n"
            "    try:\n"
            "        client.register_plugin(plugin)\n"
            "    except Exception as error:\n"
            "        print(error)\n"
            "def pids():\n"
            "    return sorted(client.run(os.getpid).values())\n",
        )
        # Whoever cannot have the packages is told before anything is installed anywhere.
        for key, value, words in (
            ("python", "3.4", r"scheduler runs Python 3\.\d+, and `.*nb.ipynb` runs 3\.4"),
            ("engine", {"distributed": "1.0"}, r"has .* of distributed, and .* has 1\.0"),
        ):
            told = shown(
                kernel, f"register(type(plugin)({{**plugin.shipment, {key!r}: {value!r}}}))"
            )
            assert re.search(words, told), told
            assert re.search(words.replace("scheduler", r"worker tcp://\S+"), told), told
            assert pip_list(cluster.environment) == before

        # Where one of them cannot be had, none is installed.
        shown(
            kernel,
            "packages = [*plugin.shipment['packages']]\n"
            "elsewhere = ['--index-url', 'file:///nowhere']\n"
            "packages += [{**packages[-1], 'name': 'nowhere', 'index': elsewhere}]\n"
            "given = {**plugin.shipment, 'packages': packages}",
        )
        assert "could not install" in shown(kernel, "register(type(plugin)(given))")
        assert pip_list(cluster.environment) == before

        # Dask has imported toolz: its worker is restarted, by its nanny, and only then.
        first = shown(kernel, "print(pids())")
        assert shown(kernel, "register(plugin)") == ""
        second = shown(kernel, "client.wait_for_workers(1); print(pids())")
        assert second != first
        expected = {**before, "toolz": "0.12.0", "local": "1.0", "sniffio": "1.3.1"}
        expected |= {"many-files": "1.0"}
        assert pip_list(cluster.environment) == expected
        shown(
            kernel,
            "def versions():\n    import local, toolz\n    return local.VERSION, toolz.__version__",
        )
        # A nanny gives up waiting for its new worker after half a minute.
        asked = "client.wait_for_workers(1); print({*client.run(versions).values()})"
        assert shown(kernel, asked) == "{('1.0', '0.12.0')}\n"
        assert shown(kernel, "register(scriptenv_plugin()); print(pids())") == second

        # If it cannot be registered again, later workers still get what it was before.
        shown(
            kernel,
            "def kept(dask_scheduler):\n"
            "    plugins = (dask_scheduler.nanny_plugins, dask_scheduler.worker_plugins)\n"
            "    return [plugin.name in each for each in plugins]\n"
            "packages = [{**each} for each in plugin.shipment['packages']]\n"
            "for each in packages:\n"
            "    # The scheduler has it loaded and keeps it.\n"
            "    each['version'] = '9' if each['name'] == 'toolz' else each['version']",
        )
        other = "type(plugin)({**plugin.shipment, 'packages': packages})"
        assert "could not install" in shown(kernel, f"register({other})")
        assert shown(kernel, "print(client.run_on_scheduler(kept))") == "[True, True]\n"

        # What was changed in the project goes to the workers when it is registered again.
        (project / "local.py").write_text("VERSION = 'mended'\n")
        assert shown(kernel, "register(scriptenv_plugin())") == ""
        assert "mended" in shown(kernel, asked)

        # One that comes later has it all before it is given anything to do, by pip as by uv.
        cluster.replace("uv", "sniffio", by="pip")
        shown(kernel, "early = client.scheduler_info(n_workers=-1)['workers']")
        cluster.add_worker("--no-nanny")
        found = shown(
            kernel,
            "from importlib.metadata import version\n"
            "client.wait_for_workers(2)\n"
            "late = {*client.scheduler_info(n_workers=-1)['workers']} - {*early}\n"
            "print(client.submit(version, 'sniffio', workers=[*late]).result())",
        )
        assert found == "1.3.1\n"

        # One that cannot have it says so where the notebook's user sees it.
        shown(
            kernel,
            "kind = type(plugin).start.__globals__['_OnWorker']\n"
            "try:\n"
            "    client.register_plugin(kind({**plugin.shipment, 'python': '3.4'}), name='late')\n"
            "except RuntimeError:\n"
            "    client.unregister_worker_plugin('late')",
        )
        told = wait_until(lambda: shown(kernel, "print(*client.get_events('warn'))").strip())
        assert re.search(r"runs Python 3\.\d+, and `.*nb.ipynb` runs 3\.4", told), told

        # A cluster in the notebook's own process lacks nothing, and nothing is done to it.
        shown(
            kernel,
            "from distributed import LocalCluster\n"
            "with LocalCluster(processes=False, dashboard_address=None) as inside:\n"
            "    with Client(inside, set_as_default=False) as within:\n"
            "        within.register_plugin(scriptenv_plugin())",
        )

        # Two notebooks with other versions would take them from each other.
        told = shown(
            kernel,
            "packages = [{**each, 'version': '9'} for each in plugin.shipment['packages']]\n"
            "other = {'name': 'other', 'source': '`other.ipynb`', 'packages': packages}\n"
            "register(type(plugin)({**plugin.shipment, **other}))",
        )
        assert "Workers have one environment" in told
        told = shown(
            kernel,
            "build = {'digest': 'other', 'file': '', 'data': b''}\n"
            "packages = [{**each, 'wheel': build} for each in plugin.shipment['packages']]\n"
            "register(type(plugin)({**plugin.shipment, **other, 'packages': packages}))",
        )
        assert "has given this cluster local 1.0, and `other.ipynb` has another build" in told

        (name,) = re.findall(r"unregister `(scriptenv-nb-\w+)` first", told)

        # What is for another system is not in their way.
        assert not shown(
            kernel,
            "plugin, absent = scriptenv_plugin(), \"sys_platform == 'other'\"\n"
            "packages = plugin.shipment['packages']\n"
            "more = [{**each, 'version': '9', 'marker': absent} for each in packages]\n"
            "packages = {'packages': [*packages, *more]}\n"
            "register(type(plugin)({**plugin.shipment, **other, **packages}))",
        )

        # What was registered can be taken back.
        told = shown(
            kernel,
            f"client.unregister_worker_plugin({name!r}, nanny=True)\n"
            f"client.unregister_worker_plugin({name!r})\n"
            f"client.unregister_scheduler_plugin({name!r})\n"
            "packages = [{**each, 'version': '9'} for each in plugin.shipment['packages']]\n"
            "register(type(plugin)({**plugin.shipment, **other, 'packages': packages}))",
        )
        assert re.search("Nothing was installed.*no nanny", told, re.DOTALL), told
