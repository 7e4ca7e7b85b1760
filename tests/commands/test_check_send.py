"""`spanserve check FILE --send`: a test trace to each tracer, and what became of it."""

import json
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from spanserve import ConfigError, ExportResult, Span, SpanStart, hookimpl
from spanserve.cli import app
from spanserve.commands.send import Patience, Sent, send
from spanserve.config.model import TracingConfig
from spanserve.tracing.plugins.loading import opened
from support import jaeger_query as answers
from support.checking import QUICK, TRACE_ID, check_send, found_by_zipkin, jaeger, told
from support.jaeger_query import Answer, JaegerQuery
from support.otlp_sink import OtlpHttpSink
from support.serving import closed_port
from support.thrift_sink import ThriftSink
from support.zipkin_sink import ZipkinSink

REFUSED = "cannot connect: Connection refused"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("SPANSERVE_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def sent_by(plugin: object, patience: Patience = QUICK, **config: Any) -> Sent:
    """Send to a tracer of this test's own."""
    return send(
        TracingConfig(**config), opened(plugin, "own", "own", "1").configured({}, {}), patience
    )


def test_zipkin_gets_a_trace_and_is_asked_for_it(folder: Path) -> None:
    del folder
    with ZipkinSink() as sink:
        sink.store_late(2)
        result = check_send(
            {
                "type": "zipkin",
                "service_name": "shop",
                "sample_rate": 0,
                "excluded_urls": ["/*"],
                "zipkin": {"url": sink.url},
            }
        )
    base = sink.url.removesuffix("/api/v2/spans")
    assert (result.exit_code, result.stderr) == (0, "")
    assert told(result, 2) == [
        f"# zipkin: delivered to {sink.url}",
        f"# found: {base}/zipkin/traces/<id>",
    ]
    (span,) = sink.spans
    assert (span["name"], span["localEndpoint"]) == (
        "get /spanserve-check",
        {"serviceName": "shop"},
    )
    assert (sink.violations, sink.queries) == ([], [span["traceId"]] * 3)
    assert span["traceId"] in result.stdout


def test_what_check_prints_with_send_is_still_a_config(folder: Path) -> None:
    del folder
    with ZipkinSink() as sink:
        result = check_send({"type": "zipkin", "zipkin": {"url": sink.url}})
    assert yaml.safe_load(result.stdout)["tracing"]["zipkin"]["url"] == sink.url


def test_check_without_send_sends_nothing(folder: Path) -> None:
    with ZipkinSink() as sink:
        tracing = {"type": "zipkin", "zipkin": {"url": sink.url}}
        (folder / "c.yml").write_text(json.dumps({"tracing": tracing}))
        assert CliRunner().invoke(app, ["check", "c.yml"]).exit_code == 0
    assert sink.requests == []


def test_a_refusal_is_told_with_the_backends_own_words(folder: Path) -> None:
    del folder
    with ZipkinSink() as sink:
        sink.answer(401, body=b"who are you?")
        result = check_send({"type": "zipkin", "zipkin": {"url": sink.url}})
    assert (result.exit_code, result.stderr) == (1, "")
    assert told(result, 1) == [
        f"# zipkin: not delivered to {sink.url}: refused: answered 401: who are you?"
    ]


def test_a_backend_that_recovers_within_seconds_is_tried_again(folder: Path) -> None:
    del folder
    with ZipkinSink() as sink:
        sink.answer(503, times=1)
        result = check_send({"type": "zipkin", "zipkin": {"url": sink.url}})
    assert (result.exit_code, len(sink.requests)) == (0, 2)


def test_one_tracer_that_fails_does_not_keep_the_other_from_its_trace(folder: Path) -> None:
    del folder
    url = f"http://127.0.0.1:{closed_port()}/api/v2/spans"
    with ThriftSink() as agent:
        result = check_send(
            {
                "type": ["zipkin", "jaeger"],
                "zipkin": {"url": url},
                "jaeger": {"address": agent.host, "port": agent.port},
            }
        )
        (span,) = agent.wait_for_spans(1)
    assert (result.exit_code, result.stderr) == (1, "")
    assert told(result, 3)[:2] == [
        f"# zipkin: not delivered to {url}: {REFUSED}; is zipkin running there?",
        f"# jaeger: sent to udp://127.0.0.1:{agent.port} over UDP, which gives no answer",
    ]
    assert (span["name"], span["parent_id"]) == ("GET /spanserve-check", None)


def test_with_tracing_off_nothing_is_sent_and_that_is_a_failure(folder: Path) -> None:
    del folder
    result = check_send({"type": None})
    assert (result.exit_code, told(result, 1)) == (
        1,
        ["# nothing was sent: tracing is off (tracing.type picks a tracer)"],
    )


def test_a_bad_file_is_exit_code_2_with_send_too(folder: Path) -> None:
    del folder
    result = check_send({"type": "zipkin"})
    assert (result.exit_code, result.stdout) == (2, "")


def test_udp_to_nobody_is_not_delivered() -> None:
    port = closed_port()
    sent = send(TracingConfig(), jaeger(1, address="127.0.0.1", port=port), QUICK)
    target = f"udp://127.0.0.1:{port}"
    why = f"nobody listens at {target} (connection refused)"
    line = f"jaeger: not delivered to {target}: {why}; is jaeger running there?"
    assert sent == Sent(ok=False, lines=(line,))


@pytest.mark.parametrize(
    ("v3", "old", "line"),
    [
        (answers.V3_FOUND, answers.NO_PAGE, "found: {url}"),
        (answers.V3_ABSENT, answers.NO_PAGE, "not found yet: {url}"),
        (answers.V1_FAILED, answers.OLD_FOUND, "found: {url}"),
        (answers.V1_FAILED, answers.OLD_ABSENT, "not found yet: {url}"),
        (answers.PAGE, answers.OLD_FOUND, "found: {url}"),
        (answers.PAGE, answers.PAGE, "not looked up: {url} (no query API answers there)"),
        (answers.NO_PAGE, answers.NO_PAGE, "not looked up: {url} (no query API answers there)"),
        (answers.PAGE, answers.OLD_EMPTY, "not looked up: {url} (no query API answers there)"),
    ],
)
def test_jaeger_is_asked_by_both_of_its_apis(v3: Answer, old: Answer, line: str) -> None:
    with ThriftSink() as agent, JaegerQuery(v3, old) as query:
        tracer = jaeger(query.port, address=agent.host, port=agent.port)
        sent = send(TracingConfig(), tracer, QUICK)
        (span,) = agent.wait_for_spans(1)
    url = f"http://127.0.0.1:{query.port}/trace/{span['trace_id']}"
    assert sent.ok
    assert sent.lines[1] == line.format(url=url)
    assert query.asked[0] == f"/api/v3/traces/{span['trace_id']}"


def test_jaeger_by_otlp_is_asked_at_the_endpoints_host() -> None:
    with OtlpHttpSink() as collector, JaegerQuery(answers.V3_FOUND) as query:
        tracer = jaeger(query.port, protocol="otlp-http", endpoint=collector.endpoint)
        sent = send(TracingConfig(), tracer, QUICK)
    trace_id = collector.spans[0]["trace_id"]
    assert sent == Sent(
        ok=True,
        lines=(
            f"jaeger: delivered to {collector.endpoint}/v1/traces",
            f"found: http://127.0.0.1:{query.port}/trace/{trace_id}",
        ),
    )


def test_a_trace_is_not_looked_up_where_nobody_answers() -> None:
    port = closed_port()
    with ThriftSink() as agent:
        sent = send(TracingConfig(), jaeger(port, address=agent.host, port=agent.port), QUICK)
    assert sent.ok
    assert sent.lines[1].endswith(" (no query API answers there)")


class Answers:
    """Answers what it is told."""

    def __init__(self, answer: ExportResult | None) -> None:
        self._answer = answer

    @hookimpl
    def export_spans(self, spans: Sequence[Span]) -> ExportResult | None:
        del spans
        return self._answer


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (None, "delivered to own"),
        (ExportResult(unconfirmed=1), "sent to own, which gives no answer"),
        (ExportResult(rejected=1), "not delivered to own: refused: it gave no reason"),
        (
            ExportResult(),
            "not delivered to own: its export_spans did not say what became of the span",
        ),
    ],
)
def test_each_answer_of_a_tracer_has_its_words(answer: ExportResult | None, verdict: str) -> None:
    sent = Sent(ok=not verdict.startswith("not "), lines=(f"own: {verdict}",))
    assert sent_by(Answers(answer)) == sent


class AsksAgain:
    """Wants each span once more, without an end."""

    @hookimpl
    def export_spans(self, spans: Sequence[Span]) -> ExportResult:
        return ExportResult(retry=spans, reason="busy, at http://me:secret@host.")


def test_retries_end_and_the_last_reason_is_told() -> None:
    assert sent_by(AsksAgain()) == Sent(
        ok=False,
        lines=("own: not delivered to own: busy, at http://***@host; is own running there?",),
    )


OH = ValueError("oh")


class Raises:
    """Raises what it was made with, in the hook that is named."""

    def __init__(self, hook: str, error: Exception) -> None:
        self._hook = hook
        self._error = error

    def _maybe(self, hook: str) -> None:
        if hook == self._hook:
            raise self._error

    @hookimpl
    def tracer_started(self) -> None:
        self._maybe("tracer_started")

    @hookimpl
    def span_ended(self) -> None:
        self._maybe("span_ended")

    @hookimpl
    def export_spans(self) -> None:
        self._maybe("export_spans")

    @hookimpl
    def trace_url(self) -> str:
        self._maybe("trace_url")
        return "http://own"

    @hookimpl
    def find_trace(self) -> bool:
        self._maybe("find_trace")
        return True

    @hookimpl
    def tracer_stopping(self) -> None:
        self._maybe("tracer_stopping")


@pytest.mark.parametrize(
    ("hook", "error", "lines"),
    [
        (
            "tracer_started",
            OSError("http://me:secret@host is gone"),
            ["own: could not start: it raised OSError: http://***@host is gone"],
        ),
        ("tracer_started", ConfigError("no such file"), ["own: could not start: no such file"]),
        ("span_ended", OH, ["own: not shown live on own: it raised ValueError: oh"]),
        ("export_spans", OH, ["own: not delivered to own: it raised ValueError: oh"]),
        (
            "find_trace",
            OH,
            ["own: delivered to own", "not looked up: http://own (no query API answers there)"],
        ),
        ("tracer_stopping", OH, ["own: delivered to own", "found: http://own"]),
    ],
)
def test_a_hook_that_raises_is_named_by_what_it_costs(
    hook: str, error: Exception, lines: list[str]
) -> None:
    ok = lines[0] == "own: delivered to own"
    assert sent_by(Raises(hook, error)) == Sent(ok=ok, lines=tuple(lines))


def test_a_link_is_not_needed_to_look_a_trace_up() -> None:
    sent = sent_by(Raises("trace_url", ValueError("oh")))
    assert re.fullmatch(r"found: trace [0-9a-f]{32}", sent.lines[1])


class Live:
    """Sees boundaries, and exports nothing."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    @hookimpl
    def span_started(self, start: SpanStart) -> None:
        self.seen.append(f"+ {start.name}")

    @hookimpl
    def span_ended(self, span: Span) -> None:
        self.seen.append(f"- {span.name}")

    @hookimpl
    def tracer_stopping(self) -> None:
        self.seen.append("stopping")


def test_a_live_tracer_sees_the_trace_begin_and_end() -> None:
    live = Live()
    assert sent_by(live) == Sent(ok=True, lines=("own: shown live on own",))
    assert live.seen == ["+ GET /spanserve-check", "- GET /spanserve-check", "stopping"]


class Viewer:
    """Takes no spans."""

    @hookimpl
    def extend_app(self) -> None:
        return None


def test_a_tracer_that_takes_no_spans_is_told_apart() -> None:
    line = "own: not sent: it implements no hook that takes spans"
    assert sent_by(Viewer()) == Sent(ok=False, lines=(line,))


class Hangs:
    """Does not come back before it is let go."""

    def __init__(self) -> None:
        self.let_go = threading.Event()

    @hookimpl
    def export_spans(self) -> None:
        self.let_go.wait()


def test_a_tracer_that_hangs_is_given_up() -> None:
    plugin = Hangs()
    sent = sent_by(plugin)
    plugin.let_go.set()
    line = "own: not delivered to own: no answer within 0.2 s; is own running there?"
    assert sent == Sent(ok=False, lines=(line,))


def test_a_server_that_is_not_zipkin_cannot_be_asked() -> None:
    with ZipkinSink() as sink:
        base = sink.url.removesuffix("/api/v2/spans")
        asked = [found_by_zipkin(f"{base}{path}") for path in ("/a/api/v2/spans", "/api/v2/spans")]
    assert asked == [None, False]
    assert sink.queries == [TRACE_ID]
    assert [found_by_zipkin(sink.url), found_by_zipkin(f"{base}/else")] == [None, None]
