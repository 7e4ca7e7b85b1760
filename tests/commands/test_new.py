"""`spanserve new`: the projects that it writes pass their own tests, lint and strict types."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from spanserve.cli import app
from spanserve.commands.new.project import Kind

CHECKED = {"tracer": ["src", "tests"], "service": ["service.py", "tests"]}


def run(*command: str, within: Path) -> None:
    clean = {key: os.environ[key] for key in os.environ if not key.startswith("PY")}
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=within,
        env=clean,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("kind", "name"), [("tracer", "my-tracer"), ("service", "client")])
def test_a_new_project_passes_its_own_tests_lint_and_strict_types(
    kind: Kind, name: str, tmp_path: Path
) -> None:
    project = tmp_path / "project"

    made = CliRunner().invoke(app, ["new", kind, name, "--output", str(project)])

    files = [each for each in project.rglob("*") if each.is_file()]
    assert made.stdout.splitlines() == [f"wrote {each}" for each in sorted(files)]
    assert len(files) <= 10
    run("pytest", "-q", "-p", "no:cacheprovider", within=project)
    run("ruff", "check", "--no-cache", ".", within=project)
    run("ruff", "format", "--no-cache", "--check", ".", within=project)
    run("mypy", "--cache-dir", str(tmp_path / "mypy"), *CHECKED[kind], within=project)


@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [
        ("tracer", "Mine", "error: 'Mine' cannot be the name of a tracer: small letters"),
        ("tracer", "queue", "error: 'queue' cannot be the name of a tracer: spanserve's own"),
        ("service", "../mine", "error: '../mine' cannot be the name of a service"),
        ("service", "class", "error: 'class' cannot be the name of a service"),
        ("service", "mine", "is there already; choose another by --output"),
    ],
)
def test_what_cannot_be_made_says_why(
    kind: str, name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "kept").write_text(json.dumps("mine"))

    made = CliRunner().invoke(app, ["new", kind, name])

    assert (made.exit_code, made.stdout) == (2, "")
    assert words in made.stderr
    assert [str(each.relative_to(tmp_path)) for each in tmp_path.rglob("*")] == [
        "mine",
        "mine/kept",
    ]
