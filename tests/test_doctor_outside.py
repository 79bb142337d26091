"""`doctor` on what an environment needs outside itself: kernelspec, host, layer, kernel side."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from ipy_scriptenv import environments
from ipy_scriptenv.environments import Context
from tests.conftest import Home, Layers
from tests.examining import codes, examined, mended, why_not
from tests.index.build import Distribution, hash_locked
from tests.kernels import wheel
from tests.lifecycle import revise_record
from tests.stage import (
    WANTED,
    assert_works,
    environment_of,
    listing,
    record_of,
    running_kernel,
    start,
    state_of,
    sync,
    write_script,
)

pytestmark = pytest.mark.usefixtures("lean_home")


@pytest.fixture
def script(script: Path) -> Path:
    return write_script(script, "beta")


@pytest.fixture
def small_layer(
    lean_home: Home,  # noqa: ARG001 - it clears away settings, so it comes first
    tmp_path: Path,
    index: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Let the layer be one small package, which looks like ipykernel and is made in no time."""
    small = Distribution(name="ipykernel", version="99.0", files={"ipykernel/kernelapp.py": "1\n"})
    file = wheel(tmp_path / "wheels", small)
    (tmp_path / "layer.txt").write_text(hash_locked(file))
    monkeypatch.setenv("SCRIPTENV_LAYER_LOCK", str(tmp_path / "layer.txt"))
    monkeypatch.setenv("UV_FIND_LINKS", f"{index},{file.parent}")


def assert_ready(script: Path) -> None:
    """Check that the environment of a script stands, is in sync and can be imported from."""
    assert_works(environment_of(script), WANTED)
    assert state_of(script) == "in-sync"


def test_a_kernelspec_that_is_missing_is_written_again(home: Home, script: Path) -> None:
    name = sync(script).kernelspec
    shutil.rmtree(home.kernelspecs / str(name))
    assert codes() == ["no-kernelspec-of-source"]
    mended()
    assert (home.kernelspecs / str(name) / "kernel.json").is_file()
    assert_ready(script)


@pytest.mark.parametrize("content", ["", '{"argv": [', "[]", '{"argv": [], "metadata": {}}'])
def test_a_kernelspec_that_is_damaged_is_written_again(
    home: Home, script: Path, content: str
) -> None:
    path = home.kernelspecs / str(sync(script).kernelspec) / "kernel.json"
    before = path.read_text()
    path.write_text(content)
    assert len(codes()) == 1
    mended()
    assert path.read_text() == before


def test_a_kernelspec_that_nobody_wants_is_not_missed(script: Path) -> None:
    sync(script)
    environments.unregister(environments.locate(script), context=Context())
    assert codes() == []


def test_without_a_host_that_answers_this_one_is_entered(script: Path) -> None:
    environment = sync(script).path
    hosts = [{"python": "/nonexistent/python", "version": "0.1", "uv": "/nonexistent/uv"}]
    revise_record(environment, hosts=hosts)
    assert codes() == ["no-host"]
    mended()
    assert any(os.access(host.python, os.X_OK) for host in record_of(environment).hosts)
    assert_ready(script)


@pytest.mark.usefixtures("small_layer")
def test_a_kernel_layer_that_is_missing_is_made_again(home: Home, script: Path) -> None:
    sync(script)
    layers = home.scriptenv / "kernels-v1"
    for layer in layers.iterdir():
        shutil.rmtree(layer)
    assert codes() == ["no-layer"]
    mended()
    assert (layers / record_of(environment_of(script)).kernel / "layer.json").is_file()
    assert_ready(script)


def test_a_kernel_side_that_is_missing_is_copied_again(home: Home, script: Path) -> None:
    sync(script)
    for side in (home.scriptenv / "kernel-side-v1").iterdir():
        shutil.rmtree(side)
    assert codes() == ["no-kernel-side"]
    mended()
    assert_ready(script)


@pytest.mark.parametrize("harm", ["gone", "cut short", "changed"])
def test_a_file_of_the_kernel_side_that_is_harmed_is_put_back(
    home: Home, script: Path, harm: str
) -> None:
    sync(script)
    (file,) = home.scriptenv.glob("kernel-side-v1/*/completing.py")
    text = file.read_bytes()
    if harm == "gone":
        file.unlink()
    else:
        file.write_bytes(text[:100] if harm == "cut short" else bytes(len(text)))
    assert codes() == ["no-kernel-side"]
    mended()
    assert file.read_bytes() == text
    assert_ready(script)


@pytest.mark.parametrize("harm", ["gone", "cut short"])
def test_a_start_puts_back_a_file_of_the_kernel_side(home: Home, script: Path, harm: str) -> None:
    sync(script)
    (file,) = home.scriptenv.glob("kernel-side-v1/*/bin/pip")
    text = file.read_bytes()
    file.unlink()
    if harm == "cut short":
        file.write_bytes(text[:10])
    start(script)
    assert file.read_bytes() == text
    assert os.access(file, os.X_OK)


def test_a_launcher_that_is_missing_is_written_again(script: Path) -> None:
    environment = sync(script).path
    (environment / "kernel.py").unlink()
    assert len(codes()) == 1
    mended()
    assert (environment / "kernel.py").is_file()
    assert_ready(script)


# The kernel layer.


def harm_layer(layer: Path) -> None:
    """Take a module out of a layer."""
    assert not (layer / "site-packages").is_symlink(), "it is the one that tests share"
    (layer / "site-packages" / "ipykernel" / "kernelapp.py").unlink()


@pytest.mark.usefixtures("small_layer")
def test_a_layer_that_is_damaged_is_told_and_made_again(home: Home, script: Path) -> None:
    layer = home.scriptenv / "kernels-v1" / sync(script).record.kernel
    harm_layer(layer)
    found = examined()
    assert [finding.code for finding in found] == ["broken-layer"]
    assert found[0].path == layer
    mended()
    record = record_of(environment_of(script))
    built = home.scriptenv / "kernels-v1" / record.kernel / "site-packages" / "ipykernel"
    assert (built / "kernelapp.py").is_file()


@pytest.mark.usefixtures("small_layer")
def test_a_layer_that_cannot_be_read_is_made_again(home: Home, script: Path) -> None:
    layer = home.scriptenv / "kernels-v1" / sync(script).record.kernel
    (layer / "layer.json").unlink()
    (layer / "layer.json").write_text("{")
    assert set(codes()) <= {"broken-layer", "no-layer"}
    mended()


@pytest.mark.usefixtures("small_layer")
def test_a_damaged_layer_that_a_kernel_runs_on_is_not_removed(home: Home, script: Path) -> None:
    record = sync(script).record
    layer = home.scriptenv / "kernels-v1" / record.kernel
    harm_layer(layer)
    before = listing(layer)
    name = environment_of(script).name
    with running_kernel(home.scriptenv, name, kernel=record.kernel):
        (finding,) = examined()
        assert why_not(finding)
        assert listing(layer) == before


def test_a_file_among_the_layers_is_no_crash_and_never_touched(home: Home, layers: Layers) -> None:
    layers.link(home)
    note = home.scriptenv / "kernels-v1" / "note.txt"
    note.write_text("mine")
    for finding in examined():
        why_not(finding)
    assert note.read_text() == "mine"
