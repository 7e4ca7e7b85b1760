"""`spanserve schema`: what an editor is told, and that it is true."""

import json
from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml
from jsonschema import Draft7Validator
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr
from typer.testing import CliRunner

from spanserve import hookimpl
from spanserve.cli import app
from spanserve.commands.schema import config_schema
from spanserve.commands.tracers import listing
from spanserve.config.load import load
from spanserve.errors import ConfigError
from spanserve.running.discovery import chosen_runner, installed_runners
from spanserve.tracing.plugins.loading import opened
from spanserve.tracing.plugins.registry import InstalledTracer, installed_tracers, load_tracers


class Node(BaseModel):
    """A model that holds itself."""

    below: "tuple[Node, ...]" = ()


class Opaque:
    """Nothing that JSON has."""


class Unusual(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    url: str = Field(description="Where to", examples=["http://localhost"])
    api_key: str = "sesame"
    pin: SecretStr = SecretStr("1234")
    tokens: dict[str, str] = {"a": "abracadabra"}
    opaque: Opaque = Opaque()
    anything: Annotated[object, BeforeValidator(str)] = None
    words: Annotated[tuple[str, ...], BeforeValidator(str.split)] = ()
    tree: Node = Node()
    path: Path = Path("/tmp/x")


class Tracer:
    @hookimpl
    def tracer_settings(self) -> type[BaseModel]:
        return Unusual


def installed(tracer: object) -> InstalledTracer:
    return InstalledTracer("unusual", "odd", "1.0", opened(tracer, "unusual", "odd", "1.0"), None)


def problems(file: object, *tracers: InstalledTracer) -> list[str]:
    validator = Draft7Validator(config_schema(tracers or installed_tracers(), installed_runners()))
    return [each.json_path for each in validator.iter_errors(file)]


def found(schema: Any, *keys: str) -> Any:
    """The schema of a dotted key."""
    for key in keys:
        branch = next(each for each in schema.get("anyOf", [schema]) if "properties" in each)
        schema = branch["properties"][key]
    return schema


def test_the_command_prints_a_valid_schema_with_every_installed_tracer() -> None:
    printed = CliRunner().invoke(app, ["schema"])

    schema = json.loads(printed.stdout)
    Draft7Validator.check_schema(schema)
    tracing = found(schema, "tracing")["anyOf"][0]["properties"]
    assert tracing["type"]["anyOf"][0] == {"enum": ["console", "jaeger", "local", "otel", "zipkin"]}
    assert tracing["type"]["description"].startswith("The name of a tracer")
    assert {"console", "jaeger", "local", "otel", "zipkin", "sample_rate"} <= tracing.keys()
    assert not {"sections", "resource_attributes"} & tracing.keys()
    assert found(schema, "server", "port")["default"] == 8000


GOOD = [
    "tracing:",
    "{tracing: {type: zipkin, zipkin: }, server: }",
    "tracing: {type: 'zipkin,jaeger', propagators: 'b3, jaeger', excluded_urls: '/a,/b'}",
    "tracing: {type: [console, local], local: {max_bytes: 2GiB, max_age: 36h}}",
    "tracing: {type: off, exporter: thread}",
    "tracing: {type: '${TRACER:-console}', sample_rate: '${RATE:-1}'}",
    "server: {port: '${PORT:-1}', auth: {keys: [abc, {key: abc, name: me}], guard: 'docs,routes'}}",
    "server: {auth: {keys: 'abc,def'}, cors: {origins: 'https://a.example'}}",
    "service: {whatever: 1}",
    "runner: process",
    "runner: {type: process, replicas: 2}",
    "runner: {type: '${RUNNER:-thread}'}",
]
BAD = {
    "tracing: {typo: zipkin}": "$.tracing",
    "tracing: {type: zipkyn}": "$.tracing.type",
    "tracing: {zipkin: {ulr: x}}": "$.tracing.zipkin",
    "tracing: {sample_rate: 2}": "$.tracing.sample_rate",
    "tracing: {exceptions: none}": "$.tracing.exceptions",
    "server: {port: many}": "$.server.port",
    "server: {auth: {keys: [{name: me}]}}": "$.server.auth",
    "logging: {level: loud}": "$.logging.level",
    "runner: {type: proces}": "$.runner",
}


@pytest.mark.parametrize("text", GOOD)
def test_what_the_server_takes_the_schema_takes(text: str, tmp_path: Path) -> None:
    (tmp_path / "c.yml").write_text(text)

    load(tmp_path / "c.yml", {}, {})  # raises nothing

    assert problems(yaml.safe_load(text)) == []


@pytest.mark.parametrize("text", BAD)
def test_what_the_schema_refuses_the_server_refuses(text: str, tmp_path: Path) -> None:
    (tmp_path / "c.yml").write_text(text.replace("{zipkin", "{type: zipkin, zipkin"))

    with pytest.raises(ConfigError):  # noqa: PT012  # all that is read at a start
        loaded = load(tmp_path / "c.yml", {}, {})
        load_tracers(loaded.config.tracing)
        chosen_runner(loaded.config.runner, {}, loaded.sources)

    assert [BAD[text].startswith(path) for path in problems(yaml.safe_load(text))] == [True]


def test_secrets_are_marked_and_their_defaults_left_out() -> None:
    schema = config_schema([installed(Tracer)], [])

    own = found(schema, "tracing", "unusual")["anyOf"][0]["properties"]
    assert own["api_key"] == {"type": "string", "writeOnly": True}
    assert own["pin"] == {"type": "string", "format": "password", "writeOnly": True}
    assert found(schema, "tracing", "control", "token")["writeOnly"] is True
    for words in ("sesame", "1234", "abracadabra"):
        assert words not in json.dumps(schema)
        assert words not in "\n".join(listing([installed(Tracer)]))


def test_settings_of_any_type_have_a_schema() -> None:
    schema = config_schema(
        [installed(Tracer), InstalledTracer("torn", "odd", "1.0", None, "why")], []
    )

    own = found(schema, "tracing", "unusual")["anyOf"][0]["properties"]
    assert own["url"]["description"] == "Where to (required)"
    file = {"opaque": [], "tree": {"below": [{"below": []}]}, "path": "here", "words": "a b"}
    assert problems({"tracing": {"type": "unusual", "unusual": file}}, installed(Tracer)) == []
    assert problems({"tracing": {"zipkin": {"url": 1}}}, installed(Tracer)) == []
    assert "cannot be loaded" in found(schema, "tracing", "torn")["description"]
