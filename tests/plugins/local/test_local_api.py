"""What the read API says: of requests of all shapes, as their traces have it."""

import base64
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema_rs
import numpy as np
import pytest
from google.protobuf import json_format  # type: ignore[import-untyped]  # it has no types
from numpy.typing import NDArray
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from spanserve import api, service, span
from spanserve_local.tracer import Local
from support.otlp_sink import OtlpHttpSink
from support.serving import Serving, serving, until
from support.zipkin_rules import read_spans, violations

HOSTILE = '<img src=x onerror="alert(1)">'
NDJSON = {"Content-Type": "application/x-ndjson"}
CALLER = {"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"}
WAITS = {
    "wait for peers": "spanserve.wait.for_peers_ms",
    "wait for the runner": "spanserve.wait.for_runner_ms",
    "to start": "spanserve.wait.for_start_ms",
}


@service
class Shapes:
    """Requests of all shapes."""

    @api(batch=True, max_batch_size=8)
    def square(self, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        with span("multiply", note=HOSTILE, huge=1 << 60, odd=float("nan"), words=["a", "é"]):
            if (numbers == 13).any():
                raise ValueError("thirteen: größer")
            return numbers * numbers

    @api
    def plain(self, number: int) -> int:
        if number < 0:
            raise ValueError("negative")
        return number


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server that was asked for everything, whose traces are all there."""
    path = tmp_path_factory.mktemp("api") / "traces.db"
    with serving(Shapes, tracers=[("local", Local(), {"path": path})]) as server:
        with httpx.Client(base_url=server.url) as client:
            for number in range(16):
                client.post("/square", json=[number])
                client.post("/plain", json=number - 3)
            client.post("/square", content=b"[1]\n[13]\n[3]\n[4]", headers=NDJSON)
            client.post("/square", json="no array")
            client.post(
                "/square", json=[2], headers={"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"}
            )
            client.get("/absent")
        recorded = 'spanserve_spans_recorded_total{tracer="local"}'
        until(lambda: get(server, "status")["spans"] == server.metrics()[recorded])
        yield server


def get(server: Serving, path: str, **query: Any) -> Any:
    answer = httpx.get(f"{server.url}/traces/api/{path}", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def entries(server: Serving, **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor = None
    while True:
        page = get(server, "traces", **({"cursor": cursor} if cursor else {}), **query)
        found += page["traces"]
        cursor = page["next"]
        if cursor is None:
            return found


def below(entry: dict[str, Any], trace: dict[str, Any]) -> list[dict[str, Any]]:
    """Return an entry's spans: itself, then those below it, but no other entries."""
    ids = {entry["span_id"]}
    kept = []
    for each in trace["spans"]:
        is_own = each["span_id"] == entry["span_id"]
        if is_own or (each["parent_id"] in ids and each["kind"] != "server"):
            ids.add(each["span_id"])
            kept.append(each)
    return kept


def test_each_entry_of_the_list_says_what_its_trace_says(server: Serving) -> None:
    every = entries(server, limit=7)
    assert len({(each["trace_id"], each["span_id"]) for each in every}) == len(every)
    kinds = Counter(each["kind"] for each in every)
    assert kinds["request"] == 36
    assert kinds["batch"] >= 1
    for entry in every:
        spans = below(entry, get(server, f"traces/{entry['trace_id']}"))
        root, children = spans[0], spans[1:]
        said = {key: entry[key] for key in ("name", "start_ms", "duration_ms", "spans", "error")}
        assert said == {
            "name": root["name"],
            "start_ms": root["start_ms"],
            "duration_ms": root["duration_ms"],
            "spans": len(spans),
            "error": root["error"] is not None,
        }
        assert entry["status"] == root["attributes"].get("http.response.status_code")
        own = [each for each in children if each["parent_id"] == root["span_id"]]
        runs = [each["duration_ms"] for each in own if each["name"] == "run"]
        assert (entry["run_ms"] is None) == (not runs)
        assert entry["run_ms"] is None or any(abs(entry["run_ms"] - r) < 0.0021 for r in runs)
        queues = [each for each in own if each["name"] == "queue"]
        if entry["kind"] == "request" and queues and entry["endpoint"] == "/square":
            waited = {
                round(sum(queue["attributes"].get(key, 0.0) for key in WAITS.values()), 2): queue
                for queue in queues
            }
            close = min(waited, key=lambda each: abs(each - entry["wait_ms"]))
            assert abs(close - entry["wait_ms"]) < 0.02
            attributes = waited[close]["attributes"]
            assert entry["batch_size"] == attributes["spanserve.batch.size"]
            assert entry["reason"] == attributes["spanserve.release_reason"]
            assert entry["batch_trace_id"] == attributes.get("spanserve.batch.trace_id")


def test_a_request_leads_to_its_batch_and_the_batch_back(server: Serving) -> None:
    [batch, *_] = entries(server, kind="batch", status="error")
    trace = get(server, f"traces/{batch['trace_id']}")
    members = {link["trace_id"] for link in trace["spans"][0]["links"]}
    assert members
    listed = {
        each["trace_id"]
        for each in entries(server, kind="request")
        if each["batch_trace_id"] == batch["trace_id"]
    }
    assert listed <= members
    timeline = get(server, "timeline", endpoint="/square")
    requests, batches = timeline["requests"], timeline["batches"]
    assert {len(column) for column in requests.values()} == {len(requests["trace_id"])}
    led = {
        trace_id: batches["trace_id"][at]
        for trace_id, at in zip(requests["trace_id"], requests["batch"], strict=True)
        if at >= 0
    }
    assert set(led.values()) == set(batches["trace_id"])
    for kind, moments in (("requests", ["start_ms", "queued_ms", "released_ms", "run_ms"]),):
        for row in zip(*(timeline[kind][each] for each in moments), strict=True):
            there = [each for each in row if each is not None]
            assert there == sorted(there)


FILTERS: list[tuple[dict[str, Any], Any]] = [
    ({"endpoint": "/plain"}, lambda e: e["endpoint"] == "/plain"),
    ({"endpoint": "/none"}, lambda _: False),
    ({"kind": "batch"}, lambda e: e["kind"] == "batch"),
    ({"status": "200"}, lambda e: e["status"] == 200),
    ({"status": "4xx"}, lambda e: e["status"] is not None and e["status"] // 100 == 4),
    ({"status": "error"}, lambda e: e["error"]),
    ({"min_ms": 1}, lambda e: e["duration_ms"] >= 1),
    ({"max_ms": 1}, lambda e: e["duration_ms"] <= 1),
    ({"batch_min": 2}, lambda e: (e["batch_size"] or 0) >= 2),
    ({"batch_max": 1}, lambda e: (e["batch_size"] or 0) <= 1),
    ({"reason": "idle"}, lambda e: e["reason"] == "idle"),
    ({"status": "5xx", "endpoint": "/plain"}, lambda e: e["status"] == 500 and "p" in e["name"]),
]


@pytest.mark.parametrize(("query", "passes"), FILTERS, ids=[str(query) for query, _ in FILTERS])
def test_a_filter_leaves_what_passes_in_every_list(
    server: Serving, query: dict[str, Any], passes: Any
) -> None:
    every = entries(server, limit=1000)
    wanted = [each["trace_id"] for each in every if passes(each)]
    if query.get("endpoint") == "/plain" and "status" in query:
        wanted = [e["trace_id"] for e in every if e["status"] == 500 and e["endpoint"] == "/plain"]
    assert [each["trace_id"] for each in entries(server, limit=5, **query)] == wanted
    assert sorted(get(server, "points", **query)["trace_id"]) == sorted(wanted)


@pytest.mark.parametrize("sort", ["start", "duration", "batch_size"])
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_pages_in_any_order_have_every_entry_once(server: Serving, sort: str, order: str) -> None:
    key = {"start": "start_ms", "duration": "duration_ms", "batch_size": "batch_size"}[sort]
    found = entries(server, sort=sort, order=order, limit=4)
    assert len(found) == len(entries(server, limit=1000))
    values = [each[key] or 0 for each in found]
    assert values == sorted(values, reverse=order == "desc")


def test_a_time_range_is_kept(server: Serving) -> None:
    every = entries(server, limit=1000, order="asc")
    first, last = every[10]["start_ms"], every[20]["start_ms"]
    some = entries(server, since_ms=first - 0.001, until_ms=last + 0.001, order="asc")
    assert [each["trace_id"] for each in some] == [each["trace_id"] for each in every[10:21]]


@pytest.mark.parametrize(
    ("text", "least"),
    [("ONERROR", 1), ("größer", 1), ("multiply", 1), ("no such words", 0)],
)
def test_a_text_is_found_in_names_and_values(server: Serving, text: str, least: int) -> None:
    ids = [each["trace_id"] for each in entries(server, text=text, limit=1000)]
    told = {
        each["trace_id"]
        for each in entries(server, limit=1000)
        if text.lower() in get_text(server, each["trace_id"]).lower()
    }
    assert set(ids) == told
    assert bool(ids) == bool(least)


def get_text(server: Serving, trace_id: str) -> str:
    """Return all texts of a trace, as they are."""
    spans = get(server, f"traces/{trace_id}")["spans"]
    return json.dumps(spans, ensure_ascii=False).replace('\\"', '"')


def test_an_id_finds_its_trace(server: Serving) -> None:
    wanted = entries(server, limit=5)[3]["trace_id"]
    assert wanted in {each["trace_id"] for each in entries(server, text=wanted)}


def test_values_that_javascript_would_change_come_as_texts(server: Serving) -> None:
    [one, *_] = entries(server, text="multiply", kind="request")
    spans = get(server, f"traces/{one['trace_id']}")["spans"]
    [multiply] = [each for each in spans if each["name"] == "multiply"]
    attributes = {
        key: value for key, value in multiply["attributes"].items() if key != "spanserve.copy_of"
    }
    assert attributes == {
        "note": HOSTILE,
        "huge": "1152921504606846976",
        "odd": "nan",
        "words": ["a", "é"],
    }


def test_the_breakdown_is_of_the_same_requests_as_the_list(server: Serving) -> None:
    told = get(server, "breakdown", endpoint="/square")
    requests = entries(server, endpoint="/square", kind="request", limit=1000)
    assert told["requests"] == len(requests)
    assert told["errors"] == sum(each["error"] for each in requests)
    lengths = sorted(each["duration_ms"] for each in requests)
    assert told["total"]["p50"] == pytest.approx(lengths[len(lengths) // 2], abs=0.002)
    shares = sum(part["share"] for part in told["parts"])
    assert 0.99 < shares < 1.2
    batches = entries(server, endpoint="/square", kind="batch", limit=1000)
    sizes = Counter(each["batch_size"] for each in [*batches, *requests] if in_sizes(each))
    assert told["batch_sizes"] == [[size, count] for size, count in sorted(sizes.items())]


def in_sizes(entry: dict[str, Any]) -> bool:
    return bool(entry["kind"] == "batch" or entry["batch_size"] == 1)


def test_endpoints_and_status_add_up(server: Serving) -> None:
    told = {each["endpoint"]: each for each in get(server, "endpoints")["endpoints"]}
    assert (told["/square"]["requests"], told["/plain"]["requests"]) == (19, 16)
    status = get(server, "status")
    assert status["service"] == "Shapes"
    assert status["bytes"] < status["max_bytes"]
    assert status["dropped"] == {}


def test_downloads_are_taken_by_strict_readers(server: Serving) -> None:
    with OtlpHttpSink() as sink:
        total = 0
        for entry in entries(server, limit=1000):
            path = f"{server.url}/traces/api/traces/{entry['trace_id']}"
            answer = httpx.get(f"{path}/otlp.json")
            name = f'attachment; filename="{entry["trace_id"]}.otlp.json"'
            assert answer.headers["content-disposition"] == name
            body = answer.json()
            for span_ in body["resourceSpans"][0]["scopeSpans"][0]["spans"]:
                total += 1
                _as_protobuf_has_it(span_)
            request = json_format.ParseDict(body, ExportTraceServiceRequest())
            sink.take(request, {}, "/v1/traces")
            spans = read_spans(httpx.get(f"{path}/zipkin.json").content)
            assert [problem for each in spans for problem in violations(each)] == []
            assert len(spans) == len(get(server, f"traces/{entry['trace_id']}")["spans"])
        assert len(sink.wait_for_spans(total)) == total


def _as_protobuf_has_it(span_: dict[str, Any]) -> None:
    """Turn ids from hex, as OTLP has them, to base64, as protobuf's JSON does."""
    for each in (span_, *span_.get("links", ())):
        for key in ("traceId", "spanId", "parentSpanId"):
            if key in each:
                each[key] = base64.b64encode(bytes.fromhex(each[key])).decode()


def test_a_subtree_is_pasted_as_text(server: Serving) -> None:
    [one, *_] = entries(server, text="multiply", kind="request")
    path = f"{server.url}/traces/api/traces/{one['trace_id']}"
    spans = get(server, f"traces/{one['trace_id']}")["spans"]
    [run] = [each for each in spans if each["name"] == "run"]
    whole = httpx.get(f"{path}/text")
    assert whole.headers["content-type"] == "text/plain; charset=utf-8"
    assert len(whole.text.splitlines()) == len(spans) + 1
    part = httpx.get(f"{path}/text", params={"span": run["span_id"]}).text.splitlines()
    assert [line.split("|")[0].strip() for line in part[1:]] == ["run", "multiply"]
    assert HOSTILE in part[2]


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        (f"traces/{'0' * 31}1", 404, "no_trace"),
        (f"traces/{'0' * 31}1/text", 404, "no_trace"),
        (f"traces/{'0' * 31}1/otlp.json", 404, "no_trace"),
        ("traces/zz", 422, "invalid_query"),
        ("traces?limit=0", 422, "invalid_query"),
        ("traces?limit=100000", 422, "invalid_query"),
        ("traces?sort=size", 422, "invalid_query"),
        ("traces?cursor=x", 422, "invalid_query"),
        ("traces?cursor=9999999999999999999.ffffffffffffffff", 200, ""),
        ("traces?since_ms=nan", 422, "invalid_query"),
        ("traces?since_ms=1e300&until_ms=-1e300", 200, ""),
        ("traces?status=9xx", 422, "invalid_query"),
        ("traces?kind=part", 422, "invalid_query"),
        ("traces?batch_min=-1", 422, "invalid_query"),
        ("timeline?limit=1000000", 422, "invalid_query"),
        ("nothing", 404, "not_found"),
    ],
)
def test_what_cannot_be_asked_is_said(server: Serving, path: str, status: int, code: str) -> None:
    answer = httpx.get(f"{server.url}/traces/api/{path}")
    assert answer.status_code == status, answer.text
    if code:
        told = answer.json()
        assert (set(told), told["code"]) == ({"code", "message"}, code)


def test_every_answer_is_as_its_own_openapi_document_says(server: Serving) -> None:
    document = get(server, "openapi.json")
    [some, *_] = entries(server)
    for path, operations in document["paths"].items():
        asked = path.replace("{trace_id}", some["trace_id"])
        answer = httpx.get(f"{server.url}/traces{asked}")
        assert answer.status_code == 200
        content = operations["get"]["responses"]["200"]["content"]
        if "application/json" in content:
            schema = {**content["application/json"]["schema"], "components": document["components"]}
            jsonschema_rs.validate(schema, answer.json())
