"""What a contestant is, and the two that every run has: plain ipykernel and this project."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.stage import REPOSITORY, Stage, block

__all__ = ["DECLARED", "FIRST_CELL", "OURS", "PLAIN", "Contestant", "Notebook", "Ours", "Plain"]

PLAIN, OURS = "ipykernel", "ipy-scriptenv"

DECLARED = ("rich", "attrs")
"""What a notebook declares: small, and not among what ipykernel itself needs."""

FIRST_CELL = "import rich, attrs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notebook:
    """A notebook as a contestant is to open it.

    :param path: the file
    :param kernel: name of the kernelspec
    :param env: what the client adds to the kernel's variables
    :param before: commands that the contestant's documentation asks for before the first start
    """

    path: Path
    kernel: str
    env: dict[str, str] = field(default_factory=dict)
    before: tuple[tuple[str, ...], ...] = ()

    def start(self, *, offline: bool) -> dict[str, Any]:
        """Give the arguments of a start, for a worker."""
        env = {**self.env, **({"UV_OFFLINE": "1"} if offline else {})}
        return {"kernel": self.kernel, "env": env, "cwd": str(self.path.parent)}

    def remove(self) -> None:
        """Remove the file, and its folder if that is its own."""
        self.path.unlink(missing_ok=True)
        if self.path.parent.name == self.path.stem:
            shutil.rmtree(self.path.parent, ignore_errors=True)


class Contestant:
    """One way to have a kernel with a notebook's own packages.

    This base class is for those that read inline script metadata in a notebook which the client
    names in ``JPY_SESSION_NAME``, as JupyterLab does.
    """

    name: ClassVar[str]
    version: ClassVar[str]
    remark: ClassVar[str] = ""
    kernel: ClassVar[str]

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    @property
    def folder(self) -> Path:
        """Where its notebooks are."""
        return self.stage.notebooks(self.name)

    def requirements(self) -> Sequence[str]:
        """What is installed for it, beside jupyter_client."""
        return (f"{self.name}=={self.version}",)

    def prepare(self) -> Path:
        """Install it; give the Python of its worker.

        :raises Broken: if that cannot be done
        """
        needed = [*self.requirements(), "jupyter_client"]
        python = self.stage.venv(self.name, *needed)
        self.register()
        return python

    def register(self) -> None:
        """Do once what its documentation asks for after the installation."""

    def forget(self) -> None:
        """Make sure that the next new notebook is the first one that declares what it declares."""

    def notebook(self, label: str, dependencies: Sequence[str]) -> Notebook:
        """Write a notebook that declares something."""
        path = self.folder / f"{label}.ipynb"
        path.write_text(as_notebook(block(dependencies), FIRST_CELL), encoding="utf-8")
        return Notebook(path=path, kernel=self.kernel, env={"JPY_SESSION_NAME": str(path)})

    def kernel_of(self, notebook: Notebook) -> str:
        """Name the notebook's kernelspec, once what is needed before the first start is done."""
        return notebook.kernel

    def add(
        self, notebook: Notebook, dependencies: Sequence[str], new: str
    ) -> tuple[dict[str, Any], ...]:
        """Declare *new* too; give what has to be asked of the worker until it can be imported.

        Editing and saving take a person's time, not a tool's, so they are done here, unmeasured.
        """
        self.notebook(notebook.path.stem, [*dependencies, new])
        return ({"op": "restart"},)


class Plain(Contestant):
    """ipykernel in a virtual environment, compiled: what a kernel costs without any tool."""

    name, version = PLAIN, "layer"
    remark = "byte-compiled, in a virtual environment that stands: the baseline"
    kernel = "plain"

    def prepare(self) -> Path:
        """Install the very versions of the kernel layer, and what notebooks declare."""
        listing = REPOSITORY / "ipy_scriptenv" / "kernels" / "layer.txt"
        python = self.stage.venv(self.name, *DECLARED, "nbclient", options=["-r", str(listing)])
        argv = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        write_spec(self.stage, self.name, self.kernel, argv, curve=True)
        return python

    def notebook(self, label: str, dependencies: Sequence[str]) -> Notebook:
        """Write a notebook; nobody reads what it declares."""
        made = super().notebook(label, dependencies)
        return Notebook(path=made.path, kernel=self.kernel)


class Ours(Contestant):
    """This project, installed as its users install it."""

    name, version = OURS, "this"
    kernel = "scriptenv"

    def prepare(self) -> Path:
        """Install this repository's package, and build the kernel layer."""
        # A folder that was kept may hold an older state of it.
        options = ["--reinstall-package", "ipy-scriptenv"]
        wanted = [str(REPOSITORY), *self.requirements()]
        python = self.stage.venv(self.name, *wanted, options=options)
        prepare = ("from ipy_scriptenv import environments as e; e.prepare(e.Context())",)
        self.stage.run(self.name, str(python), "-P", "-c", *prepare, offline=False)
        return python

    def requirements(self) -> Sequence[str]:
        """What is installed for it: the kernel's versions are the layer's, as in the baseline."""
        return ("uv==" + _uv_version(self.stage),)

    def add(
        self, notebook: Notebook, dependencies: Sequence[str], new: str
    ) -> tuple[dict[str, Any], ...]:
        """Run the block's cell with the new dependency in it, in the kernel that runs."""
        del notebook
        return ({"op": "execute", "code": block([*dependencies, new])},)


def _uv_version(stage: Stage) -> str:
    return stage.run(OURS, stage.uv, "--version").split()[1]


def as_notebook(*cells: str) -> str:
    """Write a notebook of code cells."""
    written: list[dict[str, Any]] = [
        {
            "cell_type": "code",
            "execution_count": None,
            "id": f"cell-{number}",
            "metadata": {},
            "outputs": [],
            "source": code,
        }
        for number, code in enumerate(cells)
    ]
    kernelspec = {"name": "scriptenv", "display_name": "Python", "language": "python"}
    metadata = {"kernelspec": kernelspec}
    return json.dumps(
        {"cells": written, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}, indent=1
    )


def write_spec(
    stage: Stage, contestant: str, name: str, argv: Sequence[str], *, curve: bool = False
) -> None:
    """Write a kernelspec into a contestant's Jupyter folder."""
    folder = stage.home(contestant) / "jupyter-data" / "kernels" / name
    folder.mkdir(parents=True, exist_ok=True)
    spec = {
        "argv": [os.fspath(word) for word in argv],
        "display_name": name,
        "language": "python",
        "metadata": {"supported_encryption": ["curve"]} if curve else {},
    }
    (folder / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")
