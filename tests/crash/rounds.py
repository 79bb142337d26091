"""Rounds: one operation, one signal, one moment; then the next start or sync, and all checks."""

from __future__ import annotations

import contextlib
import random
import signal
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.crash.checks import held, next_one, problems
from tests.crash.operations import OPERATIONS
from tests.crash.staging import Stage, stage
from tests.crash.working import Ended, Moment, run

__all__ = ["SIGNALS", "Crew", "Outcome"]

SIGNALS = {each.name: each for each in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)}
"""By name, what a process group may get."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a round showed.

    :param killed: whether the signal came in the middle, not after the end
    :param moment: in words
    :param broken: everything that was wrong afterwards
    """

    killed: bool
    moment: str
    broken: tuple[str, ...]


@dataclass(slots=True)
class _Measured:
    """How an operation goes when nobody is killed."""

    seconds: float
    steps: tuple[str, ...]


@dataclass(slots=True)
class Crew:
    """Does rounds, one after the other on one stage; a broken round is followed by a new stage.

    :param index: folder of the local package index
    """

    index: Path
    uv_cache: Path
    _measured: dict[str, _Measured] = field(default_factory=dict)
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _stage: Stage | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._strike()

    def round(self, operation: str, by: str, seed: str) -> Outcome:
        """Do one round at a random moment, which is one in time or before a step, as *seed* says.

        :param by: name of the signal
        """
        chosen = random.Random(seed)  # noqa: S311 - a seed that is told lets a round be repeated
        measured = self._measure(operation)
        moment = Moment(seconds=chosen.uniform(0, measured.seconds))
        if chosen.random() < 0.5:
            moment = Moment(step=chosen.randrange(len(measured.steps)))
        return self.round_at(operation, by, moment, start=chosen.random() < 0.5)

    def round_at(self, operation: str, by: str, moment: Moment, *, start: bool) -> Outcome:
        """Do one round.

        :param start: whether a start of the kernel comes before the next sync
        """
        measured = self._measure(operation)
        ended, broken = self._do(operation, (moment, SIGNALS[by]), start=start)
        killed = ended.code != 0
        if not killed and moment.step is None:
            measured.seconds = min(measured.seconds, ended.seconds)
        told = f"after {moment.seconds:.3f} s"
        if moment.step is not None:
            told = f"before step {moment.step + 1} ({measured.steps[moment.step]})"
        return Outcome(killed=killed, moment=told, broken=broken)

    def seconds(self, operation: str) -> float:
        """Give how long an operation takes when nobody is killed."""
        return self._measure(operation).seconds

    def steps(self, operation: str) -> tuple[str, ...]:
        """Give the steps that an operation takes when nobody is killed."""
        return self._measure(operation).steps

    def _measure(self, operation: str) -> _Measured:
        """Do an operation unharmed, once."""
        if operation not in self._measured:
            ended, broken = self._do(operation, None, start=False)
            if ended.code != 0 or broken:
                msg = f"{operation} goes wrong unharmed, with {ended.code}: {broken}"
                raise RuntimeError(msg)
            self._measured[operation] = _Measured(seconds=ended.seconds, steps=ended.steps)
        return self._measured[operation]

    def _do(
        self, operation: str, end: tuple[Moment, signal.Signals] | None, *, start: bool
    ) -> tuple[Ended, tuple[str, ...]]:
        stage = self._set_stage()
        before = stage.content()
        try:
            with OPERATIONS[operation](stage) as act:
                ended = run(act.words, end)
                broken = [f"lives on: {each}" for each in ended.orphans]
                if ended.code is None:
                    broken.append("it did not end")
                broken += held(stage, act)
                broken += next_one(act, start=start)
                broken += problems(stage, act, before)
        except BaseException:
            self._strike()
            raise
        if broken:
            self._strike()
        return ended, tuple(broken)

    def _set_stage(self) -> Stage:
        if self._stage is None:
            self._stage = self._stack.enter_context(stage(self.index, self.uv_cache))
        return self._stage

    def _strike(self) -> None:
        self._stage = None
        self._stack.close()
