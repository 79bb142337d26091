"""What a cell's imports tell: what comes with the kernel, and what is missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ipy_scriptenv.kernel_side.names import _DISTRIBUTIONS, known_distribution
from tests.conftest import Home
from tests.kernels import Execution, block, opened, write_notebook
from tests.stage import call

MISSING = {
    "import sklearn": "sklearn comes with scikit-learn, not installed here: "
    "%scriptenv add scikit-learn",
    "import google.cloud.storage": "google comes with google-cloud-storage, not installed here: "
    "%scriptenv add google-cloud-storage",
    "from google.cloud import bigquery": "%scriptenv add google-cloud-bigquery",
    "import some_thing": "some_thing is not installed here; if the package has the same name: "
    "%scriptenv add some-thing",
    "def f():\n    import cv2\nf()": "%scriptenv add opencv-python",
    "import importlib\nimportlib.import_module('yaml')": "%scriptenv add pyyaml",
}
"""A cell that fails → what stands below its traceback."""

SILENT = (
    "import alpha.no_such_part",
    "import needy",  # it fails inside another module
    "import if",
    "import beside_me.part",
    "import google.cloud.unheard_of",
    "try:\n    import sklearn\nexcept ImportError:\n    pass",
    "raise ModuleNotFoundError('by hand')",
    "import importlib\nimportlib.import_module('no; such')",
)
"""Cells of which nothing is said."""


def note_of(done: Execution) -> str:
    """Give what was displayed below a cell."""
    assert done.stderr == ""
    displays = [each for each in done.shown if each["msg_type"] == "display_data"]
    for each in displays:
        assert each["data"]["text/html"].count("<div") == len(
            each["data"]["text/plain"].splitlines()
        )
    return "".join(f"{each['data']['text/plain']}\n" for each in displays)


def test_a_missing_import_of_the_user_s_names_the_line_that_adds_it(
    offline_home: Home, path: Path
) -> None:
    (path.parent / "needy.py").write_text("import sklearn\n", encoding="utf-8")
    (path.parent / "beside_me.py").write_text("", encoding="utf-8")
    with opened(offline_home, path) as kernel:
        for code, line in MISSING.items():
            done = kernel.execute(code)
            assert done.ename == "ModuleNotFoundError"
            assert note_of(done).endswith(f"{line}\n"), code
            assert note_of(done).count("\n") == 1, code
            assert done.shown[-1]["msg_type"] == "display_data", "behind the traceback"
        assert note_of(kernel.execute("import sklearn"))  # as often as it fails
        for code in SILENT:
            assert note_of(kernel.execute(code)) == "", code
        # What nobody asked for as a user is not commented.
        assert note_of(kernel.execute("import sklearn", store_history=False)) == ""
        odd = "import sys\nsys.path[:0] = [b'bytes', None, []]\nimport some_thing"
        assert note_of(kernel.execute(odd)).endswith("%scriptenv add some-thing\n")
        # Whatever goes wrong here, a cell gets its reply.
        harmed = "get_ipython().kernel.help = None"
        assert kernel.execute(harmed, store_history=False).status == "ok"
        assert kernel.execute("6 * 7").result == "42"
        strict = "get_ipython().kernel.completion.strict = True"
        assert kernel.execute(strict, store_history=False).status == "ok"
        assert kernel.execute("6 * 7").ename == "EngineFailed"


def test_what_comes_with_the_kernel_is_pointed_out_once_and_listed(
    offline_home: Home, path: Path
) -> None:
    with opened(offline_home, path) as kernel:
        done = kernel.execute(
            "print('mine')\nif True:\n    import tornado.web as web, zmq\nimport os"
        )
        told = [
            f"{module} comes with the kernel; this notebook does not declare it: "
            f"%scriptenv add {name}"
            for module, name in (("tornado", "tornado"), ("zmq", "pyzmq"))
        ]
        assert note_of(done).splitlines() == told
        kinds = [each["msg_type"] for each in done.shown]
        assert kinds == ["stream", "display_data"], "behind the output"
        for code in (
            "import tornado",
            "import IPython, ipykernel\nfrom IPython.display import HTML",
            "import alpha, json",
            "def f():\n    import dateutil",
            "x = 'import psutil'",
        ):
            assert note_of(kernel.execute(code)) == "", code
        status = kernel.execute("%scriptenv").shown_text
        assert "tornado, zmq: used, not declared" in status
        answer = json.loads(call("status", path, "--json").stdout)
        assert answer["undeclared_imports"] == [
            {"module": "tornado", "name": "tornado"},
            {"module": "zmq", "name": "pyzmq"},
        ]
    assert json.loads(call("status", path, "--json").stdout)["undeclared_imports"] == []


@pytest.mark.usefixtures("offline_home")
def test_strict_execution_fails_by_what_is_not_declared(path: Path) -> None:
    write_notebook(path, block("alpha") + "import alpha\nprint('first')", "import tornado", "1 / 0")
    failed = call("execute", path, "--strict", "--json")
    answer = json.loads(failed.stdout)
    assert (failed.returncode, answer["failed_cell"]) == (1, 2), failed.stderr
    assert "Undeclared: The notebook uses what it does not declare." in answer["error"]
    assert "%scriptenv add tornado" in answer["error"]

    write_notebook(path, block("alpha") + "import alpha", "!pip install nspkg-one", "'after'")
    by_hand = call("execute", path, "--strict")
    assert by_hand.returncode == 1
    assert "installed by hand: nspkg-one 1.0" in by_hand.stdout
    assert call("sync", path).returncode == 0

    write_notebook(path, block("alpha") + "import alpha, IPython", "print('through')")
    whole = call("execute", path, "--strict")
    assert (whole.returncode, whole.stdout) == (0, "through\n"), whole.stderr
    write_notebook(path, block("alpha") + "import tornado")
    assert call("execute", path).returncode == 0, "without it, nothing fails"


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("sklearn", "scikit-learn"),
        ("sklearn.linear_model", "scikit-learn"),
        ("google.cloud.storage.blob", "google-cloud-storage"),
        ("google", None),
        ("numpy", None),
        ("sklearn_other", None),
        ("mysql.connector", "mysql-connector-python"),
        ("mysql", None),
        ("pkg_resources", None),
    ],
)
def test_the_longest_known_beginning_decides(module: str, name: str | None) -> None:
    assert known_distribution(module) == name


def test_only_names_that_differ_stand_in_the_list_in_their_order() -> None:
    assert list(_DISTRIBUTIONS) == sorted(_DISTRIBUTIONS)
    assert not [
        module
        for module, name in _DISTRIBUTIONS.items()
        if module.lower().replace("_", "-") == name
    ]
