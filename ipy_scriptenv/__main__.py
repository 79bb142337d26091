"""``jupyter-scriptenv`` and ``python -m ipy_scriptenv``: the command line.

``find SOURCE`` is asked by shells and editors, again and again: where everything is as it should
be, it is answered here, before the rest of the command line is loaded.
"""

from __future__ import annotations

import sys

__all__ = ["main"]

_FIND = 2
"""Words of the shortest call of ``find``."""


def main() -> None:
    """Run the command line; ends the process."""
    words = sys.argv[1:]
    if len(words) == _FIND and words[0] == "find" and words[1][:1] != "-" and _find(words[1]):
        return
    from ipy_scriptenv.cli import main as command_line

    command_line()


def _find(source: str) -> bool:
    """Print the path of the Python in the environment of a source, if it stands; say whether."""
    from ipy_scriptenv import settings
    from ipy_scriptenv.environments.finding import find
    from ipy_scriptenv.environments.locating import locate
    from ipy_scriptenv.errors import ScriptEnvError
    from ipy_scriptenv.store import Store

    try:
        found = find(locate(source), store=Store(settings.home()))
    except (ScriptEnvError, OSError):
        # The whole command line looks again, and explains.
        return False
    sys.stdout.write(f"{found.python}\n")
    return True


if __name__ == "__main__":
    main()
