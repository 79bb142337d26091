"""One call's index, date and upgrades: the same options mean the same, whichever verb has them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ipy_scriptenv import environments
from ipy_scriptenv.cli.declaring import edit_of
from ipy_scriptenv.environments import Context
from tests.conftest import Home
from tests.stage import (
    HOST,
    block_of,
    call,
    commented,
    environment_of,
    installed,
    record_of,
    write_notebook,
    write_script,
)
from tests.web_index import serving, use_web_index

VERSION = "import alpha\nprint(alpha.__version__)\n"
OLD = ("--exclude-newer", "2023-01-01")
"""Of ``alpha``, 1.1 is the newest by then, and 2.0 is today."""


@pytest.fixture
def there(
    lean_home: Home,  # noqa: ARG001 - it sets the stage
    index: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[tuple[str, str]]:
    """Give the options that name an index, which is the only one that has anything."""
    with serving(index) as web:
        use_web_index(web, monkeypatch, default=False)
        monkeypatch.setenv("UV_DEFAULT_INDEX", web.url().replace("/simple", "/empty/simple"))
        yield "--index", web.url()


def succeeds(*words: str | Path, **options: str) -> str:
    """Call the command line, and give what it prints."""
    called = call(*words, **options)
    assert called.returncode == 0, called.stderr
    return called.stdout


def test_a_run_takes_an_index_a_date_and_upgrades(script: Path, there: tuple[str, str]) -> None:
    write_script(script, "alpha", code=VERSION)
    assert call("run", script).returncode == 1
    assert succeeds("run", *there, *OLD, script, *OLD) == "1.1\n"
    # These were that call's; what is installed stays until somebody asks for newer.
    assert succeeds("run", script) == "1.1\n"
    assert succeeds("run", *there, "-P", "alpha", script) == "2.0\n"
    text = commented(block_of("alpha"), VERSION)
    assert succeeds("run", *there, *OLD, "-", input=text) == "1.1\n"
    assert succeeds("run", *there, "--upgrade", "-", input=text) == "2.0\n"
    refused = call("run", "--frozen", "--upgrade", script)
    assert (refused.returncode, refused.stdout) == (2, "")


def test_a_console_takes_them_too(script: Path, there: tuple[str, str]) -> None:
    write_script(script, "alpha")
    told = succeeds("console", *there, *OLD, script, "--no-banner", input=VERSION)
    assert "1.1" in told
    assert installed(environment_of(script)) == {"alpha==1.1"}


def test_a_notebook_is_executed_with_them(script: Path, there: tuple[str, str]) -> None:
    notebook = write_notebook(script.with_suffix(".ipynb"), commented(block_of("alpha")), VERSION)
    told = succeeds("execute", notebook, *there, *OLD, "--python", HOST)
    assert told == "1.1\n"
    assert record_of(environment_of(notebook)).python.request == HOST
    refused = call("execute", notebook, "--python", "3.1", "--json")
    assert json.loads(refused.stdout)["error"]["code"] == "no-python"


def test_what_is_declared_with_a_date_is_installed_with_it(
    script: Path, there: tuple[str, str]
) -> None:
    """The date is not written into the block; a lock keeps it."""
    write_script(script)
    succeeds("add", script, "alpha", *there, *OLD)
    assert '"alpha>=1.1"' in script.read_text()
    assert installed(environment_of(script)) == {"alpha==1.1"}
    succeeds("upgrade", script, *OLD)
    assert installed(environment_of(script)) == {"alpha==1.1"}
    succeeds("lock", script, *OLD)
    succeeds("add", script, "beta", *OLD)
    lock = script.with_name("a.py.lock").read_text()
    assert "exclude-newer" in lock
    assert 'version = "2.0"' not in lock
    succeeds("remove", script, "beta", *OLD)
    assert 'name = "beta"' not in script.with_name("a.py.lock").read_text()
    succeeds("python", script, ">=3.9", *OLD)
    assert succeeds("lock", script, "--check", *OLD).startswith("The lock is up to date")
    succeeds("upgrade", script)
    assert installed(environment_of(script)) == {"alpha==2.0"}


def test_a_line_of_the_magic_means_the_same(script: Path, there: tuple[str, str]) -> None:
    """Its block stands in a cell, and the file is left alone."""
    write_script(script)
    before, source = script.read_bytes(), environments.locate(script)
    edit = edit_of("add", [*there, *OLD, "alpha"], folder=script.parent)
    context = Context()
    edited = environments.edit_given(
        source, edit, context=context, block=block_of(), folder=script.parent
    )
    assert "alpha>=1.1" in edited.toml
    environments.declare_given(source, edited, context=context, asker=None, folder=script.parent)
    assert installed(environment_of(script)) == {"alpha==1.1"}
    assert script.read_bytes() == before


def test_trees_and_exports_show_what_would_be_chosen(script: Path, there: tuple[str, str]) -> None:
    write_script(script, "alpha")
    assert succeeds("tree", script, *there, *OLD) == "alpha v1.1\n"
    assert "alpha==1.1" in succeeds("export", script, *there, *OLD)
    succeeds("lock", script, *there, *OLD)
    before = script.with_name("a.py.lock").read_bytes()
    assert succeeds("tree", script, *there, "-U") == "alpha v2.0\n"
    exported = succeeds("export", script, *there, "-P", "alpha", "--format", "environment.yml")
    assert '"alpha==2.0"' in exported
    assert script.with_name("a.py.lock").read_bytes() == before
    assert not environment_of(script).exists()
