"""The verbs that change what a source declares."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ipy_scriptenv import environments, present
from ipy_scriptenv.cli.common import (
    JSON,
    SOURCE,
    Caller,
    absolute_index,
    command_line,
    context_of_call,
    folder_of_call,
    from_folder_of_call,
    show,
)
from ipy_scriptenv.cli.options import EXCLUDE_NEWER, INDEX, choosing_of
from ipy_scriptenv.environments import Edit, Verb
from ipy_scriptenv.errors import WrongCall
from ipy_scriptenv.files import remove_unchanged

__all__ = ["add", "edit_of", "init", "python", "remove", "upgrade"]

_UV_OPTIONS = {
    "bounds": "--bounds",
    "index": "--index",
    "default_index": "--default-index",
    "requirements_files": "--requirements",
    "extra": "--extra",
    "branch": "--branch",
    "tag": "--tag",
    "rev": "--rev",
}
"""The parameters of `add` that are uv's own, and how uv calls them."""

_PATHS: dict[str, Callable[[str], object]] = {
    "index": absolute_index,
    "default_index": absolute_index,
    "requirements_files": from_folder_of_call,
}
"""Those that may be paths: uv runs elsewhere."""


@command_line.command()
@SOURCE
@click.argument("packages", nargs=-1)
@click.option("--python", metavar="VERSION", help="What requires-python says, such as 3.13.")
@JSON
def init(source: str, packages: tuple[str, ...], python: str | None, *, as_json: bool) -> None:
    """Make a new notebook or script SOURCE with a block.

    PACKAGES are added to it.
    """
    context = context_of_call(as_json=as_json)
    made = environments.init(Path(source), context=context, python=python)
    path = Path(str(made.path))
    written = path.read_bytes()
    try:
        if packages:
            edit = Edit(verb=Verb.ADD, words=packages, folder=folder_of_call())
            _change(str(made), edit, as_json=as_json)
            return
        synced = environments.sync(made, context=context)
    except BaseException:
        # An interrupt too.
        remove_unchanged(path, written=written)
        raise
    show(present.sync_json(synced) if as_json else present.sync_text(synced))


@command_line.command()
@SOURCE
@click.argument("packages", nargs=-1)
@click.option(
    "--bounds", type=click.Choice(["lower", "major", "minor", "exact"]), help="What is written."
)
@click.option("--index", metavar="URL", multiple=True, help="Ask it too; written down.")
@click.option("--default-index", metavar="URL", help="Ask it instead of PyPI; written down.")
@click.option("-r", "--requirements", "requirements_files", metavar="FILE", multiple=True)
@click.option("--extra", metavar="NAME", multiple=True, help="An extra of each package.")
@click.option("--branch", metavar="NAME", help="For a package from git.")
@click.option("--tag", metavar="NAME", help="For a package from git.")
@click.option("--rev", metavar="COMMIT", help="For a package from git.")
@click.option("--editable", is_flag=True, help="Install a folder in place.")
@click.option("--raw", is_flag=True, help="Write the requirements as they are given.")
@EXCLUDE_NEWER
@JSON
@click.pass_context
def add(context: click.Context, /, source: str, *, as_json: bool, **_parsed: object) -> None:
    """Add PACKAGES to the block of SOURCE, and install them.

    Only the block changes in the file; a lock is kept in step.
    """
    _change(source, _edit(context), as_json=as_json)


@command_line.command()
@SOURCE
@click.argument("packages", nargs=-1, required=True)
@EXCLUDE_NEWER
@JSON
@click.pass_context
def remove(context: click.Context, /, source: str, *, as_json: bool, **_parsed: object) -> None:
    """Remove PACKAGES from the block of SOURCE.

    What only they needed goes too.
    """
    _change(source, _edit(context), as_json=as_json)


@command_line.command()
@SOURCE
@click.argument("packages", nargs=-1)
@INDEX
@EXCLUDE_NEWER
@JSON
def upgrade(source: str, packages: tuple[str, ...], *, as_json: bool, **options: Any) -> None:
    """Take the newest versions that the block of SOURCE allows.

    Of PACKAGES, or of all.
    """
    choosing = choosing_of(upgrade=not packages, packages=packages, **options)
    context = context_of_call(as_json=as_json)
    synced = environments.sync(environments.locate(source), context=context, choosing=choosing)
    show(present.sync_json(synced) if as_json else present.sync_text(synced))


@command_line.command()
@SOURCE
@click.argument("version")
@EXCLUDE_NEWER
@JSON
@click.pass_context
def python(context: click.Context, /, source: str, *, as_json: bool, **_parsed: object) -> None:
    """Write VERSION into requires-python of SOURCE.

    Its environment is built for it.
    """
    _change(source, _edit(context), as_json=as_json)


def edit_of(verb: str, words: list[str], *, folder: Path) -> Edit:
    """Read a line of ``%scriptenv`` that changes the notebook's own block.

    :param words: those behind the verb; no source is among them
    :param folder: where relative paths in them start
    :raises WrongCall: if the line cannot be read
    """
    command = command_line.commands[verb]
    try:
        with command.make_context(
            f"%scriptenv {verb}", ["-", *words], obj=Caller(folder=folder)
        ) as context:
            return _edit(context)
    except click.ClickException as error:
        raise WrongCall(error.format_message(), hint="See `%scriptenv --help`.") from error


def _edit(context: click.Context) -> Edit:
    given = context.params
    verb = Verb(str(context.command.name))
    words = (given["version"],) if verb is Verb.PYTHON else given["packages"]
    options: list[str] = []
    for name, option in _UV_OPTIONS.items():
        value = given.get(name) or ()
        for each in (value,) if isinstance(value, str) else value:
            options += (option, str(_PATHS.get(name, str)(each)))
    options += [f"--{name}" for name in ("editable", "raw") if given.get(name)]
    if not words and not given.get("requirements_files"):
        msg = "No package is named."
        hint = f"SOURCE comes first, then the packages: `{verb.value} report.ipynb polars`."
        raise WrongCall(msg, hint=hint)
    return Edit(
        verb=verb,
        words=tuple(words),
        options=tuple(options),
        exclude_newer=given["exclude_newer"],
        folder=folder_of_call(),
    )


def _change(source: str, edit: Edit, *, as_json: bool) -> None:
    context = context_of_call(as_json=as_json)
    declared = environments.declare(environments.locate(source), edit, context=context)
    show(present.declared_json(declared) if as_json else present.declared_text(declared))
