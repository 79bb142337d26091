"""Kernelspecs on request: shown in the picker, or not."""

from __future__ import annotations

from dataclasses import replace

from ipy_scriptenv import policy
from ipy_scriptenv.environments.building import kernel_can_encrypt
from ipy_scriptenv.environments.condition import inspect, whereabouts
from ipy_scriptenv.environments.standing import Context
from ipy_scriptenv.errors import NoEnvironment, PolicyViolation
from ipy_scriptenv.kernels import specs
from ipy_scriptenv.locks import exclusive
from ipy_scriptenv.record import Record, Source
from ipy_scriptenv.settings import lock_timeout

__all__ = ["register", "unregister"]


def register(source: Source, *, context: Context) -> str:
    """Write the kernelspec of a source's environment, also after :func:`unregister`; give its name.

    :raises NoEnvironment: if it has none
    :raises PolicyViolation: if the policy wants no kernelspecs
    """
    if not policy.current().register:
        msg = "The administrator's policy does not allow kernelspecs of single sources."
        raise PolicyViolation(msg, hint="Choose the kernel `Python (scriptenv)`.")
    record = _note(source, context=context, wanted=True)
    name = whereabouts(context.store, source)
    path = context.store.environment(name)
    curve = kernel_can_encrypt(context, path, record)
    return specs.register(name, record.source, path, curve=curve)


def unregister(source: Source, *, context: Context) -> bool:
    """Remove the kernelspec of a source's environment for good; say whether there was one.

    The environment stays, and so does the generic kernel for it.

    :raises NoEnvironment: if it has none
    """
    _note(source, context=context, wanted=False)
    return specs.unregister(whereabouts(context.store, source), trash=context.store.building)


def _note(source: Source, *, context: Context, wanted: bool) -> Record:
    store = context.store
    store.prepare()
    name = whereabouts(store, source)
    with exclusive(
        store.lock(name), timeout=lock_timeout(), cancelled=lambda: context.cancel.is_set
    ):
        standing = inspect(store, name, source)
        if standing.record is None:
            msg = f"`{source}` has no environment."
            raise NoEnvironment(msg)
        record = replace(standing.record, register=wanted)
        store.write_record(standing.path, record)
    return record
