"""A backend that is refused, hangs, fails or resets: no request notices, and drops are counted."""

import asyncio
import json
import signal
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.holding import HELD, UNTRACED
from support.serving import metrics_of, subprocess_server
from support.zipkin_sink import ZipkinSink

MAX_SPANS = 500
REQUESTS = 400


def closed_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


async def all_answered(url: str) -> dict[str, float]:
    """Send all requests at once, check each answer, and return the metrics afterwards."""
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, limits=limits, timeout=60) as client:
        answers = await asyncio.gather(*(client.post("/predict", json=n) for n in range(REQUESTS)))
        assert [answer.json() for answer in answers] == [2.0 * n for n in range(REQUESTS)]
        return metrics_of((await client.get("/metrics")).text)


def write_config(path: Path, url: str) -> str:
    tracing: dict[str, Any] = {
        "type": "zipkin",
        "zipkin": {"url": url, "timeout_s": 0.3},
        "excluded_urls": UNTRACED,
        "queue": {"max_spans": MAX_SPANS, "flush_interval_ms": 10, "retry_for_s": 600},
    }
    path.write_text(json.dumps({"tracing": tracing, "server": {"drain_timeout_s": 5}}))
    return str(path)


def check_counts(metrics: dict[str, float]) -> None:
    """Memory is bounded, and every span that is neither delivered nor waiting is counted."""
    tracer = 'tracer="zipkin"'
    recorded = metrics[f"spanserve_spans_recorded_total{{{tracer}}}"]
    waiting = metrics[f"spanserve_spans_waiting{{{tracer}}}"]
    dropped = sum(v for k, v in metrics.items() if k.startswith("spanserve_spans_dropped_total"))
    assert recorded > MAX_SPANS * 4
    # What waits is the queue and, at most, one export that is under way or handed over again.
    assert waiting <= MAX_SPANS + 512 + 10
    assert dropped > 0
    assert recorded >= waiting + dropped


@pytest.mark.parametrize("fault", ["refused", "hangs", "500", "resets"])
async def test_no_request_fails_with_its_backend(fault: str, tmp_path: Path) -> None:
    with ZipkinSink() as sink:
        url = sink.url
        if fault == "refused":
            url = f"http://127.0.0.1:{closed_port()}/api/v2/spans"
        elif fault == "hangs":
            sink.hang()
        elif fault == "500":
            sink.answer(500)
        else:
            sink.reset()
        config = write_config(tmp_path / "config.yml", url)
        with subprocess_server(str(HELD), "--config", config) as server:
            check_counts(await all_answered(server.url))
            assert server.stop(signal.SIGTERM) == 0, server.text()
    said = [line for line in server.log if "tracer zipkin cannot deliver" in line]
    assert len(said) == 1, server.text()


async def test_a_backend_that_comes_back_gets_what_waited(tmp_path: Path) -> None:
    with ZipkinSink() as sink:
        sink.answer(503, times=1)
        config = write_config(tmp_path / "config.yml", sink.url)
        with subprocess_server(str(HELD), "--config", config) as server:
            async with httpx.AsyncClient(base_url=server.url) as client:
                assert (await client.post("/predict", json=1)).json() == 2
            assert server.stop(signal.SIGTERM) == 0, server.text()
    assert len([span for span in sink.spans if span.get("kind") == "SERVER"]) == 1
    assert sink.violations == []
