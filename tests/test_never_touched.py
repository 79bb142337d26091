"""What get or init never touches: what is not ours, and what is not for others' eyes."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ipy_scriptenv.environments import Context
from ipy_scriptenv.errors import Foreign, NewerSchema
from ipy_scriptenv.layout import LAUNCHER, RECORD
from tests.conftest import Home
from tests.stage import environment_of, listing, start, sync, write_script

Verb = Callable[[Path], object]

pytestmark = pytest.mark.usefixtures("lean_home")


@pytest.fixture
def script(script: Path) -> Path:
    return write_script(script, "beta")


# What is never touched


@pytest.mark.parametrize("verb", [start, sync])
def test_a_record_of_a_newer_version_is_an_error(script: Path, verb: Verb) -> None:
    environment = sync(script).path
    data = json.loads((environment / RECORD).read_text())
    (environment / RECORD).write_text(json.dumps({"schema": 2, "source": data["source"]}))
    before = listing(environment)
    with pytest.raises(NewerSchema) as refused:
        verb(script)
    assert "upgrade" in refused.value.hint.lower()
    assert listing(environment) == before


@pytest.mark.parametrize("verb", [start, sync])
def test_a_record_of_another_source_is_an_error(script: Path, verb: Verb) -> None:
    environment = sync(script).path
    record = environment / RECORD
    record.write_text(record.read_text().replace(str(script), "/another/source.py"))
    before = listing(environment)
    with pytest.raises(Foreign) as refused:
        verb(script)
    assert "`/another/source.py`" in str(refused.value)
    assert listing(environment) == before


def foreign_file(place: Path, _aside: Path) -> None:
    place.write_text("precious")


def foreign_folder(place: Path, _aside: Path) -> None:
    place.mkdir()
    (place / "precious").write_text("precious")


def foreign_environment(place: Path, _aside: Path) -> None:
    """A virtual environment that somebody else has made."""
    foreign_folder(place, _aside)
    (place / "pyvenv.cfg").write_text("home = /usr/bin\n")
    (place / "bin").mkdir()
    (place / "bin" / "python").symlink_to(sys.executable)


def link_to_a_folder(place: Path, aside: Path) -> None:
    foreign_folder(aside, aside)
    place.symlink_to(aside)


def link_to_an_empty_folder(place: Path, aside: Path) -> None:
    aside.mkdir()
    place.symlink_to(aside)


def link_to_nothing(place: Path, aside: Path) -> None:
    place.symlink_to(aside)


def link_to_an_environment(place: Path, aside: Path) -> None:
    """One of ours even: a link never is."""
    aside.mkdir()
    (aside / RECORD).write_text("{}")
    (aside / LAUNCHER).write_text("")
    place.symlink_to(aside)


def pipe(place: Path, _aside: Path) -> None:
    os.mkfifo(place)


@pytest.mark.parametrize("verb", [start, sync])
@pytest.mark.parametrize(
    "foreign",
    [
        foreign_file,
        foreign_folder,
        foreign_environment,
        link_to_a_folder,
        link_to_an_empty_folder,
        link_to_nothing,
        link_to_an_environment,
        pipe,
    ],
)
def test_what_is_foreign_is_not_touched(
    *, script: Path, tmp_path: Path, foreign: Callable[[Path, Path], None], verb: Verb
) -> None:
    Context().store.prepare()
    place = environment_of(script)
    foreign(place, tmp_path / "aside")
    before = listing(place.parent), listing(tmp_path / "aside"), place.lstat()
    with pytest.raises(Foreign) as refused:
        verb(script)
    assert refused.value.code == "foreign"
    assert f"`{place}`" in str(refused.value)
    after = listing(place.parent), listing(tmp_path / "aside"), place.lstat()
    assert after[:2] == before[:2]
    assert (after[2].st_ino, after[2].st_mtime_ns) == (before[2].st_ino, before[2].st_mtime_ns)


@pytest.mark.parametrize("folder", ["environments-v1", "kernels-v1", "locks", "work-v1"])
def test_a_link_in_place_of_a_folder_of_ours_is_refused(
    home: Home, script: Path, tmp_path: Path, folder: str
) -> None:
    aside = tmp_path / "aside"
    (home.scriptenv / folder).rename(aside)
    (home.scriptenv / folder).symlink_to(aside)
    before = listing(aside)
    with pytest.raises(Foreign):
        start(script)
    assert listing(aside) == before


@pytest.mark.parametrize("verb", [start, sync])
def test_nothing_is_written_beside_the_source(script: Path, verb: Verb) -> None:
    """So a folder that is read-only does as well; root may write into it all the same."""
    script.parent.chmod(0o555)
    before = listing(script.parent), script.parent.stat().st_mtime_ns
    verb(script)
    assert (listing(script.parent), script.parent.stat().st_mtime_ns) == before


# Permissions


def test_everything_is_the_users_alone(home: Home, script: Path) -> None:
    home.scriptenv.chmod(0o755)
    old = os.umask(0)
    try:
        environment = sync(script).path
    finally:
        os.umask(old)
    folders = [home.scriptenv, environment, *(p for p in home.scriptenv.iterdir() if p.is_dir())]
    assert {str(path): oct(path.stat().st_mode & 0o777) for path in folders} == {
        str(path): "0o700" for path in folders
    }
    files = [
        environment / RECORD,
        environment / LAUNCHER,
        *(path for path in (home.scriptenv / "locks").iterdir() if path.is_file()),
    ]
    assert {str(path): oct(path.stat().st_mode & 0o777) for path in files} == {
        str(path): "0o600" for path in files
    }
