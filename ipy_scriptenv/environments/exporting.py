"""What a source resolves to, in the formats of other tools, and as a tree."""

from __future__ import annotations

import enum
import json
import os
import re
from pathlib import Path

from ipy_scriptenv import policy
from ipy_scriptenv.environments.job import Choosing
from ipy_scriptenv.environments.resolving import (
    Resolvable,
    read_resolvable,
    reading,
    resolver_options,
)
from ipy_scriptenv.environments.standing import Context
from ipy_scriptenv.errors import WrongCall
from ipy_scriptenv.identity import slug
from ipy_scriptenv.kernel_side.credentials import without_credentials
from ipy_scriptenv.metadata import local_paths
from ipy_scriptenv.record import Source

__all__ = ["Form", "export", "tree"]


class Form(enum.StrEnum):
    """A format of another tool."""

    REQUIREMENTS = "requirements.txt"
    PYLOCK = "pylock.toml"
    CONDA = "environment.yml"
    CONTAINER = "containerfile"


def export(
    source: Source,
    *,
    context: Context,
    form: Form,
    python: str | None = None,
    hashes: bool = True,
    choosing: Choosing | None = None,
) -> str:
    """Give what a source resolves to, exactly pinned: from its lock, where it has one.

    :param python: a request for the interpreter to resolve with
    :param hashes: whether the files' hashes are told; never in :attr:`Form.CONDA`
    :param choosing: how versions are chosen; what the lock would then be is exported
    :raises NoLock: if it has none, in :attr:`Form.CONTAINER`, which tells how to build from it
    :raises ScriptEnvError: if the source cannot be read, or uv finds no solution
    """
    found = read_resolvable(source, context=context, python=python)
    options = _options(found, choosing)
    if form is Form.CONTAINER:
        if choosing is not None and choosing.says_something:
            msg = "A container is built from the lock as it is."
            raise WrongCall(msg, hint="Choose versions with `jupyter scriptenv lock` before.")
        from ipy_scriptenv.environments.containers import containerfile

        return containerfile(found)
    if form is Form.CONDA:
        words = ("--no-hashes", "--no-annotate", *options)
        lines = _exported(found, context, "requirements.txt", *words)
        return _conda(found, lines.splitlines())
    text = _exported(found, context, form.value, *options, *([] if hashes else ["--no-hashes"]))
    return _seen_from_source(text, context, found) if form is Form.PYLOCK else text


def tree(
    source: Source,
    *options: str,
    context: Context,
    python: str | None = None,
    choosing: Choosing | None = None,
) -> str:
    """Give what a source resolves to as a tree, in uv's words.

    :param options: of ``uv tree``
    :param python: as for :func:`export`, and so *choosing*
    :raises ScriptEnvError: if the source cannot be read, or uv finds no solution
    """
    found = read_resolvable(source, context=context, python=python)
    with reading(found, context) as script:
        interpreter = Path(found.python.base)
        limits = _options(found, choosing)
        text = context.uv().script("tree", script, *limits, *options, python=interpreter)
    return without_credentials(text)


def _exported(found: Resolvable, context: Context, form: str, *options: str) -> str:
    is_local = bool(local_paths(found.toml, folder=found.folder))
    # The header tells the call, and so the path of a file that is gone.
    words = ("--no-header", "--format", form, *options)
    with reading(found, context, beside=is_local) as script:
        text = context.uv().script("export", script, *words, python=Path(found.python.base))
    return without_credentials(text)


def _options(found: Resolvable, choosing: Choosing | None) -> tuple[str, ...]:
    chosen = choosing or Choosing()
    lock = None if found.lock is None else found.lock.content
    options = resolver_options(
        policy.current(), chosen, toml=found.toml, folder=found.folder, lock=lock
    )
    return (*options, *chosen.upgrade_options)


def _seen_from_source(text: str, context: Context, found: Resolvable) -> str:
    """Tell local paths relative to the source's folder: uv tells them from where it runs."""
    here = Path(os.path.relpath(found.folder, context.store.work.resolve())).as_posix()
    return re.sub(rf'path = "{re.escape(here)}/', 'path = "./', text)


def _conda(found: Resolvable, pinned: list[str]) -> str:
    """Write conda's format: its own Python, and everything else by pip.

    A text in quotes as JSON has them is the same in YAML.
    """
    name = slug(Path(found.source.path or "").stem) or "environment"
    lines = [f"name: {json.dumps(name)}", "channels:", '  - "conda-forge"', "dependencies:"]
    lines.append(f"  - {json.dumps(f'python={found.python.minor}')}")
    wanted = [line for line in pinned if line.strip() and not line.lstrip().startswith("#")]
    if wanted:
        lines += ['  - "pip"', "  - pip:"]
        lines += [f"      - {json.dumps(line, ensure_ascii=False)}" for line in wanted]
    return "\n".join(lines) + "\n"
