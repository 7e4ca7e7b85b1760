"""What a backend's answer means: one table, halving that loses nothing, and every OTLP route."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from typing import Any

import grpc  # type: ignore[import-untyped]  # grpcio ships no stubs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanserve import (
    Answer,
    ExportResult,
    Resource,
    Span,
    SpanKind,
    Verdict,
    grpc_verdict,
    http_verdict,
    retry_after_s,
    send_in_parts,
)
from spanserve.tracers.otel import Otel, OtelSettings
from spanserve_jaeger.settings import JaegerSettings
from spanserve_jaeger.tracer import Jaeger
from support.otlp_sink import OtlpGrpcSink, OtlpHttpSink, OtlpSink, Refusal
from support.serving import refusing_port

RESOURCE = Resource("svc", {"service.name": "svc"})
START_NS = 1_700_000_000_000_000_000
MEBIBYTE = 1 << 20
Code = grpc.StatusCode

TABLE = [
    (Verdict.TAKEN, [200, 202, 204], ["OK"]),
    (Verdict.TOO_LARGE, [413], []),
    (Verdict.HOLDS_BAD, [400, 422], ["INVALID_ARGUMENT"]),
    (
        Verdict.REFUSED,
        [301, 307, 401, 403, 404, 405, 415],
        ["UNAUTHENTICATED", "PERMISSION_DENIED", "NOT_FOUND", "UNIMPLEMENTED"],
    ),
    (
        Verdict.LATER,
        [408, 425, 429, 500, 502, 503, 504, 599],
        ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "INTERNAL", "ABORTED", "NEW"],
    ),
]


def test_one_table_says_what_an_answer_means() -> None:
    found = [
        ({http_verdict(status) for status in statuses}, {grpc_verdict(code) for code in codes})
        for _, statuses, codes in TABLE
    ]
    assert found == [({verdict}, {verdict} if codes else set()) for verdict, _, codes in TABLE]


@pytest.mark.parametrize(
    ("code", "details"),
    [
        ("RESOURCE_EXHAUSTED", "CLIENT: Sent message larger than max (5000000 vs. 4194304)"),
        ("RESOURCE_EXHAUSTED", "SERVER: Received message larger than max (5 vs. 4)"),
        ("RESOURCE_EXHAUSTED", "grpc: received message after decompression larger than max 4"),
        ("RESOURCE_EXHAUSTED", "gRPC message exceeds maximum size 4194304: 5000000"),
        ("UNKNOWN", "Received http2 header with status: 413"),
    ],
)
def test_a_message_that_is_too_large_is_known_by_the_words_of_every_implementation(
    code: str, details: str
) -> None:
    assert grpc_verdict(code, details) is Verdict.TOO_LARGE


@pytest.mark.parametrize(
    ("value", "wait_s"),
    [
        ("120", 120),
        ("999999", 3600),
        (formatdate(1_000_090, usegmt=True), 90),
        (formatdate(999_000, usegmt=True), 0),
        ("soon", None),
        ("-1", None),
        (None, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, wait_s: float | None) -> None:
    assert retry_after_s(value, now_s=1_000_000) == wait_s


class Picky:
    """A backend that takes no bad span and not too many at once; `posts` holds what it got."""

    def __init__(self, bad: set[int], most: int) -> None:
        self.taken: list[int] = []
        self.posts = 0
        self._bad = bad
        self._most = most

    def take(self, spans: list[int]) -> Answer:
        self.posts += 1
        if len(spans) > self._most:
            return Answer(Verdict.TOO_LARGE, "too large")
        if self._bad & set(spans):
            return Answer(Verdict.HOLDS_BAD, "bad")
        self.taken += spans
        return Answer(Verdict.TAKEN)

    def handed(self, spans: list[int]) -> tuple[int, list[int]]:
        """Return how many were rejected, and which are to be handed over again."""
        before = self.posts
        sent = send_in_parts([range(len(spans))], lambda part: self.take([spans[n] for n in part]))
        assert self.posts - before <= 64
        return sent.rejected, [spans[n] for n in sent.left]


@given(st.sets(st.integers(0, 299), max_size=5), st.integers(1, 300), st.integers(20, 300))
def test_all_good_spans_are_delivered_once_in_order_and_only_the_bad_are_rejected(
    bad: set[int], count: int, most: int
) -> None:
    backend, waiting, rejected = Picky(bad, most), list(range(count)), 0
    good = [n for n in range(count) if n not in bad]
    while waiting:
        lost, waiting = backend.handed(waiting)
        rejected += lost
    if len(good) > 20:  # where nothing is taken for long, it is not single spans that are at fault
        assert backend.taken == good
    assert len(backend.taken) + rejected == count


def test_a_refusal_and_a_wish_to_wait_end_the_posts() -> None:
    for verdict, expected in ((Verdict.REFUSED, (0, 9, [])), (Verdict.LATER, (0, 0, [*range(9)]))):
        posts: list[range] = []

        def send(part: range, verdict: Verdict = verdict, posts: list[range] = posts) -> Answer:
            posts.append(part)
            return Answer(verdict, "no", 7.0)

        sent = send_in_parts([range(5), range(5, 9)], send)
        assert (sent.delivered, sent.rejected, sent.left) == expected
        assert (sent.reason, sent.retry_after_s) == ("no", 7.0 if expected[2] else None)
        assert posts == [range(5)]


ROUTES = ("otel over HTTP", "otel over gRPC", "jaeger over HTTP", "jaeger over gRPC")


@contextmanager
def to(sink: OtlpSink | str, route: str, **options: Any) -> Iterator[Callable[..., ExportResult]]:
    """Start a tracer that sends to this sink or URL, and give its `export_spans`."""
    url = sink if isinstance(sink, str) else sink.endpoint
    tracer: Otel | Jaeger
    if route.startswith("jaeger"):
        tracer = Jaeger()
        protocol = "otlp-http" if route.endswith("HTTP") else "otlp-grpc"
        settings = JaegerSettings.model_validate({"protocol": protocol, "endpoint": url})
        tracer.tracer_started(settings, RESOURCE)
    else:
        tracer = Otel()
        made = {"exporter": "otlp_proto_http", "options": {"endpoint": f"{url}/v1/traces"}}
        if route.endswith("gRPC"):
            made = {"exporter": "otlp_proto_grpc", "options": {"endpoint": url, "insecure": True}}
        made["options"] = {**made["options"], **options}  # type: ignore[dict-item]  # it is a dict
        tracer.tracer_started(OtelSettings.model_validate(made), RESOURCE)
    try:
        yield tracer.export_spans
    finally:
        tracer.tracer_stopping()


@contextmanager
def collector(route: str) -> Iterator[OtlpSink]:
    kind: type[OtlpSink] = OtlpHttpSink if route.endswith("HTTP") else OtlpGrpcSink
    with kind() as sink:
        yield sink


def made(count: int, chars: int = 10, first: int = 1) -> list[Span]:
    return [
        Span(
            f"span {number}",
            SpanKind.INTERNAL,
            "ab" * 16,
            f"{number:016x}",
            None,
            START_NS,
            START_NS + 1,
            {"text": "x" * chars},
        )
        for number in range(first, first + count)
    ]


def ids(sink: OtlpSink) -> list[str]:
    return [span["span_id"] for span in sink.spans]


@pytest.mark.parametrize("route", ROUTES)
def test_what_is_too_large_for_a_collector_arrives_in_parts_and_the_limit_is_remembered(
    route: str,
) -> None:
    """Over gRPC by its own limit of 4 MiB, over HTTP by a status."""
    spans = made(3_000, chars=5_000)
    with collector(route) as sink, to(sink, route) as export:
        if route.endswith("HTTP"):
            sink.refuse_if(lambda _, size: size > 4 * MEBIBYTE, Refusal(413))
        assert export(spans) == ExportResult(delivered=3_000)
        assert ids(sink) == [span.span_id for span in spans]
        requests = sink.requests
        assert export(made(3_000, chars=5_000, first=9_001)) == ExportResult(delivered=3_000)
        assert sink.requests - requests == 4


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("status", [400, 422])
def test_a_bad_span_costs_itself_alone(route: str, status: int) -> None:
    with collector(route) as sink, to(sink, route) as export:
        sink.refuse_if(lambda names, _: "span 37" in names, Refusal(status))
        result = export(made(100))
        assert (result.delivered, result.rejected, len(result.retry)) == (99, 1, 0)
        assert result.reason is not None
        assert result.reason.startswith("answered ")
        assert len(set(ids(sink))) == len(ids(sink)) == 99


FINAL = [
    (401, Code.UNAUTHENTICATED),
    (403, Code.PERMISSION_DENIED),
    (404, Code.UNIMPLEMENTED),
    (307, Code.NOT_FOUND),
]


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(("status", "code"), FINAL)
def test_a_refusal_rejects_at_once_and_in_one_request(
    route: str, status: int, code: grpc.StatusCode
) -> None:
    with collector(route) as sink, to(sink, route) as export:
        sink.refuse_if(lambda *_: True, Refusal(status, code, "no"))
        result = export(made(100))
        assert (result.rejected, len(result.retry), sink.requests) == (100, 0, 1)
        said = f"answered {code.name}: no" if route.endswith("gRPC") else f"answered {status} "
        assert (result.reason or "").startswith(said)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("in_status", [True, False])
def test_a_wish_to_be_left_alone_is_handed_on_after_one_request(
    route: str, *, in_status: bool
) -> None:
    refusal = Refusal(429, Code.RESOURCE_EXHAUSTED, "busy", 120, in_status)
    with collector(route) as sink, to(sink, route) as export:
        sink.refuse_if(lambda *_: True, refusal)
        spans = made(3)
        result = export(spans)
        assert (result.retry, result.retry_after_s) == (tuple(spans), 120)
        assert sink.requests == 1
        sink.accept()
        assert export(spans) == ExportResult(delivered=3)


@pytest.mark.parametrize("route", ROUTES)
def test_an_answer_without_a_wish_is_for_later_after_one_request(route: str) -> None:
    with collector(route) as sink, to(sink, route) as export:
        sink.refuse_if(lambda *_: True, Refusal(503, Code.UNAVAILABLE, "starting"))
        spans = made(3)
        result = export(spans)
        assert (result.retry, result.retry_after_s, sink.requests) == (tuple(spans), None, 1)


@pytest.mark.parametrize("route", ROUTES)
def test_where_nobody_listens_the_spans_come_back_at_once(route: str) -> None:
    spans = made(3)
    with refusing_port() as port, to(f"http://127.0.0.1:{port}", route) as export:
        result = export(spans)
    assert (result.retry, result.rejected) == (tuple(spans), 0)
    assert "refused" in (result.reason or "").lower()


@pytest.mark.parametrize("route", ROUTES)
def test_one_span_that_is_too_large_costs_itself_and_the_limit_grows_back(route: str) -> None:
    spans = [*made(600), *made(1, chars=5 * MEBIBYTE, first=9_999)]
    with collector(route) as sink, to(sink, route) as export:
        if route.endswith("HTTP"):
            sink.refuse_if(lambda _, size: size > 4 * MEBIBYTE, Refusal(413))
        result = export(spans)
        assert (result.delivered, result.rejected) == (600, 1)
        requests = []
        for number in range(40):
            before = sink.requests
            assert export(made(600, first=10_000 * (number + 2))).delivered == 600
            requests.append(sink.requests - before)
        assert (requests[0], requests[-1]) == (3, 1)


def test_the_answer_is_known_although_the_log_is_off(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL")
    with OtlpGrpcSink() as sink, to(sink, "jaeger over gRPC") as export:
        sink.refuse_if(lambda *_: True, Refusal(details="bad", code=Code.UNAUTHENTICATED))
        assert [export(made(1)).reason for _ in range(3)] == ["answered UNAUTHENTICATED: bad"] * 3
    assert caplog.messages == []


def test_what_the_exporter_itself_finds_too_large_is_halved() -> None:
    with OtlpHttpSink() as sink, to(sink, "otel over HTTP", max_request_size=9_000) as export:
        assert export(made(20, chars=1_000)) == ExportResult(delivered=20)
