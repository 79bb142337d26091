"""Ports for kernels: between their choice and the kernel's start nobody else is given them.

Who asks a system for any free port gets one of a high range. Jupyter asks so for a kernel's ports,
closes them again, and the kernel opens them when it has been loaded: by then another test's kernel
or server may have one.
"""

from __future__ import annotations

import os
import socket
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import pytest
from jupyter_client.connect import LocalPortCache

__all__ = ["ports_of_this_worker"]

_FIRST, _COUNT = 10_000, 22_000
"""Below the range of which systems give; Linux's begins at 32768."""

_OF_A_WORKER = 3_000


@contextmanager
def ports_of_this_worker() -> Iterator[None]:
    """Have kernels that this process starts use ports that no other worker of this run chooses."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID") or str(os.getpid())
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    begin = zlib.crc32(run.encode()) + worker * _OF_A_WORKER
    numbers = count()

    def find_available_port(cache: LocalPortCache, ip: str) -> int:
        while True:
            port = _FIRST + (begin + next(numbers) % _OF_A_WORKER) % _COUNT
            if _is_free(ip, port):
                cache.currently_used_ports.add(port)
                return port

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LocalPortCache, "find_available_port", find_available_port)
        yield


def _is_free(ip: str, port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((ip, port))
        except OSError:
            return False
    return True
