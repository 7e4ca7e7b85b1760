"""The main job: requests to a server as users start it, and their traces at every backend."""

import asyncio
import json
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from spanserve import Span, SpanKind
from support.backends import KINDS, backend
from support.holding import HELD, UNTRACED, in_one_batch, in_one_crowd
from support.serving import subprocess_server
from support.traces import check_all, check_batches, traces

Drive = Callable[[httpx.AsyncClient], Awaitable[list[httpx.Response]]]

MEMBER = ["POST /predict", "decode", "encode", "multiply", "queue", "run", "scale"]
BATCH = ["batch /predict", "collate", "multiply", "run", "scale", "split"]
TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"

CALLERS: Mapping[str, Mapping[str, str]] = {
    "traceparent": {"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01"},
    "b3": {"b3": f"{TRACE_ID}-{SPAN_ID}-1"},
    "X-B3-*": {"X-B3-TraceId": TRACE_ID, "X-B3-SpanId": SPAN_ID, "X-B3-Sampled": "1"},
    "uber-trace-id": {"uber-trace-id": f"{TRACE_ID}:{SPAN_ID}:0:1"},
}


async def exported(
    kind: str, tmp_path: Path, drive: Drive, **tracing: Any
) -> tuple[list[httpx.Response], list[Span]]:
    """Serve with a backend's tracer, drive, stop; return the answers and what was exported."""
    with backend(kind) as receiver:
        config = tmp_path / "config.yaml"
        config.write_text(
            json.dumps({"tracing": {**receiver.tracing, "excluded_urls": UNTRACED, **tracing}})
        )
        with subprocess_server(str(HELD), "--config", str(config)) as server:
            limits = httpx.Limits(max_connections=None)
            async with httpx.AsyncClient(base_url=server.url, limits=limits, timeout=60) as client:
                answers = await drive(client)
            server.stop(signal.SIGTERM)
    return answers, receiver.spans()


def names(spans: Sequence[Span]) -> list[str]:
    return sorted(span.name for span in spans)


def roots(spans: Sequence[Span]) -> list[Span]:
    return [span for span in spans if span.kind is SpanKind.SERVER]


@pytest.mark.parametrize("kind", KINDS)
async def test_every_trace_of_500_concurrent_requests_is_whole(kind: str, tmp_path: Path) -> None:
    async def drive(client: httpx.AsyncClient) -> list[httpx.Response]:
        return list(
            await asyncio.gather(*(client.post("/predict", json=[n, n]) for n in range(500)))
        )

    answers, spans = await exported(kind, tmp_path, drive)
    assert [answer.json() for answer in answers] == [[2.0 * n] * 2 for n in range(500)]
    check_all(spans)
    assert {answer.headers["X-Trace-Id"] for answer in answers} == {
        root.trace_id for root in roots(spans)
    }
    assert len(roots(spans)) == 500
    assert max(Counter((span.trace_id, span.span_id) for span in spans).values()) == 1
    assert sum(len(span.links) for span in spans if span.name == "batch /predict") > 250


@pytest.mark.parametrize("kind", KINDS)
async def test_a_batch_of_200_is_linked_to_each_of_its_members(kind: str, tmp_path: Path) -> None:
    async def drive(client: httpx.AsyncClient) -> list[httpx.Response]:
        return await in_one_crowd(client, range(200))

    answers, spans = await exported(kind, tmp_path, drive)
    assert [answer.json() for answer in answers] == [2.0 * n for n in range(200)]
    check_all(spans)
    [batch] = [span for span in spans if span.name == "batch /predict"]
    assert len(batch.links) == 200
    assert batch.attributes["spanserve.batch.size"] == 200
    assert {link.trace_id for link in batch.links} == {root.trace_id for root in roots(spans)}
    by_id = traces(spans)
    assert names(by_id.pop(batch.trace_id)) == BATCH
    assert [names(trace) for trace in by_id.values()] == [MEMBER] * 200


@pytest.mark.parametrize("kind", KINDS)
async def test_callers_traces_of_every_format_are_continued(kind: str, tmp_path: Path) -> None:
    headers = dict(enumerate(CALLERS.values()))

    async def drive(client: httpx.AsyncClient) -> list[httpx.Response]:
        return await in_one_batch(client, [1, 2, 3, 4, 5], headers)

    answers, spans = await exported(kind, tmp_path, drive)
    joined = [root for root in roots(spans) if root.trace_id == TRACE_ID]
    assert [root.parent_id for root in joined] == [SPAN_ID] * len(CALLERS)
    assert [answer.headers["X-Trace-Id"] == TRACE_ID for answer in answers] == [True] * 4 + [False]
    check_all(spans, remote_parents={TRACE_ID: SPAN_ID})
    [batch] = [span for span in spans if span.name == "batch /predict"]
    assert batch.trace_id != TRACE_ID
    assert batch.parent_id is None
    assert [link.trace_id for link in batch.links][:4] == [TRACE_ID] * 4


@pytest.mark.parametrize("kind", KINDS)
async def test_a_failed_run_is_an_error_on_the_batch_and_on_its_members(
    kind: str, tmp_path: Path
) -> None:
    async def drive(client: httpx.AsyncClient) -> list[httpx.Response]:
        return await in_one_batch(client, [1, -1])

    answers, spans = await exported(kind, tmp_path, drive)
    check_all(spans)
    assert [answer.status_code for answer in answers] == [500, 500]
    failed = sorted((span.name, span.error) for span in spans if span.error is not None)
    message = "a number below zero"
    assert failed == [
        ("POST /predict", ""),
        ("POST /predict", ""),
        ("batch /predict", ""),
        *[("run", message)] * 3,
        *[("scale", message)] * 3,
    ]
    assert {span.attributes["error.type"] for span in spans if span.error is not None} == {
        "ValueError"
    }


async def test_an_unsampled_member_is_counted_and_not_linked(tmp_path: Path) -> None:
    async def drive(client: httpx.AsyncClient) -> list[httpx.Response]:
        deny = {"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-00"}
        return await in_one_batch(client, [1, 2, 3], {1: deny})

    _, spans = await exported("zipkin", tmp_path, drive)
    check_batches(spans, unsampled=1)
    [batch] = [span for span in spans if span.name == "batch /predict"]
    assert batch.attributes["spanserve.batch.size"] == 3
    assert [link.attributes["position"] for link in batch.links] == [0, 2]
    assert TRACE_ID not in traces(spans)


async def test_linked_members_carry_the_reference_and_not_the_run(tmp_path: Path) -> None:
    async def drive(client: httpx.AsyncClient) -> list[httpx.Response]:
        return await in_one_batch(client, [1, 2])

    _, spans = await exported("zipkin", tmp_path, drive, batch_spans="linked")
    assert sorted(map(names, traces(spans).values())) == [
        ["POST /predict", "decode", "encode", "queue"],
        ["POST /predict", "decode", "encode", "queue"],
        BATCH,
    ]


async def test_code_in_an_async_endpoint_knows_its_place_in_the_trace(tmp_path: Path) -> None:
    async def drive(client: httpx.AsyncClient) -> list[httpx.Response]:
        return [await client.post("/ids")]

    [answer], spans = await exported("zipkin", tmp_path, drive)
    trace_id, span_id, traceparent = answer.json()
    [run] = [span for span in spans if span.name == "run"]
    assert (run.trace_id, run.span_id) == (trace_id, span_id)
    assert traceparent == f"00-{trace_id}-{span_id}-01"
