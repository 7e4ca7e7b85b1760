"""Tracers named in another way: `module:object`, and two of a kind."""

import json
import sys
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from spanserve.cli import app
from spanserve.config.load import load, load_mapping
from spanserve.errors import ConfigError
from spanserve.tracing.plugins.registry import load_tracers
from support.serving import subprocess_server
from support.zipkin_sink import ZipkinSink

ROOT = Path(__file__).parents[3]
SQUARES = str(ROOT / "docs" / "examples" / "squares" / "service.py")
TRACER = """
import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from spanserve import hookimpl


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    path: Path


class Names:
    @hookimpl
    def tracer_settings(self):
        return Settings

    @hookimpl
    def tracer_isolation(self):
        return "process"

    @hookimpl
    def tracer_started(self, settings):
        self.path = settings.path

    @hookimpl
    def export_spans(self, spans):
        with self.path.open("a") as file:
            file.writelines(json.dumps(span.name) + "\\n" for span in spans)


class Misspelt:
    @hookimpl
    def span_ende(self, span):
        pass


names = Names()
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    for module in ("own_tracer", "own"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    (tmp_path / "own_tracer.py").write_text(TRACER)
    return tmp_path


def refused(tracing: object) -> str:
    with pytest.raises(ConfigError) as caught:  # noqa: PT012  # all that is read at a start
        loaded = load_mapping({"tracing": tracing}, "c.yml")
        load_tracers(loaded.config.tracing, sources=loaded.sources)
    return str(caught.value)


def test_a_module_s_object_exports_in_a_process_of_its_own(folder: Path) -> None:
    name = "own_tracer:Names"
    (folder / "c.yml").write_text(
        json.dumps({"tracing": {"type": name, name: {"path": str(folder / "spans")}}})
    )

    with subprocess_server(SQUARES, "--config", "c.yml") as server:
        assert httpx.post(f"{server.url}/square", json=3).text == "9.0"
        metrics = httpx.get(f"{server.url}/metrics").text

    assert f'tracer="{name}"' in metrics
    assert '"POST /square"' in (folder / "spans").read_text().splitlines()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "own_tracer:Misspelt",
            (
                "tracer 'own_tracer:Misspelt' (from own_tracer:Misspelt) implements a hook that "
                "does not exist: 'span_ende'; did you mean 'span_ended'?"
            ),
        ),
        (
            "own_trace:Names",
            (
                "tracer 'own_trace:Names' (from own_trace:Names) failed to import: "
                "No module named 'own_trace'"
            ),
        ),
        (
            "own_tracer:Name",
            (
                "tracer 'own_tracer:Name' (from own_tracer:Name) failed to import: AttributeError: "
                "module 'own_tracer' has no attribute 'Name'"
            ),
        ),
        ("own_tracer:Names", "tracing.own_tracer:Names.path is missing; give it in the file"),
        ("own_tracer:", "tracing.type: 'own_tracer:' cannot be the name of a tracer (c.yml)"),
        ("../x:Names", "tracing.type: '../x:Names' cannot be the name of a tracer (c.yml)"),
    ],
)
def test_what_a_module_s_object_lacks_is_said_as_of_any_tracer(
    folder: Path, name: str, words: str
) -> None:
    del folder
    assert refused({"type": name}) == words


def test_two_of_a_kind_send_to_two_places(tmp_path: Path) -> None:
    with ZipkinSink() as old, ZipkinSink() as new:
        sections = {"zipkin": {"url": old.url}, "zipkin/new": {"url": new.url}}
        (tmp_path / "c.yml").write_text(
            json.dumps({"tracing": {"type": ["zipkin", "zipkin/new"], **sections}})
        )
        with subprocess_server(SQUARES, "--config", str(tmp_path / "c.yml")) as server:
            answer = httpx.post(f"{server.url}/describe")
            metrics = httpx.get(f"{server.url}/metrics").text

        trace_id = answer.headers["x-trace-id"]
        assert [{span["traceId"] for span in sink.spans} for sink in (old, new)] == [
            {trace_id},
            {trace_id},
        ]
    for name in ("zipkin", "zipkin/new"):
        assert f'spanserve_spans_recorded_total{{tracer="{name}"' in metrics


def test_check_prints_both_and_what_it_prints_is_read_again(tmp_path: Path) -> None:
    sections = {"zipkin": {"url": "http://a"}, "zipkin/new": {"url": "http://b", "links": "ids"}}
    file = tmp_path / "c.yml"
    file.write_text(json.dumps({"tracing": {"type": ["zipkin", "zipkin/new"], **sections}}))
    printed = tmp_path / "printed.yml"

    printed.write_text(CliRunner().invoke(app, ["check", str(file)]).stdout)

    again = load(printed, {}, {}).config.tracing
    assert again.type == ("zipkin", "zipkin/new")
    assert {name: each["url"] for name, each in again.sections.items()} == {
        "zipkin": "http://a",
        "zipkin/new": "http://b",
    }


def test_two_of_a_kind_that_are_one_object_are_refused(folder: Path) -> None:
    name = "own_tracer:names"
    section = {"path": str(folder / "spans")}

    assert refused({"type": [name, f"{name}/b"], name: section, f"{name}/b": section}) == (
        "tracers 'own_tracer:names' and 'own_tracer:names/b' are one object of own_tracer:names: "
        "two of a kind need a class"
    )


def test_a_name_twice_says_how_to_have_two_of_a_kind() -> None:
    assert refused({"type": "zipkin,zipkin"}) == (
        "tracing.type: a tracer is named twice; a second one of a kind is named as 'zipkin/new' "
        "(c.yml)"
    )
    assert "unknown key tracing.zipkyn/new" in refused({"type": "console", "zipkyn/new": {}})
