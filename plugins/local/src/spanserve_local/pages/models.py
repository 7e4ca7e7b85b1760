"""The shapes of the read API's answers, for its OpenAPI document. Times are Unix time in ms."""

from typing import Any, Literal

from pydantic import BaseModel

Kind = Literal["request", "batch", "other"]


class Entry(BaseModel):
    """A request, a batch or a start."""

    trace_id: str
    span_id: str
    kind: Kind
    name: str
    endpoint: str | None
    start_ms: float
    duration_ms: float
    status: int | None
    error: bool
    batch_trace_id: str | None
    batch_size: int | None
    reason: str | None
    wait_ms: float | None
    run_ms: float | None
    spans: int


class Traces(BaseModel):
    """A page of entries; `next` is the cursor of the next one."""

    traces: list[Entry]
    next: str | None
    newest_ms: float | None
    left_out: int


class Points(BaseModel):
    """Entries in columns."""

    trace_id: list[str]
    start_ms: list[float]
    duration_ms: list[float]
    error: list[int]
    kind: list[Kind]
    left_out: int


class Failure(BaseModel):
    """What failed."""

    type: str
    message: str


class Event(BaseModel):
    """Something that happened at one moment of a span."""

    name: str
    at_ms: float
    attributes: dict[str, Any]


class Link(BaseModel):
    """A span that is related."""

    trace_id: str
    span_id: str
    attributes: dict[str, Any]


class Span(BaseModel):
    """A span of a trace."""

    span_id: str
    parent_id: str | None
    name: str
    kind: str
    start_ms: float
    duration_ms: float
    error: Failure | None
    attributes: dict[str, Any]
    events: list[Event]
    links: list[Link]
    late: bool


class Trace(BaseModel):
    """A trace, its spans depth first."""

    trace_id: str
    resource: dict[str, Any]
    spans: list[Span]
    left_out: int


class Batches(BaseModel):
    """Batches in columns."""

    trace_id: list[str]
    released_ms: list[float]
    started_ms: list[float | None]
    run_ms: list[float | None]
    ran_ms: list[float | None]
    ended_ms: list[float]
    size: list[int]
    reason: list[str | None]
    error: list[int]


class Requests(BaseModel):
    """Requests in columns; `batch` is a place in those of the batches, or -1."""

    trace_id: list[str]
    start_ms: list[float]
    queued_ms: list[float | None]
    released_ms: list[float | None]
    run_ms: list[float | None]
    ran_ms: list[float | None]
    ended_ms: list[float]
    size: list[int]
    reason: list[str | None]
    batch: list[int]
    wait_peers_ms: list[float | None]
    wait_runner_ms: list[float | None]
    wait_start_ms: list[float | None]
    error: list[int]


class Timeline(BaseModel):
    """Requests against batches."""

    batches: Batches
    requests: Requests
    left_out: int


class Percentiles(BaseModel):
    """Of lengths in ms; null where there are none."""

    p50: float | None
    p90: float | None
    p99: float | None


class Part(Percentiles):
    """A part of a request; `share` is of the requests' whole time."""

    name: str
    mean: float
    share: float


class Advice(BaseModel):
    """What to change, by which rule, and the figures that it rests on."""

    rule: str
    text: str
    figures: dict[str, float]


class Breakdown(BaseModel):
    """Where the time goes."""

    requests: int
    errors: int
    total: Percentiles
    parts: list[Part]
    batch_sizes: list[tuple[int, int]]
    reasons: dict[str, int]
    advice: Advice
    left_out: int


class Endpoint(BaseModel):
    """An endpoint that has traces."""

    endpoint: str
    requests: int
    batches: int
    newest_ms: float


class Endpoints(BaseModel):
    """The endpoints, the busiest first."""

    endpoints: list[Endpoint]


class Status(BaseModel):
    """How much there is."""

    version: str
    service: str
    traces: int
    spans: int
    bytes: int
    max_bytes: float | None
    max_age_s: float | None
    oldest_ms: float | None
    newest_ms: float | None
    dropped: dict[str, int]
