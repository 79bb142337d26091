"""Secrets: build backends do not see them, and what is written and shown does not hold them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.conftest import Home
from tests.hostile.pictures import content_of
from tests.index.build import EVIL_SDIST, _sdist
from tests.kernels import Kernel, block, kernelspec_of, made, opened, write_notebook
from tests.lifecycle import command

SECRET = "s3cr3t-p4ssw0rd"  # noqa: S105 - nobody's
ADDRESS = f"https://ada:{SECRET}@127.0.0.1:9/simple"
TOKEN = f"https://{SECRET}@127.0.0.1:9/simple"

SECRETS = {
    "JUPYTERHUB_API_TOKEN": "a",
    "JPY_API_TOKEN": "a",
    "JUPYTER_TOKEN": "a",
    "MY_TOKEN": "a",
    "AWS_SECRET_ACCESS_KEY": "a",
    "AWS_SESSION_TOKEN": "a",
    "DATABASE_URL": "postgres://ada:secret@db.example/x",
    "SQLALCHEMY_DATABASE_URI": "mysql+pymysql://ada:secret@db.example/x",
    "GITHUB_TOKEN": "a",
    "OPENAI_API_KEY": "a",
    "SSH_PRIVATE_KEY": "a",
    "SMTP_PASSWORD": "a",
    "SENTRY_DSN": "a",
    "UV_PUBLISH_TOKEN": "a",
    "UV_PUBLISH_PASSWORD": "a",
    "my_password": "a",
    "PGPASSWORD": "a",
    "GITHUB_PAT": "a",
}
"""What no build backend needs."""

NEEDED = {
    "UV_INDEX_PRIVATE_USERNAME": "ada",
    "UV_INDEX_PRIVATE_PASSWORD": "secret",
    "HTTPS_PROXY": "http://ada:secret@127.0.0.1:9",
    "http_proxy": "http://ada:secret@127.0.0.1:9",
    "NO_PROXY": "localhost",
    "REQUESTS_CA_BUNDLE": "/nowhere/ca.pem",
    "CURL_CA_BUNDLE": "/nowhere/ca.pem",
    "SSH_AUTH_SOCK": "/nowhere/agent",
    "GIT_ASKPASS": "/nowhere/askpass",
    "NETRC": "/nowhere/netrc",
    "CFLAGS": "-O2",
    "LANG": "C.UTF-8",
}
"""What fetching and building need, secrets for that included."""

TELLING = (
    "import json, os, pathlib\npathlib.Path({told!r}).write_text(json.dumps(dict(os.environ)))\n"
)


@pytest.fixture
def told(offline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a source distribution into an index whose ``setup.py`` writes down its variables."""
    told = tmp_path / "told.json"
    setup = TELLING.format(told=str(told)) + EVIL_SDIST["setup.py"]
    index = tmp_path / "index"
    index.mkdir()
    for wheel in offline.glob("alpha-*.whl"):
        (index / wheel.name).write_bytes(wheel.read_bytes())
    content = {**EVIL_SDIST, "setup.py": setup}
    (index / "evil_sdist-1.0.tar.gz").write_bytes(_sdist("evil_sdist-1.0", content))
    monkeypatch.setenv("UV_FIND_LINKS", str(index))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
    monkeypatch.setenv("EVIL_MARKER", str(tmp_path / "built"))
    for name, value in {**SECRETS, **NEEDED}.items():
        monkeypatch.setenv(name, value)
    return told


@pytest.fixture
def evil(tmp_path: Path) -> Path:
    return write_notebook(tmp_path / "work" / "nb.ipynb", block("evil-sdist"))


def variables(told: Path) -> dict[str, str]:
    return dict(json.loads(told.read_text()))


def policy(home: Home, text: str) -> None:
    folder = home.path / "config" / "ipy-scriptenv"
    folder.mkdir(parents=True)
    (folder / "policy.toml").write_text(text)


def test_a_build_backend_gets_what_fetching_needs_and_no_secrets(
    *, lean_home: Home, told: Path, evil: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lean_home.path.is_dir()
    (tmp_path / "ca.pem").write_text("")
    certificates = {"SSL_CERT_FILE": str(tmp_path / "ca.pem"), "SSL_CERT_DIR": str(tmp_path)}
    for name, value in certificates.items():
        monkeypatch.setenv(name, value)
    answer = command("sync", evil, "--json")
    assert answer.code == 0, answer.out
    seen = variables(told)
    assert {name for name in SECRETS if name in seen} == set()
    assert {value for value in seen.values() if "ada:secret" in value} <= set(NEEDED.values())
    needed = NEEDED | certificates
    assert {name: seen.get(name) for name in needed} == needed
    assert seen["UV_FIND_LINKS"]


@pytest.mark.skipif(sys.platform != "linux", reason="the user's policy is elsewhere there")
def test_a_build_backend_gets_the_secrets_that_the_policy_names(
    lean_home: Home, told: Path, evil: Path
) -> None:
    policy(lean_home, 'pass-env = ["MY_TOKEN", "DATABASE_URL", "NOT_THERE"]\n')
    assert command("sync", evil).code == 0
    seen = variables(told)
    assert {name for name in SECRETS if name in seen} == {"MY_TOKEN", "DATABASE_URL"}


def test_a_block_cannot_ask_for_secrets(lean_home: Home, told: Path, tmp_path: Path) -> None:
    assert lean_home.path.is_dir()
    more = '[tool.scriptenv]\npass-env = ["MY_TOKEN"]\n[tool.uv]\npass-env = ["MY_TOKEN"]'
    path = write_notebook(tmp_path / "work" / "nb.ipynb", block("evil-sdist", more=more))
    command("sync", path)
    assert not told.exists() or "MY_TOKEN" not in variables(told)


@pytest.mark.parametrize("way", ["cell", "%pip install evil-sdist", "!uv pip install evil-sdist"])
def test_neither_does_a_build_backend_that_a_kernel_runs(
    offline_home: Home, told: Path, tmp_path: Path, way: str
) -> None:
    path = write_notebook(tmp_path / "work" / "nb.ipynb", "1")
    code = block("evil-sdist") if way == "cell" else way
    with opened(offline_home, path) as kernel:
        done = kernel.execute(code)
        assert done.status == "ok", done.traceback
        # The user's own code sees them all.
        assert kernel.execute("import os; os.environ['MY_TOKEN']").result == "'a'"
    seen = variables(told)
    assert {name for name in SECRETS if name in seen} == set()


# Credentials in what is declared and configured

UV = "[tool.uv]\n"
CREDENTIALS = {
    "index": block("nope", more=f'[[tool.uv.index]]\nname = "p"\nurl = "{ADDRESS}"'),
    "default index": block("nope", more=f'{UV}index-url = "{ADDRESS}"'),
    "token": block("nope", more=f'{UV}extra-index-url = ["{TOKEN}"]'),
    "find-links": block("nope", more=f'{UV}find-links = ["{ADDRESS}"]'),
    "source": block("nope", more=f'[tool.uv.sources]\nnope = {{ git = "{ADDRESS}" }}'),
    "requirement": block(f"nope @ {ADDRESS}/nope-1.0-py3-none-any.whl"),
    "git requirement": block(f"nope @ git+{ADDRESS}"),
    "bad requirement": block(f"nope nope @ {ADDRESS}", f"-i {TOKEN}"),
    "bad python": block(python=f">=3 {ADDRESS}"),
    "unknown key": block(more=f'"{ADDRESS}" = 1'),
    "no TOML": block(more=f'"{ADDRESS}" = = 1'),
    "same key twice": block(more=f'"{ADDRESS}" = 1\n"{ADDRESS}" = 1'),
}


def assert_hidden(home: Home, *shown: str) -> None:
    """Check that no credentials are in a text, nor in any file of ours, of Jupyter, of the log."""
    for text in shown:
        assert SECRET not in text
    folders = [home.scriptenv, home.jupyter_data, home.path / "jupyter-runtime"]
    assert SECRET.encode() not in content_of(*(each for each in folders if each.exists()))


@pytest.mark.parametrize("name", CREDENTIALS)
def test_credentials_in_a_block_are_shown_and_written_nowhere(
    lean_home: Home, tmp_path: Path, name: str
) -> None:
    path = write_notebook(tmp_path / "work" / "nb.ipynb", CREDENTIALS[name])
    made(lean_home, path)
    answers = [command(verb, path) for verb in ("status", "find", "sync")]
    answers += [command(verb, path, "--json") for verb in ("status", "find", "sync")]
    answers += [
        command("list"),
        command("list", "--json"),
        command("doctor"),
        command("doctor", "--json"),
    ]
    assert_hidden(lean_home, *(answer.out + answer.err for answer in answers))


@pytest.mark.parametrize("variable", ["UV_INDEX", "UV_DEFAULT_INDEX", "UV_EXTRA_INDEX_URL"])
def test_credentials_in_a_variable_are_shown_and_written_nowhere(
    lean_home: Home, tmp_path: Path, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("UV_OFFLINE", "UV_NO_INDEX", "UV_FIND_LINKS"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("UV_DEFAULT_INDEX", ADDRESS)
    monkeypatch.setenv(variable, ADDRESS)
    path = write_notebook(tmp_path / "work" / "nb.ipynb", block("nope"))
    made(lean_home, path)
    failed = command("sync", path)
    assert failed.code == 1
    assert_hidden(lean_home, failed.err, command("status", path).out, command("list", "--json").out)


def test_credentials_are_not_in_what_a_kernel_shows(
    offline_home: Home, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_notebook(tmp_path / "work" / "nb.ipynb", CREDENTIALS["index"])
    with opened(offline_home, path) as kernel:
        for name in ("index", "requirement", "bad requirement", "no TOML"):
            # As long as it fails, each cell looks at the file again.
            write_notebook(path, CREDENTIALS[name])
            for code in ("1", CREDENTIALS[name]):
                done = kernel.execute(code)
                assert done.status == "error", name
                assert SECRET not in json.dumps(said_by_us(done.reply)) + done.stdout, name
            for line in ("%scriptenv status", "%scriptenv list"):
                done = kernel.execute(line)
                assert SECRET not in done.stdout + json.dumps(done.shown) + done.traceback, name
            assert_hidden(offline_home, kernel.said, caplog.text)
    assert (offline_home.kernelspecs / kernelspec_of(path) / "kernel.json").is_file()


def said_by_us(reply: dict[str, object]) -> dict[str, object]:
    return {key: reply.get(key) for key in ("ename", "evalue", "traceback")}


def test_a_pending_block_is_written_without_credentials(offline_home: Home, tmp_path: Path) -> None:
    path = write_notebook(tmp_path / "work" / "nb.ipynb", block("alpha==1.0"))
    more = f'[[tool.uv.index]]\nname = "p"\nurl = "{ADDRESS}"\nexplicit = true'
    with opened(offline_home, path) as kernel:
        run(kernel, block("alpha==1.0") + "import alpha")
        refused = kernel.execute(block("alpha==2.0", more=more))
        assert refused.ename == "RestartNeeded"
        assert_hidden(offline_home, refused.traceback, command("status", path, "--json").out)
    assert command("status", path, "--json").json["pending"] is not None


def run(kernel: Kernel, code: str) -> None:
    done = kernel.execute(code)
    assert done.status == "ok", done.traceback
