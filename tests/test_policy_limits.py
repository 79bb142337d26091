"""What an administrator's policy says beside indexes: kernelspecs, how much is kept, secrets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ipy_scriptenv import environments
from ipy_scriptenv.environments import Context, Kept
from ipy_scriptenv.errors import PolicyViolation
from tests.conftest import Home
from tests.lifecycle import command
from tests.policies import write_policy
from tests.stage import (
    environment_of,
    running_kernel,
    start,
    sync,
    write_project,
    write_script,
)

pytestmark = pytest.mark.usefixtures("lean_home", "system")


def test_without_kernelspecs_of_sources_kernels_start_all_the_same(
    home: Home, script: Path
) -> None:
    write_policy("register = false", system=True)
    write_policy("register = true")
    write_script(script, "alpha")
    assert start(script).argv
    assert sync(script).path.exists()
    assert not home.kernelspecs.exists() or not [*home.kernelspecs.glob("scriptenv-*")]
    with pytest.raises(PolicyViolation):
        environments.register(environments.locate(script), context=Context())
    said = command("register", script, "--json")
    assert said.json["error"]["hint"]


def test_prune_keeps_no_more_environments_than_the_policy_allows(home: Home, script: Path) -> None:
    scripts = [write_script(script.with_name(f"{name}.py")) for name in "abc"]
    for each in scripts:
        sync(each)
    kept = Kept()
    assert environments.prunable(kept, context=Context()) == []
    write_policy("max-environments = 1", system=True)
    write_policy("max-environments = 5")
    names = [each.name for each in environments.prunable(kept, context=Context())]
    assert len(names) == 2
    with running_kernel(home.scriptenv, names[0]):
        found = environments.prunable(kept, context=Context())
    assert names[0] not in [each.name for each in found]
    wider = environments.prunable(Kept(number=2), context=Context())
    assert len(wider) == 2
    assert command("prune", "--yes").code == 0
    assert sum(environment_of(each).exists() for each in scripts) == 1


def test_prune_keeps_no_more_bytes_than_the_policy_allows(script: Path) -> None:
    sync(write_script(script, "alpha"))
    write_policy('max-bytes = "1G"', system=True)
    assert environments.prunable(Kept(), context=Context()) == []
    write_policy('max-bytes = "10"')
    (item,) = environments.prunable(Kept(), context=Context())
    assert item.path == environment_of(script)


def test_a_build_gets_no_secret_but_those_that_the_policy_passes(
    script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = write_project(script.parent / "project")
    seen = script.with_name("seen.json")
    backend = project / "backend.py"
    spy = f"import json, os, pathlib\npathlib.Path({str(seen)!r}).write_text("
    backend.write_text(f"{spy}json.dumps(dict(os.environ)))\n{backend.read_text()}")
    for name in ("TEAM_TOKEN", "OTHER_TOKEN"):
        monkeypatch.setenv(name, "s3cr3t")
    write_script(script, "local", uv='sources = { local = { path = "project" } }')
    sync(script)
    assert not {"TEAM_TOKEN", "OTHER_TOKEN"} & set(json.loads(seen.read_text()))
    write_policy('pass-env = ["TEAM_TOKEN"]', system=True)
    seen.unlink()
    (project / "pyproject.toml").write_text(
        (project / "pyproject.toml").read_text().replace('"1.0"', '"1.1"')
    )
    sync(script)
    variables = json.loads(seen.read_text())
    assert variables["TEAM_TOKEN"] == "s3cr3t"  # noqa: S105 - no real one
    assert "OTHER_TOKEN" not in variables
