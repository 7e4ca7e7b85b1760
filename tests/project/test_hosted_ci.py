"""The workflows of hosted CI: what they run, on which versions, and that they need no secret."""

import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / ".github").rglob("*.yml"))
WORKFLOWS = {file.stem: file for file in FILES if file.parent.name == "workflows"}
PROJECTS = [ROOT / "core", *sorted(each for each in (ROOT / "plugins").iterdir() if each.is_dir())]


def read(file: Path) -> Any:
    return yaml.load(file.read_text(), yaml.BaseLoader)  # `on` stays a text


def test_ci_runs_the_same_script_on_every_python_from_the_least() -> None:
    job = read(WORKFLOWS["ci"])["jobs"]["all"]
    versions = job["strategy"]["matrix"]["python"]

    least = tomllib.loads((ROOT / "core" / "pyproject.toml").read_text())["project"]
    assert least["requires-python"] == f">={versions[0]}"
    assert versions == [f"3.{11 + number}" for number in range(len(versions))]
    said = [each for each in least["classifiers"] if re.search(r":: 3\.\d+$", each)]
    assert said == [f"Programming Language :: Python :: {version}" for version in versions]
    assert job["steps"][-1] == {"run": "bash .ci/run"}


def test_a_release_needs_no_secret_and_has_one_version() -> None:
    texts = {name: file.read_text() for name, file in WORKFLOWS.items()}
    publish = read(WORKFLOWS["publish"])["jobs"]["publish"]

    assert [name for name, text in texts.items() if "secrets." in text] == []
    assert publish["permissions"] == {"id-token": "write"}
    projects = [tomllib.loads((each / "pyproject.toml").read_text()) for each in PROJECTS]
    assert len({each["project"]["version"] for each in projects}) == 1


def test_workflows_may_do_no_more_than_they_need() -> None:
    for file in WORKFLOWS.values():
        workflow = read(file)
        assert workflow["permissions"] == {"contents": "read"}
        used = re.findall(r"uses: (\S+)", file.read_text())
        assert used
        assert [each for each in used if not re.fullmatch(r"[\w-]+/[\w-]+@[\w./]+", each)] == []


def test_issue_templates_have_what_the_form_needs() -> None:
    forms = [read(file) for file in FILES if file.parent.name == "ISSUE_TEMPLATE"]

    full = [form for form in forms if "body" in form]
    assert [sorted(form) for form in full] == [["body", "description", "labels", "name"]] * 2
