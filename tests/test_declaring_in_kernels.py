"""`%scriptenv add` and its like, in the kernel of the notebook that they change."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import click
import pytest

from ipy_scriptenv import environments
from ipy_scriptenv.cli import command_line
from ipy_scriptenv.environments import Context
from ipy_scriptenv.environments.tools import run_tool
from ipy_scriptenv.kernel_side import options
from tests.conftest import Home
from tests.index.build import Distribution, build_index
from tests.kernels import (
    Execution,
    block,
    environment_of,
    opened,
    pip_list,
    wheel,
    write_notebook,
)
from tests.stage import sync, write_script

NOTE = "The cell below is the new block: it replaces"


def offered(done: Execution) -> tuple[str, bool]:
    """Give the next input that a cell offers, and whether it replaces the cell."""
    (payload,) = done.reply["payload"]
    assert payload["source"] == "set_next_input"
    return payload["text"], payload["replace"]


def test_what_is_added_is_importable_at_once_and_stands_in_the_offered_block(
    offline_home: Home, tmp_path: Path
) -> None:
    code = (
        "# what this needs\n# /// script\n# dependencies = ['alpha==1.0']  # as ever\n# ///\n"
        "import alpha"
    )
    path = write_notebook(tmp_path / "work" / "nb.ipynb", "1", code)
    before = path.read_bytes()
    with opened(offline_home, path) as kernel:
        assert kernel.execute(code).status == "ok"
        done = kernel.execute("%scriptenv add 'beta'")
        assert done.status == "ok"
        assert "declared: beta" in done.stdout
        text, replaces = offered(done)
        assert not replaces
        assert f"{NOTE} cell 2." in done.stdout
        assert text.startswith("# what this needs\n# /// script\n")
        assert text.endswith("import alpha")
        assert "'alpha==1.0'" in text
        assert "# as ever" in text
        assert "beta" in text
        assert kernel.execute("import beta\nprint(beta.__version__)").shown_text == "1.0\n"
        assert kernel.execute(text).shown_text == ""
        assert set(pip_list(environment_of(offline_home, path))) == {"alpha", "beta"}
        gone = kernel.execute("%scriptenv remove beta")
        assert gone.status == "ok", "front ends show no input that comes with an error"
        assert "imported would change: beta" in gone.shown_text
        assert gone.stderr == ""
        assert offered(gone)[0] == code
        assert kernel.execute("1").ename == "RestartNeeded", "no cell runs past it"
        kernel.restart()
        assert kernel.execute("import alpha\nprint(alpha.__version__)").shown_text == "1.0\n"
        assert set(pip_list(environment_of(offline_home, path))) == {"alpha"}
    assert path.read_bytes() == before


def test_a_notebook_without_a_block_gets_one_in_the_cell_of_the_line(
    offline_home: Home, tmp_path: Path
) -> None:
    path = write_notebook(tmp_path / "work" / "nb.ipynb", "1")
    with opened(offline_home, path) as kernel:
        done = kernel.execute("%scriptenv add alpha==1.0")
        text, replaces = offered(done)
        assert replaces
        assert text == '# /// script\n# dependencies = [\n#     "alpha==1.0",\n# ]\n# ///'
        assert kernel.execute("import alpha\nprint(alpha.__version__)").shown_text == "1.0\n"
        more = kernel.execute("%scriptenv add beta\nprint('more')")
        assert not offered(more)[1]
        assert more.stdout.endswith("more\n")


def test_of_a_block_that_was_not_executed_the_file_s_is_changed_and_its_cell_is_named(
    offline_home: Home, path: Path
) -> None:
    with opened(offline_home, path) as kernel:
        done = kernel.execute("%scriptenv add beta")
        assert "alpha==1.0" in offered(done)[0]
        assert f"{NOTE} cell 1." in done.stdout
        failed = kernel.execute("%scriptenv add 'alpha>=9'\nprint('went on')")
        assert (failed.ename, failed.stdout) == ("ResolutionFailed", "")
        assert "alpha>=9" in failed.traceback
        assert "Nothing was changed." in failed.traceback, "the hint"
        assert "scriptenv_kernel" not in failed.traceback, "no code of ours"
        assert [each["msg_type"] for each in failed.shown] == ["error"]
        assert failed.reply["payload"] == []
        assert set(pip_list(environment_of(offline_home, path))) == {"alpha", "beta"}
        odd = kernel.execute("%scriptenv add --no-such-option x")
        assert odd.ename == "WrongCall"
        assert "no-such-option" in odd.traceback
        assert kernel.execute("%scriptenv add 'x").ename == "WrongCall"
        assert "Usage" in kernel.execute("%scriptenv add --help").stdout
        assert kernel.execute("import alpha\nprint(alpha.__version__)").shown_text == "1.0\n"
        restart = kernel.execute("%scriptenv add alpha==1.1")
        assert "imported would change: alpha" in restart.shown_text
        assert "alpha==1.1" in offered(restart)[0]
        kernel.restart()
        assert kernel.execute("import alpha\nprint(alpha.__version__)").shown_text == "1.1\n"


def test_another_python_is_written_down_and_asks_for_a_restart(
    offline_home: Home, path: Path, other: str
) -> None:
    with opened(offline_home, path) as kernel:
        assert kernel.execute("import alpha").status == "ok"
        done = kernel.execute(f"%scriptenv python {other}")
        assert "asks for another Python" in done.shown_text
        assert f'requires-python = "=={other}.*"' in offered(done)[0]
        kernel.restart()
        told = kernel.execute("import sys, alpha\nprint(*sys.version_info[:2], sep='.')")
        assert told.shown_text == f"{other}\n"


def test_the_line_is_completed(offline_home: Home, path: Path) -> None:
    with opened(offline_home, path) as kernel:
        assert {"add"} == set(kernel.complete("%scriptenv ad"))
        assert "sync" in kernel.complete("%scriptenv ")
        assert kernel.execute("import alpha").status == "ok"
        assert "alpha" in kernel.complete("%scriptenv remove al")
        (path.parent / "other.py").touch()
        (path.parent / "sub").mkdir()
        (path.parent / "sub" / "deep.ipynb").touch()
        (path.parent / "other.txt").touch()
        assert "other.py" in kernel.complete("%scriptenv tree o")
        assert "other.txt" not in kernel.complete("%scriptenv tree o")
        assert "sub/" in kernel.complete("%scriptenv tree s")
        assert "sub/deep.ipynb" in kernel.complete("%scriptenv tree sub/")
        assert "--default-index" in kernel.complete("%scriptenv add --default")
        assert "--frozen" in kernel.complete("%scriptenv sync other.py --froz")


def test_what_is_completed_is_what_the_command_line_takes() -> None:
    assert list(options.VERBS) == sorted(command_line.commands)
    for verb, command in command_line.commands.items():
        known = [each for each in command.params if isinstance(each, click.Option)]
        words = {name for each in known for name in each.opts if name.startswith("--")}
        assert set(options.VERBS[verb].split()) == words, verb
        takes_none = not any(isinstance(each, click.Argument) for each in command.params)
        assert takes_none == (verb in options.WITHOUT_FILE)


def test_a_line_about_a_file_takes_its_paths_from_the_notebook_s_folder(
    offline_home: Home, path: Path
) -> None:
    folder = path.parent
    build_index(folder / "idx")
    (folder / "needs.txt").write_text("alpha==1.0\n")
    with opened(offline_home, path) as kernel:
        kernel.execute("%scriptenv init other.py")
        done = kernel.execute("%scriptenv add other.py -r needs.txt beta")
        assert "declared: alpha==1.0" in done.stdout
        assert "Resolved" not in done.shown_text
        assert done.progress, "its steps, while it went on"
        assert '"beta' in (folder / "other.py").read_text()
        kernel.execute("%scriptenv export other.py --no-hashes -oreq.txt")
        assert "beta==1.0" in (folder / "req.txt").read_text()
        told = kernel.execute("%scriptenv sync --python ./no-such-python other.py")
        assert "`./no-such-python` does not exist" in told.traceback
        kernel.execute("%scriptenv remove other.py beta")
        assert "beta" not in (folder / "other.py").read_text()
        offer = kernel.execute("%scriptenv add --index ./idx -r needs.txt")
        assert "NAME" not in offer.stderr
        assert f'url = "{folder}/idx"' in offered(offer)[0]
        shown = json.loads(kernel.execute("%scriptenv tree other.py --json").stdout)
        assert "alpha v1.0" in shown["tree"]
        write_notebook(folder / "bad.ipynb", "print('seen')\n1 / 0")
        failed = kernel.execute("%scriptenv execute bad.ipynb")
        assert "A cell of the notebook failed." in failed.traceback
        assert "seen" in failed.traceback
        assert "ZeroDivisionError" in failed.traceback


def test_what_another_kernel_stands_in_the_way_of_is_shown_and_waits_too(
    offline_home: Home, path: Path
) -> None:
    with opened(offline_home, path) as one, opened(offline_home, path) as two:
        assert one.execute("import alpha").status == "ok"
        assert two.execute("1").status == "ok"
        done = two.execute("%scriptenv add alpha==1.1")
        assert f"process {one.pid}" in done.shown_text
        assert "alpha==1.1" in offered(done)[0]
        assert two.execute("1").ename == "EnvironmentInUse"
        assert two.execute("%scriptenv add alpha==1.0").status == "ok"
        assert two.execute("1").status == "ok", "it is taken back"


def test_a_line_about_the_file_says_that_the_executed_block_is_another(
    offline_home: Home, path: Path
) -> None:
    note = "The file's block differs from what was executed last: save the notebook first."
    with opened(offline_home, path) as kernel:
        same = kernel.execute("%scriptenv tree")
        assert note not in same.shown_text
        assert same.stdout.endswith("alpha v1.0\n")
        kernel.execute(block("beta"))
        for verb in ("tree", "export --no-hashes"):
            done = kernel.execute(f"%scriptenv {verb}")
            assert f"{note}\n" in done.shown_text
            assert done.stderr == ""
            assert "alpha" in done.stdout
        write_notebook(path, block("beta"))
        assert note not in kernel.execute("%scriptenv tree").shown_text


@pytest.mark.usefixtures("lean_home")
def test_an_interrupt_ends_the_uv_of_a_verb(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel closes the standard input of its host then."""
    write_script(script)
    environment = sync(script).path
    write_script(script, "alpha")
    before = set(script.parent.iterdir())
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for name in ("UV_OFFLINE", "UV_NO_INDEX", "UV_FIND_LINKS"):
            monkeypatch.delenv(name)
        monkeypatch.setenv("UV_DEFAULT_INDEX", f"http://127.0.0.1:{silent.getsockname()[1]}/simple")
        monkeypatch.setenv("UV_HTTP_TIMEOUT", "600")
        host = subprocess.Popen(
            [sys.executable, "-P", "-m", "ipy_scriptenv.host"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert host.stdin is not None
        request = {"op": "verb", "words": ["lock"], "folder": str(script.parent)}
        told = {"protocol": 1, "environment": str(environment), **request}
        host.stdin.write(json.dumps(told) + "\n")
        host.stdin.flush()
        silent.settimeout(60)
        with silent.accept()[0]:
            assert set(script.parent.iterdir()) > before
            out, _ = host.communicate(timeout=60)
    assert json.loads(out.splitlines()[-1])["error"]["name"] == "Interrupted"
    assert set(script.parent.iterdir()) == before


@pytest.mark.parametrize(
    ("name", "before", "behind"),
    [
        ("a.py", "#!/usr/bin/env python\n", "print(1)\n"),
        ("a.qmd", "# Title\n\n```{python}\n", "```\n"),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_of_a_file_without_cells_the_block_alone_is_offered(
    tmp_path: Path, name: str, before: str, behind: str, end: str
) -> None:
    path = tmp_path / name
    text = f"{before}{block('alpha')}{behind}".replace("\n", end)
    path.write_bytes(b"\xef\xbb\xbf" * (name == "a.py") + text.encode())
    cell, number = environments.cell_of_block(environments.locate(path))
    assert number is None
    assert cell == block("alpha").rstrip("\n").replace("\n", end)
    changed = environments.cell_with(cell, 'dependencies = ["beta"]\n')
    assert changed == block("beta").rstrip("\n").replace("\n", end)


@pytest.mark.usefixtures("lean_home")
def test_a_build_for_some_machines_that_was_installed_by_hand_is_declared_without_its_local_version(
    path: Path, tmp_path: Path, offline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`torch 2.4.0+cpu` is one; no range may name it."""
    wheel(tmp_path / "wheels", Distribution(name="built-here", version="1.0+cpu"))
    monkeypatch.setenv("UV_FIND_LINKS", f"{offline},{tmp_path / 'wheels'}")
    source, context = environments.locate(path), Context()
    assert run_tool(sync(path).path, "pip", ["install", "built-here"]) == 0
    edit = environments.recording(source, "built-here", context=context)
    cell, _ = environments.cell_of_block(source)
    edited = environments.edit_cell(source, edit, context=context, cell=cell)
    assert edited.added == ("built-here>=1.0",)
