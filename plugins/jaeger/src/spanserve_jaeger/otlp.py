"""Spans to Jaeger by OTLP, through OpenTelemetry's own exporters: an extra, imported late."""

from base64 import b64encode
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from spanserve import ConfigError, Resource
from spanserve_jaeger.settings import JaegerSettings, otlp_grpc_url, otlp_http_url

if TYPE_CHECKING:
    from spanserve.tracers.otel import OtelExport

_PACKAGE: Final = "opentelemetry.exporter.otlp.proto"
_MODULES: Final = {
    "otlp-http": f"{_PACKAGE}.http.trace_exporter",
    "otlp-grpc": f"{_PACKAGE}.grpc.trace_exporter",
}
_TIMEOUT_S: Final = 5.0


def exporter_class(protocol: str) -> Any:
    """OpenTelemetry's exporter for `otlp-http` or `otlp-grpc`; ConfigError: not installed."""
    module = _MODULES[protocol]
    try:
        return import_module(module).OTLPSpanExporter
    except ModuleNotFoundError as error:
        # A module that the exporter itself misses keeps its own name in the error.
        if error.name is None or not (module + ".").startswith(error.name + "."):
            raise
        raise ConfigError(
            f"jaeger protocol '{protocol}' needs OpenTelemetry's exporter; "
            "try: pip install 'spanserve-jaeger[otlp]'"
        ) from error


def otlp_url(settings: JaegerSettings) -> str:
    """Where the spans go, without credentials."""
    url = otlp_http_url if settings.protocol == "otlp-http" else otlp_grpc_url
    return url(settings.endpoint or "")


def otlp_export(settings: JaegerSettings, resource: Resource) -> "OtelExport":
    """Make the exporter that these settings ask for; opens no connection yet."""
    # OpenTelemetry's SDK takes a while to import, and UDP does without.
    from spanserve.tracers.otel import OtelExport, otel_resource  # noqa: PLC0415  # see above

    return OtelExport.of(
        exporter_class(settings.protocol),
        {"endpoint": otlp_url(settings), "headers": _headers(settings), "timeout": _TIMEOUT_S},
        otel_resource(resource),
    )


def _headers(settings: JaegerSettings) -> dict[str, str]:
    """The headers by lower-case name, as gRPC demands; credentials in the URL become one."""
    headers = {name.lower(): value.get_secret_value() for name, value in settings.headers.items()}
    parts = urlsplit(settings.endpoint or "")
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers.setdefault("authorization", "Basic " + b64encode(pair.encode()).decode())
    return headers
