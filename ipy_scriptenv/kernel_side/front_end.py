"""Front ends that can change a cell in place, and show the environment's state: a comm for each.

``docs/contract.md``, "The front end", has the messages. Loaded when the first one opens its comm.
"""

from __future__ import annotations

import contextlib
import uuid
from typing import Any, Callable

from . import progress

__all__ = ["PROTOCOL", "TARGET", "FrontEnds", "state_of"]

PROTOCOL = 1
TARGET = "scriptenv"

_KEPT = 16
"""How many comms are kept: a page that is closed or loaded anew may leave its own behind."""


class FrontEnds:
    """The front ends of one kernel.

    :param current: gives the text of the block's cell that counts now, as the kernel knows it
    :param state: gives the environment's state, as a front end is told it
    """

    def __init__(
        self, current: Callable[[], str | None], state: Callable[[], dict[str, Any]]
    ) -> None:
        self._current = current
        self._state = state
        self._comms: dict[str, Any] = {}
        self._told: dict[str, Any] | None = None
        self._edit: dict[str, Any] | None = None

    def opened(self, comm: Any, message: dict[str, Any]) -> None:
        """Take up a front end that has opened its comm; called by the comm manager."""
        if _data(message).get("protocol") != PROTOCOL:
            comm.close({"protocol": PROTOCOL})
            return
        self.adopt(comm)
        edit = self.unwritten
        self._told = self._state()
        comm.send(self._told)
        if edit is not None:
            # The page that was to write it is gone, or has been loaded anew.
            comm.send(edit)

    def adopt(self, comm: Any) -> None:
        """Listen to a comm that is open."""
        comm.on_msg(self._heard)
        comm.on_close(lambda _message: self._comms.pop(comm.comm_id, None))
        self._comms[comm.comm_id] = comm
        for old in list(self._comms)[:-_KEPT]:
            del self._comms[old]

    @property
    def names(self) -> list[str]:
        """The open comms."""
        return list(self._comms)

    @property
    def unwritten(self) -> dict[str, Any] | None:
        """The last edit, as long as nobody has said that it is written, and it counts."""
        edit = self._edit
        if edit is not None and edit["cell"] != self._current():
            self._edit = edit = None
        return edit

    def asking(self, request: dict[str, Any]) -> Any:
        """Give the comm of the front end that sent a request; None if it cannot edit.

        The request itself says so: a page that is gone sends none.
        """
        named = (request.get("metadata") or {}).get("scriptenv")
        if not isinstance(named, dict) or named.get("protocol") != PROTOCOL:
            return None
        return self._comms.get(str(named.get("comm")))

    def write(self, comm: Any, edit: dict[str, Any]) -> None:
        """Have a front end write an edit, and keep it until one says that it is written."""
        self._edit = {"op": "write-block", "id": uuid.uuid4().hex, **edit}
        comm.send(self._edit)

    def shown(self, text: str) -> None:
        """Forget an edit that a front end without a comm was shown."""
        if self._edit is not None and self._edit["cell"] == text:
            self._edit = None

    def tell_progress(self, state: progress.State, now: float) -> None:
        """Tell how far a work has come."""
        done, whole = progress.counted(state)
        text = progress.line(state, now)
        self._tell({"op": "state", "state": "working", "text": text, "done": done, "of": whole})

    def tell_state(self) -> None:
        """Tell the environment's state, if it is another than the one told last."""
        if self._comms:
            self._tell(self._state())

    def _tell(self, told: dict[str, Any]) -> None:
        if told == self._told:
            return
        self._told = told
        for comm in list(self._comms.values()):
            with contextlib.suppress(Exception):
                # It may be closing; whoever is told next is not to miss it for that.
                comm.send(told)

    def _heard(self, message: dict[str, Any]) -> None:
        data = _data(message)
        written = data.get("op") == "written"
        if written and self._edit is not None and data.get("id") == self._edit["id"]:
            self._edit = None


def state_of(completion: Any) -> dict[str, Any]:
    """Give the state of a kernel's environment, from what the kernel knows; asks no host."""
    failed, restart = completion.hindrance
    state, text = completion.standing
    if restart is not None:
        state, text = "restart-needed", restart
    elif failed is not None:
        is_restart = failed.error.get("code") == "restart-needed"
        state, text = ("restart-needed" if is_restart else "failed"), str(failed)
    return {"op": "state", "state": state, "text": text, "done": None, "of": None}


def _data(message: dict[str, Any]) -> dict[str, Any]:
    data = message.get("content", {}).get("data")
    return data if isinstance(data, dict) else {}
