"""What is outside an environment and decides how its kernel fares is told."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ipy_scriptenv import environments
from ipy_scriptenv.environments import Context, examine, surroundings
from ipy_scriptenv.environments.surroundings import missing_front_ends, shadowing_path
from ipy_scriptenv.record import Package
from tests.conftest import Home
from tests.index.build import Distribution
from tests.kernels import block, opened, wheel
from tests.stage import call, sync, write_notebook, write_script

pytestmark = pytest.mark.usefixtures("lean_home")

FRONT_ENDS = [
    ("ipywidgets", "@jupyter-widgets/jupyterlab-manager", "jupyterlab_widgets"),
    ("ipympl", "jupyter-matplotlib", "ipympl"),
    ("anywidget", "anywidget", "anywidget"),
]


def warnings(script: Path) -> tuple[str, ...]:
    """Give what `status` warns of; `doctor` must find the same."""
    told = environments.status(environments.locate(script), context=Context()).warnings
    found = [each for each in examine(Context()) if each.code == "surroundings"]
    assert [each.message for each in found] == [f"`{script}`: {each}" for each in told]
    assert all(each.cure is None for each in found)
    return told


def front_end(folder: Path, extension: str) -> None:
    """Install the half of a package that JupyterLab needs, as pip does."""
    path = folder / "labextensions" / extension / "package.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"name": extension}))


@pytest.fixture
def widgets(script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a script whose environment has every package with a front end."""
    folder = tmp_path / "wheels"
    for name, _, _ in FRONT_ENDS:
        wheel(folder, Distribution(name=name, version="1.0"))
    monkeypatch.setenv("UV_FIND_LINKS", f"{os.environ['UV_FIND_LINKS']},{folder}")
    sync(write_script(script, *(name for name, _, _ in FRONT_ENDS)))
    return script


# Front ends.


def test_packages_without_front_end_are_told_with_what_brings_it(widgets: Path) -> None:
    told = warnings(widgets)
    assert len(told) == len(FRONT_ENDS)
    for (name, _, brought_by), words in zip(FRONT_ENDS, told, strict=True):
        assert words.startswith(f"{name} ")
        assert f"pip install {brought_by}`" in words


@pytest.mark.parametrize(("name", "extension", "_brought_by"), FRONT_ENDS)
def test_a_package_with_its_front_end_is_not_told(
    widgets: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    extension: str,
    _brought_by: str,
) -> None:
    front_end(tmp_path / "jupyter", extension)
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    told = warnings(widgets)
    assert len(told) == len(FRONT_ENDS) - 1
    assert not any(words.startswith(f"{name} ") for words in told)


def test_front_ends_in_several_folders_of_jupyter_are_found(
    home: Home, widgets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [tmp_path / "one", tmp_path / "two", home.jupyter_data]
    for place, (_, extension, _) in zip(places, FRONT_ENDS, strict=True):
        front_end(place, extension)
    monkeypatch.setenv("JUPYTER_PATH", f"{places[0]}{os.pathsep}{places[1]}")
    assert warnings(widgets) == ()


def test_without_jupyterlab_beside_us_no_front_end_is_missed(
    widgets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surroundings, "_has_lab", lambda: False)
    assert warnings(widgets) == ()


def test_a_package_that_draws_nothing_misses_nothing(script: Path) -> None:
    sync(write_script(script, "beta"))
    assert warnings(script) == ()


def test_a_missing_front_end_is_told_by_the_command_line(widgets: Path) -> None:
    said = call("status", widgets)
    assert said.returncode == 0
    assert "warning: ipywidgets draws in the browser" in said.stdout
    said = call("doctor", "--fix")
    assert said.returncode == 1
    assert said.stdout.count("draws in the browser") == len(FRONT_ENDS)


# PYTHONPATH.


def shadow(folder: Path, *names: str) -> Path:
    """Make a folder with modules and packages; give it."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    return folder


@pytest.mark.parametrize(
    "module",
    [
        "alpha.py",
        "alpha/__init__.py",
        "alpha/namespace.py",
        "alpha.cpython-311-x86_64-linux-gnu.so",
    ],
)
def test_a_folder_of_pythonpath_that_hides_a_package_is_told(
    script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    sync(write_script(script, "beta"))
    folder = shadow(tmp_path / "mine", module, "other.py")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    (told,) = warnings(script)
    assert f"`{folder}`" in told
    assert "alpha" in told
    assert "other" not in told
    assert "beta" not in told


def test_every_folder_of_pythonpath_is_told_by_itself(
    script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync(write_script(script, "beta", "nspkg-one"))
    one = shadow(tmp_path / "one", "alpha.py", "beta.py")
    two = shadow(tmp_path / "two", "beta.py")
    plain = shadow(tmp_path / "plain", "helpers.py")
    entries = [one, tmp_path / "missing", plain, two]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, entries)))
    first, second = warnings(script)
    assert f"`{one}`, whose alpha, beta " in first
    assert f"`{two}`, whose beta " in second


def test_the_name_of_a_module_is_compared_as_it_is_imported(
    script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync(write_script(script, "with-entry-point"))
    monkeypatch.setenv("PYTHONPATH", str(shadow(tmp_path / "mine", "with_entry_point.py")))
    assert len(warnings(script)) == 1


@pytest.mark.parametrize("names", [["helpers.py"], ["alpha.txt"], ["alpha-1.0.dist-info/RECORD"]])
def test_a_folder_of_pythonpath_that_hides_nothing_is_not_told(
    script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str]
) -> None:
    sync(write_script(script, "beta"))
    monkeypatch.setenv("PYTHONPATH", str(shadow(tmp_path / "mine", *names)))
    assert warnings(script) == ()


def test_a_relative_folder_of_pythonpath_is_not_told_because_no_kernel_has_it(
    script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync(write_script(script, "beta"))
    shadow(script.parent / "mine", "alpha.py")
    monkeypatch.chdir(script.parent)
    monkeypatch.setenv("PYTHONPATH", f"mine{os.pathsep}")
    assert warnings(script) == ()


def test_what_hides_a_package_is_told_by_the_command_line(script: Path, tmp_path: Path) -> None:
    sync(write_script(script, "beta"))
    folder = shadow(tmp_path / "mine", "alpha.py")
    variables = {**os.environ, "PYTHONPATH": str(folder)}
    said = call("status", script, env=variables)
    assert f"warning: PYTHONPATH holds `{folder}`" in said.stdout
    said = call("doctor", "--json", env=variables)
    assert said.returncode == 1
    (finding,) = json.loads(said.stdout)["findings"]
    assert finding["code"] == "surroundings"
    assert not finding["can_be_mended"]


def test_nothing_is_told_of_an_environment_that_is_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(shadow(tmp_path / "mine", "alpha.py")))
    assert shadowing_path(()) == ()
    assert missing_front_ends(()) == ()
    assert shadowing_path([Package(name="alpha", version="1.0")])


@pytest.mark.usefixtures("offline_home")
def test_a_kernel_tells_its_user_too(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shadow(tmp_path / "mine", "alpha.py")
    path = write_notebook(tmp_path / "work" / "nb.ipynb", block("beta"))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    with opened(home, path) as kernel:
        assert kernel.execute("1").status == "ok"
        assert f"PYTHONPATH holds `{folder}`" in kernel.execute("%scriptenv").shown_text
