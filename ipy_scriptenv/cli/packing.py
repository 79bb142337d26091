"""The verbs that take an environment to another machine."""

from __future__ import annotations

import click

from ipy_scriptenv import environments, present, present_packs
from ipy_scriptenv.cli.common import (
    JSON,
    SOURCE,
    absolute_python,
    command_line,
    context_of_call,
    from_folder_of_call,
    show,
)
from ipy_scriptenv.cli.options import PINS, PYTHON, pin_of
from ipy_scriptenv.environments import Choosing

__all__ = ["pack", "unpack"]


@command_line.command()
@SOURCE
@click.option(
    "-o", "--output", metavar="FILE", required=True,
    help="The archive: FILE.tar.zst, .tar.gz or .tar.",
)  # fmt: skip
@click.option("--wheels", is_flag=True, help="Pack the wheels of its lock, to install from.")
@click.option("--no-kernel", is_flag=True, help="Leave the kernel's own packages out.")
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@PINS
@JSON
def pack(
    source: str,
    *,
    output: str,
    wheels: bool,
    no_kernel: bool,
    force: bool,
    locked: bool,
    frozen: bool,
    as_json: bool,
) -> None:
    """Pack the environment of SOURCE for another machine.

    It is brought up to date first, as by sync. The archive holds what is installed, the lock, the
    kernel and a checksum of each file; no path of this machine, no password, no byte code. unpack
    makes it the environment of a source on a machine with the same Python, without network.
    """
    packed = environments.pack(
        environments.locate(source),
        from_folder_of_call(output),
        context=context_of_call(as_json=as_json),
        kind=environments.Kind.WHEELS if wheels else environments.Kind.ENVIRONMENT,
        kernel=not no_kernel,
        replacing=force,
        pin=pin_of(locked=locked, frozen=frozen, choosing=Choosing()),
    )
    show(present_packs.pack_json(packed) if as_json else present_packs.pack_text(packed))
    if not as_json:
        for warning in packed.warnings:
            click.echo(f"warning: {present.escaped(warning)}", err=True)


@command_line.command()
@click.argument("archive")
@SOURCE
@PYTHON
@JSON
def unpack(archive: str, source: str, *, python: str | None, as_json: bool) -> None:
    """Make what ARCHIVE holds the environment of SOURCE.

    ARCHIVE is what pack has written. All of it is checked before anything stands, and nothing of it
    is run. It needs the Python that it was packed with, no network, and no kernel in the
    environment that it replaces. Take archives from those alone whose code you would run.
    """
    unpacked = environments.unpack(
        from_folder_of_call(archive),
        environments.locate(source),
        context=context_of_call(as_json=as_json),
        python=absolute_python(python),
    )
    show(present_packs.unpack_json(unpacked) if as_json else present_packs.unpack_text(unpacked))
