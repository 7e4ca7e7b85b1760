"""Commands that other distributions add to the command line."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from spanserve.tracing.plugins.commands import GROUP

GREET = """
import typer

from spanserve import ConfigError

app = typer.Typer(help="Greet people.")


@app.command()
def hello(name: str) -> None:
    if name == "nobody":
        raise ConfigError("there is nobody; name somebody")
    typer.echo(f"hello {name}")


@app.command()
def bye() -> None:
    typer.echo("bye")


def alone(*, loud: bool = False) -> None:
    "Stand alone."
    typer.echo("ALONE" if loud else "alone")


number = 7
"""
TAKEN = "spanserve has one of that name"


def installed(folder: Path, commands: Mapping[str, str], name: str = "greetings") -> None:
    home = folder / f"{name}-1.0.dist-info"
    home.mkdir()
    (home / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = "".join(f"{command} = {target}\n" for command, target in commands.items())
    (home / "entry_points.txt").write_text(f"[{GROUP}]\n{lines}")
    (folder / "greet.py").write_text(GREET)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Distributions with commands, sound ones and others."""
    folder = tmp_path_factory.mktemp("distributions")
    sound = {"greet": "greet:app", "alone": "greet:alone", "serve": "greet:app"}
    broken = {"number": "greet:number", "absent": "there_is_none:app", "greet": "greet:alone"}
    installed(folder, sound)
    installed(folder, broken, name="worse")
    return folder


def run(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    clean = {k: v for k, v in os.environ.items() if not k.startswith("SPANSERVE")}
    return subprocess.run(
        [sys.executable, "-m", "spanserve", *words],
        env={**clean, "PYTHONPATH": str(folder), "NO_COLOR": "1", "COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_added_commands_are_in_the_help_and_broken_ones_are_said_and_left_out(
    folder: Path,
) -> None:
    help_ = run(folder, "--help")
    told = {line.split()[1]: line for line in help_.stdout.splitlines() if line.startswith("│ ")}
    assert help_.returncode == 0
    assert "Greet people." in told["greet"]
    assert "Stand alone." in told["alone"]
    assert not {"number", "absent"} & set(told)
    passed_over = {
        "absent": "cannot be used: No module named 'there_is_none'; it is passed over",
        "greet": "is passed over: so has command 'greet' (from greetings 1.0)",
        "number": "cannot be used: TypeError: wanted a typer.Typer or a function, got int; "
        "it is passed over",
    }
    assert sorted(help_.stderr.splitlines()) == [
        *(f"warning: command '{name}' (from worse 1.0) {why}" for name, why in passed_over.items()),
        f"warning: command 'serve' (from greetings 1.0) is passed over: {TAKEN}",
    ]


def test_an_added_command_runs_with_the_errors_of_spanserves_own(folder: Path) -> None:
    assert run(folder, "greet", "hello", "Ada").stdout == "hello Ada\n"
    assert run(folder, "alone", "--loud").stdout == "ALONE\n"
    failed = run(folder, "greet", "hello", "nobody")
    assert failed.returncode == 2
    assert failed.stderr.splitlines()[-1] == "error: there is nobody; name somebody"


def test_a_broken_command_says_why_when_it_is_asked_for(folder: Path) -> None:
    failed = run(folder, "absent")
    assert failed.returncode == 2
    assert failed.stderr.splitlines()[-1] == (
        "error: command 'absent' (from worse 1.0) cannot be used: No module named 'there_is_none'"
    )


def test_an_own_command_imports_none_of_the_added_ones(folder: Path) -> None:
    checked = run(folder, "check")
    assert (checked.returncode, checked.stderr) == (0, "")
