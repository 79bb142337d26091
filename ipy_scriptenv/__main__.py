"""``python -m ipy_scriptenv``: the command line."""

from __future__ import annotations

from ipy_scriptenv.cli import main

main()
