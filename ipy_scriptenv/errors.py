"""What can go wrong, each with a code, a sentence and a hint.

Every error says *what happened* (``str(error)``, one sentence) and, apart from it, *what to do*
(``error.hint``). It keeps its data as attributes and survives pickling. Codes and exit codes are
part of the command line's contract (``docs/contract.md``).
"""

from __future__ import annotations

from ipy_scriptenv.problems import Problem, ScriptEnvError

__all__ = [
    "BadArchive",
    "BadBlock",
    "BadRequirement",
    "Displaced",
    "Duplicate",
    "EngineFailed",
    "EnvironmentInUse",
    "Foreign",
    "InstallCutShort",
    "InstallFailed",
    "Interrupted",
    "LockTimeout",
    "NewerSchema",
    "NoEnvironment",
    "NoLock",
    "NoPython",
    "NoSpace",
    "NotANotebook",
    "NotASource",
    "NotFound",
    "NotPortable",
    "Offline",
    "PermissionRefused",
    "PolicyBroken",
    "PolicyViolation",
    "Problem",
    "ResolutionFailed",
    "RestartNeeded",
    "ScriptEnvError",
    "SourceChanged",
    "StaleLock",
    "Unclosed",
    "WrongCall",
]


class PolicyBroken(ScriptEnvError):
    """An administrator's policy file cannot be read."""

    default_hint = "Ask who looks after this machine; docs/policy.md tells what a policy may hold."


class PolicyViolation(ScriptEnvError):
    """What is declared or configured is against the administrator's policy."""

    code = "bad-block"
    exit_code = 2
    default_hint = "The policy is the administrator's: declare what it allows, or ask for more."


class NotFound(ScriptEnvError):
    """The source does not exist."""

    code = "not-found"
    exit_code = 2
    default_hint = "Check the path."


class NotASource(ScriptEnvError):
    """The file can be no source: binary, not UTF-8, a folder."""

    code = "not-a-source"
    exit_code = 2
    default_hint = "Name a notebook (`.ipynb`) or a Python script."


class NotANotebook(ScriptEnvError):
    """The file is named as a notebook but holds none that can be read."""

    code = "not-a-notebook"
    exit_code = 2
    default_hint = (
        "Open and save it in Jupyter, or convert it with `jupyter nbconvert --to notebook`."
    )


class Unclosed(ScriptEnvError):
    """A block is opened and never closed."""

    code = "unclosed"
    exit_code = 2
    default_hint = (
        "Close the block with a line `# ///`; every line inside is `#` or begins with `# `."
    )


class Duplicate(ScriptEnvError):
    """There are two blocks, in one text or in two cells of a notebook."""

    code = "duplicate"
    exit_code = 2
    default_hint = "Keep one block."


class BadBlock(ScriptEnvError):
    """The block is no TOML, or a key in it has the wrong shape."""

    code = "bad-block"
    exit_code = 2
    default_hint = "Mend the block; the format is PEP 723's."


class BadRequirement(ScriptEnvError):
    """A dependency or ``requires-python`` cannot be read."""

    code = "bad-requirement"
    exit_code = 2
    default_hint = "Write dependencies as `name>=1.0` (PEP 508), and requires-python as `>=3.11`."


class BadArchive(ScriptEnvError):
    """An archive is none of ours, damaged, or not what it says; nothing of it was kept."""

    code = "bad-archive"
    exit_code = 2
    default_hint = "Take it again from where it was made; `pack` tells its SHA-256."


class NotPortable(ScriptEnvError):
    """Something that is installed cannot go to another machine as it is."""

    code = "not-portable"
    default_hint = "Declare it from an index, or as a project that can be built."


class WrongCall(ScriptEnvError):
    """The call makes no sense as it was made."""

    code = "wrong-call"
    exit_code = 2


class NoEnvironment(ScriptEnvError):
    """The source has no environment yet."""

    code = "no-environment"
    default_hint = "Make it with `jupyter scriptenv sync SOURCE`, or run the notebook's first cell."


class NoLock(ScriptEnvError):
    """The source has no lock, and the call asks for exactly what it locks."""

    code = "no-lock"
    default_hint = "Make it with `jupyter scriptenv lock SOURCE`."


class StaleLock(ScriptEnvError):
    """The lock is not for the block as it is now, and the call lets nobody update it."""

    code = "stale-lock"
    default_hint = "Update it with `jupyter scriptenv lock SOURCE`."


class SourceChanged(ScriptEnvError):
    """Somebody changed a file of the user's after it was read; nothing was written to it."""

    code = "source-changed"
    default_hint = "Run it again; it then starts from the file as it is now."


class NoPython(ScriptEnvError):
    """No interpreter on this machine satisfies the request."""

    code = "no-python"
    default_hint = "Install one, for example with `uv python install`, or loosen requires-python."


class ResolutionFailed(ScriptEnvError):
    """uv found no set of packages that satisfies the block."""

    code = "resolution-failed"
    default_hint = "Mend the dependencies in the block, then try again."


class InstallFailed(ScriptEnvError):
    """uv could not install what was resolved; the environment is marked and mended at next use."""

    code = "install-failed"
    default_hint = "Mend the dependencies in the block, then try again."


class InstallCutShort(InstallFailed):
    """uv was ended from outside, by a signal, wherever it was."""

    default_hint = "Run it again."


class Offline(ScriptEnvError):
    """The package index could not be reached."""

    code = "offline"
    default_hint = "Check the network, the proxy and the index settings of uv, then try again."


class RestartNeeded(ScriptEnvError):
    """A package that this kernel has imported would change; nothing was changed."""

    code = "restart-needed"
    default_hint = "Restart the kernel; the environment is completed when the first cell runs."


class EnvironmentInUse(ScriptEnvError):
    """A running kernel has imported what would change, or stands in the way of a rebuild."""

    code = "environment-in-use"
    default_hint = "Shut that kernel down, then try again."


class Displaced(EnvironmentInUse):
    """The environment in the source's place belongs to a file that was renamed."""


class LockTimeout(ScriptEnvError):
    """Another process has held the environment's lock for longer than the limit."""

    code = "lock-timeout"
    default_hint = "Wait for it and try again; `SCRIPTENV_LOCK_TIMEOUT` sets the limit in seconds."


class NewerSchema(ScriptEnvError):
    """The record was written by a newer version of this package."""

    code = "newer-schema"
    default_hint = "Upgrade with `pip install --upgrade ipy-scriptenv`."


class Foreign(ScriptEnvError):
    """Something that is not ours stands at a path of ours; it is never touched."""

    code = "foreign"
    default_hint = "Move it away, or set `SCRIPTENV_HOME` to another folder."


class NoSpace(ScriptEnvError):
    """The disk is full."""

    code = "no-space"
    default_hint = "Free some space and try again; nothing that stood was changed."


class PermissionRefused(ScriptEnvError):
    """The operating system refused access."""

    code = "permission"
    default_hint = "Check the folder's owner and mode, or set `SCRIPTENV_HOME` to another folder."


class Interrupted(ScriptEnvError):
    """The user interrupted the work."""

    code = "interrupted"
    default_hint = "Run it again to go on."


class EngineFailed(ScriptEnvError):
    """uv, or the operating system under it, failed in a way that has no code of its own."""

    code = "engine"
