"""The configuration: frozen, strict, and a description for every key.

The defaults here are the only ones. Sections of tracers are not checked here: each
tracer brings a model of its own, see `spanserve.tracing.plugins.registry`.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from spanserve.config.access import AuthConfig, CorsConfig
from spanserve.config.names import lower, propagator_names, tracer_names
from spanserve.config.section import Count, Length, Listed, Pause, Section, Word

LogLevel = Literal["critical", "error", "warning", "info", "debug"]


def _root_path(value: object) -> object:
    if isinstance(value, str) and value and not value.startswith("/"):
        raise ValueError(f"wanted a path that starts with '/', got '{value}'")
    return value.rstrip("/") if isinstance(value, str) else value


class QueueConfig(Section):
    """`tracing.queue`: the bounded queue between the requests and each tracer."""

    max_spans: Count = Field(
        default=100_000,
        description="Spans that may wait for a tracer; beyond, the oldest hundredth is dropped",
    )
    flush_interval_ms: Length = Field(
        default=200, description="How long a span waits for others, at most"
    )
    max_export_spans: Count = Field(
        default=8_000, description="Spans handed to a tracer in one call"
    )
    retry_for_s: Pause = Field(
        default=60,
        description="How long spans are retried that the backend did not take; pauses that it asks "
        "for (Retry-After, 300 s at most) do not count",
    )
    hang_after_s: Length = Field(
        default=10,
        description="How long a call of a tracer may give no sign of life; then it hangs: the log "
        "says so, and its process is killed and started anew",
    )
    flush_timeout_s: Length = Field(
        default=5, description="How long a stop waits for spans that were not sent yet"
    )


class KeepConfig(Section):
    """`tracing.keep`: traces that are kept although they were not sampled; decided as they end."""

    errors: bool = Field(default=False, description="Keep the traces of requests that failed")
    slower_than_ms: Length | None = Field(
        default=None, description="Keep the traces of requests that took longer; null: none"
    )


class ControlConfig(Section):
    """`tracing.control`: `GET` and `PATCH /tracing`, to change what is recorded while serving."""

    token: Annotated[str, Field(min_length=16)] | None = Field(
        default=None,
        description="What `Authorization: Bearer` must carry, 16 characters or more; null: no "
        "/tracing",
    )


class TracingConfig(Section):
    """`tracing`: which tracers are live, and what they are told."""

    type: Annotated[tuple[str, ...], BeforeValidator(tracer_names)] = Field(
        default=(),
        description="The name of a tracer, or a list of names, also `module:object`, and with "
        "`/` and a word for a second one of a kind; null, none or off: no tracing",
    )
    service_name: Word | None = Field(
        default=None, description="What the backend calls this service; null: the bundle's own name"
    )
    sample_rate: Annotated[float, Field(ge=0, le=1)] = Field(
        default=1.0,
        description="The share of new traces that is recorded; a caller's decision is kept",
    )
    keep: KeepConfig = Field(
        default_factory=KeepConfig, description="What is kept of what was not sampled"
    )
    trust_incoming: bool = Field(
        default=True,
        description="Join a caller's trace; false: begin a new one with a link to the caller's",
    )
    control: ControlConfig = Field(
        default_factory=ControlConfig, description="Changes while serving"
    )
    propagators: Annotated[tuple[str, ...] | None, BeforeValidator(propagator_names)] = Field(
        default=None,
        description="Header formats that are read and written: tracecontext, baggage, b3, b3multi, "
        "jaeger, and OpenTelemetry's that are installed; null: these five are read, and W3C's are "
        "written, with what the tracers ask for",
    )
    excluded_urls: Annotated[tuple[Word, ...], Listed] = Field(
        default=(
            *("/healthz", "/livez", "/readyz", "/metrics"),
            *("/v2/health/live", "/v2/health/ready"),
        ),
        description="Paths whose requests are never traced",
    )
    batch_spans: Annotated[Literal["full", "linked"], BeforeValidator(lower)] = Field(
        default="full",
        description="full: each trace holds the spans of its batch's run; linked: a reference only",
    )
    exceptions: Annotated[Literal["full", "type"], BeforeValidator(lower)] = Field(
        default="full", description="full: message and stack of an exception; type: its type only"
    )
    exporter: Annotated[Literal["process", "thread"], BeforeValidator(lower)] = Field(
        default="process",
        description="Where spans are encoded and sent: process: in one of its own, for each tracer "
        "that can; thread: in the server's",
    )
    queue: QueueConfig = Field(
        default_factory=QueueConfig, description="The queue between the requests and each tracer"
    )
    sections: Mapping[str, Mapping[str, Any]] = Field(
        default_factory=dict,
        description="Each tracer's own section as read, by name; not a key of the file",
    )
    resource_attributes: Mapping[str, str] = Field(
        default_factory=dict,
        description="From OTEL_RESOURCE_ATTRIBUTES, without service.name; not a key of the file",
    )


class ServerConfig(Section):
    """`server`: the HTTP server."""

    host: Word = Field(default="127.0.0.1", description="The address to listen on")
    port: Annotated[int, Field(ge=0, le=65_535)] = Field(
        default=8000, description="The port to listen on; 0: any that is free"
    )
    url_file: Word | None = Field(
        default=None, description="A file that has the server's URL from when it is ready"
    )
    workers: Count = Field(
        default=1, description="Processes that serve; four for each processor, at most"
    )
    load_timeout_s: Length | None = Field(
        default=None,
        description="When a start is given up whose service does not load; null: never",
    )
    max_request_bytes: Count = Field(
        default=20 * 1024 * 1024, description="The largest body accepted"
    )
    max_header_bytes: Count = Field(
        default=64 * 1024,
        description="The longest head of a request, its URL and headers; beyond: 431, or 414",
    )
    header_timeout_s: Length = Field(
        default=10, description="How long the head of a request may take; beyond: 408"
    )
    body_timeout_s: Length = Field(
        default=30, description="How long a body may make no progress; beyond: 408"
    )
    max_buffered_bytes: Count = Field(
        default=256 * 1024 * 1024,
        description="Bodies being read, of all clients of a process together; beyond, reading "
        "stops, and what waits longer than body_timeout_s is answered 503",
    )
    max_json_bytes: Count | None = Field(
        default=None,
        description="The longest JSON that is parsed as a whole, of any endpoint that takes no "
        "arrays; null: as max_request_bytes",
    )
    request_timeout_ms: Length | None = Field(
        default=None,
        description="When a request is given up with 504, or 408 where its body is not there; "
        "null: never",
    )
    drain_delay_s: Pause = Field(
        default=0, description="How long /readyz says 503 before the listener closes"
    )
    drain_timeout_s: Pause = Field(
        default=20, description="How long accepted requests may take to finish"
    )
    hang_after_s: Length | None = Field(
        default=None,
        description="From when a run of the model counts as one that hangs: /readyz says 503; "
        "null: never",
    )
    keep_alive_timeout_s: Length = Field(
        default=75, description="How long a connection may be idle between two requests"
    )
    trace_headers: bool = Field(
        default=True, description="Answer with X-Trace-Id and Server-Timing"
    )
    access_log: bool = Field(
        default=False,
        description="Log a line for each request, with its ids; the query is left out",
    )
    root_path: Annotated[str, BeforeValidator(_root_path)] = Field(
        default="", description="The prefix that a proxy in front strips from the path"
    )
    auth: AuthConfig | None = Field(
        default=None, description="Who may ask: whoever has a key; null: everybody"
    )
    cors: CorsConfig | None = Field(
        default=None, description="Pages of other origins that may ask; null: none"
    )
    proxy_headers: bool = Field(default=False, description="Believe X-Forwarded-For and -Proto")
    ssl_certfile: Word | None = Field(default=None, description="The TLS certificate, a PEM file")
    ssl_keyfile: Word | None = Field(
        default=None, description="The key of the TLS certificate, a PEM file"
    )

    @model_validator(mode="after")
    def _key_needs_certificate(self) -> Self:
        if self.ssl_keyfile and not self.ssl_certfile:
            raise ValueError("ssl_keyfile is given without ssl_certfile")
        return self


class BatchingConfig(Section):
    """`batching`: over what the service says of its endpoints; null leaves that alone."""

    max_batch_size: Count | None = Field(default=None, description="Items in a batch, at most")
    max_latency_ms: Length | None = Field(
        default=None, description="The target for queue and run, by which a batch is released"
    )
    max_queue: Count | None = Field(default=None, description="Items that may wait; beyond: 429")


class LoggingConfig(Section):
    """`logging`: what is logged."""

    level: Annotated[LogLevel, BeforeValidator(lower)] = Field(
        default="info", description="critical, error, warning, info or debug"
    )
    format: Annotated[Literal["text", "json"], BeforeValidator(lower)] = Field(
        default="text", description="text: a line for people; json: an object for machines, a line"
    )


class Config(Section):
    """The whole configuration."""

    tracing: TracingConfig = Field(
        default_factory=TracingConfig, description="Which tracers are live; none: no tracing"
    )
    server: ServerConfig = Field(default_factory=ServerConfig, description="The HTTP server")
    batching: BatchingConfig = Field(
        default_factory=BatchingConfig, description="Over the service's own batching"
    )
    logging: LoggingConfig = Field(default_factory=LoggingConfig, description="What is logged")
    runner: Mapping[str, Any] = Field(
        default_factory=dict,
        description="Where the model runs: `type`, and what that runner can be told",
    )
    service: Mapping[str, Any] = Field(
        default_factory=dict,
        description="The service's own settings, by the fields of its settings model",
    )


NOT_KEYS: Final = frozenset({"sections", "resource_attributes"})
"""Fields of `TracingConfig` that nobody can set by that name."""


def tracing_keys() -> frozenset[str]:
    """Return core's own keys under `tracing`; no tracer may have such a name."""
    return frozenset(TracingConfig.model_fields) - NOT_KEYS
