"""Drives the kernels of one contestant, in the contestant's own Python: JSON lines in and out.

Needs nothing but the standard library and jupyter_client, so that the same code measures everybody.
A request names its operation in ``op``; its other fields are that operation's arguments. The answer
has ``ok``, and what was measured or, in ``error``, why nothing was.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from queue import Empty
from subprocess import DEVNULL
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import AsyncKernelManager, KernelManager

_SLICE = 0.5
"""Seconds between two looks whether a silent kernel is still alive."""

_SPEC = "__import__('importlib.util').util.find_spec({!r}) is not None"


class _Kernel:
    """A kernel that runs, and one client of it."""

    def __init__(self, kernel: str, env: dict[str, str], cwd: str) -> None:
        self.name, self.env, self.cwd = kernel, {**os.environ, **env}, cwd
        # As a server that encrypts where the kernel can.
        self.manager = KernelManager(kernel_name=kernel, transport_encryption="auto")
        self.client: BlockingKernelClient | None = None
        self.log = tempfile.TemporaryFile("w+b")  # noqa: SIM115 - closed with the kernel
        self.groups: set[int] = set()

    def start(self, timeout: float) -> None:
        self.manager.start_kernel(env=self.env, cwd=self.cwd, stdout=self.log, stderr=self.log)
        self._await_answer(timeout)

    def restart(self, timeout: float) -> None:
        """Restart as a server does: the kernel is asked to end before it is made to."""
        self._close()
        self.manager.restart_kernel()
        self._await_answer(timeout)

    def end(self) -> None:
        """Ask the kernel to end, as a server does."""
        self._close()
        self.manager.shutdown_kernel()

    def kill(self) -> None:
        """End the kernel and all that it started, however it is."""
        self._close()
        with contextlib.suppress(Exception):
            self.manager.shutdown_kernel(now=True)
        for group in self.groups:
            with contextlib.suppress(OSError):
                os.killpg(group, signal.SIGKILL)
        self.log.close()

    def reply_to(self, message: str, timeout: float) -> dict[str, Any]:
        """Wait for the reply to a request on the shell channel."""
        if self.client is None:
            raise RuntimeError("no kernel runs")
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            with contextlib.suppress(Empty):
                reply = self.client.get_shell_msg(timeout=_SLICE)
                if reply["parent_header"].get("msg_id") == message:
                    content: dict[str, Any] = reply["content"]
                    return content
                continue
            if not self.manager.is_alive():
                raise RuntimeError(f"the kernel's process ended: {self._last_words()}")
        raise TimeoutError(f"no answer in {timeout:.0f} s: {self._last_words()}")

    def settle(self, timeout: float) -> None:
        """Wait until what the kernel publishes arrives: that channel connects by itself."""
        if self.client is None:
            raise RuntimeError("no kernel runs")
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            message = self.client.kernel_info()
            self.reply_to(message, timeout)
            with contextlib.suppress(Empty):
                while True:
                    output = self.client.get_iopub_msg(timeout=_SLICE)
                    if output["parent_header"].get("msg_id") == message and _is_idle(output):
                        return
        raise TimeoutError("the kernel publishes nothing")

    def _await_answer(self, timeout: float) -> None:
        process = getattr(self.manager.provisioner, "pid", None)
        if isinstance(process, int) and process > 0:
            self.groups.add(process)  # each kernel leads a group of its own
        self.client = self.manager.client()
        self.client.start_channels()
        self.reply_to(self.client.kernel_info(), timeout)

    def _close(self) -> None:
        if self.client is not None:
            self.client.stop_channels()
            self.client = None

    def _last_words(self) -> str:
        self.log.seek(0)
        lines = [line.strip() for line in self.log.read().decode(errors="replace").splitlines()]
        telling = [line for line in lines if "error" in line.lower() or line.startswith("×")]
        return ((telling or lines or ["it said nothing"])[-1])[:200]


_kernel: _Kernel | None = None


def _start(kernel: str, env: dict[str, str], cwd: str, timeout: float) -> dict[str, Any]:
    """Measure a start: ``start_kernel()`` to the first ``kernel_info_reply``."""
    _stop()
    began = time.perf_counter()
    new = _running(_Kernel(kernel, env, cwd))
    new.start(timeout)
    seconds = time.perf_counter() - began
    new.settle(timeout)
    return {"seconds": seconds}


def _restart(timeout: float, kernel: str | None = None) -> dict[str, Any]:
    """Measure a restart; one with another kernelspec is an end and a start."""
    old = _running()
    began = time.perf_counter()
    if kernel is None:
        old.restart(timeout)
    else:
        old.end()
        new = _Kernel(kernel, old.env, old.cwd)
        new.groups |= old.groups
        _running(new).start(timeout)
    seconds = time.perf_counter() - began
    _running().settle(timeout)
    return {"seconds": seconds}


def _execute(code: str, timeout: float) -> dict[str, Any]:
    """Measure a cell: request to reply. Its text is read after that."""
    running = _running()
    client = running.client
    if client is None:
        raise RuntimeError("no kernel runs")
    began = time.perf_counter()
    message = client.execute(code, allow_stdin=False)
    content = running.reply_to(message, timeout)
    seconds = time.perf_counter() - began
    text, error, details = "", "", ""
    while True:
        output = client.get_iopub_msg(timeout=10)
        if output["parent_header"].get("msg_id") != message:
            continue
        if output["msg_type"] == "stream":
            text += output["content"]["text"]
        elif output["msg_type"] == "error":
            error = f"{output['content']['ename']}: {output['content']['evalue']}"
            details = "\n".join(output["content"]["traceback"])
        elif _is_idle(output):
            break
    answer = {"seconds": seconds, "status": content["status"], "text": text}
    return {**answer, "error": error, "details": details}


def _is_idle(output: dict[str, Any]) -> bool:
    return bool(output["msg_type"] == "status" and output["content"]["execution_state"] == "idle")


def _has(module: str, timeout: float) -> dict[str, Any]:
    """Say whether the kernel could import a module, without a user's cell."""
    running = _running()
    if running.client is None:
        raise RuntimeError("no kernel runs")
    asked = {"found": _SPEC.format(module)}
    message = running.client.execute("", silent=True, user_expressions=asked)
    found = running.reply_to(message, timeout)["user_expressions"]["found"]
    return {"found": found.get("data", {}).get("text/plain") == "True"}


def _stop() -> dict[str, Any]:
    global _kernel  # noqa: PLW0603 - one process, one kernel
    if _kernel is not None:
        _kernel.kill()
        _kernel = None
    return {}


def _running(new: _Kernel | None = None) -> _Kernel:
    global _kernel  # noqa: PLW0603 - one process, one kernel
    if new is not None:
        _kernel = new
    if _kernel is None:
        raise RuntimeError("no kernel runs")
    return _kernel


def _together(starts: list[dict[str, Any]], timeout: float) -> dict[str, Any]:
    """Measure many starts at once, as in one server: until the last kernel has answered."""
    return asyncio.run(_all_at_once(starts, timeout))


async def _all_at_once(starts: list[dict[str, Any]], patience: float) -> dict[str, Any]:
    managers = [
        AsyncKernelManager(kernel_name=start["kernel"], transport_encryption="auto")
        for start in starts
    ]
    groups: list[int] = []

    async def answered(manager: AsyncKernelManager, start: dict[str, Any]) -> None:
        env = {**os.environ, **start["env"]}
        await manager.start_kernel(env=env, cwd=start["cwd"], stdout=DEVNULL, stderr=DEVNULL)
        groups.append(getattr(manager.provisioner, "pid", 0) or 0)
        client = manager.client()
        client.start_channels()
        until = time.monotonic() + patience
        try:
            client.kernel_info()
            while True:
                with contextlib.suppress(Empty):
                    await client.get_shell_msg(timeout=_SLICE)
                    return
                if not await manager.is_alive():
                    raise RuntimeError("one of the kernels ended")
                if time.monotonic() > until:
                    raise TimeoutError("one of the kernels lives and does not answer")
        finally:
            client.stop_channels()

    try:
        began = time.perf_counter()
        # All to their end, whatever happens to one: none may be left behind.
        ends = await asyncio.gather(*map(answered, managers, starts), return_exceptions=True)
        seconds = time.perf_counter() - began
        for end in ends:
            if end is not None:
                raise end
        return {"seconds": seconds}
    finally:
        shutdowns = [manager.shutdown_kernel(now=True) for manager in managers]
        await asyncio.gather(*shutdowns, return_exceptions=True)
        for group in filter(None, groups):
            with contextlib.suppress(OSError):
                os.killpg(group, signal.SIGKILL)


_OPERATIONS: dict[str, Callable[..., dict[str, Any]]] = {
    "start": _start,
    "restart": _restart,
    "execute": _execute,
    "has": _has,
    "stop": _stop,
    "together": _together,
}


def main() -> None:
    """Answer requests until the input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # What a library prints must not get between the answers.
    os.dup2(2, 1)
    # A worker that is told to end ends its kernel first.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        for line in sys.stdin:
            request = json.loads(line)
            try:
                answer = {"ok": True, **_OPERATIONS[request.pop("op")](**request)}
            except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
                answer = {"ok": False, "error": f"{type(error).__name__}: {error}"}
            print(json.dumps(answer), file=answers, flush=True)
    finally:
        _stop()


if __name__ == "__main__":
    main()
