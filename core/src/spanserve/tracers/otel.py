"""The tracer `otel`: any exporter installed for OpenTelemetry.

Plugins may use the bridge to its SDK: `otel_resource`, `readable_span` and `OtelExport`.
"""

import difflib
import inspect
from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final
from urllib.parse import urlsplit

from opentelemetry.sdk.trace.export import SpanExporter
from pydantic import BaseModel, ConfigDict, Field

from spanserve.errors import ConfigError
from spanserve.tracers.otel_bridge import OtelExport, otel_resource, readable_span
from spanserve.tracing.hookspecs import ExportResult, hookimpl
from spanserve.tracing.span import Resource, Span

__all__ = [
    "EXPORTERS_GROUP",
    "Otel",
    "OtelExport",
    "OtelSettings",
    "otel_resource",
    "readable_span",
]

EXPORTERS_GROUP: Final = "opentelemetry_traces_exporter"

_PACKAGES: Final = {
    "otlp": "opentelemetry-exporter-otlp",
    "otlp_proto_grpc": "opentelemetry-exporter-otlp-proto-grpc",
    "otlp_proto_http": "opentelemetry-exporter-otlp-proto-http",
    "zipkin_json": "opentelemetry-exporter-zipkin-json",
}


class OtelSettings(BaseModel):
    """Which of OpenTelemetry's exporters, and how it is made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    exporter: str = Field(
        min_length=1,
        description="The exporter's name in the entry-point group "
        f"`{EXPORTERS_GROUP}`, such as otlp_proto_http, otlp_proto_grpc or console.",
    )
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="Keyword arguments of the exporter's constructor, such as endpoint, headers "
        "or timeout. Without them, OpenTelemetry's environment variables and defaults count.",
    )


class Otel:
    """Exports through any exporter that is installed for OpenTelemetry."""

    def __init__(self) -> None:
        self._export: OtelExport | None = None

    @hookimpl
    def tracer_settings(self) -> type[BaseModel]:
        return OtelSettings

    @hookimpl
    def tracer_target(self, settings: OtelSettings) -> str:
        """The exporter and its endpoint; ConfigError: no such exporter, or not these options."""
        _checked_class(settings)
        endpoint = settings.options.get("endpoint")
        return f"{settings.exporter} {_redacted(str(endpoint))}" if endpoint else settings.exporter

    @hookimpl
    def tracer_started(self, settings: OtelSettings, resource: Resource) -> None:
        make = _checked_class(settings)
        try:
            self._export = OtelExport.of(make, settings.options, otel_resource(resource))
        except Exception as error:  # its options' types are the exporter's own matter
            raise ConfigError(
                f"exporter '{settings.exporter}' does not take its options: {error}"
            ) from error

    @hookimpl
    def export_spans(self, spans: Sequence[Span]) -> ExportResult:
        if self._export is None:
            raise RuntimeError("export_spans was called before tracer_started")
        return self._export.export(spans)

    @hookimpl
    def tracer_stopping(self) -> None:
        if self._export is not None:
            self._export.close()
            self._export = None


def _checked_class(settings: OtelSettings) -> type[SpanExporter]:
    """The exporter's class; ConfigError: it is not installed, or has no such options."""
    cls = _entry_point(settings.exporter).load()
    if not (isinstance(cls, type) and issubclass(cls, SpanExporter)):
        raise ConfigError(f"'{settings.exporter}' is not an exporter of OpenTelemetry's SDK")
    accepted = _accepted_options(cls)
    unknown = sorted(set(settings.options) - set(accepted)) if accepted is not None else []
    if accepted is not None and unknown:
        raise ConfigError(
            f"exporter '{settings.exporter}' has no option '{unknown[0]}'"
            f" (options: {', '.join(accepted) or 'none'}){_hint(unknown[0], accepted)}"
        )
    return cls


def _entry_point(name: str) -> EntryPoint:
    installed = {point.name: point for point in entry_points(group=EXPORTERS_GROUP)}
    if name in installed:
        return installed[name]
    hint = f"; try: pip install {_PACKAGES[name]}" if name in _PACKAGES else _hint(name, installed)
    raise ConfigError(
        f"unknown OpenTelemetry exporter '{name}' (installed: {', '.join(sorted(installed))}){hint}"
    )


def _hint(name: str, known: Mapping[str, object] | Sequence[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.75)
    return f"; did you mean '{close[0]}'?" if close else ""


def _accepted_options(cls: type[SpanExporter]) -> list[str] | None:
    """The names of the constructor's keyword arguments; None: it takes any, or does not say."""
    try:
        parameters = inspect.signature(cls).parameters.values()
    except ValueError:
        return None
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [p.name for p in parameters if p.kind in named and not p.name.startswith("_")]


def _redacted(endpoint: str) -> str:
    """The endpoint without credentials and query."""
    host = urlsplit(endpoint)
    if not host.netloc:
        return endpoint.partition("?")[0].rpartition("@")[2]
    return f"{host.scheme}://{host.netloc.rpartition('@')[2]}{host.path}"
