"""What can be wrong with the folder that the machine's users share, as its users see it."""

from __future__ import annotations

from collections.abc import Iterator

from ipy_scriptenv.environments.ailments import Finding
from ipy_scriptenv.environments.standing import Context
from ipy_scriptenv.files import is_gone
from ipy_scriptenv.interpreters import host_python
from ipy_scriptenv.kernels import shared_layers
from ipy_scriptenv.kernels.layer import layer_name
from ipy_scriptenv.shared import shared_folder

__all__ = ["examine_shared"]

_FILL = "Its administrator fills it: `jupyter scriptenv share` (docs/hub.md)."


def examine_shared(_context: Context) -> Iterator[Finding]:
    """Say why nothing is taken from the shared folder, if the policy names one.

    Environments work all the same, on what is made in the user's own home.
    """
    shared = shared_folder()
    if shared is None:
        return
    folder = shared.store.home
    if is_gone(folder):
        message = f"The shared folder `{folder}`, which `{shared.named_in}` names, is not there."
        yield Finding(code="no-shared-folder", message=message, path=folder, hint=_FILL)
        return
    why = shared.why_not(folder)
    if why is not None:
        message = f"Nothing is taken from the shared folder `{folder}`. {why}"
        hint = "Its administrator takes that right away (`chmod go-w`)."
        yield Finding(code="unfit-shared-folder", message=message, path=folder, hint=hint)
        return
    why = shared_layers.refusal(shared, layer_name(host_python()))
    if why is not None:
        message = f"The shared folder `{folder}` is of no use for this Python. {why}"
        yield Finding(code="no-shared-layer", message=message, path=folder, hint=_FILL)
