"""What all verbs of the command line share."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import click
from click.shell_completion import CompletionItem

from ipy_scriptenv import __version__, present
from ipy_scriptenv.environments import Context
from ipy_scriptenv.errors import NotFound, ScriptEnvError
from ipy_scriptenv.files import entries
from ipy_scriptenv.uv import Event

__all__ = [
    "JSON",
    "SOURCE",
    "Caller",
    "absolute_index",
    "absolute_python",
    "command_line",
    "context_of_call",
    "end_live_line",
    "fail",
    "folder_of_call",
    "from_folder_of_call",
    "located",
    "show",
    "teller",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who calls the command line from within this process: the magic, as click's ``obj``.

    :param folder: relative paths are taken from here
    :param context: what the verbs work with; ``None``: one of their own, as on the command line
    """

    folder: Path
    context: Context | None = None


_ADDRESSES = ("https://", "http://")

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


def located(context: click.Context, _parameter: click.Parameter, word: str | None) -> str | None:
    """Take a source's path from the folder of the call; click calls this for each such argument.

    On the command line a word stays as it is, so that messages name what was written.
    """
    if context.find_object(Caller) is None or not isinstance(word, str):
        return word
    return word if word.startswith(_ADDRESSES) else str(from_folder_of_call(word))


SOURCE = click.argument("source", shell_complete=_sources, callback=located)


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
    end_live_line()
    text = shown if isinstance(shown, str) else json.dumps(shown) + "\n"
    # A path may hold bytes that are no text; it is shown with them escaped.
    click.echo(text.encode("utf-8", "backslashreplace").decode(), nl=False)


def _caller() -> Caller | None:
    context = click.get_current_context(silent=True)
    return None if context is None else context.find_object(Caller)


def context_of_call(*, as_json: bool = False) -> Context:
    """Give what a verb works with: its caller's, so that an interrupt there ends uv here.

    :param as_json: whether nothing is told but why it waits
    """
    caller = _caller()
    if caller is None or caller.context is None:
        return Context(on_event=teller(as_json=as_json))
    given = caller.context
    if not as_json:
        return given

    def tell_waiting(event: Event) -> None:
        if event["event"] == "waiting":
            given.on_event(event)

    return replace(given, on_event=tell_waiting)


def folder_of_call() -> Path:
    """Give the folder where relative paths of the call start: the notebook's in a kernel."""
    caller = _caller()
    return Path.cwd() if caller is None else caller.folder


def from_folder_of_call(path: str | Path) -> Path:
    """Give the absolute path that a word of the call means."""
    return folder_of_call() / Path(path).expanduser()


_LIVE_LINE = "ipy_scriptenv.live_line"


def teller(*, as_json: bool) -> Callable[[Event], None]:
    """Give a listener that shows steps on standard error; with ``--json``, only why it waits.

    On a terminal that is one live line, which ends with the verb, or by :func:`end_live_line`.
    """

    def tell(event: Event) -> None:
        if event["event"] == "waiting":
            click.echo(f"Waiting for {event['for']} …", err=True)
        elif event.get("text") and not as_json:
            click.echo(present.escaped(str(event["text"])), err=True)

    if as_json or not sys.stderr.isatty():
        return tell
    context, begun = click.get_current_context(), time.monotonic()

    def tell_live(event: Event) -> None:
        line = context.meta.get(_LIVE_LINE)
        if line is None:
            # Most verbs have nothing to tell, and do not pay for rich.
            from ipy_scriptenv.cli.live_line import LiveLine

            line = context.meta[_LIVE_LINE] = LiveLine(since=begun)
            context.call_on_close(line.end)
        (line.take if line.can_show else tell)(event)

    return tell_live


def end_live_line() -> None:
    """Take the live line away, if there is one, before something else is shown or run."""
    context = click.get_current_context(silent=True)
    line = None if context is None else context.meta.get(_LIVE_LINE)
    if line is not None:
        line.end()


def absolute_python(request: str | None) -> str | None:
    """Take a path from the folder of the call; leave versions and names as they are."""
    if request is None or not os.path.dirname(request):  # noqa: PTH120 - of `./x` it is a folder
        return request
    path = from_folder_of_call(request)
    if not path.exists():
        msg = f"The interpreter `{request}` does not exist."
        raise NotFound(msg)
    return str(path)


def absolute_index(text: str) -> str:
    """Take a path as an index, or ``NAME=PATH``, from the folder of the call; leave addresses."""
    name, equals, place = text.rpartition("=") if "://" not in text else ("", "", text)
    if "://" in place:
        return text
    return f"{name}{equals}{from_folder_of_call(place)}"
