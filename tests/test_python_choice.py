"""Which Python an environment is made from (``docs/contract.md``, *Which Python?*), row by row."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.version import Version
from uv import find_uv_bin

from ipy_scriptenv import interpreters
from ipy_scriptenv.errors import Interrupted, NoPython, WrongCall
from ipy_scriptenv.interpreters import host_python, inspect_python
from ipy_scriptenv.processes import Cancel
from ipy_scriptenv.record import Python
from ipy_scriptenv.settings import search_path
from ipy_scriptenv.uv import Uv
from tests.conftest import Home
from tests.stage import (
    HOST,
    pretend_layer,
    record_of,
    start,
    sync,
    throw_away_base,
    write_notebook,
    write_source,
)

Verb = Callable[[Path], Python]


@pytest.fixture(autouse=True)
def home(lean_home: Home, pythons: dict[str, Path]) -> Home:
    """Pretend that there are layers for all Pythons: which one is chosen is what is looked at."""
    for minor, python in pythons.items():
        if minor != HOST:
            pretend_layer(lean_home.scriptenv, python)
    return lean_home


@pytest.fixture
def other(pythons: dict[str, Path]) -> str:
    """Name a Python that is not the host's, newer if there is one."""
    found = sorted((minor for minor in pythons if minor != HOST), key=Version)
    if not found:
        pytest.skip(f"there is no other Python than {HOST}")
    return next((minor for minor in found if Version(minor) > Version(HOST)), found[-1])


@pytest.fixture
def upgraded(other: str, pythons: dict[str, Path]) -> Python:
    """Describe what the host's interpreter will be after an upgrade."""
    return inspect_python(pythons[other])


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "work" / "inner"
    folder.mkdir(parents=True)
    return folder / "a.ipynb"


def at_start(path: Path) -> Python:
    return record_of(start(path).path).python


def at_sync(path: Path) -> Python:
    return sync(path).record.python


BOTH = pytest.mark.parametrize("verb", [at_start, at_sync])


# --python of this call


def test_the_request_of_the_call_comes_first(source: Path, other: str) -> None:
    write_source(source, requires_python=">=3.9")
    assert at_sync(source).minor == HOST
    synced = sync(source, python=other)
    assert (synced.record.python.minor, synced.record.python.request) == (other, other)
    assert synced.action == "rebuilt"
    assert sync(source, python=other).action == "kept"


def test_the_request_of_the_call_may_be_a_path(
    source: Path, pythons: dict[str, Path], other: str
) -> None:
    synced = sync(write_source(source), python=str(pythons[other]))
    assert synced.record.python.base == str(pythons[other])


def test_the_request_of_the_call_may_be_a_range(source: Path, other: str) -> None:
    synced = sync(write_source(source), python=f"=={other}.*")
    assert synced.record.python.minor == other


def test_the_request_of_the_call_may_be_a_program(source: Path, other: str) -> None:
    synced = sync(write_source(source), python=f"python{other}")
    assert synced.record.python.minor == other


def test_a_request_that_contradicts_requires_python_is_refused(source: Path, other: str) -> None:
    write_source(source, requires_python=f"!={other}.*")
    with pytest.raises(NoPython) as refused:
        sync(source, python=other)
    assert f"`--python {other}`" in str(refused.value)
    assert f"requires-python `!={other}.*`" in str(refused.value)


def test_a_path_that_contradicts_requires_python_is_refused_with_its_version(
    source: Path, pythons: dict[str, Path], other: str
) -> None:
    write_source(source, requires_python=f"!={other}.*")
    with pytest.raises(NoPython) as refused:
        sync(source, python=str(pythons[other]))
    assert f"is Python {other}." in str(refused.value)


def test_a_relative_path_is_refused(source: Path) -> None:
    with pytest.raises(WrongCall):
        sync(write_source(source), python="./bin/python")


# the record's request (an earlier --python), until it contradicts requires-python


@BOTH
def test_an_earlier_request_stands(source: Path, other: str, verb: Verb) -> None:
    sync(write_source(source), python=other)
    write_source(source, requires_python=">=3.9")
    python = verb(source)
    assert (python.minor, python.request) == (other, other)


@BOTH
def test_an_earlier_request_yields_where_it_contradicts_requires_python(
    source: Path, other: str, verb: Verb
) -> None:
    sync(write_source(source), python=other)
    write_source(source, requires_python=f"!={other}.*")
    assert verb(source).minor == HOST


@BOTH
def test_an_earlier_request_decides_again_when_its_interpreter_is_gone(
    source: Path, other: str, verb: Verb
) -> None:
    environment = sync(write_source(source), python=other).path
    record = environment / "scriptenv.json"
    base = record_of(environment).python.base
    record.write_text(record.read_text().replace(f'"{base}"', f'"{base}-that-is-gone"'))
    python = verb(source)
    assert (python.minor, python.request, python.base) == (other, other, base)


def test_an_earlier_request_is_not_forgotten_when_no_interpreter_is_there_for_it(
    source: Path, fetched: Path, fetchable: str
) -> None:
    environment = sync(write_source(source)).path
    record = json.loads((environment / "scriptenv.json").read_text())
    record["python"] |= {"request": fetchable, "base": "/no/such/python"}
    (environment / "scriptenv.json").write_text(json.dumps(record))
    with pytest.raises(NoPython, match=f"`--python {fetchable}`"):
        start(source)
    assert not fetched.exists(), "no cell has run"
    with pytest.raises(NoPython, match="none could be fetched"):
        sync(source)
    assert fetched.exists()
    write_source(source, requires_python=f"!={fetchable}")
    assert sync(source).record.python.minor == HOST


# a standing environment's Python if it satisfies requires-python


@BOTH
def test_a_standing_environment_keeps_its_python(source: Path, other: str, verb: Verb) -> None:
    write_source(source, requires_python=f"=={other}.*")
    assert verb(source).minor == other
    write_source(source, requires_python=">=3.9")
    assert verb(source).minor == other


@BOTH
def test_a_standing_environment_gets_another_python_where_its_own_does_not_satisfy(
    source: Path, other: str, verb: Verb
) -> None:
    write_source(source)
    assert verb(source).minor == HOST
    write_source(source, requires_python=f"=={other}.*")
    assert verb(source).minor == other


@BOTH
def test_a_host_that_is_upgraded_changes_nothing_in_environments_that_stand(
    *, source: Path, tmp_path: Path, upgraded: Python, verb: Verb, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_source(source)
    before = verb(source)
    monkeypatch.setattr(interpreters, "host_python", lambda: upgraded)
    assert verb(source) == before
    assert verb(write_source(tmp_path / "new.py")) == upgraded


# otherwise the host's own base interpreter (its minor) if that satisfies it


@BOTH
def test_a_new_environment_is_made_from_the_hosts_own_base_interpreter(
    source: Path, verb: Verb
) -> None:
    write_source(source, requires_python=f"~={HOST}.0")
    assert verb(source).base == getattr(sys, "_base_executable", sys.executable)


def test_a_block_that_cannot_be_read_gets_the_hosts_python_at_a_start(source: Path) -> None:
    write_notebook(source, "# /// script\n# requires-python = 3\n# ///\n")
    assert at_start(source).minor == HOST


# else the newest that does


@BOTH
def test_where_the_host_does_not_satisfy_the_newest_does(
    source: Path, pythons: dict[str, Path], verb: Verb
) -> None:
    satisfying = [minor for minor in pythons if minor != HOST]
    if not satisfying:
        pytest.skip(f"there is no other Python than {HOST}")
    write_source(source, requires_python=f"!={HOST}.*")
    assert Version(verb(source).minor) >= max(map(Version, satisfying))


def test_where_the_host_is_too_new_the_newest_below_it_does(
    source: Path, pythons: dict[str, Path]
) -> None:
    older = [minor for minor in pythons if Version(minor) < Version(HOST)]
    if not older:
        pytest.skip(f"there is no Python older than {HOST}")
    write_source(source, requires_python=f"<{HOST}")
    assert Version(at_start(source).minor) == max(map(Version, older))


@BOTH
@pytest.mark.parametrize("requires", [">=3.99", "<3.9", ">=3.11,<3.10"])
def test_where_none_satisfies_that_is_told(source: Path, requires: str, verb: Verb) -> None:
    write_source(source, requires_python=requires)
    with pytest.raises(NoPython) as refused:
        verb(source)
    assert refused.value.code == "no-python"
    assert "requires-python" in str(refused.value)
    assert not source.with_name(".venv").exists()


@pytest.fixture
def fetched(home: Home, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the folder that uv makes when it tries to fetch an interpreter, which will fail."""
    folder = home.path / "fetched"
    monkeypatch.setenv("UV_PYTHON_INSTALL_MIRROR", (home.path / "mirror").as_uri())
    monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", str(folder))
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS", "automatic")
    return folder


@pytest.fixture(scope="session")
def fetchable() -> str:
    """Name a version that uv could fetch and this machine does not have."""

    def versions(which: str) -> list[str]:
        argv = [find_uv_bin(), "python", "list", which, "--all-versions", "--output-format", "json"]
        found = json.loads(subprocess.run(argv, capture_output=True, check=True).stdout)
        return [
            each["version"]
            for each in found
            if each["implementation"] == "cpython" and each["variant"] == "default"
        ]

    here = versions("--only-installed")
    return next(
        each for each in versions("--only-downloads") if each not in here and is_final(each)
    )


def is_final(version: str) -> bool:
    return not Version(version).is_prerelease


def test_a_start_does_not_have_an_interpreter_fetched(
    source: Path, fetched: Path, fetchable: str
) -> None:
    write_source(source, requires_python=f"=={fetchable}")
    with pytest.raises(NoPython):
        start(source)
    assert not fetched.exists()


def test_a_sync_has_an_interpreter_fetched_where_none_satisfies(
    source: Path, fetched: Path, fetchable: str
) -> None:
    write_source(source, requires_python=f"=={fetchable}")
    with pytest.raises(NoPython) as refused:
        sync(source)
    assert "none could be fetched" in str(refused.value)
    assert refused.value.problems
    assert fetched.exists()


def test_nothing_is_fetched_for_a_request_that_contradicts_requires_python(
    source: Path, fetched: Path, fetchable: str
) -> None:
    write_source(source, requires_python=f"!={fetchable}")
    with pytest.raises(NoPython):
        sync(source, python=fetchable)
    assert not fetched.exists()


def test_nothing_is_fetched_that_no_kernel_runs_on(source: Path, fetched: Path) -> None:
    write_source(source, requires_python="<3.9")
    with pytest.raises(NoPython):
        sync(source)
    assert not fetched.exists()


# Nothing beside the source decides


@pytest.fixture
def hostile(source: Path, tmp_path: Path, other: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Fill the source's folder and the one above with traps; give the file that they write."""
    marker = tmp_path / "marker"
    trap = f'#!/bin/sh\necho {other} >> {marker}\nexec {sys.executable} "$@"\n'
    for folder in (source.parent, source.parent.parent):
        for program in (f".venv/bin/python{other}", ".venv/bin/python", f"bin/python{other}"):
            write_program(folder / program, trap)
        for name in ("python", "python3", f"python{other}"):
            write_program(folder / name, trap)
        (folder / ".venv" / "pyvenv.cfg").write_text(
            f"home = {folder}/.venv/bin\nversion = {other}.0\n"
        )
        (folder / ".python-version").write_text(f"{folder}/.venv/bin/python\n")
        (folder / "uv.toml").write_text(
            f'python-preference = "only-managed"\ncache-dir = "{marker}"\n[no-such-table]\n'
        )
        (folder / "pyproject.toml").write_text(
            f'[project]\nname = "hostile"\nversion = "1"\nrequires-python = "=={other}.*"\n'
            f'[tool.uv]\ncache-dir = "{marker}"\nno-such-setting = 1\n'
        )
        (folder / "setup.py").write_text(f"open({str(marker)!r}, 'w')\n")
        (folder / "sitecustomize.py").write_text(f"open({str(marker)!r}, 'w')\n")
    monkeypatch.chdir(source.parent)
    return marker


def write_program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@BOTH
def test_nothing_beside_the_source_decides(source: Path, hostile: Path, verb: Verb) -> None:
    assert verb(write_source(source)).base == host_python().base
    assert not hostile.exists()


@BOTH
def test_nothing_beside_the_source_decides_where_a_python_must_be_found(
    source: Path, hostile: Path, other: str, verb: Verb
) -> None:
    write_source(source, requires_python=f"=={other}.*")
    python = verb(source)
    assert python.minor == other
    assert not Path(python.base).is_relative_to(source.parent.parent)
    assert not hostile.exists()


@BOTH
def test_nothing_beside_the_source_decides_where_none_is_found(
    source: Path, hostile: Path, verb: Verb
) -> None:
    with pytest.raises(NoPython):
        verb(write_source(source, requires_python=">=3.99"))
    assert not hostile.exists()


@BOTH
def test_relative_entries_of_the_search_path_are_not_looked_into(
    *, source: Path, hostile: Path, other: str, verb: Verb, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = (".", "", "bin", "../bin", ".venv/bin", "./.venv/bin", "~/bin")
    monkeypatch.setenv("PATH", os.pathsep.join(entries), prepend=os.pathsep)
    python = verb(write_source(source, requires_python=f"=={other}.*"))
    assert not Path(python.base).is_relative_to(source.parent.parent)
    assert not hostile.exists()


def test_a_relative_entry_alone_finds_nothing(
    source: Path, hostile: Path, other: str, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "bin")
    monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", str(home.path / "none"))
    with pytest.raises(NoPython):
        start(write_source(source, requires_python=f"=={other}.*"))
    assert not hostile.exists()


def test_the_search_path_for_interpreters_has_no_relative_entries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = ("", ".", "bin", str(tmp_path), "../bin", "~/bin", "/usr/bin", str(tmp_path), "./x")
    monkeypatch.setenv("PATH", os.pathsep.join(entries))
    assert search_path().split(os.pathsep) == [str(tmp_path), "/usr/bin"]


def test_the_users_own_broken_configuration_stops_no_start(
    home: Home, source: Path, other: str
) -> None:
    configuration = home.path / "config" / "uv" / "uv.toml"
    configuration.parent.mkdir(parents=True)
    configuration.write_text("no such toml")
    assert at_start(write_source(source, requires_python=f"=={other}.*")).minor == other


# Discovery never yields a Python that is itself somebody's virtual environment


@pytest.fixture
def venv(tmp_path: Path, other: str, pythons: dict[str, Path]) -> Path:
    """Make a virtual environment of a Python that is not the host's."""
    path = tmp_path / "venv"
    subprocess.run(
        [find_uv_bin(), "venv", "--quiet", "--no-project", "--python", pythons[other], path],
        check=True,
    )
    return path


@BOTH
@pytest.mark.parametrize("variable", ["VIRTUAL_ENV", "CONDA_PREFIX", None])
def test_an_active_virtual_environment_is_not_found(
    *,
    source: Path,
    venv: Path,
    other: str,
    verb: Verb,
    variable: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if variable is not None:
        monkeypatch.setenv(variable, str(venv))
    monkeypatch.setenv("PATH", str(venv / "bin"), prepend=os.pathsep)
    python = verb(write_source(source, requires_python=f"=={other}.*"))
    assert python.minor == other
    assert not Path(python.base).is_relative_to(venv)


@pytest.mark.parametrize("request_form", ["{}", "python{}", "cpython-{}", "cpython@{}"])
def test_an_active_virtual_environment_is_not_found_by_request(
    source: Path, venv: Path, other: str, request_form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIRTUAL_ENV", str(venv))
    monkeypatch.setenv("PATH", str(venv / "bin"), prepend=os.pathsep)
    synced = sync(write_source(source), python=request_form.format(other))
    assert synced.record.python.minor == other
    assert not Path(synced.record.python.base).is_relative_to(venv)


def test_the_interpreter_of_a_virtual_environment_is_refused_with_the_reason(
    source: Path, venv: Path
) -> None:
    with pytest.raises(NoPython) as refused:
        sync(write_source(source), python=str(venv / "bin" / "python"))
    assert "belongs to a virtual environment" in str(refused.value)


def test_an_active_conda_environment_does_not_replace_the_hosts_python(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conda = throw_away_base(tmp_path / "conda")
    (tmp_path / "conda" / "conda-meta").mkdir()
    monkeypatch.setenv("CONDA_PREFIX", str(tmp_path / "conda"))
    monkeypatch.setenv("CONDA_DEFAULT_ENV", "work")
    monkeypatch.setenv("PATH", str(conda.parent), prepend=os.pathsep)
    assert at_start(write_source(source)).base == host_python().base


# for pyenv, asdf and mise the real interpreters instead of their shims


@pytest.fixture(params=["pyenv", "asdf", "mise"])
def shims(
    *,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    home: Home,
    other: str,
    pythons: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """Put the shims of a version manager first on ``PATH``; no other Python is to be found."""
    root = tmp_path / str(request.param)
    versions = root / ("versions" if request.param == "pyenv" else "installs/python")
    shim = "#!/bin/sh\necho 'the version is not set' >&2\nexit 127\n"
    for name in ("python", "python3", f"python{other}"):
        write_program(root / "shims" / name, shim)
    interpreter = versions / f"{other}.0" / "bin" / f"python{other}"
    interpreter.parent.mkdir(parents=True)
    interpreter.symlink_to(pythons[other])
    monkeypatch.setenv("PATH", str(root / "shims"))
    monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", str(home.path / "none"))
    return versions


@BOTH
@pytest.mark.usefixtures("shims")
def test_the_interpreters_behind_shims_are_found(source: Path, other: str, verb: Verb) -> None:
    assert verb(write_source(source, requires_python=f"=={other}.*")).minor == other


def test_virtual_environments_of_a_version_manager_are_not_found(
    source: Path, shims: Path, venv: Path, other: str
) -> None:
    """As pyenv-virtualenv keeps them among the versions; ``~`` sorts behind all of those."""
    shutil.copytree(venv, shims / "~project", symlinks=True)
    (shims / "0-project").symlink_to(venv)
    python = at_start(write_source(source, requires_python=f"=={other}.*"))
    assert Path(python.base).parent.parent == shims / f"{other}.0"


def test_the_users_own_pyenv_works_with_its_shims_first(
    source: Path, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = os.environ.get("PYENV_ROOT", "")
    if not Path(root, "shims", f"python{other}").exists():
        pytest.skip("pyenv is not in use")
    monkeypatch.setenv("PATH", f"{root}/shims{os.pathsep}{os.defpath}")
    python = at_start(write_source(source, requires_python=f"=={other}.*"))
    assert python.minor == other
    assert "shims" not in Path(python.base).parts


def test_a_python_that_was_built_between_releases_counts_as_the_one_it_leads_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As uv tells its version: without the ``+`` that it has itself."""
    told = json.dumps(["3.13.1+", "cpython", ".cpython-313-x86_64-linux-gnu.so", "x86_64", True])
    program = tmp_path / "python3.13"
    program.write_text(f"#!/bin/sh\necho '{told}'\n")
    program.chmod(0o755)
    assert inspect_python(program).version == "3.13.1"
    monkeypatch.setattr(platform, "python_version", lambda: "3.14.0a1+")
    assert host_python().version == "3.14.0a1"


def test_an_interrupt_is_not_taken_for_an_interpreter_that_is_not_there(tmp_path: Path) -> None:
    cancel = Cancel()
    cancel.set()
    with pytest.raises(Interrupted):
        Uv(binary=Path(find_uv_bin()), work=tmp_path, cancel=cancel).find_python("python3")
