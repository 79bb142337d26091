"""A client of the server extension's REST, which asks as a front end does, or as a stranger."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import websocket

from tests.jupyter_server import PATIENCE, JupyterServer

__all__ = ["Answer", "Json", "ask", "begin", "events", "run"]

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the server said, whatever it was."""

    status: int
    body: Any

    @property
    def code(self) -> str:
        """The code of the error that it told."""
        return str(self.body["error"]["code"])


def ask(
    lab: JupyterServer,
    method: str,
    path: str,
    body: Json | bytes | None = None,
    /,
    *,
    token: bool = True,
    headers: Json | None = None,
    **query: str,
) -> Answer:
    """Make one request below ``scriptenv/``.

    :param token: whether it is authenticated
    """
    authentication = {"Authorization": f"token {lab.token}"} if token else {}
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    request = Request(  # noqa: S310 - the address is the server's own
        f"{lab.url}scriptenv/{path}" + (f"?{urlencode(query)}" if query else ""),
        data=data,
        headers={"Content-Type": "application/json", **authentication, **(headers or {})},
        method=method,
    )
    try:
        with urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310 - likewise
            return Answer(status=answer.status, body=_read(answer.read()))
    except HTTPError as error:
        return Answer(status=error.code, body=_read(error.read()))


def _read(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return data.decode(errors="replace")


def begin(lab: JupyterServer, verb: str, /, **fields: Any) -> str:
    """Begin a task, and give its id."""
    answer = ask(lab, "POST", "tasks", {"verb": verb, **fields})
    assert answer.status == 201, answer
    return str(answer.body["id"])


def events(lab: JupyterServer, task: str, *, token: bool = True) -> Iterator[Json]:
    """Follow a task from its first event to its last; it is connected at once."""
    address = lab.url.replace("http", "ws", 1) + f"scriptenv/tasks/{task}/events"
    header = [f"Authorization: token {lab.token}"] if token else []
    return _received(websocket.create_connection(address, header=header, timeout=PATIENCE))


def _received(connection: websocket.WebSocket) -> Iterator[Json]:
    try:
        while True:
            kind, data = connection.recv_data()
            if kind != websocket.ABNF.OPCODE_TEXT:
                return
            yield json.loads(data)
    finally:
        connection.close()


def run(lab: JupyterServer, verb: str, /, **fields: Any) -> Json:
    """Do a task to its end, and give its last event."""
    return list(events(lab, begin(lab, verb, **fields)))[-1]
