"""Hide the credentials of URLs in a text. Standard library alone; the host uses it too."""

from __future__ import annotations

import re

__all__ = ["HIDDEN", "without_credentials"]

HIDDEN = "://***@"
"""What stands for the credentials of a URL."""

_LONGEST = 1024
"""Characters of the longest password with an unescaped `/`, `?` or `#` that is recognised."""

# A single quote may stand in a password; before a comma or a bracket it ends a TOML string.
_WORD = re.compile(r"""(?:[^\s"']|'(?![\s,\]}]|\Z))+""")
_AUTHORITY = re.compile(r"[^/?#]*")
_VARIABLE = re.compile(r"(?:(?:[^:$]*|\$\{\w+\}):)?\$\{\w+\}")
_PORT = re.compile(r"\d*(?:[/?#]|\Z)")


def without_credentials(text: str) -> str:
    """Give *text* with ``***`` for the user, password or token of every URL in it.

    ``https://user:pass@host`` and ``https://token@host`` become ``https://***@host``. What is no
    secret stays: the user of an SSH address without a password (``git+ssh://git@host``), and the
    name of a variable (``https://${TOKEN}@host``). The time is proportional to the text's length.
    """
    if "://" not in text or "@" not in text:
        return text
    return _WORD.sub(_cleaned, text)


def _cleaned(match: re.Match[str]) -> str:
    word = match[0]
    if "://" not in word or "@" not in word:
        return word
    first, *rest = word.split("://")
    parts = [first]
    for number, part in enumerate(rest):
        parts.append(_without_user(part, scheme=parts[number] if number == 0 else rest[number - 1]))
    return "".join(parts)


def _without_user(part: str, *, scheme: str) -> str:
    """Give what stands behind a ``://`` with that, its user hidden."""
    end = _user_end(part)
    if end is None:
        return f"://{part}"
    user = part[:end]
    is_public = (scheme.endswith("ssh") and ":" not in user) or _VARIABLE.fullmatch(user)
    return f"://{part}" if is_public else HIDDEN + part[end + 1 :]


def _user_end(part: str) -> int | None:
    """Find the ``@`` behind the user, if there is one."""
    authority = _AUTHORITY.match(part)
    end = part.rfind("@", 0, authority.end() if authority else 0)
    if end >= 0:
        return end
    # A URL with an unescaped `/`, `?` or `#` in its password; a port is none.
    colon = part.find(":", 0, authority.end() if authority else 0)
    if colon < 0 or part.startswith("[") or _PORT.match(part, colon + 1):
        return None
    end = part.find("@", colon, colon + _LONGEST)
    return end if end >= 0 else None
