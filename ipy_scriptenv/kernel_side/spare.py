"""A host that waits for the first cell, or for the next change: who asks it waits less."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import subprocess

__all__ = ["Spare"]

_SOON = 0.3
"""Seconds until a spare host is started: the reply of a cell comes first."""


class Spare:
    """A host that is started before it is asked for: a cell need not wait for what it loads.

    It waits for two minutes and ends by itself, or when this kernel ends. It is asked only if it
    was started with the variables that a new host would get.

    :param initial: the environment variables that this kernel was started with
    :param environment: path of the environment that it will be asked about
    """

    def __init__(self, initial: Mapping[str, str], environment: str) -> None:
        self.initial = initial
        self._environment = environment
        self._turn = threading.Lock()
        self._timer: threading.Timer | None = None
        self._process: subprocess.Popen[str] | None = None
        self._python = ""
        self._variables: dict[str, str] = {}

    def start_soon(self, record: dict[str, Any], *, wait: float = _SOON) -> None:
        """Start one when what goes on now is over, and nobody has asked by then.

        :param wait: seconds until then
        """
        if self.initial.get("SCRIPTENV_SPARE_HOST") == "0":
            return
        self._timer = threading.Timer(wait, self._start, (record,))
        self._timer.daemon = True
        self._timer.start()

    def _start(self, record: dict[str, Any]) -> None:
        from . import hosts

        home = os.path.dirname(os.path.dirname(self._environment))
        with self._turn:
            if self._timer is None or (self._process and self._process.poll() is None):
                return
            for python in hosts.reachable(record)[:1]:
                # One that cannot be started is told when it is needed.
                with contextlib.suppress(OSError):
                    self._python, self._variables = python, hosts.variables(self.initial)
                    self._process = hosts.start(
                        python, home, self._variables, "--spare", self._environment
                    )

    def take(self, python: str, wanted: Mapping[str, str]) -> subprocess.Popen[str] | None:
        """Give the one that waits, if it is what is wanted; it is the caller's then."""
        process = self._given_up()
        if process is None or process.poll() is not None:
            return None
        if self._python == python and self._variables == wanted:
            return process
        _stop(process)
        return None

    def drop(self) -> None:
        """End the one that waits, and start none any more."""
        process = self._given_up()
        if process is not None:
            _stop(process)

    def _given_up(self) -> subprocess.Popen[str] | None:
        with self._turn:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            process, self._process = self._process, None
        return process


def _stop(process: subprocess.Popen[str]) -> None:
    from .hosts import stop

    stop(process)
