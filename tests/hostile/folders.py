"""What may lie beside a source: each builder puts one kind of it into a folder.

Whatever of it is run leaves a file in the folder of marks, named by what ran.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

__all__ = ["BESIDE", "everything_beside", "leaving_a_mark"]

_STANDARD = (
    # Some are imported late, by completions and inspections.
    *("ast", "asyncio", "bdb", "code", "codeop", "cProfile", "doctest", "inspect", "json"),
    *("linecache", "pdb", "pickle", "platform", "pydoc", "random", "runpy", "site", "socket"),
    *("sqlite3", "tempfile", "token", "tokenize", "traceback", "types", "uuid", "warnings", "xml"),
)
_KERNELS = (
    *("IPython", "comm", "debugpy", "decorator", "ipykernel", "ipykernel_launcher", "jedi"),
    *("jupyter_client", "jupyter_core", "matplotlib_inline", "nest_asyncio", "nest_asyncio2"),
    *("parso", "pexpect", "prompt_toolkit", "psutil", "pygments", "stack_data", "tornado"),
    *("traitlets", "zmq"),
)
_OURS = (
    *("click", "filelock", "hosts", "ipy_scriptenv", "kernel", "launch", "live", "packaging"),
    *("platformdirs", "scriptenv_kernel", "start", "tomli_w", "uv", "virtualenv", "_virtualenv"),
)
_PROGRAMS = (
    *("python", "python3", "python3.11", "python3.12", "uv", "uvx", "git", "pip", "which", "sh"),
    # What the standard library asks about the machine.
    *(
        "uname",
        "ldconfig",
        "gcc",
        "cc",
        "ld",
        "file",
        "lsb_release",
        "stty",
        "ps",
        "ifconfig",
        "ip",
    ),
)


def leaving_a_mark(marks: Path, name: str) -> str:
    """Give a line of Python that leaves a mark."""
    return f"open({str(marks / name)!r}, 'a').write(__name__ + chr(10))\n"


def modules_of_the_standard_library(folder: Path, marks: Path) -> None:
    _modules(folder, marks, _STANDARD)


def modules_of_the_kernel(folder: Path, marks: Path) -> None:
    _modules(folder, marks, _KERNELS)
    package = folder / "numpy"
    package.mkdir()
    (package / "__init__.py").write_text(leaving_a_mark(marks, "numpy"))


def modules_of_ours(folder: Path, marks: Path) -> None:
    _modules(folder, marks, _OURS)


def hooks_of_python(folder: Path, marks: Path) -> None:
    _modules(folder, marks, ("sitecustomize", "usercustomize", "conftest", "__main__", "mine"))
    (folder / "mine.pth").write_text("import mine\n")
    (folder / "python._pth").write_text(".\nimport site\n")
    (folder / "pyvenv.cfg").write_text(f"home = {folder}\ninclude-system-site-packages = true\n")


def virtual_environment(folder: Path, marks: Path) -> None:
    for name in (".venv", "venv", "env"):
        _programs(folder / name / "bin", marks)
        (folder / name / "pyvenv.cfg").write_text(f"home = {folder / name / 'bin'}\n")


def programs(folder: Path, marks: Path) -> None:
    for place in (folder, folder / "bin"):
        _programs(place, marks)


def wishes_for_a_python(folder: Path, _marks: Path) -> None:
    for name in (".python-version", ".python-versions", "runtime.txt", ".tool-versions"):
        (folder / name).write_text(f"{folder / 'python'}\n3.99\n")


def settings_of_uv(folder: Path, _marks: Path) -> None:
    (folder / "uv.toml").write_text(
        f'python-downloads = "automatic"\noffline = false\ncache-dir = "{folder / "cache"}"\n'
        f'[[index]]\nurl = "file://{folder}/index"\ndefault = true\n'
    )
    (folder / ".netrc").write_text("machine localhost login a password b\n")
    (folder / "pip.conf").write_text(f"[global]\nindex-url = file://{folder}/index\n")


def project(folder: Path, marks: Path) -> None:
    (folder / "setup.py").write_text(leaving_a_mark(marks, "setup.py"))
    (folder / "setup.cfg").write_text("[metadata]\nname = hostile\n")
    (folder / "backend.py").write_text(leaving_a_mark(marks, "backend.py"))
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "hostile"\nversion = "1"\nrequires-python = ">=3.99"\n'
        "[tool.uv]\nmanaged = true\n"
        f'[[tool.uv.index]]\nurl = "file://{folder}/index"\ndefault = true\n'
    )
    (folder / "uv.lock").write_text("version = 99\n")
    (folder / "requirements.txt").write_text("-e .\n")


def settings_of_ipython_and_jupyter(folder: Path, marks: Path) -> None:
    names = ("ipython_config", "ipython_kernel_config", "jupyter_config", "jupyter_server_config")
    _modules(folder, marks, names)
    for place in (".ipython/profile_default/startup", "profile_default/startup"):
        (folder / place).mkdir(parents=True)
        (folder / place / "00.py").write_text(leaving_a_mark(marks, "startup"))
    (folder / ".env").write_text(f"PYTHONSTARTUP={folder / 'mine.py'}\nPYTHONPATH=.\n")
    (folder / ".pdbrc").write_text("import mine\n")
    spec = folder / "kernels" / "scriptenv"
    spec.mkdir(parents=True)
    (spec / "kernel.json").write_text(f'{{"argv": ["{folder / "python"}"]}}')


BESIDE: tuple[Callable[[Path, Path], None], ...] = (
    modules_of_the_standard_library,
    modules_of_the_kernel,
    modules_of_ours,
    hooks_of_python,
    virtual_environment,
    programs,
    wishes_for_a_python,
    settings_of_uv,
    project,
    settings_of_ipython_and_jupyter,
)


def everything_beside(folder: Path, marks: Path) -> None:
    """Put every kind into one folder, which is made where it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    for build in BESIDE:
        build(folder, marks)


def _modules(folder: Path, marks: Path, names: tuple[str, ...]) -> None:
    for name in names:
        (folder / f"{name}.py").write_text(leaving_a_mark(marks, name))


def _programs(folder: Path, marks: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in _PROGRAMS:
        path = folder / name
        path.write_text(f'#!/bin/sh\necho "$0 $@" >> "{marks}/program-{name}"\nexit 1\n')
        path.chmod(0o755)
