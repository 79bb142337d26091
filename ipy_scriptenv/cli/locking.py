"""The verbs about what a source resolves to: its lock, a tree, other tools' formats."""

from __future__ import annotations

from typing import Any

import click

from ipy_scriptenv import environments, present, present_locks
from ipy_scriptenv.cli.common import (
    JSON,
    SOURCE,
    absolute_python,
    command_line,
    context_of_call,
    from_folder_of_call,
    show,
)
from ipy_scriptenv.cli.options import CHOOSING, PYTHON, choosing_of
from ipy_scriptenv.environments import Form
from ipy_scriptenv.errors import WrongCall
from ipy_scriptenv.files import write_output

__all__ = ["export", "lock", "tree"]


@command_line.command()
@SOURCE
@click.option("--embed", is_flag=True, help="Put the lock into the notebook's metadata.")
@click.option("--check", is_flag=True, help="Write nothing; fail if the lock is not up to date.")
@CHOOSING
@PYTHON
@JSON
def lock(
    source: str,
    *,
    embed: bool,
    check: bool,
    python: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Pin everything that the block of SOURCE resolves to.

    For all platforms. The lock is uv's: SOURCE.lock, or with --embed the notebook's metadata. What
    is pinned already stays as it is, as far as the block lets it.
    """
    choosing = choosing_of(**options)
    if check and (embed or choosing.upgrade):
        msg = "--check writes nothing: leave out --embed and --upgrade."
        raise WrongCall(msg)
    located = environments.locate(source)
    context = context_of_call(as_json=as_json)
    request = absolute_python(python)
    if check:
        locked = environments.check_lock(
            located, context=context, python=request, choosing=choosing
        )
    else:
        locked = environments.lock(
            located, context=context, python=request, embed=embed, choosing=choosing
        )
    show(present_locks.lock_json(locked) if as_json else present_locks.lock_text(locked))
    if not as_json:
        for warning in locked.warnings:
            click.echo(f"warning: {present.escaped(warning)}", err=True)


@command_line.command()
@SOURCE
@click.option("--depth", "-d", metavar="N", type=click.IntRange(0, 255), help="Only N levels.")
@click.option("--package", metavar="NAME", multiple=True, help="Only below NAME; repeatable.")
@click.option("--invert", is_flag=True, help="Show what needs a package, below it.")
@click.option("--outdated", is_flag=True, help="Tell the newest version of each package.")
@CHOOSING
@PYTHON
@JSON
def tree(
    source: str,
    *,
    depth: int | None,
    package: tuple[str, ...],
    invert: bool,
    outdated: bool,
    python: str | None,
    as_json: bool,
    **choosing: Any,
) -> None:
    """Show what SOURCE resolves to as a tree.

    From its lock, where it has one. Nothing is written.
    """
    options = [] if depth is None else ["--depth", str(depth)]
    options += [word for name in package for word in ("--package", name)]
    options += ["--invert"] * invert + ["--outdated"] * outdated
    located = environments.locate(source)
    context = context_of_call(as_json=as_json)
    request = absolute_python(python)
    text = environments.tree(
        located, *options, context=context, python=request, choosing=choosing_of(**choosing)
    )
    shown = "\n".join(present.escaped(line) for line in text.splitlines()) + "\n"
    show(present_locks.tree_json(located, text) if as_json else shown)


@command_line.command()
@SOURCE
@click.option(
    "--format", "form", type=click.Choice([each.value for each in Form]),
    default=Form.REQUIREMENTS.value, show_default=True,
)  # fmt: skip
@click.option("-o", "--output", metavar="FILE", help="Write to FILE instead.")
@click.option("--no-hashes", is_flag=True, help="Leave out the hashes of files.")
@CHOOSING
@PYTHON
@JSON
def export(
    source: str,
    *,
    form: str,
    output: str | None,
    no_hashes: bool,
    python: str | None,
    as_json: bool,
    **choosing: Any,
) -> None:
    """Print what SOURCE resolves to, pinned, for other tools.

    From its lock, where it has one, which stays as it is. No address in it holds a password.
    """
    located = environments.locate(source)
    text = environments.export(
        located,
        context=context_of_call(as_json=as_json),
        form=Form(form),
        python=absolute_python(python),
        hashes=not no_hashes,
        choosing=choosing_of(**choosing),
    )
    path = None if output is None else from_folder_of_call(output)
    if path is not None:
        write_output(path, text.encode("utf-8", "surrogateescape"))
        if not as_json:
            click.echo(f"Wrote {present.escaped(str(path))}", err=True)
    if as_json:
        show(present_locks.export_json(located, form, text, output=path))
    elif path is None:
        show(text)
