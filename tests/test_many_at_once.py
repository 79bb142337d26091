"""Many starts and syncs at once, of processes and of threads: one build, no error, one winner.

Processes are forked from one that has everything imported, wait for each other, and write down what
they did: which builds got their name, and which records were written, in this order.
"""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest

from ipy_scriptenv import cli, environments
from ipy_scriptenv.environments import Context, Start, Synced
from ipy_scriptenv.errors import LockTimeout, PermissionRefused
from ipy_scriptenv.locks import is_held
from ipy_scriptenv.record import Record
from ipy_scriptenv.store import Store
from ipy_scriptenv.uv import Event
from tests.conftest import Home
from tests.stage import (
    HOST,
    PROGRAM,
    WANTED,
    assert_works,
    environment_of,
    exclusively_held,
    pretend_layer,
    record_of,
    start,
    state_of,
    sync,
    write_source,
)

Verb = Callable[..., Any]

MANY = 64
VERBS = pytest.mark.parametrize("verb", [start, sync])
FORKING = multiprocessing.get_context("forkserver")
FORKING.set_forkserver_preload([__name__])

pytestmark = pytest.mark.usefixtures("lean_home")


@pytest.fixture
def source(source: Path) -> Path:
    return write_source(source, "beta")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One process's call: *verb* is ``start`` or ``sync``."""

    verb: str
    source: Path
    python: str | None = None
    dies: bool = False
    """Whether it is killed while it has the lock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What all calls did.

    :param built: names of the environments that were built, one for each build
    :param requests: requests for a Python in the records that were written, by environment, in
        their order
    :param errors: what was raised
    """

    built: Counter[str]
    requests: Mapping[str, Sequence[str | None]]
    errors: Sequence[str]


def act(call: Call, variables: Mapping[str, str], log: Path, barrier: Any) -> None:
    os.environ.clear()
    os.environ.update(variables)
    place, write_record = Store.place, Store.write_record

    def tell(**what: Any) -> None:
        with log.open("a") as file:
            file.write(json.dumps(what) + "\n")

    def placing(store: Store, build: Path, environment: Path) -> None:
        if call.dies:
            os.kill(os.getpid(), signal.SIGKILL)
        place(store, build, environment)
        # The record was written into the build.
        python = record_of(environment).python
        tell(built=environment.name, request=python.request, name=environment.name)

    def writing(store: Store, environment: Path, record: Record) -> None:
        write_record(store, environment, record)
        if environment.parent == store.environments:
            tell(request=record.python.request, name=environment.name)

    # This process is thrown away: nothing needs to be put back.
    setattr(Store, "place", placing)  # noqa: B010 - a method is replaced
    setattr(Store, "write_record", writing)  # noqa: B010
    barrier.wait(100)
    try:
        if call.verb == "start":
            start(call.source, wait=100)
        else:
            sync(call.source, python=call.python)
    except BaseException as error:  # noqa: BLE001 - told to the test
        tell(error=repr(error))


def all_at_once(calls: Sequence[Call], log: Path) -> Outcome:
    """Make all calls at the same time, each in a process of its own."""
    log.touch()
    barrier = FORKING.Barrier(len(calls))
    processes: list[ForkServerProcess] = [
        FORKING.Process(target=act, args=(call, dict(os.environ), log, barrier)) for call in calls
    ]
    try:
        for process in processes:
            process.start()
        for process in processes:
            process.join(150)
        ends = Counter(process.exitcode for process in processes)
    finally:
        for process in processes:
            process.kill()
    assert ends == Counter(-signal.SIGKILL if call.dies else 0 for call in calls)
    told = [json.loads(line) for line in log.read_text().splitlines()]
    requests: dict[str, list[str | None]] = {}
    for each in told:
        if "name" in each:
            requests.setdefault(each["name"], []).append(each["request"])
    return Outcome(
        built=Counter(each["built"] for each in told if "built" in each),
        requests=requests,
        errors=[each["error"] for each in told if "error" in each],
    )


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def assert_nothing_left(home: Home) -> None:
    assert [*(home.scriptenv / "building-v1").iterdir()] == []
    assert [path.name for path in (home.scriptenv / "work-v1").iterdir()] == ["uv.toml"]
    assert not any(map(is_held, (home.scriptenv / "locks").glob("*.lock")))


# Processes.


@pytest.mark.parametrize("number", [2, MANY])
@pytest.mark.parametrize("verbs", ["start", "sync", "start and sync"])
def test_many_processes_at_once_on_one_source_make_one_environment(
    *, lean_home: Home, source: Path, log: Path, number: int, verbs: str
) -> None:
    """One of them builds it, the others take it; a sync after a start builds what is declared."""
    words = verbs.split(" and ")
    calls = [Call(verb=words[each % len(words)], source=source) for each in range(number)]
    outcome = all_at_once(calls, log)
    assert outcome.errors == []
    name = environment_of(source).name
    assert outcome.built.keys() == {name}
    assert outcome.built[name] <= len(words)
    assert_works(environment_of(source), set() if verbs == "start" else WANTED)
    assert_nothing_left(lean_home)


@pytest.mark.parametrize("number", [2, MANY])
def test_many_processes_at_once_on_many_sources_make_one_environment_each(
    lean_home: Home, source: Path, log: Path, number: int
) -> None:
    notebooks = [write_source(source.with_name(f"{each}.ipynb"), "beta") for each in range(number)]
    outcome = all_at_once([Call(verb="start", source=each) for each in notebooks], log)
    assert outcome.errors == []
    assert outcome.built == Counter(environment_of(each).name for each in notebooks)
    for each in (notebooks[0], notebooks[-1]):
        assert_works(environment_of(each), set())
    assert_nothing_left(lean_home)


@pytest.mark.parametrize("number", [2, 16])
def test_of_different_requests_for_a_python_the_last_one_wins(
    lean_home: Home, source: Path, log: Path, number: int, pythons: dict[str, Path]
) -> None:
    """Each is carried out whole, one after the other: never half of one and half of another."""
    minors = [*[minor for minor in pythons if minor != HOST][:2], HOST]
    if len(minors) < 2:
        pytest.skip("there is but one Python")
    for minor in minors:
        if minor != HOST:
            pretend_layer(lean_home.scriptenv, pythons[minor])
    calls = [
        Call(verb="sync", source=source, python=minors[each % len(minors)])
        for each in range(number)
    ]
    outcome = all_at_once(calls, log)
    assert outcome.errors == []
    environment = environment_of(source)
    assert outcome.built[environment.name] <= number
    record = record_of(environment)
    assert record.python.request == outcome.requests[environment.name][-1]
    assert record.python.minor == record.python.request
    assert [*environment.glob("lib/python3*")] == [
        environment / "lib" / f"python{record.python.minor}"
    ]
    assert_works(environment, WANTED)
    assert state_of(source) == "in-sync"
    assert_nothing_left(lean_home)


@VERBS
def test_holders_that_are_killed_among_many_hinder_nobody(
    lean_home: Home, source: Path, log: Path, verb: Verb
) -> None:
    """Each of them dies when its build is ready and has no name yet: all of it is swept."""
    word = verb.__name__
    for _ in range(3):
        all_at_once([Call(verb=word, source=source, dies=True)], log)
    assert len([*(lean_home.scriptenv / "building-v1").iterdir()]) == 1
    outcome = all_at_once([Call(verb=word, source=source)] * 8, log)
    assert outcome.errors == []
    assert outcome.built == {environment_of(source).name: 1}
    assert_works(environment_of(source), set() if verb is start else WANTED)
    assert_nothing_left(lean_home)


# Threads.


@VERBS
def test_two_hundred_threads_at_once_get_the_same_environment(source: Path, verb: Verb) -> None:
    """Whoever finds it being made waits; whoever finds it made takes it."""
    number = 200
    barrier = threading.Barrier(number)

    def begin(_number: int) -> Start | Synced:
        barrier.wait()
        options = {"wait": 100.0} if verb is start else {}
        found: Start | Synced = verb(source, **options)
        return found

    with ThreadPoolExecutor(number) as pool:
        done = [*pool.map(begin, range(number))]
    assert {each.path for each in done} == {environment_of(source)}
    if verb is sync:
        actions = Counter(each.action for each in done if isinstance(each, Synced))
        assert actions == {"created": 1, "kept": number - 1}
    assert_works(environment_of(source), set() if verb is start else WANTED)


# Waiting.


def lock_of(source: Path) -> Path:
    store = Context().store
    store.prepare()
    return store.lock(environments.name_of(environments.locate(source)))


class EnoughHeardError(Exception):
    """Raised by a listener that has heard of the wait."""


@pytest.mark.parametrize(
    ("verb", "whom"),
    [
        (environments.start, "another start of this environment"),
        (environments.sync, "another change of this environment"),
    ],
)
def test_waiting_is_told_by_whom_one_waits_for(source: Path, verb: Verb, whom: str) -> None:
    told: list[Event] = []

    def listen(event: Event) -> None:
        told.append(event)
        raise EnoughHeardError

    with exclusively_held(lock_of(source)), pytest.raises(EnoughHeardError):
        verb(environments.locate(source), context=Context(on_event=listen))
    assert told == [{"event": "waiting", "for": whom}]


def test_the_command_line_tells_that_it_waits_and_goes_on_afterwards(source: Path) -> None:
    with exclusively_held(lock_of(source)):
        process = subprocess.Popen(
            [*PROGRAM, "sync", source],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        assert process.stderr.readline() == "Waiting for another change of this environment …\n"
    _, words = process.communicate(timeout=100)
    assert process.returncode == 0, words
    assert_works(environment_of(source), WANTED)


@VERBS
def test_waiting_is_bounded_by_the_lock_timeout(
    source: Path, monkeypatch: pytest.MonkeyPatch, verb: Verb
) -> None:
    """Nobody who may wait for less than a second is told that he waits."""
    monkeypatch.setenv("SCRIPTENV_LOCK_TIMEOUT", "0.2")

    def listen(_event: Event) -> None:
        raise EnoughHeardError

    function = environments.start if verb is start else environments.sync
    with exclusively_held(lock_of(source)), pytest.raises(LockTimeout) as refused:
        function(environments.locate(source), context=Context(on_event=listen))
    assert "SCRIPTENV_LOCK_TIMEOUT" in refused.value.hint
    assert not environment_of(source).exists()


@pytest.mark.parametrize("value", ["", "soon", "-1"])
def test_a_lock_timeout_that_makes_no_sense_does_no_harm(
    source: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("SCRIPTENV_LOCK_TIMEOUT", value)
    assert sync(source).action == "created"


# Where there are no locks.


NO_LOCKS = pytest.mark.parametrize("name", ["ENOLCK", "ENOSYS", "EOPNOTSUPP", "EINVAL"])


def take_locks_away(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Have everything on a file system that gives no locks, as some network file systems."""

    def refuse(*_arguments: Any) -> None:
        number = getattr(errno, name)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)


@VERBS
@NO_LOCKS
def test_a_file_system_without_locks_is_told(
    source: Path, verb: Verb, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be guarded is not begun."""
    take_locks_away(monkeypatch, name)
    with pytest.raises(PermissionRefused) as refused:
        verb(source)
    assert "gives no locks" in str(refused.value)
    assert os.strerror(getattr(errno, name)) in str(refused.value)
    assert "SCRIPTENV_HOME" in refused.value.hint
    assert not environment_of(source).exists()


@VERBS
def test_an_environment_on_a_file_system_without_locks_stays_as_it_is(
    source: Path, verb: Verb, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a home is moved to one."""
    environment = sync(source).path
    before = environment.stat().st_ino
    write_source(source, "nspkg-one")
    take_locks_away(monkeypatch, "ENOLCK")
    with pytest.raises(PermissionRefused):
        verb(source)
    assert environment.stat().st_ino == before
    assert_works(environment, WANTED)


@pytest.mark.parametrize(
    "words",
    [["sync", "{}"], ["rebuild", "{}"], ["delete", "{}", "--yes"], ["move", "{}", "{}.new.ipynb"]],
    ids=lambda words: words[0],
)
def test_the_command_line_tells_that_there_are_no_locks(
    *,
    source: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: Iterable[str],
) -> None:
    environment = sync(source).path
    write_source(Path(f"{source}.new.ipynb"), "beta")
    take_locks_away(monkeypatch, "ENOLCK")
    with pytest.raises(SystemExit) as ended:
        cli.main([*(word.format(source) for word in words), "--json"])
    assert ended.value.code == 1
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == "permission"
    assert "gives no locks" in error["message"]
    assert environment.exists()


@pytest.mark.parametrize(
    "words", [["find", "{}"], ["status", "{}"], ["list"]], ids=lambda words: words[0]
)
def test_what_only_looks_needs_no_locks(
    *,
    source: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: Iterable[str],
) -> None:
    sync(source)
    take_locks_away(monkeypatch, "ENOLCK")
    with pytest.raises(SystemExit) as ended:
        cli.main([*(word.format(source) for word in words), "--json"])
    assert (ended.value.code, "error" in json.loads(capsys.readouterr().out)) == (0, False)
