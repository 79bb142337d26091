"""The command line: ``jupyter scriptenv VERB``, ``jupyter-scriptenv``, ``python -m ipy_scriptenv``.

Exit codes: 0; 2 for a wrong call or a source that cannot be read; 1 for everything that went wrong
on the way. With ``--json`` exactly one object goes to standard output, an error's too.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from ipy_scriptenv import explaining, settings
from ipy_scriptenv.cli import core, declaring, lifecycle, locking, packing, running, sharing
from ipy_scriptenv.cli.common import command_line, fail
from ipy_scriptenv.errors import EngineFailed, Interrupted, ScriptEnvError, WrongCall

__all__ = [
    "command_line",
    "core",
    "declaring",
    "lifecycle",
    "locking",
    "main",
    "packing",
    "running",
    "sharing",
]

_COMPLETE = "_JUPYTER_SCRIPTENV_COMPLETE"
"""By this variable a shell asks for completions; click's way."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line; ends the process."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    # Behind `run SOURCE`, a word is the script's.
    as_json = "--json" in words and words[0] not in ("run", "console")
    # A shell completes the name of one program, and `jupyter` is another's.
    name = "jupyter scriptenv" if settings.variable(_COMPLETE) is None else "jupyter-scriptenv"
    try:
        command_line.main(words, prog_name=name, standalone_mode=False, complete_var=_COMPLETE)
    except ScriptEnvError as error:
        fail(error, as_json=as_json)
    except click.exceptions.Abort:
        fail(Interrupted("Interrupted."), as_json=as_json)
    except KeyboardInterrupt:
        fail(Interrupted("Interrupted."), as_json=as_json)
    except click.ClickException as error:
        if not as_json:
            error.show()
            sys.exit(2)
        fail(WrongCall(error.format_message()), as_json=True)
    except BrokenPipeError:
        # The reader has what it wanted (`| head`).
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:
        fail(explaining.from_os_error(error), as_json=as_json)
    except Exception as error:
        if not as_json:
            raise
        fail(EngineFailed(f"Something unforeseen went wrong: {error!r}."), as_json=True)
    sys.exit(0)
