"""Sync: an environment holds exactly what its source declares."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
from pathlib import Path

import pytest
from uv import find_uv_bin

from ipy_scriptenv import environments, plan
from ipy_scriptenv.environments import EPHEMERAL, Context
from ipy_scriptenv.errors import EngineFailed, EnvironmentInUse, Offline, RestartNeeded
from ipy_scriptenv.record import OWN, Package
from ipy_scriptenv.uv import Event
from tests.conftest import Home
from tests.index import build
from tests.stage import (
    BASE,
    asker,
    block_of,
    changes,
    commented,
    installed,
    listing,
    running_kernel,
    site_of,
    start,
    state_of,
    sync,
    write_notebook,
    write_script,
)

pytestmark = pytest.mark.usefixtures("lean_home", "own_cache")


@pytest.fixture
def own_cache(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    """Give uv an empty cache: in the run's it finds, offline too, what other tests have fetched."""
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))


# Exactly what is declared


def test_a_sync_makes_the_environment_and_tells_what_it_installed(script: Path) -> None:
    synced = sync(write_script(script, "beta", "alpha<2"))
    assert synced.action == "created"
    assert changes(synced) == {("alpha", "1.1", "installed"), ("beta", "1.0", "installed")}
    assert installed(synced.path) == {"alpha==1.1", "beta==1.0"}
    assert synced.kernelspec == f"scriptenv-{synced.name}"
    assert state_of(script) == "in-sync"


def test_a_sync_after_a_start_completes_its_environment(script: Path) -> None:
    write_script(script, "alpha==1.0")
    start(script)
    assert state_of(script) == "stale"
    synced = sync(script)
    assert (synced.action, changes(synced)) == ("updated", {("alpha", "1.0", "installed")})


def test_a_sync_that_finds_everything_keeps_the_environment(script: Path) -> None:
    first = sync(write_script(script, "beta"))
    before = listing(site_of(first.path)), first.path.stat().st_ino
    again = sync(script)
    assert (again.action, again.changes) == ("kept", ())
    assert (listing(site_of(first.path)), first.path.stat().st_ino) == before


def test_a_sync_installs_what_is_new_and_removes_what_is_not_declared_any_more(
    script: Path,
) -> None:
    sync(write_script(script, "beta", "nspkg-one"))
    synced = sync(write_script(script, "alpha<2", "nspkg-two"))
    assert synced.action == "updated"
    assert changes(synced) == {
        ("alpha", "2.0", "removed"),
        ("alpha", "1.1", "installed"),
        ("beta", "1.0", "removed"),
        ("nspkg-one", "1.0", "removed"),
        ("nspkg-two", "1.0", "installed"),
    }
    assert installed(synced.path) == {"alpha==1.1", "nspkg-two==1.0"}


def test_a_block_that_declares_nothing_any_more_empties_the_environment(script: Path) -> None:
    sync(write_script(script, "beta"))
    assert installed(sync(write_script(script)).path) == set()
    sync(write_script(script, "beta"))
    script.write_text("print(1)\n")
    assert installed(sync(script).path) == set()


def test_what_was_installed_by_hand_goes(script: Path) -> None:
    environment = sync(write_script(script, "alpha<2")).path
    by_hand(environment, "nspkg-one")
    synced = sync(script)
    assert (synced.action, changes(synced)) == ("updated", set())
    assert installed(synced.path) == {"alpha==1.1"}


def test_what_was_installed_by_hand_stays_where_a_kernel_only_looks(script: Path) -> None:
    environment = sync(write_script(script, "alpha<2")).path
    by_hand(environment, "nspkg-one")
    assert sync(script, exact=False).action == "kept"
    assert installed(environment) == {"alpha==1.1", "nspkg-one==1.0"}


def by_hand(environment: Path, package: str) -> None:
    python = environment / "bin" / "python"
    argv = [find_uv_bin(), "pip", "install", "--quiet", "--python", str(python), package]
    subprocess.run(argv, check=True)


def test_a_comment_in_the_block_changes_nothing_that_is_installed(script: Path) -> None:
    environment = sync(write_script(script, "alpha<2")).path
    before = {name for name, *_ in listing(site_of(environment))}
    script.write_text(commented("# why\n" + block_of("alpha<2")))
    assert state_of(script) == "stale"
    synced = sync(script)
    assert synced.changes == ()
    assert {name for name, *_ in listing(site_of(environment))} == before


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff\n# /// script\n# dependencies = ['beta']\n# ///\n",
        "#!/usr/bin/env python\nprint(1)\n\n# /// script\n# dependencies = ['beta']\n# ///",
        "# /// script\r\n# dependencies = [\r\n#   'beta',\r\n# ]\r\n# ///\r\n",
        "# /// script\n#\n# # a comment\n# dependencies = ['beta']\n#\n# ///\n# more\n",
        "# /// script\n# dependencies = ['beta']\n# [tool.other]\n# x = '# /// script'\n# ///\n",
    ],
)
def test_blocks_of_all_forms_are_given_to_uv(script: Path, text: str) -> None:
    script.write_bytes(text.encode())
    assert installed(sync(script).path) == {"alpha==2.0", "beta==1.0"}


def test_the_block_of_a_notebook_is_taken_from_the_cell_that_holds_it(script: Path) -> None:
    block = commented(block_of("beta"), "import beta")
    notebook = write_notebook(script.with_suffix(".ipynb"), "print(1)", block)
    assert installed(sync(notebook).path) == {"alpha==2.0", "beta==1.0"}


def test_the_environment_holds_what_uv_gives(script: Path, tmp_path: Path) -> None:
    write_script(script, "beta", "with-entry-point", "nspkg-one")
    environment = sync(script).path
    variables = os.environ | {"VIRTUAL_ENV": str(tmp_path / "plain")}
    argv = [find_uv_bin(), "sync", "--quiet", "--script", str(script), "--active"]
    argv += ["--python", BASE]
    subprocess.run(argv, check=True, env=variables)
    assert pip_list(environment) == pip_list(tmp_path / "plain")
    imports = subprocess.run(
        [environment / "bin" / "python", "-c", "import ipykernel"], check=False, capture_output=True
    )
    assert b"ModuleNotFoundError" in imports.stderr


def pip_list(environment: Path) -> object:
    python = str(environment / "bin" / "python")
    argv = [find_uv_bin(), "pip", "list", "--python", python, "--format", "json"]
    return json.loads(subprocess.run(argv, check=True, capture_output=True).stdout)


def test_steps_are_told(script: Path) -> None:
    events: list[Event] = []
    write_script(script, "beta")
    environments.sync(environments.locate(script), context=Context(on_event=events.append))
    kinds = [event["event"] for event in events]
    assert kinds[0] == "resolving"
    assert kinds[-1] == "installing"
    assert "Resolved 2 packages" in events[0]["text"]


# The kernel in the environment, where the layer cannot serve


LAYER = {
    "packages": {"ipykernel": "7.3", "traitlets": "5.14", "pygments": "2.18"},
    "requires": {
        "ipykernel": ("traitlets>=5.4", "ipython>=7.23.1"),
        "ipython": ("traitlets>=5.13", "pygments>=2.4"),
        "traitlets": (),
        "pygments": (),
    },
}


@pytest.mark.parametrize(
    ("installed", "expected"),
    [
        ({}, ()),
        ({"alpha": "1.0"}, ()),
        ({"traitlets": "5.14"}, ()),
        ({"traitlets": "6.0"}, ()),
        ({"pygments": "2.5.dev1"}, ()),
        (
            {"traitlets": "4.3.3"},
            (
                "ipykernel 7.3 requires traitlets>=5.4, the environment has 4.3.3",
                "ipython  requires traitlets>=5.13, the environment has 4.3.3",
            ),
        ),
        ({"traitlets": "5.5", "ipython": "8.0"}, ()),
        (
            {"traitlets": "5.5"},
            ("ipython  requires traitlets>=5.13, the environment has 5.5",),
        ),
        ({"ipykernel": "6.29"}, ("the environment has its own ipykernel 6.29",)),
    ],
)
def test_conflicts_with_the_layer(installed: dict[str, str], expected: tuple[str, ...]) -> None:
    packages = [Package(name=name, version=version) for name, version in installed.items()]
    found = plan.layer_conflicts(
        packages=LAYER["packages"],  # type: ignore[arg-type]
        requires=LAYER["requires"],  # type: ignore[arg-type]
        installed=packages,
    )
    assert found == expected


def test_packages_that_break_the_layer_bring_the_kernel_along(script: Path) -> None:
    """Here that cannot be had, and the whole sync fails with uv's words."""
    write_script(script, "alpha<2")
    before = listing(sync(script).path)
    write_script(script, "traitlets<5")
    with pytest.raises(Offline) as refused:
        sync(script)
    assert "ipykernel" in refused.value.problems[0].message
    assert (
        listing(Context().store.environment(environments.name_of(environments.locate(script))))
        == before
    )


def write_kernel(folder: Path) -> None:
    """Write a wheel that calls itself ipykernel; no kernel could run on it."""
    folder.mkdir()
    hollow = build.Distribution(name="ipykernel", version="6.29.5", requires=("traitlets",))
    (folder / hollow.wheel_name).write_bytes(build._wheel(hollow))


def test_the_kernel_is_resolved_together_with_what_breaks_the_layer(script: Path) -> None:
    write_kernel(script.parent / "wheels")
    write_script(script, "traitlets<5", uv='find-links = ["wheels"]')
    synced = sync(script)
    assert synced.record.kernel == OWN
    assert installed(synced.path) == {"traitlets==4.3.3", "ipykernel==6.29.5"}
    assert sync(script).action == "kept"
    back = sync(write_script(script, "alpha<2"))
    assert back.record.kernel != OWN
    assert installed(back.path) == {"alpha==1.1"}


def test_a_declared_kernel_is_used(script: Path) -> None:
    write_kernel(script.parent / "wheels")
    synced = sync(write_script(script, "ipykernel", uv='find-links = ["wheels"]'))
    assert synced.record.kernel == OWN
    assert "ipykernel==6.29.5" in installed(synced.path)


def test_a_package_of_the_layer_in_a_version_that_serves_keeps_the_layer(script: Path) -> None:
    version = importlib.metadata.version("traitlets")
    (script.parent / "wheels").mkdir()
    same = build.Distribution(name="traitlets", version=version)
    (script.parent / "wheels" / same.wheel_name).write_bytes(build._wheel(same))
    synced = sync(write_script(script, "traitlets>=5", uv='find-links = ["wheels"]'))
    assert synced.record.kernel != OWN


def test_packages_that_break_the_layer_are_refused_under_a_running_kernel(
    home: Home, script: Path
) -> None:
    write_kernel(script.parent / "wheels")
    first = sync(write_script(script, "alpha<2"))
    before = listing(site_of(first.path))
    block = block_of("traitlets<5", uv='find-links = ["wheels"]')
    with running_kernel(home.scriptenv, first.name) as uuid:
        with pytest.raises(RestartNeeded) as refused:
            sync(script, block=block, given=True, asker=asker(first, uuid))
        assert "traitlets" in str(refused.value)
        with pytest.raises(EnvironmentInUse):
            sync(script, block=block, given=True)
    assert listing(site_of(first.path)) == before


# Without a file


def test_an_ephemeral_environment_is_synced_to_the_text_of_its_kernel() -> None:
    started = environments.start(EPHEMERAL, context=Context())
    synced = environments.sync(
        EPHEMERAL,
        context=Context(),
        block=block_of("beta"),
        given=True,
        name=started.name,
    )
    assert (synced.path, synced.kernelspec) == (started.path, None)
    assert installed(synced.path) == {"alpha==2.0", "beta==1.0"}


def test_uv_is_never_called_for_what_is_no_whole_environment(script: Path) -> None:
    environment = sync(write_script(script, "alpha<2")).path
    uv = Context().uv()
    (environment / "pyvenv.cfg").unlink()
    before = listing(environment)
    with pytest.raises(EngineFailed):
        uv.sync(script, environment)
    with pytest.raises(EngineFailed):
        uv.install(environment, "beta")
    assert listing(environment) == before
