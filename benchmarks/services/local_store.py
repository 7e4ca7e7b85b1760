"""The local tracer's file: `python local_store.py ingest|api SECONDS`. Prints figures as JSON.

`ingest` writes calls of the exporter and counts spans a second of this processor; `api` fills a
file with 100,000 traces, serves it, keeps requests coming, and times each question.
"""

import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np

from spanserve import Column, Links, Resource, Span, SpanKind, Spans
from spanserve_local.store.writer import Writer

REQUESTS: Final = 16
BATCHES: Final = 64
TRACES: Final = 100_000
RATE: Final = 300
RESOURCE: Final = Resource("bench", {"service.name": "bench"})
WORDS: Final = ("cat", "dog", "ship", "tree", "label", "score", "model", "batch", "user", "café")
NS_IN_MS: Final = 1_000_000


def call(seed: int, batches: int = BATCHES, *, began_ns: int, custom: bool = True) -> Spans:
    """Return what a tracer is handed in one call: batches of 16 with all that belongs to them."""
    draw = np.random.default_rng(seed)
    rows = batches * REQUESTS
    batch = np.repeat(np.arange(batches), REQUESTS)
    bits = draw.integers(1, 1 << 63, (rows, 2), np.uint64)
    trace_id = np.frombuffer(bits.astype(">u8").tobytes().hex().encode(), "S32")
    root = bits[:, 1].copy()
    batch_bits = draw.integers(1, 1 << 63, (batches, 2), np.uint64)
    batch_trace = np.frombuffer(batch_bits.astype(">u8").tobytes().hex().encode(), "S32")
    batch_root = batch_bits[:, 1].copy()
    released = began_ns + np.sort(draw.integers(0, 200 * NS_IN_MS, batches))
    started = released + draw.integers(1_000, 200_000, batches)
    ran = started + draw.integers(5 * NS_IN_MS, 12 * NS_IN_MS, batches)
    begun = released[batch] - draw.integers(100_000, 3 * NS_IN_MS, rows)
    queued = begun + draw.integers(10_000, 90_000, rows)
    ended = ran[batch] + draw.integers(10_000, 400_000, rows)
    none = np.zeros(rows, np.intp)

    def column(step: int, name: str, start: Any, end: Any, **more: Any) -> Column:
        ids = root + np.uint64(step)
        given = {"common": [{}], "which": none, "own": {}, **more}
        return Column(name, SpanKind.INTERNAL, trace_id, ids, root, start, end, **given)

    def texts(*, copy: bool) -> list[dict[str, Any]]:
        origin = {"spanserve.copy_of": "0" * 16} if copy else {}
        return [
            {"note": " ".join(random.choices(WORDS, k=8)), "rows": REQUESTS, **origin}  # noqa: S311
            for _ in range(batches)
        ]

    server = {"http.response.status_code": 200, "spanserve.endpoint": "/predict"}
    members = [
        column(
            0,
            "POST /predict",
            begun,
            ended,
            common=[server | {"http.route": "/predict", "client.address": "127.0.0.1"}],
            own={"network.peer.port": np.full(rows, 5000), "spanserve.request_id": trace_id},
        )._replace(kind=SpanKind.SERVER, span_id=root, parent_id=np.zeros(rows, np.uint64)),
        column(1, "decode", begun, queued),
        column(
            2,
            "queue",
            queued,
            started[batch],
            common=[{"spanserve.release_reason": "full"}],
            own={
                "spanserve.batch.size": np.full(rows, REQUESTS),
                "spanserve.batch.trace_id": batch_trace[batch],
                "spanserve.batch.position": np.tile(np.arange(REQUESTS), batches),
                "spanserve.wait.for_peers_ms": (released[batch] - queued).astype("m8[ns]"),
                "spanserve.wait.for_runner_ms": np.zeros(rows, "m8[ns]"),
                "spanserve.wait.for_start_ms": (started - released)[batch].astype("m8[ns]"),
            },
        ),
        column(3, "run", started[batch], ran[batch]),
        column(4, "encode", ran[batch], ended),
    ]
    own_none = np.zeros(batches, np.intp)
    starts = Column(
        *("batch /predict", SpanKind.INTERNAL, batch_trace, batch_root),
        *(np.zeros(batches, np.uint64), released, ran + 1_000),
        [{"spanserve.endpoint": "/predict", "spanserve.release_reason": "full"}],
        own_none,
        {"spanserve.batch.size": np.full(batches, REQUESTS)},
        Links(np.arange(batches + 1) * REQUESTS, trace_id, root + np.uint64(2), {}),
    )
    run = starts._replace(
        name="run",
        span_id=batch_root + np.uint64(3),
        parent_id=batch_root,
        start_ns=started,
        end_ns=ran,
        common=[{}],
        own={},
        links=None,
    )
    batch_block = [starts, run]
    if custom:
        members.insert(
            4,
            column(5, "lookup", started[batch], ran[batch], which=batch)._replace(
                common=texts(copy=True), parent_id=root + np.uint64(3)
            ),
        )
        batch_block.append(
            run._replace(
                name="lookup",
                span_id=batch_root + np.uint64(9),
                common=texts(copy=False),
                which=np.arange(batches),
            )
        )
    return Spans([members, batch_block])


def spans_a_second(calls: Sequence[Sequence[Span]], seconds: float) -> float:
    """Write calls again and again for a while; return spans for each second of processor time."""
    with tempfile.TemporaryDirectory() as folder:
        writer = Writer(Path(folder) / "t.db", RESOURCE, max_bytes=1 << 28, max_age_s=1e6)
        writer.append(calls[0])
        spans, before_ns = 0, time.process_time_ns()
        give_up_s = time.monotonic() + seconds
        while time.monotonic() < give_up_s:
            for each in calls:
                writer.append(each)
                spans += len(each)
        used_s = (time.process_time_ns() - before_ns) / 1e9
        writer.close()
    return spans / used_s


def ingest(seconds: float) -> dict[str, float]:
    """Measure large calls, with custom spans and without, and small ones."""
    now_ns = time.time_ns()
    singles = [list(call(n, 1, began_ns=now_ns)) for n in range(16)]
    kinds: dict[str, Sequence[Sequence[Span]]] = {
        "full calls": [call(n, began_ns=now_ns, custom=False) for n in range(4)],
        "full calls, custom spans and texts": [call(n, began_ns=now_ns) for n in range(4)],
        "calls of one batch": [call(n, 1, began_ns=now_ns) for n in range(64)],
        "calls of one batch, span by span": singles,
    }
    return {name: spans_a_second(calls, seconds) for name, calls in kinds.items()}


def filled(file: Path) -> None:
    """Write 100,000 traces that end now."""
    writer = Writer(file, RESOURCE, max_bytes=1 << 29, max_age_s=1e6)
    calls = TRACES // (BATCHES * (REQUESTS + 1)) + 1
    began_ns = time.time_ns() - calls * 200 * NS_IN_MS
    for number in range(calls):
        writer.append(call(number, began_ns=began_ns + number * 200 * NS_IN_MS))
    writer.close()


@contextmanager
def serving(file: Path) -> Iterator[str]:
    """Serve the file, and a model."""
    with tempfile.TemporaryDirectory() as folder:
        url_file = Path(folder) / "url"
        env = {
            "SPANSERVE__TRACING__TYPE": "local",
            "SPANSERVE__TRACING__LOCAL__PATH": str(file),
            "SPANSERVE__SERVER__PORT": "0",
            "SPANSERVE__SERVER__URL_FILE": str(url_file),
        }
        models = Path(__file__).with_name("models.py")
        command = [sys.executable, "-m", "spanserve", "serve", f"{models}:Noop"]
        server = subprocess.Popen(command, env={**os.environ, **env}, stderr=subprocess.DEVNULL)
        try:
            while not url_file.exists() or not url_file.read_text():
                if server.poll() is not None:
                    raise RuntimeError("the server ended")
                time.sleep(0.05)
            yield url_file.read_text().strip()
        finally:
            server.terminate()
            server.wait()


async def load(url: str) -> None:
    """Send requests at an even rate, for ever."""
    async with httpx.AsyncClient(base_url=url) as client:
        row = [0.5] * 64
        tasks: set[asyncio.Task[Any]] = set()
        while True:
            task = asyncio.create_task(client.post("/predict", json=row))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            await asyncio.sleep(1 / RATE)


async def questions(url: str, seconds: float) -> dict[str, list[float]]:
    """Ask everything in turn; return the times of each, in ms."""
    times: dict[str, list[float]] = {}
    async with httpx.AsyncClient(base_url=f"{url}/traces", timeout=60) as client:

        async def ask(name: str, path: str) -> Any:
            began_s = time.perf_counter()
            answer = await client.get(path)
            times.setdefault(name, []).append((time.perf_counter() - began_s) * 1e3)
            answer.raise_for_status()
            return answer

        listed = await client.get("/api/traces?limit=1000")
        ids = [each["trace_id"] for each in listed.json()["traces"]]
        kept: dict[str, Callable[[], str]] = {
            "the page": lambda: "/",
            "list, newest": lambda: "/api/traces",
            "list, slowest of an endpoint": lambda: (
                "/api/traces?endpoint=/predict&sort=duration&limit=100"
            ),
            "list, errors": lambda: "/api/traces?status=error",
            "points": lambda: "/api/points",
            "one trace": lambda: f"/api/traces/{random.choice(ids)}",  # noqa: S311
            "timeline": lambda: "/api/timeline?endpoint=/predict",
            "breakdown": lambda: "/api/breakdown?endpoint=/predict",
            "endpoints": lambda: "/api/endpoints",
            "status": lambda: "/api/status",
        }
        give_up_s = time.monotonic() + seconds
        while time.monotonic() < give_up_s:
            for name, path in kept.items():
                await ask(name, path())
        for _ in range(3):
            await ask("text search", "/api/traces?text=no+such+word")
    return times


async def asked(url: str, seconds: float) -> dict[str, list[float]]:
    """Ask while requests come in."""
    sending = asyncio.create_task(load(url))
    await asyncio.sleep(1)
    try:
        return await questions(url, seconds)
    finally:
        sending.cancel()
        with suppress(asyncio.CancelledError):
            await sending


def api(seconds: float) -> dict[str, Any]:
    """Measure the read API."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "traces.db"
        filled(file)
        size = file.stat().st_size
        with serving(file) as url:
            first_s = time.perf_counter()
            httpx.get(f"{url}/traces/api/traces", timeout=60).raise_for_status()
            first_ms = (time.perf_counter() - first_s) * 1e3
            times = asyncio.run(asked(url, seconds))
    return {
        "bytes": size,
        "first list after the start": first_ms,
        "times": {
            name: [float(each) for each in np.percentile(values, (50, 95))]
            for name, values in times.items()
        },
    }


if __name__ == "__main__":
    what, seconds = sys.argv[1:]
    print(json.dumps({"ingest": ingest, "api": api}[what](float(seconds))))
