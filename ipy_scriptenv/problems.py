"""What an error of ours is: what happened, every single problem with its place, what to do."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

__all__ = ["Problem", "ScriptEnvError", "escaped"]


def escaped(text: str) -> str:
    """Show control characters by their escapes, so that a file's name cannot steer a terminal."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong with an input, and where.

    :param message: what is wrong, one sentence or the words of the tool that refused
    :param cell: number of the notebook's cell, counted from 1 over all cells; ``None`` outside
        notebooks
    :param line: line in the cell or file, counted from 1
    :param key: the place in the TOML, such as ``dependencies[2]``
    """

    message: str
    cell: int | None = None
    line: int | None = None
    key: str | None = None

    def __str__(self) -> str:
        place = ", ".join(
            f"{name} {value}" if name else str(value)
            for name, value in (("cell", self.cell), ("line", self.line), ("", self.key))
            if value is not None
        )
        return f"{place}: {self.message}" if place else self.message


class ScriptEnvError(Exception):
    """The base of all errors that this package raises on purpose.

    :param message: what happened, in one sentence
    :param hint: what to do about it; the class's own hint where it is left out
    :param problems: every single problem, where there are several or the place is known
    """

    code: ClassVar[str] = "engine"
    exit_code: ClassVar[int] = 1
    default_hint: ClassVar[str] = ""

    def __init__(
        self, message: str, *, hint: str | None = None, problems: tuple[Problem, ...] = ()
    ) -> None:
        # A file's name may hold what steers a terminal, or begins another line.
        message = escaped(message)
        super().__init__(message)
        self.message = message
        self.hint = self.default_hint if hint is None else hint
        self.problems = problems

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.message, self.hint, self.problems))

    def __str__(self) -> str:
        return self.message

    def to_json(self) -> dict[str, Any]:
        """Give the ``error`` object of the command line's JSON."""
        return {
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
            "problems": [asdict(problem) for problem in self.problems],
        }


def _rebuild(
    kind: type[ScriptEnvError], message: str, hint: str, problems: tuple[Problem, ...]
) -> ScriptEnvError:
    return kind(message, hint=hint, problems=problems)
