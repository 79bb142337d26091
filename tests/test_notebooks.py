"""The notebooks that come with the repository, run cell by cell as JupyterLab runs them."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.conftest import Home
from tests.kernels import (
    Execution,
    Kernel,
    block,
    environment_of,
    online,
    opened,
    pip_list,
    write_notebook,
)

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"

pytestmark = online


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Give a folder with copies, as a user who has downloaded them."""
    return Path(shutil.copytree(NOTEBOOKS, tmp_path / "notebooks"))


def code_cells(path: Path) -> list[str]:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def run_all(kernel: Kernel, path: Path) -> list[Execution]:
    return [kernel.execute(code) for code in code_cells(path)]


def text_of(executions: list[Execution]) -> str:
    """Give all that stands below the cells in the end, and nothing of the progress."""
    return "".join(execution.shown_text for execution in executions)


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.name)
def test_a_notebook_is_stored_without_outputs_on_the_portable_kernel(path: Path) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))

    assert content["metadata"]["kernelspec"]["name"] == "scriptenv"
    assert [cell for cell in content["cells"] if cell.get("outputs")] == []
    assert [cell for cell in content["cells"] if cell.get("execution_count")] == []


def test_the_quickstart_runs_in_its_own_environment(ready_home: Home, copy: Path) -> None:
    path = copy / "quickstart.ipynb"
    environment = environment_of(ready_home, path)

    with opened(ready_home, path) as kernel:
        assert pip_list(environment) == {}
        executions = run_all(kernel, path)

    text = text_of(executions)
    assert [each.error for each in executions] == [None] * len(executions)
    assert set(pip_list(environment)) == {"attrs", "tabulate"}
    assert "Neptune" in text
    assert f"environment {environment.name}" in text
    assert re.search(r"^state +in-sync$", text, re.MULTILINE)
    assert "Installed" not in text


def test_the_quickstart_takes_another_package_without_a_restart(
    ready_home: Home, copy: Path
) -> None:
    path = copy / "quickstart.ipynb"

    with opened(ready_home, path) as kernel:
        run_all(kernel, path)
        more = code_cells(path)[0].replace('#     "tabulate",', '#     "tabulate", "humanize",')
        assert kernel.execute(more).error is None
        assert (
            kernel.execute("import humanize\nhumanize.intword(2_000_000)").result == "'2.0 million'"
        )


def test_what_is_installed_is_told_in_the_cell(
    ready_home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "empty-cache"))
    path = write_notebook(tmp_path / "download.ipynb", block("pygments"))

    with opened(ready_home, path) as kernel:
        execution = kernel.execute(block("pygments"))

    assert "Installing for download.ipynb: pygments" in "\n".join(execution.progress)
    assert execution.shown == []


def test_the_settings_of_the_block_decide_what_is_installed(ready_home: Home, copy: Path) -> None:
    path = copy / "settings.ipynb"

    with opened(ready_home, path) as kernel:
        executions = run_all(kernel, path)

    assert [each.error for each in executions] == [None] * len(executions)
    # `exclude-newer` and `constraint-dependencies`: of both there are newer versions.
    assert pip_list(environment_of(ready_home, path)) == {
        "markdown-it-py": "3.0.0",
        "mdurl": "0.1.1",
    }
    assert "<em>works</em>" in text_of(executions)


def test_the_notebook_that_fails_on_purpose_is_mended_without_a_restart(
    ready_home: Home, copy: Path
) -> None:
    path = copy / "mending.ipynb"
    first, *others = code_cells(path)
    *others, magic = others
    mended = re.sub(r"attrs==[^\"]+", "attrs", first)
    environment = environment_of(ready_home, path)

    with opened(ready_home, path) as kernel:
        process = kernel.pid
        failures = [kernel.execute(code) for code in (first, *others)]
        told = kernel.execute(magic)
        assert pip_list(environment) == {}
        successes = [kernel.execute(code) for code in (mended, *others, magic)]
        assert kernel.pid == process

    assert [each.ename for each in failures] == ["ResolutionFailed"] * len(failures)
    assert "attrs" in failures[0].traceback
    assert "run the cell again" in failures[0].traceback
    assert "stale" in told.shown_text
    assert [each.error for each in successes] == [None] * len(successes)
    assert "attrs" in successes[0].shown_text
    assert successes[1].result == "Patch(fits=True)"
    assert set(pip_list(environment)) == {"attrs"}
    assert re.search(r"^state +in-sync$", successes[-1].shown_text, re.MULTILINE)
