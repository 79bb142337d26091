"""What goes to a cluster, put together from real environments; the clusters are elsewhere."""

from __future__ import annotations

import json
import os
import py_compile
import shutil
import subprocess
import sys
import tempfile
import zipfile
from importlib.metadata import distributions
from pathlib import Path

import pytest
from uv import find_uv_bin

from ipy_scriptenv.cluster import ray_runtime_env, scriptenv_plugin, spark_conf
from ipy_scriptenv.cluster.shipping import ship
from ipy_scriptenv.cluster.wheels import wheel_of
from ipy_scriptenv.environments import Context, locate
from ipy_scriptenv.errors import EngineFailed, NotFound, PolicyViolation, WrongCall
from tests.conftest import Home
from tests.kernels import opened
from tests.policies import write_policy
from tests.stage import (
    BASE,
    HOST,
    call,
    environment_of,
    installed,
    site_of,
    sync,
    write_project,
    write_script,
)
from tests.web_index import WebIndex, serving

GUARD = (
    f"another-python @ file:///the-notebook-runs-python-{HOST}-and-this-cluster-another.whl"
    f" ; python_version != '{HOST}'"
)


def uv(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [find_uv_bin(), *map(str, words)], capture_output=True, text=True, check=False
    )


@pytest.fixture
def other_environment(lean_home: Home, tmp_path: Path) -> Path:  # noqa: ARG001 - it sets the stage
    """Give an empty environment, as a worker has one."""
    assert uv("venv", "--python", BASE, tmp_path / "worker").returncode == 0
    return tmp_path / "worker"


def test_ray_gets_pins_and_the_blocks_index_and_no_credentials(
    lean_home: Home,  # noqa: ARG001 - it sets the stage
    script: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    index = 'extra-index-url = ["https://anna:s3cret@a.example/simple"]'
    write_script(script, "beta", uv=f"{index}\nindex-strategy = 'unsafe-best-match'")

    with pytest.warns(UserWarning, match=r"https://a\.example/simple stay here.*\.netrc"):
        found = ray_runtime_env(script, env_vars={"A": "b"})

    options = ["--no-cache", "--no-deps", "--extra-index-url", "https://a.example/simple"]
    options += ["--index-strategy", "unsafe-best-match"]
    assert found == {
        "uv": {
            "packages": [GUARD, "alpha==2.0", "beta==1.0"],
            "uv_pip_install_options": options,
        },
        "env_vars": {"A": "b"},
    }
    assert "s3cret" not in json.dumps(found)
    assert [*(tmp_path / "temporary").iterdir()] == []


def test_another_python_cannot_install_what_ray_gets(other_environment: Path, script: Path) -> None:
    write_script(script, "alpha")
    packages = ray_runtime_env(script)["uv"]["packages"]

    def tried(python: Path, version: str) -> subprocess.CompletedProcess[str]:
        return uv("pip", "install", "--python", python, "--python-version", version, *packages)

    python = other_environment / "bin" / "python"
    refused = tried(python, "3.8")
    assert refused.returncode != 0
    assert f"the-notebook-runs-python-{HOST}-and-this-cluster-another" in refused.stderr
    assert installed(other_environment) == set()
    assert tried(python, HOST).returncode == 0
    assert installed(other_environment) == {"alpha==2.0"}


@pytest.mark.parametrize("place", ["path", "editable", "git"])
def test_what_is_on_no_index_travels_as_a_wheel(
    other_environment: Path, script: Path, tmp_path: Path, place: str
) -> None:
    project = write_project(tmp_path / "project")
    table = {
        "path": f"{{ path = '{project}' }}",
        "editable": f"{{ path = '{project}', editable = true }}",
        "git": f"{{ git = 'file://{project}' }}",
    }[place]
    if place == "git":
        who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        for words in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "all"]):
            subprocess.run([shutil.which("git") or "git", *words], cwd=project, check=True)
    write_script(script, "local", "alpha", uv=f"sources.local = {table}")

    found = ray_runtime_env(script, installer="pip")

    wheel = "local-1.0-py3-none-any.whl"
    assert found["pip"]["packages"] == [
        GUARD,
        "alpha==2.0",
        "${RAY_RUNTIME_ENV_CREATE_WORKING_DIR}/" + wheel,
    ]
    file = Path(found["working_dir"], wheel)
    assert [each.name for each in file.parent.iterdir()] == [wheel]
    target = other_environment / "bin" / "python"
    assert uv("pip", "install", "--python", target, file).returncode == 0
    answer = subprocess.run(
        [target, "-c", "import local; print(local.VERSION, local.__file__)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.split()[0] == "1.0"
    assert str(other_environment) in answer.stdout
    with pytest.raises(WrongCall, match="local cannot be installed from an index"):
        ray_runtime_env(script, working_dir=".")


@pytest.mark.usefixtures("lean_home", "system")
def test_the_policy_holds_for_what_would_be_built(script: Path, tmp_path: Path) -> None:
    project = write_project(tmp_path / "project")
    table = f"{{ path = '{project}', editable = true }}"
    sync(write_script(script, "local", uv=f"sources.local = {table}"))
    write_policy("wheels-only = true", system=True)

    with pytest.raises(PolicyViolation, match="`project` has to be"):
        ray_runtime_env(script)


def test_a_wheel_of_what_is_installed_installs_the_same_again(
    other_environment: Path, script: Path, tmp_path: Path
) -> None:
    write_script(script, "with-entry-point", "many-files")
    environment = sync(script).path
    # A module without source.
    closed = site_of(environment) / "closed.pyc"
    py_compile.compile(str(next(site_of(environment).rglob("*.py"))), str(closed))
    (record,) = site_of(environment).glob("with_entry_point-*.dist-info/RECORD")
    listed = record.read_text()
    record.unlink()  # it is uv's too
    record.write_text(f"{listed}closed.pyc,,\n")
    folder, again = tmp_path / "wheels", tmp_path / "again"
    for each in (folder, again):
        each.mkdir()
        for found in distributions(path=[str(site_of(environment))]):
            wheel_of(found, build=lambda _project, _folder: pytest.fail("built"), folder=each)

    wheels = sorted(folder.iterdir())
    assert [each.read_bytes() for each in wheels] == [
        each.read_bytes() for each in sorted(again.iterdir())
    ]
    names = zipfile.ZipFile(wheels[-1]).namelist()
    assert not {"direct_url.json", "INSTALLER"} & {name.rpartition("/")[2] for name in names}
    python = other_environment / "bin" / "python"
    assert uv("pip", "install", "--python", python, *wheels).returncode == 0
    assert installed(other_environment) == installed(environment)

    def modules(site: Path) -> dict[str, bytes]:
        return {
            str(path.relative_to(site)): path.read_bytes()
            for path in (*site.rglob("*.py"), *site.glob("*.pyc"))
            if path.name != "_virtualenv.py"
        }

    assert modules(site_of(other_environment)) == modules(site_of(environment))
    assert "closed.pyc" in modules(site_of(environment))
    program = other_environment / "bin" / "hello-entry"
    assert subprocess.run([program], capture_output=True, text=True, check=True).stdout == (
        "hello from an entry point\n"
    )


def test_what_comes_from_a_folder_of_this_machine_travels_as_a_wheel(
    lean_home: Home,  # noqa: ARG001 - it sets the stage
    index: Path,
    script: Path,
) -> None:
    write_script(script, "gamma", uv=f"find-links = ['{index}']")

    packages = ray_runtime_env(script)["uv"]["packages"]

    place = "${RAY_RUNTIME_ENV_CREATE_WORKING_DIR}"
    assert packages[1:] == [
        f"{place}/alpha-1.1-py3-none-any.whl",
        f"{place}/gamma-1.0-py3-none-any.whl",
    ]


def test_what_is_asked_for_travels_as_a_wheel(
    lean_home: Home,  # noqa: ARG001 - it sets the stage
    script: Path,
) -> None:
    write_script(script, "gamma")

    packages = ray_runtime_env(script, wheels=["Gamma"])["uv"]["packages"]

    assert packages[1] == "alpha==1.1"
    assert packages[2].endswith("/gamma-1.0-py3-none-any.whl")
    with pytest.raises(WrongCall, match="`delta` is not installed"):
        ray_runtime_env(script, wheels=["delta"])
    (site_of(environment_of(script)) / "gamma" / "__init__.py").unlink()
    with pytest.raises(EngineFailed, match="No wheel of gamma could be made: No such file"):
        ray_runtime_env(script, wheels=["gamma"])


def test_a_lock_says_what_is_for_which_system(
    lean_home: Home,  # noqa: ARG001 - it sets the stage
    script: Path,
) -> None:
    write_script(script, "alpha<2; sys_platform == 'linux'", "alpha>=2; sys_platform != 'linux'")
    assert call("lock", script).returncode == 0

    packages = ray_runtime_env(script)["uv"]["packages"]

    assert packages[1:] == [
        "alpha==1.1 ; sys_platform == 'linux'",
        "alpha==2.0 ; sys_platform != 'linux'",
    ]
    # Another system's engine is its own matter too.
    found = ship(locate(script), context=Context(), engine=["alpha"], built=script.parent)
    assert (found.parcels, found.engine) == ((), {"alpha": "1.1"})
    # What somebody installed in its place has the last word.
    python = environment_of(script) / "bin" / "python"
    assert uv("pip", "install", "--python", python, "alpha==1.0").returncode == 0
    assert ray_runtime_env(script)["uv"]["packages"][1:] == ["alpha==1.0"]
    assert uv("pip", "install", "--python", python, "alpha==2.0").returncode == 0
    assert ray_runtime_env(script)["uv"]["packages"][1] == "alpha==2.0"


def test_each_system_gets_a_package_from_its_own_index(
    web: WebIndex, index: Path, script: Path
) -> None:
    with serving(index) as other:
        places = {"here": ("==", web.url()), "there": ("!=", other.url())}
        tables = [
            f"{{ name = '{name}', url = '{url}', explicit = true }}"
            for name, (_, url) in places.items()
        ]
        sources = [
            f"{{ index = '{name}', marker = \"sys_platform {sign} '{sys.platform}'\" }}"
            for name, (sign, _) in places.items()
        ]
        uv = f"index = [{', '.join(tables)}]\nsources.alpha = [{', '.join(sources)}]"
        write_script(script, "alpha", uv=uv)

        without_lock = ray_runtime_env(script)["uv"]
        assert call("lock", script).returncode == 0
        with_lock = ray_runtime_env(script)["uv"]

    more = [("--extra-index-url", url) for _, url in places.values()]
    strategy = ["--index-strategy", "unsafe-best-match"]
    assert without_lock["packages"][1:] == ["alpha==2.0"]
    assert without_lock["uv_pip_install_options"][2:] == [*more[0], *strategy]
    assert with_lock["packages"][1:] == [
        f"alpha==2.0 ; sys_platform {sign} '{sys.platform}'" for sign, _ in places.values()
    ]
    assert with_lock["uv_pip_install_options"][2:] == [*more[0], *more[1], *strategy]


def test_a_page_of_links_is_no_other_package_s_index(web: WebIndex, script: Path) -> None:
    index = f"[{{ name = 'page', url = '{web.page}', format = 'flat', explicit = true }}]"
    write_script(script, "alpha", "gamma", uv=f"index = {index}\nsources.gamma.index = 'page'")

    found = ray_runtime_env(script)["uv"]

    assert found["packages"][1:] == ["alpha==1.1", "gamma==1.0"]
    strategy = ["--index-strategy", "unsafe-best-match"]
    assert found["uv_pip_install_options"][2:] == ["--find-links", web.page, *strategy]
    shipment = ship(locate(script), context=Context(), engine=(), built=script.parent)
    assert shipment.indexes.options == []
    assert shipment.indexes.alone(web.page) == ["--no-index", "--find-links", web.page]


def test_spark_unpacks_a_python_with_the_packages(
    lean_home: Home,  # noqa: ARG001 - it sets the stage
    script: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    project = write_project(tmp_path / "project")
    table = f"{{ path = '{project}', editable = true }}"
    write_script(script, "beta", "with-entry-point", "local", uv=f"sources.local = {table}")
    monkeypatch.setenv("PYSPARK_PYTHON", "before")
    archive = tmp_path / "packed.tar.gz"
    # Somebody else may be writing one there.
    other = archive.with_name(f"{archive.name}.part")
    other.write_text("not ours")

    for with_python in (False, True):
        found = spark_conf(script, archive=archive, with_python=with_python)
        assert found == {
            "spark.archives": f"{archive}#environment",
            "spark.pyspark.python": "./environment/bin/python",
        }
        assert os.environ["PYSPARK_PYTHON"] == "./environment/bin/python"
        executor = tmp_path / f"executor-{with_python}"
        (executor / "environment").mkdir(parents=True)
        # As Spark does, where the system has tar.
        tar = shutil.which("tar") or "tar"
        subprocess.run([tar, "-xzf", archive], cwd=executor / "environment", check=True)
        question = (
            "import sys, alpha, beta, local, ssl;"
            "print(alpha.__version__, sys.prefix, sys.base_prefix, local.__file__)"
        )
        answer = subprocess.run(
            ["./environment/bin/python", "-I", "-c", question],
            cwd=executor,
            capture_output=True,
            text=True,
            check=True,
        )
        version, prefix, base, local = answer.stdout.split()
        here = str(executor / "environment")
        assert (version, prefix, base == here) == ("2.0", here, with_python)
        assert local.startswith(here)
        if not with_python:
            done = subprocess.run(
                ["./environment/bin/hello-entry"], cwd=executor, capture_output=True, check=True
            )
            assert done.stdout == b"hello from an entry point\n"
        assert other.read_text() == "not ours"
        # Nothing in it leads back to this machine's project.
        texts = [each.read_bytes() for each in executor.rglob("*") if each.is_file()]
        assert not [text for text in texts if str(project).encode() in text]


def test_a_kernel_has_the_module_although_nothing_is_installed(
    offline_home: Home, path: Path
) -> None:
    script = write_script(path.with_name("other.py"), "gamma")
    with opened(offline_home, path) as kernel:
        imported = kernel.execute(
            "import ipy_scriptenv, sys\n"
            "from ipy_scriptenv.cluster import ray_runtime_env, scriptenv_plugin, spark_conf\n"
            "print([name for name in sys.modules if name.split('.')[0] in ('ray', 'distributed')])"
        )
        assert (imported.status, imported.stdout) == ("ok", "[]\n"), imported.traceback

        for code, words in (
            ("scriptenv_plugin()", '"dask[distributed]"'),
            ("ray_runtime_env()", '"ray"'),
            ("spark_conf()", '"pyspark"'),
        ):
            failed = kernel.execute(code)
            told = failed.traceback
            assert failed.error is not None
            assert "cannot be imported here" in told
            assert f"Declare it: add {words} to the dependencies" in told

        # Another source's, made complete on the way.
        found = kernel.execute(f"print(ray_runtime_env({str(script)!r})['uv']['packages'][1:])")
        assert found.stdout == "['alpha==1.1', 'gamma==1.0']\n", found.traceback
        assert installed(environment_of(script)) == {"alpha==1.1", "gamma==1.0"}


def test_what_cannot_be_is_told(
    lean_home: Home,  # noqa: ARG001 - it sets the stage
    script: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_script(script, "alpha")

    with pytest.raises(WrongCall, match="runs in no environment of ipy-scriptenv") as caught:
        ray_runtime_env()
    assert caught.value.__notes__ == [
        "Name the notebook or script whose packages the workers need."
    ]
    with pytest.raises(NotFound):
        ray_runtime_env("nowhere.ipynb")
    with pytest.raises(WrongCall, match="no installer `conda`"):
        ray_runtime_env(script, installer="conda")
    with pytest.raises(WrongCall, match="`pip` would be beside"):
        ray_runtime_env(script, pip=["six"])
    with pytest.raises(WrongCall, match=r"no name of a `\.tar\.gz`"):
        spark_conf(script, archive="packed.zip")
    for name in ("a,b", "a#b"):
        with pytest.raises(WrongCall, match=f"`.*/{name}/packed.tar.gz` holds a comma or a hash"):
            spark_conf(script, archive=tmp_path / name / "packed.tar.gz")
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(WrongCall, match="`distributed` cannot be imported here") as caught:
        scriptenv_plugin(script)
    assert 'pip install "ipy-scriptenv[dask]"' in caught.value.hint
