"""The rivals, each pinned and used as its own documentation says."""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Sequence
from typing import Any, ClassVar

from benchmarks.contestants import FIRST_CELL, Contestant, Notebook, as_notebook, write_spec
from benchmarks.stage import block

__all__ = ["RIVALS", "UvRun"]


class UvRun(Contestant):
    """uv's own recipe: a kernelspec that runs ipykernel beside the packages of one notebook."""

    name, version = "uv run", "the same"
    remark = "`uv run --with ipykernel --with …` in a kernelspec for each notebook"
    kernel = "uv-run"

    def requirements(self) -> Sequence[str]:
        """Nothing: uv is there."""
        return ()

    def notebook(self, label: str, dependencies: Sequence[str]) -> Notebook:
        """Write a kernelspec that names the notebook's packages."""
        made = super().notebook(label, dependencies)
        withs = [word for name in ("ipykernel", *dependencies) for word in ("--with", name)]
        python = ["python", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        kernel = f"uv-run-{label}"
        write_spec(self.stage, self.name, kernel, ["uv", "run", "--no-project", *withs, *python])
        return Notebook(path=made.path, kernel=kernel)

    def forget(self) -> None:
        """Forget the environments that uv keeps for equal sets of packages.

        Another notebook with the very same set would find its environment there. Those of the warm
        notebook go too; a start makes them again.
        """
        for folder in (self.stage.home(self.name) / "cache").glob("environments-v*"):
            shutil.rmtree(folder, ignore_errors=True)

    def add(
        self, notebook: Notebook, dependencies: Sequence[str], new: str
    ) -> tuple[dict[str, Any], ...]:
        """Start anew by another kernelspec."""
        other = self.notebook(f"{notebook.path.stem}-more", [*dependencies, new])
        return ({"op": "restart", "kernel": other.kernel},)


class UvKernel(Contestant):
    """A kernelspec that has uv run a script with the notebook's block."""

    name, version, kernel = "uvkernel", "0.2.0", "uvkernel"
    remark = "kernelspec; reads the notebook's block"


class Uvk(Contestant):
    """A kernelspec that has uv run its launcher, which has uv run the kernel."""

    name, version, kernel = "uvk", "0.3.2", "uvk"
    remark = "kernelspec; reads the notebook's block"

    def notebook(self, label: str, dependencies: Sequence[str]) -> Notebook:
        """Write a notebook; uv, which fetches uvk itself, is held to the pinned version."""
        made = super().notebook(label, dependencies)
        pin = self.stage.home(self.name) / "pin.txt"
        pin.write_text(f"uvk=={self.version}\n", encoding="utf-8")
        env = {**made.env, "UV_CONSTRAINT": str(pin)}
        return Notebook(path=made.path, kernel=self.kernel, env=env)


class Juvio(Contestant):
    """A file format of its own, and a kernelspec that has uv run the kernel."""

    name, version, kernel = "juvio", "0.1.0b2", "juvio"
    remark = "kernelspec; its own file format `.juvio`, which begins with the block"

    def notebook(self, label: str, dependencies: Sequence[str]) -> Notebook:
        """Write a notebook in its format; its launcher reads the lines of the list one by one."""
        path = self.folder / f"{label}.juvio"
        declared = block(dependencies).replace(">=3.11", f"=={platform.python_version()}")
        path.write_text(f"{declared}\n# %%\n{FIRST_CELL}\n", encoding="utf-8")
        return Notebook(path=path, kernel=self.kernel, env={"JPY_SESSION_NAME": str(path)})

    def add(
        self, notebook: Notebook, dependencies: Sequence[str], new: str
    ) -> tuple[dict[str, Any], ...]:
        """Use its magic, which installs and rewrites the block."""
        del notebook, dependencies
        return ({"op": "execute", "code": f"%juvio install {new}"},)


class Project(Contestant):
    """Those for which a notebook's packages are those of the project around it."""

    kernel_dependencies: ClassVar[tuple[str, ...]] = ()

    def notebook(self, label: str, dependencies: Sequence[str]) -> Notebook:
        """Write a folder with a project and a notebook."""
        folder = self.folder / label
        folder.mkdir(exist_ok=True)
        listed = json.dumps([*dependencies, *self.kernel_dependencies])
        project = f'[project]\nname = "p-{label}"\nversion = "1"\nrequires-python = ">=3.11"\n'
        (folder / "pyproject.toml").write_text(f"{project}dependencies = {listed}\n", "utf-8")
        path = folder / f"{label}.ipynb"
        path.write_text(as_notebook(FIRST_CELL), encoding="utf-8")
        return Notebook(path=path, kernel=self.kernel, env={"JPY_SESSION_NAME": str(path)})

    def add(
        self, notebook: Notebook, dependencies: Sequence[str], new: str
    ) -> tuple[dict[str, Any], ...]:
        """Have uv add it to the project, from a cell, as its documentation shows."""
        del notebook, dependencies
        return ({"op": "execute", "code": f"!uv add --quiet {new}"},)


class IpykernelUv(Project):
    """A kernelspec that has uv run ipykernel in the project, and adds ipykernel to it."""

    name, version, kernel = "ipykernel-uv", "0.0.2", "python3-uv"
    remark = "kernelspec; reads `pyproject.toml`, and writes ipykernel into it"

    def register(self) -> None:
        """Install its kernelspec."""
        python = self.stage.home(self.name) / "venv" / "bin" / "python"
        self.stage.run(self.name, str(python), "-m", "ipykernel_uv", "install", "--sys-prefix")


class PyprojectLocalKernel(Project):
    """A provisioner that has uv run ipykernel in the project."""

    name, version, kernel = "pyproject-local-kernel", "0.12.1", "pyproject_local_kernel"
    remark = "provisioner; reads `pyproject.toml`"
    kernel_dependencies = ("ipykernel",)


class UvKernelManager(Project):
    """A command that registers a project's own virtual environment as a kernel."""

    name, version, kernel = "uv-kernel-manager", "0.1.3", ""
    remark = "a command registers the project's environment, in which ipykernel is installed"

    def notebook(self, label: str, dependencies: Sequence[str]) -> Notebook:
        """Write a project; before its first start it must be synced and registered."""
        made = super().notebook(label, dependencies)
        command = str(self.stage.home(self.name) / "venv" / "bin" / "uv-kernel")
        before = (("uv", "sync", "--quiet"), (command, "register", "--yes"))
        return Notebook(path=made.path, kernel=f"project:{label}", env=made.env, before=before)

    def kernel_of(self, notebook: Notebook) -> str:
        """Find the kernelspec that was registered for a notebook's project."""
        folder = str(notebook.path.parent)
        for spec in (self.stage.home(self.name) / "jupyter-data" / "kernels").glob("*/kernel.json"):
            if folder in spec.read_text(encoding="utf-8"):
                return spec.parent.name
        return notebook.kernel


RIVALS: tuple[type[Contestant], ...] = (
    UvRun,
    UvKernel,
    Uvk,
    Juvio,
    IpykernelUv,
    PyprojectLocalKernel,
    UvKernelManager,
)
"""Those that start kernels. juv and marimo have servers of their own: see ``headless``."""
