"""What all verbs of the command line share."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import click
from click.shell_completion import CompletionItem

from ipy_scriptenv import __version__, present
from ipy_scriptenv.errors import NotFound, ScriptEnvError
from ipy_scriptenv.files import entries
from ipy_scriptenv.uv import Event

__all__ = ["JSON", "SOURCE", "absolute_python", "command_line", "fail", "show", "teller"]

JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


def _sources(
    _context: click.Context, _parameter: click.Parameter, begun: str
) -> list[CompletionItem]:
    """Complete a path to a notebook, a script or a folder; called by the user's shell."""
    folder, name = os.path.split(begun)
    found = []
    for entry in sorted(entries(Path(folder or ".")), key=lambda entry: entry.name):
        is_hidden = entry.name.startswith(".") and not name.startswith(".")
        if entry.name.startswith(name) and not is_hidden:
            path = begun.removesuffix(name) + entry.name
            if entry.is_dir():
                found.append(f"{path}/")
            elif entry.name.lower().endswith((".ipynb", ".py")):
                found.append(path)
    if len(found) == 1 and found[0].endswith("/"):
        # The shell would end the word here.
        return _sources(_context, _parameter, found[0]) or [CompletionItem(found[0])]
    return [CompletionItem(path) for path in found]


SOURCE = click.argument("source", shell_complete=_sources)


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


def fail(error: ScriptEnvError, *, as_json: bool) -> NoReturn:
    """Tell an error and end the process."""
    if as_json:
        show(present.error_json(error))
    else:
        text = present.error_text(error)
        first, _, rest = text.partition(":")
        click.echo(click.style(first, fg="red", bold=True) + ":" + rest, nl=False, err=True)
    sys.exit(error.exit_code)


def show(shown: str | dict[str, Any]) -> None:
    """Print text or one JSON object."""
    text = shown if isinstance(shown, str) else json.dumps(shown) + "\n"
    # A path may hold bytes that are no text; it is shown with them escaped.
    click.echo(text.encode("utf-8", "backslashreplace").decode(), nl=False)


def teller(*, as_json: bool) -> Callable[[Event], None]:
    """Give a listener that shows steps on standard error; none with ``--json``."""

    def tell(event: Event) -> None:
        if event["event"] == "waiting":
            click.echo(f"Waiting for {event['for']} …", err=True)
        elif event.get("text") and not as_json:
            click.echo(present.escaped(str(event["text"])), err=True)

    return tell


def absolute_python(request: str | None) -> str | None:
    """Take a path relative to the folder of the call; leave versions and names as they are."""
    if request is None or len(Path(request).parts) < 2:  # noqa: PLR2004 - a folder and a name
        return request
    path = Path(request).expanduser().absolute()
    if not path.exists():
        msg = f"The interpreter `{request}` does not exist."
        raise NotFound(msg)
    return str(path)
