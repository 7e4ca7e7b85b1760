"""What `spanserve check`, `spanserve tracers` and `--version` print, and how they exit."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from spanserve.cli import app
from spanserve.config.load import load
from support.distributions import install

SOUND = "support.fake_tracers.sound"
FILE = """\
tracing:
  type: remote
  remote:
    url: http://me:secret@host/spans?api_key=12
  zipkin:
    headers: {Authorization: Bearer abc}
    password: ${HUSH:-hush}
server:
  port: 9000
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a distribution with a tracer on the path, as pip would."""
    site = tmp_path / "site"
    site.mkdir()
    tracers = {"remote": f"{SOUND}:Remote", "absent": "support.fake_tracers.needs_absent:plugin"}
    install(site, "fakes", "1.0", tracers)
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.delenv("SPANSERVE_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env=environment)


def test_check_prints_tracer_target_and_every_value_with_its_source(installed: Path) -> None:
    (installed / "c.yml").write_text(FILE)
    result = run("check", "c.yml", SPANSERVE__TRACING__SAMPLE_RATE="0.5")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert lines[:2] == [
        f"# spanserve {version('spanserve')}, c.yml",
        "# tracer remote (fakes 1.0): http://***@host/spans?api_key=***",
    ]
    for line in [
        "type: remote # c.yml line 2",
        "sample_rate: 0.5 # environment SPANSERVE__TRACING__SAMPLE_RATE",
        "url: http://***@host/spans?api_key=*** # c.yml line 4",
        "api_token: '***' # default",
        "timeout_s: 5 # default",
        "zipkin: # not selected, not read",
        "Authorization: '***' # c.yml line 6",
        "password: '***' # c.yml line 7 $HUSH",
        "port: 9000 # c.yml line 9",
        "level: info # default",
    ]:
        assert line in lines


def test_check_shows_no_secret(installed: Path) -> None:
    (installed / "c.yml").write_text(FILE)
    output = run("check", "c.yml").output
    assert [word for word in ("secret", "Bearer", "hush", "=12") if word in output] == []


def test_what_check_prints_is_itself_a_config_with_the_same_values(installed: Path) -> None:
    (installed / "c.yml").write_text("tracing: {type: [console]}\nserver: {root_path: '1e3'}\n")
    bad = run("check", "c.yml")
    assert bad.stderr == (
        "error: server.root_path: wanted a path that starts with '/', got '1e3' (c.yml line 2)\n"
    )
    (installed / "c.yml").write_text("tracing: {service_name: '1e3'}\nbatching: {max_queue: 3}\n")
    (installed / "printed.yml").write_text(run("check", "c.yml").stdout)
    printed = load(installed / "printed.yml", {}, {})
    assert printed.config == load(installed / "c.yml", {}, {}).config
    assert yaml.safe_load((installed / "printed.yml").read_text())["batching"]["max_queue"] == 3


def test_check_reads_the_file_that_the_environment_names(installed: Path) -> None:
    (installed / "c.yaml").write_text("server: {port: 9}\n")
    result = run("check", SPANSERVE_CONFIG=str(installed / "c.yaml"))
    assert "port: 9 " in result.stdout


def test_check_without_a_file_prints_the_defaults(installed: Path) -> None:
    del installed
    result = run("check", BENTOML_CONFIG="old.yml")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1] == "# tracing is off"
    assert result.stdout.splitlines()[-1].startswith(
        "# warning: BENTOML_CONFIG is set but not read"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tracing: {type: jeager}", "unknown tracer 'jeager' (installed: "),
        ("tracing: {type: absent}", "failed to import: No module named 'no_such_module"),
        ("tracing: {type: remote}", "tracing.remote.url is missing"),
        ("server: {prot: 1}", "unknown key server.prot (c.yml line 1); did you mean 'port'?"),
        ("a: [", "not YAML: c.yml line "),
    ],
)
def test_check_of_a_bad_file_is_one_message_and_exit_code_2(
    installed: Path, text: str, words: str
) -> None:
    (installed / "c.yml").write_text(text)
    result = run("check", "c.yml")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ")
    assert words in result.stderr
    assert result.stderr.count("\n") == 1


def test_the_process_itself_exits_with_2_and_shows_no_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from spanserve.cli import main; main()", "check", "no.yml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: there is no config file no.yml (in {tmp_path}: nothing)\n"


def test_tracers_lists_hooks_and_settings_and_a_failing_one_as_a_row(installed: Path) -> None:
    del installed
    result = run("tracers")
    assert result.exit_code == 0
    blocks = result.stdout
    assert (
        "remote  (fakes 1.0)\n"
        "  hooks: export_spans, tracer_propagators, tracer_settings, tracer_target, "
        "tracer_warnings\n"
        "  settings, under tracing.remote:\n"
        "    url        str        (required)  Where spans go\n"
        "    api_token  SecretStr  = '***'     Its token\n"
        "    timeout_s  float      = 5         How long one call may take\n"
    ) in blocks
    assert (
        "absent  (fakes 1.0)\n  error: tracer 'absent' (from fakes 1.0) failed to import: "
        "No module named 'no_such_module_of_a_backend'\n"
    ) in blocks
    assert f"console  (spanserve {version('spanserve')})\n" in blocks


def test_version_is_that_of_the_distribution() -> None:
    assert run("--version").stdout == f"spanserve {version('spanserve')}\n"


def test_help_imports_nothing_of_what_the_commands_need() -> None:
    code = (
        "import sys, spanserve; before = set(sys.modules); import spanserve.cli; "
        "heavy = ('spanserve.', 'fastapi', 'uvicorn', 'yaml'); "
        "print(sorted(name for name in set(sys.modules) - before if name.startswith(heavy)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    light = {"spanserve.cli", "spanserve.errors", "spanserve.commands", "spanserve.commands.group"}
    light.add("spanserve.commands.loopback")  # before anything else
    assert set(done.stdout.split("'")[1::2]) <= light
