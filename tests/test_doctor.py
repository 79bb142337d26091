"""`doctor` finds and explains each damage, and mends what can be mended."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ipy_scriptenv import environments
from ipy_scriptenv.environments import Context, mend
from ipy_scriptenv.interpreters import host_python
from ipy_scriptenv.layout import CHANGING, RECORD
from tests import damages
from tests.conftest import Home
from tests.examining import codes, examined, mended, why_not
from tests.kernels import other_than_host
from tests.lifecycle import command
from tests.stage import (
    WANTED,
    assert_works,
    environment_of,
    listing,
    pretend_layer,
    record_of,
    site_of,
    state_of,
    sync,
    throw_away_base,
    write_script,
)

Damage = Callable[[Path], None]

pytestmark = pytest.mark.usefixtures("bare_home")


@pytest.fixture
def script(script: Path) -> Path:
    return write_script(script, "beta")


def listed(folder: Path) -> set[tuple[str, int, int]]:
    """List a folder, but for the time of the one in which a lock was tried."""
    return {each for each in listing(folder) if not each[0].endswith("locks")}


def assert_ready(script: Path) -> None:
    """Check that the environment of a script stands, is in sync and can be imported from."""
    assert_works(environment_of(script), WANTED)
    assert state_of(script) == "in-sync"
    assert not (environment_of(script) / CHANGING).exists()


# Nothing is wrong.


def test_of_an_empty_home_nothing_is_said(home: Home) -> None:
    shutil.rmtree(home.scriptenv)
    assert examined() == []
    assert not home.scriptenv.exists()
    said = command("doctor")
    assert (said.code, said.out) == (0, "Nothing is wrong.\n")
    said = command("doctor", "--json")
    assert (said.code, said.json) == (0, {"schema": 1, "findings": []})


def test_of_a_sound_environment_nothing_is_said_and_nothing_is_changed(
    home: Home, script: Path
) -> None:
    sync(script)
    before = listed(home.path)
    assert examined() == []
    assert listed(home.path) == before
    assert command("doctor", "--fix").out == "Nothing is wrong.\n"
    assert_ready(script)


def test_of_an_environment_that_waits_for_its_first_cell_nothing_is_said(script: Path) -> None:
    environments.start(environments.locate(script), context=Context())
    assert examined() == []


# An environment is damaged.

RECORDS = {
    damages.no_record,
    damages.empty_record,
    damages.truncated_record,
    damages.incomplete_record,
    damages.record_of_wrong_types,
    damages.folder_for_record,
    damages.nothing_but_a_folder,
}


@pytest.mark.parametrize("damage", [each for each in damages.DAMAGES if each not in RECORDS])
def test_a_damaged_environment_is_found_and_made_anew(script: Path, damage: Damage) -> None:
    environment = sync(script).path
    damage(environment)
    (finding,) = examined()
    assert finding.code == "broken-environment"
    assert finding.path == environment
    assert str(script) in finding.message
    mended()
    assert_ready(script)


@pytest.mark.parametrize("damage", [each for each in damages.DAMAGES if each in RECORDS])
def test_an_environment_without_record_is_made_anew_for_the_source_of_its_kernelspec(
    script: Path, damage: Damage
) -> None:
    environment = sync(script).path
    damage(environment)
    (finding,) = examined()
    assert finding.code == "no-record"
    assert finding.path == environment
    assert str(script) in finding.message
    mended()
    assert_ready(script)


@pytest.mark.parametrize("gone", ["kernelspec", "source"])
def test_an_environment_that_nobody_knows_the_source_of_is_removed(
    home: Home, script: Path, gone: str
) -> None:
    environment = sync(script).path
    damages.no_record(environment)
    if gone == "kernelspec":
        shutil.rmtree(home.kernelspecs)
    else:
        script.unlink()
    (finding,) = examined()
    assert finding.code == "no-record"
    assert "nobody knows its source" in finding.message
    mended()
    assert not environment.exists()
    assert not [*home.kernelspecs.glob("scriptenv-*")]


def test_an_interpreter_that_may_not_be_run_is_replaced(script: Path, tmp_path: Path) -> None:
    python = throw_away_base(tmp_path / "base")
    sync(script, python=str(python))
    python.chmod(0o600)
    (finding,) = examined()
    assert finding.code == "broken-environment"
    assert str(python) in finding.message
    mended()
    assert_ready(script)


def test_an_interpreter_that_is_gone_is_named(script: Path, tmp_path: Path) -> None:
    python = throw_away_base(tmp_path / "base")
    sync(script, python=str(python))
    shutil.rmtree(tmp_path / "base")
    (finding,) = examined()
    assert (finding.code, f"`{python}` is gone" in finding.message) == ("broken-environment", True)
    mended()
    assert_ready(script)


def test_an_interpreter_that_is_of_another_minor_version_by_now_is_told(
    home: Home, script: Path, tmp_path: Path, pythons: dict[str, Path]
) -> None:
    _, other = other_than_host(pythons)
    pretend_layer(home.scriptenv, other)
    python = tmp_path / "base" / "python3"
    python.parent.mkdir()
    python.symlink_to(other)
    sync(script, python=str(python))
    python.unlink()
    python.symlink_to(Path(host_python().base))
    (finding,) = examined()
    assert finding.code in {"other-python", "broken-environment"}
    assert str(script) in finding.message
    mended()
    assert_ready(script)
    assert record_of(environment_of(script)).python.version == host_python().version


def test_a_package_that_is_gone_with_its_metadata_is_told_and_put_back(script: Path) -> None:
    environment = sync(script).path
    shutil.rmtree(site_of(environment) / "alpha")
    shutil.rmtree(site_of(environment) / "alpha-2.0.dist-info")
    (finding,) = examined()
    assert finding.code == "damaged-packages"
    assert "alpha" in finding.message
    assert "beta" not in finding.message.replace(str(environment), "")
    mended()
    assert_ready(script)


def test_a_file_that_is_cut_short_in_uv_s_cache_too_is_fetched_again(
    script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    environment = sync(script).path
    module = site_of(environment) / "alpha" / "__init__.py"
    cached = [
        path
        for path in (tmp_path / "cache").rglob("alpha/__init__.py")
        if path.stat().st_size == module.stat().st_size
    ]
    assert cached
    for path in (module, *cached):
        path.write_bytes(b"")
    (finding,) = examined()
    assert finding.code == "damaged-packages"
    mended()
    assert_ready(script)


def module(environment: Path) -> None:
    (site_of(environment) / "alpha" / "__init__.py").unlink()


def written_anew(path: Path, data: bytes) -> None:
    """Replace a file; its old one is uv's too, by a hard link, and stays whole."""
    path.unlink()
    path.write_bytes(data)


def module_cut_short(environment: Path) -> None:
    written_anew(site_of(environment) / "alpha" / "__init__.py", b"__v")


def folder_of_modules(environment: Path) -> None:
    shutil.rmtree(site_of(environment) / "alpha")


def folder_for_module(environment: Path) -> None:
    module(environment)
    (site_of(environment) / "alpha" / "__init__.py").mkdir()


def metadata(environment: Path) -> None:
    (site_of(environment) / "alpha-2.0.dist-info" / "METADATA").unlink()


def metadata_cut_short(environment: Path) -> None:
    written_anew(site_of(environment) / "alpha-2.0.dist-info" / "METADATA", b"")


def list_of_files(environment: Path) -> None:
    (site_of(environment) / "alpha-2.0.dist-info" / "RECORD").unlink()


def list_of_files_cut_short(environment: Path) -> None:
    path = site_of(environment) / "alpha-2.0.dist-info" / "RECORD"
    written_anew(path, path.read_bytes()[:20])


def list_of_files_of_zeros(environment: Path) -> None:
    path = site_of(environment) / "alpha-2.0.dist-info" / "RECORD"
    written_anew(path, bytes(path.stat().st_size))


def list_of_files_of_noise(environment: Path) -> None:
    path = site_of(environment) / "alpha-2.0.dist-info" / "RECORD"
    written_anew(path, b"\xff\xfe,\x80\n" * 9)


def list_of_files_of_wrong_sizes(environment: Path) -> None:
    written_anew(site_of(environment) / "alpha-2.0.dist-info" / "RECORD", b"a.py,,much\n")


def empty_metadata_folder(environment: Path) -> None:
    info = site_of(environment) / "alpha-2.0.dist-info"
    shutil.rmtree(info)
    info.mkdir()


@pytest.mark.parametrize(
    "missing",
    [
        module,
        module_cut_short,
        folder_of_modules,
        folder_for_module,
        metadata,
        metadata_cut_short,
        list_of_files,
        list_of_files_cut_short,
        list_of_files_of_zeros,
        list_of_files_of_noise,
        list_of_files_of_wrong_sizes,
        empty_metadata_folder,
    ],
)
def test_a_package_that_is_not_whole_is_found_and_installed_again(
    script: Path, missing: Damage
) -> None:
    """A crash of the machine may leave files that are missing, short, or full of zeros."""
    missing(sync(script).path)
    (finding,) = examined()
    assert finding.code == "damaged-packages"
    assert "alpha" in finding.message
    assert str(script) in finding.message
    mended()
    assert_ready(script)


def test_byte_code_that_is_gone_is_no_damage(script: Path) -> None:
    environment = sync(script).path
    assert_works(environment, WANTED)
    for folder in site_of(environment).rglob("__pycache__"):
        shutil.rmtree(folder)
    assert examined() == []


def test_a_change_that_was_interrupted_is_found_and_finished(script: Path) -> None:
    environment = sync(script).path
    damages.mark(environment)
    module(environment)
    (finding,) = examined()
    assert "interrupted" in finding.message
    mended()
    assert_ready(script)


# The record.


def test_what_a_newer_version_made_is_told_and_left_alone(home: Home, script: Path) -> None:
    environment = sync(script).path
    record = json.loads((environment / RECORD).read_text())
    (environment / RECORD).write_text(json.dumps(record | {"schema": 99}))
    (environment / "pyvenv.cfg").unlink()
    before = listing(home.scriptenv / "environments-v1")
    (finding,) = examined()
    assert finding.code == "newer-schema"
    assert "upgrade" in str(why_not(finding))
    assert listing(home.scriptenv / "environments-v1") == before


def test_a_record_of_another_source_is_told_and_not_said_to_be_mended(script: Path) -> None:
    """As if a folder had been copied by hand: its name and its record do not agree."""
    environment = sync(script).path
    other = script.with_name("other.py")
    other.touch()
    record = json.loads((environment / RECORD).read_text())
    record["source"]["path"] = str(other)
    (environment / RECORD).write_text(json.dumps(record))
    (finding,) = examined()
    assert finding.path == environment
    assert str(other) in finding.message
    assert why_not(finding) or codes() == []


def test_two_environments_of_one_source_are_told(script: Path) -> None:
    """A backup that was unpacked beside: only one of the two can be the source's."""
    environment = sync(script).path
    copy = environment.with_name(f"copy-{'0' * 16}")
    shutil.copytree(environment, copy, symlinks=True)
    (finding,) = examined()
    assert finding.path == copy
    assert why_not(finding) or codes() == []
    assert_ready(script)


# Several at once.


def test_many_damages_are_told_one_by_one_and_mended_together(home: Home, script: Path) -> None:
    scripts = [script, *(write_script(script.with_name(f"{x}.py"), "beta") for x in "bcd")]
    first, second, third, _fourth = (sync(each).path for each in scripts)
    damages.dangling_interpreter(first)
    module(second)
    shutil.rmtree(home.kernelspecs / f"scriptenv-{third.name}")
    scripts[3].unlink()
    found = {finding.path: finding.code for finding in examined()}
    assert found == {
        first: "broken-environment",
        second: "damaged-packages",
        third: "no-kernelspec-of-source",
        _fourth: "orphan",
    }
    reasons = mend(examined(), Context())
    assert [reason is None for reason in reasons].count(False) == 1
    assert codes() == ["orphan"]
    for each in scripts[:3]:
        assert_ready(each)


# What the command line says.


def test_without_fix_everything_is_told_and_nothing_changed(home: Home, script: Path) -> None:
    environment = sync(script).path
    module(environment)
    before = listed(home.path)
    said = command("doctor")
    assert said.code == 1
    assert said.out.startswith("wrong: Files of alpha in the environment of")
    assert "doctor --fix" in said.out
    assert "Traceback" not in said.err
    assert listed(home.path) == before


def test_with_fix_it_says_what_was_mended(script: Path) -> None:
    module(sync(script).path)
    said = command("doctor", "--fix")
    assert said.code == 0
    assert said.out.startswith("mended: Files of alpha")
    assert command("doctor").out == "Nothing is wrong.\n"
    assert_ready(script)


def test_json_has_every_finding(home: Home, script: Path) -> None:
    environment = sync(script).path
    damages.no_configuration(environment)
    foreign = home.scriptenv / "environments-v1" / "mine.txt"
    foreign.write_text("mine")
    said = command("doctor", "--json")
    assert said.code == 1
    one, other = said.json["findings"]
    assert set(one) == {"code", "message", "path", "hint", "can_be_mended", "mended"}
    assert (one["code"], one["path"]) == ("foreign-entry", str(foreign))
    assert (one["can_be_mended"], one["mended"]) == (False, False)
    assert one["hint"]
    assert (other["code"], other["path"]) == ("broken-environment", str(environment))
    assert (other["can_be_mended"], other["mended"]) == (True, False)
    said = command("doctor", "--json", "--fix")
    assert said.code == 1
    found = {each["code"]: each["mended"] for each in said.json["findings"]}
    assert found == {"foreign-entry": False, "broken-environment": True}
    foreign.unlink()
    said = command("doctor", "--json", "--fix")
    assert (said.code, said.json["findings"]) == (0, [])


def test_what_cannot_be_mended_says_why(script: Path) -> None:
    """The block asks for what there is not, so the environment cannot be completed."""
    damages.no_configuration(sync(script).path)
    write_script(script, "no-such-package-at-all")
    said = command("doctor", "--fix")
    assert said.code == 1
    assert said.out.startswith("wrong: ")
    assert "network is disabled" in said.out


def test_a_name_that_would_steer_a_terminal_is_shown_by_its_escapes(script: Path) -> None:
    odd = write_script(script.with_name("\x1b[2Jodd\n.py"), "beta")
    damages.no_configuration(sync(odd).path)
    said = command("doctor")
    assert "\x1b" not in said.out
    assert r"\x1b[2Jodd" in said.out
