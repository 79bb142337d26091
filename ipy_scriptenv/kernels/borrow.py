"""Build the layer out of the host's own ipykernel, without network.

Where the host's interpreter has the ABI that is asked for, its installed ipykernel may be the very
one that the hash-locked list names. Then its files are linked, or copied where that cannot be,
each checked against its ``RECORD``.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import os
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
    """Take one distribution's files; give whether all of them could be had, unharmed."""
    record = distribution.read_text("RECORD")
    if record is None or distribution.read_text("direct_url.json") is not None:
        return False
    # All together they are eight thousand: making a `Path` of each takes longer than reading it.
    origin, made = str(distribution.locate_file("")), set[str]()
    for name, digest, _ in csv.reader(record.splitlines()):
        folder = name.rpartition("/")[0]
        if name.endswith(".pyc") or PurePosixPath(name).is_absolute() or ".." in folder.split("/"):
            # Scripts and shared data stand outside; byte code is made anew.
            continue
        if folder not in made:
            (site / folder).mkdir(parents=True, exist_ok=True)
            made.add(folder)
        if not _take_file(f"{origin}{os.sep}{name}", f"{site}{os.sep}{name}", digest):
            return False
    return True


def _take_file(source: str, target: str, digest: str) -> bool:
    """Link or copy one file; give whether it is there, and as its digest says."""
    try:
        with open(source, "rb") as file:  # noqa: PTH123 - no `Path`, see above
            data = file.read()
    except OSError:
        return False
    if digest and not _is_intact(data, *digest.split("=", 1)):
        return False
    try:
        # Installers put new files in the place of old ones: a link keeps what it was.
        os.link(source, target)
    except OSError:
        Path(target).write_bytes(data)
    return True


def _is_intact(data: bytes, mode: str, value: str = "") -> bool:
    try:
        found = hashlib.new(mode, data).digest()
    except ValueError:
        return False
    return base64.urlsafe_b64encode(found).rstrip(b"=").decode() == value
