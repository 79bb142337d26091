"""Ways in which an environment may come to harm, each named by what is left of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from ipy_scriptenv.layout import CHANGING, RECORD
from tests.stage import site_of

__all__ = [
    "DAMAGES",
    "dangling_interpreter",
    "mark",
    "no_configuration",
    "no_interpreter",
    "no_record",
    "one_package_missing",
]


def no_configuration(environment: Path) -> None:
    (environment / "pyvenv.cfg").unlink()


def empty_configuration(environment: Path) -> None:
    (environment / "pyvenv.cfg").write_text("")


def truncated_configuration(environment: Path) -> None:
    text = (environment / "pyvenv.cfg").read_text()
    (environment / "pyvenv.cfg").write_text(text[: text.index("=") + 2])


def configuration_without_home(environment: Path) -> None:
    lines = (environment / "pyvenv.cfg").read_text().splitlines()
    kept = [line for line in lines if not line.startswith("home")]
    (environment / "pyvenv.cfg").write_text("\n".join(kept))


def folder_for_configuration(environment: Path) -> None:
    no_configuration(environment)
    (environment / "pyvenv.cfg").mkdir()


def no_interpreter(environment: Path) -> None:
    (environment / "bin" / "python").unlink()


def dangling_interpreter(environment: Path) -> None:
    no_interpreter(environment)
    (environment / "bin" / "python").symlink_to("/nonexistent/python")


def folder_for_interpreter(environment: Path) -> None:
    no_interpreter(environment)
    (environment / "bin" / "python").mkdir()


def no_commands(environment: Path) -> None:
    shutil.rmtree(environment / "bin")


def mark(environment: Path) -> None:
    (environment / CHANGING).touch()


def no_record(environment: Path) -> None:
    (environment / RECORD).unlink()


def empty_record(environment: Path) -> None:
    (environment / RECORD).write_text("")


def truncated_record(environment: Path) -> None:
    text = (environment / RECORD).read_text()
    (environment / RECORD).write_text(text[: len(text) // 2])


def incomplete_record(environment: Path) -> None:
    (environment / RECORD).write_text('{"schema": 1}')


def record_of_wrong_types(environment: Path) -> None:
    data = json.loads((environment / RECORD).read_text())
    (environment / RECORD).write_text(json.dumps(data | {"watch": 1}))


def folder_for_record(environment: Path) -> None:
    no_record(environment)
    (environment / RECORD).mkdir()


def emptied_packages(environment: Path) -> None:
    for path in site_of(environment).iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def no_packages(environment: Path) -> None:
    shutil.rmtree(environment / "lib")


def one_package_missing(environment: Path) -> None:
    for path in site_of(environment).glob("alpha*"):
        shutil.rmtree(path)


def nothing_but_a_folder(environment: Path) -> None:
    shutil.rmtree(environment)
    environment.mkdir()


DAMAGES = [
    no_configuration,
    empty_configuration,
    truncated_configuration,
    configuration_without_home,
    folder_for_configuration,
    no_interpreter,
    dangling_interpreter,
    folder_for_interpreter,
    no_commands,
    mark,
    no_record,
    empty_record,
    truncated_record,
    incomplete_record,
    record_of_wrong_types,
    folder_for_record,
    emptied_packages,
    no_packages,
    nothing_but_a_folder,
]
