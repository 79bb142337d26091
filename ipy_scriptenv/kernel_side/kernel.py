"""The kernel: ipykernel's, which completes its environment before it runs a user's code."""

from __future__ import annotations

import contextlib
import inspect
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

from ipykernel.ipkernel import IPythonKernel

from . import replace
from .below import note
from .completing import Completion
from .failing import Failed, interrupted, restart_needed, undeclared, unforeseen
from .helping import ImportHelp, changed_by_hand
from .inbox import Inbox
from .showing import Showing

if TYPE_CHECKING:
    from .front_end import FrontEnds

__all__ = ["ScriptEnvKernel"]


class ScriptEnvKernel(IPythonKernel):
    """ipykernel's kernel with one step before the execution of a user's code."""

    completion: Completion
    """Set before the kernel is made; there is one kernel in a process."""

    shell: Any
    streams: replace.Streams | None = None
    replaced = False
    """Whether this kernel has taken over from one that it replaced; it never does so twice."""

    inbox: Inbox
    help: ImportHelp
    front_ends: FrontEnds | None = None
    """Those that can change a cell; None before the first one said so."""

    _add_folder = False
    _use_jedi = False

    def __init__(self, **kwargs: Any) -> None:
        self.inbox = Inbox()
        self.help = ImportHelp(self.completion.packages)
        super().__init__(**kwargs)
        self.comm_manager.register_target("scriptenv", self._front_end_opened)

    def hold_back(self) -> None:
        """Keep the source's folder out, and the way to a new kernel open, until a user runs code.

        Neither imports nor completions may load a module that merely lies beside the notebook.
        """
        self.completion.on_user_code = self.inbox.close
        config = self.config.get("InteractiveShellApp", {}).get("ignore_cwd", False)
        self._add_folder = not config and "" not in sys.path
        completer = getattr(self.shell, "Completer", None)
        self._use_jedi = getattr(completer, "use_jedi", False)
        if completer is not None:
            completer.use_jedi = False

    def _let_go(self) -> None:
        """Undo :meth:`hold_back`: a user runs code now."""
        if self._add_folder:
            self._add_folder = False
            sys.path.insert(0, "")
            given = self.completion.initial.get("PATH", "").split(os.pathsep)
            relative = [entry for entry in given if not os.path.isabs(entry)]
            os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", ""), *relative])
        if self._use_jedi:
            self._use_jedi = False
            self.shell.Completer.use_jedi = True

    def _front_end_opened(self, comm: Any, message: dict[str, Any]) -> None:
        self.known_front_ends().opened(comm, message)

    def known_front_ends(self) -> FrontEnds:
        """Give those that can change a cell; what serves them is loaded for the first one."""
        if self.front_ends is None:
            from .front_end import FrontEnds, state_of

            completion = self.completion
            self.front_ends = FrontEnds(
                current=lambda: completion.block_cell, state=lambda: state_of(completion)
            )
        return self.front_ends

    async def do_execute(
        self,
        code: str,
        silent: bool,
        store_history: bool = True,
        user_expressions: Any = None,
        allow_stdin: bool = False,
        **more: Any,
    ) -> Any:
        """Complete the environment if the user asked for this execution, then run it.

        A user's execution is one that is not silent and is kept in the history. Any other runs as
        it is: start-up code of clients and variable inspectors are not a user.
        """
        by_user = not silent and (store_history or self.completion.always)
        cell = object()
        try:
            if by_user:
                refused = self._complete(code, cell)
                if refused is not None:
                    return refused
                self._let_go()
            else:
                self.inbox.ran_unasked(code)
            reply = await _finished(
                super().do_execute(
                    code,
                    silent,
                    store_history,
                    user_expressions,
                    allow_stdin,
                    **self._accepted(more),
                )
            )
            return self._after(code, reply) if by_user else reply
        finally:
            self.completion.ended(cell)
            if self.front_ends is not None:
                self.front_ends.tell_state()

    def _after(self, code: str, reply: dict[str, Any]) -> dict[str, Any]:
        """Tell behind a user's cell what its imports show; give its reply.

        Where strictness is asked for, the cell fails by what the notebook does not declare.
        """
        try:
            return self._commented(code, reply)
        except Exception as error:
            # Without a reply the cell would wait for ever.
            self.log.exception("scriptenv: what the cell imports could not be told")
            return self._error_reply(unforeseen(error)) if self.completion.strict else reply

    def _commented(self, code: str, reply: dict[str, Any]) -> dict[str, Any]:
        completion = self.completion
        notes = self.help.notes(code)
        if completion.strict and reply.get("status") == "ok":
            completion.look_at_record()
            by_hand = changed_by_hand(completion.record, completion.packages.environment)
            if notes or by_hand:
                _flush()
                return self._error_reply(undeclared(notes, by_hand))
        result = getattr(self.shell, "last_execution_result", None)
        if reply.get("status") == "error" and result is not None:
            globals_ = self.shell.user_global_ns
            line = self.help.missing(result.error_in_exec, globals_, code)
            notes += [line] if line else []
        if notes:
            _flush()
            self._publish("display_data", note(*notes))
        if self.front_ends is not None and reply.get("status") == "ok":
            for payload in reply.get("payload", ()):
                self.front_ends.shown(payload.get("text", ""))
        return reply

    def _accepted(self, more: dict[str, Any]) -> dict[str, Any]:
        parameters = inspect.signature(super().do_execute).parameters
        return {name: value for name, value in more.items() if name in parameters}

    def _complete(self, code: str, cell: object) -> dict[str, Any] | None:
        """Complete the environment before *code*; give the reply if it must not run.

        Otherwise *cell* has begun. Never awaits: an interrupt must raise here, not tear down the
        event loop.
        """
        # One for each cell: two subshells complete the environment one after the other.
        told = None if self.front_ends is None else self.front_ends.tell_progress
        showing = Showing(self._publish, on_shown=told)
        try:
            answer = self.completion.admit(code, showing.take)
            showing.end()
            if answer.get("replace"):
                self._replace(answer["replace"], can_encrypt=answer.get("curve", False))
            self.completion.begins(cell)
        except Failed as failed:
            return self._refuse(failed, showing)
        except KeyboardInterrupt:
            return self._refuse(interrupted(), showing)
        except Exception as error:  # noqa: BLE001 - without a reply the cell would wait for ever
            return self._refuse(unforeseen(error), showing)
        told_so = [*filter(None, (*answer.get("warnings", ()), answer.get("note")))]
        if self.completion.block_cell is code:
            self.completion.block_count = self.shell.execution_count
        if self._offer_again():
            told_so.append("The cell below is the notebook's block, which was not written yet.")
        if told_so:
            self._publish("display_data", note(*told_so))
        return None

    def _offer_again(self) -> bool:
        """Show an edit that no front end has written to one that has no comm; say if there is."""
        front_ends = self.front_ends
        edit = None if front_ends is None else front_ends.unwritten
        if front_ends is None or edit is None or front_ends.asking(self.shell.get_parent()):
            return False
        self.shell.set_next_input(edit["cell"])
        return True

    def _refuse(self, failed: Failed, showing: Showing) -> dict[str, Any]:
        showing.end()
        return self._error_reply(failed)

    def _replace(self, reason: str, *, can_encrypt: bool) -> None:
        """Start anew in the completed environment. Does not return.

        :raises Failed: where it is impossible
        """
        hint = None
        here = threading.current_thread() is threading.main_thread()
        if getattr(self.parent, "curve_secretkey", None) is not None and not can_encrypt:
            hint = "Shut the kernel down and start it again: the new one cannot encrypt."
        elif self.streams is not None and not self.replaced and here and not self.inbox.is_closed:
            replace.become_new(self)
        raise restart_needed(reason, hint)

    def _publish(self, message_type: str, content: dict[str, Any]) -> None:
        self.send_response(self.iopub_socket, message_type, content)

    def _error_reply(self, failed: Failed) -> dict[str, Any]:
        content = {"ename": failed.name, "evalue": str(failed), "traceback": failed.lines()}
        self._publish("error", content)
        return {
            "status": "error",
            "execution_count": self.shell.execution_count,
            "user_expressions": {},
            "payload": [],
            **content,
        }

    async def dispatch_shell(self, msg: Any, *arguments: Any, **more: Any) -> None:
        """Handle a request; what is handled to its end is not handed to a new kernel."""
        await _finished(super().dispatch_shell(msg, *arguments, **more))
        self.inbox.answered(msg)

    async def dispatch_control(self, msg: Any, *arguments: Any) -> None:
        """Handle a request of the control channel, unless it is for the kernel to come."""
        if self.inbox.lets_control_through(msg):
            await _finished(super().dispatch_control(msg, *arguments))

    async def shell_channel_thread_main(self, msg: Any) -> None:
        """Let a request through to its shell (ipykernel 7, in the thread of the shell channel)."""
        if self.inbox.lets_through(msg):
            await super().shell_channel_thread_main(msg)

    def schedule_dispatch(self, dispatch: Any, *arguments: Any) -> None:
        """Let a request through to the queue (ipykernel 6)."""
        if not arguments or self.inbox.lets_through(arguments[0]):
            super().schedule_dispatch(dispatch, *arguments)  # type: ignore[misc]  # gone in 7

    def inject(self, msg: Any) -> None:
        """Handle a request as if it had just arrived on the shell channel."""
        thread = getattr(self, "shell_channel_thread", None)
        if thread is not None:
            thread.io_loop.add_callback(self.shell_channel_thread_main, msg)
        elif hasattr(super(), "schedule_dispatch"):
            self.schedule_dispatch(self.dispatch_shell, msg)
        else:
            self.io_loop.add_callback(self.shell_main, None, msg)


def _flush() -> None:
    """Send what the cell has printed, so that what we say comes behind it."""
    for stream in (sys.stdout, sys.stderr):
        # The cell may have put anything in their place.
        with contextlib.suppress(Exception):
            stream.flush()


async def _finished(result: Any) -> Any:
    """Wait for what an older ipykernel gives at once and a newer one later."""
    return await result if inspect.isawaitable(result) else result
