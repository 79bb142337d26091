"""Kernel layers that come from another machine, in the archive of an environment.

The name of a layer that is made here says which hash-locked list it is of, and every environment
starts on the one of the present list. Nothing can tell that of what an archive brings: it gets a
name of its own, which the environment that came with it has in its record, and no other.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from ipy_scriptenv import settings
from ipy_scriptenv.files import explained, remove_tree
from ipy_scriptenv.kernels.layer import describe, find_layer
from ipy_scriptenv.locks import exclusive
from ipy_scriptenv.record import Python
from ipy_scriptenv.store import Store

__all__ = ["receiving_layer"]


@contextlib.contextmanager
def receiving_layer(store: Store, python: Python, name: str) -> Iterator[Path | None]:
    """Give an empty folder for the packages of a layer.

    At the end of the block it gets its name; it goes if the block fails.

    :param name: the layer's, by its content
    :returns: ``None`` where it stands already
    """
    with exclusive(store.lock(f"layer-{name}"), timeout=settings.lock_timeout()):
        if find_layer(store, name) is not None:
            yield None
            return
        build = store.layers / f".building-{name}-{secrets.token_hex(4)}"
        final = store.layers / name
        try:
            with explained(build):
                (build / "site-packages").mkdir(parents=True, mode=0o700)
            yield build / "site-packages"
            with explained(build):
                # Its byte code is made by the first kernel: nothing of it is run before that.
                describe(build, python)
                if os.path.lexists(final):
                    # It stands and cannot be read.
                    store.remove_folder(final)
                build.rename(final)
        finally:
            remove_tree(build)
