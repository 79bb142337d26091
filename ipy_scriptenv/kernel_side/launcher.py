"""Start a kernel in this environment. Made by ipy-scriptenv; the same in every environment."""

from __future__ import annotations

import importlib.util
import json
import os
import sys

if __name__ == "__main__":
    environment = os.path.dirname(os.path.abspath(__file__))
    home = os.path.dirname(os.path.dirname(environment))
    with open(os.path.join(environment, "scriptenv.json"), encoding="utf-8") as file:
        record = json.load(file)
    side = os.path.join(home, "kernel-side-v1", record["kernel_side"])
    entry = os.path.join(side, "__init__.py")
    if not os.path.exists(entry):
        for host in record["hosts"]:
            if os.access(host["python"], os.X_OK):
                argv = [host["python"], "-P", "-m", "ipy_scriptenv.launch", environment]
                os.execv(argv[0], argv + sys.argv[1:])
        sys.exit(
            "ipy-scriptenv is not installed any more; `pip install ipy-scriptenv` brings it back."
        )
    spec = importlib.util.spec_from_file_location(
        "scriptenv_kernel", entry, submodule_search_locations=[side]
    )
    if spec is not None and spec.loader is not None:  # as always for the path of a `.py` file
        package = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = package
        spec.loader.exec_module(package)
    importlib.import_module("scriptenv_kernel.start").main(environment, home, record)
