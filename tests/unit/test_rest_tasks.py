"""Tasks of the server: events for any number of listeners, bounds, and how they end."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from ipy_scriptenv.errors import EnvironmentInUse, LockTimeout, ResolutionFailed
from ipy_scriptenv.processes import Cancel
from ipy_scriptenv.rest import tasks as tasks_module
from ipy_scriptenv.rest.tasks import Busy, Event, Task, Tasks, Work
from ipy_scriptenv.rest.telling import told

Tell = Callable[[Event], None]
ADDRESS = "https://ada:secret@host/simple"


@pytest.fixture
async def tasks() -> AsyncIterator[Tasks]:
    made = Tasks(log=logging.getLogger("test"), on_begin=lambda _: None)
    yield made
    made.close()


async def heard(task: Task) -> list[Event]:
    """Follow a task to its end."""
    return [event async for event in task.events()]


def telling(*numbers: int) -> Work:
    """Give work that tells these numbers."""

    def work(tell: Tell, _cancel: Cancel) -> dict[str, Any]:
        for number in numbers:
            tell({"event": "resolving", "packages": number})
        return {"numbers": len(numbers)}

    return work


def waiting_for(gate: threading.Event) -> Work:
    """Give work that goes on until a gate is opened."""

    def work(tell: Tell, _cancel: Cancel) -> dict[str, Any]:
        tell({"event": "waiting", "for": "the gate"})
        gate.wait()
        return {}

    return work


async def test_everybody_hears_everything_in_order_whenever_they_come(tasks: Tasks) -> None:
    gate = threading.Event()
    task = tasks.begin("sync", waiting_for(gate), place="a", path="a.ipynb")
    early = [asyncio.create_task(heard(task)) for _ in range(3)]
    assert tasks.at("a") is task
    gate.set()
    first, *others = await asyncio.gather(*early)
    assert [each["event"] for each in first] == ["waiting", "done"]
    assert others == [first, first]
    assert await heard(task) == first
    assert tasks.at("a") is None
    assert tasks.get(task.id) is task

    told_all = await heard(tasks.begin("sync", telling(*range(100)), place="a", path=None))
    assert [each.get("packages") for each in told_all] == [*range(100), None]
    assert told_all[-1] == {"event": "done", "result": {"numbers": 100}}


async def test_the_done_of_a_verb_s_own_steps_does_not_end_a_task(tasks: Tasks) -> None:
    def work(tell: Tell, _cancel: Cancel) -> dict[str, Any]:
        tell({"event": "done"})
        tell({"event": "note", "text": "after"})
        return {}

    told_all = await heard(tasks.begin("sync", work, place="a", path=None))
    assert [each["event"] for each in told_all] == ["note", "done"]


async def test_who_comes_late_misses_the_first_of_very_many_and_never_the_last(
    tasks: Tasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks_module, "_BACKLOG", 10)
    task = tasks.begin("sync", telling(*range(100)), place="a", path=None)
    slow = task.events()
    assert (await anext(slow))["packages"] >= 0
    assert (await heard(task))[-1]["event"] == "done"
    late = await heard(task)
    assert [each.get("packages") for each in late] == [*range(91, 100), None]
    assert [event async for event in slow][-1]["event"] == "done"


async def test_a_second_task_at_one_place_is_refused_with_the_first_one_s_id(tasks: Tasks) -> None:
    gate = threading.Event()
    first = tasks.begin("sync", waiting_for(gate), place="a", path="a.ipynb")
    with pytest.raises(EnvironmentInUse) as refused:
        tasks.begin("delete", telling(), place="a", path="link.ipynb")
    assert [each.message for each in refused.value.problems] == [first.id]
    other = tasks.begin("sync", telling(), place="b", path="b.ipynb")
    assert (await heard(other))[-1]["event"] == "done"
    gate.set()
    await heard(first)
    await heard(tasks.begin("sync", telling(), place="a", path="a.ipynb"))


async def test_there_is_an_end_to_how_much_is_done_at_once(tasks: Tasks) -> None:
    gate = threading.Event()
    begun = [tasks.begin("sync", waiting_for(gate), place=f"{n}", path=None) for n in range(8)]
    with pytest.raises(Busy):
        tasks.begin("sync", telling(), place="more", path=None)
    gate.set()
    await asyncio.gather(*map(heard, begun))
    await heard(tasks.begin("sync", telling(), place="more", path=None))


async def test_what_went_wrong_is_the_last_event_and_shows_no_credentials(tasks: Tasks) -> None:
    def fail(error: Exception) -> Work:
        def work(tell: Tell, _cancel: Cancel) -> dict[str, Any]:
            tell({"event": "resolving", "text": f"from {ADDRESS}"})
            raise error

        return work

    failed = await heard(tasks.begin("sync", fail(ResolutionFailed(ADDRESS)), place="a", path=None))
    unforeseen = await heard(tasks.begin("sync", fail(ValueError(ADDRESS)), place="a", path=None))
    assert "secret" not in f"{failed}{unforeseen}"
    error = failed[-1]["error"]
    assert (error["code"], error["name"], error["pending"]) == (
        "resolution-failed",
        "ResolutionFailed",
        False,
    )
    assert unforeseen[-1]["error"]["code"] == "engine"
    assert told({"a": [ADDRESS, 1, None, (ADDRESS,)]}) == {
        "a": ["https://***@host/simple", 1, None, ["https://***@host/simple"]]
    }


def until_cancelled(tell: Tell, cancel: Cancel) -> dict[str, Any]:
    """Work until it is cancelled, as where a lock is waited for."""
    tell({"event": "waiting", "for": "a lock"})
    idle = threading.Event()
    while not cancel.is_set:
        idle.wait(0.01)
    raise LockTimeout("It was held all the time.")


async def test_a_cancelled_task_ends_as_interrupted(tasks: Tasks) -> None:
    task = tasks.begin("sync", until_cancelled, place="a", path=None)
    listener = task.events()
    assert (await anext(listener))["event"] == "waiting"
    task.cancel.set()
    assert (await anext(listener))["error"]["code"] == "interrupted"
    task.cancel.set()


async def test_the_end_of_the_server_ends_what_is_at_work(
    tasks: Tasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Patient, where this machine is busy; and another test's threads may not be over yet.
    monkeypatch.setattr(tasks_module, "_FAREWELL", 100.0)
    begun = [tasks.begin("sync", until_cancelled, place=f"{n}", path=None) for n in range(3)]
    threads = [*tasks._threads.values()]
    tasks.close()
    assert [each.is_alive() for each in threads] == [False] * 3
    ends = [each[-1] for each in await asyncio.gather(*map(heard, begun))]
    assert [each["error"]["code"] for each in ends] == ["interrupted"] * 3


async def test_an_ended_task_is_forgotten(tasks: Tasks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks_module, "_MOST_KNOWN", 2)
    ended = []
    for _ in range(4):
        ended.append(tasks.begin("sync", telling(), place="a", path=None))
        await heard(ended[-1])
    assert [tasks.get(each.id) is not None for each in ended] == [False, False, True, True]
    monkeypatch.setattr(tasks_module, "_REMEMBERED", 0.0)
    gone = tasks.begin("sync", telling(), place="a", path=None)
    await heard(gone)
    # What the loop was told to do later comes before what it is told to do much later.
    await asyncio.sleep(0.05)
    assert tasks.get(gone.id) is None
