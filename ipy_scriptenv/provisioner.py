"""The kernel provisioner: jupyter_client's hook that starts a kernel."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jupyter_client.connect import KernelConnectionInfo

from ipy_scriptenv import environments, explaining, settings
from ipy_scriptenv.delegating import Delegating
from ipy_scriptenv.environments import EPHEMERAL, Context, Start
from ipy_scriptenv.errors import EngineFailed, ScriptEnvError
from ipy_scriptenv.kernel_side.start import PORT_TAKEN
from ipy_scriptenv.kernels import specs
from ipy_scriptenv.record import Source, SourceKind

__all__ = ["ScriptEnvProvisioner", "source_of"]

_YOUNG = 10.0
"""Seconds from a start within which the end of a kernel is the start's failure."""

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
    told = metadata.get("scriptenv")
    named = told.get("source") if isinstance(told, Mapping) else None
    named = named if isinstance(named, str) else ""
    for candidate in (env.get("JPY_SESSION_NAME", ""), named, env.get("SCRIPTENV_SOURCE", "")):
        if environments.can_be_source(candidate):
            with contextlib.suppress(ScriptEnvError):
                return environments.locate(candidate)
        elif candidate and candidate is named:
            # The file is gone, but the kernel that runs for it may be restarted.
            with contextlib.suppress(ScriptEnvError):
                return environments.locate_gone(named)
    return EPHEMERAL


@dataclass(frozen=True, slots=True, kw_only=True)
class _Launch:
    """What is launched: the source's kernel, or one that explains why it is not."""

    argv: tuple[str, ...]
    variables: Mapping[str, str]
    curve: bool
    explains: bool = False


class ScriptEnvProvisioner(Delegating):
    """Starts a kernel in the environment of its source, at once and without installing anything.

    Where ``inner`` names another provisioner, that one launches it.
    """

    _started: Start | None = None
    _watched = False
    """Whether an early end of the process would say something about the environment."""
    _launched = 0.0
    _died_young = False

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """Make sure that a kernel can run; called by the kernel manager before each launch.

        On a restart it is called again on this same object. It never raises on account of an
        environment: a restart that raises is seen by nobody, so a kernel that can explain itself is
        launched instead. ``super`` picks the ports and writes the connection file; it is called
        after the work, so that a slow start holds no ports.
        """
        metadata = self.kernel_spec.metadata if self.kernel_spec else {}
        # In a thread: a slow disk or a wait must not hold up the server's other requests.
        source = await asyncio.to_thread(source_of, kwargs.get("env") or {}, metadata)
        launch = await asyncio.to_thread(self._prepare, source)
        if not launch.curve:
            launch = self._without_encryption(launch, source, kwargs)
        if not launch.explains and self.inner:
            try:
                return await self._through_inner(launch, source, dict(kwargs))
            except Exception as error:  # noqa: BLE001 - a restart that raises is seen by nobody
                launch = self._explain(_inner_failed(error), source, retry=False)
        self.launch_here(kwargs)
        kwargs = await super().pre_launch(**kwargs)
        command = kwargs["cmd"]
        # Behind interpreter and module stand `-f FILE` and what the client added.
        kwargs["cmd"] = [*launch.argv, *_after_program(command)]
        return _completed(kwargs, launch, source)

    async def _through_inner(
        self, launch: _Launch, source: Source, kwargs: dict[str, Any]
    ) -> dict[str, Any]:
        """Have the inner provisioner prepare the launch of the environment's kernel."""
        self.choose_launcher(launch.argv)
        kwargs = await super().pre_launch(**kwargs)
        kwargs["cmd"] = self.launching(kwargs["cmd"], launch.argv)
        self._watched = False
        return _completed(kwargs, launch, source)

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Launch the process, and note when, so that an early death is recognised."""
        self._launched = time.monotonic()
        if self._launcher is None:
            return await super().launch_kernel(cmd, **kwargs)
        try:
            return await super().launch_kernel(cmd, **kwargs)
        except Exception as error:  # noqa: BLE001 - a restart that raises is seen by nobody
            source = self._started.source if self._started else EPHEMERAL
            launch = self._explain(_inner_failed(error), source, retry=False)
        self.launch_here(kwargs)
        kwargs = await super().pre_launch(**kwargs)
        command = [*launch.argv, *_after_program(kwargs.pop("cmd"))]
        return await super().launch_kernel(command, **_completed(kwargs, launch, source))

    async def poll(self) -> int | None:
        """Look whether the process has ended; called about once a second while a kernel runs."""
        code = await super().poll()
        if code is not None and self._watched:
            self._watched = False
            is_failure = code not in (0, PORT_TAKEN)
            if is_failure and time.monotonic() - self._launched < _YOUNG:
                self._died_young = not await self._became_ready()
        return code

    async def _became_ready(self) -> bool:
        if self._started is None:
            return True
        name, process = self._started.name, self.pid or 0
        return await asyncio.to_thread(environments.became_ready, name, process, context=Context())

    async def shutdown_requested(self, restart: bool = False) -> None:  # noqa: FBT001, FBT002 - as in the base
        """Take note that somebody asks the kernel to end."""
        await self._end_watch()
        await super().shutdown_requested(restart=restart)

    async def send_signal(self, signum: int) -> None:
        """Send a signal; even an interrupt may end a kernel that is not ready yet."""
        await self._end_watch()
        await super().send_signal(signum)

    async def _end_watch(self) -> None:
        """Look a last time whether the process has ended by itself; from now on it is made to."""
        if self._watched:
            await self.poll()
        self._watched = False

    async def cleanup(self, restart: bool = False) -> None:  # noqa: FBT001, FBT002 - as in the base
        """Remove an ephemeral environment with its kernel; called when the kernel has ended."""
        await super().cleanup(restart=restart)
        started = self._started
        if started is not None and started.source.kind is SourceKind.EPHEMERAL and not restart:
            self._started = None
            await asyncio.to_thread(environments.discard, started.name, context=Context())

    def _prepare(self, source: Source) -> _Launch:
        previous = self._started
        if self._died_young:
            self._died_young = False
            if previous is not None:
                environments.distrust(previous.name, context=Context())
            msg = "The kernel ended by itself right after its start."
            hint = (
                "A package of the environment may get in its way: mend the block and save, then "
                "restart. The server's log has the kernel's last words."
            )
            return self._explain(EngineFailed(msg, hint=hint), source, retry=False)
        name = None
        if previous is not None and previous.source == source == EPHEMERAL:
            # A restart: nothing else tells which environment it was.
            name = previous.name
        try:
            started = environments.start(source, context=Context(), name=name)
        except (ScriptEnvError, OSError) as error:
            return self._explain(error, source)
        except Exception as error:
            # A restart that raises is seen by nobody.
            self.log.exception("scriptenv: the environment could not be prepared")
            return self._explain(error, source)
        self._started, self._watched = started, True
        self._hand_on(started)
        looking = threading.Thread(
            target=_keep_picker_true, args=(Context(), self.log), daemon=True
        )
        looking.start()
        variables = {"SCRIPTENV_PREPARED": "1"}
        return _Launch(argv=started.argv, variables=variables, curve=started.curve)

    def _hand_on(self, started: Start) -> None:
        """Have the source's own kernelspec launch through the same provisioner as this one."""
        metadata = self.kernel_spec.metadata if self.kernel_spec else {}
        config = metadata.get("kernel_provisioner", {}).get("config")
        if config:
            with contextlib.suppress(ScriptEnvError, OSError):
                specs.hand_on(started.name, config)

    def _explain(self, error: Exception, source: Source, *, retry: bool = True) -> _Launch:
        self.log.warning("scriptenv: %s", error)
        self._watched = False
        argv, variables = explaining.command(error, source=source, retry=retry)
        return _Launch(argv=argv, variables=variables, curve=True, explains=True)

    def _without_encryption(
        self, launch: _Launch, source: Source, kwargs: dict[str, Any]
    ) -> _Launch:
        """Launch a kernel that cannot encrypt, unless the server or its clients rely on it.

        A kernel that was promised encryption and cannot keep it never becomes ready.
        """
        manager = self.parent
        policy = kwargs.get(
            "transport_encryption", getattr(manager, "transport_encryption", "disabled")
        )
        if policy == "required" or getattr(manager, "curve_secretkey", None) is not None:
            msg = "The kernel of this notebook's Python cannot encrypt its connections."
            hint = "Ask for Python 3.10 or newer in requires-python, or shut down and start again."
            return self._explain(EngineFailed(msg, hint=hint), source, retry=False)
        kwargs["transport_encryption"] = "disabled"
        return launch


def _keep_picker_true(context: Context, log: Any) -> None:
    """Clear the picker of sources that are gone, while the kernel starts."""
    try:
        environments.sweep_kernelspecs(context)
    except (ScriptEnvError, OSError) as error:
        log.warning("scriptenv: %s", error)


def _inner_failed(error: Exception) -> ScriptEnvError:
    """Give the reason why the inner provisioner does not launch, as an error of ours."""
    if isinstance(error, ScriptEnvError):
        return error
    msg = f"The provisioner that is to launch the kernel failed: {error!r}."
    return EngineFailed(msg, hint="The server's log has more. Restart the kernel to try again.")


def _completed(kwargs: dict[str, Any], launch: _Launch, source: Source) -> dict[str, Any]:
    """Give the arguments of a launch with variables and folder of the kernel."""
    inherited = {name: value for name, value in kwargs["env"].items() if name not in _OURS}
    kwargs["env"] = settings.child_environment(inherited, add=launch.variables)
    kwargs["cwd"] = _folder(kwargs.get("cwd"), source)
    return kwargs


def _after_program(command: list[str]) -> list[str]:
    """Give the arguments from ``-f`` on: what stands before names a program."""
    return command[command.index("-f") :] if "-f" in command else command[-2:]


def _folder(given: Any, source: Source) -> str | None:
    """Choose the kernel's folder: the given one, or the source's if that is gone."""
    beside = None if source.path is None else Path(source.path).parent
    for folder in (given, beside):
        # `Path.is_dir` raises where a folder above may not be entered.
        if folder is not None and os.path.isdir(folder):  # noqa: PTH112 - see above
            return str(folder)
    return None if given is None else str(Path.home())
