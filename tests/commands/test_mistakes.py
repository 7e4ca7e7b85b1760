"""Ordinary mistakes of the command line: one line that says what to do, and no stack of ours."""

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner, Result

from spanserve.cli import app
from support.bundles import written
from support.certificates import new_certificate
from support.serving import DEADLINE_S, subprocess_server

SERVICE = """
import helper
from spanserve import api, service


@service
class Churn:
    def __init__(self):
        helper.begin()

    def warm_up(self):
        helper.warm()

    @classmethod
    def configure_app(cls, app):
        helper.configure()

    @api
    def predict(self, number: int) -> int:
        return number
"""
SOUND = "def begin(): ...\ndef warm(): ...\ndef configure(): ..."
CONFIG = "tracing: {type: console}\n"
CALLS = {
    "begin": "service.py, line 9, in __init__: helper.begin()",
    "warm": "service.py, line 12, in warm_up: helper.warm()",
}
ALONE = "to see it fail on its own: cd {} && python -c 'from service import Churn; Churn()'"
EMPTY = "Expecting value: line 1 column 1 (char 0)"
KEY = "SPANSERVE__SERVER__SSL_KEYFILE"
OUTPUT = "SPANSERVE__TRACING__CONSOLE__OUTPUT"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a service, in which the commands run; what they import is undone."""
    monkeypatch.chdir(written(tmp_path, {"service.py": SERVICE, "helper.py": SOUND}))
    monkeypatch.delenv("SPANSERVE_CONFIG", raising=False)
    path = list(sys.path)
    yield tmp_path
    sys.path[:] = path
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env=environment)


def failed_start(*arguments: str) -> tuple[int, str]:
    """The exit code and the log of `spanserve serve` in a process of its own."""
    with subprocess_server(*arguments, wait=False) as server:
        code = server.process.wait(DEADLINE_S)
    return code, server.text().replace("\n  | ", "\n")  # as the log sets further lines off


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("serve c.yml", "'c.yml' is a configuration, and no service: spanserve serve SERVICE --c"),
        ("serve m.bin", "'m.bin' is a model: name a .py file with a class that has @service above"),
        ("serve a.ipynb", "'a.ipynb' is a notebook: write the service to a .py file, and name th"),
        ("serve a.txt", "'a.txt' is no Python file: name a .py file, module:Class, or the folder"),
        ("serve service", "a.txt, c.yml, empty, helper.py, m.bin, service.py); did you mean 'serv"),
        ("serve service.Churn", "; did you mean 'service:Churn'?"),
        ("serve service.py::Churn", "; did you mean 'service.py:Churn'?"),
        ("serve servise.py", "helper.py, service.py); did you mean 'service.py'?"),
        ("serve .", "it has no bundle.yml (there: a.ipynb, a.txt, c.yml, empty, helper.py, m.bin"),
        ("serve .", "; name the file: "),
        ("serve empty", "is no bundle: it has no bundle.yml (there: nothing); write one with: ser"),
        ("service.py --port 1", "is no command; try: spanserve serve service.py --port 1"),
        ("service:Churn", "'service:Churn' is no command; try: spanserve serve service:Churn"),
        ("serve service.py -c d.yml", "there is no config file d.yml; did you mean c.yml?"),
        ("serve service.py -c c.yaml", "there is no config file c.yaml; did you mean c.yml?"),
        ("serve service.py -c prod.toml", "there is no config file prod.toml (in "),
        ("serve service.py -c no/d.yml", "there is no config file no/d.yml: there is no folder "),
        ("serve service.py -c service.py", "service.py is Python, and no config file"),
        ("serve service.py -c .", "the config file . is a directory"),
        ("check empty", "the config file empty is a directory"),
        ("serve service.py --port 70000", "server.port: wanted at most 65535, got the number 70"),
        ("serve service.py --workers 0", "server.workers: wanted more than 0, got the number 0"),
        ("serve service.py --host no.invalid", "cannot listen on no.invalid:8000: "),
        ("bundle service.py -o a.txt/made", "the bundle "),
        ("bundle service.py -o /proc/made", "cannot be written: "),
        ("bundle service.py -o /proc/no/made", "cannot be written: "),
    ],
)
def test_a_mistake_is_one_line_that_says_what_to_do(
    folder: Path, arguments: str, words: str
) -> None:
    written(folder, {"c.yml": CONFIG, "a.txt": "", "a.ipynb": "{}"})
    (folder / "m.bin").write_bytes(pickle.dumps([1]))
    (folder / "empty").mkdir()
    result = run(*arguments.split())
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ")
    assert words in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("cert", "key", "words"),
    [
        ("no.pem", None, "server.ssl_certfile: there is no file no.pem ("),
        ("text", None, "text with the key in text is no certificate and key in PEM format ("),
        ("cert", "text", "cert with the key in text is no certificate and key in PEM format ("),
        ("cert", "other", "the key in other is not that of the certificate in cert ("),
        ("cert", "locked", "the key in locked is encrypted; decrypt it, as nobody can be asked"),
    ],
)
@pytest.mark.parametrize("command", ["check", "serve service.py --port 0"])
def test_a_certificate_that_cannot_be_used_stops_the_start(
    folder: Path, command: str, cert: str, key: str | None, words: str
) -> None:
    (folder / "text").write_text("no certificate")
    new_certificate(folder, "cert", "other")
    new_certificate(folder, "cert", "locked", password="secret")
    files = {"SPANSERVE__SERVER__SSL_CERTFILE": cert}
    result = run(*command.split(), **files, **({} if key is None else {KEY: key}))
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_folder_that_is_gone_is_one_line(folder: Path) -> None:
    (folder / "gone").mkdir()
    os.chdir(folder / "gone")
    (folder / "gone").rmdir()
    for command in (["serve", "service:Churn"], ["bundle", "service:Churn", "-o", "made"]):
        result = run(*command)
        words = "error: the current folder is gone; go to one that is there\n"
        assert (result.exit_code, result.stderr) == (2, words)


@pytest.mark.parametrize(
    ("function", "code", "said", "to_do"),
    [
        ("begin", r"raise ValueError('no\n  model')", "ValueError: no model", ALONE),
        (
            "warm",
            "open('model.bin')",
            "FileNotFoundError: [Errno 2] No such file or directory: 'model.bin'",
            "for a file of the service write: bundle_path('model.bin')",
        ),
        ("begin", "import json; json.loads('')", f"JSONDecodeError: {EMPTY}", ALONE),
        (
            "begin",
            "import no_such_thing.deep",
            "ModuleNotFoundError: No module named 'no_such_thing'",
            "install what has the module 'no_such_thing'",
        ),
        ("warm", "raise SystemExit(5)", "SystemExit: 5", ALONE),
    ],
)
def test_a_service_that_cannot_be_made_shows_its_own_frames_and_what_to_do(
    folder: Path, function: str, code: str, said: str, to_do: str
) -> None:
    line = f"def {function}(): {code}"
    helper = SOUND.replace(f"def {function}(): ...", line)
    (folder / "helper.py").write_text(helper)
    frames = [CALLS[function], f"helper.py, line {helper.splitlines().index(line) + 1}, in "]
    exit_code, text = failed_start(str(folder / "service.py"))
    assert exit_code == 3
    block = [f"Churn cannot start: {said}", *frames]
    assert "\n  ".join(block) + f"{function}: {line}\n  {to_do.format(folder)}\n" in text
    assert "Traceback" not in text
    assert "starlette" not in text


def test_a_pickle_of_a_class_of_main_says_where_the_class_should_be(folder: Path) -> None:
    written(
        folder,
        {
            "train.py": "import pickle\nclass Forest: ...\n"
            "with open('m.pkl', 'wb') as file: pickle.dump([Forest()], file)",
            "helper.py": SOUND.replace("begin(): ...", "begin(): load()")
            + "\nimport pickle, spanserve\n"
            "def load(): pickle.loads(spanserve.bundle_path('m.pkl').read_bytes())\n",
        },
    )
    subprocess.run([sys.executable, "train.py"], check=True)
    exit_code, text = failed_start(str(folder / "service.py"))
    assert exit_code == 3
    assert "Churn cannot start: AttributeError: Can't get attribute 'Forest' on " in text
    assert (
        "\n  the pickle was made by a program that defines Forest itself, and Forest is not known "
        "elsewhere: move it to a module beside the service, import it from there, and make the "
        "pickle again\n"
    ) in text


def test_a_configure_app_that_fails_is_the_services_own_failure(folder: Path) -> None:
    helper = SOUND.replace("configure(): ...", "configure(): 1 / 0")
    (folder / "helper.py").write_text(helper)
    exit_code, text = failed_start(str(folder / "service.py"))
    assert exit_code == 3
    assert "Churn cannot start: ZeroDivisionError: division by zero\n  service.py, line 16" in text
    assert "Traceback" not in text


def test_a_module_that_ends_the_process_is_named(folder: Path) -> None:
    (folder / "helper.py").write_text("import sys\nsys.exit('no GPU here')")
    result = run("serve", "service.py", "--port", "0")
    words = "importing service failed: SystemExit: no GPU here (helper.py, line 2)"
    *_, last = result.stderr.splitlines()
    assert (result.exit_code, last) == (2, f"error: {folder}/service.py: {words}")


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("no/such/traces.txt", "tracing.console: output: there is no folder "),
        (".", "tracing.console: output: . is a folder; name a file in it"),
    ],
)
@pytest.mark.parametrize("command", ["check", "serve service.py --port 0"])
def test_an_output_of_the_console_that_cannot_be_is_one_line(
    folder: Path, command: str, output: str, words: str
) -> None:
    del folder
    environment = {"SPANSERVE__TRACING__TYPE": "console", OUTPUT: output}
    result = run(*command.split(), **environment)
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("name", [None, *get_command(app).commands])  # type: ignore[attr-defined]  # typer returns its group
def test_every_command_has_a_short_help_and_an_example(name: str | None) -> None:
    words = [] if name is None else [name]
    short, long = run(*words, "-h"), run(*words, "--help")
    assert short.exit_code == long.exit_code == 0
    assert short.output == long.output
    assert "Example: spanserve " in short.output
