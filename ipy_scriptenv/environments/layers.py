"""Which kernel an environment starts on: a layer, which may have to be waited for, or its own."""

from __future__ import annotations

import threading

from ipy_scriptenv import interpreters, plan
from ipy_scriptenv.environments.condition import Standing, installed_packages
from ipy_scriptenv.environments.standing import Context
from ipy_scriptenv.errors import LockTimeout
from ipy_scriptenv.kernels.layer import Layer, ensure_layer, find_layer, layer_name
from ipy_scriptenv.record import OWN, Python, Record

__all__ = ["kernel_of", "layer_within", "prepare"]


def kernel_of(context: Context, standing: Standing, record: Record, wait: float) -> str | None:
    """Give the layer, or ``own``, that a standing environment's kernel starts on; None: none can.

    The layer of a new list is taken when it stands; a sound environment does not wait for it.
    """
    if record.kernel == OWN:
        packages = installed_packages(standing.path, record.python)
        return OWN if any(package.name == "ipykernel" for package in packages) else None
    recorded = find_layer(context.store, record.kernel)
    current = find_layer(context.store, layer_name(record.python))
    if current is None and recorded is None:
        current = layer_within(context, record.python, wait)
    if current is None or (recorded is not None and _conflicts(standing, record, current)):
        return record.kernel
    if recorded is None and _conflicts(standing, record, current):
        return None
    return current.name


def _conflicts(standing: Standing, record: Record, layer: Layer) -> tuple[str, ...]:
    return plan.layer_conflicts(
        packages=layer.packages,
        requires=layer.requires,
        installed=installed_packages(standing.path, record.python),
    )


def layer_within(context: Context, python: Python, wait: float) -> Layer:
    """Give the layer for an interpreter; build it, but wait no longer than *wait* seconds.

    :raises LockTimeout: if it is not there by then; the building goes on in this process
    """
    outcome: list[Layer | BaseException] = []

    def build() -> None:
        try:
            outcome.append(ensure_layer(context.store, context.uv(), python))
        except BaseException as error:  # noqa: BLE001 - handed to the caller's thread
            outcome.append(error)

    found = find_layer(context.store, layer_name(python))
    if found is not None:
        return found
    worker = threading.Thread(target=build, name="kernel layer", daemon=True)
    worker.start()
    worker.join(wait)
    if not outcome:
        msg = f"The kernel for Python {python.minor} is still being prepared."
        raise LockTimeout(msg, hint="Run a cell to wait for it, then restart the kernel.")
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]


def prepare(context: Context) -> None:
    """Build the kernel layer for the host's own Python, so that no start waits for it.

    :raises ScriptEnvError: if it cannot be built
    """
    context.store.prepare()
    ensure_layer(context.store, context.uv(), interpreters.host_python())
