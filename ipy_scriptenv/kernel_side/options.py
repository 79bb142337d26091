"""What may follow ``%scriptenv``: verbs, their options, and which of them take a file first.

The command line says so too, but it is loaded in a host, and a completion must not wait for one. A
test holds this table to it.
"""

from __future__ import annotations

__all__ = ["OF_PACKAGES", "VERBS", "WITHOUT_FILE"]

VERBS = {
    "add": (
        "--bounds --branch --default-index --editable --exclude-newer --extra --index "
        "--json --raw --requirements --rev --tag"
    ),
    "console": "--exclude-newer --frozen --index --locked --python --upgrade --upgrade-package",
    "delete": "--json --yes",
    "doctor": "--fix --json",
    "execute": (
        "--exclude-newer --frozen --index --json --locked --output --python --strict "
        "--upgrade --upgrade-package"
    ),
    "export": (
        "--exclude-newer --format --index --json --no-hashes --output --python "
        "--upgrade --upgrade-package"
    ),
    "find": "--json",
    "init": "--json --python",
    "list": "--json --size --sort --source --state",
    "lock": "--check --embed --exclude-newer --index --json --python --upgrade --upgrade-package",
    "move": "--json",
    "pack": "--force --frozen --json --locked --no-kernel --output --wheels",
    "prune": "--all --dry-run --json --over --unused-for --yes",
    "python": "--exclude-newer --json",
    "rebuild": "--json --python",
    "register": "--json",
    "remove": "--exclude-newer --json",
    "run": "--exclude-newer --frozen --index --locked --python --upgrade --upgrade-package --yes",
    "share": "--all-pythons --folder --json --python --remove-old",
    "status": "--json",
    "sync": (
        "--exclude-newer --frozen --index --json --locked --python --upgrade --upgrade-package"
    ),
    "tree": (
        "--depth --exclude-newer --index --invert --json --outdated --package --python "
        "--upgrade --upgrade-package"
    ),
    "unpack": "--json --python",
    "unregister": "--json",
    "upgrade": "--exclude-newer --index --json",
}
"""The verbs of the command line, and the long options of each but ``--help``."""

WITHOUT_FILE = frozenset({"doctor", "list", "prune"})
"""The verbs that are about no file."""

OF_PACKAGES = frozenset({"remove", "upgrade"})
"""The verbs that name packages which are installed."""
