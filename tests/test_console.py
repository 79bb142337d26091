"""``console``: IPython in the environment of a source."""

from __future__ import annotations

import os
from pathlib import Path

import pexpect  # type: ignore[import-untyped]
import pytest

from tests.conftest import Home
from tests.stage import PROGRAM, call, environment_of, installed, write_script


def test_a_console_is_ipython_in_the_environment_and_counts_as_one_of_its_kernels(
    lean_home: Home, script: Path
) -> None:
    """``%scriptenv`` asks a host as in a kernel, and what is imported is safe from change."""
    write_script(script, "alpha==1.0", code="print('never')")
    environment = environment_of(script)
    words = ["console", str(script), "--simple-prompt", "--no-banner", "--colors=nocolor"]
    console = pexpect.spawn(
        PROGRAM[0],
        [*PROGRAM[1:], *words],
        encoding="utf-8",
        timeout=100,
        cwd=str(lean_home.path),
        env={**os.environ, "TERM": "dumb"},
        dimensions=(50, 400),
    )
    prompts = 0

    def said(line: str | None = None) -> str:
        nonlocal prompts
        prompts += 1
        if line is not None:
            console.sendline(line)
        console.expect_exact(f"In [{prompts}]: ")
        return str(console.before)

    assert "never" not in said()
    assert str(environment) in said("import sys; print(sys.prefix)")
    assert "['1.0']" in said("import alpha; print([alpha.__version__])")
    assert "in-sync" in said("%scriptenv")
    assert "needs a process of its own" in said("%scriptenv console")
    listed = call("list").stdout
    assert " yes " in listed
    write_script(script, "alpha==2.0")
    refused = call("sync", script)
    assert refused.returncode == 1
    assert "imported" in refused.stderr
    assert installed(environment) == {"alpha==1.0"}
    assert "RestartNeeded" in said("%scriptenv sync")
    console.sendline("exit")
    console.expect(pexpect.EOF)
    console.close()
    assert console.exitstatus == 0
    assert call("sync", script).returncode == 0


@pytest.mark.usefixtures("lean_home")
def test_a_console_without_a_terminal_reads_its_input(script: Path) -> None:
    write_script(script, "beta")
    ended = call("console", script, "--no-banner", input="import beta\nprint('here')\n")
    assert ended.returncode == 0, ended.stderr
    assert "here" in ended.stdout
