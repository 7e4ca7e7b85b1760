"""The main job: requests to a server as users start it, and their traces at every backend.

Each test runs against strict sinks of our own and against real servers, read back through
their query APIs. Zipkin lower-cases names, and so does every comparison here.
"""

import json
import secrets
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from spanserve import Span, SpanKind
from support.backends import KINDS, backend
from support.holding import HELD, UNTRACED, all_at_once, in_one_batch, in_one_crowd, metric
from support.serving import subprocess_server
from support.traces import check_all, check_batches, traces

Drive = Callable[[httpx.AsyncClient], Awaitable[list[httpx.Response]]]
Exported = Callable[..., Awaitable[tuple[list[httpx.Response], Sequence[Span]]]]

MEMBER = ["decode", "encode", "multiply", "post /predict", "queue", "run", "scale"]
BATCH = ["batch /predict", "collate", "multiply", "run", "scale", "split"]
CALLER = "00f067aa0ba902b7"


def callers(trace_id: str) -> dict[int, Mapping[str, str]]:
    """Return the headers of a caller's span in each format, for the first four items."""
    formats = [
        {"traceparent": f"00-{trace_id}-{CALLER}-01"},
        {"b3": f"{trace_id}-{CALLER}-1"},
        {"X-B3-TraceId": trace_id, "X-B3-SpanId": CALLER, "X-B3-Sampled": "1"},
        {"uber-trace-id": f"{trace_id}:{CALLER}:0:1"},
    ]
    return dict(enumerate(formats))


async def served(
    tmp_path: Path, drive: Drive, tracing: Mapping[str, Any]
) -> tuple[list[httpx.Response], int]:
    """Serve in a process of its own, drive, stop; return the answers and how many spans went."""
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps({"tracing": tracing}))
    with subprocess_server(str(HELD), "--config", str(config)) as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
            answers = await drive(client)
            recorded = await metric(client, "spanserve_spans_recorded_total")
        assert server.stop(signal.SIGTERM) == 0, server.text()
    return answers, int(recorded)


@pytest.fixture
def exported(tmp_path: Path, request: pytest.FixtureRequest) -> Exported:
    """Serves with a backend's tracer, drives and stops; returns what came of it."""

    async def run(
        kind: str, drive: Drive, **more: Any
    ) -> tuple[list[httpx.Response], Sequence[Span]]:
        service = f"held-{secrets.token_hex(4)}"
        with backend(kind, request) as receiver:
            own = {"excluded_urls": UNTRACED, "service_name": service}
            tracing = {**receiver.tracing, **own, **more}
            answers, recorded = await served(tmp_path, drive, tracing)
        return answers, receiver.spans(service, recorded)

    return run


def names(spans: Sequence[Span]) -> list[str]:
    return sorted(span.name.lower() for span in spans)


def failures(spans: Sequence[Span]) -> list[tuple[str, str]]:
    """Return the spans that are errors, by name, in their order in time."""
    ordered = sorted(spans, key=lambda span: (span.start_ns, -span.end_ns))
    return [(span.name.lower(), span.error) for span in ordered if span.error is not None]


def roots(spans: Sequence[Span]) -> list[Span]:
    return [span for span in spans if span.kind is SpanKind.SERVER]


def batches(spans: Sequence[Span]) -> list[Span]:
    return [span for span in spans if span.name == "batch /predict"]


@pytest.mark.parametrize("kind", KINDS)
async def test_every_trace_of_500_concurrent_requests_is_whole(
    kind: str, exported: Exported
) -> None:
    async def drive(client: httpx.AsyncClient) -> list[httpx.Response]:
        return await all_at_once(client.base_url, [[n, n] for n in range(500)])

    answers, spans = await exported(kind, drive)
    assert [answer.json() for answer in answers] == [[2.0 * n] * 2 for n in range(500)]
    check_all(spans)
    assert {answer.headers["X-Trace-Id"] for answer in answers} == {
        root.trace_id for root in roots(spans)
    }
    assert len(roots(spans)) == 500
    assert max(Counter((span.trace_id, span.span_id) for span in spans).values()) == 1
    assert sum(len(batch.links) for batch in batches(spans)) > 250


@pytest.mark.parametrize("kind", KINDS)
async def test_a_batch_of_200_is_linked_to_each_of_its_members(
    kind: str, exported: Exported
) -> None:
    async def drive(client: httpx.AsyncClient) -> list[httpx.Response]:
        return await in_one_crowd(client, range(200))

    answers, spans = await exported(kind, drive)
    assert [answer.json() for answer in answers] == [2.0 * n for n in range(200)]
    check_all(spans)
    [batch] = batches(spans)
    assert len(batch.links) == 200
    assert batch.attributes["spanserve.batch.size"] == 200
    assert {link.trace_id for link in batch.links} == {root.trace_id for root in roots(spans)}
    by_id = traces(spans)
    assert names(by_id.pop(batch.trace_id)) == BATCH
    assert [names(trace) for trace in by_id.values()] == [MEMBER] * 200


@pytest.mark.parametrize("kind", KINDS)
async def test_callers_traces_of_every_format_are_continued(kind: str, exported: Exported) -> None:
    trace_id = secrets.token_hex(16)

    async def drive(client: httpx.AsyncClient) -> list[httpx.Response]:
        return await in_one_batch(client, [1, 2, 3, 4, 5], callers(trace_id))

    answers, spans = await exported(kind, drive)
    joined = [root for root in roots(spans) if root.trace_id == trace_id]
    assert [root.parent_id for root in joined] == [CALLER] * 4
    assert [answer.headers["X-Trace-Id"] == trace_id for answer in answers] == [True] * 4 + [False]
    check_all(spans, remote_parents={trace_id: CALLER})
    [batch] = batches(spans)
    assert batch.trace_id != trace_id
    assert batch.parent_id is None
    assert [link.trace_id for link in batch.links][:4] == [trace_id] * 4


@pytest.mark.parametrize("kind", KINDS)
async def test_one_poisoned_item_of_eight_is_found_and_its_neighbours_are_answered(
    kind: str, exported: Exported
) -> None:
    async def drive(client: httpx.AsyncClient) -> list[httpx.Response]:
        return await in_one_batch(client, [0, 1, 2, 3, 4, -5, 6, 7])

    answers, spans = await exported(kind, drive)
    check_all(spans)
    assert [answer.status_code for answer in answers] == [200] * 5 + [500] + [200] * 2
    [batch] = batches(spans)
    own = [span for span in spans if span.trace_id == batch.trace_id]
    assert names(own) == sorted(
        ["batch /predict", *["collate", "run", "scale"] * 7, *["split", "multiply"] * 3]
        + ["retry"] * 6
    )
    message = "a number below zero"
    assert failures(own) == [("batch /predict", ""), *[("run", message), ("scale", message)] * 4]
    members = [each for trace_id, each in traces(spans).items() if trace_id != batch.trace_id]
    assert sorted(map(failures, members)) == [
        *[[]] * 7,
        [("post /predict", ""), ("run", message), ("scale", message)],
    ]
    runs = Counter(sum(span.name == "run" for span in each) for each in members)
    assert runs == {2: 4, 3: 2, 4: 2}  # the good half; the good quarter; the culprit, its neighbour
    assert {span.attributes["error.type"] for span in spans if span.error is not None} == {
        "ValueError"
    }


async def test_an_unsampled_member_is_counted_and_not_linked(exported: Exported) -> None:
    trace_id = secrets.token_hex(16)

    async def drive(client: httpx.AsyncClient) -> list[httpx.Response]:
        deny = {"traceparent": f"00-{trace_id}-{CALLER}-00"}
        return await in_one_batch(client, [1, 2, 3], {1: deny})

    _, spans = await exported("zipkin", drive)
    check_batches(spans, unsampled=1)
    [batch] = batches(spans)
    assert batch.attributes["spanserve.batch.size"] == 3
    assert [link.attributes["position"] for link in batch.links] == [0, 2]
    assert trace_id not in traces(spans)


async def test_linked_members_carry_the_reference_and_not_the_run(exported: Exported) -> None:
    async def drive(client: httpx.AsyncClient) -> list[httpx.Response]:
        return await in_one_batch(client, [1, 2])

    _, spans = await exported("zipkin", drive, batch_spans="linked")
    assert sorted(map(names, traces(spans).values())) == [
        BATCH,
        ["decode", "encode", "post /predict", "queue"],
        ["decode", "encode", "post /predict", "queue"],
    ]


async def test_code_in_an_async_endpoint_knows_its_place_in_the_trace(exported: Exported) -> None:
    async def drive(client: httpx.AsyncClient) -> list[httpx.Response]:
        return [await client.post("/ids")]

    [answer], spans = await exported("zipkin", drive)
    trace_id, span_id, traceparent = answer.json()
    [run] = [span for span in spans if span.name == "run"]
    assert (run.trace_id, run.span_id) == (trace_id, span_id)
    assert traceparent == f"00-{trace_id}-{span_id}-01"
