"""The base class `Tracer`: what a type checker finds, and what is loaded of it."""

import inspect
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import assert_type

import httpx
import pytest
from pydantic import BaseModel, ConfigDict
from typing_extensions import override

from spanserve import ExportResult, Resource, Span, Tracer, hookimpl
from spanserve.tracing import hookspecs
from spanserve.tracing.plugins.loading import hook_names, opened
from spanserve.tracing.plugins.tracer import NoSettings
from support.serving import serving

ROOT = Path(__file__).parents[3]
SQUARES = str(ROOT / "docs" / "examples" / "squares" / "service.py")
WRONG = """
from collections.abc import Sequence

from pydantic import BaseModel
from typing_extensions import override

from spanserve import ExportResult, Resource, Span, Tracer


class Settings(BaseModel):
    url: str


class Misspelt(Tracer[Settings]):
    @override
    def span_ende(self, span: Span) -> None: ...


class Mistyped(Tracer[Settings]):
    @override
    def tracer_target(self, settings: Settings) -> str:
        return settings.ulr

    @override
    def span_ended(self, span: str) -> None: ...

    @override
    def export_spans(self, spans: Sequence[Span]) -> int:
        return 0
"""


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    prefix: str = ">"


class Names(Tracer[Settings]):
    def __init__(self) -> None:
        self.seen: list[str] = []

    @override
    def tracer_started(self, settings: Settings, resource: Resource) -> None:
        assert_type(settings.prefix, str)
        self.prefix = settings.prefix

    @override
    def export_spans(self, spans: Sequence[Span]) -> ExportResult | None:
        self.seen += [f"{self.prefix} {span.name}" for span in spans]
        return None


assert_type(Names().tracer_settings(), type[Settings])
assert_type(Names().export_spans([]), ExportResult | None)
assert_type(Tracer().tracer_isolation(), str)


def test_only_what_is_overridden_is_a_hook() -> None:
    plugin = opened(Names, "names", "odd", "1.0")

    assert plugin.hooks == {"tracer_settings", "tracer_started", "export_spans"}
    assert (plugin.settings_model, plugin.unmarked) == (Settings, ())
    assert plugin.configured({"prefix": "-"}, {}).target == "names"


def test_a_tracer_of_the_base_class_gets_the_spans_of_a_server() -> None:
    names = Names()

    with serving(SQUARES, tracers=[("names", names, {"prefix": "*"})]) as server:
        httpx.post(f"{server.url}/describe")

    assert names.seen == ["* POST /describe", "* decode", "* run", "* encode"]


def test_what_is_inherited_from_another_tracer_or_a_mixin_counts() -> None:
    class Ended:
        def span_ended(self, span: Span) -> None: ...

    class More(Ended, Names):
        @hookimpl
        def trace_url(self, trace_id: str) -> str | None:
            return trace_id

    class Bare(Tracer):
        @override
        def find_trace(self, trace_id: str) -> bool | None:
            return None

    assert opened(More, "more", "odd", "1.0").hooks == {
        *opened(Names, "names", "odd", "1.0").hooks,
        "span_ended",
        "trace_url",
    }
    assert opened(Bare, "bare", "odd", "1.0").settings_model is NoSettings


def test_a_misspelt_hook_is_refused_where_the_class_is_made() -> None:
    with pytest.raises(TypeError, match=r"Typo\.span_ende is no hook; did you mean 'span_ended'\?"):

        class Typo(Tracer):
            def span_ende(self, span: Span) -> None: ...


def test_each_hook_is_there_with_the_arguments_of_its_contract() -> None:
    hooks = {name: function for name, function in vars(Tracer).items() if name[0] != "_"}

    assert hooks.keys() == hook_names()
    for name, function in hooks.items():
        contract = list(inspect.signature(getattr(hookspecs, name)).parameters)
        assert list(inspect.signature(function).parameters) == ["self", *contract]


def test_a_type_checker_finds_misspelt_hooks_and_wrong_types(tmp_path: Path) -> None:
    file = tmp_path / "wrong.py"
    file.write_text(WRONG)
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), str(file)]

    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False).stdout

    assert re.findall(r"wrong\.py:(\d+): error: .*\[([\w-]+)\]$", said, re.MULTILINE) == [
        ("16", "misc"),
        ("22", "no-any-return"),
        ("22", "attr-defined"),
        ("25", "override"),
        ("28", "override"),
    ], said
