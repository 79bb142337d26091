"""Environments follow renames in a real JupyterLab server, where our extension is switched on."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import pytest

from ipy_scriptenv import environments
from ipy_scriptenv.environments import Context, Kept
from ipy_scriptenv.interpreters import host_python
from ipy_scriptenv.kernels.borrow import pinned
from ipy_scriptenv.kernels.layer import layer_list, layer_name
from tests.conftest import Home, Layers
from tests.index.build import hash_locked
from tests.jupyter_server import Execution, JupyterServer, Kernel, Refused, running_lab
from tests.kernels import kernelspec_of, wait_until
from tests.lifecycle import command, environment_of, inodes, kernelspecs
from tests.stage import installed, record_of, start, state_of, sync, write_notebook

ALPHA = '# /// script\n# dependencies = ["alpha<2"]\n# ///\nimport alpha\nalpha.__version__'
BETA = '# /// script\n# dependencies = ["beta"]\n# ///\nimport beta\nbeta.__version__'
WHERE = "import sys\nsys.prefix"
CANNOT_BORROW = "the kernel's packages beside JupyterLab are not those of the layer"


@pytest.fixture(scope="module")
def shared(module_home: Home) -> Iterator[JupyterServer]:
    """Run one server for most tests here; each has notebooks of its own."""
    with running_lab(module_home.path.parent / "work") as server:
        yield server


def synced(lab: JupyterServer, path: str, cell: str = ALPHA) -> Path:
    """Write a notebook and sync it, as the command line does; give its path on disk."""
    written = write_notebook(lab.root / path, cell)
    sync(written)
    return written


def prefix(kernel: Kernel) -> Path:
    done: Execution = kernel.execute(WHERE, store_history=False)
    assert done.result is not None, done
    return Path(done.result.strip("'"))


def followed(path: Path) -> Path:
    """Wait until an environment has followed to *path*, and give its place."""
    place = environment_of(path)
    wait_until(lambda: place.exists() and (place / "kernel.py").exists(), what="the move")
    wait_until(lambda: kernelspec_written(path), what="the kernelspec")
    return place


def kernelspec_written(path: Path) -> bool:
    return (Path(os.environ["JUPYTER_DATA_DIR"]) / "kernels" / kernelspec_of(path)).exists()


def log_of(lab: JupyterServer) -> str:
    return lab.log.read_text(encoding="utf-8")


def wait_for_the_end_of_the_move(lab: JupyterServer, old: Path, new: Path) -> None:
    """Wait until the server has done all that it does after a rename, and says so.

    Whoever restarts a kernel while it is at work gets the old place, until the next restart.
    """
    told = f"The environment of {old} is that of {new}"
    wait_until(lambda: told in log_of(lab), what="the end of the move")


# Renames


def test_the_extension_is_switched_on_by_being_installed(shared: JupyterServer) -> None:
    assert "ipy_scriptenv | extension was successfully loaded" in log_of(shared)


def test_a_renamed_notebook_takes_its_environment_along(shared: JupyterServer) -> None:
    old = write_notebook(shared.root / "one.ipynb", ALPHA)
    with shared.opened("one.ipynb") as (_, kernel):
        assert kernel.execute(ALPHA).status == "ok"
    packages = inodes(environment_of(old))

    shared.rename("one.ipynb", "two.ipynb")

    new = shared.root / "two.ipynb"
    assert inodes(followed(new)) == packages
    assert not environment_of(old).exists()
    assert state_of(new) == "in-sync"
    with shared.opened("two.ipynb") as (_, kernel):
        done = kernel.execute(ALPHA)
        assert (done.result, done.stdout) == ("'1.1'", "")  # nothing is told: nothing is done
        assert prefix(kernel) == environment_of(new)
    assert kernelspec_of(new) in shared.kernelspecs()
    wait_until(lambda: kernelspec_of(old) not in shared.kernelspecs())
    wait_for_the_end_of_the_move(shared, old, new)


@pytest.mark.parametrize("name", ["Größe (1).ipynb", "100 % #1 + ?.ipynb", "日本.ipynb"])
def test_a_notebook_is_followed_whatever_it_is_called(shared: JupyterServer, name: str) -> None:
    old = synced(shared, f"names/{name}")
    packages = inodes(environment_of(old))

    renamed = shared.request("PATCH", f"api/contents/names/{name}", {"path": f"names/new {name}"})

    assert inodes(followed(shared.root / renamed["path"])) == packages


def test_a_notebook_that_is_moved_to_another_folder_is_followed(shared: JupyterServer) -> None:
    old = synced(shared, "from/here.ipynb")
    packages = inodes(environment_of(old))
    (shared.root / "to").mkdir()

    shared.rename("from/here.ipynb", "to/here.ipynb")

    assert inodes(followed(shared.root / "to" / "here.ipynb")) == packages


def test_a_renamed_folder_takes_all_its_environments_along(shared: JupyterServer) -> None:
    names = ("a.ipynb", "b.ipynb", "deep/er/c.ipynb")
    before = {name: inodes(environment_of(synced(shared, f"folder/{name}"))) for name in names}
    beside = synced(shared, "folder-two/d.ipynb")

    shared.rename("folder", "renamed")

    for name in names:
        assert inodes(followed(shared.root / "renamed" / name)) == before[name]
    wait_until(lambda: log_of(shared).count("/renamed/") >= 3)
    assert environment_of(beside).exists()


def test_a_renamed_notebook_without_environment_gets_none(shared: JupyterServer) -> None:
    write_notebook(shared.root / "never.ipynb", ALPHA)
    synced(shared, "witness.ipynb")

    shared.rename("never.ipynb", "still-never.ipynb")
    shared.rename("witness.ipynb", "witness-two.ipynb")

    followed(shared.root / "witness-two.ipynb")
    assert not environment_of(shared.root / "still-never.ipynb").exists()
    assert "could not follow" not in log_of(shared)


def test_a_rename_onto_another_notebook_is_refused_and_moves_nothing(
    shared: JupyterServer,
) -> None:
    one, two = synced(shared, "mine.ipynb"), synced(shared, "yours.ipynb", BETA)

    with pytest.raises(Refused) as refused:
        shared.rename("mine.ipynb", "yours.ipynb")

    assert refused.value.status == 409
    assert installed(environment_of(one)) == {"alpha==1.1"}
    assert installed(environment_of(two)) == {"alpha==2.0", "beta==1.0"}


def test_a_notebook_that_replaces_another_replaces_its_environment(shared: JupyterServer) -> None:
    """So JupyterLab does it: it asks, deletes the other one, and renames."""
    one, two = synced(shared, "newer.ipynb"), synced(shared, "older.ipynb", BETA)
    packages = inodes(environment_of(one))

    shared.request("DELETE", "api/contents/older.ipynb")
    shared.rename("newer.ipynb", "older.ipynb")

    wait_until(lambda: not environment_of(one).exists(), what="the move")
    assert inodes(environment_of(two)) == packages
    with shared.opened("older.ipynb") as (_, kernel):
        assert kernel.execute("import alpha\nalpha.__version__").result == "'1.1'"


def test_a_copy_never_shares_an_environment(shared: JupyterServer) -> None:
    original = synced(shared, "original.ipynb")
    packages = inodes(environment_of(original))

    copied = shared.request("POST", "api/contents", {"copy_from": "original.ipynb"})["path"]
    assert not environment_of(shared.root / copied).exists()
    with shared.opened(copied) as (_, kernel):
        assert prefix(kernel) == environment_of(shared.root / copied)
        assert kernel.execute(BETA).result == "'1.0'"
    shared.rename(copied, "renamed-copy.ipynb")

    assert installed(followed(shared.root / "renamed-copy.ipynb")) == {"alpha==2.0", "beta==1.0"}
    assert inodes(environment_of(original)) == packages


def test_a_deleted_notebook_leaves_its_environment_until_it_is_pruned(
    shared: JupyterServer,
) -> None:
    """A file that was deleted by mistake comes back, and finds all as it was."""
    path = synced(shared, "deleted.ipynb")

    shared.request("DELETE", "api/contents/deleted.ipynb")

    assert installed(environment_of(path)) == {"alpha==1.1"}
    orphans = command("list", "--state", "orphan", "--json").json["environments"]
    assert str(path) in [each["source"] for each in orphans]
    items = environments.prunable(Kept(), context=Context())
    mine = [item for item in items if item.source == str(path)]
    removed, _ = environments.prune(mine, context=Context())
    assert [item.path for item in removed] == [environment_of(path)]
    assert not environment_of(path).exists()
    assert kernelspec_of(path) not in shared.kernelspecs()


# Renames while kernels run


def test_a_rename_under_a_running_kernel_waits_for_its_restart(shared: JupyterServer) -> None:
    """The whole story of ``Untitled.ipynb``: run, renamed, and a new one made."""
    first = write_notebook(shared.root / "Untitled.ipynb", ALPHA)
    new = shared.root / "analysis.ipynb"
    with shared.opened("Untitled.ipynb") as (session, kernel):
        assert kernel.execute(ALPHA).result == "'1.1'"
        packages, place = inodes(environment_of(first)), environment_of(first)
        shared.rename("Untitled.ipynb", "analysis.ipynb")
        wait_for_the_end_of_the_move(shared, first, new)
        assert record_of(place).source.path == str(new)
        assert prefix(kernel) == place
        assert kernel.execute("alpha.__version__").result == "'1.1'"

        write_notebook(first, BETA)
        with shared.opened("Untitled.ipynb") as (_, other):
            beside = prefix(other)
            assert record_of(beside).source.path == str(first)
            assert other.execute(BETA).result == "'1.0'"
            told = command("status", first, "--json").json
            assert (told["state"], told["environment"]["path"]) == ("in-sync", str(beside))

        shared.restart_kernel(session["kernel"]["id"])
        kernel.settle()
        assert prefix(kernel) == environment_of(new)
        done = kernel.execute("import alpha\nalpha.__version__")
        assert (done.result, done.stdout) == ("'1.1'", "")
        assert inodes(environment_of(new)) == packages

        with shared.opened("Untitled.ipynb") as (_, other):
            assert prefix(other) == place
            assert other.execute(BETA).result == "'1.0'"
    assert not beside.exists()
    assert record_of(place).source.path == str(first)


def test_a_renamed_folder_with_a_running_kernel_is_followed(shared: JupyterServer) -> None:
    old = write_notebook(shared.root / "draft" / "nb.ipynb", ALPHA)
    idle = synced(shared, "draft/idle.ipynb")
    with shared.opened("draft/nb.ipynb") as (session, kernel):
        assert kernel.execute(ALPHA).result == "'1.1'"
        place = prefix(kernel)
        shared.rename("draft", "final")
        new = shared.root / "final" / "nb.ipynb"
        wait_for_the_end_of_the_move(shared, old, new)
        assert record_of(place).source.path == str(new)
        followed(shared.root / "final" / "idle.ipynb")
        assert not environment_of(idle).exists()
        assert prefix(kernel) == place

        shared.restart_kernel(session["kernel"]["id"])
        kernel.settle()
        assert prefix(kernel) == environment_of(new)
        assert kernel.execute("import alpha\nalpha.__version__").result == "'1.1'"


def test_a_notebook_that_names_its_own_kernel_still_opens_on_it_after_a_rename(
    shared: JupyterServer,
) -> None:
    old = synced(shared, "named.ipynb")
    write_notebook(old, ALPHA, kernel_name=kernelspec_of(old))

    shared.rename("named.ipynb", "renamed-named.ipynb")
    new = shared.root / "renamed-named.ipynb"
    followed(new)
    wait_for_the_end_of_the_move(shared, old, new)

    assert kernelspec_of(old) in shared.kernelspecs()
    with shared.opened("renamed-named.ipynb", kernelspec_of(old)) as (_, kernel):
        assert prefix(kernel) == environment_of(new)
        assert kernel.execute(ALPHA).result == "'1.1'"


# What the server does at its start


def test_the_server_removes_dead_kernelspecs_at_its_start(ready_home: Home, tmp_path: Path) -> None:
    home = ready_home
    folder = tmp_path / "work"
    gone, kept = (write_notebook(folder / f"{name}.ipynb", "1") for name in ("gone", "kept"))
    for path in (gone, kept):
        start(path)
    foreign = home.kernelspecs / "scriptenv-0123456789abcdef"
    foreign.mkdir()
    (foreign / "kernel.json").write_text(json.dumps({"argv": ["x"], "display_name": "x"}))
    gone.unlink()

    with running_lab(folder) as lab:
        wait_until(lambda: kernelspecs(home) == {kernelspec_of(kept), foreign.name})
        assert kernelspec_of(gone) not in lab.kernelspecs()

    assert environment_of(gone).exists()  # only `prune` removes it


def prepared(home: Home) -> Path:
    return home.scriptenv / "kernels-v1" / layer_name(host_python()) / "layer.json"


def can_borrow() -> bool:
    """Say whether what the layer lists is installed beside JupyterLab in the same versions."""
    listed = pinned(layer_list().decode())
    with suppress(metadata.PackageNotFoundError):
        return all(metadata.version(each.name) in each.specifier for each in listed)
    return False


def test_the_server_prepares_the_kernel_in_the_background(
    home: Home, offline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that nobody waits for it who opens the first notebook."""
    listing = tmp_path / "layer.txt"
    listing.write_text(hash_locked(offline / "many_files-1.0-py3-none-any.whl"))
    monkeypatch.setenv("SCRIPTENV_LAYER_LOCK", str(listing))
    with running_lab(tmp_path / "work") as lab:
        wait_until(prepared(home).exists, timeout=120, what="the layer")
        assert "could not be prepared" not in log_of(lab)


def test_the_server_prepares_the_kernel_without_network(
    home: Home,
    offline: Path,  # noqa: ARG001 - it sets the stage
    tmp_path: Path,
) -> None:
    """Its files are copied from beside JupyterLab, where those are of the same versions."""
    if not can_borrow():
        pytest.skip(CANNOT_BORROW)
    with running_lab(tmp_path / "work") as lab:
        wait_until(prepared(home).exists, timeout=120, what="the layer")
        write_notebook(lab.root / "nb.ipynb", ALPHA)
        with lab.opened("nb.ipynb") as (_, kernel):
            assert kernel.execute(ALPHA).result == "'1.1'"


def test_a_server_that_cannot_prepare_the_kernel_says_so_and_works(
    home: Home,
    offline: Path,  # noqa: ARG001 - it sets the stage
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listing = tmp_path / "layer.txt"
    listing.write_text(f"ipykernel==0.0.1 --hash=sha256:{'0' * 64}\n")
    monkeypatch.setenv("SCRIPTENV_LAYER_LOCK", str(listing))

    with running_lab(tmp_path / "work") as lab:
        wait_until(lambda: "scriptenv: the kernel could not be prepared" in log_of(lab))
        assert "scriptenv" in lab.kernelspecs()
        assert [*home.scriptenv.glob("kernels-v1/.building-*")] == []


def test_a_rename_succeeds_where_the_home_cannot_be_used(
    home: Home, layers: Layers, tmp_path: Path
) -> None:
    """What fails is a line in the server's log: the rename itself succeeds."""
    layers.link(home)
    folder = tmp_path / "work"
    old = write_notebook(folder / "a.ipynb", "1")
    start(old)
    building = home.scriptenv / "building-v1"
    building.rmdir()
    building.write_text("")

    with running_lab(folder) as lab:
        # What the server prepares at its start has given up by then: nothing mends it meanwhile.
        wait_until(lambda: "scriptenv: the kernel could not be prepared" in log_of(lab))
        lab.rename("a.ipynb", "b.ipynb")
        assert (folder / "b.ipynb").exists()
        wait_until(lambda: "could not follow a rename" in log_of(lab))
        assert not environment_of(folder / "b.ipynb").exists()

        building.unlink()
        lab.rename("b.ipynb", "a.ipynb")
        assert environment_of(old).exists()
        assert lab.kernelspecs()
