"""The verbs that hand over to a script, or to IPython, in the source's environment."""

from __future__ import annotations

import sys
from typing import Any

import click

from ipy_scriptenv import fetching, running
from ipy_scriptenv.cli.common import (
    SOURCE,
    absolute_python,
    command_line,
    context_of_call,
    end_live_line,
)
from ipy_scriptenv.cli.options import CHOOSING, PINS, PYTHON, choosing_of, pin_of
from ipy_scriptenv.environments import Choosing, Pin
from ipy_scriptenv.errors import WrongCall
from ipy_scriptenv.fetching import Fetched
from ipy_scriptenv.metadata import shown, without_credentials
from ipy_scriptenv.present import escaped

__all__ = ["console", "run"]

# What stands behind SOURCE is the script's, options too.
_PASSING = {"allow_interspersed_args": False}


@command_line.command(context_settings=_PASSING)
@PYTHON
@PINS
@CHOOSING
@click.option("--yes", "-y", is_flag=True, help="Do not ask before a script of an address is run.")
@SOURCE
@click.argument("arguments", metavar="[ARGS]...", nargs=-1, type=click.UNPROCESSED)
def run(
    source: str,
    arguments: tuple[str, ...],
    python: str | None,
    *,
    locked: bool,
    frozen: bool,
    yes: bool,
    **choosing: Any,
) -> None:
    """Run SOURCE as a script in its own environment.

    That is made complete first. SOURCE is a script, a notebook (its code, in order), an https://
    address, or - for standard input. Exit code and signals are the script's own.

    Options stand before SOURCE: what stands behind it is the script's, --locked and --help too.
    """
    context = context_of_call()
    chosen = choosing_of(**choosing)
    pin = pin_of(locked=locked, frozen=frozen, choosing=chosen)
    options = _options(python, pin, chosen)
    has_file = source != "-" and not running.is_address(source)
    if pin is not Pin.UPDATE and not has_file:
        raise WrongCall(f"--{pin.value} is for a file: nothing else has a lock.")
    if source == "-":
        data = sys.stdin.buffer.read(running.LARGEST_TEXT + 1)
        ready = running.text(data, arguments, context=context, options=options)
    elif running.is_address(source):
        found = _fetched(source, yes=yes)
        ready = running.fetched(found, arguments, context=context, options=options)
    else:
        ready = running.file(source, arguments, context=context, options=options)
    end_live_line()
    sys.exit(running.become(ready, store=context.store))


@command_line.command(context_settings=_PASSING)
@PYTHON
@PINS
@CHOOSING
@SOURCE
@click.argument("arguments", metavar="[ARGS]...", nargs=-1, type=click.UNPROCESSED)
def console(
    source: str,
    arguments: tuple[str, ...],
    python: str | None,
    *,
    locked: bool,
    frozen: bool,
    **choosing: Any,
) -> None:
    """Open IPython in the environment of SOURCE.

    That is made complete first; nothing of SOURCE is run. Options stand before SOURCE: what stands
    behind it is IPython's.
    """
    context = context_of_call()
    chosen = choosing_of(**choosing)
    pin = pin_of(locked=locked, frozen=frozen, choosing=chosen)
    options = _options(python, pin, chosen)
    ready = running.console(source, arguments, context=context, options=options)
    end_live_line()
    sys.exit(running.become(ready, store=context.store))


def _options(python: str | None, pin: Pin, choosing: Choosing) -> dict[str, Any]:
    """Give what a sync is told; what was installed by hand stays, but where the lock is the law."""
    return {
        "python": absolute_python(python),
        "pin": pin,
        "choosing": choosing,
        "exact": pin is not Pin.UPDATE,
    }


def _fetched(url: str, *, yes: bool) -> Fetched:
    """Fetch what stands at an address, and ask whether it may be run.

    :raises WrongCall: where nobody can be asked; then nothing is fetched
    """
    fetching.check_address(url)
    if not yes and not sys.stdin.isatty():
        msg = f"Nobody can be asked whether `{shown(url)}` may be run."
        raise WrongCall(msg, hint="Say --yes, if you trust it.")
    found = fetching.fetch(url)
    if not yes:
        click.echo(_described(found), err=True)
        click.confirm("Install what it needs, and run it?", abort=True, err=True)
    return found


def _described(found: Fetched) -> str:
    toml = running.declared(found)
    rows = [("address", shown(found.url))]
    if found.came_from != found.url:
        rows.append(("leads to", shown(found.came_from)))
    rows += [("bytes", f"{len(found.data):,}"), ("SHA-256", found.digest)]
    text = "\n".join(f"{name:<10} {value}" for name, value in rows)
    block = "no block: it runs in an empty environment" if toml is None else toml
    # Whole: a person decides by it, and what is left out could be what matters.
    lines = (f"  {escaped(without_credentials(line))}" for line in block.splitlines())
    return "\n".join([text, *lines])
