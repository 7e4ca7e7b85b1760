"""Many requests into real servers: none is lost on the way, and nothing is there twice."""

import asyncio
import json
import secrets
import signal
from collections import Counter
from pathlib import Path

import httpx
import pytest

from spanserve import SpanKind
from support.backends import backend
from support.holding import HELD, metric
from support.serving import subprocess_server
from support.traces import check_all

REQUESTS = 2_000
CLIENTS = 32


async def load(client: httpx.AsyncClient) -> list[httpx.Response]:
    """Send all requests, each client its next one when the last was answered."""
    numbers = iter(range(REQUESTS))

    async def one_client() -> list[httpx.Response]:
        return [await client.post("/predict", json=number) for number in numbers]

    answers = await asyncio.gather(*(one_client() for _ in range(CLIENTS)))
    return [answer for each in answers for answer in each]


# Not over UDP, which may lose packets without any fault of ours.
@pytest.mark.parametrize("kind", ["real zipkin", "real jaeger by otlp-http"])
async def test_of_2000_requests_each_has_its_trace_once(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    service = f"load-{secrets.token_hex(4)}"
    config = tmp_path / "c.yml"
    with backend(kind, request) as receiver:
        config.write_text(json.dumps({"tracing": {**receiver.tracing, "service_name": service}}))
        with subprocess_server(str(HELD), "--config", str(config)) as server:
            async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
                answers = await load(client)
                recorded = await metric(client, "spanserve_spans_recorded_total")
            assert server.stop(signal.SIGTERM) == 0, server.text()

    spans = receiver.spans(service, int(recorded))

    assert {answer.status_code for answer in answers} == {200}
    entries = Counter(span.trace_id for span in spans if span.kind is SpanKind.SERVER)
    assert entries == Counter(answer.headers["X-Trace-Id"] for answer in answers)
    assert entries.total() == REQUESTS
    assert max(Counter((span.trace_id, span.span_id) for span in spans).values()) == 1
    check_all(spans)
