"""Start a kernel in this environment. Made by ipy-scriptenv; the same in every environment."""

import os
import sys

environment = os.path.dirname(os.path.abspath(__file__))
# Nothing that merely lies beside a notebook may be imported before its user runs a cell.
beside = (environment, os.getcwd() if os.path.isdir(".") else environment)
sys.path[:] = [entry for entry in sys.path if os.path.isabs(entry) and entry not in beside]

import importlib.util  # noqa: E402 - from here on nothing stands in the way
import json  # noqa: E402

if __name__ == "__main__":
    home = os.path.dirname(os.path.dirname(environment))
    with open(os.path.join(environment, "scriptenv.json"), encoding="utf-8") as file:
        record = json.load(file)
    side = os.path.join(home, "kernel-side-v1", record["kernel_side"])
    entry = os.path.join(side, "__init__.py")
    if not os.path.exists(entry):
        hosts = [each["python"] for each in record["hosts"] if os.access(each["python"], os.X_OK)]
        if not hosts:
            sys.exit("ipy-scriptenv is not installed any more: `pip install ipy-scriptenv`.")
        launch = [hosts[0], "-P", "-m", "ipy_scriptenv.launch", environment]
        os.execv(hosts[0], launch + sys.argv[1:])
    spec = importlib.util.spec_from_file_location("scriptenv_kernel", entry)
    sys.modules["scriptenv_kernel"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["scriptenv_kernel"])
    importlib.import_module("scriptenv_kernel.start").main(environment, home, record)
