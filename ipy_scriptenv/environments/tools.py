"""The `pip` and `uv` on a kernel's ``PATH``: uv, pointed at the kernel's environment."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from ipy_scriptenv import plan, processes, settings
from ipy_scriptenv.environments.standing import Context, installed_packages
from ipy_scriptenv.errors import ScriptEnvError
from ipy_scriptenv.kernels.layer import find_layer, site_packages
from ipy_scriptenv.locks import exclusive
from ipy_scriptenv.record import OWN, Record
from ipy_scriptenv.store import CHANGING, Store, stat_of, write_atomically
from ipy_scriptenv.uv import find_uv, is_environment

__all__ = ["run_tool", "uv_arguments"]

_CHANGING_VERBS = frozenset({"install", "uninstall", "sync"})
_IGNORED = frozenset({"-y", "--yes", "--disable-pip-version-check", "--no-input"})
"""Options of pip that ask for what uv does anyway."""


def run_tool(environment: Path, tool: str, arguments: Sequence[str]) -> int:
    """Run one call of ``pip`` or ``uv`` for an environment of ours; give its exit code.

    What changes the environment runs under its lock and mark, like every change of it, and tells in
    one line that the package is not recorded in the block.
    """
    context = Context(store=Store(environment.parent.parent))
    argv = uv_arguments(tool, arguments)
    variables = {"VIRTUAL_ENV": str(environment)}
    if not _changes_something(argv):
        return _run(argv, variables, ())
    record = context.store.read_record(environment)
    if record is None or not is_environment(environment):
        sys.stderr.write("The environment is damaged; restart the kernel, then try again.\n")
        return 1
    try:
        lock = exclusive(
            context.store.lock(environment.name),
            timeout=settings.lock_timeout(),
            on_wait=_tell_wait,
        )
        with lock as held:
            before = installed_packages(environment, record.python)
            site = site_packages(environment, record.python)
            untouched = stat_of(site)
            mark = environment / CHANGING
            write_atomically(mark, b"")
            code = _run(argv, variables, (held.descriptor,))
            broken = _breaks_kernel(context, environment, record)
            cut_short = code != 0 and stat_of(site) != untouched
            if not broken and not cut_short and code >= 0:
                mark.unlink()
            after = installed_packages(environment, record.python)
    except ScriptEnvError as error:
        sys.stderr.write(f"{error}\n{error.hint}\n")
        return error.exit_code
    changed = sorted({each.name for each in set(after) ^ set(before)})
    if broken:
        sys.stderr.write(
            f"note: {broken[0]}; the kernel could not start like this, so its next start makes the "
            "environment anew from the block.\n"
        )
    elif changed and code == 0:
        names = ", ".join(changed)
        sys.stderr.write(
            f"note: {names}: changed in this environment, not recorded in the block; declare what "
            "the notebook needs in its block's `dependencies`.\n"
        )
    return code


def uv_arguments(tool: str, arguments: Sequence[str]) -> list[str]:
    """Turn the arguments of ``pip`` or ``uv`` into those of uv."""
    if tool == "uv":
        return list(arguments)
    if list(arguments[:1]) in (["--version"], ["-V"]):
        return ["--version"]
    return ["pip", *(each for each in arguments if each not in _IGNORED)]


def _changes_something(argv: Sequence[str]) -> bool:
    """Say whether a call of uv changes an environment; options may stand before the verb."""
    words = [each for each in argv if not each.startswith("-")]
    return words[:1] == ["pip"] and any(each in _CHANGING_VERBS for each in words[1:3])


def _run(argv: Sequence[str], variables: dict[str, str], inherit: Sequence[int]) -> int:
    sys.stdout.flush()
    return processes.run_visibly(
        [str(find_uv()), *argv],
        env={**settings.uv_environment(), **variables},
        inherit=inherit,
    )


def _breaks_kernel(context: Context, environment: Path, record: Record) -> tuple[str, ...]:
    """Say what of the kernel's layer the environment's packages break now."""
    layer = None if record.kernel == OWN else find_layer(context.store, record.kernel)
    if layer is None:
        return ()
    return plan.layer_conflicts(
        packages=layer.packages,
        requires=layer.requires,
        installed=installed_packages(environment, record.python),
    )


def _tell_wait() -> None:
    sys.stderr.write("Waiting for another change of this environment …\n")
