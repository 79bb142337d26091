"""The `pip` and `uv` on a kernel's PATH: they reach its environment, never the host's.

Runs in the environment's Python, isolated: ``tools.py pip ARGUMENTS`` or ``tools.py uv ARGUMENTS``.
A host does the work, under the environment's lock.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys


def main() -> int:
    """Hand the call to a host that is there; give its exit code."""
    environment = sys.prefix
    with open(os.path.join(environment, "scriptenv.json"), encoding="utf-8") as file:
        record = json.load(file)
    for host in record["hosts"]:
        argv = [host["python"], "-P"]
        if os.access(host["python"], os.X_OK) and _has_package(argv):
            argv += ["-m", "ipy_scriptenv.host", "--tool", environment]
            return _answered(argv + sys.argv[1:])
    print(
        "ipy-scriptenv is not installed any more; `pip install ipy-scriptenv` in the Python that "
        "runs Jupyter brings it back.",
        file=sys.stderr,
    )
    return 1


def _answered(argv: list[str]) -> int:
    """Run a host and give its exit code.

    An interrupt reaches it too, and is its to answer: it ends what it has started first.
    """
    process = subprocess.Popen(argv)
    while process.returncode is None:
        with contextlib.suppress(KeyboardInterrupt):
            process.wait()
    return process.returncode


def _has_package(argv: list[str]) -> bool:
    """Say whether the package is installed in a host still; its Python may have outlived it."""
    asked = [*argv, "-c", "import ipy_scriptenv"]
    return subprocess.call(asked, stderr=subprocess.DEVNULL) == 0


if __name__ == "__main__":
    sys.exit(main())
