"""The administrator's verb: fill the folder that a machine's users share."""

from __future__ import annotations

import click

from ipy_scriptenv import environments, interpreters, present_shared
from ipy_scriptenv.cli.common import (
    JSON,
    absolute_python,
    command_line,
    context_of_call,
    from_folder_of_call,
    show,
)
from ipy_scriptenv.present import escaped

__all__ = ["share"]


@command_line.command()
@click.argument("sources", nargs=-1, metavar="[SOURCE]...")
@click.option(
    "--python", "-p", "requests", metavar="REQUEST", multiple=True, help="For this Python: 3.12."
)
@click.option("--all-pythons", is_flag=True, help="For every Python that uv finds here.")
@click.option("--folder", metavar="PATH", help="Fill this one; default: the one in the policy.")
@click.option("--remove-old", is_flag=True, help="Remove kernel layers of other versions.")
@JSON
def share(
    *,
    sources: tuple[str, ...],
    requests: tuple[str, ...],
    all_pythons: bool,
    folder: str | None,
    remove_old: bool,
    as_json: bool,
) -> None:
    """Fill the folder that all users of this machine read.

    For administrators. The policy names the folder (`shared`). Puts the kernel's packages there,
    for this Python or those that are asked for, and for each SOURCE the byte code of what it
    declares.
    """
    context = context_of_call(as_json=as_json)
    place = from_folder_of_call(folder) if folder else environments.named_folder()
    wanted = [
        environments.share_python(absolute_python(request) or request, context=context)
        for request in requests
    ]
    if all_pythons:
        wanted += environments.pythons_here(context)
    parts = environments.share(
        place,
        wanted or ([] if sources else [interpreters.host_python()]),
        [environments.locate(str(from_folder_of_call(source))) for source in sources],
        context=context,
        remove_old=remove_old,
    )
    show(present_shared.share_json(parts) if as_json else present_shared.share_text(parts))
    if parts.problem and not as_json:
        text = f"Users take nothing from it as it is: {parts.problem}"
        click.echo(escaped(text), err=True)
