"""The command line: ``jupyter scriptenv VERB``, ``jupyter-scriptenv``, ``python -m ipy_scriptenv``.

Exit codes: 0; 2 for a wrong call or a source that cannot be read; 1 for everything that went wrong
on the way. With ``--json`` exactly one object goes to standard output, an error's too.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from ipy_scriptenv import __version__, environments, explaining, present
from ipy_scriptenv.environments import Context
from ipy_scriptenv.errors import EngineFailed, Interrupted, NotFound, ScriptEnvError, WrongCall
from ipy_scriptenv.uv import Event

__all__ = ["main"]

_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
_SOURCE = click.argument("source")


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="SOURCE is a notebook (.ipynb) or a script with a PEP 723 block. "
    "Each verb has a --help of its own.",
)
@click.version_option(__version__, prog_name="jupyter-scriptenv")
def command_line() -> None:
    """Give each notebook and script one environment of its own.

    A notebook or script says what it needs in a block of inline script metadata (PEP 723). Its
    environment stands at a path that never changes, with a kernelspec beside Jupyter's others.
    """


@command_line.command()
@_SOURCE
@click.option("--python", metavar="REQUEST", help="A version, a range, or an interpreter's path.")
@_JSON
def sync(source: str, python: str | None, *, as_json: bool) -> None:
    """Make the environment of SOURCE hold exactly what its block declares.

    The environment is made if it is missing, and rebuilt if it is damaged or its Python does not
    satisfy the block. With a kernel running in it, what that kernel has imported is left alone.
    """
    context = Context(on_event=_teller(as_json=as_json))
    request = _absolute_python(python)
    synced = environments.sync(environments.locate(source), context=context, python=request)
    _print(present.sync_json(synced) if as_json else present.sync_text(synced))


@command_line.command()
@_SOURCE
@_JSON
def find(source: str, *, as_json: bool) -> None:
    """Print the path of the interpreter in the environment of SOURCE."""
    located = environments.locate(source)
    found = environments.find(located, context=Context())
    _print(present.found_json(str(located), found) if as_json else f"{found.python}\n")


@command_line.command()
@_SOURCE
@_JSON
def status(source: str, *, as_json: bool) -> None:
    """Compare what SOURCE declares with what its environment holds."""
    found = environments.status(environments.locate(source), context=Context())
    _print(present.status_json(found) if as_json else present.status_text(found))


@command_line.command(name="list")
@_JSON
def list_(*, as_json: bool) -> None:
    """List the environments of this user."""
    listed = environments.list_environments(context=Context())
    _print(present.list_json(listed) if as_json else present.list_text(listed))


@command_line.command()
@click.argument("notebook")
@click.option("-o", "--output", metavar="FILE", help="Write the executed notebook to FILE.")
@_JSON
def execute(notebook: str, output: str | None, *, as_json: bool) -> None:
    """Run NOTEBOOK's cells in its own environment, without a browser.

    Shows what the cells print. The exit code is 1 if a cell fails; FILE is written in that case
    too.
    """
    from ipy_scriptenv import executing

    source = environments.locate(notebook)
    context = Context(on_event=_teller(as_json=as_json))
    outcome = executing.execute(
        source,
        context=context,
        output=None if output is None else Path(output),
        show=None if as_json else lambda text: click.echo(text, nl=False),
    )
    if as_json:
        _print(outcome.to_json())
    elif outcome.output is not None:
        click.echo(f"Wrote {present.escaped(str(outcome.output))}", err=True)
    if outcome.failed_cell is not None:
        sys.exit(1)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line; ends the process."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in words
    try:
        command_line.main(words, prog_name="jupyter scriptenv", standalone_mode=False)
    except ScriptEnvError as error:
        _fail(error, as_json=as_json)
    except click.exceptions.Abort:
        _fail(Interrupted("Interrupted."), as_json=as_json)
    except KeyboardInterrupt:
        _fail(Interrupted("Interrupted."), as_json=as_json)
    except click.ClickException as error:
        if not as_json:
            error.show()
            sys.exit(2)
        _fail(WrongCall(error.format_message()), as_json=True)
    except BrokenPipeError:
        # The reader has what it wanted (`| head`).
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:
        _fail(explaining.from_os_error(error), as_json=as_json)
    except Exception as error:
        if not as_json:
            raise
        _fail(EngineFailed(f"Something unforeseen went wrong: {error!r}."), as_json=True)
    sys.exit(0)


def _fail(error: ScriptEnvError, *, as_json: bool) -> NoReturn:
    if as_json:
        _print(present.error_json(error))
    else:
        text = present.error_text(error)
        first, _, rest = text.partition(":")
        click.echo(click.style(first, fg="red", bold=True) + ":" + rest, nl=False, err=True)
    sys.exit(error.exit_code)


def _print(shown: str | dict[str, Any]) -> None:
    text = shown if isinstance(shown, str) else json.dumps(shown) + "\n"
    # A path may hold bytes that are no text; it is shown with them escaped.
    click.echo(text.encode("utf-8", "backslashreplace").decode(), nl=False)


def _teller(*, as_json: bool) -> Callable[[Event], None]:
    """Give a listener that shows steps on standard error; none with ``--json``."""

    def tell(event: Event) -> None:
        if event["event"] == "waiting":
            click.echo(f"Waiting for {event['for']} …", err=True)
        elif event.get("text") and not as_json:
            click.echo(present.escaped(str(event["text"])), err=True)

    return tell


def _absolute_python(request: str | None) -> str | None:
    """Take a path relative to the folder of the call; leave versions and names as they are."""
    if request is None or len(Path(request).parts) < 2:  # noqa: PLR2004 - a folder and a name
        return request
    path = Path(request).expanduser().absolute()
    if not path.exists():
        msg = f"The interpreter `{request}` does not exist."
        raise NotFound(msg)
    return str(path)
