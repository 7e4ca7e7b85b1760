"""The documentation: what it shows works, and what is made from the code is fresh."""

import json
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
import yaml
from jsonschema import Draft7Validator

from spanserve.commands.schema import config_schema
from spanserve.config.load import load as load_config
from spanserve.running.discovery import installed_runners
from spanserve.service.bundle.load import load as load_service
from spanserve.service.bundle.manifest import read_manifest
from spanserve.tracing.plugins.loading import hook_names
from spanserve.tracing.plugins.registry import installed_tracers, load_tracers
from support.certificates import new_certificate
from support.serving import serving, tracer_of

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SQUARES = DOCS / "examples" / "squares" / "service.py"
PAGES = sorted(
    [
        *DOCS.rglob("*.md"),
        *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")),
        *(
            ROOT / name / "README.md"
            for name in ("core", "plugins/jaeger", "plugins/local", "plugins/zipkin")
        ),
    ]
)
MAX_COLUMNS = 79
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
KEY = "open sesame"
AUTHORIZED = {"Authorization": f"Bearer {KEY}"}
PUBLISHED_FROM_ELSEWHERE = ("http://", "https://")


class Block(NamedTuple):
    page: str
    language: str
    text: str


def blocks_of(page: Path) -> Iterator[Block]:
    name = str(page.relative_to(ROOT))
    for language, text in FENCE.findall(page.read_text(encoding="utf-8")):
        yield Block(name, language, text)


def blocks(language: str, *words: str) -> list[Block]:
    """All blocks in a language with these words, but for the signatures of the reference."""
    return [
        block
        for page in PAGES
        for block in blocks_of(page)
        if block.language == language
        and not block.page.startswith("docs/reference/")
        and all(word in block.text for word in words)
    ]


def name_of(block: Block) -> str:
    return f"{block.page}: {block.text.splitlines()[0]}"


def generate(docs: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(docs / "generate.py"), "--check"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_reference_pages_are_as_the_code_makes_them() -> None:
    result = generate(DOCS)

    assert (result.returncode, result.stdout) == (0, ""), result.stderr


def test_a_stale_reference_page_is_named(tmp_path: Path) -> None:
    docs = Path(shutil.copytree(DOCS, tmp_path / "docs"))
    (docs / "reference" / "hooks.md").write_text("# Hooks\n")

    result = generate(docs)

    named = "stale: docs/reference/hooks.md; run: python docs/generate.py\n"
    assert (result.returncode, result.stdout) == (1, named), result.stderr


def test_every_hook_is_documented() -> None:
    page = (DOCS / "reference" / "hooks.md").read_text()
    headings = re.findall(r"^## (\w+)$", page, re.MULTILINE)

    assert set(headings) == {*hook_names(), "ExportResult"}


def test_the_readme_has_exactly_its_two_commands() -> None:
    commands = [block.text for block in blocks_of(ROOT / "README.md") if block.language == "bash"]

    assert commands == [
        "python3 -m pip install uv && python3 -m uv run --locked spanserve demo\n",
        "python3 -m pip install uv && python3 -m uv run --locked pytest -n 2\n",
    ]


def test_the_home_page_leads_to_every_page() -> None:
    linked = {DOCS / target for target in LINK.findall((DOCS / "index.md").read_text())}
    pages = {
        page for room in ("how-to", "tutorials", "reference") for page in (DOCS / room).iterdir()
    }

    assert pages - linked == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    targets = [
        target
        for target in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8")))
        if not target.startswith((*PUBLISHED_FROM_ELSEWHERE, "#"))
    ]

    lost = [each for each in targets if not (page.parent / each.partition("#")[0]).exists()]

    assert lost == []


@pytest.mark.parametrize("block", blocks("text"), ids=name_of)
def test_output_fits_a_terminal(block: Block) -> None:
    assert [line for line in block.text.splitlines() if len(line) > MAX_COLUMNS] == []


@pytest.mark.parametrize("block", blocks("yaml"), ids=name_of)
def test_every_configuration_can_be_used(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    new_certificate(tmp_path, "cert.pem", "key.pem")
    new_certificate(tmp_path, "ca.pem", "ca-key.pem")
    content = yaml.safe_load(block.text)
    if isinstance(content.get("service"), str):
        (tmp_path / "bundle.yml").write_text(block.text)
        assert read_manifest(tmp_path).service
        return
    file = tmp_path / "c.yml"
    file.write_text(block.text)

    loaded = load_config(file, {}, {})
    tracers = load_tracers(loaded.config.tracing, sources=loaded.sources)

    assert [tracer.name for tracer in tracers] == list(loaded.config.tracing.type)
    assert [warning for tracer in tracers for warning in tracer.warnings] == []
    schema = Draft7Validator(config_schema(installed_tracers(), installed_runners()))
    assert [error.message for error in schema.iter_errors(content)] == []


@pytest.mark.parametrize("block", blocks("python", "@service"), ids=name_of)
def test_every_service_is_served(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_KEY", KEY)
    file = tmp_path / "service.py"
    file.write_text(block.text)
    service = load_service(str(file))

    with serving(service) as server:
        paths = httpx.get(f"{server.url}/openapi.json", headers=AUTHORIZED).json()["paths"]

    assert {api.route for api in service.spec.apis} <= paths.keys()


@pytest.mark.parametrize(
    "block", [each for each in blocks("python") if "@service" not in each.text], ids=name_of
)
def test_every_other_example_can_be_imported(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(SQUARES.parent)
    monkeypatch.delitem(sys.modules, "service", raising=False)
    file = tmp_path / "example.py"
    file.write_text(block.text)

    assert runpy.run_path(str(file), run_name="example")


def test_the_tutorial_s_service_is_the_example_and_answers_as_it_says(tmp_path: Path) -> None:
    [service, _ask] = [
        block.text
        for block in blocks_of(DOCS / "tutorials" / "first-service.md")
        if block.language == "python"
    ]
    file = tmp_path / "service.py"
    file.write_text(service)

    with serving(load_service(str(file))) as server:
        square = httpx.post(f"{server.url}/square", json=[3, 0.5])
        power = httpx.post(f"{server.url}/power", json={"base": 2})

    assert service == SQUARES.read_text()
    assert (square.text, power.text) == ("[9.0,0.25]", "4.0")


def test_the_ten_line_tracer_sees_each_span(capfd: pytest.CaptureFixture[str]) -> None:
    [block] = blocks("python", "class FileLog")
    names: dict[str, object] = {}
    exec(compile(block.text, "filelog.py", "exec"), names)  # the page's own code

    with serving(str(SQUARES), tracers=[("filelog", names["plugin"], {})]) as server:
        httpx.post(f"{server.url}/square", json=3)

    seen = [line.rsplit(" ", 2)[0] for line in capfd.readouterr().out.splitlines()]
    spans = ["POST /square", "decode", "queue", "collate", "run", "multiply", "split", "encode"]
    assert seen == spans


def test_the_tracer_that_sends_writes_each_span(tmp_path: Path) -> None:
    [block] = blocks("python", "class JsonLines")
    code = tmp_path / "jsonlines.py"
    code.write_text(block.text)
    written = tmp_path / "spans.jsonl"
    plugin = runpy.run_path(str(code))["JsonLines"]
    tracer = tracer_of("jsonlines", plugin, {"path": str(written)})

    with serving(str(SQUARES), tracers=[tracer]) as server:
        answer = httpx.post(f"{server.url}/describe")

    assert tracer.target == str(written)
    lines = [json.loads(line) for line in written.read_text().splitlines()]
    trace_id = answer.headers["x-trace-id"]
    assert [(line["name"], line["trace_id"]) for line in lines] == [
        (name, trace_id) for name in ("POST /describe", "decode", "run", "encode")
    ]


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    site = str(tmp_path / "site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", site]

    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert (result.returncode, "WARNING" in result.stderr) == (0, False), result.stderr
