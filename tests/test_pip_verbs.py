"""``%pip``, ``!pip``, ``%uv`` and ``%conda`` in a kernel."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from ipy_scriptenv.environments import tools
from ipy_scriptenv.environments.tools import run_tool
from tests.conftest import Home
from tests.kernels import environment_of, opened, pip_list
from tests.stage import installed, sync, write_project, write_script


@pytest.fixture
def environment(lean_home: Home, script: Path) -> Path:  # noqa: ARG001 - it sets the stage
    """Give the environment of a script that declares ``alpha==1.0``."""
    return sync(write_script(script, "alpha==1.0")).path


def test_the_common_verbs_take_pip_s_arguments(
    environment: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    wanted = tmp_path / "wanted.txt"
    wanted.write_text("nspkg-one\n# and\nbeta\n")
    project = write_project(tmp_path / "project")
    capfd.readouterr()

    def pip(*words: str) -> tuple[int, str, str]:
        code = run_tool(environment, "pip", words)
        return (code, *capfd.readouterr())

    code, out, err = pip("install", "-q", "nspkg-two>=1")
    assert (code, out) == (0, "")
    assert err == (
        "note: nspkg-two installed, not recorded in the block: the next exact sync undoes it. "
        "To record it: %scriptenv add 'nspkg-two>=1'\n"
    )
    assert "%scriptenv add alpha\n" in pip("install", "-U", "alpha")[2]
    told = pip("install", "-r", str(wanted), "--no-cache-dir", "--no-warn-script-location")[2]
    assert told.endswith("%scriptenv add beta nspkg-one\n"), "alpha comes with beta"
    # An index may have another one of that name.
    told = pip("install", "-e", str(project))[2]
    assert told.endswith(f"%scriptenv add --editable {project}\n")
    assert installed(environment) == {
        "alpha==2.0",
        "beta==1.0",
        "local==1.0",
        "nspkg-one==1.0",
        "nspkg-two==1.0",
    }

    assert "alpha==2.0\n" in pip("freeze")[1]
    assert "nspkg-one" in pip("list", "--format", "json")[1]
    assert "Name: beta\n" in pip("show", "beta")[1]
    assert pip("check")[0] == 0
    code, out, _ = pip("--version")
    assert code == 0
    assert str(environment) in out

    code, _, err = pip("uninstall", "-y", "nspkg-one", "nspkg-two")
    assert code == 0
    assert "note: " not in err, "what was never recorded"
    code, _, err = pip("uninstall", "--yes", "alpha")
    assert code == 0
    assert err.endswith("%scriptenv remove alpha\n")
    assert pip("check")[0] == 1, "beta requires alpha"
    assert pip("install", "no-such-thing-at-all")[0] == 1


@pytest.mark.parametrize(
    ("tool", "words"),
    [
        ("pip", ["install", "--user", "nspkg-one"]),
        ("pip", ["install", "--prefix=/srv/elsewhere", "nspkg-one"]),
        ("uv", ["pip", "install", "--system", "nspkg-one"]),
        ("uv", ["pip", "install", "--python", "3", "nspkg-one"]),
        ("uv", ["pip", "uninstall", "-p", "3", "alpha"]),
        ("pip", ["install", "-p3", "nspkg-one"]),
        ("pip", ["install", "-qp", "3", "nspkg-one"]),
    ],
)
def test_what_leads_out_of_the_environment_is_refused_with_a_reason(
    environment: Path, capfd: pytest.CaptureFixture[str], tool: str, words: list[str]
) -> None:
    assert run_tool(environment, tool, words) != 0
    told = capfd.readouterr().err
    assert "is not taken here: " in told
    assert "own environment" in told
    assert installed(environment) == {"alpha==1.0"}


def test_the_users_configuration_leads_to_no_other_python(
    environment: Path, script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = sync(write_script(script.with_name("other.py"))).path
    config = tmp_path / "uv.toml"
    config.write_text(f'[pip]\npython = "{other}/bin/python"\n')
    monkeypatch.setenv("UV_CONFIG_FILE", str(config))
    assert run_tool(environment, "uv", ["--quiet", "pip", "install", "nspkg-one"]) == 0
    assert installed(environment) == {"alpha==1.0", "nspkg-one==1.0"}
    assert installed(other) == set()


def test_no_configuration_of_uv_leads_out_of_the_environment(
    environment: Path,
    script: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(script.parent)
    elsewhere = tmp_path / "elsewhere"
    texts = {"uv.toml": f'[pip]\ntarget = "{elsewhere}"\n'}
    texts["pyproject.toml"] = f'[tool.uv.pip]\nprefix = "{elsewhere}"\n'
    for name, text in texts.items():
        path = script.with_name(name)
        path.write_text(text)
        assert run_tool(environment, "pip", ["install", "nspkg-one"]) == 2
        assert f"`{path}` leads out of this environment" in capfd.readouterr().err
        path.unlink()
    config = tmp_path / "uv.toml"
    config.write_text(texts["uv.toml"])
    monkeypatch.setenv("UV_CONFIG_FILE", str(config))
    assert run_tool(environment, "pip", ["uninstall", "alpha"]) == 2
    assert not elsewhere.exists()
    monkeypatch.delenv("UV_CONFIG_FILE")
    script.with_name("uv.toml").write_text(texts["uv.toml"])
    assert run_tool(environment, "pip", ["install", "--no-config", "nspkg-one"]) == 0
    assert installed(environment) == {"alpha==1.0", "nspkg-one==1.0"}


def test_where_the_mark_cannot_be_written_nothing_is_installed_and_that_is_told(
    environment: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def full(path: Path, _data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(tools, "write_atomically", full)
    assert run_tool(environment, "pip", ["install", "nspkg-one"]) == 1
    assert "There is no space left" in capfd.readouterr().err
    assert installed(environment) == {"alpha==1.0"}


def test_conda_says_what_to_use_instead_and_runs_nothing(
    offline_home: Home, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = tmp_path / "ran"
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("conda", "mamba", "micromamba"):
        (programs / name).write_text(f"#!/bin/sh\ntouch {ran}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    with opened(offline_home, path) as kernel:
        kernel.execute("import alpha")
        for line, instead in {
            "%conda install -y numpy pandas": "%scriptenv add numpy pandas",
            "%mamba remove numpy": "%scriptenv remove numpy",
            "%conda update numpy": "%scriptenv upgrade numpy",
            "%micromamba list": "%pip list",
            "%conda": "%scriptenv add NAME",
        }.items():
            done = kernel.execute(line)
            assert done.status == "ok", done.traceback
            assert done.stderr.endswith(f"Instead: {instead}\n")
        assert not ran.exists()

        # Both ways to call pip reach the environment.
        assert "%scriptenv add nspkg-one" in kernel.execute("%pip install -q nspkg-one").shown_text
        assert kernel.execute("!pip uninstall -y nspkg-one").status == "ok"
        assert "alpha==1.0" in kernel.execute("%uv pip freeze").shown_text
        assert pip_list(environment_of(offline_home, path)) == {"alpha": "1.0"}
