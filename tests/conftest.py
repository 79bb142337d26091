"""The stage of all tests: a home of their own, a local index, interpreters, a server, a browser.

Nothing here reaches into the user's own folders, and no setting of the user's reaches into a test,
but what it takes to reach a package index: its address, credentials, proxy and certificates.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from uv import find_uv_bin
from xdist.scheduler import LoadFileScheduling

from ipy_scriptenv.environments import Context
from ipy_scriptenv.interpreters import host_python, inspect_python
from ipy_scriptenv.kernels.layer import ensure_layer
from ipy_scriptenv.store import Store
from ipy_scriptenv.uv import Uv
from tests.index.build import build_index
from tests.jupyter_server import JupyterServer, running_lab
from tests.kernels import block
from tests.ports import ports_of_this_worker
from tests.stage import BASE, HOST, pretend_layer, write_notebook
from tests.web_index import WebIndex, serving, use_web_index

if TYPE_CHECKING:
    from playwright.sync_api import Browser

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER_OPTIONS = (
    "--no-sandbox",  # root, as in most containers, may not have one
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    # The rest keeps it from calling home, which fails noisily where there is no network.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

_FOREIGN = re.compile(
    r"(CONDA|IPYTHON|JPY|JUPYTER|PIP|PYTHON|SCRIPTENV|UV|VIRTUAL_ENV|XDG_\w+_HOME)(_|$)"
    r"|IPYTHONDIR|PYTHON\w+|MPLBACKEND"
)
_BROWSING = ("tests/lab/", "tests/test_browser.py", "tests/test_first_minutes.py")
"""Where browsers are opened."""

_OUTER = dict(os.environ)
_INDEX_SETTING = re.compile(
    r"UV_(DEFAULT_INDEX|INDEX(_\w+)?|EXTRA_INDEX_URL|INSECURE_HOST|KEYRING_PROVIDER"
    r"|NATIVE_TLS|SYSTEM_CERTS|HTTP_\w+|NETRC)"
)
# Where only pip was told how to reach an index, uv is told the same.
_PIP_AND_UV = {
    "PIP_CERT": "SSL_CERT_FILE",
    "PIP_EXTRA_INDEX_URL": "UV_INDEX",
    "PIP_INDEX_URL": "UV_DEFAULT_INDEX",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """A user's folders, for one test; this process's environment variables lead there.

    :param path: the home folder itself
    :param scriptenv: what ``SCRIPTENV_HOME`` says
    :param jupyter_data: Jupyter's data folder, the user's
    """

    path: Path
    scriptenv: Path
    jupyter_data: Path

    @property
    def kernelspecs(self) -> Path:
        """Where the kernelspecs of sources are written."""
        return self.jupyter_data / "kernels"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """Kernel layers, built by the package itself and shared by the tests of a run.

    A layer never changes, so a test's home gets hard links to its files: they must not be written
    to. A test that is about building or damaging a layer takes `home` and has its own built.

    :param folder: a folder of the run's own
    :param uv_cache: uv's cache for the run
    """

    folder: Path
    uv_cache: Path

    def link(self, home: Home, python: Path | None = None) -> str:
        """Put the layer for an interpreter into a home, and give its name.

        One symbolic link stands for its packages: thousands of files take most of a second.

        :param python: a base interpreter; default: the host's
        """
        name = self._built(python)
        store = Store(home.scriptenv)
        store.prepare()
        built, layer = Store(self.folder / "home" / "scriptenv").layers / name, store.layers / name
        if not layer.exists():
            layer.mkdir(mode=0o700)
            (layer / "layer.json").hardlink_to(built / "layer.json")
            (layer / "site-packages").symlink_to(built / "site-packages")
        return name

    def _built(self, python: Path | None) -> str:
        with pytest.MonkeyPatch.context() as patch:
            # The calling test may be offline; building is not.
            for name in set(os.environ) - set(_OUTER):
                patch.delenv(name)
            for name, value in _OUTER.items():
                patch.setenv(name, value)
            home = _move_in(self.folder / "home", self.uv_cache, patch)
            store = Store(home.scriptenv)
            store.prepare()
            described = host_python() if python is None else inspect_python(python)
            uv = Uv(binary=Path(find_uv_bin()), work=store.work)
            return ensure_layer(store, uv, described).name


def pytest_configure() -> None:
    """Let interrupts reach what tests start: a shell has its background jobs ignore them."""
    with contextlib.suppress(ValueError):  # not in the main thread
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.default_int_handler)


class _Scheduling(LoadFileScheduling):
    """One worker runs all of a file, and one all that needs a browser: two would be too slow."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "browser" if file.startswith(_BROWSING) else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling | None:
    """Say who runs what."""
    return _Scheduling(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.fixture(scope="session", autouse=True)
def own_ports() -> Iterator[None]:
    """Have the kernels of this process use ports that nobody else is given meanwhile."""
    with ports_of_this_worker():
        yield


@pytest.fixture(scope="session")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of the local package index (``tests/index/build.py``)."""
    return build_index(tmp_path_factory.mktemp("index"))


@pytest.fixture(scope="session")
def uv_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give uv's cache for the whole run: each wheel is fetched once, and never from the user's."""
    return _shared_folder(tmp_path_factory, "uv-cache")


def _shared_folder(tmp_path_factory: pytest.TempPathFactory, name: str) -> Path:
    """Give a folder of this run that the processes of a parallel run have in common."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def pythons() -> dict[str, Path]:
    """Give this machine's CPython interpreters by minor version, such as ``"3.12"``.

    They are real ones: no shim, no virtual environment. 3.9 is the oldest that is looked for.
    """
    folders = [Path(folder) for folder in os.get_exec_path() if Path(folder).is_absolute()]
    folders += sorted(_pyenv_root().glob("versions/*/bin"), reverse=True)
    folders += sorted(_uv_pythons().glob("*/bin"), reverse=True)
    found: dict[str, Path] = {}
    for minor in (f"3.{number}" for number in range(9, 16)):
        for folder in folders:
            interpreter = _real_interpreter(folder / f"python{minor}", minor)
            if interpreter is not None:
                found[minor] = interpreter
                break
    return found


@pytest.fixture
def home(tmp_path: Path, uv_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """Move this process, and all that it starts, into an empty home at ``tmp_path / "home"``.

    The environment of the tests comes first on ``PATH``, as if it were active.
    """
    return _move_in(tmp_path / "home", uv_cache, monkeypatch)


@pytest.fixture(scope="session")
def layers(tmp_path_factory: pytest.TempPathFactory, uv_cache: Path) -> Layers:
    """Give the kernel layers of this run: each is built at its first use, once."""
    return Layers(folder=_shared_folder(tmp_path_factory, "layers"), uv_cache=uv_cache)


@pytest.fixture
def ready_home(home: Home, layers: Layers) -> Home:
    """Give a home where the layer for the host's own Python stands already."""
    layers.link(home)
    return home


@pytest.fixture
def offline(
    home: Home,  # noqa: ARG001 - it clears away settings, so it comes first
    index: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """Make the local index the only one: uv reaches no network in this test."""
    _go_offline(index, monkeypatch)
    return index


@pytest.fixture
def offline_home(
    ready_home: Home,
    offline: Path,  # noqa: ARG001 - it sets the stage
) -> Home:
    """Give a home with the layer, where the local index is the only one."""
    return ready_home


@pytest.fixture
def lean_home(home: Home, layers: Layers, offline: Path) -> Home:  # noqa: ARG001 - it sets the stage
    """Give such a home for a test in which no kernel runs."""
    layers.link(home)
    return home


@pytest.fixture
def bare_home(home: Home, offline: Path) -> Home:  # noqa: ARG001 - it sets the stage
    """Give such a home whose layer only seems to stand: `doctor` looks at every file of one."""
    Store(home.scriptenv).prepare()
    pretend_layer(home.scriptenv, Path(BASE))
    return home


@pytest.fixture
def web(
    lean_home: Home,  # noqa: ARG001 - it makes another index the only one, so it comes first
    index: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[WebIndex]:
    """Serve the local index over HTTP, in the place of PyPI."""
    with serving(index) as served:
        use_web_index(served, monkeypatch)
        yield served


@pytest.fixture
def system(
    home: Home,  # noqa: ARG001 - it clears away settings, so it comes first
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """Give the system a folder for configuration, such as an administrator's policy."""
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(tmp_path / "system"))
    return tmp_path / "system"


@pytest.fixture
def own_home(home: Home) -> None:
    """Make sure that no test here reaches the user's own home: it would be pruned."""
    assert Context().store.home == home.scriptenv


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """Give the place for a script, in a folder that holds nothing else."""
    folder = tmp_path / "work"
    folder.mkdir()
    return folder / "a.py"


@pytest.fixture
def source(script: Path) -> Path:
    """Give the place for a notebook in that folder: for what holds for notebooks as for scripts."""
    return script.with_suffix(".ipynb")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give a notebook on disk that declares ``alpha==1.0``."""
    return write_notebook(tmp_path / "work" / "nb.ipynb", block("alpha==1.0"))


@pytest.fixture
def other(offline_home: Home, layers: Layers, pythons: dict[str, Path]) -> str:
    """Give the minor version of another Python than the host's, whose layer stands."""
    found = [each for each in ("3.12", "3.13", "3.11", "3.10") if each in pythons and each != HOST]
    if not found:
        pytest.skip("there is but one Python")
    layers.link(offline_home, pythons[found[0]])
    return found[0]


@pytest.fixture(scope="module")
def module_home(
    tmp_path_factory: pytest.TempPathFactory, uv_cache: Path, index: Path, layers: Layers
) -> Iterator[Home]:
    """Give one home for all tests of a module: with the layer, and with the local index alone.

    Such a module overrides `home` with it.
    """
    with shared_home(tmp_path_factory.mktemp("module"), uv_cache, index, layers) as home:
        yield home


@pytest.fixture
def lab(home: Home) -> Iterator[JupyterServer]:
    """Run a JupyterLab server in the test's home, on the folder ``tmp_path / "work"``."""
    with running_lab(home.path.parent / "work") as server:
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Run a headless Chromium for a module of tests: the second page is loaded in half the time.

    No longer than that: while Playwright's event loop runs, no other can in this thread.
    """
    with running_browser() as browser:
        yield browser


@contextmanager
def running_browser() -> Iterator[Browser]:
    """Run a headless Chromium; without one the test is skipped, under ``CI`` it fails."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        missing = f"no browser: none of {', '.join(BROWSERS)} is on PATH"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)

    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=[*BROWSER_OPTIONS])
        yield browser
        browser.close()


@contextmanager
def shared_home(folder: Path, uv_cache: Path, index: Path, layers: Layers) -> Iterator[Home]:
    """Move into a home that many tests have in common, until the block is left.

    :param folder: where it is made
    """
    with pytest.MonkeyPatch.context() as patch:
        home = _move_in(folder / "home", uv_cache, patch)
        layers.link(home)
        _go_offline(index, patch)
        yield home


def _move_in(path: Path, uv_cache: Path, patch: pytest.MonkeyPatch) -> Home:
    """Make *path* the home of this process; what the user has set goes, but for the index."""
    settings = _settings_for_an_index()
    managers = {"PYENV_ROOT": _pyenv_root(), "UV_PYTHON_INSTALL_DIR": _uv_pythons()}
    managers = {name: folder for name, folder in managers.items() if folder.is_dir()}
    for name in filter(_FOREIGN.match, list(os.environ)):
        patch.delenv(name)
    home = Home(path=path, scriptenv=path / "scriptenv", jupyter_data=path / "jupyter-data")
    path.mkdir(mode=0o700, exist_ok=True)
    folders = {
        "HOME": path,
        "IPYTHONDIR": path / "ipython",
        "JUPYTER_CONFIG_DIR": path / "jupyter-config",
        "JUPYTER_DATA_DIR": home.jupyter_data,
        "JUPYTER_RUNTIME_DIR": path / "jupyter-runtime",
        "SCRIPTENV_HOME": home.scriptenv,
        "UV_CACHE_DIR": uv_cache,
        "XDG_CACHE_HOME": path / "cache",
        "XDG_CONFIG_DIRS": path / "system-config",
        "XDG_CONFIG_HOME": path / "config",
        "XDG_DATA_HOME": path / "data",
        "XDG_STATE_HOME": path / "state",
    }
    for name, value in (settings | managers | folders).items():
        patch.setenv(name, str(value))
    # A process that compiles in the background would outlive the test's folders.
    patch.setenv("SCRIPTENV_BYTECODE", "0")
    # Hundreds of kernels that are asked at once, or not at all: each would start one for nothing.
    patch.setenv("SCRIPTENV_SPARE_HOST", "0")
    patch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    return home


def _go_offline(index: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("UV_FIND_LINKS", str(index))
    patch.setenv("UV_NO_INDEX", "1")
    patch.setenv("UV_OFFLINE", "1")


def _settings_for_an_index() -> dict[str, str]:
    """Choose the outer environment variables by which uv reaches an index."""
    settings = {name: value for name, value in os.environ.items() if _INDEX_SETTING.fullmatch(name)}
    for pip_name, uv_name in _PIP_AND_UV.items():
        value = os.environ.get(pip_name)
        if value and uv_name not in os.environ:
            settings[uv_name] = value
    return settings


def _pyenv_root() -> Path:
    return Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")


@cache
def _uv_pythons() -> Path:
    """Give the folder of the interpreters that uv has installed for the user."""
    answer = subprocess.run(
        [find_uv_bin(), "python", "dir", "--no-config"], capture_output=True, text=True, check=True
    )
    return Path(answer.stdout.strip())


def _real_interpreter(program: Path, minor: str) -> Path | None:
    """Ask *program* for the interpreter behind it; ``None`` if it is none of that version.

    A shim may be there for a version that is switched off: it ends with an error.
    """
    if not program.is_file():
        return None
    question = (
        "import json, sys; print(json.dumps([sys.implementation.name,"
        " '%d.%d' % sys.version_info[:2], sys._base_executable]))"
    )
    try:
        answer = subprocess.run(
            [program, "-I", "-c", question], capture_output=True, check=True, timeout=30
        )
        implementation, version, executable = json.loads(answer.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return Path(executable) if (implementation, version) == ("cpython", minor) else None
