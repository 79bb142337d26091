"""Hostile notebooks and scripts: each has a name, a builder, and the error of reading it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.hostile.folders import leaving_a_mark
from tests.stage import commented, write_notebook

__all__ = ["NO_REQUIREMENTS", "SOURCES", "SURROGATE", "UNREADABLE", "Hostile"]

Builder = Callable[[Path, Path], Path]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hostile:
    """A source that means harm.

    :param name: what it is, as a test's id
    :param build: writes it into a folder; what it runs would leave a mark in the second one
    :param code: of the error that ``status`` gives; ``None``: it can be read
    """

    name: str
    build: Builder
    code: str | None


def _dependencies(*items: object) -> str:
    # JSON's escapes are TOML's too.
    return f"dependencies = {json.dumps(items)}\n"


NO_REQUIREMENTS: Mapping[str, str] = {
    "option": _dependencies("--index-url=https://evil.example/simple"),
    "short option": _dependencies("-r/etc/passwd"),
    "editable": _dependencies("-e ."),
    "option behind a requirement": _dependencies("alpha --index-url https://evil.example/"),
    "newline": _dependencies("alpha\n--index-url https://evil.example/simple"),
    "carriage return": _dependencies("alpha\r-e ."),
    "line separator": _dependencies("alpha\u2028-e ."),
    "NUL": _dependencies("alpha\0beta"),
    "escape sequence": _dependencies("\x1b[2J\x1b]0;owned\x07alpha"),
    "eight-bit escape sequence": _dependencies("\x9b2Jalpha"),
    "path": _dependencies("./evil"),
    "bare address": _dependencies("https://evil.example/alpha-1.0-py3-none-any.whl"),
    "command": _dependencies("alpha; $(touch owned)"),
    "empty": _dependencies(""),
    "words": _dependencies("alpha beta gamma"),
    "option as a name": _dependencies("--help"),
    "nested marker": _dependencies(f"alpha; {'(' * 3000}os_name=='x'{')' * 3000}"),
    "python with an escape sequence": 'requires-python = "\\u001b[31m>=3.9"\n',
    "python with a newline": 'requires-python = ">=3.9\\n--no-config"\n',
    "python as an option": 'requires-python = "--python=/evil"\n',
    "python as a path": 'requires-python = "/evil/python"\n',
}
"""Blocks whose texts are no requirements: the error is ``bad-requirement``."""

_BAD_BLOCKS: Mapping[str, str] = {
    "larger than 1 MiB": _dependencies("alpha") + f"# {'x' * (1 << 20)}\n",
    "thousands of addresses": f"x = '{'://a:b' * 5_000}'\n\x01",
    "nested arrays": f"x = {'[' * 100_000}{']' * 100_000}\n",
    "nested tables": f"x = {'{a = ' * 5_000}1{'}' * 5_000}\n",
    "nested beyond 64": f"[tool]\nx = {'[' * 70}{']' * 70}\n",
    "10,001 dependencies": _dependencies(*["alpha"] * 10_001),
    "one key of a thousand parts": f"{'.'.join(['a'] * 1000)} = 1\n",
    "one table of a thousand parts": f"[{'.'.join(['a'] * 1000)}]\n",
    "one quoted key of a thousand parts": ".".join(['"a.b"'] * 1000) + " = 1\n",
    "one key of twenty thousand parts": f"{' . '.join(['a'] * 20_000)} = 1\n",
    "a key of a thousand parts in a line": f"x = {{a = 1, {'.'.join('b' * 1000)} = 1}}\n",
    "a number of thousands of digits": f"x = {'9' * 100_000}\n",
    "no TOML": "dependencies = [\x01]\n",
    "unfinished": 'dependencies = ["alpha"\n',
    "tables for dependencies": "[dependencies]\nalpha = '1'\n",
    "number among the dependencies": "dependencies = [1, [], {}]\n",
    "tool is no table": "tool = 'x'\n",
}
"""Blocks that are refused as a whole: the error is ``bad-block``."""

UNREADABLE: Mapping[str, str] = {**NO_REQUIREMENTS, **_BAD_BLOCKS}
"""All blocks that cannot be read, by what they are."""

_READABLE: Mapping[str, str] = {
    "thousands of dotted keys": "[tool]\n" + "".join(f"a.b{n}.c = 1\n" for n in range(4_000)),
    "thousands of tables": "".join(f"[[tool.a]]\nb = {n}\n" for n in range(4_000)),
    "a specifier of thousands": f'requires-python = "{",".join([">=3.9"] * 2_000)}"\n',
    "many dependencies": _dependencies(*[f"alpha-{n}" for n in range(3_000)]),
    "everything from its own folder": (
        _dependencies("alpha", "evil-sdist", "hostile", "other @ ./other")
        + '[tool.uv]\ncache-dir = "./cache"\nfind-links = ["./links"]\n'
        + 'no-index = false\npython-downloads = "automatic"\n'
        + 'python-install-mirror = "https://evil.example/"\n'
        + '[[tool.uv.index]]\nurl = "https://evil.example/simple"\ndefault = true\n'
        + '[tool.uv.sources]\nhostile = { path = ".", editable = true }\n'
        + '[tool.uv.extra-build-variables]\nhostile = { LD_PRELOAD = "./evil.so" }\n'
    ),
    "a python that is to be fetched": 'requires-python = ">=3.9,!=3.10.*"\n'
    '[tool.uv]\npython-preference = "only-managed"\npython-downloads = "automatic"\n',
    "settings of ours": "[tool.scriptenv]\nregister = true\npython = '/evil/python'\n",
}
"""Blocks that can be read, and would do harm if anybody followed them at the opening."""


def _notebook_with(toml: str) -> Builder:
    def build(folder: Path, marks: Path) -> Path:
        code = leaving_a_mark(marks, "cell") + f"!touch {marks}/shell\n"
        return write_notebook(folder / "nb.ipynb", commented(toml.rstrip("\n"), code), code)

    return build


def _notebook_of(change: Callable[[dict[str, Any]], object]) -> Builder:
    def build(folder: Path, marks: Path) -> Path:
        path = _notebook_with(_dependencies("alpha"))(folder, marks)
        data = json.loads(path.read_text())
        change(data)
        path.write_text(json.dumps(data))
        return path

    return build


def _file(name: str, content: bytes) -> Builder:
    def build(folder: Path, _marks: Path) -> Path:
        path = folder / name
        path.write_bytes(content)
        return path

    return build


def _script(folder: Path, marks: Path) -> Path:
    path = folder / "script.py"
    path.write_text(commented(_dependencies("alpha").rstrip(), leaving_a_mark(marks, "script")))
    return path


def _hostile_metadata(data: dict[str, Any]) -> None:
    data["metadata"] = {
        "kernelspec": {
            "name": "../../../evil",
            "display_name": "\x1b]0;owned\x07\n\u202egnp",
            "language": "\0",
            "argv": ["/evil"],
            "metadata": {"scriptenv": {"source": "/etc/passwd"}},
        },
        "scriptenv": {"source": "/etc/passwd", "environment": "/evil"},
        "language_info": {"name": "\x1b[31m", "version": "9" * 5000},
        "title": "\x9b2J",
    }


SURROGATE = "\ud800"
"""Half of a pair: JSON can say it, UTF-8 can't."""

_NEST = 50_000
_CELL = b'{"cell_type": "code", "source": "# /// script", "metadata": {}, "outputs": []}'

SOURCES: tuple[Hostile, ...] = (
    *(
        Hostile(name=name, build=_notebook_with(toml), code="bad-requirement")
        for name, toml in NO_REQUIREMENTS.items()
    ),
    *(
        Hostile(name=name, build=_notebook_with(toml), code="bad-block")
        for name, toml in _BAD_BLOCKS.items()
    ),
    *(
        Hostile(name=name, build=_notebook_with(toml), code=None)
        for name, toml in _READABLE.items()
    ),
    Hostile(name="script with code beside the block", build=_script, code=None),
    Hostile(name="metadata", build=_notebook_of(_hostile_metadata), code=None),
    Hostile(
        name="half of a pair in a block",
        build=_notebook_of(
            lambda data: data["cells"][0].update(source=commented(f'x = "{SURROGATE}"'))
        ),
        code="bad-block",
    ),
    Hostile(
        name="cells that begin with cell magics",
        build=_notebook_of(
            lambda data: data["cells"][0].update(source="%%bash\n" + data["cells"][0]["source"])
        ),
        code=None,
    ),
    Hostile(
        name="a source that is no text",
        build=_notebook_of(lambda data: data["cells"][0].update(source={"a": 1})),
        code="not-a-notebook",
    ),
    Hostile(
        name="deeply nested JSON",
        build=_file("nb.ipynb", b'{"metadata": ' + b"[" * _NEST + b"]" * _NEST + b"}"),
        code="not-a-notebook",
    ),
    Hostile(
        name="deeply nested JSON objects",
        build=_file("nb.ipynb", b'{"a":' * _NEST + b"1" + b"}" * _NEST),
        code="not-a-notebook",
    ),
    Hostile(
        name="a number of a million digits in JSON",
        build=_file("nb.ipynb", b'{"nbformat": ' + b"9" * 1_000_000 + b', "cells": []}'),
        code="not-a-notebook",
    ),
    Hostile(
        name="thousands of unclosed blocks",
        build=_file(
            "nb.ipynb", b'{"nbformat": 4, "cells": [' + b", ".join([_CELL] * 2_000) + b"]}"
        ),
        code="unclosed",
    ),
    Hostile(
        name="thousands of openings in a script",
        build=_file("many.py", b"# /// script\n# ///\n" * 10_000),
        code="duplicate",
    ),
)
"""Every hostile source; each has a name of its own."""
