"""The section `tracing.jaeger` of the config."""

from collections.abc import Iterator
from typing import Final, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

Protocol = Literal["udp", "otlp-http", "otlp-grpc"]

_TRACES_PATH: Final = "/v1/traces"
_USUAL: Final = {
    4317: "OTLP over gRPC; set `protocol: otlp-grpc` and an `endpoint`",
    4318: "OTLP over HTTP; set `protocol: otlp-http` and an `endpoint`",
    6832: "Thrift's binary protocol; the compact protocol, which is sent, is read at 6831",
    9411: "Zipkin spans; Thrift over UDP is read at 6831",
    14250: "Jaeger's own gRPC; Thrift over UDP is read at 6831",
    14268: "Thrift over HTTP; Thrift over UDP is read at 6831",
    16686: "its web page; Thrift over UDP is read at 6831",
}


class JaegerSettings(BaseModel):
    """Where Jaeger is, and how spans get there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: str | None = Field(
        default=None,
        min_length=1,
        description="Host name or IP address of Jaeger's UDP receiver; required for udp.",
    )
    port: int = Field(
        default=6831,
        ge=1,
        le=65535,
        description="Port of Jaeger's UDP receiver for Thrift's compact protocol.",
    )
    protocol: Protocol = Field(
        default="udp",
        description="udp (Thrift, to address and port), otlp-http or otlp-grpc (to endpoint; "
        "needs `pip install 'spanserve-jaeger[otlp]'`). Jaeger recommends OTLP.",
    )
    endpoint: str | None = Field(
        default=None,
        description="URL of Jaeger's OTLP receiver; required for otlp-http, as "
        "http://localhost:4318 (`/v1/traces` is added where the URL has no path), "
        "and for otlp-grpc, as http://localhost:4317 (https:// for TLS).",
    )
    headers: dict[str, SecretStr] = Field(
        default_factory=dict,
        description="Headers to send with each OTLP request, for example for authentication.",
    )

    @field_validator("address")
    @classmethod
    def _without_brackets(cls, address: str | None) -> str | None:
        return address if address is None else address.removeprefix("[").removesuffix("]")

    @field_validator("endpoint")
    @classmethod
    def _is_a_url(cls, endpoint: str | None) -> str | None:
        if endpoint is None:
            return None
        try:
            parts = urlsplit(endpoint)
            usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise ValueError("the endpoint must be a URL such as http://localhost:4318")
        return endpoint

    @model_validator(mode="after")
    def _has_a_target(self) -> "JaegerSettings":
        if self.protocol == "udp" and self.address is None:
            raise ValueError(
                "`address` is missing: the host of Jaeger's UDP receiver, as `address: localhost`"
                + (" (for `endpoint`, set `protocol: otlp-http`)" if self.endpoint else "")
            )
        if self.protocol != "udp" and self.endpoint is None:
            port = 4318 if self.protocol == "otlp-http" else 4317
            host = self.address or "localhost"
            host = f"[{host}]" if ":" in host else host
            raise ValueError(
                f"`endpoint` is missing: protocol '{self.protocol}' sends to a URL, not to "
                f"`address` and `port`, such as `endpoint: http://{host}:{port}`"
            )
        return self


def otlp_http_url(endpoint: str) -> str:
    """The URL that spans are posted to, without credentials: a bare base URL gets /v1/traces."""
    parts = urlsplit(endpoint)
    path = parts.path if parts.path.strip("/") else _TRACES_PATH
    return SplitResult(parts.scheme, _host_and_port(parts), path, parts.query, "").geturl()


def otlp_grpc_url(endpoint: str) -> str:
    """The URL of the gRPC server: scheme, host and port are all that count."""
    parts = urlsplit(endpoint)
    return f"{parts.scheme}://{_host_and_port(parts)}"


def likely_mistakes(settings: JaegerSettings) -> Iterator[str]:
    """Say what in these settings is valid and probably not meant, a sentence each."""
    if settings.protocol == "udp":
        yield from _udp_mistakes(settings)
    else:
        yield from _otlp_mistakes(settings)


def _udp_mistakes(settings: JaegerSettings) -> Iterator[str]:
    if settings.port in _USUAL:
        yield f"jaeger: port {settings.port} is usually where Jaeger reads {_USUAL[settings.port]}"
    if settings.endpoint is not None:
        yield "jaeger: `endpoint` is not used with protocol 'udp': `address` and `port` are"
    if settings.headers:
        yield "jaeger: `headers` are not sent with protocol 'udp'"


def _otlp_mistakes(settings: JaegerSettings) -> Iterator[str]:
    parts = urlsplit(settings.endpoint or "")
    wrong = {"otlp-http": 4317, "otlp-grpc": 4318}[settings.protocol]
    other = "otlp-grpc" if settings.protocol == "otlp-http" else "otlp-http"
    if parts.port == wrong:
        yield f"jaeger: port {wrong} is usually where Jaeger reads `protocol: {other}`"
    if parts.port in {6831, 16686}:
        yield f"jaeger: Jaeger reads no OTLP at port {parts.port}; HTTP is at 4318, gRPC at 4317"
    path = parts.path.rstrip("/")
    if settings.protocol == "otlp-http" and path and not path.endswith(_TRACES_PATH):
        yield f"jaeger: the path of `endpoint` is {path}, where OTLP's usual one is {_TRACES_PATH}"
    if settings.protocol == "otlp-grpc" and path:
        yield "jaeger: the path of `endpoint` is not used with protocol 'otlp-grpc'"
    if {"address", "port"} & settings.model_fields_set:
        yield (
            f"jaeger: `address` and `port` are not used with protocol '{settings.protocol}', "
            "which sends to `endpoint`"
        )


def _host_and_port(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[2]
