"""The one place where environment variables are read.

=============================  ==================================================================
``SCRIPTENV_HOME``             where environments live; default: the user's data folder
``SCRIPTENV_LOCK_TIMEOUT``     seconds to wait for another process; default 600
``SCRIPTENV_LAYER_LOCK``       path of another hash-locked list for the kernel layer
``SCRIPTENV_BYTECODE``         ``0``: environments do not share byte code
``UV_*`` and the rest          handed to uv, but for what would point it at another target
=============================  ==================================================================
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

__all__ = [
    "child_environment",
    "config_files",
    "home",
    "layer_lock",
    "lock_timeout",
    "policy_files",
    "python_path",
    "resolver_settings",
    "search_path",
    "shares_bytecode",
    "uv_environment",
    "variable",
]

_REDIRECTS = frozenset(
    {
        "CONDA_DEFAULT_ENV",
        "CONDA_PREFIX",
        "FORCE_COLOR",
        "JPY_SESSION_NAME",  # in a notebook, uv would keep its progress to itself
        "CLICOLOR_FORCE",
        "PYTHONHOME",
        "PYTHONPATH",
        "UV_BREAK_SYSTEM_PACKAGES",
        "UV_DEV",
        "UV_ENV_FILE",
        "UV_FROZEN",
        "UV_ISOLATED",
        "UV_LOCKED",
        "UV_NO_DEFAULT_GROUPS",
        "UV_NO_DEV",
        "UV_NO_EDITABLE",
        "UV_NO_GROUP",
        "UV_NO_INSTALL_LOCAL",
        "UV_NO_INSTALL_PACKAGE",
        "UV_NO_INSTALL_PROJECT",
        "UV_NO_INSTALL_WORKSPACE",
        "UV_NO_SYNC",
        "UV_PREFIX",
        "UV_PROJECT",
        "UV_PROJECT_ENVIRONMENT",
        "UV_PYTHON",
        "UV_QUIET",
        "UV_SHOW_RESOLUTION",
        "UV_SYSTEM_PYTHON",
        "UV_TARGET",
        "UV_VENV_CLEAR",
        "UV_VENV_PROMPT",
        "UV_VENV_RELOCATABLE",
        "UV_VENV_SEED",
        "UV_WORKING_DIR",
        "UV_WORKING_DIRECTORY",
        "VIRTUAL_ENV",
        "VIRTUAL_ENV_PROMPT",
        "__PYVENV_LAUNCHER__",
    }
)
"""Variables that would give uv another target, another interpreter or another kind of output."""


_FOR_FETCHING = re.compile(
    r"""
    UV_(?!PUBLISH_).* | (?:ALL|FTP|HTTPS?|NO)_PROXY | NETRC | SSL_CERT_(?:FILE|DIR)
    | REQUESTS_CA_BUNDLE | CURL_CA_BUNDLE | SSH_AUTH_SOCK | SSH_ASKPASS | GIT_ASKPASS
    """,
    re.VERBOSE | re.IGNORECASE,
)
"""Variables that uv and git need to reach an index, credentials included."""

_SECRET = re.compile(
    r"""
    (?:JUPYTERHUB|JPY|AWS|AZURE)_.* |
    .* (?:PASSWORDS?|PASSWD|PASSPHRASE|PASS|APIKEYS?) (?:_.*)? |
    (?:.*_)? (?:TOKENS?|SECRETS?|PWD|PAT|CREDENTIALS?|AUTH|COOKIE|KEYS?|DSN) (?:_.*)?
    """,
    re.VERBOSE | re.IGNORECASE,
)
_URL_WITH_CREDENTIALS = re.compile(r"://[^/@\s]+@")


def _is_secret(name: str, value: str) -> bool:
    """Say whether a variable looks like a secret that fetching packages does not need."""
    if _FOR_FETCHING.fullmatch(name) or name in ("PWD", "OLDPWD"):
        return False
    return bool(_SECRET.fullmatch(name) or _URL_WITH_CREDENTIALS.search(value))


def home() -> Path:
    """Where everything of ours lives; absolute."""
    chosen = os.environ.get("SCRIPTENV_HOME")
    if chosen:
        return Path(os.path.abspath(Path(chosen).expanduser()))  # noqa: PTH100 - resolve() follows links
    import platformdirs

    return platformdirs.user_data_path("ipy-scriptenv", appauthor=False)


def lock_timeout() -> float:
    """Seconds to wait for another process that changes an environment."""
    try:
        seconds = float(os.environ.get("SCRIPTENV_LOCK_TIMEOUT", "600"))
    except ValueError:
        return 600.0
    return seconds if seconds >= 0 else 600.0


def layer_lock() -> Path | None:
    """An administrator's hash-locked list for the kernel layer; ``None``: this package's own."""
    chosen = os.environ.get("SCRIPTENV_LAYER_LOCK")
    return Path(chosen) if chosen and Path(chosen).is_absolute() else None


def shares_bytecode() -> bool:
    """Say whether environments share byte code."""
    return os.environ.get("SCRIPTENV_BYTECODE") != "0"


def uv_environment(pass_env: Iterable[str] = (), /, **more: str) -> dict[str, str]:
    """Give the environment variables for a uv process.

    The user's index, cache, proxy and certificate settings stay; what would point uv at another
    target goes. So do secrets, because uv runs the build backends of packages.

    :param pass_env: names of secrets that uv gets nevertheless
    :param more: variables to set
    """
    wanted = frozenset(pass_env)
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in _REDIRECTS and (name in wanted or not _is_secret(name, value))
    }
    return {**kept, "PATH": search_path(), "NO_COLOR": "1", "UV_NO_PROGRESS": "1", **more}


def child_environment(
    given: Mapping[str, str] | None = None, *, add: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Give the environment variables for a process of another Python than the host's.

    :param given: variables to start from; default: this process's
    :param add: variables to set
    """
    source = os.environ if given is None else given
    unwanted = ("PYTHONHOME", "__PYVENV_LAUNCHER__")
    kept = {name: value for name, value in source.items() if name not in unwanted}
    if "PYTHONPATH" in kept:
        from ipy_scriptenv.kernel_side.check import absolute_entries

        kept["PYTHONPATH"] = absolute_entries(kept["PYTHONPATH"])
    return {**kept, **(add or {})}


def search_path() -> str:
    """Give a ``PATH`` that is safe and useful for finding interpreters.

    Relative entries go: they mean the folder that a process happens to run in. The shims of pyenv,
    asdf and mise give way to the interpreters behind them, because a shim answers for one version
    only, whichever the folder asks for.
    """
    entries: list[str] = []
    for entry in os.environ.get("PATH", os.defpath).split(os.pathsep):
        folder = Path(entry)
        if not folder.is_absolute():
            continue
        if folder.name == "shims":
            found: list[str] = []
            # A `PATH` of another user, as `sudo` may leave it, names what cannot be looked into.
            with contextlib.suppress(OSError):
                found = sorted(
                    str(path)
                    for pattern in ("versions/*/bin", "installs/python/*/bin")
                    for path in folder.parent.glob(pattern)
                )
            entries += found or [entry]
        else:
            entries.append(entry)
    return os.pathsep.join(dict.fromkeys(entries))


def python_path() -> tuple[str, ...]:
    """Give the absolute entries of ``PYTHONPATH``."""
    from ipy_scriptenv.kernel_side.check import absolute_entries

    return tuple(filter(None, absolute_entries(os.environ.get("PYTHONPATH", "")).split(os.pathsep)))


def config_files() -> tuple[Path, ...]:
    """Give the places of uv's user-wide and system-wide configuration, there or not."""
    chosen = os.environ.get("UV_CONFIG_FILE")
    if chosen:
        return (Path(chosen).absolute(),)
    if sys.platform == "win32":
        user = Path(os.environ.get("APPDATA", "~")).expanduser()
        system = [Path(os.environ.get("PROGRAMDATA", "C:\\ProgramData"))]
    else:
        user = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser()
        system = [
            Path(part)
            for part in (os.environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":")
            if part
        ]
        system.append(Path("/etc"))
    return tuple(folder / "uv" / "uv.toml" for folder in (user, *system))


def policy_files() -> tuple[Path, ...]:
    """Give the places of an administrator's policy, there or not: the system's, then the user's."""
    import platformdirs

    system = platformdirs.site_config_dir("ipy-scriptenv", appauthor=False, multipath=True)
    user = platformdirs.user_config_path("ipy-scriptenv", appauthor=False)
    folders = [*(Path(folder) for folder in system.split(os.pathsep) if folder), user]
    return tuple(folder / "policy.toml" for folder in folders)


def variable(name: str) -> str | None:
    """Give a variable that one process of ours sets for another."""
    return os.environ.get(name)


def resolver_settings() -> str:
    """Digest the environment variables that decide what uv would install, without credentials."""
    from ipy_scriptenv.kernel_side.check import settings_digest

    return settings_digest(os.environ)
