"""What must go on working in such a kernel, and whom its commands reach."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from textwrap import dedent

import psutil
import pytest

from ipy_scriptenv.kernels import first_imports
from tests.conftest import Home
from tests.index.build import Distribution
from tests.kernels import (
    Kernel,
    block,
    environment_of,
    kernelspec_of,
    launched,
    online,
    opened,
    pip_list,
    python_of,
    wait_until,
    wheel,
    write_notebook,
)
from tests.stage import call, record_of


def shown(kernel: Kernel, code: str) -> str:
    """Run *code*, which must not fail, and give what its streams show."""
    done = kernel.execute(dedent(code))
    assert done.status == "ok", done.traceback
    return done.shown_text


def runs(program: str, about: Path) -> bool:
    """Say whether a process of anybody runs a script with a place among its arguments."""
    found = (process.info["cmdline"] or () for process in psutil.process_iter(["cmdline"]))
    return any(program in words and str(about) in words for words in found)


# Python's own.


def test_processes_of_the_kernel_see_the_environment_and_not_the_layer(
    offline_home: Home, path: Path
) -> None:
    environment = environment_of(offline_home, path)
    with opened(offline_home, path) as kernel:
        told = shown(
            kernel,
            """\
            import os, shutil, subprocess, sys
            print(sys.executable, sys.prefix, os.environ["VIRTUAL_ENV"], shutil.which("python"))
            print(sys.argv[0].endswith("kernel.py"), "PYTHONPATH" in os.environ)
            def child(code):
                done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
                return done.returncode, done.stdout, done.stderr
            print(child("import alpha; print(alpha.__version__)")[1])
            print(child("import ipykernel")[2])
            print(child("import traitlets")[2])
            """,
        )
        python = str(python_of(environment))
        lines = told.splitlines()
        assert lines[0].split() == [python, str(environment), str(environment), python]
        assert lines[1] == "True False"
        assert "1.0" in lines[2]
        assert "No module named 'ipykernel'" in told
        assert "No module named 'traitlets'" in told
        assert shown(kernel, "!python -c 'import alpha; print(alpha.__version__)'").strip() == "1.0"
        in_shell = shown(kernel, "!python -c 'import ipykernel'")
        assert "No module named 'ipykernel'" in in_shell
    by_itself = subprocess.run(
        [python, "-c", "import ipykernel"], capture_output=True, text=True, check=False
    )
    assert by_itself.returncode != 0
    assert "No module named 'ipykernel'" in by_itself.stderr


def test_multiprocessing_spawns_and_forks(offline_home: Home, path: Path) -> None:
    (path.parent / "work_of_mine.py").write_text(
        "def double(number):\n    import alpha\n    return 2 * number, alpha.__version__\n",
        encoding="utf-8",
    )
    with opened(offline_home, path) as kernel:
        for method in ("spawn", "fork", "forkserver"):
            told = shown(
                kernel,
                f"""\
                import multiprocessing, work_of_mine
                with multiprocessing.get_context({method!r}).Pool(2) as pool:
                    print(pool.map(work_of_mine.double, [1, 2]))
                """,
            )
            assert told == "[(2, '1.0'), (4, '1.0')]\n", method
        told = shown(
            kernel,
            """\
            def here(queue):
                queue.put(3 * n)
            n = 7
            context = multiprocessing.get_context("fork")
            queue = context.Queue()
            process = context.Process(target=here, args=(queue,))
            process.start()
            print(queue.get(timeout=100))
            process.join()
            """,
        )
        assert told == "21\n"
        told = shown(
            kernel,
            """\
            from concurrent.futures import ProcessPoolExecutor
            with ProcessPoolExecutor(1) as pool:
                print(pool.submit(pow, 2, 5).result(100))
            """,
        )
        assert told == "32\n"


def test_await_run_autoreload_and_input_work_as_ever(offline_home: Home, path: Path) -> None:
    script = path.parent / "script.py"
    script.write_text(
        "import sys, alpha\n"
        "if __name__ == '__main__':\n    print(sys.argv[1:], alpha.__version__)\n"
        "left = 9\n",
        encoding="utf-8",
    )
    module = path.parent / "growing.py"
    module.write_text("def answer():\n    return 1\n", encoding="utf-8")
    with opened(offline_home, path) as kernel:
        assert kernel.execute("import asyncio\nawait asyncio.sleep(0.01, 'slept')").result == (
            "'slept'"
        )
        assert shown(kernel, "%run script.py a b") == "['a', 'b'] 1.0\n"
        assert kernel.execute("left").result == "9"
        shown(kernel, "%load_ext autoreload\n%autoreload 2\nimport growing")
        assert kernel.execute("growing.answer()").result == "1"
        module.write_text("def answer():\n    return 'it has grown'\n", encoding="utf-8")
        assert kernel.execute("growing.answer()").result == "'it has grown'"
        asked = kernel.execute("print('hello ' + input('who? '))", answers=["me"])
        assert asked.shown_text.endswith("hello me\n")
        again = kernel.execute("import getpass\nlen(getpass.getpass())", answers=["secret"])
        assert again.result == "6"


def test_a_first_cell_may_await_and_ask(offline_home: Home, path: Path) -> None:
    """What the kernel does before a user's first cell does not get in their way."""
    with opened(offline_home, path) as kernel:
        done = kernel.execute(
            "import alpha, asyncio\nawait asyncio.sleep(0)\nprint(input())", answers=["typed"]
        )
        assert done.shown_text.endswith("typed\n"), done.traceback


# What is on the path.


def other_traitlets(folder: Path) -> str:
    """Build ``traitlets`` of another version out of the host's, and give that version.

    The kernel can live with it, and it is told from the layer's by its version alone.
    """
    installed = metadata.distribution("traitlets")
    major, minor, *_ = installed.version.split(".")
    version = f"{major}.{minor}.99"
    files = {
        str(file): Path(str(file.locate())).read_text("utf-8")
        for file in installed.files or ()
        if file.suffix in {".py", ".typed"} and "tests" not in file.parts
    }
    wheel(folder, Distribution(name="traitlets", version=version, files=files))
    return version


def test_where_environment_and_layer_have_the_same_distribution_the_environment_s_wins(
    offline_home: Home, path: Path, tmp_path: Path, offline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = other_traitlets(tmp_path / "wheels")
    monkeypatch.setenv("UV_FIND_LINKS", f"{offline},{tmp_path / 'wheels'}")
    environment = environment_of(offline_home, path)
    write_notebook(path, block(f"traitlets=={version}"))
    question = """\
        import importlib.metadata, json
        import traitlets, ipykernel
        names = [d.metadata["Name"] for d in importlib.metadata.distributions(name="traitlets")]
        print(json.dumps([
            importlib.metadata.version("traitlets"), traitlets.__file__, ipykernel.__file__,
            importlib.metadata.version("ipykernel"), len(names),
        ]))
        """
    with opened(offline_home, path) as kernel:
        found, traits, of_kernel, _, _ = json.loads(shown(kernel, question))
        assert found == version
        assert traits.startswith(str(environment))
        assert not of_kernel.startswith(str(environment))
        kernel.restart()
        found, traits, of_kernel, _, _ = json.loads(shown(kernel, question))
        assert found == version
        assert traits.startswith(str(environment))
        assert f"/kernels-v1/{record_of(environment).kernel}/" in of_kernel
        assert pip_list(environment) == {"traitlets": version}


def test_entry_points_and_namespace_packages_are_those_of_environment_and_layer(
    offline_home: Home, path: Path, tmp_path: Path
) -> None:
    """A namespace package has parts in the environment, beside the source and behind both.

    No distribution of the layer has one, and its files must not be touched: what the layer would
    hold stands in a folder behind it.
    """
    write_notebook(path, block("with-entry-point", "nspkg-one", "nspkg-two"))
    for part, name in ((path.parent, "three"), (tmp_path / "layer", "four")):
        (part / "nspkg").mkdir(parents=True)
        (part / "nspkg" / f"{name}.py").write_text(f"NAME = {name!r}\n", encoding="utf-8")
    with opened(offline_home, path) as kernel:
        silent = f"import sys\nsys.path.append({str(tmp_path / 'layer')!r})\nimport nspkg.four"
        assert kernel.execute(silent, silent=True).status == "ok"
        told = shown(
            kernel,
            """\
            from importlib.metadata import entry_points
            (plugin,) = [each for each in entry_points(group="demo.plugins")]
            print(plugin.load()())
            commands = {each.name for each in entry_points(group="console_scripts")}
            print("hello-entry" in commands, "debugpy" in commands)
            import nspkg.one, nspkg.two, nspkg.three
            print(nspkg.one.NUMBER, nspkg.two.NUMBER, nspkg.three.NAME, nspkg.four.NAME)
            """,
        )
        assert told == "hello\nTrue True\n1 2 three four\n"
        assert shown(kernel, "!hello-entry").strip() == "hello from an entry point"


def test_the_folder_is_importable_after_the_first_cell_and_comes_before_everything(
    offline_home: Home, path: Path
) -> None:
    (path.parent / "alpha.py").write_text("__version__ = 'beside'\n", encoding="utf-8")
    with opened(offline_home, path) as kernel:
        assert kernel.execute("import sys\nassert '' not in sys.path", silent=True).status == "ok"
        assert shown(kernel, "import sys, alpha\nprint(sys.path[0] == '', alpha.__version__)") == (
            "True beside\n"
        )


def test_in_a_home_behind_a_link_no_module_of_ours_is_importable(
    offline_home: Home, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where `/home` leads elsewhere: Python names a script's folder without links."""
    (tmp_path / "link").symlink_to(offline_home.path)
    monkeypatch.setenv("SCRIPTENV_HOME", str(tmp_path / "link" / "scriptenv"))
    finds = "import importlib.util as u\nprint([*map(u.find_spec, ('kernel', 'words', 'inbox'))])"
    with opened(offline_home, path) as kernel:
        assert shown(kernel, finds) == "[None, None, None]\n"
        assert shown(kernel, "import alpha\nprint(alpha.__version__)") == "1.0\n"
    write_notebook(path, finds)
    told = call("run", path)
    assert told.stdout == "[None, None, None]\n", told.stderr


# What clients ask.


def test_completion_and_inspection_work_before_the_first_execution_and_after(
    offline_home: Home, path: Path
) -> None:
    with opened(offline_home, path) as kernel:
        assert "print" in kernel.complete("prin")
        assert "json" in kernel.complete("import jso")
        assert "Prints the values" in kernel.inspect("print")
        assert "%scriptenv" in kernel.complete("%scripte")
        shown(kernel, "import alpha\nvalue = {'key': 1}")
        assert any("dumps" in each for each in kernel.complete("import json\njson.dum"))
        assert any("__version__" in each for each in kernel.complete("alpha.__vers"))
        assert any("key" in each for each in kernel.complete("value['k"))
        assert "Docstring" in kernel.inspect("value")
        assert any("alpha" in each for each in kernel.complete("import alph"))


def test_what_every_kernel_imports_was_compiled_with_the_layer(
    offline_home: Home, path: Path
) -> None:
    (site,) = offline_home.scriptenv.glob("kernels-v1/*/site-packages")
    # Of this layer: others are compiled by processes that a busy machine lets wait for long.
    program, place = first_imports.__file__, site.resolve()
    wait_until(lambda: not runs(program, place), timeout=150, what="its end")
    before = {str(each.resolve()): each.stat().st_mtime_ns for each in site.rglob("*.pyc")}
    with opened(offline_home, path) as kernel:
        shown(kernel, "import alpha\nvalue = {'key': 1}")
        assert kernel.execute("1 / 0").status == "error"
        assert any("key" in each for each in kernel.complete("value['k"))
        assert any("dumps" in each for each in kernel.complete("import json\njson.dum"))
        assert "Docstring" in kernel.inspect("value")
        told = shown(
            kernel,
            """\
            import os, sys, ipykernel
            site = os.path.dirname(os.path.dirname(ipykernel.__file__))
            print("debugpy" in sys.modules)
            print(ipykernel.kernelapp.IPKernelApp.initialize.__code__.co_filename.startswith(site))
            for each in list(sys.modules.values()):
                compiled = getattr(each, "__cached__", None)
                if compiled and compiled.startswith(site):
                    print(os.path.realpath(compiled))
            """,
        ).splitlines()
    assert told[:2] == ["False", "True"], "the debugger waits until it is asked for"
    # Other kernels of this run have the same layer, and may compile what these do not import.
    imported = {each: Path(each).stat().st_mtime_ns for each in told[2:]}
    assert len(imported) > 200
    assert [each for each, made in imported.items() if before.get(each) != made] == []


def test_the_debugger_stops_at_a_breakpoint(offline_home: Home, path: Path) -> None:
    code = "first = 1\nsecond = 2\nprint(first + second)"
    with opened(offline_home, path) as kernel:
        shown(kernel, "import alpha")
        started = kernel.debug(
            "initialize",
            1,
            clientID="test",
            clientName="test",
            adapterID="",
            pathFormat="path",
            linesStartAt1=True,
            columnsStartAt1=True,
            supportsVariableType=True,
            supportsVariablePaging=True,
            supportsRunInTerminalRequest=True,
            locale="en",
        )
        assert started["success"], started
        assert kernel.debug("attach", 2)["success"]
        cell = kernel.debug("dumpCell", 3, code=code)["body"]["sourcePath"]
        put = kernel.debug(
            "setBreakpoints",
            4,
            breakpoints=[{"line": 2}],
            source={"path": cell},
            sourceModified=False,
        )
        assert put["body"]["breakpoints"][0]["verified"], put
        assert kernel.debug("configurationDone", 5)["success"]
        since = len(kernel.published)
        request = kernel.send_code(code)
        stopped = kernel.wait_for(
            lambda message: (
                message["header"]["msg_type"] == "debug_event"
                and message["content"].get("event") == "stopped"
            ),
            since=since,
        )["content"]["body"]
        assert stopped["reason"] == "breakpoint"
        frames = kernel.debug("stackTrace", 6, threadId=stopped["threadId"])["body"]["stackFrames"]
        assert (frames[0]["line"], frames[0]["source"]["path"]) == (2, cell)
        seen = kernel.debug("inspectVariables", 7)
        assert seen["success"], seen
        assert kernel.debug("continue", 8, threadId=stopped["threadId"])["success"]
        assert kernel.collect(request).shown_text == "3\n"
        kernel.debug("disconnect", 9, restart=False, terminateDebuggee=True)


def test_subshells_run_beside_the_main_shell(offline_home: Home, path: Path) -> None:
    with opened(offline_home, path) as kernel:
        shown(kernel, "import threading, alpha\nlet_go = threading.Event()\nn = 1")
        waiting = kernel.send_code("assert let_go.wait(60)\nprint('released')")
        subshell = kernel.request("create_subshell_request", {}, channel="control")["subshell_id"]
        beside = kernel.execute("let_go.set()\nprint(n, alpha.__version__)", subshell=subshell)
        assert beside.shown_text == "1 1.0\n"
        assert kernel.collect(waiting).shown_text == "released\n"
        listed = kernel.request("list_subshell_request", {}, channel="control")
        assert listed["subshell_id"] == [subshell]
        gone = {"subshell_id": subshell}
        assert kernel.request("delete_subshell_request", gone, channel="control")["status"] == "ok"


# Matplotlib and widgets.


@online
def test_matplotlib_draws_in_the_notebook_and_in_a_process_of_its_own(
    ready_home: Home, path: Path
) -> None:
    write_notebook(path, block("matplotlib"))
    with opened(ready_home, path) as kernel:
        # Without a magic: inline is the backend of every notebook.
        for magic in ("import matplotlib.pyplot as plt", "%matplotlib inline"):
            drawn = kernel.execute(f"{magic}\n_ = plt.plot([1, 2])")
            assert drawn.status == "ok", drawn.traceback
            assert "image/png" in drawn.contents("display_data")[-1]["data"], magic
        assert "inline" in shown(kernel, "print(plt.get_backend())")
        code = (
            "import os, matplotlib.pyplot as p; print(p.get_backend(), 'MPLBACKEND' in os.environ)"
        )
        child = shown(kernel, f'!python -c "{code}"')
        assert "inline" not in child
        assert child.strip().endswith(" False"), child


def test_children_are_given_no_backend_and_a_user_s_own_is_kept(
    offline_home: Home, path: Path
) -> None:
    question = (
        "import os, subprocess, sys\n"
        "child = [sys.executable, '-c', 'import os; print(os.environ.get(\"MPLBACKEND\"))']\n"
        "print(subprocess.run(child, capture_output=True, text=True).stdout.strip())"
    )
    with opened(offline_home, path) as kernel:
        assert shown(kernel, question) == "None\n"
    with launched(kernelspec_of(path), env={"MPLBACKEND": "agg"}) as kernel:
        assert shown(kernel, question) == "agg\n"


@online
def test_widgets_work(ready_home: Home, path: Path) -> None:
    write_notebook(path, block("ipywidgets"))
    with opened(ready_home, path) as kernel:
        made = kernel.execute("import ipywidgets\nslider = ipywidgets.IntSlider(value=7)\nslider")
        assert made.status == "ok", made.traceback
        opened_comms = [
            message["content"]
            for message in made.messages
            if message["header"]["msg_type"] == "comm_open"
        ]
        (comm,) = [
            each
            for each in opened_comms
            if each["data"]["state"].get("_model_name") == "IntSliderModel"
        ]
        assert comm["data"]["state"]["value"] == 7
        # The front end moves the slider.
        moved = {
            "comm_id": comm["comm_id"],
            "data": {"method": "update", "state": {"value": 9}, "buffer_paths": []},
        }
        kernel.send("comm_msg", moved)
        assert kernel.execute("slider.value").result == "9"


# Commands, and whom they reach.


def host_packages() -> str:
    return repr(sorted((each.name, each.version) for each in metadata.distributions()))


BY_HAND = {
    "!pip install": "nspkg-one",
    "%pip install": "nspkg-two",
    "!uv pip install": "with-entry-point",
    "%uv pip install": "pkg-00",
    "!pip3 install": "pkg-01",
}
"""What a user types → what is installed by it."""


def test_an_install_by_hand_reaches_this_environment_alone_and_says_that_it_is_not_recorded(
    offline_home: Home, path: Path
) -> None:
    environment = environment_of(offline_home, path)
    before = host_packages()
    with opened(offline_home, path) as kernel:
        shown(kernel, "import alpha")
        for command, name in BY_HAND.items():
            said = kernel.execute(f"{command} {name}")
            assert said.status == "ok", said.traceback
            lines = (said.stdout + said.stderr).splitlines()
            told = [line for line in lines if name in line and "not recorded" in line]
            assert len(told) == 1, (command, lines)
            assert name in pip_list(environment), command
            importable = name.replace("nspkg-", "nspkg.").replace("-", "_")
            assert shown(kernel, f"import {importable}\nprint('in')") == "in\n", command
        assert set(pip_list(environment)) == {"alpha", *BY_HAND.values()}
        assert host_packages() == before
        probe = "import nspkg.one"
        done = subprocess.run([sys.executable, "-c", probe], capture_output=True, check=False)
        assert done.returncode != 0


def test_pip_and_uv_list_what_this_environment_holds_and_fail_as_they_should(
    offline_home: Home, path: Path
) -> None:
    environment = environment_of(offline_home, path)
    with opened(offline_home, path) as kernel:
        for command in ("!pip list", "%pip list", "!uv pip list", "!pip freeze"):
            done = kernel.execute(command)
            assert "alpha" in done.stdout, command
            assert "ipykernel" not in done.stdout, "neither the layer's nor the host's"
        assert str(environment) in kernel.execute("!which python pip").stdout
        assert "kernel-side-v1" in kernel.execute("!which pip uv").stdout
        wrong = kernel.execute("!pip install no-such-thing-at-all; echo code $?")
        assert "code 0" not in wrong.stdout
        assert "no-such-thing-at-all" in wrong.stdout + wrong.stderr
        removed = kernel.execute("!pip uninstall -y alpha")
        assert "not recorded" in removed.stdout + removed.stderr
        assert pip_list(environment) == {}
        # What the block declares is brought back by the block's own verb.
        assert "environment of nb.ipynb" in shown(kernel, "%scriptenv sync")
        assert pip_list(environment) == {"alpha": "1.0"}


# Our own magic.


def test_our_magic_tells_and_mends_this_notebook_s_environment(
    offline_home: Home, path: Path
) -> None:
    environment = environment_of(offline_home, path)
    with opened(offline_home, path) as kernel:
        assert kernel.execute("%load_ext ipy_scriptenv").status == "ok"
        before = shown(kernel, "%scriptenv")
        assert str(path) in before
        assert str(environment) in before
        assert "stale" in before
        assert shown(kernel, "%scriptenv find").strip() == str(python_of(environment))
        assert str(path) in shown(kernel, "%scriptenv list")
        synced = kernel.execute("%scriptenv sync")
        assert "alpha" in synced.shown_text, synced.traceback
        assert pip_list(environment) == {"alpha": "1.0"}
        assert shown(kernel, "import alpha\nprint(alpha.__version__)") == "1.0\n"
        assert "in-sync" in shown(kernel, "%scriptenv status")

        # Another source, by a path that is relative to the kernel's folder.
        other = write_notebook(path.parent / "other.ipynb", block("nspkg-one"))
        assert "missing" in shown(kernel, "%scriptenv status other.ipynb")
        shown(kernel, "%scriptenv sync other.ipynb")
        assert pip_list(environment_of(offline_home, other)) == {"nspkg-one": "1.0"}
        assert str(other) in shown(kernel, "%scriptenv list")

        # A wrong call fails, so that what follows does not run on.
        wrong = kernel.execute("%scriptenv frobnicate")
        assert wrong.ename == "WrongCall"
        assert "frobnicate" in wrong.traceback
        missing = kernel.execute("%scriptenv status nowhere.ipynb")
        assert missing.ename == "NotFound"
        assert "nowhere.ipynb" in missing.traceback


def test_loading_our_extension_works_and_leaves_nothing_in_the_notebook(
    offline_home: Home, path: Path
) -> None:
    """The line stands in notebooks for the sake of other kernels."""
    with opened(offline_home, path) as kernel:
        loaded = kernel.execute("%load_ext ipy_scriptenv")
        assert (loaded.status, loaded.shown) == ("ok", [])
        assert kernel.execute("%reload_ext ipy_scriptenv").status == "ok"
        assert str(path) in shown(kernel, "%scriptenv status")


def test_syncing_by_the_magic_takes_over_a_file_that_has_changed(
    offline_home: Home, path: Path
) -> None:
    with opened(offline_home, path) as kernel:
        shown(kernel, "import alpha")
        write_notebook(path, block("alpha==1.0", "nspkg-one"))
        told = shown(kernel, "%scriptenv sync")
        assert "nspkg-one" in told
        assert shown(kernel, "import nspkg.one\nprint(nspkg.one.NUMBER)") == "1\n"
        assert "file has changed" not in shown(kernel, "%scriptenv status")
