"""The kernel provisioner: jupyter_client's hook that starts a kernel."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jupyter_client.provisioning.local_provisioner import LocalProvisioner

from ipy_scriptenv import environments, explaining, settings
from ipy_scriptenv.environments import EPHEMERAL, Context, Start
from ipy_scriptenv.errors import ScriptEnvError
from ipy_scriptenv.record import Source, SourceKind

__all__ = ["ScriptEnvProvisioner", "source_of"]

_OURS = ("SCRIPTENV_SOURCE", "SCRIPTENV_EXPLAIN", "SCRIPTENV_PREPARED", "SCRIPTENV_LIVE")
"""Variables that say something about one kernel and must not reach another."""


def source_of(env: Mapping[str, str], metadata: Mapping[str, Any]) -> Source:
    """Say which source a kernel is for; the first that applies.

    1. ``JPY_SESSION_NAME`` in the variables that the *client* passed, if it is a file;
    2. the kernelspec's ``metadata.scriptenv.source``;
    3. ``SCRIPTENV_SOURCE`` in those same variables;
    4. none: an ephemeral environment.

    :param env: what the client passed; never this process's own variables, which may be those of
        an outer notebook
    :param metadata: the kernelspec's
    """
    session = env.get("JPY_SESSION_NAME", "")
    named = metadata.get("scriptenv", {}).get("source")
    for candidate in (session if environments.can_be_source(session) else None, named):
        if isinstance(candidate, str) and candidate:
            with contextlib.suppress(ScriptEnvError):
                return environments.locate(candidate)
            if candidate is named and not candidate.startswith(("https://", "http://")):
                # The file is gone, but a kernel that ran for it may be restarted.
                return Source(kind=SourceKind.FILE, path=candidate)
    given = env.get("SCRIPTENV_SOURCE")
    if given:
        with contextlib.suppress(ScriptEnvError):
            return environments.locate(given)
    return EPHEMERAL


@dataclass(frozen=True, slots=True, kw_only=True)
class _Launch:
    """What is launched: the source's kernel, or one that explains why it is not."""

    argv: tuple[str, ...]
    variables: Mapping[str, str]
    curve: bool
    started: Start | None


class ScriptEnvProvisioner(LocalProvisioner):
    """Starts a kernel in the environment of its source, at once and without installing anything."""

    _started: Start | None = None

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """Make sure that a kernel can run; called by the kernel manager before each launch.

        On a restart it is called again on this same object. It never raises on account of an
        environment: a restart that raises is seen by nobody, so a kernel that can explain itself is
        launched instead. ``super`` picks the ports and writes the connection file; it is called
        after the work, so that a slow start holds no ports.
        """
        metadata = self.kernel_spec.metadata if self.kernel_spec else {}
        source = source_of(kwargs.get("env") or {}, metadata)
        launch = await asyncio.to_thread(self._prepare, source)
        if not launch.curve:
            # A kernel that was promised encryption and cannot keep it never becomes ready.
            kwargs["transport_encryption"] = "disabled"
        kwargs = await super().pre_launch(**kwargs)
        command = kwargs["cmd"]
        # Behind interpreter and module stand `-f FILE` and what the client added.
        kwargs["cmd"] = [*launch.argv, *_after_program(command)]
        inherited = {name: value for name, value in kwargs["env"].items() if name not in _OURS}
        kwargs["env"] = settings.child_environment(inherited, add=launch.variables)
        kwargs["cwd"] = _folder(kwargs.get("cwd"), source)
        return kwargs

    async def cleanup(self, restart: bool = False) -> None:  # noqa: FBT001, FBT002 - as in the base
        """Remove an ephemeral environment with its kernel; called when the kernel has ended."""
        await super().cleanup(restart=restart)
        started = self._started
        if started is not None and started.source.kind is SourceKind.EPHEMERAL and not restart:
            self._started = None
            await asyncio.to_thread(environments.discard, started.name, context=Context())

    def _prepare(self, source: Source) -> _Launch:
        previous = self._started
        is_restart = previous is not None and previous.source == source
        name = previous.name if previous is not None and is_restart else None
        try:
            started = environments.start(source, context=Context(), name=name)
        except (ScriptEnvError, OSError) as error:
            if isinstance(error, ScriptEnvError):
                self.log.warning("scriptenv: %s %s", error, error.hint)
            else:
                self.log.warning("scriptenv: %s", error)
            argv, variables = explaining.command(error, source=source)
            return _Launch(argv=argv, variables=variables, curve=True, started=None)
        self._started = started
        return _Launch(
            argv=started.argv,
            variables={"SCRIPTENV_PREPARED": "1"},
            curve=started.curve,
            started=started,
        )


def _after_program(command: list[str]) -> list[str]:
    """Give the arguments from ``-f`` on: what stands before names a program."""
    return command[command.index("-f") :] if "-f" in command else command[-2:]


def _folder(given: Any, source: Source) -> str | None:
    """Choose the kernel's folder: the given one, or the source's if that is gone."""
    # `Path.is_dir` raises where a folder above may not be entered.
    if given is not None and os.path.isdir(given):  # noqa: PTH112 - see above
        return str(given)
    if source.path is not None and Path(source.path).parent.is_dir():
        return str(Path(source.path).parent)
    return None if given is None else str(Path.home())
