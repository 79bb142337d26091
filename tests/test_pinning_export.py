"""What a lock is for: the same packages elsewhere, trees, and other tools' formats."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from uv import find_uv_bin

from ipy_scriptenv import environments
from ipy_scriptenv.environments import Context, Form
from tests.conftest import Home
from tests.kernels import block, opened
from tests.stage import (
    BASE,
    HOST,
    block_of,
    call,
    commented,
    environment_of,
    installed,
    write_notebook,
    write_project,
    write_script,
)
from tests.web_index import serving, use_web_index

SECRET = "s3cr3t"  # noqa: S105 - it must not be found


def export(path: Path, form: Form, *, hashes: bool = True) -> str:
    """Export the source at *path*."""
    source = environments.locate(path)
    return environments.export(source, context=Context(), form=form, hashes=hashes)


def lock(path: Path) -> None:
    """Lock the source at *path*."""
    environments.lock(environments.locate(path), context=Context())


# Another machine


@pytest.mark.parametrize("embed", [False, True])
def test_a_locked_notebook_runs_the_same_from_an_empty_home(
    offline_home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, embed: bool
) -> None:
    question = "import alpha, importlib.metadata as m; print('alpha', m.version('alpha'))"
    path = tmp_path / "work" / "nb.ipynb"
    write_notebook(path, commented(block_of("alpha<2")), question)
    assert call("lock", path, *(["--embed"] if embed else [])).returncode == 0
    # Newer ones are allowed by now.
    path.write_text(path.read_text().replace("alpha<2", "alpha"))
    stale = call("execute", path, "--locked", "--json")
    assert (stale.returncode, json.loads(stale.stdout)["error"]["code"]) == (1, "stale-lock")
    assert not environment_of(path).exists()
    assert call("lock", path).returncode == 0
    elsewhere = tmp_path / "elsewhere"
    shutil.move(path.parent, elsewhere)
    before = (elsewhere / "nb.ipynb").read_bytes()
    shutil.rmtree(offline_home.scriptenv / "environments-v1")
    for words in (["--locked"], ["--frozen"]):
        ran = call("execute", elsewhere / "nb.ipynb", *words)
        assert (ran.returncode, ran.stdout) == (0, "alpha 1.1\n"), ran.stderr
        assert installed(environment_of(elsewhere / "nb.ipynb")) == {"alpha==1.1"}
    assert (elsewhere / "nb.ipynb").read_bytes() == before
    monkeypatch.chdir(elsewhere)
    write_notebook(elsewhere / "bare.ipynb", commented(block_of("alpha")))
    refused = call("execute", "bare.ipynb", "--locked", "--json")
    assert json.loads(refused.stdout)["error"]["code"] == "no-lock"


# Other tools


@pytest.mark.usefixtures("lean_home")
def test_an_export_holds_what_is_locked(script: Path, tmp_path: Path) -> None:
    write_script(script, "beta", "alpha<2 ; sys_platform != 'win32'", requires_python=">=3.9")
    lock(script)
    text = export(script, Form.REQUIREMENTS)
    assert "alpha==1.1" in text
    assert "beta==1.0" in text
    assert "sha256:" not in export(script, Form.REQUIREMENTS, hashes=False)
    pylock = tomllib.loads(export(script, Form.PYLOCK))
    assert {(each["name"], each["version"]) for each in pylock["packages"]} >= {("beta", "1.0")}
    assert str(script.parent) not in text
    # pip reads it.
    (tmp_path / "requirements.txt").write_text(text)
    argv = [find_uv_bin(), "pip", "install", "--quiet", "--target", str(tmp_path / "there")]
    argv += ["--python", BASE, "--requirements", str(tmp_path / "requirements.txt")]
    subprocess.run(argv, check=True)
    assert {path.name for path in (tmp_path / "there").glob("*.dist-info")} >= {
        "alpha-1.1.dist-info",
        "beta-1.0.dist-info",
    }
    assert {path.name for path in script.parent.iterdir()} == {"a.py", "a.py.lock"}


@pytest.mark.usefixtures("lean_home")
def test_an_export_for_conda_names_the_python_and_pins_the_rest(script: Path) -> None:
    notebook = script.with_name("My Notes.ipynb")
    write_notebook(notebook, commented(block_of("beta", "gamma ; sys_platform == 'win32'")))
    lines = export(notebook, Form.CONDA).splitlines()
    assert lines[:7] == [
        'name: "my-notes"',
        "channels:",
        '  - "conda-forge"',
        "dependencies:",
        f'  - "python={HOST}"',
        '  - "pip"',
        "  - pip:",
    ]
    pinned = [json.loads(line.removeprefix("      - ")) for line in lines[7:]]
    assert "beta==1.0" in pinned
    assert any(each.startswith("gamma==1.0 ; ") for each in pinned)
    write_notebook(notebook, commented(block_of()))
    assert export(notebook, Form.CONDA).splitlines()[-1] == f'  - "python={HOST}"'


@pytest.mark.usefixtures("lean_home")
def test_local_sources_are_told_from_the_folder_of_the_source(script: Path) -> None:
    write_project(script.parent / "project")
    settings = '[tool.uv.sources]\nlocal = { path = "project" }'
    write_script(script, "local", uv=settings)
    assert export(script, Form.REQUIREMENTS).strip() == "./project"
    (package,) = tomllib.loads(export(script, Form.PYLOCK))["packages"]
    assert package["directory"]["path"] == "./project"
    assert {path.name for path in script.parent.iterdir()} == {"a.py", "project"}


@pytest.mark.usefixtures("lean_home")
def test_no_export_holds_credentials(
    script: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(index, user=f"ada:{SECRET}") as web:
        use_web_index(web, monkeypatch, default=False)
        url = web.url(f"ada:{SECRET}")
        wheel = web.file("alpha-1.0-py3-none-any.whl", f"ada:{SECRET}")
        settings = f'[[tool.uv.index]]\nurl = "{url}"\ndefault = true'
        write_script(script, "beta", f"alpha @ {wheel}", uv=settings)
        texts = [export(script, form) for form in Form if form is not Form.CONTAINER]
        texts.append(environments.tree(environments.locate(script), context=Context()))
    assert all("beta" in text for text in texts)
    assert SECRET not in "".join(texts)


# The command line


@pytest.mark.usefixtures("lean_home")
def test_the_command_line_shows_trees_and_exports(script: Path) -> None:
    write_script(script, "beta")
    assert call("tree", script).stdout.splitlines() == ["beta v1.0", "└── alpha v2.0"]
    assert call("tree", script, "--depth", "0").stdout == "beta v1.0\n"
    inverted = call("tree", script, "--invert", "--package", "alpha").stdout.splitlines()
    assert inverted[0] == "alpha v2.0"
    assert "beta v1.0" in inverted[1]
    answer = json.loads(call("tree", script, "--json").stdout)
    assert answer == {
        "schema": 1,
        "source": str(script),
        "tree": "beta v1.0\n└── alpha v2.0\n",
    }
    printed = call("export", script, "--no-hashes", "--json")
    answer = json.loads(printed.stdout)
    assert (answer["format"], answer["output"]) == ("requirements.txt", None)
    assert "beta==1.0" in answer["text"]
    file = script.parent / "out" / "environment.yml"
    assert call("export", script, "--format", "environment.yml", "-o", file).returncode == 2
    file.parent.mkdir()
    assert call("export", script, "-o", os.devnull).returncode == 0
    assert "is a folder" in call("export", script, "-o", script.parent).stderr
    wrote = call("export", script, "--format", "environment.yml", "-o", file, "--json")
    assert json.loads(wrote.stdout) == {
        "schema": 1,
        "source": str(script),
        "format": "environment.yml",
        "output": str(file),
        "text": None,
    }
    assert '"beta==1.0"' in file.read_text()


# In a notebook


def test_the_magic_locks_shows_and_exports_its_own_notebook(offline_home: Home, path: Path) -> None:
    with opened(offline_home, path) as kernel:
        assert "Locked 1 package" in kernel.execute("%scriptenv lock").stdout
        assert path.with_name("nb.ipynb.lock").exists()
        assert "alpha v1.0" in kernel.execute("%scriptenv tree").stdout
        kernel.execute("%scriptenv export --format environment.yml -o environment.yml")
        assert '"alpha==1.0"' in path.with_name("environment.yml").read_text()
        before = path.with_name("nb.ipynb.lock").read_bytes()
        kernel.execute("import alpha")
        # The block is live: what is locked stays, what is new comes in addition.
        more = kernel.execute(block("beta", "alpha"))
        assert more.error is None, more
        said = kernel.execute("import importlib.metadata as m; print(m.version('alpha'))").stdout
        assert said == "1.0\n"
        assert path.with_name("nb.ipynb.lock").read_bytes() == before
