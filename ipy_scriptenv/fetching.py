"""Fetch a script or notebook from an address: the one door to the network beside uv.

Only ``https``, or ``http`` to this machine itself; a redirect may lead to the same kind of place
alone. Nothing of what comes is run or imported here.
"""

from __future__ import annotations

import hashlib
import ipaddress
import queue
import threading
from dataclasses import dataclass
from http.client import HTTPException, IncompleteRead
from pathlib import PurePosixPath
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, ProxyHandler, Request, build_opener

from ipy_scriptenv.errors import NotASource, NotFound, Offline, WrongCall
from ipy_scriptenv.metadata import shown

__all__ = ["LARGEST", "Fetched", "check_address", "fetch"]

LARGEST = 10 * 2**20
"""Bytes of the largest script that is fetched."""

_PATIENCE = 30.0
"""Seconds that the other side may say nothing."""
_WHOLE = 60.0
"""Seconds that all of it may take: names, redirects, headers and content."""
_PIECE = 1 << 16
_RAW = "Name the address of the file itself, not of a page that shows it."


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What stands at an address.

    :param url: as it was asked for
    :param came_from: where the redirects led, the same without any
    """

    url: str
    came_from: str
    data: bytes

    @property
    def name(self) -> str:
        """The last part of the address's path, which tells a notebook from a script."""
        return PurePosixPath(unquote(urlsplit(self.url).path)).name or "script"

    @property
    def digest(self) -> str:
        """SHA-256 of the content, in hexadecimal digits."""
        return hashlib.sha256(self.data).hexdigest()


def check_address(url: str) -> None:
    """Check that something may be fetched from an address; nobody is asked for it.

    :raises WrongCall: if it cannot be read, or holds a name or password
    :raises NotASource: if it is neither ``https`` nor this machine
    """
    _kind(url)


def fetch(url: str) -> Fetched:
    """Fetch what stands at an address.

    :raises WrongCall: as :func:`check_address`
    :raises NotASource: likewise; for a redirect elsewhere; if it is too large, or a web page
    :raises NotFound: if the other side has nothing there for us
    :raises Offline: if the other side cannot be reached, or takes too long
    """
    opener = _opener(url)
    given: queue.SimpleQueue[Fetched | Exception] = queue.SimpleQueue()

    def work() -> None:
        try:
            given.put(_fetched(opener, url))
        except Exception as error:  # noqa: BLE001 - it is raised where it is waited for
            given.put(error)

    # A thread that is left behind, for a socket's own limit begins anew with each byte.
    threading.Thread(target=work, daemon=True).start()
    try:
        found = given.get(timeout=_WHOLE)
    except queue.Empty:
        msg = f"`{shown(url)}` takes longer than {_WHOLE:.0f} s."
        raise Offline(msg, hint="Try again.") from None
    if isinstance(found, Exception):
        raise found
    return found


def _fetched(opener: OpenerDirector, url: str) -> Fetched:
    request = Request(url, headers={"User-Agent": "ipy-scriptenv"})  # noqa: S310 - it was checked
    try:
        with opener.open(request, timeout=_PATIENCE) as response:
            data, came_from = _read(response, url), response.url
    except HTTPError as error:
        raise NotFound(f"`{shown(url)}` cannot be fetched: HTTP status {error.code}.") from error
    except IncompleteRead as error:
        msg = f"`{shown(url)}` did not come whole: the other side ended too early."
        raise Offline(msg, hint="Try again.") from error
    except (URLError, HTTPException, OSError) as error:
        reason = shown(str(getattr(error, "reason", error)))
        hint = "Check the network and the proxy, then try again."
        raise Offline(f"`{shown(url)}` cannot be fetched: {reason}.", hint=hint) from error
    if data[:1024].lstrip().lower().startswith((b"<!doctype html", b"<html")):
        raise NotASource(f"`{shown(url)}` is a web page, no script.", hint=_RAW)
    return Fetched(url=url, came_from=came_from, data=data)


def _opener(url: str) -> OpenerDirector:
    # This machine is not reached by way of a proxy, which may be another one.
    local = (ProxyHandler({}),) if _kind(url) == "loopback" else ()
    return build_opener(_Redirects, *local)


class _Redirects(HTTPRedirectHandler):
    """Follows a redirect to the same kind of place alone."""

    max_redirections = 5

    def redirect_request(  # noqa: PLR0917 - urllib's signature
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        if _kind(newurl) != _kind(req.full_url):
            raise NotASource(
                f"`{shown(req.full_url)}` leads to `{shown(newurl)}`, which is not fetched.",
                hint="Name that address itself, if you trust it.",
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _read(response: Any, url: str) -> bytes:
    data = b""
    while piece := response.read1(_PIECE):
        data += piece
        if len(data) > LARGEST:
            limit = f"{LARGEST // 2**20} MiB"
            raise NotASource(f"`{shown(url)}` is larger than {limit}; no script is.", hint=_RAW)
    # `read1` takes an early end for the end; this is what the headers promise and did not come.
    if response.length:
        raise IncompleteRead(data, response.length)
    return data


def _kind(url: str) -> str:
    """Say what kind of place an address leads to: ``https`` or ``loopback``."""
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname or "", parts.port
    except ValueError:
        raise WrongCall(f"`{shown(url)}` is no address that can be read.") from None
    odd = not url.isascii() or not url.isprintable() or " " in url or "\\" in url
    if odd or not host:
        hint = "Write it as a browser shows it when it is copied."
        raise WrongCall(f"`{shown(url)}` is no address that can be read.", hint=hint)
    if "@" in parts.netloc:
        hint = "Download the script, and name the file."
        raise WrongCall(f"The address `{shown(url)}` holds a name or a password.", hint=hint)
    if parts.scheme in ("https", "http") and _is_loopback(host):
        return "loopback"
    if parts.scheme != "https":
        hint = "Only https:// is fetched, and http:// from this machine alone."
        raise NotASource(f"`{shown(url)}` is not fetched.", hint=hint)
    return "https"


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
