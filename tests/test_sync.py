"""Sync: an environment holds exactly what its source declares, and is never left half changed."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from uv import find_uv_bin

from ipy_scriptenv import environments, plan
from ipy_scriptenv.environments import EPHEMERAL, Asker, Context, Synced
from ipy_scriptenv.errors import (
    EngineFailed,
    EnvironmentInUse,
    Interrupted,
    LockTimeout,
    Offline,
    ResolutionFailed,
    RestartNeeded,
    ScriptEnvError,
)
from ipy_scriptenv.kernel_side.check import may_have_changed, settings_digest
from ipy_scriptenv.locks import is_held
from ipy_scriptenv.plan import Loaded
from ipy_scriptenv.processes import Cancel
from ipy_scriptenv.record import OWN, Package
from ipy_scriptenv.store import CHANGING
from ipy_scriptenv.uv import Event
from ipy_scriptenv.uv_output import failure
from tests.conftest import Home
from tests.index import build
from tests.stage import (
    PROGRAM,
    block_of,
    commented,
    exclusively_held,
    installed,
    listing,
    record_of,
    record_rows,
    running_kernel,
    site_of,
    start,
    sync,
    write_notebook,
    write_script,
)

ALPHA = "alpha/__init__.py"
BASE = getattr(sys, "_base_executable", sys.executable)


@pytest.fixture(autouse=True)
def home(lean_home: Home) -> Home:
    return lean_home


@pytest.fixture
def script(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder / "a.py"


def state_of(path: Path) -> str:
    return environments.status(environments.locate(path), context=Context()).state


def changes(synced: Synced) -> set[tuple[str, str, str]]:
    return {(each.name, each.version, each.action) for each in synced.changes}


def asker(synced: Synced, uuid: str = "me", *, fresh: bool = False, imported: str = "") -> Asker:
    """Describe a kernel that runs in an environment and asks for a sync."""
    record = synced.record
    loaded = Loaded(environment=frozenset({imported} if imported else ()))
    return Asker(
        uuid=uuid, fresh=fresh, python=record.python.base, kernel=record.kernel, loaded=loaded
    )


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


# All of [tool.uv], relative to the source's folder


def test_a_relative_source_is_taken_from_the_sources_folder(script: Path, index: Path) -> None:
    (script.parent / "wheels").mkdir()
    wheel = "alpha-1.0-py3-none-any.whl"
    (script.parent / "wheels" / wheel).symlink_to(index / wheel)
    write_script(script, "alpha", uv=f'sources = {{ alpha = {{ path = "wheels/{wheel}" }} }}')
    assert installed(sync(script).path) == {"alpha==1.0"}


def test_a_relative_reference_is_taken_from_the_sources_folder(script: Path, index: Path) -> None:
    wheel = "alpha-1.0-py3-none-any.whl"
    (script.parent / wheel).symlink_to(index / wheel)
    assert installed(sync(write_script(script, f"alpha @ ./{wheel}")).path) == {"alpha==1.0"}


BACKEND = """
import pathlib, tomllib, zipfile

HERE = pathlib.Path(__file__).parent
VERSION = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]["version"]


def write(directory, files):
    info = f"local-{VERSION}.dist-info"
    files[f"{info}/METADATA"] = f"Metadata-Version: 2.1\\nName: local\\nVersion: {VERSION}\\n"
    files[f"{info}/WHEEL"] = "Wheel-Version: 1.0\\nTag: py3-none-any\\n"
    files[f"{info}/RECORD"] = "".join(f"{name},,\\n" for name in [*files, f"{info}/RECORD"])
    name = f"local-{VERSION}-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(directory, name), "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)
    return name


def build_wheel(directory, config_settings=None, metadata_directory=None):
    return write(directory, {"local.py": (HERE / "local.py").read_text()})


def build_editable(directory, config_settings=None, metadata_directory=None):
    return write(directory, {"local.pth": str(HERE)})
"""


def write_project(folder: Path, version: str = "1.0") -> Path:
    """Write a project whose build backend needs nothing but itself."""
    folder.mkdir(exist_ok=True)
    (folder / "local.py").write_text(f"VERSION = {version!r}\n")
    (folder / "pyproject.toml").write_text(
        f'[project]\nname = "local"\nversion = "{version}"\n'
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    (folder / "backend.py").write_text(BACKEND)
    return folder


@pytest.mark.parametrize("editable", [False, True])
def test_a_relative_project_is_built_from_the_sources_folder(
    script: Path, *, editable: bool
) -> None:
    write_project(script.parent / "project")
    source = f'local = {{ path = "project", editable = {str(editable).lower()} }}'
    environment = sync(write_script(script, "local", uv=f"sources = {{ {source} }}")).path
    question = "import local; print(local.__file__)"
    answer = subprocess.run(
        [environment / "bin" / "python", "-c", question], check=True, capture_output=True, text=True
    )
    where = script.parent / "project" if editable else site_of(environment)
    assert answer.stdout.strip() == str(where / "local.py")


def test_a_local_project_that_changes_its_version_is_built_anew(script: Path) -> None:
    write_project(script.parent / "project")
    sync(write_script(script, "local", uv='sources = { local = { path = "project" } }'))
    write_project(script.parent / "project", version="1.1")
    assert state_of(script) == "stale"
    assert installed(sync(script).path) == {"local==1.1"}


@pytest.mark.parametrize("setting", ['find-links = ["wheels"]', 'find-links = ["./wheels"]'])
def test_relative_links_are_taken_from_the_sources_folder(
    script: Path, index: Path, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    monkeypatch.delenv("UV_FIND_LINKS")
    (script.parent / "wheels").symlink_to(index)
    assert installed(sync(write_script(script, "alpha", uv=setting)).path) == {"alpha==2.0"}


def test_a_relative_index_is_taken_from_the_sources_folder(
    script: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("UV_FIND_LINKS")
    monkeypatch.delenv("UV_NO_INDEX")
    (script.parent / "wheels").symlink_to(index)
    table = 'index = [{ name = "local", url = "./wheels", format = "flat", default = true }]'
    assert installed(sync(write_script(script, "alpha", uv=table)).path) == {"alpha==2.0"}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ('constraint-dependencies = ["alpha<2"]', {"alpha==1.1", "beta==1.0"}),
        ('override-dependencies = ["alpha==1.0"]', {"alpha==1.0", "beta==1.0"}),
        ('resolution = "lowest"', {"alpha==1.0", "beta==1.0"}),
        ('exclude-newer = "2024-01-01T00:00:00Z"', {"alpha==2.0", "beta==1.0"}),
        ('prerelease = "allow"', {"alpha==2.0", "beta==1.0"}),
        ("no-build = true", {"alpha==2.0", "beta==1.0"}),
    ],
)
def test_settings_of_uv_in_the_block_are_honoured(
    script: Path, settings: str, expected: set[str]
) -> None:
    assert installed(sync(write_script(script, "beta", uv=settings)).path) == expected


def test_settings_that_forbid_something_are_honoured(script: Path) -> None:
    write_script(script, "evil-sdist", uv="no-build = true")
    with pytest.raises(ScriptEnvError) as refused:
        sync(script)
    assert refused.value.code in {"resolution-failed", "install-failed"}


def test_a_bad_setting_is_told_in_uvs_words(script: Path) -> None:
    with pytest.raises(ScriptEnvError) as refused:
        sync(write_script(script, "beta", uv="no-such-setting = true"))
    assert "no-such-setting" in refused.value.problems[0].message


def test_the_lock_beside_the_source_is_honoured_and_left_as_it_is(script: Path) -> None:
    lock = write_lock(write_script(script, "alpha<2"))
    write_script(script, "alpha")
    before = lock.read_bytes()
    synced = sync(script)
    assert installed(synced.path) == {"alpha==1.1"}
    assert lock.read_bytes() == before
    assert {*script.parent.iterdir()} == {script, lock}
    assert synced.record.lock_sha256 is not None
    lock.unlink()
    assert state_of(script) == "stale"
    assert installed(sync(script).path) == {"alpha==2.0"}


def write_lock(script: Path) -> Path:
    argv = [find_uv_bin(), "lock", "--quiet", "--script", str(script), "--python", BASE]
    subprocess.run(argv, check=True)
    return script.with_name(script.name + ".lock")


def test_the_users_own_configuration_counts(home: Home, script: Path) -> None:
    configure(home, 'resolution = "lowest"')
    assert installed(sync(write_script(script, "alpha")).path) == {"alpha==1.0"}


def configure(home: Home, text: str) -> Path:
    path = home.path / "config" / "uv" / "uv.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("uv.toml", 'resolution = "lowest"\n'),
        ("uv.toml", "no such toml"),
        ("pyproject.toml", '[tool.uv]\nconstraint-dependencies = ["alpha<1"]\n'),
        ("pyproject.toml", '[project]\nname = "x"\nversion = "1"\nrequires-python = ">=3.99"\n'),
        (".python-version", "3.99\n"),
        (".env", "UV_RESOLUTION=lowest\n"),
    ],
)
def test_configuration_beside_the_source_or_above_does_not_count(
    script: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    for folder in (script.parent, script.parent.parent):
        (folder / name).write_text(text)
    monkeypatch.chdir(script.parent)
    assert installed(sync(write_script(script, "alpha")).path) == {"alpha==2.0"}


def test_variables_that_would_give_uv_another_target_do_not_reach_it(
    script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoy = tmp_path / "decoy"
    argv = [find_uv_bin(), "venv", "--quiet", "--no-project", "--python", BASE, decoy]
    subprocess.run(argv, check=True)
    before = listing(decoy)
    paths = (
        "CONDA_PREFIX",
        "PYTHONHOME",
        "PYTHONPATH",
        "UV_PREFIX",
        "UV_PROJECT",
        "UV_PROJECT_ENVIRONMENT",
        "UV_TARGET",
        "UV_WORKING_DIR",
        "VIRTUAL_ENV",
    )
    for name in paths:
        monkeypatch.setenv(name, str(decoy))
    flags = (
        "UV_BREAK_SYSTEM_PACKAGES",
        "UV_FROZEN",
        "UV_ISOLATED",
        "UV_LOCKED",
        "UV_NO_DEV",
        "UV_NO_EDITABLE",
        "UV_NO_INSTALL_PROJECT",
        "UV_NO_SYNC",
        "UV_SYSTEM_PYTHON",
        "UV_VENV_CLEAR",
        "UV_VENV_SEED",
    )
    for name in flags:
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("UV_PYTHON", "3.99")
    assert installed(sync(write_script(script, "alpha")).path) == {"alpha==2.0"}
    assert listing(decoy) == before


@pytest.mark.parametrize(
    "variable",
    [
        "UV_DEV=1",
        "UV_NO_DEFAULT_GROUPS=1",
        "UV_NO_GROUP=dev",
        "UV_NO_PROJECT=1",
        "UV_QUIET=1",
        "UV_SHOW_RESOLUTION=1",
        "FORCE_COLOR=1",
        "UV_COMPILE_BYTECODE=1",
        "UV_LINK_MODE=copy",
        "UV_MANAGED_PYTHON=1",
        "UV_PYTHON_PREFERENCE=only-managed",
        "UV_NO_MANAGED_PYTHON=1",
        "UV_PREVIEW=1",
        "UV_NO_CACHE=1",
        "UV_NO_CONFIG=1",
        "UV_REQUIRE_HASHES=1",
        "RUST_LOG=uv=debug",
    ],
)
def test_whatever_else_the_user_has_set_a_sync_works(
    script: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    name, _, value = variable.partition("=")
    monkeypatch.setenv(name, value)
    synced = sync(write_script(script, "alpha<2"))
    assert installed(synced.path) == {"alpha==1.1"}
    assert changes(synced) == {("alpha", "1.1", "installed")}


# A failure changes nothing


FAILURES = pytest.mark.parametrize(
    ("dependencies", "error"),
    [
        (("conflict-a", "conflict-b"), ResolutionFailed),
        (("alpha>=3",), ResolutionFailed),
        (("needs-newer-python",), ResolutionFailed),
        (("no-such-package",), Offline),
        (("alpha @ file:///no/such/alpha-1.0-py3-none-any.whl",), ScriptEnvError),
    ],
)


@FAILURES
def test_a_failed_resolution_keeps_the_environment(
    home: Home, script: Path, dependencies: tuple[str, ...], error: type[ScriptEnvError]
) -> None:
    first = sync(write_script(script, "beta"))
    before = listing(first.path)
    write_script(script, *dependencies)
    for home_of_a_kernel in (first.name, "another"):
        with (
            running_kernel(home.scriptenv, home_of_a_kernel),
            pytest.raises(error) as refused,
        ):
            sync(script)
        assert refused.value.problems
        assert refused.value.hint
        assert listing(first.path) == before
        assert not (first.path / CHANGING).exists()
        assert [*first.path.parent.iterdir()] == [first.path]
    assert state_of(script) == "stale"


@FAILURES
def test_a_failed_resolution_leaves_no_environment_where_none_was(
    script: Path, dependencies: tuple[str, ...], error: type[ScriptEnvError]
) -> None:
    with pytest.raises(error):
        sync(write_script(script, *dependencies))
    assert state_of(script) == "missing"
    assert [*Context().store.environments.iterdir()] == []


def test_a_failed_resolution_says_why_in_uvs_words(script: Path) -> None:
    with pytest.raises(ResolutionFailed) as refused:
        sync(write_script(script, "conflict-a", "conflict-b"))
    (problem,) = refused.value.problems
    assert "conflict-b depend on alpha>=2" in problem.message
    assert "Resolved" not in problem.message


@pytest.mark.parametrize(
    ("code", "words", "expected"),
    [
        (1, "error: No solution found when resolving dependencies", "resolution-failed"),
        (
            1,
            "error: Failed to build `x`\n  cause: The build backend returned an error",
            "install-failed",
        ),
        (
            1,
            "error: Failed to download `x==1`\n  cause: Hash mismatch for `x==1`",
            "install-failed",
        ),
        (
            1,
            "error: Failed to read `x`\n  cause: Failed to extract archive: /x.whl",
            "install-failed",
        ),
        (2, "error: Failed to fetch: http://x/\n  cause: error sending request for url", "offline"),
        (2, "error: Failed to fetch: http://x/\n  cause: operation timed out", "offline"),
        (
            2,
            "error: Failed to install: x\n  cause: No space left on device (os error 28)",
            "no-space",
        ),
        (2, "error: failed to open file `/x`: Permission denied (os error 13)", "permission"),
        (2, "error: failed to write to `/x`: Read-only file system (os error 30)", "permission"),
        (-9, "", "install-failed"),
        (2, "error: what nobody has foreseen", "engine"),
    ],
)
def test_the_words_of_uv_lead_to_a_code(code: int, words: str, expected: str) -> None:
    error = failure(code, f"Resolved 1 package in 3ms\n{words}\n")
    assert error.code == expected
    assert [problem.message for problem in error.problems] == ([words] if words else [])


def test_credentials_in_the_words_of_uv_are_not_handed_on() -> None:
    words = "error: Failed to fetch: https://ada:secret@localhost/simple/x/"
    assert "secret" not in json.dumps(failure(2, words).to_json())


def test_credentials_are_not_shown_in_a_failure(script: Path) -> None:
    write_script(script, "alpha @ https://ada:secret@localhost:1/alpha-1.0-py3-none-any.whl")
    with pytest.raises(ScriptEnvError) as refused:
        sync(script)
    assert "secret" not in json.dumps(refused.value.to_json())


def test_a_mended_block_is_synced_after_a_failure(script: Path) -> None:
    with pytest.raises(ResolutionFailed):
        sync(write_script(script, "alpha>=3"))
    assert installed(sync(write_script(script, "alpha<2")).path) == {"alpha==1.1"}


@pytest.mark.parametrize("running", [False, True])
def test_an_installation_that_fails_leaves_a_whole_environment_after_the_next_sync(
    home: Home, script: Path, *, running: bool
) -> None:
    """The wheel's metadata are read from its end; its content is cut out of the middle."""
    good = sync(write_script(script, "alpha<2"))
    wheel = script.parent / "many_files-1.0-py3-none-any.whl"
    data = bytearray((Path(os.environ["UV_FIND_LINKS"]) / wheel.name).read_bytes())
    data[2000:6000] = bytes(4000)
    wheel.write_bytes(data)
    write_script(script, f"many-files @ ./{wheel.name}")
    with (
        running_kernel(home.scriptenv, good.name if running else "another"),
        pytest.raises(ScriptEnvError),
    ):
        sync(script)
    assert installed(sync(write_script(script, "beta")).path) == {"alpha==2.0", "beta==1.0"}
    assert_whole(good.path)


def assert_whole(environment: Path) -> None:
    assert not (environment / CHANGING).exists()
    assert all(path.stat().st_size == size for path, size in record_rows(environment) if size)


@pytest.mark.parametrize("running", [False, True])
def test_a_sync_that_is_cancelled_leaves_a_whole_environment_after_the_next(
    home: Home, script: Path, *, running: bool
) -> None:
    good = sync(write_script(script, "alpha<2"))
    cancel = Cancel()

    def cut_short(event: Event) -> None:
        if event["event"] == "resolving":
            cancel.set()

    write_script(script, "pile")
    context = Context(on_event=cut_short, cancel=cancel)
    with (
        running_kernel(home.scriptenv, good.name if running else "another"),
        pytest.raises(Interrupted),
    ):
        environments.sync(environments.locate(script), context=context)
    sync(script)
    assert len(installed(good.path)) == 25
    assert_whole(good.path)


def test_steps_are_told(script: Path) -> None:
    events: list[Event] = []
    write_script(script, "beta")
    environments.sync(environments.locate(script), context=Context(on_event=events.append))
    kinds = [event["event"] for event in events]
    assert kinds[0] == "resolving"
    assert kinds[-1] == "installing"
    assert "Resolved 2 packages" in events[0]["text"]


def test_a_sync_waits_for_the_lock_and_tells_when_it_gives_up(
    home: Home, script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = sync(write_script(script, "beta"))
    monkeypatch.setenv("SCRIPTENV_LOCK_TIMEOUT", "0.1")
    lock = home.scriptenv / "locks" / f"{synced.name}.lock"
    with exclusively_held(lock), pytest.raises(LockTimeout):
        sync(script)
    assert sync(script).action == "kept"


def test_uv_keeps_the_lock_when_its_host_is_killed(script: Path, tmp_path: Path) -> None:
    """So nobody changes what it is still at work on: a build that waits at a pipe."""
    project = write_project(script.parent / "project")
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    backend = project / "backend.py"
    wait = f"import os\nif os.path.exists({str(gate)!r}): open({str(gate)!r}).read()\n"
    backend.write_text(wait + backend.read_text())
    write_script(script, "local", uv='sources = { local = { path = "project" } }')
    host = subprocess.Popen(
        [*PROGRAM, "sync", str(script)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    name = environments.name_of(environments.locate(script))
    environment, lock = Context().store.environment(name), Context().store.lock(name)
    with gate.open("w"):  # it opens when the build begins
        gate.unlink()
        host.kill()
        host.wait()
        assert is_held(lock)
    assert sync(script).action == "created"
    assert installed(environment) == {"local==1.0"}


# While kernels run: beside or in place


def test_with_nobody_running_new_content_is_built_beside(script: Path) -> None:
    before = sync(write_script(script, "alpha<2")).path.stat().st_ino
    assert sync(write_script(script, "beta")).path.stat().st_ino != before


def test_with_a_kernel_running_content_is_changed_in_place(home: Home, script: Path) -> None:
    first = sync(write_script(script, "alpha<2"))
    before = first.path.stat().st_ino
    write_script(script, "alpha<2", "nspkg-one")
    with running_kernel(home.scriptenv, first.name):
        synced = sync(script)
    assert (synced.action, changes(synced)) == ("updated", {("nspkg-one", "1.0", "installed")})
    assert synced.path.stat().st_ino == before
    assert not (synced.path / CHANGING).exists()
    assert state_of(script) == "in-sync"


def test_a_kernel_that_has_ended_counts_no_more(home: Home, script: Path) -> None:
    first = sync(write_script(script, "alpha<2"))
    before = first.path.stat().st_ino
    with running_kernel(home.scriptenv, first.name, imported=[ALPHA]):
        pass
    assert sync(write_script(script, "beta")).path.stat().st_ino != before


def test_a_change_in_place_is_marked_while_it_lasts(home: Home, script: Path) -> None:
    first = sync(write_script(script, "alpha<2"))
    seen: set[bool] = set()

    def look(_event: Event) -> None:
        seen.add((first.path / CHANGING).exists())

    write_script(script, "alpha<2", "nspkg-one")
    with running_kernel(home.scriptenv, first.name):
        environments.sync(environments.locate(script), context=Context(on_event=look))
    # The first look is at what would change, before the mark.
    assert True in seen
    assert not (first.path / CHANGING).exists()


def test_what_a_kernel_has_not_imported_may_change_under_it(home: Home, script: Path) -> None:
    first = sync(write_script(script, "alpha<2", "nspkg-one", "gamma"))
    write_script(script, "alpha<2", "nspkg-two", "beta")
    with running_kernel(home.scriptenv, first.name, imported=[ALPHA, "stranger.py"]):
        assert installed(sync(script).path) == {"alpha==1.1", "beta==1.0", "nspkg-two==1.0"}


@pytest.mark.parametrize("dependency", ["alpha>=2", "nspkg-one", "alpha==1.0"])
def test_a_change_of_what_another_kernel_has_imported_is_refused(
    home: Home, script: Path, dependency: str
) -> None:
    """Whether it would go, or give way to a newer or an older one."""
    first = sync(write_script(script, "alpha<2"))
    before = listing(site_of(first.path))
    write_script(script, dependency)
    with (
        running_kernel(home.scriptenv, first.name, imported=[ALPHA]),
        pytest.raises(EnvironmentInUse) as refused,
    ):
        sync(script)
    assert f"process {os.getpid()}" in str(refused.value)
    assert "alpha" in str(refused.value)
    assert listing(site_of(first.path)) == before
    assert not (first.path / CHANGING).exists()
    assert record_of(first.path).pending == block_of(dependency) + "\n"


def test_a_change_of_what_the_asking_kernel_has_imported_is_refused_and_becomes_pending(
    home: Home, script: Path
) -> None:
    first = sync(write_script(script, "alpha<2"))
    before = listing(site_of(first.path))
    block = block_of("alpha>=2")
    with (
        running_kernel(home.scriptenv, first.name, imported=[ALPHA]) as uuid,
        pytest.raises(RestartNeeded) as refused,
    ):
        sync(script, block=block, given=True, asker=asker(first, uuid, imported=ALPHA))
    assert "alpha" in str(refused.value)
    assert "Restart" in refused.value.hint
    assert listing(site_of(first.path)) == before
    assert record_of(first.path).pending == block
    assert state_of(script) == "pending"


def test_a_kernel_that_has_run_no_cell_replaces_itself_instead(home: Home, script: Path) -> None:
    first = sync(write_script(script, "alpha<2"))
    with running_kernel(home.scriptenv, first.name, imported=[ALPHA]) as uuid:
        asking = asker(first, uuid, fresh=True, imported=ALPHA)
        synced = sync(script, block=block_of("alpha>=2"), given=True, asker=asking)
    assert synced.replace is not None
    assert "alpha" in synced.replace
    assert installed(first.path) == {"alpha==2.0"}


@FAILURES
def test_a_failed_resolution_leaves_no_mark_under_a_kernel_that_has_run_no_cell(
    *, home: Home, script: Path, dependencies: tuple[str, ...], error: type[ScriptEnvError]
) -> None:
    """Nothing is tried out before for such a kernel: the change itself fails."""
    first = sync(write_script(script, "alpha<2"))
    before = listing(first.path)
    block = block_of(*dependencies)
    with running_kernel(home.scriptenv, first.name) as uuid, pytest.raises(error):
        sync(script, block=block, given=True, asker=asker(first, uuid, fresh=True))
    assert listing(first.path) == before


def test_additions_need_no_restart(home: Home, script: Path) -> None:
    first = sync(write_script(script, "alpha<2"))
    block = block_of("alpha<2", "nspkg-one")
    with running_kernel(home.scriptenv, first.name, imported=[ALPHA]) as uuid:
        synced = sync(script, block=block, given=True, asker=asker(first, uuid, imported=ALPHA))
    assert synced.replace is None
    assert installed(first.path) == {"alpha==1.1", "nspkg-one==1.0"}


def test_a_block_that_asks_for_another_python_needs_a_restart(
    home: Home, script: Path, pythons: dict[str, Path]
) -> None:
    minor = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if not any(each != minor for each in pythons):
        pytest.skip("there is no other Python")
    first = sync(write_script(script, "alpha<2"))
    block = block_of(requires_python=f"!={minor}.*")
    with running_kernel(home.scriptenv, first.name) as uuid, pytest.raises(RestartNeeded):
        sync(script, block=block, given=True, asker=asker(first, uuid))
    assert record_of(first.path).pending == block


# What is pending is taken by the next start, unless the file has changed since


@pytest.fixture
def pending(home: Home, script: Path) -> Path:
    """Leave a block pending; give the environment."""
    first = sync(write_script(script, "alpha<2"))
    block = block_of("alpha>=2")
    with (
        running_kernel(home.scriptenv, first.name, imported=[ALPHA]) as uuid,
        pytest.raises(RestartNeeded),
    ):
        sync(script, block=block, given=True, asker=asker(first, uuid, imported=ALPHA))
    return first.path


def test_what_is_pending_is_taken_by_the_next_start(script: Path, pending: Path) -> None:
    start(script)
    assert record_of(pending).pending == block_of("alpha>=2")
    assert sync(script).action == "updated"
    assert installed(pending) == {"alpha==2.0"}
    assert record_of(pending).pending is None
    assert state_of(script) == "in-sync"


def test_what_is_pending_is_dropped_if_the_file_has_changed_since(
    script: Path, pending: Path
) -> None:
    write_script(script, "nspkg-one")
    start(script)
    sync(script)
    assert installed(pending) == {"nspkg-one==1.0"}
    assert record_of(pending).pending is None


def test_what_was_executed_but_not_saved_stands(script: Path) -> None:
    """The block of a cell that ran decides, until the file's stat is another."""
    write_script(script, "alpha<2")
    first = sync(script)
    sync(script, block=block_of("beta"), given=True, asker=asker(first))
    start(script)
    assert state_of(script) == "in-sync"
    assert sync(script).action == "kept"
    assert installed(first.path) == {"alpha==2.0", "beta==1.0"}
    write_script(script, "alpha<2", code="# saved\n")
    assert state_of(script) == "stale"
    assert installed(sync(script).path) == {"alpha==1.1"}


def test_a_file_that_is_saved_with_what_is_installed_is_in_sync(script: Path) -> None:
    sync(write_script(script, "alpha<2"))
    write_script(script, "alpha<2", code="print(1)\n")
    assert state_of(script) == "in-sync"
    assert sync(script).action == "kept"


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


# What decides is in the fingerprint


def change_lock(_home: Home, script: Path, _patch: pytest.MonkeyPatch) -> None:
    write_lock(script)


def change_configuration(home: Home, _script: Path, _patch: pytest.MonkeyPatch) -> None:
    configure(home, 'resolution = "lowest"')


def change_index(_home: Home, _script: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("UV_DEFAULT_INDEX", "https://ada:secret@localhost/simple")


def change_constraint(_home: Home, script: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("UV_CONSTRAINT", str(script.parent / "constraints.txt"))


def change_prerelease(_home: Home, _script: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("UV_PRERELEASE", "allow")


def change_newest(_home: Home, _script: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("UV_EXCLUDE_NEWER", "2024-01-01")


def change_project(_home: Home, script: Path, _patch: pytest.MonkeyPatch) -> None:
    with (script.parent / "project" / "pyproject.toml").open("a") as file:
        file.write("# changed\n")


def change_setup(_home: Home, script: Path, _patch: pytest.MonkeyPatch) -> None:
    (script.parent / "project" / "setup.py").write_text("")


CHANGES = [
    change_lock,
    change_configuration,
    change_index,
    change_constraint,
    change_prerelease,
    change_newest,
    change_project,
    change_setup,
]


@pytest.mark.parametrize("change", CHANGES)
def test_what_decides_makes_an_environment_stale(
    *,
    home: Home,
    script: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Home, Path, pytest.MonkeyPatch], None],
) -> None:
    write_project(script.parent / "project")
    source = 'sources = { local = { path = "project" } }'
    synced = sync(write_script(script, "alpha<2", "local", uv=source))
    assert state_of(script) == "in-sync"
    change(home, script, monkeypatch)
    assert state_of(script) == "stale"
    # What a kernel asks at each start must notice it too, by stats alone.
    record = json.loads((synced.path / "scriptenv.json").read_text())
    assert may_have_changed(record, os.environ)


def test_what_does_not_decide_leaves_an_environment_in_sync(
    home: Home, script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_project(script.parent / "project")
    source = 'sources = { local = { path = "project" } }'
    sync(write_script(script, "alpha<2", "local", uv=source))
    monkeypatch.setenv("UV_HTTP_TIMEOUT", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(home.path / "another-cache"))
    monkeypatch.setenv("HTTPS_PROXY", "http://localhost:1")
    (script.parent / "project" / "local.py").write_text("")
    (script.parent / "uv.toml").write_text("")
    (script.parent / "pyproject.toml").write_text("")
    assert state_of(script) == "in-sync"


def test_the_request_for_a_python_is_in_the_fingerprint(script: Path) -> None:
    minor = f"{sys.version_info[0]}.{sys.version_info[1]}"
    first = sync(write_script(script, "alpha<2"))
    second = sync(script, python=minor)
    assert second.record.python.base == first.record.python.base
    assert second.record.fingerprint != first.record.fingerprint


def test_credentials_are_not_in_the_fingerprint() -> None:
    first = settings_digest({"UV_INDEX": "https://ada:one@index.example/simple"})
    assert first == settings_digest({"UV_INDEX": "https://ada:two@index.example/simple"})
    assert first == settings_digest({"UV_INDEX": "https://index.example/simple"})
    assert first != settings_digest({"UV_INDEX": "https://other.example/simple"})
    assert first != settings_digest({})


def test_credentials_are_not_in_the_record(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_INDEX", "https://ada:secret@localhost/simple")
    environment = sync(write_script(script, "alpha<2")).path
    assert "secret" not in (environment / "scriptenv.json").read_text()


@pytest.mark.parametrize("part", ["block", "lock_sha256", "python_request", "settings"])
def test_every_part_is_in_the_fingerprint(part: str) -> None:
    parts = {"block": None, "lock_sha256": None, "python_request": None, "settings": ""}

    def digest(**more: object) -> str:
        return plan.fingerprint(**{**parts, "config": {}, "local": {}, **more})  # type: ignore[arg-type]

    assert digest() == digest()
    assert digest(**{part: "x"}) != digest()
    assert digest(block=None) != digest(block="")
    assert digest(config={"a": "1"}) != digest()
    assert digest(local={"a": None}) != digest(local={"a": (1, 2, 3)})
    assert digest(config={"a": "1", "b": "2"}) == digest(config={"b": "2", "a": "1"})


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
