"""The Zipkin tracer over real sockets, to a strict sink that misbehaves on demand."""

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from email.utils import formatdate
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from spanserve import (
    Answer,
    Column,
    ExportResult,
    Resource,
    Span,
    SpanKind,
    Spans,
    Verdict,
    columns_of,
    retry_after_s,
)
from spanserve_zipkin.delivery import Delivery
from spanserve_zipkin.encode import Encoded
from spanserve_zipkin.encoding.rows import Rows
from spanserve_zipkin.settings import ZipkinSettings
from spanserve_zipkin.target import is_loopback, redacted
from spanserve_zipkin.tracer import Zipkin
from spanserve_zipkin.transport import CHUNK_BYTES, chunks
from support.zipkin_sink import ZipkinSink

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
START_NS = 1_700_000_000_000_000_000


def make_spans(number: int, *, name: str = "run") -> list[Span]:
    return [
        Span(name, SpanKind.INTERNAL, TRACE_ID, f"{n:016x}", None, START_NS, START_NS + 1000)
        for n in range(1, number + 1)
    ]


@contextmanager
def started(url: str, **options: Any) -> Iterator[Zipkin]:
    tracer = Zipkin()
    tracer.tracer_started(
        settings=ZipkinSettings(url=url, **options),
        resource=Resource("digits", {"service.name": "digits"}),
    )
    try:
        yield tracer
    finally:
        tracer.tracer_stopping()


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def plain(result: ExportResult) -> ExportResult:
    """Return a result whose spans can be compared."""
    retry = [
        span._replace(links=tuple(span.links), events=tuple(span.events)) for span in result.retry
    ]
    return replace(result, retry=retry)


def holds(word: bytes) -> Callable[[bytes], bool]:
    return lambda body: word in body


def test_spans_arrive_over_one_connection() -> None:
    with ZipkinSink() as sink, started(sink.url) as tracer:
        spans = make_spans(30)
        for n in range(0, 30, 10):
            assert tracer.export_spans(spans[n : n + 10]) == ExportResult(delivered=10)
        assert [span["id"] for span in sink.spans] == [span.span_id for span in spans]
        assert sink.violations == []
        assert (sink.connections, len(sink.requests)) == (1, 3)


def test_a_post_says_what_it_is_and_asks_not_to_be_traced() -> None:
    with ZipkinSink() as sink, started(sink.url, headers={"X-Key": "abc"}) as tracer:
        tracer.export_spans(make_spans(1))
        headers = dict(sink.requests[0].headers)
        assert headers.pop("user-agent").startswith("spanserve-zipkin/")
        assert headers == {
            "host": f"127.0.0.1:{sink.port}",
            "content-type": "application/json",
            "content-length": headers["content-length"],
            "accept-encoding": "identity",
            "b3": "0",
            "x-key": "abc",
        }


def test_headers_of_the_user_win_over_ours() -> None:
    with ZipkinSink() as sink, started(sink.url, headers={"user-agent": "mine"}) as tracer:
        tracer.export_spans(make_spans(1))
        assert sink.requests[0].headers["user-agent"] == "mine"


def test_gzip_is_used_when_asked_for() -> None:
    with ZipkinSink() as sink, started(sink.url, compression="gzip") as tracer:
        assert tracer.export_spans(make_spans(100)) == ExportResult(delivered=100)
        assert sink.requests[0].headers["content-encoding"] == "gzip"
        assert int(sink.requests[0].headers["content-length"]) < len(sink.requests[0].body)
        assert len(sink.spans) == 100


def test_a_body_of_many_chunks_says_how_long_it_is_and_arrives_whole() -> None:
    spans = make_spans(8_000)
    with ZipkinSink() as sink, started(sink.url) as tracer:
        assert tracer.export_spans(spans) == ExportResult(delivered=8_000)
        assert [span["id"] for span in sink.spans] == [span.span_id for span in spans]
        (request,) = sink.requests
        assert "transfer-encoding" not in request.headers
        assert int(request.headers["content-length"]) > 2 * CHUNK_BYTES
        assert sink.connections == 1


def test_a_thread_of_a_server_sends_a_body_in_one_piece_and_a_main_thread_in_chunks() -> None:
    body = bytes(2 * CHUNK_BYTES) + b"end"
    pieces = [bytes(each) for each in chunks(body)]
    assert [*map(len, pieces)] == [CHUNK_BYTES, CHUNK_BYTES, 3]
    assert b"".join(pieces) == body
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(lambda: [*chunks(body)]).result() == [body]


def test_credentials_in_the_url_go_out_as_basic_authorization_alone() -> None:
    with ZipkinSink() as sink:
        url = sink.url.replace("127.0.0.1", "us%40er:p%C3%A9%3Aw@127.0.0.1")
        with started(url) as tracer:
            tracer.export_spans(make_spans(1))
            shown = [tracer.tracer_target(ZipkinSettings(url=url)), tracer.trace_url(TRACE_ID)]
        assert sink.requests[0].headers["authorization"] == "Basic dXNAZXI6cMOpOnc="
        assert sink.requests[0].path == "/api/v2/spans"
        assert shown == [
            sink.url.replace("127.0.0.1", "***@127.0.0.1"),
            f"http://127.0.0.1:{sink.port}/zipkin/traces/{TRACE_ID}",
        ]


def test_nothing_to_send_is_not_sent() -> None:
    with ZipkinSink() as sink, started(sink.url) as tracer:
        assert tracer.export_spans([]) == ExportResult()
        assert sink.requests == []


def test_a_span_that_cannot_be_encoded_does_not_take_others_along() -> None:
    with ZipkinSink() as sink, started(sink.url) as tracer:
        spans: list[Any] = make_spans(3)
        spans[1] = spans[1]._replace(start_ns=None)
        assert tracer.export_spans(spans) == ExportResult(
            delivered=2, rejected=1, reason="1 spans cannot be encoded (TypeError)"
        )
        assert len(sink.spans) == 2


@pytest.mark.parametrize("bad", [{0}, {511}, {0, 1, 2, 3, 4, 5}, {17, 300}, {100, 200, 400}])
def test_bad_spans_are_found_and_the_good_ones_delivered(bad: set[int]) -> None:
    spans = [
        span._replace(name="bad") if n in bad else span for n, span in enumerate(make_spans(512))
    ]
    with ZipkinSink() as sink, started(sink.url) as tracer:
        sink.refuse_if(holds(b'"bad"'))
        assert tracer.export_spans(spans) == ExportResult(
            delivered=512 - len(bad), rejected=len(bad), reason="answered 400: refused"
        )
        assert {span["id"] for span in sink.spans} == {
            span.span_id for span in spans if span.name != "bad"
        }
        assert sink.violations == []
        assert len(sink.requests) <= 64
        assert sink.connections == 1


def test_where_everything_is_refused_few_posts_are_made() -> None:
    with ZipkinSink() as sink, started(sink.url) as tracer:
        sink.answer(400, body=b"wrong API")
        result = tracer.export_spans(make_spans(512))
        assert result == ExportResult(rejected=512, reason="answered 400: wrong API")
        assert len(sink.requests) == 22


def test_what_is_left_after_many_posts_is_handed_over_again_until_done() -> None:
    waiting = [
        span._replace(name="bad") if n % 8 == 7 else span for n, span in enumerate(make_spans(512))
    ]
    delivered = rejected = 0
    with ZipkinSink() as sink, started(sink.url) as tracer:
        sink.refuse_if(holds(b'"bad"'))
        while waiting:
            before = len(sink.requests)
            result = tracer.export_spans(waiting)
            delivered += result.delivered
            rejected += result.rejected
            assert result.delivered + result.rejected + len(result.retry) == len(waiting)
            assert len(sink.requests) - before <= 64
            waiting = list(result.retry)
        assert (delivered, rejected) == (448, 64)
        assert sink.violations == []


def test_a_body_that_is_too_large_is_halved_and_the_limit_remembered() -> None:
    spans = [span._replace(attributes={"text": "x" * 1000}) for span in make_spans(256)]
    with ZipkinSink() as sink, started(sink.url) as tracer:
        sink.refuse_if(lambda body: len(body) > 160_000, 413)
        assert tracer.export_spans(spans) == ExportResult(delivered=256)
        assert [request.status for request in sink.requests] == [413, 202, 202]
        sink.spans.clear()
        more = [span._replace(span_id=f"f{span.span_id[1:]}") for span in spans]
        assert tracer.export_spans(more) == ExportResult(delivered=256)
        assert 413 not in [request.status for request in sink.requests[3:]]
        assert sink.violations == []


def make_columns(number: int, first_id: int, *, chars: int = 800) -> Spans:
    ids = np.arange(first_id, first_id + number, dtype=np.uint64)
    none = np.zeros(number, np.uint64)
    trace_id = np.full(number, TRACE_ID.encode())
    start_ns = np.full(number, START_NS)
    common = [{"text": "x" * chars}]
    which = np.zeros(number, np.intp)
    run = Column(
        "run", SpanKind.INTERNAL, trace_id, ids, none, start_ns, start_ns, common, which, {}
    )
    other = make_spans(1, name="other")[0]._replace(span_id=f"{first_id + number:016x}")
    return Spans([[run]], [other])


def test_columns_that_were_too_long_for_a_post_go_out_in_several_from_then_on() -> None:
    with ZipkinSink() as sink, started(sink.url) as tracer:
        sink.refuse_if(lambda body: len(body) > 160_000, 413)
        assert tracer.export_spans(make_columns(255, 1)) == ExportResult(delivered=256)
        assert [request.status for request in sink.requests] == [413, 202, 202]
        assert tracer.export_spans(make_columns(255, 1001)) == ExportResult(delivered=256)
        assert [request.status for request in sink.requests[3:]] == [202] * 3
        assert len(sink.spans) == 512
        assert sink.violations == []


def test_there_is_no_post_without_spans() -> None:
    def long_ones(number: int, first_id: int) -> Spans:
        return Spans(make_columns(number, first_id, chars=61_000).blocks)

    with ZipkinSink() as sink, started(sink.url) as tracer:
        sink.refuse_if(lambda body: len(body) > 64_000, 413)
        tracer.export_spans(long_ones(2, 1))
        before = len(sink.requests)
        assert tracer.export_spans(long_ones(3, 101)) == ExportResult(delivered=3)
        assert [len(request.body) > 61_000 for request in sink.requests[before:]] == [True] * 3
        assert sink.violations == []


def test_of_columns_in_several_posts_those_that_were_not_taken_are_handed_back() -> None:
    with ZipkinSink() as sink, started(sink.url) as tracer:
        sink.refuse_if(lambda body: len(body) > 160_000, 413)
        tracer.export_spans(make_columns(255, 1))
        sink.refuse_if(holds(f"{1001 + 100:016x}".encode()), 503, b"busy")  # in the second of three
        result = tracer.export_spans(make_columns(255, 1001))
        assert [request.status for request in sink.requests[3:]] == [202, 503]
        assert (result.delivered, len(result.retry), result.reason) == (
            86,
            170,
            "answered 503: busy",
        )
        sink.accept()
        assert tracer.export_spans(result.retry) == ExportResult(delivered=170)
        assert len(sink.spans) == 512
        assert sink.violations == []


def test_a_single_span_that_is_too_large_is_rejected() -> None:
    spans = make_spans(3)
    spans[2] = spans[2]._replace(attributes={"text": "x" * 10_000})
    with ZipkinSink() as sink, started(sink.url) as tracer:
        sink.refuse_if(lambda body: len(body) > 5000, 413, b"")
        assert tracer.export_spans(spans) == ExportResult(
            delivered=2, rejected=1, reason="answered 413"
        )


def test_bodies_are_cut_at_their_limit() -> None:
    sizes: list[int] = []

    def post(body: bytearray) -> Answer:
        sizes.append(len(body))
        return Answer(Verdict.TAKEN)

    encoded = Encoded(columns_of(make_spans(10)).columns, [Rows([b"," + b"x" * 299], 10)])
    delivery = Delivery(post, max_body_bytes=1000)
    assert delivery.deliver(encoded) == ExportResult(delivered=10)
    assert sizes == [901, 901, 901, 301]


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_transient_answer_hands_the_spans_back(status: int) -> None:
    spans = make_spans(3)
    with ZipkinSink() as sink, started(sink.url) as tracer:
        sink.answer(status, {"Retry-After": "7"}, b"later\nplease", times=1)
        assert plain(tracer.export_spans(spans)) == ExportResult(
            retry=spans, retry_after_s=7, reason=f"answered {status}: later please"
        )
        assert tracer.export_spans(spans) == ExportResult(delivered=3)
        assert sink.violations == []


@pytest.mark.parametrize("status", [401, 403, 404, 405, 415])
def test_a_final_answer_rejects_the_spans(status: int) -> None:
    with ZipkinSink() as sink, started(sink.url) as tracer:
        sink.answer(status, body=b"no")
        result = tracer.export_spans(make_spans(3))
        assert result == ExportResult(rejected=3, reason=f"answered {status}: no")
        assert len(sink.requests) == 1


@pytest.mark.parametrize("status", [200, 202, 204])
def test_every_2xx_is_a_delivery(status: int) -> None:
    with ZipkinSink() as sink, started(sink.url) as tracer:
        sink.answer(status)
        assert tracer.export_spans(make_spans(3)) == ExportResult(delivered=3)


def test_redirects_are_not_followed() -> None:
    with ZipkinSink() as sink, started(sink.url, headers={"X-Key": "hidden"}) as tracer:
        sink.answer(307, {"Location": sink.url}, times=1)
        assert tracer.export_spans(make_spans(1)) == ExportResult(
            rejected=1,
            reason="answered 307: redirects are not followed, zipkin.url must be the last one",
        )
        assert len(sink.requests) == 1


def test_a_hanging_server_costs_the_timeout_and_hands_the_spans_back() -> None:
    spans = make_spans(3)
    with ZipkinSink() as sink, started(sink.url, timeout_s=0.05) as tracer:
        sink.hang(times=1)
        assert plain(tracer.export_spans(spans)) == ExportResult(
            retry=spans, reason="no answer within 0.05 s"
        )


def test_a_reset_connection_hands_the_spans_back() -> None:
    spans = make_spans(3)
    with ZipkinSink() as sink, started(sink.url) as tracer:
        sink.reset(times=1)
        assert plain(tracer.export_spans(spans)) == ExportResult(
            retry=spans, reason="the connection broke: Connection reset by peer"
        )
        assert tracer.export_spans(spans) == ExportResult(delivered=3)
        assert sink.connections == 2


def test_a_refused_connection_hands_the_spans_back() -> None:
    spans = make_spans(3)
    with started(f"http://127.0.0.1:{closed_port()}/api/v2/spans") as tracer:
        assert plain(tracer.export_spans(spans)) == ExportResult(
            retry=spans, reason="cannot connect: Connection refused"
        )


def test_a_name_that_does_not_resolve_hands_the_spans_back() -> None:
    spans = make_spans(1)
    with started("http://nobody.invalid:9411/api/v2/spans") as tracer:
        assert plain(tracer.export_spans(spans)) == ExportResult(
            retry=spans, reason="the host's name cannot be resolved"
        )


def test_what_was_delivered_before_a_failure_is_not_sent_again() -> None:
    spans = make_spans(9)
    answers = iter(
        [
            Answer(Verdict.TAKEN),
            Answer(Verdict.LATER, "gone"),
            Answer(Verdict.TAKEN),
            Answer(Verdict.TAKEN),
        ]
    )
    delivery = Delivery(lambda _body: next(answers), max_body_bytes=901)
    columns = columns_of(spans).columns
    result = delivery.deliver(Encoded(columns, [Rows([b"," + b"x" * 299], len(spans))]))
    assert plain(result) == ExportResult(delivered=3, retry=spans[3:], reason="gone")


def test_a_long_answer_is_cut_and_secrets_in_it_masked() -> None:
    with ZipkinSink() as sink:
        url = sink.url.replace("127.0.0.1", "user:password@127.0.0.1")
        with started(url, headers={"X-Key": "Bearer topsecret"}) as tracer:
            sink.answer(401, body=b"Bearer topsecret, password \x1b[31m " + b"x" * 200_000)
            reason = tracer.export_spans(make_spans(1)).reason
    assert reason == "answered 401: ***, *** [31m " + "x" * 185 + "…"


def test_a_tracer_that_was_not_started_says_so() -> None:
    assert Zipkin().trace_url(TRACE_ID) is None
    with pytest.raises(RuntimeError, match="tracer_started"):
        Zipkin().export_spans(make_spans(1))


def test_the_propagator_is_b3() -> None:
    assert Zipkin().tracer_propagators() == ("b3",)
    assert Zipkin().tracer_settings() is ZipkinSettings


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://u:p@z:9411/a?token=t#f", "http://***@z:9411/a?***"),
        ("http://u@[::1]:9411/a", "http://***@[::1]:9411/a"),
        ("http://z/a", "http://z/a"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url: str, expected: str) -> None:
    assert redacted(url) == expected


NO_SPANS_PATH = "does not end in /api/v2/spans, where Zipkin takes spans"
OLD_API = "is Zipkin's old API, and spans are sent in the format of version 2"


@pytest.mark.parametrize(
    ("url", "problem", "better"),
    [
        ("http://z:9411", NO_SPANS_PATH, "http://z:9411/api/v2/spans"),
        ("http://z/zipkin/", NO_SPANS_PATH, "http://z/api/v2/spans"),
        ("http://z/api/v2/spans/", NO_SPANS_PATH, "http://z/api/v2/spans"),
        ("http://z/api/v1/spans", OLD_API, "http://z/api/v2/spans"),
    ],
)
def test_a_url_of_another_shape_is_told_so(url: str, problem: str, better: str) -> None:
    assert Zipkin().tracer_warnings(ZipkinSettings(url=url)) == [
        f"zipkin.url {url} {problem}; did you mean {better} ?"
    ]


def test_zipkins_own_address_gives_no_warning() -> None:
    assert Zipkin().tracer_warnings(ZipkinSettings(url="http://z:9411/api/v2/spans")) == []


def test_warnings_show_no_credentials() -> None:
    [warning] = Zipkin().tracer_warnings(ZipkinSettings(url="http://user:pass@z"))
    assert "user" not in warning
    assert "pass" not in warning


def test_only_zipkins_own_address_has_a_viewer() -> None:
    with started("https://z/some/base/api/v2/spans?k=v") as tracer:
        assert tracer.trace_url(TRACE_ID) == f"https://z/some/base/zipkin/traces/{TRACE_ID}"
    with started("http://z/otlp") as tracer:
        assert tracer.trace_url(TRACE_ID) is None


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://localhost:9411", True),
        ("http://zipkin.localhost", True),
        ("http://127.9.9.9", True),
        ("http://[::1]:9411", True),
        ("http://10.0.0.1", False),
        ("http://localhost.example", False),
    ],
)
def test_this_machine_is_known_by_its_names(url: str, expected: bool) -> None:  # noqa: FBT001  # a table
    assert is_loopback(url) is expected


@pytest.mark.parametrize(
    ("value", "expected_s"),
    [
        (None, None),
        ("0", 0),
        (" 15 ", 15),
        ("999999", 3600),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        (formatdate(1_000_030, usegmt=True), 30),
        (formatdate(999_000, usegmt=True), 0),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, expected_s: float | None) -> None:
    assert retry_after_s(value, now_s=1_000_000) == expected_s


@pytest.mark.parametrize(
    ("section", "place", "message"),
    [
        ({}, ("url",), "Field required"),
        ({"url": "localhost:9411"}, ("url",), "must be an http or https URL such as"),
        ({"url": "http://"}, ("url",), "must be an http or https URL such as"),
        ({"url": "http://h:0/"}, ("url",), "must be an http or https URL such as"),
        ({"url": "http://u:se/cret@h"}, ("url",), "is no URL; expected one such as"),
        ({"url": "http://h/a b"}, ("url",), "must not hold blanks"),
        ({"url": "http://h", "timeout_s": 0}, ("timeout_s",), "greater than 0"),
        ({"url": "http://h", "compression": "br"}, ("compression",), "'auto', 'gzip' or 'none'"),
        ({"url": "http://h", "headers": {"a b": "c"}}, ("headers",), "no name of an HTTP header"),
        ({"url": "http://h", "headers": {"a": "b\r\nc"}}, ("headers",), "without line breaks"),
        ({"url": "http://h", "headers": {"Content-Type": "x"}}, ("headers",), "set by spanserve"),
        ({"url": "http://h", "uri": "x"}, ("uri",), "Extra inputs are not permitted"),
    ],
)
def test_settings_say_what_is_wrong_without_secrets(
    section: dict[str, Any], place: tuple[str], message: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        ZipkinSettings.model_validate(section)
    [error] = caught.value.errors()
    assert error["loc"] == place
    assert message in error["msg"]
    assert "cret" not in str(caught.value)


def test_every_setting_is_described_and_headers_are_secret() -> None:
    assert all(field.description for field in ZipkinSettings.model_fields.values())
    assert "hidden" not in repr(ZipkinSettings(url="http://h", headers={"k": "hidden"}))  # type: ignore[dict-item]  # as a file says it


def test_a_stopped_sink_that_comes_back_is_found_again() -> None:
    spans = make_spans(1)
    with ZipkinSink() as sink, started(sink.url) as tracer:
        assert tracer.export_spans(spans) == ExportResult(delivered=1)
        sink.answer(503, {"Connection": "close"}, times=1)
        assert [*tracer.export_spans(spans).retry] == spans
        assert tracer.export_spans(spans).delivered == 1
        assert sink.connections == 2
