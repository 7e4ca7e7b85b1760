"""The tracer `jaeger`: Thrift over UDP by an encoder of its own, or OTLP."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import BaseModel

from spanserve import ExportResult, Resource, Span, hookimpl
from spanserve_jaeger.otlp import exporter_class, otlp_export, otlp_url
from spanserve_jaeger.query import USUAL_PORT, QueryApi, query_host
from spanserve_jaeger.settings import JaegerSettings, likely_mistakes
from spanserve_jaeger.udp import UdpSender, udp_url

if TYPE_CHECKING:
    from spanserve.tracers.otel import OtelExport


class Jaeger:
    """Sends spans to Jaeger; over UDP nobody confirms them, and so they are counted.

    `query_port` is where Jaeger's query API and its web page are.
    """

    def __init__(self, *, query_port: int = USUAL_PORT) -> None:
        self._query_port = query_port
        self._sender: UdpSender | OtelExport | None = None
        self._query: QueryApi | None = None

    @hookimpl
    def tracer_settings(self) -> type[BaseModel]:
        return JaegerSettings

    @hookimpl
    def tracer_propagators(self) -> Sequence[str]:
        return ("jaeger",)

    @hookimpl
    def tracer_isolation(self) -> str:
        return "process"

    @hookimpl
    def tracer_target(self, settings: JaegerSettings) -> str:
        """The URL; ConfigError: the protocol's exporter is not installed."""
        if settings.protocol == "udp":
            return udp_url(settings.address or "", settings.port)
        exporter_class(settings.protocol)
        return otlp_url(settings)

    @hookimpl
    def tracer_warnings(self, settings: JaegerSettings) -> Sequence[str]:
        return list(likely_mistakes(settings))

    @hookimpl
    def tracer_started(self, settings: JaegerSettings, resource: Resource) -> None:
        self._query = QueryApi(query_host(settings), self._query_port)
        if settings.protocol == "udp":
            self._sender = UdpSender(settings.address or "", settings.port, resource)
        else:
            self._sender = otlp_export(settings, resource)

    @hookimpl
    def export_spans(self, spans: Sequence[Span]) -> ExportResult:
        if self._sender is None:
            raise RuntimeError("export_spans was called before tracer_started")
        return self._sender.export(spans)

    @hookimpl
    def trace_url(self, trace_id: str) -> str | None:
        return None if self._query is None else f"{self._query.url}/trace/{trace_id}"

    @hookimpl
    def find_trace(self, trace_id: str) -> bool | None:
        """Whether Jaeger's query API, at its usual port of the same host, knows the trace."""
        return None if self._query is None else self._query.holds(trace_id)

    @hookimpl
    def tracer_stopping(self) -> None:
        if self._sender is not None:
            self._sender.close()
            self._sender = None
