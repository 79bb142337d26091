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
from ipy_scriptenv.environments import Context
from ipy_scriptenv.errors import WrongCall
from ipy_scriptenv.identity import EnvironmentName
from ipy_scriptenv.record import Source

__all__ = ["USAGE", "answer", "known"]

USAGE = "%scriptenv [VERB] [SOURCE] [OPTIONS]"

_OUTPUTS = ("-o", "--output")
"""Before the file that a verb writes."""

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
    :param capture: whether to give what a verb prints, instead of letting it print
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
    command = command_line.commands.get(verb)
    if command is not None:
        rest = _with_sources(command, rest, default, folder)
    if not capture:
        _call([verb, *rest])
        return ""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        _call([verb, *rest])
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
        return f"{environments.find(source, context=context, name=name).python}\n"
    return present.sync_text(environments.sync(source, context=context, name=name))


def _with_sources(
    command: click.Command, rest: list[str], default: Source | None, folder: Path
) -> list[str]:
    """Name the notebook where a verb's SOURCE is left out, and take paths from *folder*."""
    count = sum(isinstance(parameter, click.Argument) for parameter in command.params)
    if count == 1 and (not rest or rest[0].startswith("-")) and "--help" not in rest:
        rest = [known(default).path or "", *rest]
    rest = _with_outputs(rest, folder)
    return [
        str(folder / Path(word).expanduser()) if place < count and _is_path(word) else word
        for place, word in enumerate(rest)
    ]


def _with_outputs(rest: list[str], folder: Path) -> list[str]:
    """Take the file that a verb is to write from *folder*: its process runs elsewhere."""
    words = list(rest)
    for place, word in enumerate(words):
        if word in _OUTPUTS and place + 1 < len(words):
            words[place + 1] = str(folder / Path(words[place + 1]).expanduser())
        elif word.startswith("--output="):
            words[place] = f"--output={folder / Path(word.partition('=')[2]).expanduser()}"
    return words


def _is_path(word: str) -> bool:
    return not word.startswith(("-", "https://", "http://"))


def known(source: Source | None) -> Source:
    """Give the notebook's own source.

    :raises WrongCall: if it is not known
    """
    if source is None:
        msg = "It is not known which notebook this is."
        raise WrongCall(msg, hint=f"Name its path. Usage: {USAGE}")
    return source


def _call(words: list[str]) -> None:
    """Run the command line on *words*.

    :raises ScriptEnvError: as the verb; :class:`WrongCall` for a call that there is not
    """
    try:
        command_line.main(words, prog_name="%scriptenv", standalone_mode=False)
    except click.ClickException as error:
        raise WrongCall(error.format_message(), hint="See `%scriptenv --help`.") from error
    except SystemExit:
        # The verb has told what is not as it should be.
        pass
