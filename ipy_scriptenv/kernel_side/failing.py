"""Why a cell must not run: a host's error, or one of this kernel's own, as a person reads it."""

from __future__ import annotations

from typing import Any

from .block import BlockError

__all__ = [
    "Failed",
    "home_gone",
    "host_ended",
    "interrupted",
    "named",
    "restart_needed",
    "undeclared",
    "unforeseen",
    "unreadable",
    "without_host",
    "wrong_call",
]

_UNCLOSED_HINT = (
    "Close the block with a line `# ///`; every line inside is `#` or begins with `# `."
)
_GONE_HINT = "Install it again: `pip install ipy-scriptenv`, in the Python that runs Jupyter."


class Failed(Exception):
    """The environment could not be completed; the cell must not run.

    :param name: class of the host's error, shown as the cell's ``ename``
    :param error: the ``error`` object of the contract: code, message, hint, problems
    """

    def __init__(self, name: str, error: dict[str, Any]) -> None:
        super().__init__(name, error)
        self.name = name
        self.error = error

    def __str__(self) -> str:
        return str(self.error["message"])

    def lines(self) -> list[str]:
        """What a person reads: what happened, the tool's own words, what to do."""
        lines = [f"{self.name}: {self.error['message']}"]
        for problem in self.error.get("problems", ()):
            place = ", ".join(
                str(part)
                for part in (
                    problem.get("cell") and f"cell {problem['cell']}",
                    problem.get("line") and f"line {problem['line']}",
                    problem.get("key"),
                )
                if part
            )
            lines += ["", f"{place}: {problem['message']}" if place else problem["message"]]
        if self.error.get("hint"):
            lines += ["", self.error["hint"]]
        return "\n".join(lines).split("\n")

    def _render_traceback_(self) -> list[str]:
        """Give what IPython shows where a line of `%scriptenv` raises this: no code of ours."""
        return self.lines()


def named(failed: Failed) -> Failed:
    """Give a failure as a class of its own name: IPython tells clients the class as ``ename``."""
    kind: type[Failed] = type(failed.name, (Failed,), {})
    return kind(failed.name, failed.error)


def wrong_call(message: str, hint: str = "See `%scriptenv --help`.") -> Failed:
    """Make the failure of a line of `%scriptenv` that cannot be carried out as it stands."""
    return _failed("WrongCall", "wrong-call", message, hint)


def unreadable(error: BlockError) -> Failed:
    """Make the failure of a cell whose block cannot be read."""
    unclosed = error.code == "unclosed"
    problems = [
        {"cell": None, "line": line, "key": None, "message": "a block begins here"}
        for line in error.lines
    ]
    return Failed(
        "Unclosed" if unclosed else "Duplicate",
        {
            "code": error.code,
            "message": str(error),
            "hint": _UNCLOSED_HINT if unclosed else "Keep one block.",
            "problems": problems,
        },
    )


def interrupted() -> Failed:
    """Make the failure of a sync that a person interrupted."""
    message = "Completing the environment was interrupted."
    hint = "Run the cell again to go on."
    return _failed("Interrupted", "interrupted", message, hint)


def unforeseen(error: Exception) -> Failed:
    """Make a failure of an exception that should not have come."""
    message = f"Something unforeseen went wrong in the kernel: {error!r}."
    return _failed("EngineFailed", "engine", message, "")


def restart_needed(reason: str, hint: str | None = None) -> Failed:
    """Make the failure of a cell in a kernel that is not the one its environment needs."""
    return _failed(
        "RestartNeeded",
        "restart-needed",
        f"A restart is needed: {reason}.",
        hint or "Restart the kernel; the environment is complete.",
    )


def undeclared(notes: list[str], by_hand: list[str]) -> Failed:
    """Make the failure of a cell that used what the notebook does not declare (strict).

    :param notes: a sentence for each module that came with the kernel
    :param by_hand: what was installed by hand
    """
    problems = [*notes]
    if by_hand:
        problems.append(f"installed by hand: {', '.join(by_hand)}")
    return Failed(
        "Undeclared",
        {
            "code": "undeclared",
            "message": "The notebook uses what it does not declare.",
            "hint": "Declare it in the block, for example with `%scriptenv add NAME`.",
            "problems": [
                {"cell": None, "line": None, "key": None, "message": text} for text in problems
            ],
        },
    )


def host_ended(words: str) -> Failed:
    """Make the failure of a sync whose host ended without an answer."""
    message = "The process that completes the environment ended without an answer."
    return _failed("EngineFailed", "engine", message, "Run the cell again.", words)


def home_gone() -> Failed:
    """Make the failure of a kernel whose own code is gone, and its environment with it."""
    message = "The folder of ipy-scriptenv that this kernel runs from is gone."
    return _failed("NoEnvironment", "no-environment", message, "Restart the kernel.")


def without_host(words: str) -> Failed:
    """Make the failure of a sync that no host is there for."""
    message = "No host answers: ipy-scriptenv is not installed any more where it was."
    return _failed("EngineFailed", "engine", message, _GONE_HINT, words)


def _failed(name: str, code: str, message: str, hint: str, words: str = "") -> Failed:
    problems = [{"cell": None, "line": None, "key": None, "message": words}] if words else []
    return Failed(name, {"code": code, "message": message, "hint": hint, "problems": problems})
