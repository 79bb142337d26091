"""For which source a kernel is launched, and which text of its block counts.

The tables are those of the contract: *Which source is it?*, *Which text of the block?*.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from ipy_scriptenv import environments
from ipy_scriptenv.environments import EPHEMERAL, Context
from ipy_scriptenv.provisioner import source_of
from ipy_scriptenv.record import Source
from tests.conftest import Home
from tests.kernels import (
    GENERIC,
    block,
    environment_of,
    ephemeral,
    install_generic,
    kernelspec_of,
    made,
    opened,
    pip_list,
    prefix,
    record_of,
    started,
    unasked,
    write_notebook,
)
from tests.stage import installed, start

# Which source is it?


def named(path: Path | str) -> dict[str, dict[str, str]]:
    """Give the metadata of a kernelspec for a source."""
    return {"scriptenv": {"source": str(path)}}


SPOILT: tuple[dict[str, Any], ...] = (
    {"scriptenv": None},
    {"scriptenv": []},
    {"scriptenv": {"source": 3}},
    {"scriptenv": {"source": None}},
)


@pytest.mark.usefixtures("home")
def test_which_source_the_first_that_applies(tmp_path: Path) -> None:
    first, second, third = (write_notebook(tmp_path / f"{name}.ipynb", "") for name in "abc")
    a, b, c = (environments.locate(each) for each in (first, second, third))
    script = tmp_path / "s.py"
    script.write_text("print(1)\n", encoding="utf-8")
    picture = tmp_path / "p.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n\x00")
    session, given = {"JPY_SESSION_NAME": str(first)}, {"SCRIPTENV_SOURCE": str(third)}
    rows: list[tuple[dict[str, str], dict[str, Any], Source]] = [
        # 1. the path of the session, if it is an existing file that can be a source
        (session | given, named(second), a),
        ({"JPY_SESSION_NAME": str(script)}, named(second), environments.locate(script)),
        # 2. the kernelspec's
        ({}, named(second), b),
        (given, named(second), b),
        ({"JPY_SESSION_NAME": str(tmp_path / "Console 1")}, named(second), b),
        ({"JPY_SESSION_NAME": str(tmp_path)}, named(second), b),
        ({"JPY_SESSION_NAME": "a.ipynb"}, named(second), b),
        ({"JPY_SESSION_NAME": ""}, named(second), b),
        ({"JPY_SESSION_NAME": "\0"}, named(second), b),
        ({"JPY_SESSION_NAME": str(picture)}, named(second), b),
        # 3. SCRIPTENV_SOURCE
        (given, {}, c),
        (given | {"JPY_SESSION_NAME": str(tmp_path / "nowhere.ipynb")}, {}, c),
        # 4. none
        ({}, {}, EPHEMERAL),
        ({"JPY_SESSION_NAME": str(tmp_path / "nowhere.ipynb")}, {}, EPHEMERAL),
        ({"SCRIPTENV_SOURCE": str(tmp_path / "nowhere.ipynb")}, {}, EPHEMERAL),
        # … and a kernelspec that was spoilt by hand says nothing
        *((given, spoilt, c) for spoilt in SPOILT),
    ]
    found = [source_of(env, metadata) for env, metadata, _ in rows]
    assert found == [wanted for *_, wanted in rows]


@pytest.mark.usefixtures("home")
def test_which_source_the_server_s_own_variables_are_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outer = write_notebook(tmp_path / "outer.ipynb", "")
    monkeypatch.setenv("JPY_SESSION_NAME", str(outer))
    monkeypatch.setenv("SCRIPTENV_SOURCE", str(outer))
    assert source_of({}, {}) == EPHEMERAL


def test_which_source_1_a_copy_gets_an_environment_of_its_own(
    offline_home: Home, path: Path, tmp_path: Path
) -> None:
    original = made(offline_home, path)
    copy = write_notebook(tmp_path / "work" / "copy.ipynb", block("nspkg-one"))
    variables = {"JPY_SESSION_NAME": str(copy), "SCRIPTENV_SOURCE": str(path)}
    with started(kernelspec_of(path), env=variables, cwd=tmp_path) as kernel:
        assert prefix(kernel) == environment_of(offline_home, copy) != original
        assert kernel.execute("import nspkg.one").status == "ok"
        assert unasked(kernel, "import os; print(os.environ.get('SCRIPTENV_SOURCE'))") == "None"
    assert pip_list(original) == {}
    spec = json.loads((offline_home.kernelspecs / kernelspec_of(copy) / "kernel.json").read_text())
    assert spec["metadata"]["scriptenv"]["source"] == str(copy)
    assert spec["display_name"] == "scriptenv: copy.ipynb"


def test_which_source_2_the_kernelspec_s_where_the_client_tells_no_path(
    offline_home: Home, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As under nbclient and papermill, also inside another notebook's kernel."""
    environment = made(offline_home, path)
    outer = write_notebook(tmp_path / "outer.ipynb", "")
    monkeypatch.setenv("JPY_SESSION_NAME", str(outer))
    with started(kernelspec_of(path), cwd=tmp_path) as kernel:
        assert prefix(kernel) == environment
        assert kernel.execute("import alpha\nalpha.__version__").result == "'1.0'"
    assert not environment_of(offline_home, outer).exists()


def test_which_source_3_scriptenv_source_and_no_kernel_inherits_it(
    offline_home: Home, path: Path, tmp_path: Path
) -> None:
    install_generic(offline_home)
    with started(GENERIC, env={"SCRIPTENV_SOURCE": str(path)}, cwd=tmp_path) as kernel:
        assert prefix(kernel) == environment_of(offline_home, path)
        assert unasked(kernel, "import os; print('SCRIPTENV_SOURCE' in os.environ)") == "False"


def test_which_source_4_none_is_an_ephemeral_environment_that_goes_with_its_kernel(
    offline_home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outer = write_notebook(tmp_path / "outer.ipynb", "")
    for name in ("JPY_SESSION_NAME", "SCRIPTENV_SOURCE"):
        monkeypatch.setenv(name, str(outer))
    install_generic(offline_home)
    with started(GENERIC, cwd=tmp_path) as kernel:
        (place,) = ephemeral(offline_home)
        assert prefix(kernel) == place
        assert record_of(place)["source"]["kind"] == "ephemeral"
        done = kernel.execute(block("alpha==1.0") + "import alpha\nalpha.__version__")
        assert done.result == "'1.0'", done.traceback
        assert environments.list_environments(context=Context()) == []
        assert [each.name for each in offline_home.kernelspecs.iterdir()] == [GENERIC]
        kernel.restart()
        assert ephemeral(offline_home) == [place]
        assert kernel.execute("import alpha\nalpha.__version__").result == "'1.0'"
        with started(GENERIC, cwd=tmp_path) as second:
            assert prefix(second) not in (place, None)
            assert len(ephemeral(offline_home)) == 2
        assert ephemeral(offline_home) == [place]
    assert ephemeral(offline_home) == []
    assert not list((offline_home.scriptenv / "locks").glob("ephemeral-*"))


# A notebook that moves.


def test_a_renamed_notebook_keeps_its_kernel_s_environment_until_the_restart(
    offline_home: Home, path: Path
) -> None:
    old = environment_of(offline_home, path)
    with opened(offline_home, path) as kernel:
        assert kernel.execute("import alpha").status == "ok"
        assert "not at its place" not in kernel.execute("%scriptenv status").shown_text
        new = path.rename(path.with_name("renamed.ipynb"))
        status = kernel.execute("%scriptenv status")
        assert (
            len([line for line in status.shown_text.splitlines() if "not at its place" in line])
            == 1
        )
        assert str(old) in status.shown_text
        more = kernel.execute(block("alpha==1.0", "nspkg-one") + "import nspkg.one")
        assert more.status == "ok", more.traceback
        assert prefix(kernel) == old

        kernel.restart(env={**os.environ, "JPY_SESSION_NAME": str(new)})
        assert prefix(kernel) == environment_of(offline_home, new) != old
        assert kernel.execute("import alpha\nalpha.__version__").result == "'1.0'"


# Which text of the block?


def test_which_text_the_file_s_if_it_has_changed_since(offline_home: Home, path: Path) -> None:
    environment = environments.sync(environments.locate(path), context=Context()).path
    write_notebook(path, block("nspkg-one"))
    with opened(offline_home, path) as kernel:
        assert pip_list(environment) == {"alpha": "1.0"}, "opening changes nothing"
        assert kernel.execute("import nspkg.one").status == "ok"
        assert pip_list(environment) == {"nspkg-one": "1.0"}


def test_which_text_the_record_s_if_the_file_has_not_changed(
    offline_home: Home, path: Path
) -> None:
    """What was executed and not yet saved stands after a restart, and in the next kernel."""
    environment = environment_of(offline_home, path)
    with opened(offline_home, path) as kernel:
        assert kernel.execute(block("nspkg-one") + "import nspkg.one").status == "ok"
        kernel.restart()
        again = kernel.execute("import nspkg.one")
        assert (again.status, again.stdout) == ("ok", "")
        assert pip_list(environment) == {"nspkg-one": "1.0"}
    with opened(offline_home, path) as kernel:
        assert kernel.execute("import nspkg.one").status == "ok"
        assert kernel.execute("import alpha").ename == "ModuleNotFoundError"
    # Saved at last with what was executed: nothing is left to do.
    write_notebook(path, block("nspkg-one"))
    with opened(offline_home, path) as kernel:
        saved = kernel.execute("import nspkg.one")
        assert (saved.status, saved.stdout) == ("ok", "")


UNREADABLE = "# /// script\n# dependencies = [\n# ///\n"


def test_which_text_one_that_cannot_be_read_makes_an_empty_environment_and_fails_the_cell(
    offline_home: Home, path: Path, other: str
) -> None:
    environment = environment_of(offline_home, path)
    write_notebook(path, UNREADABLE)
    with opened(offline_home, path) as kernel:
        assert prefix(kernel) == environment
        assert pip_list(environment) == {}
        failed = kernel.execute("touched = True")
        assert failed.ename == "BadBlock"
        assert kernel.execute("touched = True").ename == "BadBlock"
        assert kernel.execute("assert 'touched' not in globals()", silent=True).status == "ok"
        assert kernel.execute("%scriptenv status").ename == "BadBlock"
        mended = kernel.execute(block("alpha==1.0") + "import alpha\nalpha.__version__")
        assert mended.result == "'1.0'", mended.traceback
        # It is saved as it was; the file has not changed, so what was executed stands.
        kernel.restart()
        assert kernel.execute("import alpha\nalpha.__version__").result == "'1.0'"
        # Only another interpreter would have needed a restart.
        assert kernel.execute(block(python=f"=={other}.*")).ename == "RestartNeeded"


def test_which_text_one_that_cannot_be_read_keeps_the_standing_environment(
    offline_home: Home, path: Path
) -> None:
    environment = environments.sync(environments.locate(path), context=Context()).path
    write_notebook(path, UNREADABLE)
    with opened(offline_home, path) as kernel:
        assert unasked(kernel, "import alpha; print(alpha.__version__)") == "1.0"
        # As long as it cannot be read, each cell looks at the file again.
        for cells, name in (
            ([UNREADABLE], "BadBlock"),
            (["# /// script\n# dependencies = []\nx = 1"], "Unclosed"),
            (["# /// script\n# dependencies = ['a b c']\n# ///\n"], "BadRequirement"),
            ([block(), "x = 1", block()], "Duplicate"),
        ):
            write_notebook(path, *cells)
            assert start(path).path == environment
            failed = kernel.execute("import alpha")
            assert failed.ename == name
            assert installed(environment) == {"alpha==1.0"}
        assert "cell 1" in failed.traceback
        assert "cell 3" in failed.traceback
