"""A backend that is refused, hangs, fails or resets: no request notices, and drops are counted."""

import json
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

from support.holding import HELD, UNTRACED, all_at_once
from support.serving import (
    SubprocessServer,
    children_of,
    metrics_of,
    refusing_port,
    signal_to,
    subprocess_server,
    until,
)
from support.zipkin_sink import ZipkinSink

MAX_SPANS = 500
REQUESTS = 400
MAX_BATCH_SIZE = 16
SPANS_OF_A_BATCH = 7 * MAX_BATCH_SIZE + 6


async def all_answered(url: str) -> dict[str, float]:
    """Send all requests at once, check each answer, and return the metrics afterwards."""
    answers = await all_at_once(url, range(REQUESTS))
    assert [answer.json() for answer in answers] == [2.0 * n for n in range(REQUESTS)]
    async with httpx.AsyncClient() as client:
        return metrics_of((await client.get(f"{url}/metrics")).text)


def write_config(path: Path, url: str) -> str:
    tracing: dict[str, Any] = {
        "type": "zipkin",
        "zipkin": {"url": url, "timeout_s": 0.3},
        "excluded_urls": UNTRACED,
        "queue": {"max_spans": MAX_SPANS, "flush_interval_ms": 10, "retry_for_s": 600},
    }
    server, batching = {"drain_timeout_s": 5}, {"max_batch_size": MAX_BATCH_SIZE}
    path.write_text(json.dumps({"tracing": tracing, "server": server, "batching": batching}))
    return str(path)


def check_counts(metrics: dict[str, float]) -> None:
    """Memory is bounded, and every span that is neither delivered nor waiting is counted."""
    tracer = 'tracer="zipkin"'
    recorded = metrics[f"spanserve_spans_recorded_total{{{tracer}}}"]
    waiting = metrics[f"spanserve_spans_waiting{{{tracer}}}"]
    dropped = sum(v for k, v in metrics.items() if k.startswith("spanserve_spans_dropped_total"))
    assert recorded > MAX_SPANS * 4
    # What waits is the queue and, at most, one export that is under way or handed over again:
    # the last batch of those that are enough for it comes with all of its spans.
    assert waiting <= MAX_SPANS + (MAX_SPANS - 1 + SPANS_OF_A_BATCH)
    assert dropped > 0
    assert recorded >= waiting + dropped


@pytest.mark.parametrize("fault", ["refused", "hangs", "500", "resets"])
async def test_no_request_fails_with_its_backend(fault: str, tmp_path: Path) -> None:
    with ZipkinSink() as sink, refusing_port() as closed:
        url = sink.url
        if fault == "refused":
            url = f"http://127.0.0.1:{closed}/api/v2/spans"
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


class Books:
    """The books of the one tracer, as `/metrics` has them."""

    def __init__(self, text: str) -> None:
        metrics = metrics_of(text)
        dropped = [v for k, v in metrics.items() if k.startswith("spanserve_spans_dropped_total")]
        sent = [v for k, v in metrics.items() if k.startswith("spanserve_spans_exported_total")]
        self.dropped, self.sent = sum(dropped), sum(sent)
        self.waiting = metrics['spanserve_spans_waiting{tracer="zipkin"}']
        self.recorded = metrics['spanserve_spans_recorded_total{tracer="zipkin"}']
        self.failing = metrics['spanserve_tracer_failing{tracer="zipkin"}']
        self.paused_s = metrics['spanserve_tracer_paused_seconds{tracer="zipkin"}']

    @classmethod
    def of(cls, server: SubprocessServer) -> Self:
        books = cls(httpx.get(f"{server.url}/metrics").text)
        assert books.recorded == books.sent + books.dropped + books.waiting
        return books


def send(server: SubprocessServer, requests: int = 20) -> None:
    with httpx.Client(base_url=server.url) as client:
        for number in range(requests):
            assert client.post("/predict", json=number).json() == 2 * number


def lost_at_stop(server: SubprocessServer) -> int:
    """Stop a server; return how many spans it says were lost."""
    assert server.stop(signal.SIGTERM) == 0, server.text()
    assert "Traceback" not in server.text()
    assert "died" not in server.text()
    found = re.findall(
        r"tracer zipkin lost (\d+) spans|in time; (\d+) spans are lost", server.text()
    )
    assert len(found) == 1, server.text()
    return int("".join(found[0]))


@contextmanager
def served(path: Path, url: str, **queue: float) -> Iterator[SubprocessServer]:
    tracing = {
        "type": "zipkin",
        "zipkin": {"url": url},
        "excluded_urls": UNTRACED,
        "queue": {"flush_interval_ms": 10, "retry_for_s": 600, "flush_timeout_s": 2, **queue},
    }
    config = path / "config.yml"
    config.write_text(json.dumps({"tracing": tracing, "server": {"drain_timeout_s": 2}}))
    with subprocess_server(str(HELD), "--config", str(config)) as server:
        yield server


@pytest.mark.parametrize("fault", ["refused", "hangs", "500"])
def test_what_a_stop_loses_is_said_to_the_span(fault: str, tmp_path: Path) -> None:
    with ZipkinSink() as sink, refusing_port() as closed:
        url = sink.url
        if fault == "refused":
            url = f"http://127.0.0.1:{closed}/api/v2/spans"
        elif fault == "hangs":
            sink.hang()
        else:
            sink.answer(500)
        with served(tmp_path, url) as server:
            send(server)
            assert until(lambda: Books.of(server).recorded >= 120)
            waiting = Books.of(server).waiting
            assert lost_at_stop(server) == waiting > 0


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("as_date", [False, True])
def test_a_backend_that_asks_for_a_pause_gets_it_and_the_queue_waits(
    status: int, *, as_date: bool, tmp_path: Path
) -> None:
    wish = formatdate(time.time() + 3600, usegmt=True) if as_date else "120"
    with ZipkinSink() as sink:
        sink.answer(status, {"Retry-After": wish})
        with served(tmp_path, sink.url, retry_for_s=1) as server:
            send(server)
            assert until(lambda: Books.of(server).paused_s > 0)
            books = Books.of(server)
            assert (books.failing, books.dropped) == (1, 0)
            assert 90 < books.paused_s <= (300 if as_date else 120)
            send(server)
            assert Books.of(server).waiting == Books.of(server).recorded
            assert len(sink.requests) == 1
            sink.accept()
            assert server.stop(signal.SIGTERM) == 0
        assert len(sink.spans) >= 2 * books.recorded
        assert sink.violations == []


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_an_exporter_that_is_stopped_or_killed_is_started_anew_and_what_it_held_is_counted(
    number: signal.Signals, tmp_path: Path
) -> None:
    with ZipkinSink() as sink, served(tmp_path, sink.url, hang_after_s=0.5) as server:
        send(server)
        assert until(lambda: not Books.of(server).waiting)
        (child,) = children_of(server.process.pid)
        signal_to(child, number)
        send(server)
        assert until(lambda: not Books.of(server).waiting)
        send(server)
        assert until(lambda: not Books.of(server).waiting and not Books.of(server).failing)
        books = Books.of(server)
        assert children_of(server.process.pid) != [child]
        assert server.stop(signal.SIGTERM) == 0, server.text()
        assert len(sink.spans) == books.sent == books.recorded - books.dropped
        assert sink.violations == []
        said = [line for line in server.log if "hangs" in line or "died" in line]
        assert len(said) == (1 if number == signal.SIGSTOP else 2), server.text()


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
