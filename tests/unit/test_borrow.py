"""The kernel layer out of the host's own packages: whole and unharmed, or not at all."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest

from ipy_scriptenv.kernels.borrow import from_host

LISTING = "borrowed==1.0 \\\n    --hash=sha256:0\nelsewhere==1 ; sys_platform == 'nowhere'\n"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the folder of packages of an interpreter that has ``borrowed`` 1.0."""
    site = tmp_path / "installed" / "lib"
    info = site / "borrowed-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: borrowed\nVersion: 1.0\n", "utf-8")
    (site / "borrowed" / "parts").mkdir(parents=True)
    lines = []
    for name in ("borrowed/__init__.py", "borrowed/parts/a, b.py"):
        (site / name).write_text(f"NAME = {name!r}\n", "utf-8")
        digest = hashlib.sha256((site / name).read_bytes()).digest()
        word = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        lines.append(f'"{name}",sha256={word},1')
    for name in ("borrowed/__init__.pyc", "../bin/borrow", "borrowed-1.0.dist-info/METADATA"):
        (site / name).parent.mkdir(exist_ok=True)
        (site / name).touch()
        lines.append(f"{name},,")
    (info / "RECORD").write_text("\n".join(lines), "utf-8")
    monkeypatch.syspath_prepend(site)
    return site


@pytest.fixture
def taken(tmp_path: Path) -> Path:
    folder = tmp_path / "layer"
    folder.mkdir()
    return folder


def files(folder: Path) -> list[str]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path.relative_to(folder).as_posix() for path in found)


def test_all_is_taken_but_byte_code_and_what_stands_outside(installed: Path, taken: Path) -> None:
    assert from_host(LISTING, taken)
    assert files(taken) == [
        "borrowed-1.0.dist-info/METADATA",
        "borrowed/__init__.py",
        "borrowed/parts/a, b.py",
    ]
    assert (taken / "borrowed/__init__.py").samefile(installed / "borrowed/__init__.py")


def test_another_version_is_not_taken(installed: Path, taken: Path) -> None:
    assert installed.is_dir()
    assert not from_host(LISTING.replace("1.0", "1.1"), taken)
    assert not from_host("not-here==1", taken)


@pytest.mark.parametrize("harm", ["changed", "gone", "no record", "editable"])
def test_what_is_harmed_is_not_taken_in_part_either(
    installed: Path, taken: Path, harm: str
) -> None:
    info = installed / "borrowed-1.0.dist-info"
    if harm == "changed":
        (installed / "borrowed/parts/a, b.py").write_text("NAME = 'other'\n", "utf-8")
    elif harm == "gone":
        (installed / "borrowed/parts/a, b.py").unlink()
    elif harm == "no record":
        (info / "RECORD").unlink()
    else:
        (info / "direct_url.json").write_text("{}", "utf-8")
    assert not from_host(LISTING, taken)
    assert files(taken) == []
