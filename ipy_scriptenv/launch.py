"""Become a kernel, for clients that start an argv and know nothing of provisioners.

``python -P -m ipy_scriptenv.launch [ENVIRONMENT] -f FILE``: get or init, then execute the kernel of
that environment in this process's place. Without ENVIRONMENT, as in the generic kernelspec, an
ephemeral one is made; the live block completes it.

The generic kernelspec calls :func:`main` from a line of its own, because a relative or empty
entry of ``PYTHONPATH`` means the notebook's folder, from which nothing may be imported: with ``-E``
Python does not look at that variable, and the line adds the entries that are absolute.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from ipy_scriptenv import environments, explaining, processes, settings
from ipy_scriptenv.environments import EPHEMERAL, Context
from ipy_scriptenv.errors import NoEnvironment
from ipy_scriptenv.identity import EnvironmentName
from ipy_scriptenv.record import Source
from ipy_scriptenv.store import Store

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Start the kernel; returns only where a process cannot become another one."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    environment = Path(words.pop(0)) if words and Path(words[0]).is_absolute() else None
    source, name, store = EPHEMERAL, None, Store(settings.home())
    if environment is not None:
        store = Store(environment.parent.parent)
    try:
        if environment is not None:
            source, name = _source_of(store, environment)
        started = environments.start(source, context=Context(store=store), name=name)
    except Exception as error:  # noqa: BLE001 - of a process that ends, clients show nothing
        argv, variables = explaining.command(error, source=source)
        return processes.replace([*argv, *words], env=settings.child_environment(add=variables))
    return processes.replace(
        [*started.argv, *words],
        env=settings.child_environment(add={"SCRIPTENV_PREPARED": "1"}),
    )


def _source_of(store: Store, environment: Path) -> tuple[Source, EnvironmentName]:
    record = store.read_record(environment)
    if record is None:
        msg = f"The record of the environment `{environment}` is missing or broken."
        hint = "Mend it with `jupyter scriptenv sync SOURCE`."
        raise NoEnvironment(msg, hint=hint)
    return record.source, EnvironmentName(environment.name)


if __name__ == "__main__":
    sys.exit(main())
