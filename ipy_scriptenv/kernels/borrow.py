"""Build the layer out of the host's own ipykernel, without network.

Where the host's interpreter has the ABI that is asked for, its installed ipykernel may be the very
one that the hash-locked list names. Then its files are linked, or copied where that cannot be,
each checked against its ``RECORD``.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
from importlib import metadata
from pathlib import Path, PurePosixPath

from packaging.requirements import InvalidRequirement, Requirement

__all__ = ["from_host"]


def from_host(listing: str, site: Path) -> bool:
    """Fill *site* with the distributions of the list from this interpreter's installed ones.

    :param listing: text of the hash-locked list
    :param site: an empty folder of packages
    :returns: whether all of them were here, in exactly the listed versions and unharmed; if not,
        *site* is as empty as before
    """
    distributions = []
    for requirement in pinned(listing):
        try:
            found = metadata.distribution(requirement.name)
        except metadata.PackageNotFoundError:
            return False
        if not requirement.specifier.contains(found.version, prereleases=True):
            return False
        distributions.append(found)
    if distributions and all(_take(found, site) for found in distributions):
        return True
    shutil.rmtree(site)
    site.mkdir()
    return False


def pinned(listing: str) -> list[Requirement]:
    """Read the requirements of a hash-locked list whose markers hold for this interpreter."""
    found = []
    for line in listing.splitlines():
        text = line.split(" --hash", 1)[0].rstrip("\\ ").strip()
        if not text or text.startswith(("#", "-")):
            continue
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if requirement.marker is None or requirement.marker.evaluate():
            found.append(requirement)
    return found


def _take(distribution: metadata.Distribution, site: Path) -> bool:
    if distribution.read_text("direct_url.json") is not None:
        return False
    for path in distribution.files or ():
        pure = PurePosixPath(path)
        if pure.is_absolute() or ".." in pure.parts or path.suffix == ".pyc":
            # Scripts and shared data stand outside; byte code is made anew.
            continue
        source = Path(str(path.locate()))
        try:
            data = source.read_bytes()
        except OSError:
            return False
        if path.hash is not None and not _is_intact(data, path.hash.mode, path.hash.value):
            return False
        target = site / pure
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            # Installers put new files in the place of old ones: a link keeps what it was.
            target.hardlink_to(source)
        except OSError:
            target.write_bytes(data)
    return distribution.files is not None


def _is_intact(data: bytes, mode: str, value: str) -> bool:
    try:
        found = hashlib.new(mode, data).digest()
    except ValueError:
        return False
    return base64.urlsafe_b64encode(found).rstrip(b"=").decode() == value
