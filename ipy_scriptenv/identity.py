"""The names of environments: one source, one name, on every run and for every spelling of a path.

A name is ``<slug>-<digest>``, or the digest alone. The digest is the identity, the slug is for
people. A name that came out differently would orphan the environments that stand on users' disks.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from pathlib import PurePath, PurePosixPath
from typing import NewType

__all__ = [
    "EnvironmentName",
    "ephemeral_environment_name",
    "file_environment_name",
    "is_environment_name",
    "kernelspec_name",
    "name_beside",
    "slug",
    "text_environment_name",
    "url_environment_name",
]

EnvironmentName = NewType("EnvironmentName", str)
"""Name of an environment: 16 hexadecimal digits, after a slug and a dash where there is a slug."""

_SLUG_BYTES = 40
_DIGEST_DIGITS = 16
_DIGEST = re.compile(rf"[0-9a-f]{{{_DIGEST_DIGITS}}}")
_SLUG = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")


def slug(stem: str) -> str:
    """Give the readable part of a name: at most 40 characters, ASCII, possibly empty.

    The rule is uv's: letters and digits of ASCII in lower case, every other run of bytes one dash.
    Here no dash leads or trails, also after cutting.
    """
    return re.sub(r"[^A-Za-z0-9]+", "-", stem).lower().strip("-")[:_SLUG_BYTES].rstrip("-")


def file_environment_name(path: PurePath) -> EnvironmentName:
    """Name the environment of a file.

    :param path: absolute and resolved, in the case that the disk has; nothing is read from disk
    :raises ValueError: if *path* is relative or contains ``..``
    """
    if not path.is_absolute() or ".." in path.parts:
        raise ValueError(f"The path `{path}` is not absolute and resolved.")
    posix = path.as_posix()
    if posix[1:2] == ":":
        posix = posix[0].upper() + posix[1:]
    return _name(slug(path.stem), unicodedata.normalize("NFC", posix))


def url_environment_name(url: str) -> EnvironmentName:
    """Name the environment of a script at an address, by the address as it is written.

    :raises ValueError: if *url* cannot be split, such as one with half an IPv6 address
    """
    from urllib.parse import unquote, urlsplit

    return _name(slug(PurePosixPath(unquote(urlsplit(url).path)).stem), url)


def text_environment_name(toml: str) -> EnvironmentName:
    """Name the environment of a text without a file, by its block."""
    return _name("", toml)


def ephemeral_environment_name(token: str) -> EnvironmentName:
    """Name an environment that lives as long as its kernel.

    A file with the stem ``ephemeral`` has a name of the same form: only the record tells them
    apart.

    :param token: 16 random hexadecimal digits, in lower case
    :raises ValueError: if *token* is anything else
    """
    if not _DIGEST.fullmatch(token):
        raise ValueError("The token must be 16 hexadecimal digits in lower case.")
    return EnvironmentName(f"ephemeral-{token}")


def name_beside(name: EnvironmentName) -> EnvironmentName:
    """Name the environment of a source while another's stands in its place."""
    return _name(name[: -_DIGEST_DIGITS - 1], f"beside {name}")


def kernelspec_name(name: EnvironmentName) -> str:
    """Name the kernelspec of an environment, as Jupyter knows it."""
    return f"scriptenv-{name}"


def is_environment_name(text: str) -> bool:
    """Tell whether *text* has the form of an environment's name."""
    words, digest = text[:-_DIGEST_DIGITS], text[-_DIGEST_DIGITS:]
    if not _DIGEST.fullmatch(digest):
        return False
    if not words:
        return True
    return len(words) <= _SLUG_BYTES + 1 and words[-1] == "-" and bool(_SLUG.fullmatch(words[:-1]))


def _name(readable: str, identity: str) -> EnvironmentName:
    digest = hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST_DIGITS]
    return EnvironmentName(f"{readable}-{digest}" if readable else digest)
