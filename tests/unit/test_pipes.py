"""What a process has printed is waited for; whoever else holds the stream open is not."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from ipy_scriptenv.kernel_side.pipes import join_reader

PATIENCE = 0.05


@pytest.fixture
def pipe() -> Iterator[tuple[Any, Any]]:
    """Give the two ends of a pipe."""
    there, here = os.pipe()
    with open(there, "rb", buffering=0) as reading, open(here, "wb", buffering=0) as writing:  # noqa: PTH123 - descriptors
        yield reading, writing


def test_a_reader_that_gets_no_turn_for_long_is_waited_for(pipe: tuple[Any, Any]) -> None:
    reading, writing = pipe
    writing.write(b"last words")
    writing.close()
    turn, heard = threading.Event(), []

    def read() -> None:
        turn.wait()
        heard.append(reading.read())

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    threading.Timer(10 * PATIENCE, turn.set).start()
    join_reader(thread, reading, patience=PATIENCE)
    assert heard == [b"last words"]


def test_one_whose_stream_somebody_holds_open_in_silence_is_not(pipe: tuple[Any, Any]) -> None:
    reading, writing = pipe
    thread = threading.Thread(target=reading.read, daemon=True)
    thread.start()
    join_reader(thread, reading, patience=PATIENCE)
    assert thread.is_alive()
    writing.close()
    thread.join()


def test_a_stream_that_is_closed_by_then_has_nothing_more(pipe: tuple[Any, Any]) -> None:
    reading, _ = pipe
    reading.close()
    waits = threading.Event()
    thread = threading.Thread(target=waits.wait, daemon=True)
    thread.start()
    join_reader(thread, reading, patience=PATIENCE)
    assert thread.is_alive()
    waits.set()
