"""The `pip` and `uv` on a kernel's ``PATH``: uv, pointed at the kernel's environment."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from ipy_scriptenv import plan, policy, processes, settings
from ipy_scriptenv.environments.allowed import limits
from ipy_scriptenv.environments.arguments import refuse_pip
from ipy_scriptenv.environments.building import uv_version
from ipy_scriptenv.environments.condition import installed_packages
from ipy_scriptenv.environments.configured import leads_elsewhere
from ipy_scriptenv.environments.standing import Context, pass_env
from ipy_scriptenv.environments.unrecorded import unrecorded
from ipy_scriptenv.errors import PolicyViolation, ScriptEnvError, WrongCall
from ipy_scriptenv.files import explained, stat_of, write_atomically
from ipy_scriptenv.kernels.layer import find_layer
from ipy_scriptenv.layout import CHANGING
from ipy_scriptenv.locks import exclusive
from ipy_scriptenv.record import OWN, Record
from ipy_scriptenv.store import Store
from ipy_scriptenv.uv import find_uv
from ipy_scriptenv.venvs import environment_python, is_environment, site_packages

__all__ = ["run_tool", "uv_arguments"]

_CHANGING_VERBS = frozenset({"install", "uninstall", "sync"})
_IGNORED = frozenset(
    {
        "--disable-pip-version-check",
        "--no-input",
        "--no-warn-script-location",
        "--root-user-action=ignore",
        "--yes",
        "-y",
    }
)
"""Options of pip that ask for what uv does anyway."""

_ELSEWHERE = {
    "--break-system-packages": "no package of the system is touched",
    "--prefix": "it would install outside this environment",
    "--python": "another Python is another environment",
    "--system": "no package of the system is touched",
    "--user": "packages of the user would be seen by every Python, and not by this environment",
    "-p": "another Python is another environment",
}
"""Options that lead out of the environment, and why they are refused."""

_SHORT_PYTHON = re.compile(r"-[Unqv]*p.*", re.DOTALL)
"""``-p`` behind other letters, or with its value attached; these letters take none."""


def run_tool(environment: Path, tool: str, arguments: Sequence[str]) -> int:
    """Run one call of ``pip`` or ``uv`` for an environment of ours; give its exit code.

    What changes the environment runs under its lock and mark, like every change of it, and tells in
    one line that the package is not recorded in the block.
    """
    context = Context(store=Store(environment.parent.parent))
    argv = uv_arguments(tool, arguments)
    variables = {"VIRTUAL_ENV": str(environment)}
    if "pip" in argv:
        # The user's configuration of uv may name another Python for `pip`, or the system's.
        variables["UV_PYTHON"] = str(environment_python(environment))
    if tool == "pip" and argv == ["--version"]:
        sys.stdout.write(f"uv {uv_version()} as pip of {environment}\n")
        return 0
    if not _changes_something(argv):
        return _run(argv, variables, ())
    try:
        _refuse_elsewhere(argv)
        argv, folder = _within_policy(context, argv)
    except ScriptEnvError as error:
        return _refused(error)
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
            with explained(mark):
                write_atomically(mark, b"")
            code = _run(argv, variables, (held.descriptor,), folder=folder)
            broken = _breaks_kernel(context, environment, record)
            cut_short = code != 0 and stat_of(site) != untouched
            if not broken and not cut_short and code >= 0:
                mark.unlink()
            after = installed_packages(environment, record.python)
    except ScriptEnvError as error:
        return _refused(error)
    if broken:
        sys.stderr.write(
            f"note: {broken[0]}; the kernel could not start like this, so its next start makes the "
            "environment anew from the block.\n"
        )
    elif code == 0:
        sys.stderr.write(unrecorded(argv, before, after, record=record, site=site))
    return code


def uv_arguments(tool: str, arguments: Sequence[str]) -> list[str]:
    """Turn the arguments of ``pip`` or ``uv`` into those of uv."""
    if tool == "uv":
        return list(arguments)
    if list(arguments[:1]) in (["--version"], ["-V"]):
        return ["--version"]
    return ["pip", *(each for each in arguments if each not in _IGNORED)]


def _refuse_elsewhere(argv: Sequence[str]) -> None:
    """Refuse what would change another place than the environment.

    :raises WrongCall: naming the option, or the setting in uv's configuration
    """
    options = {
        "-p" if _SHORT_PYTHON.fullmatch(word) else word.partition("=")[0]
        for word in argv
        if word.startswith("-")
    }
    for option in sorted(options & _ELSEWHERE.keys()):
        msg = f"`{option}` is not taken here: {_ELSEWHERE[option]}."
        hint = "Leave it out: what is installed goes into this notebook's own environment."
        raise WrongCall(msg, hint=hint)
    if "--no-config" not in argv and (found := leads_elsewhere(Path.cwd())) is not None:
        path, key = found
        msg = f"`{key}` in uv's configuration `{path}` leads out of this environment."
        raise WrongCall(msg, hint="Leave that configuration out: `pip install --no-config …`.")


def _changes_something(argv: Sequence[str]) -> bool:
    """Say whether a call of uv may change an environment; options may stand before the verb."""
    return "pip" in argv and not _CHANGING_VERBS.isdisjoint(argv)


def _within_policy(context: Context, argv: list[str]) -> tuple[list[str], Path]:
    """Hold a changing call against the policy; give the call and the folder to run it in.

    Under a policy uv runs in a folder of ours, where no configuration lies about.

    :raises PolicyViolation: if it is not allowed
    """
    allowed, here = policy.current(), Path.cwd()
    if not allowed.says_what_comes or argv[:2] == ["pip", "uninstall"]:
        return argv, here
    if argv[0] != "pip":
        msg = "Under the administrator's policy, nothing may stand before `pip`."
        raise PolicyViolation(msg)
    words = refuse_pip(allowed, argv[2:], folder=here)
    return [*argv[:2], *limits(allowed), *words], context.store.work


def _refused(error: ScriptEnvError) -> int:
    lines = [str(error), *(f"  {problem}" for problem in error.problems), error.hint]
    sys.stderr.write("\n".join(filter(None, lines)) + "\n")
    return error.exit_code


def _run(
    argv: Sequence[str],
    variables: dict[str, str],
    inherit: Sequence[int],
    *,
    folder: Path | None = None,
) -> int:
    """Run uv; give its exit code, after an interrupt as if uv had been ended by it."""
    sys.stdout.flush()
    try:
        return processes.run_visibly(
            [str(find_uv()), *argv],
            cwd=folder,
            env={**settings.uv_environment(pass_env()), **variables},
            inherit=inherit,
        )
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        return -signal.SIGINT


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
