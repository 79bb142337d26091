"""``%scriptenv`` in the host's own IPython, after ``%load_ext ipy_scriptenv``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ipy_scriptenv import settings
from ipy_scriptenv.kernel_side import cells, check, declaring
from ipy_scriptenv.kernel_side.below import Below
from ipy_scriptenv.kernel_side.block import block_of_cell
from ipy_scriptenv.kernel_side.failing import Failed, named, wrong_call
from ipy_scriptenv.kernel_side.words import words_of

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from ipy_scriptenv.kernel_side.front_end import FrontEnds
    from ipy_scriptenv.record import Source

__all__ = ["register"]


class _Offered:
    """The cell with the block that was offered last: it is newer than the file, until that changes.

    One for each shell; it knows no more than what went through its own hands.
    """

    def __init__(self) -> None:
        self.text: str | None = None
        self._number: int | None = None
        self._file: tuple[str | None, check.FileStat | None] = (None, None)
        self.front_ends: FrontEnds | None = None

    def cell(self, source: Source) -> tuple[str | None, int | None]:
        """Give the text of the block's cell, and its number in the file; none where there is none.

        :raises ScriptEnvError: if the file cannot be read
        """
        from ipy_scriptenv import environments

        if self.is_ahead(source):
            return self.text, self._number
        return environments.cell_of_block(source)

    def is_ahead(self, source: Source) -> bool:
        """Whether the file is as it was when the cell was offered."""
        return self.text is not None and self._file == _seen(source)

    def take(self, source: Source, cell: str, number: int | None) -> None:
        """Keep what is offered."""
        self.text, self._number, self._file = cell, number, _seen(source)

    def opened(self, comm: Any, message: dict[str, Any]) -> None:
        """Take up a front end that can change a cell; called by the kernel's comm manager."""
        from ipy_scriptenv.kernel_side.front_end import FrontEnds

        if self.front_ends is None:
            self.front_ends = FrontEnds(current=lambda: self.text, state=lambda: _ELSEWHERE)
        self.front_ends.opened(comm, message)


_ELSEWHERE = {
    "op": "state",
    "state": "other-kernel",
    "text": "This kernel does not run in the notebook's environment.",
    "done": None,
    "of": None,
}


def _seen(source: Source) -> tuple[str | None, check.FileStat | None]:
    return source.path, None if source.path is None else check.file_stat(source.path)


def register(shell: InteractiveShell) -> None:
    """Give the shell its magic; called by ``%load_ext ipy_scriptenv``."""
    offered = _Offered()

    def told(state: Any, now: float) -> None:
        if offered.front_ends is not None:
            offered.front_ends.tell_progress(state, now)

    below = Below(shell, told)

    def scriptenv(line: str) -> None:
        """%scriptenv [VERB] [SOURCE] [OPTIONS]: the environment of a notebook or script."""
        _run(shell, line, offered, below)

    # IPython's method is typed as the function that it wraps, without `self`.
    shell.register_magic_function(scriptenv, "line")  # type: ignore[arg-type]
    cells.register_cells(shell, _command)
    declaring.complete_verbs(shell, list)
    manager = getattr(getattr(shell, "kernel", None), "comm_manager", None)
    if manager is not None:
        manager.register_target("scriptenv", offered.opened)


def _command() -> tuple[list[str], dict[str, str]]:
    """Give the command line of this host, and the variables for it."""
    variables = settings.child_environment()
    # A kernel's backend of matplotlib is not in the script's environment.
    if variables.get("MPLBACKEND", "").startswith("module://"):
        del variables["MPLBACKEND"]
    return [sys.executable, "-P", "-m", "ipy_scriptenv"], variables


def _run(shell: InteractiveShell, line: str, offered: _Offered, below: Below) -> None:
    """Carry out a line.

    :raises Failed: the cell fails with it
    """
    from ipy_scriptenv.errors import ScriptEnvError

    try:
        words = words_of(line)
    except ValueError as error:
        raise named(wrong_call(f"The line cannot be read: {error}.")) from None
    if words[:1] == ["run"] and len(words) > 1 and words[1] != "--help":
        cells.run_line(words[1:], _command)
        return
    try:
        text = _answer(shell, words, offered, below)
    except ScriptEnvError as error:
        raise named(Failed(type(error).__name__, error.to_json())) from None
    finally:
        if offered.front_ends is not None:
            offered.front_ends.tell_state()
    sys.stdout.write(text)


def _answer(shell: InteractiveShell, words: list[str], offered: _Offered, below: Below) -> str:
    """Carry out a line's words and give what is left to show.

    :raises ScriptEnvError: as the verbs
    """
    from ipy_scriptenv import environments, magic_line

    if words in ([], ["status"]):
        _display_status(shell)
        return ""
    if declaring.is_for_own_block(words):
        _declare(shell, words, offered, below)
        return ""
    source = _own_source(shell)
    is_ahead = source is not None and offered.is_ahead(source)
    if is_ahead and _syncs_own(words):
        return _sync_offered(words, magic_line.known(source), offered, below)
    with below.working() as tell:
        if is_ahead and declaring.reads_own_file(words):
            tell({"event": "note", "text": declaring.SAVE_FIRST})
        text = magic_line.answer(
            _with_own(words, source),
            default=source,
            folder=Path.cwd(),
            context=environments.Context(on_event=tell),
            # On a terminal a verb may ask, and has a live line of its own.
            capture=hasattr(shell, "kernel"),
        )
    return text + (_kernel_named(source) if words == ["sync"] else "")


def _syncs_own(words: list[str]) -> bool:
    """Say whether a line brings the notebook's environment to what it declares."""
    if "--help" in words or "-h" in words or words[:1] not in (["sync"], ["upgrade"], ["rebuild"]):
        return False
    return not declaring.names_source(words)


def _sync_offered(words: list[str], source: Source, offered: _Offered, below: Below) -> str:
    """Sync to the block that was offered last: the file does not have it yet.

    :raises WrongCall: for a line that the command line alone can carry out, from the file
    """
    from ipy_scriptenv import environments, present
    from ipy_scriptenv.environments import ALL_PACKAGES, Choosing
    from ipy_scriptenv.errors import WrongCall

    verb, *names = words
    if (
        verb == "rebuild"
        or any(name.startswith("-") for name in names)
        or (verb == "sync" and names)
    ):
        raise WrongCall(declaring.SAVE_FIRST, hint="")
    block = block_of_cell(offered.text or "")
    upgrade = (tuple(names) or ALL_PACKAGES) if verb == "upgrade" else ()
    with below.working() as tell:
        synced = environments.sync(
            source,
            context=environments.Context(on_event=tell),
            block=None if block is None else block.toml,
            given=True,
            choosing=Choosing(upgrade=upgrade),
            folder=Path.cwd(),
        )
    return present.sync_text(synced, brief=True) + _kernel_named(source)


def _with_own(words: list[str], source: Source | None) -> list[str]:
    """Name the notebook where ``upgrade`` names packages alone.

    :raises WrongCall: if it is not known which it is
    """
    from ipy_scriptenv import magic_line

    is_help = "--help" in words or "-h" in words
    if words[:1] != ["upgrade"] or is_help or declaring.names_source(words):
        return words
    return ["upgrade", magic_line.known(source).path or "", *words[1:]]


def _declare(shell: InteractiveShell, words: list[str], offered: _Offered, below: Below) -> None:
    """Change the block of the notebook that is open, in the cell and not in the file.

    :raises ScriptEnvError: as the verb
    """
    from ipy_scriptenv import environments, magic_line, present
    from ipy_scriptenv.cli.declaring import edit_of

    source, folder = magic_line.known(_own_source(shell)), Path.cwd()
    cell, number = offered.cell(source)
    block = None if cell is None else block_of_cell(cell)
    with below.working() as tell:
        context = environments.Context(on_event=tell)
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
    sys.stdout.write(present.declared_text(declared, brief=True) + _kernel_named(source))
    shown = environments.cell_with(cell or "", edited.toml)
    offered.take(source, shown, number)
    is_embedded = edited.lock is not None and edited.lock.embedded
    lock = edited.new_lock if is_embedded else None
    answer = {
        "cell": shown,
        "before": cell,
        "had_block": block is not None,
        "number": number,
        "lock": None if lock is None else lock.decode(),
    }
    declaring.offer(shell, answer, offered.front_ends)


def _kernel_named(source: Source | None) -> str:
    """Say which kernel runs in the environment: this one does not."""
    name = Path((source.path if source else None) or "").name
    return f"This kernel is another: pick `scriptenv: {name}` in the kernel picker.\n"


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
