"""How words that others wrote are shown in our messages: without credentials, on one line."""

from __future__ import annotations

from ipy_scriptenv.kernel_side.credentials import without_credentials
from ipy_scriptenv.problems import escaped

__all__ = ["shown", "without_credentials"]

_LONGEST = 240
_END = 110


def shown(text: str) -> str:
    r"""Give *text* as it may stand in a message of one line.

    Credentials are hidden, characters that cannot be seen are escaped as Python would write them
    (a zero-width space as ``\u200b``), and of a long text the middle is left out.
    """
    # The part that is left out could be the `@` by which credentials are known.
    safe = without_credentials(text)
    if len(safe) > _LONGEST:
        safe = f"{safe[:_END]}…{safe[-_END:]}"
    return escaped(safe)
