"""`add`, `remove`, `upgrade`, `python` and `init`: the file, its lock and its environment agree."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

import click
import pytest

from ipy_scriptenv import environments, files
from ipy_scriptenv.cli.declaring import init
from ipy_scriptenv.environments import Context, Edit, Verb
from ipy_scriptenv.errors import (
    EnvironmentInUse,
    InstallFailed,
    PermissionRefused,
    PolicyViolation,
    ScriptEnvError,
    SourceChanged,
    WrongCall,
)
from ipy_scriptenv.metadata.editing import edited_source
from tests.conftest import Home
from tests.index import build
from tests.policies import allow
from tests.stage import (
    ALPHA,
    HOST,
    asker,
    block_of,
    call,
    commented,
    environment_of,
    installed,
    listing,
    record_of,
    running_kernel,
    state_of,
    sync,
    write_notebook,
    write_project,
    write_script,
)

pytestmark = pytest.mark.usefixtures("lean_home")


MODULE = "ipy_scriptenv.environments.declaring"
BEFORE = """\
#!/usr/bin/env python3
# /// script
# dependencies = ['with-entry-point']  # b
# ///
print(1)
"""


def declare(path: Path, verb: str, *words: str, options: tuple[str, ...] = ()) -> Any:
    edit = Edit(verb=Verb(verb), words=words, options=options, folder=path.parent)
    return environments.declare(environments.locate(path), edit, context=Context())


def lock(path: Path, **options: Any) -> None:
    environments.lock(environments.locate(path), context=Context(), **options)


def locked(path: Path) -> set[str]:
    """Name the packages in the lock beside a source."""
    return {
        each.name
        for each in environments.check_lock(environments.locate(path), context=Context()).packages
    }


# The file


def test_what_is_added_stands_in_the_block_and_in_the_environment(script: Path) -> None:
    script.write_text(BEFORE)
    script.chmod(0o755)
    declared = declare(script, "add", "alpha<2")
    assert script.read_text() == BEFORE.replace("['", "['alpha<2', '")
    assert stat.S_IMODE(script.stat().st_mode) == 0o755
    assert (declared.added, declared.removed) == (("alpha<2",), ())
    assert installed(environment_of(script)) == {"alpha==1.1", "with-entry-point==1.0"}
    assert state_of(script) == "in-sync"
    gone = declare(script, "remove", "Alpha")
    assert gone.removed == ("alpha<2",)
    assert "['with-entry-point']  # b\n" in script.read_text()
    assert installed(environment_of(script)) == {"with-entry-point==1.0"}
    assert [each.name for each in script.parent.iterdir()] == ["a.py"]


def test_in_a_notebook_only_the_block_s_cell_changes(tmp_path: Path) -> None:
    path = write_notebook(tmp_path / "work" / "nb.ipynb", "'before'", commented(block_of("beta")))
    content = json.loads(path.read_bytes())
    path.write_text(
        json.dumps(content, indent=3, ensure_ascii=True).replace('"before', '"b\\u00e9')
    )
    before = path.read_bytes()
    declare(path, "add", "alpha")
    changed = json.loads(path.read_bytes())
    assert "alpha" in "".join(changed["cells"][1]["source"])
    assert path.read_bytes() != before
    declare(path, "remove", "alpha")
    assert path.read_bytes() == before


def test_a_source_without_a_block_gets_one(tmp_path: Path, script: Path) -> None:
    script.write_text("print(1)\n")
    declare(script, "add", "beta")
    assert script.read_text().startswith('# /// script\n# dependencies = [\n#     "beta')
    assert script.read_text().endswith("# ]\n# ///\n\nprint(1)\n")
    path = write_notebook(tmp_path / "nb.ipynb", "1")
    declare(path, "add", "beta")
    cells = json.loads(path.read_bytes())["cells"]
    assert "beta" in "".join(cells[0]["source"])
    assert "".join(cells[1]["source"]) == "1"
    assert installed(environment_of(path)) == {"alpha==2.0", "beta==1.0"}


def test_a_lower_bound_is_written_unless_another_or_none_is_asked_for(script: Path) -> None:
    write_script(script)
    declare(script, "add", "beta")
    assert '"beta>=1.0"' in script.read_text()
    assert call("add", script, "--bounds", "exact", "alpha").returncode == 0
    assert '"alpha==2.0"' in script.read_text()


def test_a_folder_is_declared_by_its_path_beside_the_source(script: Path) -> None:
    write_script(script)
    write_project(script.parent / "mine")
    declare(script, "add", "./mine[plot]", options=("--editable",))
    text = script.read_text()
    assert '"local[plot]"' in text
    assert "[tool.uv.sources]" in text
    assert str(script.parent) not in text
    assert state_of(script) == "in-sync"


# Nothing is done by halves


@pytest.mark.parametrize(
    "words", [("no-such-package",), ("beta", "alpha>99"), ("not a requirement",)]
)
def test_what_cannot_be_resolved_changes_nothing(script: Path, words: tuple[str, ...]) -> None:
    sync(write_script(script, "beta"))
    before = script.read_bytes(), listing(environment_of(script))
    with pytest.raises(ScriptEnvError) as refused:
        declare(script, "add", *words)
    assert "--frozen" not in str([each.message for each in refused.value.problems])
    assert (script.read_bytes(), listing(environment_of(script))) == before
    assert [each.name for each in script.parent.iterdir()] == ["a.py"]


def test_what_cannot_be_installed_is_taken_back(script: Path) -> None:
    damaged = build.Distribution(name="damaged", version="1.0")
    content = build._wheel(damaged).replace(b"__version__ =", b"__VERSION__ =")
    wheels = script.parent / "wheels"
    wheels.mkdir()
    (wheels / damaged.wheel_name).write_bytes(content)
    sync(write_script(script, "beta", uv='find-links = ["wheels"]'))
    lock(script)
    beside = script.with_name("a.py.lock")
    before = script.read_bytes(), beside.read_bytes(), installed(environment_of(script))
    with pytest.raises(InstallFailed):
        declare(script, "add", "damaged")
    assert (script.read_bytes(), beside.read_bytes(), installed(environment_of(script))) == before
    assert {each.name for each in script.parent.iterdir()} == {"a.py", "a.py.lock", "wheels"}


def test_a_package_that_a_kernel_has_imported_is_not_taken_away(home: Home, script: Path) -> None:
    synced = sync(write_script(script, "beta"))
    before = script.read_bytes()
    with (
        running_kernel(home.scriptenv, synced.name, imported=["beta/__init__.py"]),
        pytest.raises(EnvironmentInUse),
    ):
        declare(script, "remove", "beta")
    assert script.read_bytes() == before
    assert installed(synced.path) == {"alpha==2.0", "beta==1.0"}
    assert state_of(script) == "in-sync"
    assert record_of(synced.path).pending is None


def test_a_file_that_changes_meanwhile_is_left_alone(
    script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_script(script, "beta")

    def and_somebody_saves(data: bytes, toml: str, *, name: str) -> bytes:
        script.write_text("print('saved')\n")
        return edited_source(data, toml, name=name)

    monkeypatch.setattr(f"{MODULE}.edited_source", and_somebody_saves)
    with pytest.raises(SourceChanged):
        declare(script, "add", "alpha")
    assert script.read_text() == "print('saved')\n"
    assert not environment_of(script).exists()


def test_a_file_that_is_saved_while_the_disk_is_slow_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.py"
    path.write_bytes(b"old")

    def and_somebody_saves(_descriptor: int) -> None:
        path.write_bytes(b"saved")

    monkeypatch.setattr(os, "fsync", and_somebody_saves)
    with pytest.raises(SourceChanged):
        files.rewrite(path, b"new", expected=b"old")
    assert path.read_bytes() == b"saved"
    assert [*tmp_path.glob("*a.py*")] == [path]


def test_a_place_that_may_not_be_looked_at_is_a_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_dir", refuse)
    with pytest.raises(PermissionRefused, match="Permission denied"):
        files.write_output(tmp_path / "a.txt", b"")


def test_a_lock_waits_with_the_block_that_another_kernel_cannot_bear(
    home: Home, script: Path
) -> None:
    synced = sync(write_script(script, "alpha<2"))
    lock(script)
    source, context, beside = environments.locate(script), Context(), Path(f"{script}.lock")
    words = Edit(verb=Verb.ADD, words=("alpha>=2",), folder=script.parent)
    block = block_of("alpha<2")
    edited = environments.edit_given(
        source, words, context=context, block=block, folder=script.parent
    )
    before = beside.read_bytes()
    with running_kernel(home.scriptenv, synced.name, imported=[ALPHA]) as other:
        for who, after in ((None, before), (asker(synced), edited.new_lock)):
            with pytest.raises(EnvironmentInUse):
                environments.declare_given(
                    source, edited, context=context, asker=who, folder=script.parent
                )
            assert beside.read_bytes() == after, other
    assert record_of(synced.path).pending == edited.toml


def test_for_a_file_that_cannot_be_written_nothing_is_installed(
    script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may write everything, so it is told that it may not."""
    write_script(script, "beta")
    access = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: access(path, mode) and (path, mode) != (script, os.W_OK)
    )
    with pytest.raises(PermissionRefused):
        declare(script, "add", "alpha")
    assert not environment_of(script).exists()


def test_a_word_that_looks_like_an_option_is_no_package(script: Path) -> None:
    write_script(script, "beta")
    with pytest.raises(WrongCall):
        declare(script, "add", "--index-url=https://evil.example")
    with pytest.raises(WrongCall):
        declare(script, "remove", "-r")


# Locks


def test_a_lock_beside_the_source_is_kept_in_step(script: Path) -> None:
    write_script(script, "beta")
    lock(script)
    declare(script, "add", "alpha<2")
    assert locked(script) == {"alpha", "beta"}
    declare(script, "remove", "beta")
    assert locked(script) == {"alpha"}
    assert installed(environment_of(script)) == {"alpha==1.1"}


def test_an_embedded_lock_is_kept_in_step(tmp_path: Path) -> None:
    path = write_notebook(tmp_path / "nb.ipynb", commented(block_of("beta")))
    lock(path, embed=True)
    declare(path, "add", "alpha<2")
    assert locked(path) == {"alpha", "beta"}
    assert not path.with_name("nb.ipynb.lock").exists()
    assert installed(environment_of(path)) == {"alpha==1.1", "beta==1.0"}


def test_an_upgrade_takes_what_the_block_allows_by_now(script: Path) -> None:
    write_script(script, "alpha<2")
    assert installed(sync(script).path) == {"alpha==1.1"}
    write_script(script, "alpha")
    assert call("upgrade", script).returncode == 0
    assert installed(environment_of(script)) == {"alpha==2.0"}
    told = json.loads(call("upgrade", script, "Alpha<3", "alfa", "--json").stdout)
    assert told["action"] in {"kept", "updated"}
    assert told["warnings"] == ["There is no `alfa` in the environment, so it was not upgraded."]


# Python


def test_another_python_is_written_and_built(script: Path, other: str) -> None:
    write_script(script, "beta")
    lock(script)
    declared = declare(script, "python", other)
    assert f'requires-python = "=={other}.*"' in script.read_text()
    assert record_of(environment_of(script)).python.version.startswith(other)
    assert declared.synced.action == "created"
    assert locked(script) == {"alpha", "beta"}
    declare(script, "python", ">=3.9")
    assert 'requires-python = ">=3.9"' in script.read_text()


@pytest.mark.parametrize("asked", ["", "three", "/usr/bin/python3", "3.x"])
def test_what_is_no_version_of_python_is_refused(script: Path, asked: str) -> None:
    before = write_script(script, "beta").read_bytes()
    with pytest.raises(WrongCall):
        declare(script, "python", asked)
    assert script.read_bytes() == before


# A new source


@pytest.mark.parametrize("name", ["new.ipynb", "new.py"])
def test_a_new_source_has_a_block_and_an_environment(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    told = call("init", path, "beta", "--json")
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["added"] == ["beta>=1.0"]
    assert installed(environment_of(path)) == {"alpha==2.0", "beta==1.0"}
    again = call("init", path)
    assert again.returncode == 2
    assert "is there already" in again.stderr
    if name.endswith(".ipynb"):
        assert json.loads(path.read_bytes())["metadata"]["kernelspec"]["name"] == "scriptenv"


def test_a_new_source_whose_packages_cannot_be_had_is_not_made(tmp_path: Path) -> None:
    assert call("init", tmp_path / "new.ipynb", "no-such-package").returncode == 1
    assert not (tmp_path / "new.ipynb").exists()
    assert call("init", tmp_path / "new.txt").returncode == 2
    assert not (tmp_path / "new.txt").exists()


def test_what_was_saved_in_a_new_source_meanwhile_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "new.py"

    def fail(*_given: object, **_more: object) -> None:
        path.write_text("mine")
        raise WrongCall("It fails.")

    monkeypatch.setattr(environments, "sync", fail)
    with pytest.raises(WrongCall, match="It fails"):
        init.main([str(path)], standalone_mode=False)
    assert path.read_text() == "mine"


def test_an_interrupt_leaves_no_new_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_given: object, **_more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(environments, "sync", interrupt)
    with pytest.raises(click.Abort):
        init.main([str(tmp_path / "new.py")], standalone_mode=False)
    assert [*tmp_path.glob("new*")] == []


def test_a_new_source_in_no_folder_is_a_wrong_path(tmp_path: Path) -> None:
    told = call("init", tmp_path / "no" / "new.py", "--json")
    assert told.returncode == 2
    error = json.loads(told.stdout)["error"]
    assert (error["code"], error["message"]) == (
        "not-found",
        f"The folder `{tmp_path / 'no'}` does not exist.",
    )


def test_a_name_may_be_as_long_as_the_file_system_lets_it(tmp_path: Path) -> None:
    path = tmp_path / f"{'ä' * 124}a.py"
    path.write_bytes(b"old")
    files.rewrite(path, b"new", expected=b"old")
    assert [each.read_bytes() for each in tmp_path.glob("*a.py")] == [b"new"]


@pytest.mark.parametrize("has_links", [True, False])
def test_a_new_file_replaces_nothing_that_came_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, has_links: bool
) -> None:
    def refuse(*_given: object) -> None:
        raise PermissionError(errno.EPERM, "no links here")

    if not has_links:
        monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "new.py"
    files.rewrite(path, b"new", expected=None)
    assert path.read_bytes() == b"new"
    monkeypatch.setattr(files, "is_gone", lambda looked_at: looked_at == path)
    with pytest.raises(SourceChanged):
        files.rewrite(path, b"other", expected=None)
    assert path.read_bytes() == b"new"
    assert [*tmp_path.glob("*new.py*")] == [path]
    assert path.stat().st_nlink == 1


def test_a_new_source_says_which_python_it_began_with(tmp_path: Path) -> None:
    """As ``uv init --script`` writes it."""
    for name in ("new.py", "new.ipynb"):
        path = tmp_path / name
        assert call("init", path).returncode == 0
        source = environments.locate(path)
        assert environments.status(source, context=Context()).requires_python == f">={HOST}"


def test_a_new_source_begins_with_the_python_of_the_environment_that_stands_there(
    script: Path, other: str
) -> None:
    sync(write_script(script, requires_python=f"=={other}.*"))
    script.unlink()
    assert call("init", script).returncode == 0
    assert f'requires-python = ">={other}"' in script.read_text()
    assert record_of(environment_of(script)).python.version.startswith(other)


def test_a_new_source_may_say_which_python(tmp_path: Path) -> None:
    path = tmp_path / "new.py"
    assert call("init", path, "--python", ">=3.9").returncode == 0
    assert path.read_text() == (
        '# /// script\n# requires-python = ">=3.9"\n# dependencies = []\n# ///\n'
    )


# What is allowed


def test_a_policy_holds_for_what_is_added(script: Path, index: Path) -> None:
    before = write_script(script).read_bytes()
    allow(index)
    declare(script, "add", "beta")
    for words, options in (
        (("alpha",), ("--index", "https://evil.example/simple")),
        (("alpha @ https://evil.example/alpha-1.0-py3-none-any.whl",), ()),
        (("alpha",), ("--requirements", str(script))),
    ):
        script.write_bytes(before)
        with pytest.raises(PolicyViolation):
            declare(script, "add", *words, options=options)
        assert script.read_bytes() == before


# What is told


def test_a_line_that_names_a_file_changes_the_file(script: Path) -> None:
    write_script(script, "beta")
    done = call("add", script, "alpha<2", "--json")
    assert json.loads(done.stdout)["block"].count("alpha") == 1
    # uv resolves for the block, and for the environment.
    assert call("add", script, "gamma").stderr.count("Resolved") == 1
    text = call("remove", script, "alpha")
    assert "no longer declared: alpha<2" in text.stdout
    assert call("remove", script, "alpha").returncode == 1


def test_credentials_of_what_goes_are_not_told(script: Path) -> None:
    write_script(script, "beta @ https://me:s3cr3t@localhost:1/beta-1.0-py3-none-any.whl")
    for arguments in (("remove", script, "beta", "--json"), ("add", script, "alpha")):
        told = call(*arguments)
        assert "s3cr3t" not in told.stdout + told.stderr
        assert told.stdout or told.stderr
