"""A Ray cluster whose nodes have an environment of their own, empty but for Ray itself."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from uv import find_uv_bin

from tests.conftest import Home
from tests.kernels import online, opened, pip_list, wait_until
from tests.stage import BASE
from tests.test_notebooks import NOTEBOOKS, run_all, text_of

# Ray is installed and started, which alone takes most of a minute where much else goes on.
pytestmark = [online, pytest.mark.timeout(400)]


@pytest.fixture
def environment(
    ready_home: Home,  # noqa: ARG001 - it sets the stage
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Path]:
    """Start a cluster of one node, and give the environment that it runs in."""
    environment = tmp_path / "cluster"
    uv = [find_uv_bin(), "--quiet"]
    subprocess.run([*uv, "venv", "--python", BASE, environment], check=True)
    python = str(environment / "bin" / "python")
    needs = ["ray", "uv", "virtualenv"]
    subprocess.run([*uv, "pip", "install", "--python", python, *needs], check=True)
    # Ray's sockets are in there, and their paths may not be long. Its workers end a moment after
    # it, and write there until then.
    with tempfile.TemporaryDirectory(
        prefix="ray-", dir="/tmp", ignore_cleanup_errors=True
    ) as folder:
        options = ["--node-ip-address", "127.0.0.1", "--port", "0", "--temp-dir", folder]
        options += ["--num-cpus", "1", "--object-store-memory", "80000000", "--block"]
        options += ["--include-dashboard", "false", "--disable-usage-stats"]
        with (tmp_path / "said.log").open("wb") as said:
            process = subprocess.Popen(
                [environment / "bin" / "ray", "start", "--head", *options],
                env={**os.environ, "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"},
                stdout=said,
                stderr=said,
            )
        try:
            file = Path(folder, "ray_current_cluster")
            # Half a dozen servers start before it is told.
            wait_until(lambda: file.is_file() and file.read_text(), timeout=180, what="its address")
            monkeypatch.setenv("RAY_ADDRESS", file.read_text().strip())
            yield environment
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def test_the_notebooks_tasks_print_the_versions_of_the_notebook(
    ready_home: Home, environment: Path, tmp_path: Path
) -> None:
    path = Path(shutil.copy(NOTEBOOKS / "ray.ipynb", tmp_path))
    before = pip_list(environment)

    with opened(ready_home, path) as kernel:
        executions = run_all(kernel, path)

    text = text_of(executions)
    assert [each.error for each in executions] == [None] * len(executions)
    (here,) = re.findall(r"(?m)^notebook (.+)$", text)
    (there,) = re.findall(r"(?m)^task     (.+)$", text)
    assert there == here
    assert "2.0 billion" in text
    assert "humanize" not in before
    assert pip_list(environment) == before
