"""The words of a magic's line."""

from __future__ import annotations

import os
import shlex

__all__ = ["words_of"]


def words_of(line: str, *, backslash_escapes: bool = os.name == "posix") -> list[str]:
    """Split a line as a shell does: quotes keep a word together, and are taken off.

    :param backslash_escapes: whether a backslash quotes what follows; it parts folders on Windows
    :raises ValueError: if a quotation is not closed
    """
    lexer = shlex.shlex(line, posix=True, punctuation_chars=False)
    lexer.whitespace_split = True
    lexer.commenters = ""
    if not backslash_escapes:
        lexer.escape = ""
    return list(lexer)
