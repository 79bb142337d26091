"""The verbs about what a source resolves to: its lock, a tree, other tools' formats."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ipy_scriptenv import environments, present, present_locks
from ipy_scriptenv.cli.common import (
    JSON,
    SOURCE,
    absolute_index,
    absolute_python,
    command_line,
    context_of_call,
    from_folder_of_call,
    show,
)
from ipy_scriptenv.environments import ALL_PACKAGES, Choosing, Form, Pin
from ipy_scriptenv.errors import WrongCall
from ipy_scriptenv.files import explained, read_regular, rewrite

__all__ = ["CHOOSING", "PINS", "choosing_of", "export", "lock", "pin_of", "tree"]

_PYTHON = click.option(
    "--python", metavar="REQUEST", help="Resolve with this Python: a version, a range, a path."
)
_LARGEST = 64 * 2**20


def CHOOSING(command: Callable[..., Any]) -> Callable[..., Any]:  # noqa: N802 - used as a decorator
    """Add the options by which versions are chosen."""
    for option in (
        click.option("--index", "indexes", metavar="URL", multiple=True, help="Ask it too."),
        click.option("--exclude-newer", metavar="DATE", help="Pass over what is newer than DATE."),
        click.option(
            "--upgrade-package", "-P", "packages", metavar="NAME", multiple=True,
            help="Let NAME be newer than it is; repeatable.",
        ),
        click.option("--upgrade", "-U", is_flag=True, help="Let every package be newer."),
    ):  # fmt: skip
        command = option(command)
    return command


def PINS(command: Callable[..., Any]) -> Callable[..., Any]:  # noqa: N802 - used as a decorator
    """Add the options that say what the lock means."""
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


def pin_of(*, locked: bool, frozen: bool, choosing: Choosing | None = None) -> Pin:
    """Give what the options of :func:`PINS` ask for.

    :raises WrongCall: if two of them contradict each other
    """
    if locked and frozen:
        msg = "--locked and --frozen contradict each other."
        raise WrongCall(msg)
    pin = Pin.LOCKED if locked else Pin.FROZEN if frozen else Pin.UPDATE
    if pin is not Pin.UPDATE and choosing is not None and choosing.upgrade:
        msg = f"--{pin.value} and --upgrade contradict each other."
        raise WrongCall(msg)
    return pin


@command_line.command()
@SOURCE
@click.option("--embed", is_flag=True, help="Put the lock into the notebook's metadata.")
@click.option("--check", is_flag=True, help="Write nothing; fail if the lock is not up to date.")
@CHOOSING
@_PYTHON
@JSON
def lock(
    source: str,
    *,
    embed: bool,
    check: bool,
    python: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Pin everything that the block of SOURCE resolves to, for all platforms.

    The lock is uv's: SOURCE.lock, or with --embed the notebook's metadata. What is pinned already
    stays as it is, as far as the block lets it.
    """
    choosing = choosing_of(**options)
    if check and (embed or choosing.upgrade):
        msg = "--check writes nothing: leave out --embed and --upgrade."
        raise WrongCall(msg)
    located = environments.locate(source)
    context = context_of_call(as_json=as_json)
    request = absolute_python(python)
    if check:
        locked = environments.check_lock(
            located, context=context, python=request, choosing=choosing
        )
    else:
        locked = environments.lock(
            located, context=context, python=request, embed=embed, choosing=choosing
        )
    show(present_locks.lock_json(locked) if as_json else present_locks.lock_text(locked))


@command_line.command()
@SOURCE
@click.option("--depth", "-d", metavar="N", type=click.IntRange(0, 255), help="Only N levels.")
@click.option("--package", metavar="NAME", multiple=True, help="Only below NAME; repeatable.")
@click.option("--invert", is_flag=True, help="Show what needs a package, below it.")
@click.option("--outdated", is_flag=True, help="Tell the newest version of each package.")
@_PYTHON
@JSON
def tree(
    source: str,
    *,
    depth: int | None,
    package: tuple[str, ...],
    invert: bool,
    outdated: bool,
    python: str | None,
    as_json: bool,
) -> None:
    """Show what SOURCE resolves to as a tree; from its lock, where it has one."""
    options = [] if depth is None else ["--depth", str(depth)]
    options += [word for name in package for word in ("--package", name)]
    options += ["--invert"] * invert + ["--outdated"] * outdated
    located = environments.locate(source)
    context = context_of_call(as_json=as_json)
    request = absolute_python(python)
    text = environments.tree(located, *options, context=context, python=request)
    shown = "\n".join(present.escaped(line) for line in text.splitlines()) + "\n"
    show(present_locks.tree_json(located, text) if as_json else shown)


@command_line.command()
@SOURCE
@click.option(
    "--format", "form", type=click.Choice([each.value for each in Form]),
    default=Form.REQUIREMENTS.value, show_default=True,
)  # fmt: skip
@click.option("-o", "--output", metavar="FILE", help="Write to FILE instead.")
@click.option("--no-hashes", is_flag=True, help="Leave out the hashes of files.")
@_PYTHON
@JSON
def export(
    source: str,
    *,
    form: str,
    output: str | None,
    no_hashes: bool,
    python: str | None,
    as_json: bool,
) -> None:
    """Print what SOURCE resolves to, exactly pinned, for other tools.

    From its lock, where it has one. No address in it holds a password.
    """
    located = environments.locate(source)
    text = environments.export(
        located,
        context=context_of_call(as_json=as_json),
        form=Form(form),
        python=absolute_python(python),
        hashes=not no_hashes,
    )
    path = None if output is None else from_folder_of_call(output)
    if path is not None:
        _write(path, text)
        if not as_json:
            click.echo(f"Wrote {present.escaped(str(path))}", err=True)
    if as_json:
        show(present_locks.export_json(located, form, text, output=path))
    elif path is None:
        show(text)


def _write(path: Path, text: str) -> None:
    with explained(path):
        there = read_regular(path, limit=_LARGEST) if path.exists() else None
        rewrite(path, text.encode("utf-8", "surrogateescape"), expected=there)
