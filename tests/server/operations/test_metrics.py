"""`/metrics`: of all workers, in both formats, with the traces to look at."""

import signal
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from spanserve import api, service
from spanserve.batching.tally import BOUNDS_S, Durations, Tally
from spanserve.tracing.recording.record import BatchRecord, ItemRecord
from support.oracle.parts import waits
from support.serving import metrics_of, serving, subprocess_server, until
from support.traces import Keeps

HELD = Path(__file__).parents[2] / "support" / "services" / "held.py"
OPEN_METRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}
REQUESTS = 'spanserve_requests_total{endpoint="/predict",status="200"}'


def open_metrics(text: str) -> list[Metric]:
    """Parse strictly."""
    return list(text_string_to_metric_families(text))  # type: ignore[no-untyped-call]  # it has no types


@service
class Picky:
    @api(batch=True)
    def check(self, numbers: np.ndarray) -> np.ndarray:
        """Refuse what is below zero."""
        if (numbers < 0).any():
            raise ValueError("below zero")
        return numbers


IN_SECONDS = {"spanserve_run_seconds", "spanserve_queue_wait_seconds"}
TEXT, OPEN = "text/plain", "application/openmetrics-text"
ACCEPTS = {
    "": TEXT,
    "*/*": TEXT,
    OPEN: OPEN,
    f"{TEXT}, {OPEN}": TEXT,
    f"{OPEN}, {TEXT}": OPEN,
    f"{TEXT};q=0.5, {OPEN};q=0.9": OPEN,
    f"{OPEN};q=0.5, {TEXT};q=0.9": TEXT,
    f"{OPEN};q=0.5, */*": TEXT,
    f"{OPEN};q=0.5, */*;q=0.1": OPEN,
    f"{OPEN};q=0": TEXT,
    f"application/json, {OPEN};q=0.2": OPEN,
    (  # as Prometheus 3 asks
        f"{OPEN};version=1.0.0;escaping=allow-utf-8;q=0.6,{OPEN};version=0.0.1;q=0.5,"
        f"{TEXT};version=1.0.0;escaping=allow-utf-8;q=0.4,{TEXT};version=0.0.4;q=0.3,*/*;q=0.2"
    ): OPEN,
}


def test_the_format_is_the_one_that_a_client_likes_best() -> None:
    with serving(Picky) as server:
        for accept, expected in ACCEPTS.items():
            answer = httpx.get(f"{server.url}/metrics", headers={"Accept": accept})
            assert answer.headers["content-type"].startswith(f"{expected};"), accept


def test_open_metrics_say_the_unit_of_what_is_in_seconds() -> None:
    with serving(Picky) as server:
        text = httpx.get(f"{server.url}/metrics", headers=OPEN_METRICS).text
    assert {each.name for each in open_metrics(text) if each.unit == "seconds"} == IN_SECONDS
    assert "# UNIT spanserve_run_seconds seconds\n" in text


def numbers(url: str) -> set[str]:
    """Return the workers that `/metrics` names."""
    text = httpx.get(f"{url}/metrics").text
    return {line.split('"')[1] for line in text.splitlines() if "worker_up{" in line}


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Any]:
    config = tmp_path / "config.yaml"
    config.write_text("server: {workers: 2}\n")
    with subprocess_server(str(HELD), "--config", str(config)) as server:
        assert until(lambda: len(numbers(server.url)) == 2)
        yield server
        assert server.stop(signal.SIGTERM) == 0, server.text()


def test_any_worker_tells_the_numbers_of_all(workers: Any) -> None:
    def send(number: int) -> int:
        return httpx.post(f"{workers.url}/predict", json=number).status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(send, range(200))) == {200}
    told = [metrics_of(httpx.get(f"{workers.url}/metrics").text) for _ in range(10)]
    assert {each[REQUESTS] for each in told} == {200}
    sizes = 'spanserve_batch_size_sum{endpoint="/predict"}'
    waits = 'spanserve_queue_wait_seconds_count{endpoint="/predict",for="runner"}'
    assert {(each[sizes], each[waits]) for each in told} == {(200, 200)}
    up = {name: value for name, value in told[0].items() if name.startswith("spanserve_worker_up")}
    assert list(up.values()) == [1, 1]
    busy = [name for name in told[0] if name.startswith("spanserve_runner_busy")]
    assert len(busy) == 2


def test_all_workers_together_are_open_metrics_too(workers: Any) -> None:
    httpx.post(f"{workers.url}/predict", json=1)
    answer = httpx.get(f"{workers.url}/metrics", headers=OPEN_METRICS)
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    families = {family.name: family.unit for family in open_metrics(answer.text)}
    assert {"spanserve_requests", "spanserve_run_seconds", "spanserve_worker_up"} <= {*families}
    assert {name for name, unit in families.items() if unit == "seconds"} == IN_SECONDS


def test_histograms_name_a_trace_to_look_at() -> None:
    kept = Keeps()
    with serving(Picky, tracers=[("kept", kept, {})]) as server:
        trace_id = httpx.post(f"{server.url}/check", json=1).headers["x-trace-id"]
        text = httpx.get(f"{server.url}/metrics", headers=OPEN_METRICS).text
    found = Counter(
        (family.name, sample.exemplar.labels["trace_id"])
        for family in open_metrics(text)
        for sample in family.samples
        if sample.exemplar
    )
    assert found == {
        ("spanserve_run_seconds", trace_id): 1,
        ("spanserve_queue_wait_seconds", trace_id): 2,
    }


def test_without_tracing_there_is_no_trace_to_name() -> None:
    with serving(Picky) as server:
        httpx.post(f"{server.url}/check", json=1)
        text = httpx.get(f"{server.url}/metrics", headers=OPEN_METRICS).text
    assert not [s for family in open_metrics(text) for s in family.samples if s.exemplar]
    assert 'spanserve_run_seconds_count{endpoint="/check"} 1.0' in text


def test_a_batch_that_was_split_is_counted() -> None:
    with serving(Picky) as server, ThreadPoolExecutor(8) as pool:
        post = f"{server.url}/check"

        def send(number: int) -> int:
            return httpx.post(post, json=number).status_code

        def split() -> bool:
            assert Counter(pool.map(send, [1, -1, 2, 3, 4, 5, 6, 7])) == {200: 7, 500: 1}
            return server.metrics()['spanserve_batches_split_total{endpoint="/check"}'] > 0

        assert until(split)
        metrics = server.metrics()
    assert metrics['spanserve_batch_retries_total{endpoint="/check"}'] >= 2


def test_durations_are_counted_where_they_belong() -> None:
    durations = Durations()
    for seconds in (0.0, BOUNDS_S[0], 0.003, 11.0):
        durations.add(round(seconds * 1e9))
    assert [durations.counts[place] for place in (0, 5, len(BOUNDS_S))] == [2, 1, 1]
    assert durations.total_ns == 11_003_100_000
    durations.show(3_000_000, "t")
    assert durations.examples == {5: ("t", 3_000_000)}


times_ns = st.integers(0, 2_000_000) | st.integers(0, 200_000_000)


@given(st.lists(times_ns, min_size=1, max_size=40).map(sorted), times_ns, times_ns)
def test_a_batch_s_waits_are_counted_as_each_item_has_them(
    queued_ns: list[int], free_ns: int, longest_ns: int
) -> None:
    released_ns = max(queued_ns) + longest_ns
    batch = BatchRecord(
        "/predict", "full", len(queued_ns), runner_free_ns=free_ns, released_ns=released_ns
    )
    items = [ItemRecord(None, each_ns, 0) for each_ns in queued_ns]
    tally, for_runner, for_peers = Tally(), Durations(), Durations()
    tally.ran(batch, items)
    for item in items:
        runner_ns, peers_ns, _ = waits(item, batch, released_ns)
        for_runner.add(runner_ns)
        for_peers.add(peers_ns)
    assert vars(tally.waits_for_runner) == vars(for_runner)
    assert vars(tally.waits_for_peers) == vars(for_peers)
