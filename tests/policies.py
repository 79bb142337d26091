"""Policies for tests: files in the places where an administrator or a user writes them."""

from __future__ import annotations

import json
from pathlib import Path

from ipy_scriptenv import settings

__all__ = ["allow", "write_policy"]


def write_policy(text: str, *, system: bool = False) -> Path:
    """Write a policy, and give its path.

    :param system: the system's, for all users; the test has set ``XDG_CONFIG_DIRS``
    """
    path = settings.policy_files()[0 if system else -1]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def allow(*addresses: str | Path, system: bool = True) -> Path:
    """Write a policy that allows packages from these places alone, and give its path."""
    text = f"allowed-indexes = {json.dumps([*map(str, addresses)])}"
    return write_policy(text, system=system)
