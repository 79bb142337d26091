"""Ask a host for a kernel: who asks, and what can be done where no host is there."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import hosts
from .failing import host_ended, interrupted, without_host

if TYPE_CHECKING:
    from .completing import Completion

__all__ = ["ask"]

_CHANGING = ("sync", "declare")


def ask(
    completion: Completion,
    request: dict[str, Any],
    on_event: Callable[[dict[str, Any]], None],
    *,
    cancelled: Callable[[], bool],
) -> dict[str, Any]:
    """Have a host do something for a kernel's environment; give its last event.

    :param on_event: as :func:`hosts.ask` has it, and *cancelled* too
    :raises Failed: if none answers, and the kernel cannot do without
    :raises KeyboardInterrupt: if it comes; the work is stopped first
    """
    python, kernel = completion.watched.runs_on
    asker = {
        "uuid": completion.lock.uuid if completion.lock else "",
        "fresh": completion.fresh,
        "python": python,
        "kernel": kernel,
        "loaded": completion.packages.loaded(),
    }
    about = {"environment": completion.environment, "folder": _folder(), "asker": asker}
    try:
        answer = hosts.ask(
            completion.record,
            {**request, **about},
            initial=completion.initial,
            home=completion.home,
            on_event=on_event,
            cancelled=cancelled,
            spare=completion.spare,
        )
    except hosts.HostEnded as ended:
        raise (interrupted() if cancelled() else host_ended(str(ended))) from None
    except hosts.HostGone as gone:
        return _without_host(completion, request, str(gone))
    has_changed = answer["event"] == "done" and request["op"] in _CHANGING
    if has_changed and not answer.get("replace"):
        # Who has changed something often changes more.
        completion.spare.start_soon(completion.record)
    return answer


def _folder() -> str:
    try:
        return os.getcwd()
    except OSError:
        return os.path.expanduser("~")


def _without_host(completion: Completion, request: dict[str, Any], words: str) -> dict[str, Any]:
    """Go on with an environment that is in sync, as far as can be seen.

    A line that asks for a sync is refused: what it wants to be changed cannot be.

    :raises Failed: if that is not so
    """
    is_for_cell = request["op"] == "sync" and not request.get("exact")
    if is_for_cell and _seems_in_sync(completion, request):
        note = "ipy-scriptenv is not installed any more; the environment stays as it is."
        return {"event": "done", "note": note}
    raise without_host(words)


def _seems_in_sync(completion: Completion, request: dict[str, Any]) -> bool:
    watched = completion.watched
    # Nobody is there to look.
    watched.must_look = False
    must_restart = completion.must_restart is not None or watched.needs_a_look()
    if must_restart or not watched.is_synced():
        return False
    if request["given"]:
        return watched.declares(request["block"])
    return watched.seems_synced_to_source()
