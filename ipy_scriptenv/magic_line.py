"""What ``%scriptenv`` means, whoever asks: a line's words in, text out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ipy_scriptenv import environments, present
from ipy_scriptenv.environments import Context
from ipy_scriptenv.errors import WrongCall
from ipy_scriptenv.identity import EnvironmentName
from ipy_scriptenv.record import Source

__all__ = ["USAGE", "answer"]

USAGE = "%scriptenv [status|sync|find|list] [SOURCE]"


def answer(
    words: Sequence[str],
    *,
    default: Source | None,
    folder: Path,
    context: Context,
    name: EnvironmentName | None = None,
) -> str:
    """Carry out one line of the magic and give what to show.

    :param words: the words after ``%scriptenv``; none mean ``status``
    :param default: the source where the line names none, the notebook's own
    :param name: the default source's environment, where the source does not give it
    :param folder: relative paths are taken from here
    :raises ScriptEnvError: as the verbs
    """
    verb, *rest = words or ("status",)
    if verb in ("-h", "--help", "help"):
        return f"{USAGE}\n"
    if verb not in ("status", "sync", "find", "list") or len(rest) > 1 or (verb == "list" and rest):
        msg = f"`%scriptenv {' '.join(words)}` is no call that there is."
        raise WrongCall(msg, hint=f"Usage: {USAGE}")
    if verb == "list":
        return present.list_text(environments.list_environments(context=context))
    source = _source(rest, default, folder)
    name = None if rest else name
    if verb == "status":
        return present.status_text(environments.status(source, context=context, name=name))
    if verb == "find":
        return f"{environments.find(source, context=context, name=name).python}\n"
    return present.sync_text(environments.sync(source, context=context, name=name))


def _source(rest: Sequence[str], default: Source | None, folder: Path) -> Source:
    if rest:
        is_url = rest[0].startswith(("https://", "http://"))
        return environments.locate(rest[0] if is_url else folder / Path(rest[0]).expanduser())
    if default is None:
        msg = "It is not known which notebook this is."
        raise WrongCall(msg, hint=f"Name its path. Usage: {USAGE}")
    return default
