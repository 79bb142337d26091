"""How words that others wrote are shown in our messages: without credentials, on one line."""

from __future__ import annotations

import re

__all__ = ["shown", "without_credentials"]

_LONGEST = 240
_END = 110

# The first form is a URL's user part. The second is what a URL with an unescaped `/`, `?` or `#` in
# its password looks like; a port (`host:8080/…`) is none. Its length has a limit, because many
# openings without an `@` would otherwise cost quadratic time.
_CREDENTIALS = re.compile(
    r"""
    (?P<ssh>(?<=ssh))? ://
    (?P<user> [^\s/?#]* | [^\s/?#@:\[]* : (?!\d*[/?#]) [^\s@]{0,1024} )
    @
    """,
    re.VERBOSE,
)


def without_credentials(text: str) -> str:
    """Give *text* with ``***`` for the user, password or token of every URL in it.

    ``https://user:pass@host`` and ``https://token@host`` become ``https://***@host``. The user of
    an SSH address without a password stays (``git+ssh://git@host``): it is no secret, and the
    address says nothing without it.
    """
    return _CREDENTIALS.sub(_hidden, text)


def shown(text: str) -> str:
    r"""Give *text* as it may stand in a message of one line.

    Credentials are hidden, characters that cannot be seen are escaped as Python would write them
    (a zero-width space as ``\u200b``), and of a long text the middle is left out.
    """
    # The part that is left out could be the `@` by which credentials are known.
    safe = without_credentials(text)
    if len(safe) > _LONGEST:
        safe = f"{safe[:_END]}…{safe[-_END:]}"
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in safe
    )


def _hidden(match: re.Match[str]) -> str:
    if match["ssh"] is not None and ":" not in match["user"]:
        return match[0]
    return "://***@"
