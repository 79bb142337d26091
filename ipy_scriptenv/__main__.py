"""``jupyter-scriptenv`` and ``python -m ipy_scriptenv``: the command line.

``find SOURCE`` is asked by shells and editors, again and again. Where everything is as it should
be, it is answered here, with next to nothing loaded.
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
    from ipy_scriptenv import processes
    from ipy_scriptenv.cli import main as command_line

    processes.heed_signals()
    command_line()


def _find(source: str) -> bool:
    """Print the path of the Python in the environment of a file; say whether that could be done.

    Only where the verb would print the same: the whole command line looks at everything else.
    """
    import json
    from pathlib import Path

    from ipy_scriptenv import layout, settings, venvs
    from ipy_scriptenv.identity import file_environment_name

    try:
        path = Path(source).resolve(strict=True)
        name, home = file_environment_name(path), settings.home()
        environment = home / layout.ENVIRONMENTS / name
        record = json.loads((environment / layout.RECORD).read_bytes())
        python = record["python"]
        is_known = record["schema"] == 1 and record["source"]["path"] == str(path)
        if not is_known or (home / layout.BUILDING / f"{layout.MOVED}{name}").exists():
            return False
        broken = venvs.damage(
            environment,
            base=python["base"],
            version=python["version"],
            abi=python["abi"],
            has_packages=bool(record["packages"]),
        )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError):
        return False
    if broken is not None:
        return False
    sys.stdout.write(f"{venvs.environment_python(environment)}\n")
    return True


if __name__ == "__main__":
    main()
