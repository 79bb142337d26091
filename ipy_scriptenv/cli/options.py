"""Options that several verbs take, with one meaning: which versions, what a lock means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from ipy_scriptenv.cli.common import absolute_index
from ipy_scriptenv.environments import ALL_PACKAGES, Choosing, Pin
from ipy_scriptenv.errors import WrongCall

__all__ = [
    "CHOOSING",
    "EXCLUDE_NEWER",
    "INDEX",
    "PINS",
    "PYTHON",
    "choosing_of",
    "pin_of",
]

PYTHON = click.option(
    "--python", "-p", metavar="REQUEST", help="A version, a range, or an interpreter's path."
)
INDEX = click.option(
    "--index", "indexes", metavar="URL", multiple=True, help="Ask it too, in this call."
)
EXCLUDE_NEWER = click.option(
    "--exclude-newer", metavar="DATE", help="Pass over what is newer than DATE, in this call."
)


def CHOOSING(command: Callable[..., Any]) -> Callable[..., Any]:  # noqa: N802 - used as a decorator
    """Add the options by which versions are chosen; :func:`choosing_of` reads them."""
    for option in (
        INDEX,
        EXCLUDE_NEWER,
        click.option(
            "--upgrade-package", "-P", "packages", metavar="NAME", multiple=True,
            help="Let NAME be newer than it is; repeatable.",
        ),
        click.option("--upgrade", "-U", is_flag=True, help="Let every package be newer."),
    ):  # fmt: skip
        command = option(command)
    return command


def PINS(command: Callable[..., Any]) -> Callable[..., Any]:  # noqa: N802 - used as a decorator
    """Add the options that say what the lock means; :func:`pin_of` reads them."""
    command = click.option(
        "--frozen", is_flag=True, help="Install the lock as it is, whatever the block says."
    )(command)
    return click.option(
        "--locked", is_flag=True, help="Install the lock; fail if it is not up to date."
    )(command)


def choosing_of(
    *,
    upgrade: bool,
    packages: tuple[str, ...],
    exclude_newer: str | None,
    indexes: tuple[str, ...],
) -> Choosing:
    """Give what the options of :func:`CHOOSING` ask for; paths are taken from the call's folder."""
    return Choosing(
        upgrade=ALL_PACKAGES if upgrade else packages,
        exclude_newer=exclude_newer,
        index=tuple(absolute_index(each) for each in indexes),
    )


def pin_of(*, locked: bool, frozen: bool, choosing: Choosing) -> Pin:
    """Give what the options of :func:`PINS` ask for.

    :raises WrongCall: if two options contradict each other
    """
    if locked and frozen:
        msg = "--locked and --frozen contradict each other."
        raise WrongCall(msg)
    pin = Pin.LOCKED if locked else Pin.FROZEN if frozen else Pin.UPDATE
    if pin is not Pin.UPDATE and choosing.upgrade:
        msg = f"--{pin.value} and --upgrade contradict each other."
        raise WrongCall(msg)
    return pin
