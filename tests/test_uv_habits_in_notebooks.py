"""What uv does for scripts holds for notebooks: uv itself is asked about the same block.

Other files have the rest: ``test_damage_table.py`` what stands at an environment's path,
``test_python_choice.py`` which Python is taken, ``test_kills.py`` and ``test_many_at_once.py``
interrupted and simultaneous syncs, all of them with notebooks.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from uv import find_uv_bin

from ipy_scriptenv.errors import ScriptEnvError
from ipy_scriptenv.metadata.documents import read_document
from tests.conftest import Home
from tests.lifecycle import command
from tests.stage import (
    BASE,
    WANTED,
    assert_works,
    commented,
    environment_of,
    installed,
    listing,
    site_of,
    sync,
    write_notebook,
    write_project,
    write_script,
    write_source,
)

pytestmark = pytest.mark.usefixtures("lean_home")


def uv(*words: str | Path, **variables: str | Path) -> subprocess.CompletedProcess[str]:
    """Call uv, nothing of ours."""
    return subprocess.run(
        [find_uv_bin(), *map(str, words)],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {name: str(value) for name, value in variables.items()},
    )


# One environment, at a path that stays


def test_every_spelling_of_a_notebooks_path_leads_to_the_same_environment(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For uv, each is another script."""
    environment = sync(write_source(source, "beta")).path
    (tmp_path / "link.ipynb").symlink_to(source)
    (tmp_path / "linked").symlink_to(source.parent)
    monkeypatch.chdir(source.parent)
    for path in (
        tmp_path / "link.ipynb",
        tmp_path / "linked" / "a.ipynb",
        tmp_path / "linked" / ".." / "work" / "a.ipynb",
        Path("./a.ipynb"),
        Path("../work/a.ipynb"),
    ):
        synced = sync(path)
        assert (synced.path, synced.action) == (environment, "kept"), path


def test_a_cleaned_cache_of_uv_takes_no_environment_away(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environments that uv makes for scripts stand in its cache, and go with it."""
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
    environment = sync(write_source(source, "beta")).path
    for words in (("cache", "prune"), ("cache", "clean")):
        assert uv(*words).returncode == 0
    assert_works(environment, set(WANTED))
    assert sync(source).action == "kept"


def test_a_sync_creates_keeps_updates_and_rebuilds(source: Path) -> None:
    """As uv does: ``create``, ``check``, ``update`` and ``replace`` are its words."""
    seen = []
    for dependency in ("alpha<2", "alpha<2", "beta"):
        synced = sync(write_source(source, dependency))
        seen.append(str(synced.action))
    (synced.path / "pyvenv.cfg").unlink()
    seen.append(str(sync(source).action))
    assert seen == ["created", "kept", "updated", "rebuilt"]
    assert_works(environment_of(source), set(WANTED))


# What is installed

SETTINGS = """\
find-links = ["wheels"]
constraint-dependencies = ["alpha<2"]
exclude-newer = "2100-01-01T00:00:00Z"
sources = { local = { path = "project" }, nspkg-one = { path = "wheels/WHEEL" } }
"""


def test_a_notebook_gets_what_uv_gives_a_script_with_its_block(
    source: Path, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By all of ``[tool.uv]``, relative paths included; and nothing else stays."""
    monkeypatch.delenv("UV_FIND_LINKS")
    (source.parent / "wheels").symlink_to(index)
    write_project(source.parent / "project")
    settings = SETTINGS.replace("WHEEL", "nspkg_one-1.0-py3-none-any.whl")
    declared = ("beta", "local", "nspkg-one")
    plain = tmp_path / "plain"
    assert uv("venv", "--no-project", "--python", BASE, plain).returncode == 0
    twin = write_script(source.with_name("twin.py"), *declared, uv=settings)
    call = ("sync", "--script", twin, "--active", "--python", plain / "bin" / "python")
    given = uv(*call, VIRTUAL_ENV=plain)
    assert given.returncode == 0, given.stderr
    write_source(source, "with-entry-point")
    monkeypatch.setenv("UV_FIND_LINKS", str(index))
    sync(source)
    monkeypatch.delenv("UV_FIND_LINKS")
    environment = sync(write_source(source, *declared, uv=settings)).path
    assert installed(environment) == installed(plain) > {"alpha==1.1", "local==1.0"}


def test_nothing_beside_a_notebook_configures_uv_and_the_users_own_settings_do(
    home: Home, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in (source.parent, source.parent.parent):
        (folder / "uv.toml").write_text("no such toml")
        (folder / "pyproject.toml").write_text('[project]\nrequires-python = ">=3.99"\n')
        (folder / ".python-version").write_text("3.99\n")
        (folder / ".env").write_text("UV_RESOLUTION=lowest\n")
    monkeypatch.chdir(source.parent)
    assert installed(sync(write_source(source, "alpha")).path) == {"alpha==2.0"}
    configuration = home.path / "config" / "uv" / "uv.toml"
    configuration.parent.mkdir(parents=True)
    configuration.write_text('resolution = "lowest"')
    assert installed(sync(source).path) == {"alpha==1.0"}


def test_no_variable_leads_uv_away_from_a_notebooks_environment(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoy = tmp_path / "decoy"
    assert uv("venv", "--no-project", "--python", BASE, decoy).returncode == 0
    before = listing(decoy)
    for name in ("CONDA_PREFIX", "PYTHONHOME", "UV_PROJECT_ENVIRONMENT", "UV_TARGET"):
        monkeypatch.setenv(name, str(decoy))
    for name in ("UV_FROZEN", "UV_LOCKED", "UV_NO_SYNC", "UV_NO_INSTALL_PROJECT"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("VIRTUAL_ENV", str(decoy))
    monkeypatch.setenv("UV_PYTHON", "3.99")
    assert installed(sync(write_source(source, "beta")).path) == WANTED
    assert listing(decoy) == before


# Locks and exports


def test_a_notebooks_lock_and_exports_are_those_of_a_script_with_its_block(source: Path) -> None:
    twin = write_script(source.with_name("twin.py"), "beta", "alpha<2", requires_python=">=3.9")
    write_notebook(source, twin.read_text())
    assert command("lock", source).code == 0
    assert uv("lock", "--script", twin, "--python", BASE).returncode == 0
    lock = source.with_name("a.ipynb.lock")
    assert lock.read_bytes() == twin.with_name("twin.py.lock").read_bytes()
    for form in ("requirements.txt", "pylock.toml"):
        given = uv("export", "--script", twin, "--format", form, "--no-header", "--python", BASE)
        told = command("export", source, "--format", form)
        assert told.out.strip() == given.stdout.strip(), told.err
    write_source(source, "alpha")
    assert command("sync", source, "--locked", "--json").code != 0
    assert installed(sync(source).path) == {"alpha==1.1"}


@pytest.mark.parametrize("option", ["--locked", "--frozen"])
def test_without_a_lock_a_notebook_fails_before_anything_is_made(source: Path, option: str) -> None:
    """In uv, ``--locked`` fails when the environment has been made."""
    failed = command("sync", write_source(source, "alpha"), option, "--json")
    assert (failed.code, failed.error) == (1, "no-lock")
    assert not environment_of(source).exists()
    assert [*source.parent.iterdir()] == [source]


# Failures


@pytest.mark.parametrize(
    ("dependencies", "code"),
    [
        (["conflict-a", "conflict-b"], "resolution-failed"),
        (["no-such-package"], "offline"),
    ],
)
def test_a_failed_resolution_is_told_in_uvs_words_and_changes_nothing(
    source: Path, dependencies: list[str], code: str
) -> None:
    environment = sync(write_source(source, "beta")).path
    before = listing(site_of(environment))
    write_source(source, *dependencies)
    failed = command("sync", source, "--json")
    twin = write_script(source.with_name("twin.py"), *dependencies)
    given = uv("lock", "--script", twin, "--python", BASE)
    assert (failed.code, failed.error) == (given.returncode, code) == (1, code)
    assert dependencies[0] in failed.out
    assert listing(site_of(environment)) == before


# Which text is a block

PLAIN = commented('dependencies = ["alpha"]')
OTHER = "# /// other\n# x = 1\n# ///\n"
OPEN = '# /// script\n# dependencies = ["alpha"]\n'

TEXTS = {
    "LF": (PLAIN, "block", "block"),
    "CRLF": (PLAIN.replace("\n", "\r\n"), "block", "block"),
    "empty": ("# /// script\n# ///\n", "block", "block"),
    "blank line inside": (f"{OPEN}\n# ///\n", "unclosed", "unclosed"),
    "tab inside": (f"{OPEN}#\tx = 1\n# ///\n", "unclosed", "unclosed"),
    "no space inside": (f"{OPEN}#x = 1\n# ///\n", "unclosed", "unclosed"),
    "space behind the closing line": (f"{OPEN}# /// \n", "unclosed", "unclosed"),
    "another type above": (OTHER + PLAIN, "block", "block"),
    "the plural above": ("# /// scripts\n" + PLAIN, "none", "none"),
    "two blocks": (f"{PLAIN}x = 1\n{PLAIN}", "duplicate", "duplicate"),
    # Here uv does not do what the specification says.
    "two adjacent blocks": (PLAIN + PLAIN, "no TOML", "duplicate"),
    "the opening line in a string": (f'x = "# /// script"\n{PLAIN}', "none", "block"),
    "byte-order mark": ("\ufeff" + PLAIN, "none", "block"),
}
"""Name → text of a script and of a cell, what uv makes of the script, what we make of the cell."""

UVS_WORDS = {
    "does not contain a PEP 723 metadata tag": "none",
    "multiple PEP 723 metadata blocks": "duplicate",
    "An opening tag": "unclosed",
    "TOML parse error": "no TOML",
}


def test_a_cells_text_is_a_block_where_a_scripts_is_one_for_uv(source: Path) -> None:
    twin = source.with_name("twin.py")
    found = {}
    for name, (text, *_) in TEXTS.items():
        twin.write_bytes(text.encode())
        given = uv("tree", "--script", twin, "--python", BASE)
        known = (told for words, told in UVS_WORDS.items() if words in given.stderr)
        of_uv = "block" if given.returncode == 0 else next(known, given.stderr)
        write_notebook(source, "x = 1", text)
        try:
            block = read_document(source.read_bytes(), name=source.name).block
            ours = "none" if block is None else "block"
        except ScriptEnvError as error:
            ours = error.code
        found[name] = (text, of_uv, ours)
    assert found == TEXTS
    assert json.loads(source.read_text())["cells"][1]["source"] == TEXTS["byte-order mark"][0]
