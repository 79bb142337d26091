"""What ``%scriptenv`` means, whoever asks: a line's words in, text out.

The verbs are those of the command line. Where a verb takes SOURCE first and the line names none, it
is the notebook's own.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Sequence
from pathlib import Path

import click

from ipy_scriptenv import card, environments, present
from ipy_scriptenv.cli import command_line
from ipy_scriptenv.cli.common import Caller
from ipy_scriptenv.environments import Context
from ipy_scriptenv.errors import EngineFailed, Problem, WrongCall
from ipy_scriptenv.identity import EnvironmentName
from ipy_scriptenv.record import Source

__all__ = ["USAGE", "answer", "known"]

USAGE = "%scriptenv [VERB] [SOURCE] [OPTIONS]"

_OWN = ("status", "sync", "find")
"""The verbs that know the notebook's environment even where its path does not give it."""

_HANDING_OVER = ("run", "console")
"""The verbs that would put another program in this process's place."""


def answer(
    words: Sequence[str],
    *,
    default: Source | None,
    folder: Path,
    context: Context,
    name: EnvironmentName | None = None,
    capture: bool = True,
) -> str:
    """Carry out one line of the magic and give what to show.

    :param words: the words after ``%scriptenv``; none mean ``status``
    :param default: the source where the line names none, the notebook's own
    :param name: the default source's environment, where the source does not give it
    :param folder: relative paths are taken from here
    :param context: what a verb works with whose output is caught; it gets what the verb says on
        standard error too, as ``note`` events
    :param capture: whether to give what a verb prints, instead of letting it print and tell its
        steps itself
    :raises ScriptEnvError: as the verbs
    """
    verb, *rest = words or ("status",)
    if verb in _OWN and (not rest or (verb, *rest) == ("status", "--json")):
        return _own(verb, rest, known(default), context=context, name=name)
    if verb in _HANDING_OVER and "--help" not in rest:
        msg = f"`{verb}` needs a process of its own."
        raise WrongCall(msg, hint=f"On the command line: `jupyter scriptenv {verb} SOURCE`.")
    if verb == "help":
        verb = "--help"
    if not capture:
        _call([verb, *rest], default, Caller(folder=folder))
        return ""
    caller = Caller(folder=folder, context=context)
    printed, aside = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(aside):
            _call([verb, *rest], default, caller)
    except EngineFailed as error:
        if printed.getvalue():
            error.problems = (*error.problems, Problem(message=printed.getvalue().rstrip()))
        raise
    finally:
        for line in aside.getvalue().splitlines():
            context.on_event({"event": "note", "text": line})
    return printed.getvalue()


def _own(
    verb: str,
    rest: Sequence[str],
    source: Source,
    *,
    context: Context,
    name: EnvironmentName | None,
) -> str:
    if verb == "status":
        status = environments.status(source, context=context, name=name)
        if "--json" in rest:
            return json.dumps(card.status_json(status)) + "\n"
        return card.status_text(status)
    if verb == "find":
        return f"{environments.find(source, store=context.store, name=name).python}\n"
    return present.sync_text(environments.sync(source, context=context, name=name), brief=True)


def known(source: Source | None) -> Source:
    """Give the notebook's own source.

    :raises WrongCall: if it is not known
    """
    if source is None:
        msg = "It is not known which notebook this is."
        raise WrongCall(msg, hint=f"Name its path. Usage: {USAGE}")
    return source


def _call(words: list[str], default: Source | None, caller: Caller) -> None:
    """Run the command line on *words*.

    :raises ScriptEnvError: as the verb; :class:`WrongCall` for a call that there is not
    """
    try:
        command_line.main(
            words,
            prog_name="%scriptenv",
            standalone_mode=False,
            obj=caller,
            default_map=_defaults(default),
        )
    except click.MissingParameter as error:
        if default is None and isinstance(error.param, click.Argument):
            known(default)
        raise WrongCall(error.format_message(), hint="See `%scriptenv --help`.") from error
    except click.ClickException as error:
        raise WrongCall(error.format_message(), hint="See `%scriptenv --help`.") from error
    except SystemExit as ended:
        # `doctor` has told what is not as it should be, which is what was asked for.
        if ended.code and words[0] == "execute":
            msg = "A cell of the notebook failed."
            raise EngineFailed(msg, hint="") from ended


def _defaults(default: Source | None) -> dict[str, dict[str, str]]:
    """Name the notebook for the verbs that take one file and nothing else, as click wants it."""
    if default is None or default.path is None:
        return {}
    found = {}
    for verb, command in command_line.commands.items():
        names = [each.name for each in command.params if isinstance(each, click.Argument)]
        if len(names) == 1 and names[0] is not None:
            found[verb] = {names[0]: default.path}
    return found
