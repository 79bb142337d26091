"""The verbs that move, mend and throw away."""

from __future__ import annotations

import re
import sys
from datetime import timedelta

import click

from ipy_scriptenv import environments, present, present_lists
from ipy_scriptenv.cli.common import (
    JSON,
    SOURCE,
    absolute_python,
    command_line,
    context_of_call,
    located,
    show,
)
from ipy_scriptenv.cli.options import PYTHON
from ipy_scriptenv.environments import Kept
from ipy_scriptenv.errors import WrongCall
from ipy_scriptenv.policy import read_size

__all__ = [
    "delete",
    "doctor",
    "move",
    "prune",
    "read_duration",
    "rebuild",
    "register",
    "unregister",
]

_YES = click.option("--yes", "-y", is_flag=True, help="Do not ask.")
_UNITS = {"h": "hours", "d": "days", "w": "weeks"}


@command_line.command()
@click.option(
    "--unused-for", metavar="TIME", help="Also environments not used for TIME: 30d, 12h, 4w."
)
@click.option(
    "--over",
    metavar="SIZE",
    help="Also the longest unused, until all environments together have at most SIZE: 20G.",
)
@click.option("--all", "everything", is_flag=True, help="Everything that is not in use.")
@click.option("--dry-run", is_flag=True, help="Only show what would go.")
@_YES
@JSON
def prune(
    *,
    unused_for: str | None,
    over: str | None,
    everything: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Remove what nobody will miss.

    That is: environments whose source is gone, with their kernelspecs; kernelspecs of ours that
    start nothing; kernel layers and other parts of ours that no environment uses; what crashes
    left. Never what is in use, and never what is not ours. Shows what goes, and asks.
    """
    kept = Kept(
        unused_for=None if unused_for is None else read_duration(unused_for),
        size=None if over is None else _size(over),
        everything=everything,
    )
    context = context_of_call()
    items = environments.prunable(kept, context=context)
    if not as_json:
        show(present_lists.prune_text(items, done=False))
    if dry_run or not (items or everything):
        if as_json:
            show(present_lists.prune_json(items, dry_run=dry_run))
        return
    _confirm("Remove this?", yes=yes, as_json=as_json)
    removed, kept_back = environments.prune(items, context=context, everything=everything)
    if as_json:
        show(present_lists.prune_json(removed, dry_run=False))
    else:
        show(present_lists.prune_text(removed, done=True))
        for item, why in kept_back:
            click.echo(present.escaped(f"{item.source or item.name} stays: {why}"), err=True)


@command_line.command()
@SOURCE
@_YES
@JSON
def delete(source: str, *, yes: bool, as_json: bool) -> None:
    """Remove the environment of SOURCE, and its kernelspec.

    SOURCE itself stays.
    """
    located = environments.locate_or_gone(source)
    context = context_of_call()
    found = environments.whereabouts(context.store, located)
    if not yes and sys.stdin.isatty() and not as_json:
        click.echo(present.escaped(str(context.store.environment(found))))
    _confirm("Remove this environment?", yes=yes, as_json=as_json)
    item = environments.delete(located, context=context)
    show(present.delete_json(item) if as_json else present_lists.prune_text([item], done=True))


@command_line.command()
@click.argument("old", callback=located)
@click.argument("new", callback=located)
@JSON
def move(old: str, new: str, *, as_json: bool) -> None:
    """Give the environment of OLD to NEW.

    NEW is the file OLD, renamed or moved. Nothing is installed anew. Where kernels run in the
    environment, its folder follows when they have ended.
    """
    moved = environments.move(
        environments.locate_or_gone(old), environments.locate(new), context=context_of_call()
    )
    show(present.move_json(moved) if as_json else present.move_text(moved))


@command_line.command()
@SOURCE
@PYTHON
@JSON
def rebuild(source: str, python: str | None, *, as_json: bool) -> None:
    """Make the environment of SOURCE anew, at the same path."""
    synced = environments.sync(
        environments.locate(source),
        context=context_of_call(as_json=as_json),
        python=absolute_python(python),
        rebuild=True,
    )
    show(present.sync_json(synced) if as_json else present.sync_text(synced))


@command_line.command()
@SOURCE
@JSON
def register(source: str, *, as_json: bool) -> None:
    """Show SOURCE's own kernel in Jupyter's kernel picker."""
    located = environments.locate(source)
    name = environments.register(located, context=context_of_call())
    show(present.register_json(located, name) if as_json else f"{name}\n")


@command_line.command()
@SOURCE
@JSON
def unregister(source: str, *, as_json: bool) -> None:
    """Take SOURCE's own kernel out of the kernel picker, for good."""
    located = environments.locate_or_gone(source)
    there = environments.unregister(located, context=context_of_call())
    text = "It is no longer in the kernel picker.\n" if there else "It was not there.\n"
    show(present.register_json(located, None) if as_json else text)


@command_line.command()
@click.option("--fix", is_flag=True, help="Mend what can be mended.")
@JSON
def doctor(*, fix: bool, as_json: bool) -> None:
    """Find and explain everything that is wrong.

    The exit code is 1 if something stays so.
    """
    context = context_of_call(as_json=as_json)
    findings = environments.examine(context)
    reasons = environments.mend(findings, context) if fix else [None] * len(findings)
    outcomes = [
        (found, fix and why is None, why) for found, why in zip(findings, reasons, strict=True)
    ]
    if as_json:
        show(present_lists.doctor_json(outcomes))
    else:
        for found, mended, why in outcomes:
            show(present_lists.finding_text(found, mended=mended, why_not=why))
        if not outcomes:
            show("Nothing is wrong.\n")
    if not all(mended for _, mended, _ in outcomes):
        sys.exit(1)


def _confirm(question: str, *, yes: bool, as_json: bool) -> None:
    """Ask on a terminal; elsewhere nothing is removed without ``--yes``.

    :raises WrongCall: where nobody can be asked
    """
    if yes:
        return
    if as_json or not sys.stdin.isatty():
        msg = "Nobody can be asked whether this may be removed."
        raise WrongCall(msg, hint="Say --yes, or look first with --dry-run.")
    click.confirm(question, abort=True)


def read_duration(text: str) -> timedelta:
    """Read a time such as ``30d``, ``12h`` or ``4w``.

    :raises WrongCall: if it is none
    """
    found = re.fullmatch(r"(\d{1,6})\s*([hdw])", text.strip().lower())
    if found is None:
        msg = f"`{text}` is no time: write it as 30d, 12h or 4w."
        raise WrongCall(msg)
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def _size(text: str) -> int:
    try:
        return read_size(text)
    except ValueError as error:
        raise WrongCall(str(error)) from None
