"""The tracer `otel`: any exporter installed for OpenTelemetry.

Plugins may use the bridge to its SDK: `otel_resource`, `readable_span` and `OtelExport`.
"""

import difflib
import inspect
import os
from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from opentelemetry.sdk.trace.export import SpanExporter
from pydantic import BaseModel, ConfigDict, Field

from spanserve.config.entries import sound_entry_points
from spanserve.errors import ConfigError
from spanserve.tracers.otel_bridge import OtelExport, otel_resource, readable_span
from spanserve.tracers.otel_options import converted, without_values
from spanserve.tracing.hookspecs import ExportResult, hookimpl
from spanserve.tracing.model.span import Resource, Span

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
_PROTOCOL_VARIABLES: Final = ("TRACES_PROTOCOL", "PROTOCOL")
_TRIAL: Final = Resource("", {})
"""What an exporter is made with only to see whether it can be."""


class OtelSettings(BaseModel):
    """Which of OpenTelemetry's exporters, and how it is made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    exporter: Annotated[str, Field(min_length=1)] | None = Field(
        default=None,
        description="The exporter's name in the entry-point group "
        f"`{EXPORTERS_GROUP}`, such as otlp_proto_http, otlp_proto_grpc or console; "
        "null: OTEL_TRACES_EXPORTER's, or else OTLP's, by OTEL_EXPORTER_OTLP_PROTOCOL.",
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
        name = _exporter_of(settings)
        try:
            _made(settings, _TRIAL).close()
        except ImportError as error:
            raise ConfigError(f"exporter '{name}' failed to import: {error}") from error
        endpoint = settings.options.get("endpoint")
        return f"{name} {_redacted(str(endpoint))}" if endpoint else name

    @hookimpl
    def tracer_started(self, settings: OtelSettings, resource: Resource) -> None:
        self._export = _made(settings, resource)

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


def _made(settings: OtelSettings, resource: Resource) -> OtelExport:
    """Make the exporter; ConfigError: it is not installed, or does not take its options."""
    name, options = _exporter_of(settings), settings.options
    cls = _entry_point(name).load()
    if not (isinstance(cls, type) and issubclass(cls, SpanExporter)):
        raise ConfigError(f"'{name}' is not an exporter of OpenTelemetry's SDK")
    accepted = _accepted_options(cls)
    unknown = sorted(set(options) - set(accepted)) if accepted is not None else []
    if accepted is not None and unknown:
        raise ConfigError(
            f"exporter '{name}' has no option '{unknown[0]}'"
            f" (options: {', '.join(accepted) or 'none'}){_hint(unknown[0], accepted)}"
        )
    try:
        return OtelExport.of(cls, converted(cls, options), otel_resource(resource))
    except ConfigError as error:
        raise ConfigError(f"exporter '{name}', {error}") from error
    except Exception as error:  # its options' types are the exporter's own matter
        raise ConfigError(
            f"exporter '{name}' does not take its options: "
            f"{without_values(f'{type(error).__name__}: {error}', options)}"
        ) from error


def _exporter_of(settings: OtelSettings) -> str:
    """The exporter's name: the settings', or what OpenTelemetry's variables say."""
    if settings.exporter is not None:
        return settings.exporter
    asked = os.environ.get("OTEL_TRACES_EXPORTER", "").partition(",")[0].strip() or "otlp"
    if asked != "otlp":
        return asked
    protocols = (os.environ.get(f"OTEL_EXPORTER_OTLP_{each}", "") for each in _PROTOCOL_VARIABLES)
    protocol = next((each.strip() for each in protocols if each.strip()), "http/protobuf")
    return "otlp_proto_grpc" if protocol == "grpc" else "otlp_proto_http"


def _entry_point(name: str) -> EntryPoint:
    installed = {point.name: point for point in sound_entry_points(EXPORTERS_GROUP)}
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
