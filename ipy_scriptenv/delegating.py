"""A local provisioner that can have another provisioner do the launching.

Which one is said in the kernelspec (``metadata.kernel_provisioner.config.inner``) or in Jupyter's
configuration (``c.ScriptEnvProvisioner.inner``), by the name of its entry point. Without one, all
of this is jupyter_client's own :class:`LocalProvisioner`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jupyter_client.connect import KernelConnectionInfo, port_names
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.localinterfaces import is_local_ip, localhost
from jupyter_client.provisioning.factory import KernelProvisionerFactory
from jupyter_client.provisioning.local_provisioner import LocalProvisioner
from jupyter_client.provisioning.provisioner_base import KernelProvisionerBase
from traitlets import Dict, List, Unicode

from ipy_scriptenv.errors import EngineFailed, WrongCall

__all__ = ["WORD", "Delegating", "with_program"]

WORD = "{scriptenv}"
"""Stands in ``inner_argv`` for interpreter and launcher of the environment."""

_MIRRORED = ("pid", "pgid", "ip", "process", "connection_info")
"""What others, such as extensions that show a kernel's memory, read off a provisioner."""


def with_program(
    command: Sequence[str], program: Sequence[str], usual: Sequence[str], wrapped: Sequence[str]
) -> list[str]:
    """Give a command that starts the environment's kernel.

    :param command: what a provisioner wants to launch, perhaps with words of its own around
    :param program: interpreter and launcher of the environment
    :param usual: what stands in their place in the command of the manager's kernelspec, which
        provisioners of the local kind take
    :param wrapped: what is to stand there: *program*, perhaps with words around
    :raises EngineFailed: if neither is in it: it would start something else
    """
    words = list(command)
    if _place(words, program) is not None:
        return words
    at = _place(words, usual)
    if at is None:
        msg = "The provisioner that is to launch the kernel has a command of its own for that."
        hint = f"Say in `inner_argv` what it shall launch, with `{WORD}` for the kernel's program."
        raise EngineFailed(msg, hint=hint)
    return [*words[:at], *wrapped, *words[at + len(usual) :]]


def _before_file(words: Sequence[str]) -> Sequence[str]:
    return words[: words.index("-f")] if "-f" in words else words


def _place(words: list[str], wanted: Sequence[str]) -> int | None:
    """Say where in *words* those *wanted* begin."""
    size = len(wanted)
    places = (at for at in range(len(words)) if size and words[at : at + size] == [*wanted])
    return next(places, None)


class Delegating(LocalProvisioner):
    """Launches itself, or has :attr:`inner` do it and everything that comes after a launch."""

    inner = Unicode(
        config=True, help="Entry point's name of the provisioner that launches; empty: this one."
    )
    inner_config: Dict[str, Any] = Dict(
        config=True, help="What that provisioner is configured with, as in a kernelspec's `config`."
    )

    inner_argv: List[str] = List(
        Unicode(),
        config=True,
        help=f"The command that it launches, with the word `{WORD}` for the kernel's program; "
        "empty: that program and `-f {connection_file}`.",
    )

    _delegate: KernelProvisionerBase | None = None
    """The other one, once it was made; a restart finds it again."""
    _launcher: KernelProvisionerBase | None = None
    """The other one, if it is to launch, or has launched, the present process."""

    def choose_launcher(self, program: Sequence[str]) -> None:
        """Decide who launches, before a launch.

        :param program: interpreter and launcher of the environment
        :raises WrongCall: if the inner provisioner is not there, or is this one
        :raises EngineFailed: if it cannot be made
        """
        self._launcher = None
        if not self.inner:
            return
        made = self._made()
        made.kernel_spec = self._inner_spec(program)
        self._launcher = made

    def launch_here(self, kwargs: dict[str, Any]) -> None:
        """Have the present launch done by this provisioner itself.

        :param kwargs: of :meth:`pre_launch`, changed where the other one's connection goes on
        """
        self._launcher = None
        manager = self.parent
        if self._delegate is None or self.ports_cached or not (manager and manager.shell_port):
            return
        policy = kwargs.get("transport_encryption", manager.transport_encryption)
        if is_local_ip(manager.ip) and (policy != "required" or manager.curve_publickey):
            # Clients are connected already: the same ports, as they are used now.
            self.ports_cached = True
            if manager.curve_publickey is None:
                kwargs["transport_encryption"] = "disabled"
            return
        manager.cleanup_connection_file()
        manager.ip = localhost()
        for name in port_names:
            setattr(manager, name, 0)

    def _made(self) -> KernelProvisionerBase:
        if self._delegate is None:
            factory = KernelProvisionerFactory.instance()
            spec = self._inner_spec(())
            try:
                made = factory.create_provisioner_instance(self.kernel_id, spec, self.parent)
            except ModuleNotFoundError as error:
                msg = f"There is no kernel provisioner `{self.inner}`, which is to launch kernels."
                hint = "Install it where Jupyter's server runs, or correct `inner`."
                raise WrongCall(msg, hint=hint) from error
            except Exception as error:
                msg = f"The kernel provisioner `{self.inner}` could not be made: {error!r}."
                raise EngineFailed(msg, hint="Look at `inner_config`.") from error
            if isinstance(made, Delegating):
                msg = f"`{self.inner}` is this provisioner: it cannot launch through itself."
                raise WrongCall(msg, hint="Name another one as `inner`, or none.")
            self._delegate = made
        return self._delegate

    def _inner_spec(self, program: Sequence[str]) -> KernelSpec:
        """Give the kernelspec as the inner provisioner is to see it."""
        spec = KernelSpec(resource_dir=self.kernel_spec.resource_dir, **self.kernel_spec.to_dict())
        spec.argv = self._command(program)
        stanza = {"provisioner_name": self.inner, "config": dict(self.inner_config)}
        spec.metadata = {**spec.metadata, "kernel_provisioner": stanza}
        return spec

    def _command(self, program: Sequence[str]) -> list[str]:
        words = self.inner_argv or [WORD, "-f", "{connection_file}"]
        return [each for word in words for each in (program if word == WORD else (word,))]

    def launching(self, command: Sequence[str], program: Sequence[str]) -> list[str]:
        """Give the inner provisioner's *command* with the environment's *program* in it.

        :raises EngineFailed: if it would start something else
        """
        # Provisioners of the local kind take the manager's command, others that of their spec.
        usual = self.parent.format_kernel_cmd() if self.parent else ()
        wrapped = self._command(program)
        return with_program(command, program, _before_file(usual), _before_file(wrapped))

    def _mirror(self) -> None:
        """Show what the launcher knows of the process as if it were known here."""
        for name in _MIRRORED:
            setattr(self, name, getattr(self._launcher, name, None))

    @property
    def has_process(self) -> bool:
        """Whether there is a process, as far as the launcher knows."""
        return super().has_process if self._launcher is None else self._launcher.has_process

    async def poll(self) -> int | None:
        """Look whether the process has ended: its exit code, ``None`` while it runs."""
        return await (super().poll() if self._launcher is None else self._launcher.poll())

    async def wait(self) -> int | None:
        """Wait for the process to end, after a shutdown or a kill."""
        if self._launcher is None:
            return await super().wait()
        code = await self._launcher.wait()
        self._mirror()
        return code

    async def send_signal(self, signum: int) -> None:
        """Send a signal to the process; an interrupt of the kernel is one."""
        launcher = self._launcher
        await (super().send_signal(signum) if launcher is None else launcher.send_signal(signum))

    async def kill(self, restart: bool = False) -> None:  # noqa: FBT001, FBT002 - as in the base
        """Kill the process; called for a restart that does not wait, and for one that hangs."""
        launcher = self._launcher
        await (super().kill(restart) if launcher is None else launcher.kill(restart=restart))

    async def terminate(self, restart: bool = False) -> None:  # noqa: FBT001, FBT002 - as in the base
        """Ask the process to end by a signal."""
        launcher = self._launcher
        await (
            super().terminate(restart) if launcher is None else launcher.terminate(restart=restart)
        )

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """Prepare a launch; :meth:`choose_launcher` has been called."""
        if self._launcher is None:
            return await super().pre_launch(**kwargs)
        prepared: dict[str, Any] = await self._launcher.pre_launch(**kwargs)
        return prepared

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Launch the process; called after :meth:`pre_launch`."""
        if self._launcher is None:
            return await super().launch_kernel(cmd, **kwargs)
        await self._launcher.launch_kernel(cmd, **kwargs)
        self._mirror()
        return self.connection_info

    async def post_launch(self, **kwargs: Any) -> None:
        """Do what is to be done after a launch."""
        if self._launcher is None:
            await super().post_launch(**kwargs)
            return
        await self._launcher.post_launch(**kwargs)
        self._mirror()

    async def shutdown_requested(self, restart: bool = False) -> None:  # noqa: FBT001, FBT002 - as in the base
        """Take note that the kernel was asked to end."""
        if self._launcher is None:
            await super().shutdown_requested(restart=restart)
        else:
            await self._launcher.shutdown_requested(restart=restart)

    async def cleanup(self, restart: bool = False) -> None:  # noqa: FBT001, FBT002 - as in the base
        """Free what the launch took; called when the process has ended."""
        if self._launcher is None:
            await super().cleanup(restart=restart)
        else:
            await self._launcher.cleanup(restart=restart)

    def get_shutdown_wait_time(self, recommended: float = 5.0) -> float:
        """Give the seconds that a kernel has to end by itself."""
        if self._launcher is None:
            return super().get_shutdown_wait_time(recommended)
        return self._launcher.get_shutdown_wait_time(recommended)

    def get_stable_start_time(self, recommended: float = 10.0) -> float:
        """Give the seconds after which a kernel that still runs has started well."""
        if self._launcher is None:
            return super().get_stable_start_time(recommended)
        return self._launcher.get_stable_start_time(recommended)

    def resolve_path(self, path_str: str) -> str | None:
        """Give where a relative path of the kernel's leads."""
        if self._launcher is None:
            return super().resolve_path(path_str)
        return self._launcher.resolve_path(path_str)

    async def get_provisioner_info(self) -> dict[str, Any]:
        """Give what another server process needs to take the running kernel over."""
        if self._launcher is None:
            return await super().get_provisioner_info()
        return {**await self._launcher.get_provisioner_info(), "inner": self.inner}

    async def load_provisioner_info(self, provisioner_info: dict[str, Any]) -> None:
        """Take a running kernel over.

        :raises ScriptEnvError: if the inner provisioner cannot be made here
        """
        if provisioner_info.get("inner"):
            self.inner = provisioner_info["inner"]
            self._launcher = self._made()
            await self._launcher.load_provisioner_info(provisioner_info)
            self._mirror()
            return
        await super().load_provisioner_info(provisioner_info)
