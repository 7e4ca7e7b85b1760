"""The tracer `jaeger`: Thrift over UDP by an encoder of its own, or OTLP."""

from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic import BaseModel

from spanserve import ExportResult, Resource, Span, hookimpl
from spanserve_jaeger.otlp import exporter_class, otlp_export, otlp_url
from spanserve_jaeger.settings import JaegerSettings, likely_mistakes
from spanserve_jaeger.udp import UdpSender, udp_url

if TYPE_CHECKING:
    from spanserve.tracers.otel import OtelExport


class Jaeger:
    """Sends spans to Jaeger; over UDP nobody confirms them, and so they are counted."""

    def __init__(self) -> None:
        self._sender: UdpSender | OtelExport | None = None
        self._page: str | None = None

    @hookimpl
    def tracer_settings(self) -> type[BaseModel]:
        return JaegerSettings

    @hookimpl
    def tracer_propagators(self) -> Sequence[str]:
        return ("jaeger",)

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
        self._page = _page(settings)
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
        return None if self._page is None else f"{self._page}/trace/{trace_id}"

    @hookimpl
    def tracer_stopping(self) -> None:
        if self._sender is not None:
            self._sender.close()
            self._sender = None


def _page(settings: JaegerSettings) -> str:
    """Jaeger's web page: on the same host, at its usual port."""
    if settings.protocol == "udp":
        host = settings.address or ""
    else:
        host = urlsplit(settings.endpoint or "").hostname or ""
    return f"http://[{host}]:16686" if ":" in host else f"http://{host}:16686"
