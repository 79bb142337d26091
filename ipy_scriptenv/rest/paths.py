"""Contents paths: what a client may name, and how a file is called for it.

The contents manager decides. What it does not serve is not there: files outside its root, hidden
ones, and folders. A link that it follows is followed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ipy_scriptenv.errors import NotFound

__all__ = ["ContentsPaths", "path_on_disk"]


async def path_on_disk(manager: Any, path: str) -> str:
    """Give the path on disk of a file that a contents manager serves.

    :param path: as the contents service has it: relative to its root, with ``/``
    :raises NotFound: if it serves no such file, or not from this machine's disk
    """
    from jupyter_core.utils import ensure_async
    from tornado.web import HTTPError

    finder = getattr(manager, "_get_os_path", None)
    name = path.strip("/")
    try:
        if finder is not None and name:
            found = str(finder(name))
            hidden = not manager.allow_hidden and await ensure_async(manager.is_hidden(name))
            if not hidden and await ensure_async(manager.file_exists(name)):
                return found
    except (HTTPError, OSError, ValueError):
        pass
    msg = f"`{path}` is no file that this server has."
    raise NotFound(msg, hint="Save the document, and name it as the file browser shows it.")


class ContentsPaths:
    """How files on the disk are called by a contents manager.

    :param manager: the server's; one that serves no folder of this disk calls them nothing
    """

    def __init__(self, manager: Any) -> None:
        is_on_disk = hasattr(manager, "_get_os_path")
        root = getattr(manager, "root_dir", None) if is_on_disk else None
        self._root = None if root is None else Path(root).resolve()
        self._allow_hidden = bool(getattr(manager, "allow_hidden", False))

    def of(self, source: str | None) -> str | None:
        """Give the contents path of a file; ``None`` where it has none.

        :param source: absolute and resolved
        """
        if source is None or self._root is None or not Path(source).is_absolute():
            return None
        try:
            relative = Path(source).relative_to(self._root)
        except ValueError:
            return None
        is_hidden = any(part.startswith(".") for part in relative.parts)
        return None if is_hidden and not self._allow_hidden else relative.as_posix()
