"""Another provisioner launches what ours has prepared (``config.inner``)."""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from jupyter_client.provisioning.factory import KernelProvisionerFactory

from ipy_scriptenv.delegating import Delegating
from ipy_scriptenv.kernels import specs
from tests.conftest import Home
from tests.jupyter_server import running_lab
from tests.kernels import (
    Kernel,
    block,
    environment_of,
    install_generic,
    kernelspec_of,
    made,
    prefix,
    started,
    wait_until,
    write_notebook,
)

_RELAY = """
import signal, subprocess, sys
child = subprocess.Popen(sys.argv[1:])
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, _frame: child.send_signal(number))
sys.exit(child.wait())
"""

_PROVISIONER = '''
import asyncio, json, os, signal, subprocess, sys
from jupyter_client.connect import LocalPortCache, port_names
from jupyter_client.provisioning.local_provisioner import LocalProvisioner
from jupyter_client.provisioning.provisioner_base import KernelProvisionerBase
from traitlets import Unicode


class Relayed(KernelProvisionerBase):
    """Launches through a process that stands between; tells in a journal what it is asked for."""

    journal = Unicode(config=True)
    fails = Unicode(config=True)
    relay = pid = None

    def note(self, what, **more):
        with open(self.journal, "a") as file:
            print(json.dumps({"asked": what, **more}), file=file)
        if os.path.exists(self.fails) and open(self.fails).read() == what:
            raise RuntimeError(f"the cluster is full: {what}")

    @property
    def has_process(self):
        return self.relay is not None

    async def poll(self):
        return self.relay.poll() if self.relay else 0

    async def wait(self):
        self.note("wait")
        while self.relay.poll() is None:
            await asyncio.sleep(0.05)
        code, self.relay, self.pid = self.relay.returncode, None, None
        return code

    async def send_signal(self, signum):
        self.note("send_signal", signum=int(signum))
        self.relay.send_signal(signum)

    async def kill(self, restart=False):
        self.note("kill", restart=restart)
        self.relay.send_signal(signal.SIGTERM)

    async def terminate(self, restart=False):
        self.note("terminate", restart=restart)
        self.relay.send_signal(signal.SIGTERM)

    async def pre_launch(self, **kwargs):
        self.note("pre_launch")
        kwargs.pop("transport_encryption", None)
        kwargs.pop("extra_arguments", None)
        if not self.parent.shell_port:
            for name in port_names:
                port = LocalPortCache.instance().find_available_port(self.parent.ip)
                setattr(self.parent, name, port)
        self.parent.write_connection_file()
        self.connection_info = self.parent.get_connection_info()
        file = self.parent.connection_file
        command = [word.replace("{connection_file}", file) for word in self.kernel_spec.argv]
        return await super().pre_launch(cmd=command, **kwargs)

    async def launch_kernel(self, cmd, **kwargs):
        self.note("launch_kernel", cmd=cmd)
        relay = os.path.join(os.path.dirname(__file__), "relay.py")
        env, cwd = kwargs["env"], kwargs["cwd"]
        self.relay = subprocess.Popen([sys.executable, relay, *cmd], env=env, cwd=cwd)
        self.pid = self.relay.pid
        return self.connection_info

    async def post_launch(self, **kwargs):
        self.note("post_launch")

    async def cleanup(self, restart=False):
        self.note("cleanup", restart=restart)

    async def shutdown_requested(self, restart=False):
        self.note("shutdown_requested", restart=restart)

    def get_shutdown_wait_time(self, recommended=5.0):
        return 7.0

    def get_stable_start_time(self, recommended=10.0):
        return 13.0

    async def get_provisioner_info(self):
        return {**await super().get_provisioner_info(), "relay": self.pid}

    async def load_provisioner_info(self, provisioner_info):
        await super().load_provisioner_info(provisioner_info)
        self.pid = provisioner_info["relay"]


class Niced(LocalProvisioner):
    """Of the local kind: it takes the manager's command, and puts words of its own before it."""

    async def pre_launch(self, **kwargs):
        kwargs = await super().pre_launch(**kwargs)
        return {**kwargs, "cmd": ["env", "NICED=1", *kwargs["cmd"]]}


class Stubborn(LocalProvisioner):
    """Launches a program of its own, whatever it is told."""

    async def pre_launch(self, **kwargs):
        kwargs = await super().pre_launch(**kwargs)
        return {**kwargs, "cmd": ["sleep", "60"]}
'''

_ENTRY_POINTS = """
[jupyter_client.kernel_provisioners]
relayed = cluster_of_tests:Relayed
niced = cluster_of_tests:Niced
stubborn = cluster_of_tests:Stubborn
"""


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install a distribution with provisioners where Jupyter's server finds it; give its folder."""
    folder = tmp_path / "cluster"
    info = folder / "cluster_of_tests-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "cluster_of_tests.py").write_text(_PROVISIONER)
    (folder / "relay.py").write_text(_RELAY)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: cluster-of-tests\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(_ENTRY_POINTS)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.syspath_prepend(folder)
    # What this process and its factory have found once they keep.
    monkeypatch.delitem(sys.modules, "cluster_of_tests", raising=False)
    KernelProvisionerFactory.clear_instance()
    return folder


def config(folder: Path, inner: str = "relayed", **more: Any) -> dict[str, Any]:
    """Give what a kernelspec says of our provisioner."""
    own = {"journal": str(folder / "journal"), "fails": str(folder / "fails")}
    return {"inner": inner, "inner_config": own if inner == "relayed" else {}, **more}


def journal(folder: Path) -> list[dict[str, Any]]:
    """Give what the inner provisioner was asked for, in order."""
    path = folder / "journal"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def asked(folder: Path) -> list[str]:
    return [each["asked"] for each in journal(folder)]


def configure(spec: Path, value: dict[str, Any]) -> None:
    """Configure the provisioner in a kernelspec, as its user does."""
    data = json.loads((spec / "kernel.json").read_text())
    data["metadata"]["kernel_provisioner"]["config"] = value
    (spec / "kernel.json").write_text(json.dumps(data))


def configured(home: Home, value: dict[str, Any]) -> str:
    """Install the generic kernelspec under another name, its provisioner configured; give that."""
    made_from = home.kernelspecs / install_generic(home)
    shutil.copytree(made_from, home.kernelspecs / "cluster", dirs_exist_ok=True)
    configure(home.kernelspecs / "cluster", value)
    return "cluster"


@contextmanager
def opened(home: Home, path: Path, value: dict[str, Any]) -> Iterator[Kernel]:
    """Open a notebook on the generic kernel, configured so."""
    name = configured(home, value)
    variables = {"JPY_SESSION_NAME": str(path)}
    with started(name, env=variables, cwd=path.parent, kill=True) as kernel:
        yield kernel


def test_another_provisioner_launches_restarts_interrupts_and_ends_it_under_a_real_server(
    offline_home: Home, cluster: Path, tmp_path: Path
) -> None:
    with running_lab(tmp_path / "work") as lab:
        path = write_notebook(lab.root / "nb.ipynb", block("alpha==1.0"))
        name = configured(offline_home, config(cluster))
        with lab.opened("nb.ipynb", name) as (session, kernel):
            where = (
                "import os, sys, alpha\n[sys.prefix, os.getppid(), os.getpid(), alpha.__version__]"
            )

            def process() -> psutil.Process:
                done = kernel.execute(where)
                assert done.result is not None, done
                place, relay, pid, version = json.loads(done.result.replace("'", '"'))
                assert Path(place) == environment_of(offline_home, path)
                assert version == "1.0"
                assert "relay.py" in " ".join(psutil.Process(relay).cmdline())
                return psutil.Process(pid)

            first = process()
            assert asked(cluster) == ["pre_launch", "launch_kernel", "post_launch"]

            # The source's own kernelspec launches likewise, and keeps that when it is renewed.
            own = lab.kernelspecs()[kernelspec_of(path)]["spec"]
            assert own["metadata"]["kernel_provisioner"]["config"] == config(cluster)
            # A provisioner may be configured with a password.
            written = offline_home.kernelspecs / kernelspec_of(path) / "kernel.json"
            assert stat.S_IMODE(written.stat().st_mode) == 0o600

            kernel_path = f"api/kernels/{session['kernel']['id']}"
            request = kernel.begin("import time\nprint('at it', flush=True)\ntime.sleep(60)")
            kernel.wait_for(request, "at it")
            lab.request("POST", f"{kernel_path}/interrupt")
            assert kernel.collect(request).reply["ename"] == "KeyboardInterrupt"
            assert journal(cluster)[-1] == {"asked": "send_signal", "signum": 2}

            lab.request("POST", f"{kernel_path}/restart")
            kernel.settle()
            second = process()
            assert not first.is_running()
            told = [each for each in journal(cluster) if "restart" in each]
            assert {"asked": "shutdown_requested", "restart": True} in told
            assert {"asked": "cleanup", "restart": True} in told

            # It dies by itself: the server starts it again, through the same.
            second.kill()
            kernel.wait_for_restart()
            third = process()
        wait_until(lambda: not third.is_running(), what="the kernel's end")
    assert journal(cluster)[-1] == {"asked": "cleanup", "restart": False}
    assert asked(cluster).count("launch_kernel") == 3


def test_what_others_read_off_a_provisioner_is_what_the_inner_one_knows(
    offline_home: Home, cluster: Path, path: Path
) -> None:
    with opened(offline_home, path, config(cluster)) as kernel:
        assert kernel.manager is not None
        ours: Any = kernel.manager.provisioner
        assert ours.has_process
        assert kernel.execute("import os; os.getppid()").result == str(ours.pid)
        assert ours.connection_info["shell_port"] == kernel.manager.shell_port
        assert ours.get_shutdown_wait_time(5.0) == 7.0
        assert ours.get_stable_start_time(10.0) == 13.0
        info = _now(ours.get_provisioner_info())
        assert (info["inner"], info["relay"]) == ("relayed", ours.pid)

        again: Any = KernelProvisionerFactory.instance().create_provisioner_instance(
            "again", kernel.manager.kernel_spec, parent=kernel.manager
        )
        _now(again.load_provisioner_info(info))
        assert again.pid == ours.pid
        assert not again.has_process  # of this one: it has no handle of the process


def _now(awaitable: Any) -> Any:
    """Give what a coroutine returns that awaits nothing."""
    try:
        awaitable.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waits")


def test_one_of_the_local_kind_and_a_command_around_the_kernel_s_own(
    offline_home: Home, cluster: Path, path: Path
) -> None:
    argv = ["env", "WRAPPED=1", "{scriptenv}", "-f", "{connection_file}"]
    variables = "import os\n[os.environ.get(n) for n in ('NICED', 'WRAPPED')]"
    with opened(offline_home, path, config(cluster, "niced", inner_argv=argv)) as kernel:
        assert kernel.execute(variables).result == "['1', '1']"
        assert prefix(kernel) == environment_of(offline_home, path)
    with opened(offline_home, path, config(cluster, inner_argv=argv)) as kernel:
        assert kernel.execute(variables).result == "[None, '1']"
    assert journal(cluster)[1]["cmd"][:2] == ["env", "WRAPPED=1"]


def test_jupyter_s_configuration_names_it_for_all_kernelspecs(
    offline_home: Home, cluster: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jupyter_client.manager import KernelManager
    from traitlets.config import Config

    made(offline_home, path)
    chosen = Config({"ScriptEnvProvisioner": config(cluster)})
    original = KernelManager.__init__

    def with_config(self: KernelManager, *arguments: Any, **more: Any) -> None:
        original(self, *arguments, **{"config": chosen, **more})

    monkeypatch.setattr(KernelManager, "__init__", with_config)
    with started(kernelspec_of(path), cwd=path.parent) as kernel:
        assert prefix(kernel) == environment_of(offline_home, path)
    assert "launch_kernel" in asked(cluster)
    # It stands in the configuration, not in the kernelspec.
    spec = json.loads((offline_home.kernelspecs / kernelspec_of(path) / "kernel.json").read_text())
    assert "config" not in spec["metadata"]["kernel_provisioner"]


def test_where_it_cannot_launch_a_kernel_says_why_and_a_restart_never_raises(
    offline_home: Home, cluster: Path, path: Path
) -> None:
    fails = cluster / "fails"
    with opened(offline_home, path, config(cluster)) as kernel:
        assert kernel.execute("1 + 1").result == "2"
        for step in ("pre_launch", "launch_kernel"):
            fails.write_text(step)
            kernel.restart()
            done = kernel.execute("1 + 1")
            assert f"the cluster is full: {step}" in done.traceback
        # The cause is gone: the next restart goes through it again.
        fails.unlink()
        kernel.restart()
        assert kernel.execute("1 + 1").result == "2"
        assert psutil.Process(kernel.pid).cmdline()[1].endswith("relay.py")


@pytest.mark.parametrize(
    ("inner", "message"),
    [
        ("no-such-cluster", "There is no kernel provisioner `no-such-cluster`"),
        (specs.PROVISIONER, "it cannot launch through itself"),
        ("stubborn", "a command of its own"),
    ],
)
def test_one_that_is_not_there_is_ours_or_starts_something_else_is_explained(
    offline_home: Home, cluster: Path, path: Path, inner: str, message: str
) -> None:
    with opened(offline_home, path, config(cluster, inner)) as kernel:
        assert message in kernel.execute("1 + 1").traceback


def test_without_one_it_is_the_local_provisioner_itself(offline_home: Home, path: Path) -> None:
    with opened(offline_home, path, {}) as kernel:
        assert kernel.manager is not None
        ours: Any = kernel.manager.provisioner
        assert type(ours).__bases__ == (Delegating,)
        assert ours.process.pid == ours.pid == kernel.pid
        assert os.getpgid(kernel.pid) == ours.pgid
        assert psutil.Process(kernel.pid).ppid() == os.getpid()
        assert ours.resolve_path("nb.ipynb") == path.as_posix()
