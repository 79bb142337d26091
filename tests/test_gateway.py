"""JupyterLab that has its kernels on a kernel gateway: two processes, each with its own home."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from ipy_scriptenv.identity import file_environment_name
from tests.conftest import Home, Layers
from tests.jupyter_server import Execution, JupyterServer, Refused, running_lab
from tests.kernels import block, wait_until, write_notebook

ALPHA = block("alpha==1.0") + "import alpha, sys\n[sys.prefix, alpha.__version__]"

_FOLDERS = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "SCRIPTENV_HOME")
_PASSED_ON = (
    "JUPYTER_DATA_DIR",
    "SCRIPTENV_HOME",
    "UV_CACHE_DIR",
    "UV_FIND_LINKS",
    "UV_NO_INDEX",
    "UV_OFFLINE",
)


@pytest.fixture
def far(home: Home, tmp_path: Path, layers: Layers) -> Home:
    """Give the home on the gateway's side; nothing but the kernel layer is in it."""
    path = tmp_path / "far"
    path.mkdir()
    far = replace(
        home, path=path, scriptenv=path / "scriptenv_home", jupyter_data=path / "jupyter_data_dir"
    )
    layers.link(far)
    return far


@contextmanager
def running_gateway(far: Home) -> Iterator[JupyterServer]:
    """Run a kernel gateway in that home, until the block is left."""
    program = shutil.which("jupyter-kernelgateway", path=str(Path(sys.executable).parent))
    assert program is not None, "run `make test`: it installs the kernel gateway"
    port, token, log = _free_port(), secrets.token_hex(16), far.path / "gateway.log"
    variables = {name: str(far.path / name.lower()) for name in _FOLDERS}
    command = [
        program,
        "--KernelGatewayApp.ip=127.0.0.1",
        f"--KernelGatewayApp.port={port}",
        "--KernelGatewayApp.port_retries=0",
        f"--KernelGatewayApp.auth_token={token}",
        *(f"--KernelGatewayApp.env_process_whitelist={name}" for name in _PASSED_ON),
        "--JupyterWebsocketPersonality.env_whitelist=JPY_SESSION_NAME",
        "--JupyterWebsocketPersonality.list_kernels=True",
    ]
    environ = {**os.environ, **variables, "HOME": str(far.path)}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=far.path, env=environ, stdout=output, stderr=subprocess.STDOUT
        )
    url = f"http://127.0.0.1:{port}/"
    gateway = JupyterServer(url=url, token=token, root=far.path, log=log, pid=process.pid)

    def answers() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            return bool(gateway.kernelspecs())
        except (OSError, Refused):
            return False

    try:
        wait_until(answers, timeout=60, what="the gateway's answer")
        yield gateway
    finally:
        process.terminate()
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    """Give a port that nobody has, and that nobody gets by chance until the gateway takes it.

    The system gives those above to whoever asks for any, and other tests do so all the time.
    """
    while True:
        port = 20_000 + secrets.randbelow(10_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def told(execution: Execution) -> tuple[Path, str]:
    """Give where the kernel's environment is, and alpha's version there."""
    assert execution.result is not None, execution.error
    place, version = eval(execution.result)  # noqa: S307 - our own list of strings
    return Path(place), version


@pytest.mark.usefixtures("offline")
def test_a_notebook_s_kernel_on_a_gateway_is_in_its_environment_there_or_in_one_that_goes_with_it(
    home: Home, far: Home, tmp_path: Path
) -> None:
    environments = far.scriptenv / "environments-v1"
    with running_gateway(far) as gateway:
        options = (
            f"--gateway-url={gateway.url}",
            f"--GatewayClient.auth_token={gateway.token}",
            "--GatewayClient.allowed_envs=JPY_SESSION_NAME",
        )
        with running_lab(tmp_path / "work", *options) as lab:
            assert "scriptenv" in lab.kernelspecs()

            # A path that the gateway does not have. Nothing stands there yet.
            assert not [*environments.iterdir()]
            with lab.opened("only-here.ipynb") as (_, kernel):
                place, version = told(kernel.execute(ALPHA))
                assert (place.parent, version) == (environments, "1.0")
                assert place.name.startswith("ephemeral-")
                newer = ALPHA.replace('"alpha==1.0"', '"alpha==1.0", "beta"')
                done = kernel.execute(newer + "\nimport beta; beta.__version__")
                assert done.result == "'1.0'", done
            wait_until(lambda: not place.exists(), what="the end of the ephemeral environment")

            # One that both sides see: its environment stands for good.
            path = write_notebook(lab.root / "both.ipynb", ALPHA)
            stable = environments / file_environment_name(path.resolve())
            with lab.opened("both.ipynb") as (session, kernel):
                assert told(kernel.execute(ALPHA)) == (stable, "1.0")
                lab.restart_kernel(session["kernel"]["id"])
                kernel.settle()
                assert told(kernel.execute(ALPHA)) == (stable, "1.0")
            assert stable.exists()
            # What the gateway registered for it is in the picker here.
            own = f"scriptenv-{stable.name}"
            assert lab.kernelspecs()[own]["spec"]["argv"][0].startswith(str(stable))
            with lab.opened("both.ipynb", own) as (_, kernel):
                assert told(kernel.execute(ALPHA)) == (stable, "1.0")

        # A client that passes no variables on: its path is not known at all.
        started = gateway.start_kernel("scriptenv")
        with gateway.connect(started["id"]) as kernel:
            place, version = told(kernel.execute(ALPHA))
        assert (place.name.partition("-")[0], version) == ("ephemeral", "1.0")
        gateway.delete_kernel(started["id"])
    # Nothing is made on the side that only shows the notebook.
    assert not (home.scriptenv / "environments-v1").exists() or not any(
        (home.scriptenv / "environments-v1").iterdir()
    )
