"""A folder that the machine's users share: filled by an administrator, read by kernels.

But for one test, its kernel layer is a small one, of another list: all of a real one is compiled
for ten seconds.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ipy_scriptenv import environments, policy
from ipy_scriptenv.bytecode import compiling
from ipy_scriptenv.environments import Context, Kept
from ipy_scriptenv.errors import PolicyBroken
from ipy_scriptenv.interpreters import host_python
from ipy_scriptenv.kernels import shared_layers
from ipy_scriptenv.kernels.layer import find_layer, layer_name
from ipy_scriptenv.shared import SharedFolder, shared_folder, why_not
from ipy_scriptenv.store import Store
from tests.conftest import Home, _go_offline, _move_in
from tests.kernels import block, kernelspec_of, launched, opened, record_of, wait_until
from tests.lifecycle import command
from tests.policies import write_policy
from tests.stage import call, environment_of, listing, site_of, sync, write_notebook, write_script

USED = "import IPython, json\nIPython.__file__"
"""Where the kernel's own packages come from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A machine whose administrator has filled a folder for all.

    :param system: the folder of its configuration, with the policy
    :param told: what the first ``share --json`` said
    """

    system: Path
    shared: Path
    layer: Path
    told: dict[str, Any]

    @property
    def bytecode(self) -> Path:
        (wheel,) = Store(self.shared).bytecode.glob("alpha-*")
        return wheel


@pytest.fixture(scope="module")
def small_list(tmp_path_factory: pytest.TempPathFactory, index: Path) -> Path:
    """Give a hash-locked list of which no kernel could run."""
    digest = hashlib.sha256((index / "alpha-1.0-py3-none-any.whl").read_bytes()).hexdigest()
    path = tmp_path_factory.mktemp("list") / "layer.txt"
    path.write_text(f"alpha==1.0 --hash=sha256:{digest}\n")
    return path


@pytest.fixture(scope="module")
def machine(
    tmp_path_factory: pytest.TempPathFactory, uv_cache: Path, index: Path, small_list: Path
) -> Machine:
    folder = tmp_path_factory.mktemp("machine")
    system, shared = folder / "system", folder / "srv" / "scriptenv"
    with pytest.MonkeyPatch.context() as patch:
        _move_in(folder / "admin", uv_cache, patch)
        _go_offline(index, patch)
        patch.setenv("XDG_CONFIG_DIRS", str(system))
        patch.setenv("SCRIPTENV_LAYER_LOCK", str(small_list))
        write_policy(f"shared = {json.dumps(str(shared))}", system=True)
        script = write_script(folder / "course.py", "alpha==1.0")
        done = call("share", script, "--json", umask=0o077)
        assert done.returncode == 0, done.stderr
        layer = Store(shared).layers / layer_name(host_python())
    return Machine(system=system, shared=shared, layer=layer, told=json.loads(done.stdout))


@pytest.fixture
def user(
    machine: Machine,
    home: Home,
    offline: Path,  # noqa: ARG001 - it sets the stage
    small_list: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Home:
    """Give the empty home of a user of that machine."""
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(machine.system))
    monkeypatch.setenv("SCRIPTENV_LAYER_LOCK", str(small_list))
    monkeypatch.delenv("SCRIPTENV_BYTECODE")
    return home


def reference(user: Home) -> Path:
    """Where the user's home has the layer, or what stands for it."""
    return Store(user.scriptenv).layers / layer_name(host_python())


def refer(user: Home) -> Path:
    """Have the shared layer referred to in a home, as a start does."""
    environments.prepare(Context())
    assert reference(user).is_dir()
    return reference(user)


# Filling.


def test_share_makes_what_everybody_can_read_nobody_needs_to_compile_and_no_one_else_changes(
    machine: Machine,
) -> None:
    assert machine.told["folder"] == str(machine.shared)
    assert [each["action"] for each in machine.told["layers"]] == ["created"]
    assert machine.told["layers"][0]["path"] == str(machine.layer)
    assert machine.told["wheels"] == [machine.bytecode.name]
    assert machine.told["problem"] is None
    for path in [machine.shared.parent, machine.shared, *machine.shared.rglob("*")]:
        if path.name == ".lock":
            continue
        found = path.lstat()
        assert stat.S_IMODE(found.st_mode) == (0o755 if path.is_dir() else 0o644), path
        assert path.is_dir() or found.st_nlink == 1, "it is no link to the administrator's"

    module = machine.layer / "site-packages" / "alpha" / "__init__.py"
    compiled = module.parent / "__pycache__" / f"__init__.{_tag()}.pyc"
    assert str(module).encode() in compiled.read_bytes(), "it names the place where it stands"


def _tag() -> str:
    return str(sys.implementation.cache_tag)


def test_share_keeps_what_is_whole_mends_what_is_not_and_leaves_other_versions_alone(
    machine: Machine, user: Home
) -> None:
    old = machine.layer.with_name(f"{host_python().abi}-0123456789ab")
    old.mkdir()
    (old / "layer.json").write_text("{}")
    harmed = machine.layer / "site-packages" / "alpha" / "__init__.py"
    whole = harmed.read_bytes()
    harmed.write_text("")

    renewed = command("share", "--json").json
    assert [each["action"] for each in renewed["layers"]] == ["rebuilt", "old"]
    assert harmed.read_bytes() == whole
    harmed.chmod(0o666)
    closed = command("share", "--json").json
    assert [each["action"] for each in closed["layers"]] == ["rebuilt", "old"]
    assert (stat.S_IMODE(harmed.stat().st_mode), closed["problem"]) == (0o644, None)
    assert old.is_dir()
    assert Store(user.scriptenv).layers.is_dir()
    assert not [path for path in machine.layer.parent.iterdir() if path.name.startswith(".")]

    before = machine.layer.stat().st_ino
    again = command("share", "--remove-old", "--json").json
    assert [each["action"] for each in again["layers"]] == ["kept", "removed"]
    assert (machine.layer.stat().st_ino, old.exists()) == (before, False)
    assert "kernel layer" in command("share").out


@pytest.mark.usefixtures("lean_home", "system")
def test_share_needs_a_folder_that_is_named() -> None:
    assert command("share", "--json").error == "wrong-call"


def test_share_tells_the_administrator_that_users_would_refuse_it(
    machine: Machine, user: Home, tmp_path: Path
) -> None:
    assert user.path.exists()
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    shutil.copytree(machine.shared / "kernels-v1", open_to_all / "scriptenv" / "kernels-v1")
    told = command("share", "--folder", open_to_all / "scriptenv")
    assert told.code == 0
    assert f"may write to `{open_to_all}`" in told.err


# Using.


def test_a_kernel_runs_on_the_shared_layer_and_outlives_the_folder(
    offline_home: Home, system: Path, path: Path, tmp_path: Path
) -> None:
    assert not system.exists()
    shared, away = tmp_path / "srv", tmp_path / "away"
    write_policy(f"shared = {json.dumps(str(shared))}", system=True)
    shared.mkdir(mode=0o755)
    reference(offline_home).parent.rename(shared / "kernels-v1")
    layer = reference(Home(path=tmp_path, scriptenv=shared, jupyter_data=tmp_path))
    packages = layer / "site-packages"
    before = listing(shared)
    with opened(offline_home, path) as kernel:
        done = kernel.execute(block("alpha==1.0") + USED)
        assert done.result == repr(str(packages / "IPython" / "__init__.py")), done.traceback
        assert (reference(offline_home) / "site-packages").readlink() == packages
        assert record_of(environment_of(path))["kernel"] == layer.name
    with launched(kernelspec_of(path), cwd=path.parent) as kernel:
        assert str(packages) in str(kernel.execute(USED).result), "an argv alone finds it too"
    assert listing(shared) == before, "users only read"

    with opened(offline_home, path) as kernel:
        shared.rename(away)
        kernel.restart()
        done = kernel.execute(USED)
        if done.ename == "RestartNeeded":
            # It took longer to make a layer than a start waits for it; that cell has waited.
            kernel.restart()
            done = kernel.execute(USED)
        own = reference(offline_home) / "site-packages"
        assert done.result == repr(str(own / "IPython" / "__init__.py")), done.traceback
    assert not own.is_symlink()


def test_prune_takes_what_stands_for_a_shared_layer_and_never_the_layer(
    machine: Machine, user: Home
) -> None:
    refer(user)
    before = listing(machine.shared)
    items = environments.prunable(Kept(everything=True), context=Context())
    (layer,) = [item for item in items if item.kind == "layer"]
    assert layer.size is not None
    assert layer.size < 10_000
    environments.prune(items, context=Context(), everything=True)
    assert not reference(user).exists()
    assert listing(machine.shared) == before


@pytest.mark.usefixtures("user")
@pytest.mark.parametrize("harm", ["renamed", "unreadable", "no JSON", "cut short", "a lost file"])
def test_a_shared_layer_that_is_not_as_it_should_be_is_not_taken(
    machine: Machine, tmp_path: Path, harm: str
) -> None:
    """Then the user's own is made, as everywhere."""
    name, info = machine.layer.name, machine.layer / "layer.json"
    module = machine.layer / "site-packages" / "alpha" / "__init__.py"
    text, code = info.read_bytes(), module.read_bytes()
    shared = shared_folder()
    assert shared is not None
    assert shared_layers.refusal(shared, name) is None
    match harm:
        case "renamed":
            machine.layer.rename(machine.layer.with_name("cpython-311-000000000000"))
        case "unreadable":
            info.unlink()
            info.mkdir()
        case "no JSON":
            info.write_text("{")
        case "cut short":
            module.write_bytes(code[:-1])
        case _:
            module.unlink()
    try:
        assert shared_layers.refusal(shared, name)
        assert shared_layers.refer(tmp_path / "build", name) is None
        assert not (tmp_path / "build").exists()
        (finding,) = [each for each in environments.examine(Context()) if "shared" in each.code]
        assert (finding.code, finding.cure) == ("no-shared-layer", None)
    finally:
        if harm == "renamed":
            machine.layer.with_name("cpython-311-000000000000").rename(machine.layer)
        if info.is_dir():
            info.rmdir()
        info.write_bytes(text)
        module.write_bytes(code)
    assert not [each for each in environments.examine(Context()) if "shared" in each.code]


def test_nothing_is_taken_from_a_folder_that_others_can_change_even_if_it_was_taken_before(
    machine: Machine, user: Home
) -> None:
    store, name = Store(user.scriptenv), machine.layer.name
    refer(user)
    assert find_layer(store, name) is not None
    for part in (machine.shared.parent, machine.shared, machine.layer / "site-packages"):
        for mode in (0o775, 0o757, 0o777):
            part.chmod(mode)
            try:
                assert find_layer(store, name) is None, (part, mode)
                assert f"may write to `{part}`" in str(why_not(machine.layer / "site-packages"))
            finally:
                part.chmod(0o755)
    assert find_layer(store, name) is not None

    machine.shared.chmod(0o777)
    try:
        found = {each.code: each.path for each in environments.examine(Context())}
        assert found["unfit-shared-folder"] == machine.shared
        assert found["broken-layer"] == reference(user)
    finally:
        machine.shared.chmod(0o755)

    machine.shared.rename(machine.shared.with_name("away"))
    try:
        found = {each.code: each.path for each in environments.examine(Context())}
        assert found["no-shared-folder"] == machine.shared
        assert found["broken-layer"] == reference(user), "what it leads to is gone"
        assert "foreign-entry" not in found
    finally:
        machine.shared.with_name("away").rename(machine.shared)

    # The policy does not name it any more; one that cannot be read changes nothing.
    try:
        write_policy("", system=True)
        assert find_layer(store, name) is None
        write_policy("shared =", system=True)
        assert find_layer(store, name) is not None
    finally:
        write_policy(f"shared = {json.dumps(str(machine.shared))}", system=True)


def test_a_sticky_folder_is_borne_above_what_is_trusted(tmp_path: Path) -> None:
    sticky = tmp_path / "sticky"
    mine = sticky / "mine"
    mine.mkdir(parents=True)
    sticky.chmod(0o1777)
    assert why_not(mine) is None
    assert "may write" in str(why_not(sticky))
    if os.getuid() == 0:
        os.chown(mine, 12345, -1)
        assert f"may write to `{sticky}`" in str(why_not(mine)), "12345 can replace it"
        assert why_not(mine, trusted=[12345]) is None
        sticky.chmod(0o755)
        assert why_not(mine) is None, "root's folder holds what root has put there, whosever it is"
    assert "cannot be looked at" in str(why_not(tmp_path / "gone"))
    (tmp_path / "circle").symlink_to("circle")
    assert "cannot be looked at" in str(why_not(tmp_path / "circle"))


def test_a_link_is_only_followed_from_where_others_cannot_put_one(tmp_path: Path) -> None:
    theirs, between = tmp_path / "theirs", tmp_path / "between"
    (theirs / "deep").mkdir(parents=True)
    between.mkdir()
    (between / "link").symlink_to("../theirs")
    assert why_not(between / "link" / "deep") is None
    between.chmod(0o777)
    assert f"may write to `{between}`" in str(why_not(between / "link" / "deep"))
    between.chmod(0o1777)
    assert why_not(between / "link" / "deep") is None
    if os.getuid() == 0:
        os.chown(between / "link", 12345, -1, follow_symlinks=False)
        assert f"may write to `{between}`" in str(why_not(between / "link" / "deep"))


def test_all_that_is_in_a_layer_is_looked_at_before_it_is_taken(machine: Machine) -> None:
    shared = SharedFolder(store=Store(machine.shared), named_in=machine.system)
    module = machine.layer / "site-packages" / "alpha" / "__init__.py"
    assert shared_layers.refusal(shared, machine.layer.name) is None
    for part, mode in ((module, 0o664), (module.parent, 0o777)):
        was = stat.S_IMODE(part.stat().st_mode)
        part.chmod(mode)
        try:
            assert f"may write to `{part}`" in str(
                shared_layers.refusal(shared, machine.layer.name)
            )
        finally:
            part.chmod(was)
    extra = module.parent / "extra.py"
    extra.symlink_to(module)
    try:
        assert f"`{extra}` is a link" in str(shared_layers.refusal(shared, machine.layer.name))
        if os.getuid() == 0:
            extra.unlink()
            extra.touch()
            os.chown(extra, 12345, -1)
            assert f"to `{extra}`" in str(shared_layers.refusal(shared, machine.layer.name))
    finally:
        extra.unlink()


# Byte code.


def test_byte_code_is_copied_once_and_runs_whatever_time_the_sources_have(
    machine: Machine, user: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Another cache of uv's has its files from another time.
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    before = listing(machine.shared)
    first = site_of(sync(write_script(tmp_path / "a.py", "alpha==1.0")).path)
    second = site_of(sync(write_script(tmp_path / "b.py", "alpha==1.0")).path)
    cached = Path("alpha", "__pycache__", f"__init__.{_tag()}.pyc")
    (mine,) = Store(user.scriptenv).bytecode.glob("alpha-*")
    assert mine.name == machine.bytecode.name
    assert (first / cached).samefile(mine / cached)
    assert (second / cached).samefile(mine / cached)
    assert listing(machine.shared) == before

    was = (first / cached).stat()
    assert version(first) == "1.0"
    assert (first / cached).stat().st_ino == was.st_ino, "Python took it as it is"
    source = first / "alpha" / "__init__.py"
    times = source.stat()
    text = source.read_text().replace("1.0", "9.9")
    source.unlink()
    source.write_text(text)
    os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert version(first) == "9.9", "its hash tells, where neither size nor time does"
    assert version(second) == "1.0"


def version(site: Path) -> str:
    """Import alpha in the environment of a folder of packages, as users do."""
    python = site.parents[2] / "bin" / "python"
    variables = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    code = "import alpha; print(alpha.__version__)"
    done = subprocess.run(
        [python, "-c", code], capture_output=True, text=True, check=True, env=variables
    )
    return done.stdout.strip()


@pytest.mark.parametrize(
    "harm", ["open to others", "a module open to others", "a missing file", "no content"]
)
def test_byte_code_that_is_not_as_it_should_be_is_left(
    machine: Machine, user: Home, tmp_path: Path, harm: str
) -> None:
    content = machine.bytecode / compiling.CONTENT
    (compiled,) = machine.bytecode.rglob("__init__*.pyc")
    kept, code = content.read_bytes(), compiled.read_bytes()
    match harm:
        case "open to others":
            machine.bytecode.chmod(0o777)
        case "a module open to others":
            compiled.chmod(0o666)
        case "a missing file":
            compiled.unlink()
        case _:
            content.write_text("{}")
    try:
        site = site_of(sync(write_script(tmp_path / "a.py", "alpha==1.0")).path)
    finally:
        machine.bytecode.chmod(0o755)
        compiled.touch()
        compiled.chmod(0o644)
        content.write_bytes(kept)
        compiled.write_bytes(code)
    assert not any(site.rglob("alpha/**/*.pyc"))
    assert version(site) == "1.0"
    mine = Store(user.scriptenv).bytecode
    wait_until(lambda: any(mine.glob("alpha-*/alpha/__pycache__/*.pyc")), what="the user's own")


def test_shared_byte_code_is_checked_by_a_hash(machine: Machine) -> None:
    (compiled,) = machine.bytecode.rglob("alpha/__pycache__/__init__*.pyc")
    data = compiled.read_bytes()
    assert data[:4] == importlib.util.MAGIC_NUMBER
    assert int.from_bytes(data[4:8], "little") == 0b11


# The policy.


@pytest.mark.usefixtures("lean_home", "system")
def test_the_policy_names_one_folder_and_the_machine_s_comes_first(tmp_path: Path) -> None:
    assert policy.current().shared is None
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    users = write_policy(f"shared = {json.dumps(str(mine))}")
    found = policy.current().shared
    assert found == policy.Named(folder=mine, file=users)
    machines = write_policy(f"shared = {json.dumps(str(theirs))}", system=True)
    assert policy.current().shared == policy.Named(folder=theirs, file=machines)
    assert not policy.current().says_what_comes
    codes = [each.code for each in environments.examine(Context())]
    assert "no-shared-folder" in codes
    for wrong in ('"srv/scriptenv"', "1", "[]"):
        write_policy(f"shared = {wrong}")
        with pytest.raises(PolicyBroken):
            policy.current()
    assert shared_folder() is None, "a policy that cannot be read names nothing"


def test_a_kernel_in_a_notebook_of_the_machine_needs_no_layer_of_its_own(
    machine: Machine, user: Home, tmp_path: Path
) -> None:
    path = write_notebook(tmp_path / "work" / "other.ipynb", block())
    environments.start(environments.locate(path), context=Context())
    assert sum(each.lstat().st_size for each in reference(user).rglob("*")) < 10_000
    assert machine.layer.name == reference(user).name
