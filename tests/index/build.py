"""A package index in a folder: small wheels, made by hand, the same bytes on every run.

The folder is for ``--find-links``: with ``UV_FIND_LINKS=<folder>``, ``UV_NO_INDEX=1`` and
``UV_OFFLINE=1`` uv resolves and installs from it alone. Names may also exist on a public index, so
never use the folder beside one.

Which distributions there are, and what each is for, is in :data:`DISTRIBUTIONS`.
``python -m tests.index.build FOLDER`` builds the folder for a look at it by hand.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["DISTRIBUTIONS", "EVIL_SDIST", "Distribution", "build_index", "hash_locked"]

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip file can hold


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """One version of one distribution, and the wheel that is made of it.

    :param name: as users write it
    :param requires: PEP 508 requirements
    :param files: path inside ``site-packages`` → text; left out: a package named as the
        distribution is, with a ``__version__``
    :param entry_points: the text of ``entry_points.txt``
    """

    name: str
    version: str
    requires: tuple[str, ...] = ()
    requires_python: str = ">=3.9"
    files: Mapping[str, str] = field(default_factory=dict)
    entry_points: str = ""

    @property
    def import_name(self) -> str:
        return self.name.replace("-", "_")

    @property
    def wheel_name(self) -> str:
        return f"{self.import_name}-{self.version}-py3-none-any.whl"

    def content(self) -> dict[str, str]:
        """Give every file of the wheel except its ``RECORD``."""
        info = f"{self.import_name}-{self.version}.dist-info"
        files = dict(self.files) or {
            f"{self.import_name}/__init__.py": f'__version__ = "{self.version}"\n'
        }
        files[f"{info}/METADATA"] = self._metadata()
        files[f"{info}/WHEEL"] = (
            "Wheel-Version: 1.0\nGenerator: by-hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        if self.entry_points:
            files[f"{info}/entry_points.txt"] = self.entry_points
        return files

    def _metadata(self) -> str:
        lines = [
            "Metadata-Version: 2.1",
            f"Name: {self.name}",
            f"Version: {self.version}",
            f"Requires-Python: {self.requires_python}",
            *(f"Requires-Dist: {requirement}" for requirement in self.requires),
        ]
        return "\n".join(lines) + "\n"


def _modules(package: str, count: int) -> dict[str, str]:
    """Give a package of *count* modules, none of them empty, so that installing takes a while."""
    modules = {
        f"{package}/module_{number:03}.py": f'NUMBER = {number}\nTEXT = "{package} {number}"\n'
        for number in range(count)
    }
    return {f"{package}/__init__.py": f"MODULES = {count}\n"} | modules


def _pile() -> Iterator[Distribution]:
    names = [f"pkg-{number:02}" for number in range(24)]
    for name in names:
        yield Distribution(name=name, version="1.0", files=_modules(name.replace("-", "_"), 40))
    yield Distribution(name="pile", version="1.0", requires=tuple(f"{name}==1.0" for name in names))


DISTRIBUTIONS: tuple[Distribution, ...] = (
    # Several versions, and who asks for which.
    Distribution(name="alpha", version="1.0"),
    Distribution(name="alpha", version="1.1"),
    Distribution(name="alpha", version="2.0"),
    Distribution(name="beta", version="1.0", requires=("alpha>=1",)),
    Distribution(name="gamma", version="1.0", requires=("alpha<2",)),
    # Together they can't be resolved.
    Distribution(name="conflict-a", version="1.0", requires=("alpha<2",)),
    Distribution(name="conflict-b", version="1.0", requires=("alpha>=2",)),
    # A command, and a plugin that `importlib.metadata.entry_points` finds.
    Distribution(
        name="with-entry-point",
        version="1.0",
        files={
            "with_entry_point.py": (
                'def main() -> None:\n    print("hello from an entry point")\n\n\n'
                'def hello() -> str:\n    return "hello"\n'
            )
        },
        entry_points=(
            "[console_scripts]\nhello-entry = with_entry_point:main\n\n"
            "[demo.plugins]\nhello = with_entry_point:hello\n"
        ),
    ),
    # Two halves of one namespace package.
    Distribution(name="nspkg-one", version="1.0", files={"nspkg/one.py": "NUMBER = 1\n"}),
    Distribution(name="nspkg-two", version="1.0", files={"nspkg/two.py": "NUMBER = 2\n"}),
    # Older than any kernel bears. It is hollow: a kernel that imports it dies at once.
    Distribution(
        name="traitlets",
        version="4.3.3",
        files={"traitlets/__init__.py": "version_info = (4, 3, 3)\n__version__ = '4.3.3'\n"},
    ),
    # So many files that a kill in the middle of an installation hits it.
    Distribution(name="many-files", version="1.0", files=_modules("many_files", 200)),
    *_pile(),
    # For no Python that there is.
    Distribution(name="needs-newer-python", version="1.0", requires_python=">=3.99"),
)

# `setup.py` is the build backend too, which needs nothing else: so an offline installer that builds
# at all leaves the mark, by the old way or the new.
EVIL_SDIST: Mapping[str, str] = {
    "PKG-INFO": "Metadata-Version: 2.1\nName: evil-sdist\nVersion: 1.0\n",
    "pyproject.toml": (
        '[build-system]\nrequires = []\nbuild-backend = "setup"\nbackend-path = ["."]\n'
    ),
    "setup.py": """\
import os
import pathlib
import zipfile

MARKER = os.environ.get("EVIL_MARKER") or pathlib.Path(__file__).with_name("EVIL_MARKER")
pathlib.Path(MARKER).write_text("a source distribution was built\\n")

WHEEL = {
    "evil_sdist.py": "",
    "evil_sdist-1.0.dist-info/METADATA": pathlib.Path("PKG-INFO").read_text(),
    "evil_sdist-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\\nTag: py3-none-any\\n",
    "evil_sdist-1.0.dist-info/RECORD": "",
}


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    name = "evil_sdist-1.0-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(wheel_directory, name), "w") as wheel:
        for path, text in WHEEL.items():
            wheel.writestr(path, text)
    return name
""",
}


def build_index(folder: Path) -> Path:
    """Build every wheel and the one source distribution into *folder*, and give it back.

    :param folder: made where it is missing; files of the same names are written anew
    """
    folder.mkdir(parents=True, exist_ok=True)
    for distribution in DISTRIBUTIONS:
        (folder / distribution.wheel_name).write_bytes(_wheel(distribution))
    (folder / "evil_sdist-1.0.tar.gz").write_bytes(_sdist("evil_sdist-1.0", EVIL_SDIST))
    return folder


def hash_locked(*wheels: Path) -> str:
    """Give the hash-locked list of some wheels, as the kernel layer is made of one."""
    lines = []
    for wheel in wheels:
        name, version, *_ = wheel.name.split("-")
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        lines.append(f"{name.replace('_', '-')}=={version} --hash=sha256:{digest}\n")
    return "".join(lines)


def _wheel(distribution: Distribution) -> bytes:
    content = distribution.content()
    record = f"{distribution.import_name}-{distribution.version}.dist-info/RECORD"
    lines = [_record_line(path, text) for path, text in sorted(content.items())]
    content[record] = "\n".join([*lines, f"{record},,", ""])
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as wheel:
        for path, text in content.items():
            entry = zipfile.ZipInfo(path, _EPOCH)
            entry.external_attr = 0o644 << 16
            wheel.writestr(entry, text)
    return packed.getvalue()


def _record_line(path: str, text: str) -> str:
    """Give one line of ``RECORD``, as the binary distribution format says."""
    raw = text.encode()
    digest = base64.urlsafe_b64encode(hashlib.sha256(raw).digest()).rstrip(b"=").decode()
    return f"{path},sha256={digest},{len(raw)}"


def _sdist(root: str, content: Mapping[str, str]) -> bytes:
    packed = io.BytesIO()
    # `gzip.compress` heads its bytes otherwise from one Python to the next.
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for path, text in sorted(content.items()):
            raw = text.encode()
            entry = tarfile.TarInfo(f"{root}/{path}")
            entry.size = len(raw)
            archive.addfile(entry, io.BytesIO(raw))
    return packed.getvalue()


if __name__ == "__main__":
    build_index(Path(sys.argv[1]))
