"""Names of folders and files in the home, for whatever has no time to load more."""

from __future__ import annotations

__all__ = ["BUILDING", "CHANGING", "ENVIRONMENTS", "LAUNCHER", "MOVED", "RECORD"]

ENVIRONMENTS = "environments-v1"
BUILDING = "building-v1"
MOVED = ".moved-"
"""Begins the names of notes in :data:`BUILDING`, of where an environment still stands."""

RECORD = "scriptenv.json"
LAUNCHER = "kernel.py"
CHANGING = "scriptenv.changing"
"""A mark: written before an environment is changed in place, removed after."""
