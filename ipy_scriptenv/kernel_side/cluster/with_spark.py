"""The archive by which Spark's executors get a notebook's environment."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import re
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ..failing import wrong_call
from .shipment import Shipment

__all__ = ["ENGINE", "NAME", "conf"]

ENGINE = ("pyspark", "pyspark-client", "pyspark-connect")
"""What executors have already: Spark puts its own on their path."""

NAME = "environment"
"""The folder in which executors find the archive unpacked."""

_PYTHON = f"./{NAME}/bin/python"
_STANDALONE = re.compile(r"cpython-\d+\.\d+\.\d+[^/]*-(linux|macos)-")
"""How uv names the folder of an interpreter that works wherever it lies."""

_NOT_TAKEN = re.compile(
    r"__pycache__|(site|dist)-packages|test|idlelib|turtledemo|config-.*|EXTERNALLY-MANAGED|.*\.a"
)
"""What of an interpreter's library is not taken along."""

_BYTE_CODE = re.compile("__pycache__")

_DATA = re.compile(r"\A[^/]+\.data/(?:pure|plat)lib/")
"""Where a wheel has modules that do not stand at its top (PEP 427)."""


def conf(
    shipment: Shipment, folder: str, *, archive: str, with_python: bool | None
) -> dict[str, str]:
    """Write the archive, and give the settings that send it to the executors.

    ``PYSPARK_PYTHON`` is set in this process: a session that is made here asks nothing else.

    :param folder: where the shipment's wheels are
    :param archive: the file to write
    :param with_python: whether the interpreter goes along; ``None``: if uv has installed it
    :raises Failed: if the system is Windows, or the archive cannot be written, or not be named so
    """
    if os.name != "posix":
        raise wrong_call("Spark's executors run no environment of Windows.", "Pack it on Linux.")
    if not archive.endswith((".tar.gz", ".tgz")):
        raise wrong_call(f"`{archive}` is no name of a `.tar.gz`.", "Spark unpacks it by its name.")
    place = os.path.abspath(archive)
    if set(place) & set(",#"):
        msg = f"`{place}` holds a comma or a hash, at which Spark would cut it."
        raise wrong_call(msg, "Give the archive another name, or another folder.")
    prefix = os.path.dirname(os.path.dirname(os.path.realpath(shipment.base)))
    if with_python is None:
        with_python = _STANDALONE.match(os.path.basename(prefix)) is not None
    packing = _Packing(shipment=shipment, folder=folder, prefix=prefix)
    # Two at once, each with its own, and nothing that stands there.
    temporary = f"{archive}.{os.urandom(4).hex()}.part"
    try:
        with open(temporary, "xb") as raw, _written(raw) as tar:
            packing.write(tar, with_python=with_python)
        os.replace(temporary, archive)
    except OSError as error:
        reason = error.strerror or str(error)
        raise wrong_call(f"`{archive}` could not be written: {reason}.", "") from None
    finally:
        with contextlib.suppress(OSError):
            os.remove(temporary)
    os.environ["PYSPARK_PYTHON"] = _PYTHON
    return {
        "spark.archives": f"{place}#{NAME}",
        "spark.pyspark.python": _PYTHON,
    }


@contextlib.contextmanager
def _written(raw: Any) -> Iterator[tarfile.TarFile]:
    """Open a tar file that is the same bytes for the same content."""
    packed = gzip.GzipFile(fileobj=raw, mode="wb", filename="", mtime=0, compresslevel=3)
    with packed, tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar:
        yield tar


@dataclass(frozen=True)
class _Packing:
    """An environment on its way into an archive.

    :param prefix: where the interpreter is installed
    """

    shipment: Shipment
    folder: str
    prefix: str

    def write(self, tar: tarfile.TarFile, *, with_python: bool) -> None:
        """Write everything, in an order that is always the same."""
        library = f"lib/{self._python}"
        if with_python:
            self._add_python(tar, library)
        else:
            _add_link(tar, "bin/python", os.path.realpath(self.shipment.base))
            _add(tar, os.path.join(self.shipment.environment, "pyvenv.cfg"), "pyvenv.cfg")
        for name in ("python3", self._python):
            if not (with_python and name == self._python):
                _add_link(tar, f"bin/{name}", "python")
        scripts = os.path.join(self.shipment.environment, "bin")
        for name in sorted(os.listdir(scripts)):
            if not name.startswith(("python", "activate", "deactivate", "pydoc")):
                _add(tar, os.path.join(scripts, name), f"bin/{name}")
        for name in ("etc", "share"):
            folder = os.path.join(self.shipment.environment, name)
            _add_folder(tar, folder, name, leave=_BYTE_CODE)
        self._add_packages(tar, f"{library}/site-packages")

    @property
    def _python(self) -> str:
        return f"python{self.shipment.python}"

    def _add_python(self, tar: tarfile.TarFile, library: str) -> None:
        binary = os.path.join(self.prefix, "bin", self._python)
        _add(tar, os.path.realpath(binary), f"bin/{self._python}")
        _add_link(tar, "bin/python", self._python)
        _add_folder(tar, os.path.join(self.prefix, library), library, leave=_NOT_TAKEN)
        for name in sorted(os.listdir(os.path.join(self.prefix, "lib"))):
            if name.startswith("libpython") and not _NOT_TAKEN.fullmatch(name):
                path = os.path.join(self.prefix, "lib", name)
                if os.path.islink(path):
                    _add_link(tar, f"lib/{name}", os.path.basename(os.path.realpath(path)))
                else:
                    _add(tar, path, f"lib/{name}")

    def _add_packages(self, tar: tarfile.TarFile, target: str) -> None:
        """Add what is installed, but for what executors have; editable projects as their wheels."""
        site = os.path.join(self.shipment.environment, "lib", self._python, "site-packages")
        wheels = {each.name: each.wheel for each in self.shipment.parcels if each.wheel}
        leave = _files_of(site, {*self.shipment.left, *self.shipment.engine, *wheels})
        _add_folder(tar, site, target, leave=_BYTE_CODE, files=leave)
        for wheel in sorted(wheels.values()):
            with zipfile.ZipFile(os.path.join(self.folder, wheel)) as content:
                for name in sorted(content.namelist()):
                    place = _DATA.sub("", name)
                    if not name.endswith("/") and ".data/" not in place:
                        _add_bytes(tar, f"{target}/{place}", content.read(name))


def _files_of(site: str, names: Iterable[str]) -> frozenset[str]:
    """Give the files of distributions, relative to the folder that they are in."""
    from importlib.metadata import distributions

    found = set()
    for each in distributions(path=[site]):
        if re.sub(r"[-_.]+", "-", each.metadata["Name"]).lower() in names:
            found |= {str(file) for file in each.files or ()}
    return frozenset(found)


def _add_folder(
    tar: tarfile.TarFile,
    folder: str,
    target: str,
    *,
    leave: re.Pattern[str],
    files: frozenset[str] = frozenset(),
) -> None:
    """Add a folder's files.

    :param leave: names of files and folders that stay, wherever they are
    :param files: paths of files that stay, relative to *folder*
    """
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not leave.fullmatch(name))
        for name in sorted(names):
            path = os.path.join(place, name)
            relative = os.path.relpath(path, folder)
            if not leave.fullmatch(name) and relative not in files:
                _add(tar, path, f"{target}/{relative}")


def _add(tar: tarfile.TarFile, path: str, name: str) -> None:
    if os.path.exists(path):
        info = tar.gettarinfo(os.path.realpath(path), name)
        # Its own bytes: a link, also a hard one, may lead to what does not go along.
        info.type, info.linkname = tarfile.REGTYPE, ""
        info.size = os.path.getsize(path)
        with open(path, "rb") as file:
            tar.addfile(_plain(info), file)


def _add_bytes(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o644
    tar.addfile(_plain(info), io.BytesIO(data))


def _add_link(tar: tarfile.TarFile, name: str, target: str) -> None:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = tarfile.SYMTYPE, target, 0o777
    tar.addfile(_plain(info))


def _plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
    """Leave out of an entry whose it was and when: executors run as somebody else."""
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mtime = 0
    return info
