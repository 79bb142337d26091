"""Pack and unpack: an environment goes to another machine, whole, or nothing of it does."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from backports import zstd

from ipy_scriptenv import environments
from ipy_scriptenv.environments import Context, Kind, Packed, Unpacked, extracting
from ipy_scriptenv.environments.archiving import Entry, packed_files, write_archive
from ipy_scriptenv.environments.contents import layer_files
from ipy_scriptenv.environments.manifests import Manifest, PackedPython
from ipy_scriptenv.errors import (
    BadArchive,
    EnvironmentInUse,
    Interrupted,
    NoLock,
    NoPython,
    NoSpace,
    NotPortable,
    PolicyViolation,
    ScriptEnvError,
    WrongCall,
)
from ipy_scriptenv.interpreters import host_python
from ipy_scriptenv.kernels.layer import find_layer, layer_name
from ipy_scriptenv.locks import is_held
from ipy_scriptenv.processes import Cancel
from ipy_scriptenv.uv import Event
from tests.conftest import Home, _move_in
from tests.index.build import Distribution
from tests.kernels import block, opened, other_than_host, wheel
from tests.policies import allow, write_policy
from tests.stage import (
    HOST,
    block_of,
    call,
    commented,
    environment_of,
    installed,
    pretend_layer,
    record_of,
    running_kernel,
    site_of,
    state_of,
    sync,
    write_notebook,
    write_project,
    write_script,
)
from tests.web_index import WebIndex, serving, use_web_index

SECRET = "s3cr3t"  # noqa: S105 - it must not be found

IMPORT_ALL = """
import importlib, importlib.metadata as metadata, json
names = sorted(metadata.packages_distributions())
for name in names:
    importlib.import_module(name)
print(json.dumps([names, sorted(d.metadata["Name"] for d in metadata.distributions())]))
"""


def pack(path: Path, archive: Path, **options: Any) -> Packed:
    """Pack the environment of the source at *path*, without its kernel unless *options* say so."""
    options = {"kernel": False, **options}
    return environments.pack(environments.locate(path), archive, context=Context(), **options)


def unpack(archive: Path, path: Path, **options: Any) -> Unpacked:
    """Unpack an archive for the source at *path*."""
    return environments.unpack(archive, environments.locate(path), context=Context(), **options)


def content(archive: Path) -> bytes:
    """Give the tar file in an archive."""
    data = archive.read_bytes()
    return zstd.decompress(data) if archive.suffix == ".zst" else data


def imported(environment: Path) -> tuple[list[str], list[str]]:
    """Import every top-level module of an environment; name these, and its distributions."""
    argv = [str(environment / "bin" / "python"), "-I", "-c", IMPORT_ALL]
    answer = subprocess.run(argv, capture_output=True, text=True, check=True)
    modules, names = json.loads(answer.stdout)
    return modules, names


@pytest.fixture
def elsewhere(
    tmp_path: Path, uv_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], Home]:
    """Give the way to another machine: an empty home and cache, and no network."""

    def move() -> Home:
        home = _move_in(tmp_path / "elsewhere", uv_cache, monkeypatch)
        monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "empty-cache"))
        monkeypatch.delenv("UV_FIND_LINKS", raising=False)
        monkeypatch.delenv("UV_NO_INDEX", raising=False)
        monkeypatch.setenv("UV_OFFLINE", "1")
        monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
        return home

    return move


# Another machine


@pytest.mark.usefixtures("offline_home")
def test_a_packed_environment_runs_elsewhere_without_network(
    tmp_path: Path, elsewhere: Callable[[], Home]
) -> None:
    path = tmp_path / "work" / "nb.ipynb"
    names = ("beta", "with-entry-point", "nspkg-one", "nspkg-two", "local")
    editable = '[tool.uv.sources]\nlocal = { path = "project", editable = true }'
    write_notebook(path, block(*names, more=editable), "import local; print(local.VERSION)")
    write_project(path.parent / "project")
    archive = tmp_path / "nb.tar"
    packed = pack(path, archive, kernel=True)
    assert {each.name for each in packed.manifest.packages} == {*names, "alpha"}
    raw = content(archive)
    assert str(tmp_path).encode() not in raw
    assert not [each for each in packed.manifest.files if each.path.endswith(".pyc")]

    there = tmp_path / "there" / "other name.ipynb"
    there.parent.mkdir()
    shutil.move(path, there)
    shutil.rmtree(path.parent)
    shutil.rmtree(environment_of(there).parent)
    home = elsewhere()
    unpacked = unpack(archive, there)
    assert (unpacked.in_sync, unpacked.synced.warnings) == (True, ())
    environment = environment_of(there)
    assert environment.is_relative_to(home.path)
    assert state_of(there) == "in-sync"
    modules, distributions = imported(environment)
    assert modules == ["alpha", "beta", "local", "nspkg", "with_entry_point"]
    assert distributions == sorted([*names, "alpha"])
    command = environment / "bin" / "hello-entry"
    assert subprocess.check_output([command], text=True) == "hello from an entry point\n"
    assert {link.name for link in environment.rglob("*") if link.is_symlink()} >= {"python"}
    with opened(home, there) as kernel:
        done = kernel.execute("import local, beta, ipykernel; print(local.VERSION)")
        assert (done.stdout, done.progress) == ("1.0\n", [])
        told = kernel.execute("print(ipykernel.__file__)").stdout
        assert told.startswith(str(home.scriptenv / "kernels-v1"))
        said = kernel.execute("%scriptenv pack -o again.tar.zst --no-kernel")
        assert said.stdout.startswith("Packed 6 packages"), said
        assert (there.parent / "again.tar.zst").exists()
    assert not list((home.scriptenv / "building-v1").iterdir())


def test_what_stood_there_is_replaced_and_another_block_is_said(
    lean_home: Home, script: Path, tmp_path: Path
) -> None:
    archive = tmp_path / "a.tar.gz"
    pack(write_script(script, "alpha<2"), archive)
    other = write_script(script.with_name("other.py"), "gamma")
    created = sync(other).record.created
    unpacked = unpack(archive, other)
    assert not unpacked.in_sync
    assert "block is not the one" in unpacked.synced.warnings[0]
    assert installed(unpacked.synced.path) == {"alpha==1.1"}
    changes = [(each.name, each.action) for each in unpacked.synced.changes]
    assert changes == [("gamma", "removed")]
    assert (state_of(other), record_of(unpacked.synced.path).created) == ("stale", created)
    assert installed(sync(other).path) == {"alpha==1.1", "gamma==1.0"}
    other.write_text("# another comment\n" + commented(block_of("alpha<2")))
    assert unpack(archive, other).in_sync
    call("lock", other)
    assert "lock is not the one" in unpack(archive, other).synced.warnings[0]
    with running_kernel(lean_home.scriptenv, environment_of(other).name):
        before = environment_of(other).stat().st_ino
        with pytest.raises(EnvironmentInUse, match="is to be replaced"):
            unpack(archive, other)
        assert environment_of(other).stat().st_ino == before


def test_an_environment_of_another_python_finds_that_python(
    lean_home: Home, pythons: dict[str, Path], script: Path, tmp_path: Path
) -> None:
    other, python = other_than_host(pythons)
    pretend_layer(lean_home.scriptenv, python)
    write_script(script, "alpha", requires_python=f"=={other}.*")
    packed = pack(script, tmp_path / "a.tar")
    assert packed.manifest.python.minor == other
    shutil.rmtree(lean_home.scriptenv / "environments-v1")
    unpacked = unpack(tmp_path / "a.tar", script)
    assert unpacked.synced.record.python.minor == other
    assert state_of(script) == "in-sync"
    second = write_script(script.with_name("b.py"), "alpha")
    with pytest.raises(
        NoPython, match=rf"is for Python {other}.*, and `--python {HOST}` is {HOST}"
    ):
        unpack(tmp_path / "a.tar", second, python=HOST)
    write_script(second, "alpha", requires_python=f"=={HOST}.*")
    with pytest.raises(NoPython, match=rf"Python {other}.*, and the block requires `=={HOST}"):
        unpack(tmp_path / "a.tar", second)
    assert not environment_of(second).exists()


# What cannot travel


@pytest.mark.usefixtures("lean_home")
def test_what_is_not_as_it_was_installed_is_not_packed(script: Path, tmp_path: Path) -> None:
    archive = tmp_path / "a.tar.zst"
    environment = sync(write_script(script, "alpha", "nspkg-one")).path
    (site_of(environment) / "notes.txt").write_text("dropped here")
    compiled = site_of(environment) / "alpha" / "__pycache__" / "x.pyc"
    compiled.parent.mkdir(exist_ok=True)
    compiled.write_bytes(b"")
    listed = site_of(environment) / "alpha-2.0.dist-info" / "RECORD"
    text = listed.read_text()
    listed.unlink()
    listed.write_text(text + "alpha/__pycache__/x.pyc,,\nalpha/closed.pyc,,\n")
    (site_of(environment) / "alpha" / "closed.pyc").write_bytes(b"")
    names = {Path(each.path).name for each in pack(script, archive).manifest.files}
    assert not names & {"notes.txt", "x.pyc"}
    assert "closed.pyc" in names, "it is a module without source"
    with pytest.raises(WrongCall, match="exists"):
        pack(script, archive)
    before = archive.read_bytes()
    module = site_of(environment) / "alpha" / "__init__.py"
    module.unlink()
    module.write_text("changed by hand")
    with pytest.raises(NotPortable, match=r"`lib/.*/alpha/__init__\.py` of `alpha`") as refused:
        pack(script, archive, replacing=True)
    assert "rebuild" in refused.value.hint
    assert archive.read_bytes() == before
    shutil.rmtree(environment)
    sync(script)
    record = site_of(environment) / "nspkg_one-1.0.dist-info" / "RECORD"
    whole = record.read_text()
    for path in ("/etc/hosts", "../" * 30 + "etc/hosts"):
        record.write_text(f"{whole}{path},,\n")
        with pytest.raises(NotPortable, match="outside"):
            pack(script, archive, replacing=True)
    with pytest.raises(WrongCall, match="ends in none"):
        pack(script, tmp_path / "a.zip")
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {"a.tar.zst"}


@pytest.mark.usefixtures("lean_home")
def test_no_archive_holds_credentials(
    script: Path, tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(index, user=f"ada:{SECRET}") as web:
        use_web_index(web, monkeypatch, default=False)
        url, wheel = web.url(f"ada:{SECRET}"), "alpha-1.0-py3-none-any.whl"
        settings = f'[[tool.uv.index]]\nname = "team"\nurl = "{url}"\ndefault = true'
        write_script(script, "beta", f"alpha @ {web.file(wheel, f'ada:{SECRET}')}", uv=settings)
        # uv leaves them out by itself, and other installers may not.
        origin = site_of(sync(script).path) / "alpha-1.0.dist-info" / "direct_url.json"
        told = json.loads(origin.read_text())
        origin.unlink()
        origin.write_text(json.dumps({**told, "url": web.file(wheel, f"ada:{SECRET}")}))
        pack(script, tmp_path / "a.tar")
        assert web.file(wheel, "***").encode() in (tmp_path / "a.tar").read_bytes()
        write_script(script, "beta", uv=settings)
        assert call("lock", script).returncode == 0
        web.asked.clear()
        pack(script, tmp_path / "b.tar", kind=Kind.WHEELS)
        assert {path.rpartition("/")[2] for path in web.asked} >= {"beta-1.0-py3-none-any.whl"}
    for archive in ("a.tar", "b.tar"):
        assert SECRET.encode() not in (tmp_path / archive).read_bytes()
    before = sync(script).record
    unpacked = unpack(tmp_path / "b.tar", script)
    assert unpacked.in_sync
    assert unpacked.synced.record.lock_sha256 == before.lock_sha256 is not None


# Strange archives


Change = Callable[[dict[str, Any], list[tuple[tarfile.TarInfo, bytes]]], object]
"""Harms an archive: its manifest, and its other members; may give bytes to stand between them."""


def _named(old: str, new: str) -> Change:
    """Call a file otherwise, in the manifest too."""

    def change(manifest: dict[str, Any], members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        for each in manifest["files"]:
            each["path"] = new if each["path"] == _full(old) else each["path"]
        for header, _ in members:
            header.name = new if header.name == _full(old) else header.name

    return change


def _full(name: str) -> str:
    return f"environment/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages/{name}"


ALPHA = "alpha/__init__.py"


def _become(kind: bytes, target: str = "") -> Change:
    def change(_manifest: dict[str, Any], members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        for place, (header, _) in enumerate(members):
            if header.name == _full(ALPHA):
                header.type, header.linkname, header.size = kind, target, 0
                members[place] = (header, b"")

    return change


def _say(**values: Any) -> Change:
    return lambda manifest, _members: manifest.update(values)


def _of_alpha(**values: Any) -> Change:
    def change(manifest: dict[str, Any], _members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        (told,) = (each for each in manifest["files"] if each["path"] == _full(ALPHA))
        told.update(values)

    return change


def _abi(manifest: dict[str, Any], _members: object) -> None:
    manifest["python"] |= {"version": "3.8.1", "abi": "cpython-38-sparc-solaris"}


def _with(path: str, data: bytes = b"") -> Change:
    """Add a file, with all that has to be said about it."""

    def change(manifest: dict[str, Any], members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        digest = hashlib.sha256(data).hexdigest()
        told = {"path": path, "size": len(data), "sha256": digest, "executable": False}
        manifest["files"].append(told)
        header = tarfile.TarInfo(path)
        header.size = len(data)
        members.append((header, data))

    return change


def _with_kernel(*, system: str) -> Change:
    """Add a kernel layer that has the name of this machine's, and is no such."""

    def change(manifest: dict[str, Any], members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        manifest["kernel"] = layer_name(host_python())
        info = "ipykernel-1.dist-info"
        for path, text in {
            "ipykernel/__init__.py": "",
            f"{info}/METADATA": "Name: ipykernel\nVersion: 1\n",
            f"{info}/WHEEL": f"Tag: py3-none-{system}\n",
            f"{info}/RECORD": f"ipykernel/__init__.py,,\n{info}/METADATA,,\n",
        }.items():
            _with(f"kernel/{path}", text.encode())(manifest, members)

    return change


def _for_another_system(
    manifest: dict[str, Any], members: list[tuple[tarfile.TarInfo, bytes]]
) -> None:
    """Let a package's wheel be for another system; size and checksum are right."""
    name = _full("alpha-2.0.dist-info/WHEEL")
    for place, (header, data) in enumerate(members):
        if header.name == name:
            members[place] = (header, data.replace(b"py3-none-any", b"py3-none-zzz"))
            (told,) = (each for each in manifest["files"] if each["path"] == name)
            told["sha256"] = hashlib.sha256(members[place][1]).hexdigest()


def _without_kernel(manifest: dict[str, Any], _members: object) -> None:
    """Name a kernel layer that is not in it, nor on this machine."""
    manifest["kernel"] = f"{manifest['python']['abi']}-{'0' * 12}"


def _flood(_manifest: object, _members: object) -> bytes:
    """Give headers that say nothing, each of them small, and megabytes of them."""
    return 40 * tarfile.TarInfo.create_pax_global_header({"comment": "x" * 60_000})


STRANGE: dict[str, tuple[Change, type[ScriptEnvError], str]] = {
    "up": (_named(ALPHA, "environment/../../../x"), BadArchive, "no path that is safe"),
    "absolute": (_named(ALPHA, "/tmp/x"), BadArchive, "no path that is safe"),  # noqa: S108
    "drive": (_named(ALPHA, "environment/C:/x"), BadArchive, "no path that is safe"),
    "backslash": (_named(ALPHA, "environment\\..\\x"), BadArchive, "no path that is safe"),
    "elsewhere": (_named(ALPHA, "other/x"), BadArchive, "has no place in it"),
    "through a link": (_named(ALPHA, "environment/lib64/x"), BadArchive, "through a link"),
    "interpreter": (_named(ALPHA, "environment/bin/python"), BadArchive, "cannot stand beside"),
    "configuration": (_named(ALPHA, "environment/pyvenv.cfg"), BadArchive, "cannot stand beside"),
    "record": (_named(ALPHA, "environment/scriptenv.json"), BadArchive, "alpha are missing"),
    "parent": (_named(ALPHA, _full("alpha/x/y") + "/z"), BadArchive, "alpha are missing"),
    "link": (_become(tarfile.SYMTYPE, "/etc/hosts"), BadArchive, "no plain file"),
    "hard link": (_become(tarfile.LNKTYPE, "/etc/hosts"), BadArchive, "no plain file"),
    "device": (_become(tarfile.CHRTYPE), BadArchive, "no plain file"),
    "pipe": (_become(tarfile.FIFOTYPE), BadArchive, "no plain file"),
    "sparse": (_become(tarfile.GNUTYPE_SPARSE), BadArchive, "cannot be unpacked"),
    "folder": (_become(tarfile.DIRTYPE), BadArchive, "no plain file"),
    "twice": (lambda _, members: members.append(members[0]), BadArchive, "there twice"),
    "unnamed": (lambda told, _: told["files"].pop(), BadArchive, "is not in its manifest"),
    "short": (lambda _, members: members.pop(), BadArchive, "1 files are missing"),
    "sum": (_of_alpha(sha256="0" * 64), BadArchive, "checksum of .* is wrong"),
    "size": (_of_alpha(size=7), BadArchive, "not of the size"),
    "negative": (_of_alpha(size=-1), BadArchive, "cannot be read"),
    "huge": (_of_alpha(size=1 << 62), ScriptEnvError, "bytes left"),
    "packages": (_say(packages=[]), BadArchive, "other packages than it tells"),
    "kernel": (_say(kernel="../x"), BadArchive, "kernel is not for its Python"),
    "no kernel": (_without_kernel, BadArchive, "the kernel in it is not whole"),
    "launcher": (_with("environment/kernel.py"), BadArchive, "made anew on each machine"),
    "mark": (_with("environment/scriptenv.changing"), BadArchive, "made anew on each machine"),
    "wheel": (_with("wheels/a-1-py3-none-any.whl"), BadArchive, "has no place in it"),
    "block": (_say(block="[[["), BadArchive, "its block cannot be read"),
    "system": (_for_another_system, NotPortable, "`alpha` in the archive is for zzz"),
    "flood": (_flood, BadArchive, "larger than its manifest tells"),
    "newer": (_say(format=2), ScriptEnvError, "this version reads 1"),
    "format": (_say(format=None), BadArchive, "no number"),
    "nothing": (lambda told, _: told.clear(), BadArchive, "not complete"),
    "python": (_abi, NoPython, r"Python 3\.8 \(`cpython-38-sparc-solaris`\), and .*3\.1"),
}


def harmed(archive: Path, change: Change) -> Path:
    """Write an archive anew, after *change*, beside it."""
    members: list[tuple[tarfile.TarInfo, bytes]] = []
    with tarfile.open(fileobj=io.BytesIO(content(archive))) as tar:
        for header in tar:
            file = tar.extractfile(header)
            assert file is not None
            members.append((header, file.read()))
    (first, text), *rest = members
    manifest = json.loads(text)
    flood = change(manifest, rest)
    data = json.dumps(manifest).encode()
    first.size = len(data)
    target = archive.with_name("harmed.tar.gz")
    with tarfile.open(target, "w:gz", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(first, io.BytesIO(data))
        if isinstance(flood, bytes):
            assert tar.fileobj is not None
            tar.fileobj.write(flood)
        for header, piece in rest:
            tar.addfile(header, io.BytesIO(piece))
    return target


@pytest.mark.usefixtures("lean_home")
def test_of_a_strange_archive_nothing_stands(lean_home: Home, script: Path, tmp_path: Path) -> None:
    good = tmp_path / "good.tar.gz"
    pack(write_script(script, "alpha", "nspkg-one"), good)
    other = write_script(script.with_name("other.py"), "alpha", "nspkg-one")
    strange = harmed(good, lambda _, __: None)
    assert unpack(strange, other).in_sync
    strange.unlink()
    before = everything(tmp_path)
    for name, (change, kind, words) in STRANGE.items():
        strange = harmed(good, change)
        with pytest.raises(kind, match=words) as refused:
            unpack(strange, other)
        assert refused.value.hint, name
        strange.unlink()
        assert everything(tmp_path) == before, name
    data = good.read_bytes()
    for harm, words in (
        (data[: len(data) // 2], "cannot be unpacked: .+"),
        (data[:3], "cannot be unpacked: .+"),
        (b"", "cannot be unpacked: .+"),
        (b"PK" + data, "cannot be unpacked: .+"),
        (content_with_bomb(), "a header in it is too large"),
    ):
        strange.write_bytes(harm)
        with pytest.raises(BadArchive, match=words):
            unpack(strange, other)
        strange.unlink()
        assert everything(tmp_path) == before
    assert not list((lean_home.scriptenv / "building-v1").iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no such device")
@pytest.mark.usefixtures("lean_home")
def test_a_full_disk_is_said(script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack(write_script(script, "alpha"), tmp_path / "a.tar")

    def full(descriptor: int, mode: str) -> Any:
        os.close(descriptor)
        return Path("/dev/full").open(mode)

    monkeypatch.setattr(extracting, "os", SimpleNamespace(**{**vars(os), "fdopen": full}))
    with pytest.raises(NoSpace):
        unpack(tmp_path / "a.tar", script)


@pytest.mark.usefixtures("offline_home")
def test_other_environments_do_not_start_on_the_kernel_of_an_archive(
    script: Path, tmp_path: Path
) -> None:
    good = tmp_path / "good.tar.gz"
    pack(write_script(script, "alpha"), good)
    store = Context().store
    shutil.rmtree(store.layers)
    with pytest.raises(NotPortable, match="`ipykernel` in the archive is for zzz"):
        unpack(harmed(good, _with_kernel(system="zzz")), script)
    assert not list(store.layers.iterdir())
    unpacked = unpack(harmed(good, _with_kernel(system="any")), script)
    assert unpacked.in_sync
    name = unpacked.synced.record.kernel
    assert find_layer(store, name) is not None
    assert name != layer_name(host_python())
    assert [path.name for path in store.layers.iterdir()] == [name]
    again = unpack(tmp_path / "harmed.tar.gz", script)
    assert again.synced.record.kernel == name


def test_nothing_of_a_bundle_is_run(
    lean_home: Home, script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = tmp_path / "ran"
    line = f"import pathlib; pathlib.Path({str(ran)!r}).touch()\n"
    own = Distribution(name="own", version="1.0", files={"own.pth": line})
    wheel(script.parent / "wheels", own)
    write_script(script, "own", uv='find-links = ["wheels"]')
    assert call("lock", script).returncode == 0
    archive = tmp_path / "bundle.tar"
    pack(script, archive, kind=Kind.WHEELS)
    ran.unlink(missing_ok=True)
    monkeypatch.setenv("UV_COMPILE_BYTECODE", "1")
    unpacked = unpack(archive, script)
    assert (unpacked.in_sync, installed(unpacked.synced.path)) == (True, {"own==1.0"})
    assert not ran.exists()
    subprocess.run([unpacked.synced.path / "bin" / "python", "-c", ""], check=True)
    assert ran.exists()
    ran.unlink()
    strange = harmed(archive, _with(_full("evil.pth"), line.encode()))
    with pytest.raises(BadArchive, match="has no place in it"):
        unpack(strange, script)
    assert not ran.exists()
    assert not list((lean_home.scriptenv / "building-v1").iterdir())


def test_a_file_that_changes_while_it_is_packed_is_not_packed(tmp_path: Path) -> None:
    source = tmp_path / "a.py"
    source.write_text("one")
    entries = [Entry(path="environment/a.py", content=source)]
    manifest = Manifest(
        kind=Kind.ENVIRONMENT,
        python=PackedPython(implementation="cpython", version="3.12.1", abi="x"),
        block=None,
        packages=(),
        kernel=None,
        project="1",
        uv="1",
        files=packed_files(entries, cancel=Cancel()),
    )
    (tmp_path / "packs").mkdir()
    for text in ("two", "1", "three"):
        source.write_text(text)
        with pytest.raises(EnvironmentInUse, match="changed by somebody else"):
            write_archive(
                tmp_path / "packs" / "a.tar", manifest, entries, replacing=False, cancel=Cancel()
            )
        assert not list((tmp_path / "packs").iterdir())


@pytest.mark.usefixtures("lean_home")
def test_an_interrupt_ends_it_and_leaves_nothing(script: Path, tmp_path: Path) -> None:
    assert call("lock", write_script(script, "alpha")).returncode == 0
    source, ready, target = environments.locate(script), tmp_path / "ready.tar", tmp_path / "a.tar"
    pack(script, ready)
    before = everything(tmp_path)
    for step, kind in (
        ("Reading", Kind.ENVIRONMENT),
        ("Packing", Kind.ENVIRONMENT),
        ("Fetching", Kind.WHEELS),
    ):
        with pytest.raises(Interrupted):
            environments.pack(source, target, context=interrupted_at(step), kind=kind)
        assert everything(tmp_path) == before, step
    with pytest.raises(Interrupted):
        environments.unpack(ready, source, context=interrupted_at("Unpacking"))
    assert everything(tmp_path) == before


@pytest.mark.usefixtures("lean_home")
def test_what_a_kill_has_left_beside_an_archive_goes_with_the_next(
    script: Path, tmp_path: Path
) -> None:
    names = (".a.tar-0123abcd", ".a.tar-01234567", ".b.tar-0123abcd", ".a.tar-notes")
    left, written, *others = (tmp_path / name for name in names)
    for path in (left, written, *others):
        path.touch()
    for path in (left, *others):
        os.utime(path, (0, 0))
    pack(write_script(script, "alpha"), tmp_path / "a.tar")
    # One is an hour without a change, the other is being written.
    assert [path.exists() for path in (left, written, *others)] == [False, True, True, True]


def interrupted_at(step: str) -> Context:
    """Give what a verb works with whose user interrupts it as soon as it tells that step."""
    cancel = Cancel()

    def hear(event: Event) -> None:
        if str(event.get("text")).startswith(step):
            cancel.set()

    return Context(on_event=hear, cancel=cancel)


@pytest.mark.usefixtures("lean_home")
@pytest.mark.parametrize("kind", Kind)
def test_nobody_waits_while_it_is_compressed_or_wheels_are_fetched(
    script: Path, tmp_path: Path, kind: Kind
) -> None:
    assert call("lock", write_script(script, "alpha")).returncode == 0
    lock = Context().store.lock(environment_of(script).name)
    told: dict[str, bool] = {}

    def hear(event: Event) -> None:
        told[str(event.get("text")).partition(" ")[0]] = is_held(lock)

    source = environments.locate(script)
    context = Context(on_event=hear)
    environments.pack(source, tmp_path / "a.tar", context=context, kind=kind, kernel=False)
    assert not told["Packing"]
    assert told["Fetching" if kind is Kind.WHEELS else "Reading"] == (kind is Kind.ENVIRONMENT)


@pytest.mark.usefixtures("lean_home")
def test_what_is_replaced_while_it_is_packed_is_not_packed(script: Path, tmp_path: Path) -> None:
    sync(write_script(script, "alpha"))
    other = environment_of(script).with_name("away")

    def hear(event: Event) -> None:
        if str(event.get("text")).startswith("Packing"):
            environment_of(script).rename(other)

    source, target = environments.locate(script), tmp_path / "a.tar"
    with pytest.raises(EnvironmentInUse, match="changed by somebody else"):
        environments.pack(source, target, context=Context(on_event=hear), kernel=False)
    assert not target.exists()


def test_byte_code_in_the_making_is_no_part_of_a_layer(tmp_path: Path) -> None:
    (tmp_path / "__pycache__").mkdir()
    for name in ("a.py", "__pycache__/a.cpython-312.pyc", "__pycache__/a.cpython-312.pyc.1407"):
        (tmp_path / name).touch()
    assert [each.path for each in layer_files(tmp_path)] == ["kernel/a.py"]


def content_with_bomb() -> bytes:
    """Give an archive whose first header brings half a gigabyte along, in a few kilobytes."""
    header = tarfile.TarInfo("scriptenv-pack.json")
    header.type, header.size = tarfile.XHDTYPE, 1 << 29
    zeros = bytes(1 << 20)
    packer = zstd.ZstdCompressor()
    parts = [packer.compress(header.tobuf(tarfile.USTAR_FORMAT))]
    parts += [packer.compress(zeros) for _ in range(16)]
    return b"".join([*parts, packer.flush()])


def everything(folder: Path) -> set[str]:
    """Name all that stands in a folder, but for caches, locks and what is written at each start."""
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if "locks" not in path.parts and path.suffix != ".pyc"
    }


# The administrator


@pytest.mark.usefixtures("lean_home", "system")
def test_the_policy_holds_for_archives(script: Path, tmp_path: Path, index: Path) -> None:
    packs = tmp_path / "packs"
    packs.mkdir()
    pack(write_script(script, "alpha"), packs / "a.tar")
    allow(index)
    with pytest.raises(PolicyViolation) as refused:
        unpack(packs / "a.tar", script)
    assert "archive" in {problem.key for problem in refused.value.problems}
    allow(index, packs)
    assert unpack(packs / "a.tar", script).in_sync
    write_project(script.parent / "project")
    own = write_script(
        script.with_name("own.py"),
        "local",
        uv='sources.local = { path = "project", editable = true }',
    )
    allow(index, packs, script.parent)
    sync(own)
    write_policy("wheels-only = true", system=True)
    with pytest.raises(PolicyViolation):
        pack(own, packs / "own.tar")
    write_policy("exclude-newer = 2024-01-01", system=True)
    with pytest.raises(PolicyViolation, match="sets a date"):
        unpack(packs / "a.tar", script)


# Wheels


@pytest.mark.usefixtures("lean_home")
def test_a_bundle_of_wheels_makes_the_environment_elsewhere(
    script: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    elsewhere: Callable[[], Home],
) -> None:
    monkeypatch.setenv("EVIL_MARKER", str(tmp_path / "built"))
    write_project(script.parent / "project")
    sources = '[tool.uv.sources]\nlocal = { path = "project", editable = true }'
    write_script(script, "beta", "with-entry-point", "evil-sdist", "local", uv=sources)
    archive = tmp_path / "bundle.tar.zst"
    with pytest.raises(NoLock):
        pack(script, archive, kind=Kind.WHEELS)
    assert call("lock", script).returncode == 0
    packed = pack(script, archive, kind=Kind.WHEELS)
    names = {
        each.path.partition("/")[2]
        for each in packed.manifest.files
        if each.path.startswith("wheels/")
    }
    assert names == {
        "alpha-2.0-py3-none-any.whl",
        "beta-1.0-py3-none-any.whl",
        "evil_sdist-1.0-py3-none-any.whl",
        "local-1.0-py3-none-any.whl",
        "with_entry_point-1.0-py3-none-any.whl",
    }
    (tmp_path / "built").unlink()
    there = tmp_path / "there" / "a.py"
    there.parent.mkdir()
    shutil.copy(script, there)
    elsewhere()
    unpacked = unpack(archive, there)
    assert unpacked.in_sync
    assert state_of(there) == "in-sync"
    modules, _ = imported(environment_of(there))
    assert modules == ["alpha", "beta", "evil_sdist", "local", "with_entry_point"]
    assert not (tmp_path / "built").exists()


def test_a_wheel_comes_from_the_index_that_is_for_this_system(
    web: WebIndex, index: Path, script: Path, tmp_path: Path
) -> None:
    with serving(index) as other:
        signs = (("here", web, "=="), ("there", other, "!="))
        tables = [
            f"{{ name = '{name}', url = '{place.url()}', explicit = true }}"
            for name, place, _ in signs
        ]
        sources = [
            f"{{ index = '{name}', marker = \"sys_platform {sign} '{sys.platform}'\" }}"
            for name, _, sign in signs
        ]
        uv = f"index = [{', '.join(tables)}]\nsources.alpha = [{', '.join(sources)}]"
        assert call("lock", write_script(script, "alpha", uv=uv)).returncode == 0
        for place in (web, other):
            place.asked.clear()
        for number in range(2):
            pack(script, tmp_path / f"{number}.tar", kind=Kind.WHEELS)
            # The lock may name them in any order.
            beside = script.with_name(f"{script.name}.lock")
            head, *packages = beside.read_text().split("[[package]]")
            beside.write_text("[[package]]".join([head, *reversed(packages)]))
    wheels = {path.rpartition("/")[2] for path in web.asked if path.endswith(".whl")}
    assert wheels == {"alpha-2.0-py3-none-any.whl"}
    assert not [path for path in other.asked if path.endswith(".whl")]


# The command line


def test_the_command_line_packs_and_unpacks(lean_home: Home, script: Path, tmp_path: Path) -> None:
    write_script(script, "beta")
    archive = tmp_path / "a.tar.zst"
    packed = call("pack", script, "-o", "a.tar.zst", "--no-kernel", "--json", cwd=tmp_path)
    answer = json.loads(packed.stdout)
    python = answer.pop("python")
    assert python["abi"].startswith("cpython-3")
    told = answer.pop("archive")
    assert (told["path"], told["kind"]) == (str(archive), "environment")
    assert told["bytes"] == archive.stat().st_size
    assert answer.pop("files") > 6
    assert answer.pop("bytes") > 0
    assert answer == {
        "schema": 1,
        "source": str(script),
        "packages": [{"name": "alpha", "version": "2.0"}, {"name": "beta", "version": "1.0"}],
        "kernel": None,
        "warnings": [],
    }
    refused = call("pack", script, "-o", archive, "--json")
    assert (refused.returncode, json.loads(refused.stdout)["error"]["code"]) == (2, "wrong-call")
    assert call("pack", script, "-o", archive, "--no-kernel", "--force").returncode == 0
    assert hashlib.sha256(archive.read_bytes()).hexdigest() == told["sha256"]
    shutil.rmtree(lean_home.scriptenv / "environments-v1")
    answer = json.loads(call("unpack", archive, script, "--json").stdout)
    assert answer["archive"] == {"path": str(archive), "kind": "environment"}
    assert (answer["action"], answer["in_sync"], len(answer["changes"])) == ("created", True, 2)
    archive.write_bytes(b"no archive")
    refused = call("unpack", archive, script, "--json")
    assert (refused.returncode, json.loads(refused.stdout)["error"]["code"]) == (2, "bad-archive")
    gone = call("unpack", archive, tmp_path / "gone.py", "--json")
    assert json.loads(gone.stdout)["error"]["code"] == "not-found"
