"""What a person reads on Zipkin's page of a trace: every fact once, a batch's members in short."""

import json
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from servers import ZipkinServer
from support.holding import HELD, UNTRACED, in_one_crowd
from support.queries import ZipkinQueries, wait_for
from support.serving import subprocess_server
from support.zipkin_sink import ZipkinSink

MEMBERS = 40


async def served(url: str, service: str, folder: Path, **zipkin: str) -> None:
    """Serve one crowd in a process of its own, with all sent when this returns."""
    config = folder / "config.yaml"
    own = {"type": "zipkin", "service_name": service, "excluded_urls": UNTRACED}
    config.write_text(json.dumps({"tracing": {**own, "zipkin": {"url": url, **zipkin}}}))
    with subprocess_server(str(HELD), "--config", str(config)) as server:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=server.url, limits=limits, timeout=60) as client:
            answers = await in_one_crowd(client, range(MEMBERS))
        assert [answer.status_code for answer in answers] == [200] * len(answers)
        assert server.stop(signal.SIGTERM) == 0


def page(find: Callable[[], Sequence[Mapping[str, Any]]]) -> tuple[Any, Any]:
    """Return the spans of the largest batch, and of one of its members, as Zipkin has them."""
    spans = find()
    batches = [span for span in spans if span["name"] == "batch /predict"]
    batch = max(batches, key=lambda span: int(span["tags"]["spanserve.batch.size"]))
    return batch, next(span for span in spans if span.get("kind") == "SERVER")


def check(batch: Mapping[str, Any], server: Mapping[str, Any]) -> None:
    tags = batch["tags"]
    assert [key for key in tags if "link" in key] == ["linked.trace_ids"]
    assert len(tags["linked.trace_ids"].split(", ")) == int(tags["spanserve.batch.size"]) > 20
    assert (
        not {"client.address", "network.peer.address", "network.peer.port"} & server["tags"].keys()
    )
    assert server["remoteEndpoint"]["ipv4"] == "127.0.0.1"
    assert server["remoteEndpoint"]["port"] > 0


async def test_a_batch_lists_its_members_in_short_where_asked_to(tmp_path: Path) -> None:
    with ZipkinSink() as sink:
        await served(sink.url, "short", tmp_path, links="ids")
        check(*page(lambda: sink.spans))
        assert sink.violations == []


async def test_a_real_zipkin_has_the_members_in_short_and_the_client_once(
    tmp_path: Path, real_zipkin: ZipkinServer
) -> None:
    await served(real_zipkin.spans_url, "short-links", tmp_path, links="ids")
    queries = ZipkinQueries(real_zipkin.url)
    traces = {
        span.trace_id for span in wait_for(lambda: queries.traces("short-links"), MEMBERS * 6)
    }
    raw = [span for trace_id in traces for span in queries.raw_trace(trace_id)]
    check(*page(lambda: raw))
