"""Run ipykernel with a kernel of ours."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import threading
import traceback
from collections.abc import Mapping
from typing import Any

import zmq
from ipykernel.kernelapp import IPKernelApp

from . import backend, check, debugging, replace
from .cluster.finding import make_importable
from .completing import Completion
from .imports import Packages
from .kernel import ScriptEnvKernel
from .live import LiveLock
from .magics import register_magics
from .spare import Spare
from .start import PORT_TAKEN

__all__ = ["run"]


def run(
    environment: str,
    home: str,
    record: dict[str, Any],
    lock: LiveLock | None,
    *,
    layer: str | None,
    initial: Mapping[str, str],
) -> None:
    """Run the kernel until it ends.

    :param layer: the kernel layer's folder of packages; ``None``: the environment has the kernel
    :param initial: the environment variables before this kernel set its own
    """
    streams = replace.keep_streams()
    spare = Spare(initial, environment)
    completion = Completion(
        environment=environment,
        home=home,
        record=record,
        packages=Packages(environment, layer),
        lock=lock,
        spare=spare,
    )
    ScriptEnvKernel.completion = completion
    own_backend = "MPLBACKEND" in os.environ
    app = IPKernelApp.instance(kernel_class=ScriptEnvKernel, ignore_cwd=True)
    debugging.put_off()
    listeners = replace.Listeners.expected()
    _initialize(app, streams)
    if not own_backend:
        backend.keep_from_children()
    kernel = app.kernel
    kernel.streams = streams
    kernel.hold_back()
    register_magics(kernel.shell, completion)
    make_importable()
    _cancel_on_interrupt(completion)
    replace.take_over(app, listeners)
    if lock is not None:
        lock.ready = True
        lock.tell([])
    if check.may_have_changed(record, os.environ):
        # The first cell will ask; until then there is time.
        spare.start_soon(record, wait=0.0)
    app.start()


def _initialize(app: IPKernelApp, streams: replace.Streams | None) -> None:
    """Bind the sockets and make the kernel; where that fails, end the process.

    An exception may not: where one socket of several cannot be bound, threads that have the others
    keep it alive, and Jupyter waits for ever for a kernel that never answers.
    """
    try:
        app.initialize(sys.argv[1:])
    except Exception as error:  # noqa: BLE001 - it ends here, whatever it is
        if streams is not None:
            streams.put_back()
        is_taken = isinstance(error, zmq.ZMQError) and error.errno == errno.EADDRINUSE
        with contextlib.suppress(OSError):
            os.write(2, traceback.format_exc().encode(errors="replace"))
        os._exit(PORT_TAKEN if is_taken else 1)


def _cancel_on_interrupt(completion: Completion) -> None:
    """Let SIGINT, which ipykernel ignores between requests, reach a sync that a subshell runs."""

    def handle(_number: int, _frame: Any) -> None:
        completion.cancel()

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, handle)
