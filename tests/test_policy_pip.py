"""What a person installs by hand in a kernel keeps to the administrator's policy too."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ipy_scriptenv.environments.tools import run_tool
from tests.policies import allow, write_policy
from tests.stage import installed, sync, write_project, write_script
from tests.web_index import WebIndex

pytestmark = pytest.mark.usefixtures("lean_home", "system")

WHEEL = "nspkg_one-1.0-py3-none-any.whl"


@pytest.fixture
def environment(script: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an environment, and stand where its kernel would, in the source's folder."""
    environment = sync(write_script(script)).path
    monkeypatch.chdir(script.parent)
    return environment


@pytest.fixture
def elsewhere(
    environment: Path,  # noqa: ARG001 - it stands in the source's folder
    web: WebIndex,
    monkeypatch: pytest.MonkeyPatch,
) -> WebIndex:
    """Give an index that works and is not allowed; what is allowed holds nothing."""
    monkeypatch.setenv("UV_DEFAULT_INDEX", f"{web.url()}/empty")
    Path(WHEEL).symlink_to(web.folder / WHEEL)
    write_project(Path("project"))
    write_project(Path())
    for name in ("requirements.txt", "constraints.txt"):
        Path(name).write_text(f"nspkg-one @ file://{web.folder}/{WHEEL}\n")
    Path("evil.toml").write_text(f'[pip]\nfind-links = ["{web.folder}"]\n')
    Path("allowed/in").mkdir(parents=True)
    Path("link").symlink_to("allowed/in")
    allow(f"{web.url()}/empty", "http://allowed.example", Path.cwd() / "allowed")
    return web


def test_pip_installs_what_the_policy_allows(environment: Path, index: Path) -> None:
    allow(index)
    assert run_tool(environment, "pip", ["install", "alpha"]) == 0
    wheel = index / "beta-1.0-py3-none-any.whl"
    assert run_tool(environment, "uv", ["pip", "install", str(wheel)]) == 0
    assert installed(environment) == {"alpha==2.0", "beta==1.0"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--index-url", "EVIL", "nspkg-one"],
        ["--index-url=EVIL", "nspkg-one"],
        ["-i", "EVIL", "nspkg-one"],
        ["-iEVIL", "nspkg-one"],
        ["--extra-index-url", "EVIL", "nspkg-one"],
        ["--index", "evil=EVIL", "nspkg-one"],
        ["--default-index", "EVIL", "nspkg-one"],
        ["--find-links", "WHEELS", "nspkg-one"],
        ["-f", "WHEELS", "nspkg-one"],
        ["-fWHEELS", "nspkg-one"],
        ["nspkg-one @ file://WHEELS/WHEEL"],
        ["nspkg-one@WHEELS/WHEEL"],
        ["nspkg-one[x]@WHEELS/WHEEL"],
        ["WHEELS/WHEEL"],
        ["./WHEEL"],
        ["./link/../WHEEL"],
        ["nspkg-one @ file://HERE/link/../WHEEL"],
        ["nspkg-one @ HERE/allowed/[x]/../../WHEEL"],
        ["WHEEL"],
        ["-e", "./project"],
        ["-e./project"],
        ["--editable=./project"],
        ["."],
        ["git+https://evil.example/x"],
        ["EVIL/@http://allowed.example/files/WHEEL"],
        ["-r", "requirements.txt"],
        ["--requirements=requirements.txt"],
        ["-rrequirements.txt", "nspkg-one"],
        ["nspkg-one", "--constraints", "constraints.txt"],
        ["nspkg-one", "--overrides=constraints.txt"],
        ["nspkg-one", "--config-file", "evil.toml"],
    ],
)
def test_pip_refuses_what_the_policy_does_not_allow(
    environment: Path, elsewhere: WebIndex, arguments: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    """The place that is not allowed works: what is not refused would be installed."""
    given = [
        word.replace("EVIL", elsewhere.url())
        .replace("WHEELS", str(elsewhere.folder))
        .replace("WHEEL", WHEEL)
        .replace("HERE", str(Path.cwd()))
        for word in arguments
    ]
    assert run_tool(environment, "pip", ["install", *given]) == 2
    assert installed(environment) == set()
    assert "policy" in capfd.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["pip", "install", "WHEEL"],
        ["pip", "install", "nspkg-one", "--find-links=WHEELS"],
        ["pip", "sync", "requirements.txt"],
        ["--cache-dir", "CACHE", "pip", "install", "WHEEL"],
        ["--directory", ".", "pip", "install", "WHEEL"],
        ["--project=.", "pip", "install", "WHEEL"],
    ],
)
def test_uv_refuses_what_the_policy_does_not_allow(
    environment: Path, elsewhere: WebIndex, words: list[str]
) -> None:
    """Options may stand before the verb, and some of them have a value."""
    given = [
        word.replace("CACHE", os.environ["UV_CACHE_DIR"])
        .replace("WHEELS", str(elsewhere.folder))
        .replace("WHEEL", f"./{WHEEL}")
        for word in words
    ]
    assert run_tool(environment, "uv", given) == 2
    assert installed(environment) == set()


def test_pip_takes_no_index_from_the_notebooks_folder(
    environment: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a sync does not: a folder may have been downloaded with the notebook."""
    monkeypatch.delenv("UV_FIND_LINKS")
    allow("https://a.example")
    Path("uv.toml").write_text(f'find-links = ["{index}"]\n')
    assert run_tool(environment, "pip", ["install", "nspkg-one"]) != 0
    assert installed(environment) == set()


def test_a_path_under_an_allowed_folder_is_not_made_of_a_name_and_a_path(
    environment: Path, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow(index, Path.cwd())
    copy = tmp_path / "evil" / WHEEL
    copy.parent.mkdir()
    copy.write_bytes((index / WHEEL).read_bytes())
    monkeypatch.setenv("EVIL", str(copy.parent))
    for path in (str(copy), f"file:{copy}", f"${{EVIL}}/{WHEEL}"):
        for word in (f"nspkg-one@{path}", f"nspkg-one @ {path}"):
            assert run_tool(environment, "pip", ["install", word]) == 2
    assert installed(environment) == set()


def test_a_relative_path_is_taken_from_the_notebooks_folder(environment: Path, index: Path) -> None:
    allow(index, Path.cwd())
    Path(WHEEL).write_bytes((index / WHEEL).read_bytes())
    assert run_tool(environment, "pip", ["install", f"./{WHEEL}"]) == 0
    assert installed(environment) == {"nspkg-one==1.0"}


@pytest.mark.usefixtures("web")
def test_pip_keeps_to_the_policys_date(environment: Path) -> None:
    write_policy("exclude-newer = 2023-01-01", system=True)
    assert run_tool(environment, "pip", ["install", "alpha"]) == 0
    assert installed(environment) == {"alpha==1.1"}
    late = "alpha=2025-01-01T00:00:00Z"
    for words in (["--exclude-newer-package", late], [f"--exclude-newer-package={late}"]):
        run_tool(environment, "pip", ["install", "--upgrade", "alpha", *words])
        assert installed(environment) == {"alpha==1.1"}
    run_tool(environment, "pip", ["install", "-U", "--exclude-newer", "2025-01-01", "alpha"])
    assert installed(environment) == {"alpha==1.1"}


def test_pip_builds_nothing_with_wheels_only(
    environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVIL_MARKER", str(tmp_path / "built"))
    write_policy("wheels-only = true", system=True)
    for words in ([], ["--no-binary", ":all:"], ["--build"], ["--no-binary=evil-sdist"]):
        assert run_tool(environment, "pip", ["install", "evil-sdist", *words]) != 0
    assert not (tmp_path / "built").exists()
    assert installed(environment) == set()


def test_pip_reads_no_settings_of_its_own_that_lead_around_the_policy(
    environment: Path, tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that uv keeps apart from those that a sync reads too."""
    monkeypatch.setenv("EVIL_MARKER", str(tmp_path / "built"))
    config = tmp_path / "uv.toml"
    monkeypatch.setenv("UV_CONFIG_FILE", str(config))

    def pip(package: str) -> int:
        return run_tool(environment, "pip", ["install", package])

    write_policy("wheels-only = true", system=True)
    config.write_text('[pip]\nno-binary = ["evil-sdist"]\n')
    assert pip("evil-sdist") == 2
    assert not (tmp_path / "built").exists()
    write_policy("exclude-newer = 2023-01-01", system=True)
    config.write_text('[pip]\nexclude-newer-package = { alpha = "2025-01-01" }\n')
    assert pip("alpha") == 2
    allow(index)
    config.write_text('[pip]\ntorch-backend = "cpu"\n')
    assert pip("nspkg-one") == 2
    config.write_text("")
    monkeypatch.setenv("UV_TORCH_BACKEND", "cpu")
    assert pip("nspkg-one") == 2
    monkeypatch.delenv("UV_TORCH_BACKEND")
    evil = tmp_path / "evil" / WHEEL
    evil.parent.mkdir()
    evil.write_bytes((index / WHEEL).read_bytes())
    for kind in ("constraint", "override"):
        config.write_text(f'{kind}-dependencies = ["nspkg-one @ file://{evil}"]\n')
        assert pip("nspkg-one") == 2
        config.write_text("")
        monkeypatch.setenv(f"UV_{kind.upper()}", str(config))
        assert pip("nspkg-one") == 2
        monkeypatch.delenv(f"UV_{kind.upper()}")
    text = f'[pip]\nextra-build-dependencies = {{ alpha = ["nspkg-one @ file://{evil}"] }}\n'
    config.write_text(text)
    assert pip("nspkg-one") == 2
    monkeypatch.delenv("UV_NO_INDEX")
    config.write_text("no-index = true\n[pip]\nno-index = false\n")
    assert pip("nspkg-one") == 2
    assert installed(environment) == set()
    config.write_text("")
    assert run_tool(environment, "pip", ["install", "--no-index", "nspkg-one"]) == 0


@pytest.mark.parametrize("words", [["pip", "install", "--", "alpha"], ["pip", "install", "alpha"]])
def test_a_call_that_the_policy_allows_works_however_it_is_written(
    environment: Path, words: list[str]
) -> None:
    write_policy("wheels-only = true\nexclude-newer = 2030-01-01", system=True)
    assert run_tool(environment, "uv", words) == 0
    assert installed(environment) == {"alpha==2.0"}


def test_pip_uninstalls_under_every_policy(environment: Path, index: Path) -> None:
    assert run_tool(environment, "pip", ["install", "alpha"]) == 0
    write_policy(f"wheels-only = true\nallowed-indexes = ['{index}']", system=True)
    assert run_tool(environment, "pip", ["uninstall", "-y", "alpha"]) == 0
    assert installed(environment) == set()


def test_pip_refuses_under_a_broken_policy(
    environment: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write_policy("wheel-only = true", system=True)
    assert run_tool(environment, "pip", ["install", "alpha"]) != 0
    assert str(path) in capfd.readouterr().err
    assert installed(environment) == set()
