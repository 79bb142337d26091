"""``%scriptenv`` in the host's own IPython, after ``%load_ext ipy_scriptenv``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ipy_scriptenv import settings
from ipy_scriptenv.kernel_side import cells, declaring
from ipy_scriptenv.kernel_side.block import block_of_cell

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from ipy_scriptenv.environments import Context
    from ipy_scriptenv.record import Source

__all__ = ["register"]


def register(shell: InteractiveShell) -> None:
    """Give the shell its magic; called by ``%load_ext ipy_scriptenv``."""

    def scriptenv(line: str) -> None:
        """%scriptenv [VERB] [SOURCE] [OPTIONS]: the environment of a notebook or script."""
        _run(shell, line)

    # IPython's method is typed as the function that it wraps, without `self`.
    shell.register_magic_function(scriptenv, "line")  # type: ignore[arg-type]
    cells.register_cells(shell, _command)
    declaring.complete_verbs(shell, list)


def _command() -> tuple[list[str], dict[str, str]]:
    """Give the command line of this host, and the variables for it."""
    variables = settings.child_environment()
    # A kernel's backend of matplotlib is not in the script's environment.
    if variables.get("MPLBACKEND", "").startswith("module://"):
        del variables["MPLBACKEND"]
    return [sys.executable, "-P", "-m", "ipy_scriptenv"], variables


def _run(shell: InteractiveShell, line: str) -> None:
    from ipy_scriptenv import environments, magic_line, present
    from ipy_scriptenv.errors import ScriptEnvError

    try:
        words = shlex.split(line)
    except ValueError as error:
        sys.stderr.write(f"%scriptenv: {error}\n")
        return

    if words[:1] == ["run"] and len(words) > 1 and words[1] != "--help":
        cells.run_line(words[1:], _command)
        return

    def tell(event: Any) -> None:
        if event.get("text"):
            sys.stderr.write(f"{event['text']}\n")

    try:
        if words in ([], ["status"]):
            _display_status(shell)
            return
        if declaring.is_for_own_block(words):
            _declare(shell, words, environments.Context(on_event=tell))
            return
        text = magic_line.answer(
            words,
            default=_own_source(shell),
            folder=Path.cwd(),
            context=environments.Context(on_event=tell),
            capture=False,
        )
    except ScriptEnvError as error:
        sys.stderr.write(present.error_text(error))
        return
    sys.stdout.write(text)
    if words == ["sync"]:
        _name_kernel(magic_line.known(_own_source(shell)))


def _declare(shell: InteractiveShell, words: list[str], context: Context) -> None:
    """Change the block of the notebook that is open, in the cell and not in the file.

    :raises ScriptEnvError: as the verb
    """
    from ipy_scriptenv import environments, magic_line, present
    from ipy_scriptenv.cli.declaring import edit_of

    source, folder = magic_line.known(_own_source(shell)), Path.cwd()
    cell, number = environments.cell_of_block(source)
    block = None if cell is None else block_of_cell(cell)
    edited = environments.edit_given(
        source,
        edit_of(words[0], words[1:], folder=folder),
        context=context,
        block=None if block is None else block.toml,
        folder=folder,
    )
    declared = environments.declare_given(
        source, edited, context=context, asker=None, folder=folder
    )
    sys.stdout.write(present.declared_text(declared))
    _name_kernel(source)
    shown = environments.cell_with(cell or "", edited.toml)
    declaring.offer(shell, {"cell": shown, "had_block": block is not None, "number": number})


def _name_kernel(source: Source) -> None:
    """Say which kernel runs in the environment: this one does not."""
    name = Path(source.path or "").name
    sys.stdout.write(f"This kernel is another: pick `scriptenv: {name}` in the kernel picker.\n")


def _display_status(shell: InteractiveShell) -> None:
    """Show the card; a front end without HTML, such as a terminal, shows its text.

    :raises ScriptEnvError: if the notebook is not known, or its block cannot be read
    """
    from ipy_scriptenv import card, environments, magic_line

    source = magic_line.known(_own_source(shell))
    status = environments.status(source, context=environments.Context())
    text = card.status_text(status).rstrip()
    shell.display_pub.publish({"text/plain": text, "text/html": card.status_html(status)})


def _own_source(shell: InteractiveShell) -> Any:
    """Find the notebook that this shell belongs to, where the front end told its path."""
    from ipy_scriptenv import environments

    told = (settings.variable("JPY_SESSION_NAME"), shell.user_ns.get("__vsc_ipynb_file__"))
    for path in told:
        if isinstance(path, str) and environments.can_be_source(path):
            return environments.locate(path)
    return None
