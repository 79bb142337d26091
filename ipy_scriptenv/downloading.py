"""Fetch the files that a lock names, with the logins that uv would use too.

uv knows no verb for it. Proxies and certificates are those of the environment variables, as with
uv; a login goes to the host that it is for, and to no other by way of a redirect.
"""

from __future__ import annotations

import netrc
import re
import shutil
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit
from urllib.request import (
    HTTPBasicAuthHandler,
    HTTPPasswordMgrWithPriorAuth,
    OpenerDirector,
    Request,
    build_opener,
)

from ipy_scriptenv import settings
from ipy_scriptenv.errors import InstallFailed, Offline
from ipy_scriptenv.metadata import read_toml, shown

__all__ = ["Login", "download", "logins"]

_PATIENCE = 60.0
"""Seconds that the other side may say nothing."""

_VARIABLES = ("UV_INDEX", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL")


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """Name and password for a host, by one scheme: no password for HTTPS goes over plain HTTP.

    :param host: with its port, where the address tells one that is not the scheme's
    """

    scheme: str
    host: str
    user: str
    password: str = field(repr=False)


def logins(block: str) -> tuple[Login, ...]:
    """Collect the logins for the indexes of a block, of uv's variables and of its configuration.

    They stand in an index's address, or in ``UV_INDEX_<NAME>_USERNAME`` and ``…_PASSWORD``.
    """
    found = []
    for name, url in (*_of_variables(), *_of_tables(block)):
        parts = urlsplit(_expanded(url))
        key = re.sub(r"[^A-Z0-9]", "_", name.upper())
        user = settings.variable(f"UV_INDEX_{key}_USERNAME") if name else None
        password = settings.variable(f"UV_INDEX_{key}_PASSWORD") if name else None
        user = user or unquote(parts.username or "")
        password = password or unquote(parts.password or "")
        if user or password:
            scheme, host = _place(parts)
            found.append(Login(scheme=scheme, host=host, user=user, password=password))
    return tuple(found)


def _place(parts: SplitResult) -> tuple[str, str]:
    """Give the scheme and host of an address as they are compared."""
    scheme, host = parts.scheme.lower(), parts.netloc.rpartition("@")[2].lower()
    return scheme, host.removesuffix({"https": ":443", "http": ":80"}.get(scheme, ":"))


def _of_variables() -> Iterator[tuple[str, str]]:
    for variable in _VARIABLES:
        for word in (settings.variable(variable) or "").split():
            name, equals, url = word.partition("=")
            is_named = equals and "://" not in name
            yield (name, url) if is_named else ("", word)


def _of_tables(block: str) -> Iterator[tuple[str, str]]:
    tool = read_toml(block).get("tool") if block else None
    tables = [tool.get("uv") if isinstance(tool, dict) else None]
    for path in settings.config_files():
        try:
            tables.append(tomllib.loads(path.read_text("utf-8")))
        except (OSError, ValueError):
            continue
    for table in tables:
        indexes = table.get("index") if isinstance(table, dict) else None
        for index in indexes if isinstance(indexes, list) else ():
            if isinstance(index, dict) and isinstance(index.get("url"), str):
                yield str(index.get("name", "")), index["url"]


def _expanded(url: str) -> str:
    """Put values in the place of variables, as uv does."""
    return re.sub(r"\$\{(\w+)\}", lambda found: settings.variable(found[1]) or "", url)


def download(url: str, target: Path, known: Sequence[Login]) -> None:
    """Fetch what stands at an address into a file.

    :param known: logins; the user's ``.netrc`` is asked too
    :raises InstallFailed: if the other side does not give it
    :raises Offline: if the other side cannot be reached
    """
    if not url.lower().startswith(("https://", "http://")):
        raise InstallFailed(f"`{shown(url)}` is nothing that can be fetched.")
    request = Request(url, headers={"User-Agent": "ipy-scriptenv"})  # noqa: S310 - a lock names it
    try:
        with (
            _opener(url, known).open(request, timeout=_PATIENCE) as response,
            target.open("wb") as file,
        ):
            shutil.copyfileobj(response, file, 1 << 20)
    except HTTPError as error:
        msg = f"`{shown(url)}` cannot be fetched: HTTP status {error.code}."
        hint = "A login is taken from UV_INDEX_NAME_USERNAME and …_PASSWORD, or from `~/.netrc`."
        raise InstallFailed(msg, hint=hint) from error
    except (URLError, HTTPException, TimeoutError, ConnectionError, ValueError) as error:
        reason = shown(str(getattr(error, "reason", error)))
        raise Offline(f"`{shown(url)}` cannot be fetched: {reason}.") from error


def _opener(url: str, known: Sequence[Login]) -> OpenerDirector:
    login = _login(urlsplit(url), known)
    if login is None:
        return build_opener()
    manager: Any = HTTPPasswordMgrWithPriorAuth()
    parts = urlsplit(url)
    root = urlunsplit((parts.scheme, parts.netloc, "/", "", ""))
    manager.add_password(None, root, login.user, login.password, is_authenticated=True)
    return build_opener(HTTPBasicAuthHandler(manager))


def _login(parts: SplitResult, known: Sequence[Login]) -> Login | None:
    scheme, host = _place(parts)
    for login in known:
        if (login.scheme, login.host) == (scheme, host):
            return login
    try:
        found = netrc.netrc(settings.variable("NETRC")).authenticators(parts.hostname or "")
    except (OSError, netrc.NetrcParseError):
        return None
    if found is None:
        return None
    return Login(scheme=scheme, host=host, user=found[0], password=found[2] or "")
