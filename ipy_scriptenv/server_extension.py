"""What runs inside Jupyter's server: environments follow renames, the kernel layer is ready, REST.

The wheel switches it on (``jupyter_server_config.d``). Nothing here holds up the server: all work
is done in threads, what it needs is loaded there, and what fails is a line in the server's log.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ipy_scriptenv.record import Source

__all__ = ["follow_renames", "load"]

_CONTENTS = "https://events.jupyter.org/jupyter_server/contents_service/v1"


def load(app: Any) -> None:
    """Start what the extension does; called by Jupyter's server.

    :param app: the server's ``ServerApp``
    """
    worker = threading.Thread(target=_prepare, args=(app.log,), daemon=True)
    worker.start()
    app.event_logger.add_listener(
        schema_id=_CONTENTS, listener=follow_renames(_path_finder(app.contents_manager), app.log)
    )
    from ipy_scriptenv import rest

    try:
        rest.register(app)
    except ImportError as error:
        app.log.warning("scriptenv: this server is too old for the front end's side: %s", error)


def follow_renames(find_path: Callable[[str], Path | None], log: Any) -> Any:
    """Give a listener for the contents service's events, which lets environments follow renames.

    A copy gets an environment of its own, and that of a deleted notebook waits for ``prune``: both
    need nothing to be done.

    :param find_path: gives the absolute path for one of the service's; ``None`` if it has none
    """
    # One after the other: a second rename must not overtake the first.
    turn = asyncio.Lock()

    def tell(source: Source, error: Exception) -> None:
        from ipy_scriptenv import present

        what = present.escaped(f"the environment of {source} could not follow a rename: {error}")
        log.warning("scriptenv: %s", what)

    async def listen(logger: Any, schema_id: str, data: dict[str, Any]) -> None:  # noqa: ARG001
        if data.get("action") != "rename":
            return
        old, new = find_path(data.get("source_path") or ""), find_path(data.get("path") or "")
        if old is None or new is None:
            return
        try:
            async with turn:
                lines = await asyncio.to_thread(_adopt, old, new, tell)
        except Exception:
            log.exception("scriptenv: environments could not follow a rename")
            return
        for line in lines:
            log.info("scriptenv: %s", line)

    return listen


def _adopt(old: Path, new: Path, tell: Callable[[Source, Exception], None]) -> list[str]:
    """Let environments follow; give a line for each that did."""
    from ipy_scriptenv import environments, present

    moved = environments.adopt(old, new, context=environments.Context(), on_error=tell)
    return [present.move_text(each).partition("\n")[0] for each in moved]


def _path_finder(manager: Any) -> Callable[[str], Path | None]:
    """Give how a contents manager's paths become those of the disk, where it has one."""
    finder = getattr(manager, "_get_os_path", None)

    def find(path: str) -> Path | None:
        if not path or finder is None:
            return None
        try:
            # The file that was renamed away is not there: only its folder can be resolved.
            found = Path(finder(path.strip("/")))
            return found.parent.resolve() / found.name
        except Exception:  # noqa: BLE001 - the manager refuses a path outside its root
            return None

    return find


def _prepare(log: Any) -> None:
    """Clear the picker of what is gone, and build the kernel layer for the host's Python."""
    from ipy_scriptenv import environments
    from ipy_scriptenv.errors import ScriptEnvError

    for step in (environments.sweep_kernelspecs, environments.prepare):
        try:
            step(environments.Context())
        except (ScriptEnvError, OSError) as error:
            log.warning("scriptenv: the kernel could not be prepared: %s", error)
