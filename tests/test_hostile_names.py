"""Names of files, and metadata, that would steer a terminal: they are shown escaped everywhere."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager

from ipy_scriptenv import environments
from ipy_scriptenv.environments import Context
from ipy_scriptenv.errors import ScriptEnvError
from ipy_scriptenv.server_extension import _path_finder, follow_renames
from tests.conftest import Home
from tests.kernels import (
    block,
    environment_of,
    kernelspec_of,
    made,
    opened,
    record_of,
    write_notebook,
)
from tests.lifecycle import command
from tests.stage import commented

NAMES = {
    "escape sequence": "\x1b[2J\x1b]0;owned\x07.ipynb",
    "eight-bit escape sequence": "\x9b2Jowned.ipynb",
    "newline": "a\nerror: all is well.ipynb",
    "carriage return": "a\rerror: all is well.ipynb",
    "tab and backspaces": "a\t\b\b\b.ipynb",
    "other direction": "a\u202egnp.ipynb",
    "nothing to see": "\u200b\u2060.ipynb",
    "line separators": "a\u2028b\u2029c\x85.ipynb",
    "no UTF-8": os.fsdecode(b"a\xff\xfe.ipynb"),
    "option": "--help.ipynb",
    "short option": "-rf.py",
    "command": "$(touch owned);`touch owned`&touch owned.ipynb",
    "formats": "%s%n%(name)s{connection_file}${HOME}{0}.ipynb",
    "quotes": "'\"'''\"\"\"\\.ipynb",
    "markup": "<script>alert(1)</script>.ipynb".replace("/", "\u2215"),
    "long": "x" * 240 + ".ipynb",
}
BAD = "dependencies = ['-e .']"


@pytest.fixture(autouse=True)
def home(lean_home: Home) -> Home:
    return lean_home


@pytest.fixture(params=list(NAMES.values()), ids=list(NAMES))
def path(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Give a source with a hostile name, which has an environment and a kernelspec."""
    return write(tmp_path / "work" / request.param)


def write(path: Path, *cells: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".ipynb":
        return write_notebook(path, *(cells or (block("alpha<2"),)))
    path.write_text("\n".join(cells) or block("alpha<2"))
    return path


def is_safe(text: str) -> bool:
    """Say whether nothing in a text steers a terminal but the ends of its lines."""
    return text.replace("\n", "").isprintable()


def escaped(path: Path) -> str:
    """Give a file's name as it may be shown."""
    name = path.name
    return name if name.isprintable() else name.encode("unicode_escape").decode()


def test_every_answer_shows_the_name_escaped(path: Path) -> None:
    environments.sync(environments.locate(path), context=Context())
    for words in (["status", "--", path], ["list"], ["delete", "--yes", "--", path]):
        answer = command(*words)
        assert answer.code == 0, answer.err
        assert is_safe(answer.out + answer.err)
        if words[0] != "delete":
            assert escaped(path) in answer.out


def test_a_sync_and_its_steps_show_the_name_escaped(path: Path) -> None:
    answer = command("sync", "--", path)
    assert answer.code == 0, answer.err
    assert is_safe(answer.out + answer.err)
    assert "error: all is well" not in [line.strip() for line in answer.out.splitlines()]


def test_json_holds_the_name_as_it_is(home: Home, path: Path) -> None:
    environment = made(home, path)
    for verb in ("status", "find"):
        answer = command(verb, "--json", "--", path)
        assert answer.out.isascii()
        assert answer.out.count("\n") == 1
        assert answer.json["source"] == str(path)
    assert command("list", "--json").json["environments"][0]["source"] == str(path)
    assert record_of(environment)["source"]["path"] == str(path)


def errors_with(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Give calls of the command line that fail, and tell the name."""
    yield "no environment", ["find", "--", str(path)]
    yield "not found", ["status", "--", f"{path}.gone"]
    yield "no such interpreter", ["sync", "--python", f"{path}/python", "--", str(path)]
    write(path, commented(BAD))
    yield "bad requirement", ["status", "--", str(path)]
    write(path, commented("a = 1"), commented("b = 2"))
    yield "duplicate", ["status", "--", str(path)]
    path.write_bytes(b"\0\xff")
    yield "no source", ["status", "--", str(path)]
    path.unlink()
    path.mkdir()
    yield "a folder", ["status", "--", str(path)]


def test_every_error_shows_the_name_escaped(path: Path) -> None:
    for what, words in errors_with(path):
        answer = command(*words)
        assert answer.code in {1, 2}, what
        assert answer.err.partition(":")[0].endswith("error"), what
        assert is_safe(answer.out + answer.err), (what, answer.err)
        # A name on two lines could say anything in the second one.
        assert not any(line.startswith("  error: all is") for line in answer.err.splitlines()), what


def test_the_kernel_picker_shows_the_name_escaped(home: Home, path: Path) -> None:
    made(home, path)
    spec = json.loads((home.kernelspecs / kernelspec_of(path) / "kernel.json").read_text())
    assert spec["display_name"] == f"scriptenv: {escaped(path)}"
    assert spec["display_name"].isprintable()
    assert spec["metadata"]["scriptenv"]["source"] == str(path)
    assert [part for part in spec["argv"] if not part.isascii() or not part.isprintable()] == []
    assert (home.kernelspecs / kernelspec_of(path)).name.isascii()


def test_the_kernel_picker_tells_files_of_one_hostile_name_apart(home: Home, path: Path) -> None:
    made(home, path)
    other = write(path.parent / "other" / path.name)
    made(home, other)
    shown = {
        json.loads((home.kernelspecs / kernelspec_of(each) / "kernel.json").read_text())[
            "display_name"
        ]
        for each in (path, other)
    }
    assert len(shown) == 2
    assert all(each.isprintable() for each in shown)


def test_the_servers_log_shows_a_renamed_file_escaped(home: Home, path: Path) -> None:
    made(home, path)
    for note in (home.scriptenv / "locks").glob("*.starting"):
        note.unlink()
    new = path.rename(path.with_name(f"new-{path.name[-200:]}"))
    log = logging.Logger("server")  # noqa: LOG001 - of this test alone
    heard: list[logging.LogRecord] = []
    log.addFilter(heard.append)  # type: ignore[arg-type]  # what gives None is dropped
    finder = _path_finder(AsyncLargeFileManager(root_dir=str(path.parent)))
    data = {"action": "rename", "source_path": path.name, "path": new.name}
    asyncio.run(follow_renames(finder, log)(None, "", data))
    assert record_of(environment_of(home, new))["source"]["path"] == str(new)
    messages = [record.getMessage() for record in heard if record.levelno >= logging.INFO]
    assert messages
    assert all(message.isprintable() for message in messages), ascii(messages)


@pytest.mark.parametrize("name", ["escape sequence", "newline", "eight-bit escape sequence"])
def test_the_log_and_the_cell_of_a_kernel_that_explains_show_the_name_escaped(
    offline_home: Home, tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "work" / NAMES[name])
    place = made(offline_home, path) / "scriptenv.json"
    record = json.loads(place.read_text())
    record["source"]["path"] = f"{path}.other"
    place.write_text(json.dumps(record))
    with opened(offline_home, path) as kernel:
        done = kernel.execute("1")
    assert done.ename == "Foreign"
    logged = [
        record.getMessage() for record in caplog.records if "scriptenv" in record.getMessage()
    ]
    assert logged
    assert all(message.isprintable() for message in logged), logged
    assert is_safe(done.traceback), done.traceback


@pytest.mark.parametrize("name", ["escape sequence", "newline"])
def test_what_a_cell_shows_has_the_name_escaped(
    offline_home: Home, tmp_path: Path, name: str
) -> None:
    path = write(tmp_path / "work" / NAMES[name])
    with opened(offline_home, path) as kernel:
        done = kernel.execute(block("alpha==1.0"))
        assert done.status == "ok", done.traceback
        assert is_safe(done.stdout), done.stdout
        for line in ("%scriptenv status", "%scriptenv list", "%scriptenv find"):
            told = kernel.execute(line)
            assert is_safe(told.stdout + told.shown_text), line
        # The file is not to be read, so the error names it.
        path.write_bytes(b"\0")
        failed = kernel.execute("%scriptenv sync")
        assert is_safe(failed.traceback), failed.traceback


def test_messages_for_other_programs_name_the_file_on_one_line(path: Path) -> None:
    """An error's sentence stands in logs and in cells, which escape nothing."""
    path.write_bytes(b"\0\xff" if path.suffix != ".ipynb" else b"{}")
    with pytest.raises(ScriptEnvError) as unreadable:
        environments.sync(environments.locate(path), context=Context())
    with pytest.raises(ScriptEnvError) as gone:
        environments.locate(f"{path}.gone")
    with pytest.raises(ScriptEnvError) as missing:
        environments.find(environments.locate(path), store=Context().store)
    messages = [str(each.value) for each in (unreadable, gone, missing)]
    assert [message for message in messages if not message.isprintable()] == []
