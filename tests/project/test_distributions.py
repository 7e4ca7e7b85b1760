"""The packages as their users get them: wheels in a fresh virtual environment, with pip alone."""

import os
import signal
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import httpx
import pytest

from support.serving import subprocess_server

ROOT = Path(__file__).parents[2]
OURS = ("spanserve", "spanserve-zipkin", "spanserve-jaeger", "spanserve-local")

FILELOG = """\
from spanserve import Span, hookimpl


class FileLog:
    @hookimpl
    def span_ended(self, span: Span) -> None:
        print(f"{span.name} {span.duration_ms:.1f} ms", flush=True)


plugin = FileLog()
"""

FILELOG_PROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "filelog"
version = "1.2.3"
dependencies = ["spanserve"]

[project.entry-points."spanserve.tracers"]
filelog = "filelog:plugin"

[tool.hatch.build.targets.wheel]
only-include = ["filelog.py"]
"""

NOTHING = """
from spanserve import api, service

@service
class Nothing:
    @api
    def nothing(self) -> None:
        return None
"""

pytestmark = pytest.mark.timeout(600)


def built_wheel(project: Path, into: Path) -> Path:
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(into)]
    subprocess.run([*command, str(project)], check=True, capture_output=True)
    [wheel] = into.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheels of all three distributions and of a third party's tracer."""
    project = tmp_path_factory.mktemp("filelog")
    (project / "filelog.py").write_text(FILELOG)
    (project / "pyproject.toml").write_text(FILELOG_PROJECT)
    projects = {
        "spanserve": ROOT / "core",
        "spanserve-zipkin": ROOT / "plugins" / "zipkin",
        "spanserve-jaeger": ROOT / "plugins" / "jaeger",
        "spanserve-local": ROOT / "plugins" / "local",
        "filelog": project,
    }
    return {
        name: built_wheel(source, tmp_path_factory.mktemp(name))
        for name, source in projects.items()
    }


@pytest.fixture(scope="module")
def environment(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with spanserve, without a plugin of ours, and with the third party's."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    subprocess.run(
        [folder / "bin" / "pip", "install", "--quiet", wheels["spanserve"], wheels["filelog"]],
        check=True,
    )
    return folder


@pytest.mark.parametrize("name", OURS)
def test_a_wheel_holds_its_types_its_licence_and_its_entry_points(
    name: str, wheels: dict[str, Path]
) -> None:
    package = name.replace("-", "_")
    with zipfile.ZipFile(wheels[name]) as wheel:
        names = set(wheel.namelist())
    info = f"{package}-0.2.0.dev0.dist-info"
    assert {f"{package}/py.typed", f"{info}/entry_points.txt", f"{info}/licenses/LICENSE"} <= names


@pytest.mark.parametrize("name", OURS[1:])
def test_a_plugin_pulls_the_core(name: str, wheels: dict[str, Path]) -> None:
    package = name.replace("-", "_")
    with zipfile.ZipFile(wheels[name]) as wheel:
        metadata = wheel.read(f"{package}-0.2.0.dev0.dist-info/METADATA").decode()
    assert "Requires-Dist: spanserve<0.3,>=0.2.0.dev0" in metadata.splitlines()


def test_the_viewers_pages_are_in_the_wheel(wheels: dict[str, Path]) -> None:
    web = ROOT / "plugins" / "local" / "src" / "spanserve_local" / "web"
    pages = {f"spanserve_local/web/{each.relative_to(web)}" for each in web.rglob("*.*")}
    with zipfile.ZipFile(wheels["spanserve-local"]) as wheel:
        assert pages <= set(wheel.namelist())
    assert "spanserve_local/web/index.html" in pages


def test_the_core_alone_says_what_to_install_for_traces(environment: Path, tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text(NOTHING)
    python = environment / "bin" / "python"
    failed = subprocess.run(
        [python, "-m", "spanserve", "traces", "list"], capture_output=True, text=True, check=False
    )
    assert (failed.returncode, failed.stderr) == (
        2,
        "error: command 'traces' is not installed; try: pip install spanserve-local\n",
    )
    with subprocess_server(str(tmp_path / "service.py"), python=python) as server:
        assert (
            "tracing is off (tracing.type picks a tracer); to see traces: pip install "
            "spanserve-local, then tracing.type: local\n"
        ) in server.text()


def test_a_tracer_of_ten_lines_in_a_distribution_of_its_own_sees_the_spans(
    environment: Path, tmp_path: Path
) -> None:
    config = tmp_path / "config.yml"
    config.write_text("tracing: {type: filelog}")
    (tmp_path / "service.py").write_text(
        textwrap.dedent(
            """
            import numpy as np
            from spanserve import api, service

            @service
            class Double:
                @api(batch=True)
                def double(self, numbers: np.ndarray) -> np.ndarray:
                    return numbers * 2
            """
        )
    )
    service = str(tmp_path / "service.py")
    python = environment / "bin" / "python"
    with subprocess_server(service, "--config", str(config), python=python) as server:
        answer = httpx.post(f"{server.url}/double", json=[1, 2])
        assert (answer.status_code, answer.json()) == (200, [2.0, 4.0])
        assert server.stop(signal.SIGTERM) == 0
    names = [line.rsplit(maxsplit=2)[0] for line in server.printed]
    assert names == ["decode", "queue", "collate", "run", "split", "encode", "POST /double"]


def test_the_core_alone_names_what_to_install(environment: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.yml"
    config.write_text(
        "tracing: {type: zipkin, zipkin: {url: 'http://localhost:9411/api/v2/spans'}}"
    )
    check = subprocess.run(
        [environment / "bin" / "spanserve", "check", config],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "NO_COLOR": "1"},
    )
    assert (check.returncode, check.stdout) == (2, "")
    assert check.stderr == (
        "error: tracer 'zipkin' is not installed; try: pip install spanserve-zipkin\n"
    )


def test_the_listing_shows_a_third_partys_tracer(environment: Path) -> None:
    listing = subprocess.run(
        [environment / "bin" / "spanserve", "tracers"], capture_output=True, text=True, check=True
    )
    assert "filelog  (filelog 1.2.3)\n  hooks: span_ended\n  settings: none\n" in listing.stdout


def test_a_wheel_brings_the_templates_of_new_projects(environment: Path, tmp_path: Path) -> None:
    spanserve = environment / "bin" / "spanserve"
    for kind in ("tracer", "service"):
        subprocess.run([spanserve, "new", kind, kind], cwd=tmp_path, check=True)
    src = str(tmp_path / "tracer" / "src")
    name = "spanserve_tracer.tracer:TracerTracer"

    check = subprocess.run(
        [spanserve, "check", "--service", "service/service.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": src, "SPANSERVE__TRACING__TYPE": name},
        capture_output=True,
        text=True,
        check=True,
    )

    assert f"# tracer {name} ({name}): tracer.jsonl\n" in check.stdout
