"""Containerfiles: checked with a linter; what they run is run here, where no engine is at hand."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ipy_scriptenv import environments
from ipy_scriptenv.environments import Choosing, Context, Form
from ipy_scriptenv.errors import NoLock, NotPortable, WrongCall
from tests.index.build import Distribution
from tests.kernels import wheel
from tests.stage import (
    HOST,
    block_of,
    call,
    commented,
    environment_of,
    installed,
    state_of,
    write_notebook,
    write_project,
    write_script,
)

pytestmark = pytest.mark.usefixtures("lean_home")

HADOLINT = Path(sys.executable).with_name("hadolint")


def containerfile(path: Path, **options: object) -> str:
    """Export the source at *path*, and check the text with the linter."""
    source = environments.locate(path)
    text = environments.export(source, context=Context(), form=Form.CONTAINER, **options)  # type: ignore[arg-type]
    argv = [str(HADOLINT), "--no-color", "--failure-threshold", "style", "-"]
    linted = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
    assert linted.returncode == 0, linted.stdout + text
    return text


def lock(path: Path) -> None:
    assert call("lock", path).returncode == 0


def test_what_a_containerfile_copies_and_runs_completes_the_environment(
    script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook = script.with_name("my notes.ipynb")
    sources = 'sources.local = { path = "parts/project" }\nfind-links = ["wheels"]'
    write_notebook(notebook, commented(block_of("beta", "local", "own", uv=sources)))
    (script.parent / "parts").mkdir()
    write_project(script.parent / "parts" / "project")
    wheel(script.parent / "wheels", Distribution(name="own", version="1.0"))
    lock(notebook)
    text = containerfile(notebook)
    assert f"FROM python:{HOST}-slim\n" in text
    assert "USER 1000\n" in text
    assert "secret" not in text
    # The context is the notebook's folder, and what is not copied is not there.
    image = tmp_path / "image"
    image.mkdir()
    for words in re.findall(r"^COPY \S+ (.*)$", text, re.MULTILINE):
        *names, target = json.loads(words)
        for name in names:
            found, place = script.parent / name, image / target
            if found.is_dir():
                shutil.copytree(found, place)
            else:
                shutil.copy(found, place)
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    install, sync = re.findall(r"^RUN ((?:.*\\\n)*.*)$", text, re.MULTILINE)
    assert re.match(r"pip install --no-cache-dir ipy-scriptenv==\S+ uv==\S+ jupyterlab==", install)
    subprocess.run(
        ["/bin/sh", "-c", sync], cwd=image, check=True, env={**os.environ, "UV_OFFLINE": "1"}
    )
    there = image / notebook.name
    assert installed(environment_of(there)) == {"alpha==2.0", "beta==1.0", "local==1.0", "own==1.0"}
    assert state_of(there) == "in-sync"
    assert not (tmp_path / "cache" / "archive-v0").exists()
    assert json.loads(re.findall(r"^CMD (.*)$", text, re.MULTILINE)[0])[-1] == notebook.name


def test_a_script_is_run_and_a_login_is_a_secret_of_one_step(script: Path) -> None:
    url = "https://packages.example.com/simple"
    settings = f'[[tool.uv.index]]\nurl = "{url}"'
    lock(write_script(script, "alpha", requires_python=">=3.9"))
    write_script(script, "alpha", uv=settings)
    text = containerfile(script)
    assert text.endswith('CMD ["jupyter-scriptenv", "run", "a.py"]\n')
    assert "jupyterlab" not in text
    assert "--mount=type=secret,id=netrc,target=/home/jovyan/.netrc,uid=1000" in text
    assert "docker build --secret id=netrc" in text
    # An index of the user's configuration stands in the lock alone; PyPI asks for no login.
    beside = script.with_name(script.name + ".lock")
    content = beside.read_text()
    for place, is_private in ((url, True), ("https://pypi.org/simple", False)):
        beside.write_text(re.sub(r'registry = "[^"]*"', f'registry = "{place}"', content))
        write_script(script, "alpha")
        assert ("--mount=type=secret" in containerfile(script)) == is_private
    beside.write_text(content)
    write_script(script, "alpha @ git+https://git.example.com/alpha")
    assert f"FROM python:{HOST}\n" in containerfile(script)


def test_what_no_container_can_be_built_of_is_refused(script: Path, tmp_path: Path) -> None:
    write_script(script, "alpha")
    with pytest.raises(NoLock):
        containerfile(script)
    lock(script)
    with pytest.raises(WrongCall):
        containerfile(script, choosing=Choosing(upgrade=("alpha",)))
    write_script(
        script, "alpha @ https://ada:s3cr3t@packages.example.com/alpha-1.0-py3-none-any.whl"
    )
    with pytest.raises(NotPortable, match="password"):
        containerfile(script)
    write_project(tmp_path / "project")
    write_script(script, "local", uv='sources.local = { path = "../project" }')
    with pytest.raises(NotPortable, match="not in the source's folder"):
        containerfile(script)
    # What another project needs stands in the lock alone.
    near = script.parent / "project"
    write_project(near)
    build = (near / "pyproject.toml").read_text()
    (tmp_path / "project" / "pyproject.toml").write_text(build.replace("local", "further"))
    further = 'dependencies = ["further"]\n[tool.uv.sources]\nfurther.path = "../../project"\n'
    (near / "pyproject.toml").write_text(build.replace("[build", f"{further}[build", 1))
    write_script(script, "local", uv='sources.local = { path = "project" }')
    lock(script)
    with pytest.raises(NotPortable, match="the lock's further` leads to"):
        containerfile(script)
    # What git fetches from here is no file that could be copied.
    repository = f"git+file://{tmp_path}/project"
    own = script.with_name("own.py")
    lock(write_script(own, "alpha"))
    write_script(own, f"local @ {repository}")
    with pytest.raises(NotPortable, match=re.escape(f"leads to `{repository}`")):
        containerfile(own)
    document = script.with_name("report.qmd")
    document.write_text(f"```{{python}}\n{commented(block_of('alpha'))}```\n")
    lock(document)
    with pytest.raises(NotPortable, match="Quarto"):
        containerfile(document)
    for name in ("a$b.py", "-x.py"):
        odd = write_script(script.with_name(name), "alpha")
        lock(odd)
        with pytest.raises(NotPortable, match="would mean something else"):
            containerfile(odd)
