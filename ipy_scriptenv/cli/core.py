"""The verbs about one source's environment, and the list of all."""

from __future__ import annotations

import sys
from typing import Any

import click

from ipy_scriptenv import card, environments, present, present_lists
from ipy_scriptenv.cli.common import (
    JSON,
    SOURCE,
    absolute_python,
    command_line,
    context_of_call,
    from_folder_of_call,
    located,
    show,
)
from ipy_scriptenv.cli.options import CHOOSING, PINS, PYTHON, choosing_of, pin_of
from ipy_scriptenv.environments import ORDERS, STATES

__all__ = ["execute", "find", "list_", "status", "sync"]


@command_line.command()
@SOURCE
@PYTHON
@PINS
@CHOOSING
@JSON
def sync(
    source: str,
    python: str | None,
    *,
    locked: bool,
    frozen: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Make the environment of SOURCE hold what its block declares.

    Exactly that: what was installed by hand goes. The environment is made if it is missing, and
    rebuilt if it is damaged or its Python does not satisfy the block. With a kernel running in it,
    what that kernel has imported is left alone.
    A lock decides the versions; one that is not for the block as it is now is brought up to date.
    """
    choosing = choosing_of(**options)
    pin = pin_of(locked=locked, frozen=frozen, choosing=choosing)
    context = context_of_call(as_json=as_json)
    request = absolute_python(python)
    synced = environments.sync(
        environments.locate(source), context=context, python=request, pin=pin, choosing=choosing
    )
    environments.sweep_kernelspecs(context)
    show(present.sync_json(synced) if as_json else present.sync_text(synced))


@command_line.command()
@SOURCE
@JSON
def find(source: str, *, as_json: bool) -> None:
    """Print the path of the Python in the environment of SOURCE."""
    located = environments.locate(source)
    found = environments.find(located, store=context_of_call().store)
    show(present.found_json(str(located), found) if as_json else f"{found.python}\n")


@command_line.command()
@SOURCE
@JSON
def status(source: str, *, as_json: bool) -> None:
    """Compare what SOURCE declares with what is installed."""
    found = environments.status(environments.locate(source), context=context_of_call())
    show(card.status_json(found) if as_json else card.status_text(found))


@command_line.command(name="list")
@click.option(
    "--state", "states", multiple=True, type=click.Choice(STATES), help="Only this; repeatable."
)
@click.option("--source", "pattern", metavar="GLOB", help="Only sources whose path matches.")
@click.option("--sort", type=click.Choice(ORDERS), default="name", show_default=True)
@click.option("--size", "sizes", is_flag=True, help="Add up the sizes too, which takes longer.")
@JSON
def list_(
    *, states: tuple[str, ...], pattern: str | None, sort: str, sizes: bool, as_json: bool
) -> None:
    """List the environments of this user."""
    listed = environments.list_environments(
        context=context_of_call(),
        states=frozenset(states),
        pattern=pattern,
        order=sort,
        sizes=sizes or sort == "size",
    )
    show(present_lists.list_json(listed) if as_json else present_lists.list_text(listed))


@command_line.command()
@click.argument("notebook", callback=located)
@click.option("-o", "--output", metavar="FILE", help="Write the executed notebook to FILE.")
@click.option(
    "--strict", is_flag=True, help="A cell fails that uses what the notebook does not declare."
)
@PYTHON
@PINS
@CHOOSING
@JSON
def execute(
    notebook: str,
    output: str | None,
    *,
    strict: bool,
    python: str | None,
    locked: bool,
    frozen: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Run NOTEBOOK's cells in its own environment.

    Without a browser; shows what the cells print. The exit code is 1 if a cell fails; FILE is
    written in that case too. An option about versions or the Python has the environment made
    complete first, as by sync; without one, the first cell sees to that.
    """
    from ipy_scriptenv import executing

    choosing = choosing_of(**options)
    pin = pin_of(locked=locked, frozen=frozen, choosing=choosing)
    source = environments.locate(notebook)
    context = context_of_call(as_json=as_json)
    outcome = executing.execute(
        source,
        context=context,
        output=None if output is None else from_folder_of_call(output),
        strict=strict,
        python=absolute_python(python),
        pin=pin,
        choosing=choosing,
        show=None if as_json else show,
    )
    if as_json:
        show(outcome.to_json())
    elif outcome.output is not None:
        click.echo(f"Wrote {present.escaped(str(outcome.output))}", err=True)
    if outcome.failed_cell is not None:
        sys.exit(1)
