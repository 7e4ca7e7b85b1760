"""`/metrics` of several workers, where what was counted stays counted, and a service's own."""

import json
import signal
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from spanserve import api, service
from spanserve.running.metric_sums import added, lasting, together, told
from support.serving import (
    SubprocessServer,
    metrics_of,
    serving,
    signal_to,
    subprocess_server,
    until,
)

COUNTED = Path(__file__).parents[2] / "support" / "services" / "counted.py"
REQUESTS = 'spanserve_requests_total{endpoint="/predict",status="200"}'
PREDICTED = 'predicted_total{kind="number"}'


@pytest.fixture
def workers() -> Iterator[SubprocessServer]:
    with subprocess_server(str(COUNTED), "--workers", "2") as server:
        assert until(lambda: pids(server).keys() == {0, 1})
        yield server
        assert server.stop(signal.SIGTERM) == 0, server.text()
        assert "Traceback" not in server.text()


def pids(server: SubprocessServer) -> dict[int, int]:
    """Return the processes of the workers by their numbers, as far as they answer."""
    found: dict[int, int] = {}
    for _ in range(20):
        if len(found) == 2:
            break
        try:
            answer = httpx.post(f"{server.url}/who", json={})
        except httpx.TransportError:
            continue
        if answer.status_code == 200:
            number, pid = answer.json()
            found[number] = pid
    return found


def scraped(server: SubprocessServer, timeout_s: float = 20) -> dict[str, float] | None:
    """Return the metrics; None where the worker that was asked died, or is too busy."""
    try:
        return metrics_of(httpx.get(f"{server.url}/metrics", timeout=timeout_s).text)
    except httpx.TransportError:
        return None


def predict(server: SubprocessServer, number: int) -> int:
    try:
        return httpx.post(f"{server.url}/predict", json=number, timeout=20).status_code
    except httpx.TransportError:
        return 0


def test_counters_outlive_their_workers(workers: SubprocessServer) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda n: predict(workers, n), range(100))) == [200] * 100
    before = scraped(workers)
    assert before is not None
    assert (before[REQUESTS], before[PREDICTED], before["sizes_sum"]) == (100, 100, 100)
    killed = pids(workers)
    signal_to(killed[0], signal.SIGKILL)
    values: list[float] = []

    def is_back() -> bool:
        found = scraped(workers)
        if found is not None:
            values.append(found[REQUESTS])
        return pids(workers).get(0, killed[0]) != killed[0]

    assert until(is_back)
    assert values == [100] * len(values)
    assert predict(workers, 1) == 200
    after = scraped(workers)
    assert after is not None
    assert (after[REQUESTS], after[PREDICTED], after["sizes_sum"]) == (101, 101, 101)
    assert after['sizes_bucket{le="+Inf"}'] >= before['sizes_bucket{le="+Inf"}']


def some(server: SubprocessServer) -> list[dict[str, float]]:
    """Return what some scrapes find."""
    return [found for _ in range(5) if (found := scraped(server))]


def kill(server: SubprocessServer, number: int) -> None:
    """Kill a worker, and wait for another in its place."""
    before = pids(server)[number]
    signal_to(before, signal.SIGKILL)
    assert until(lambda: pids(server).get(number, before) != before)


def test_counters_never_fall_while_workers_are_killed_under_load(
    workers: SubprocessServer,
) -> None:
    stop = threading.Event()
    answered: list[int] = []

    def load() -> None:
        while not stop.is_set():
            answered.append(predict(workers, 1))

    seen: list[dict[str, float]] = []
    with ThreadPoolExecutor(4) as pool:
        for _ in range(4):
            pool.submit(load)
        try:
            seen += some(workers)
            kill(workers, 1)
            seen += some(workers)
        finally:
            stop.set()
    counters = [name for name in seen[0] if name.endswith(("_total", "_count", "_sum", "_bucket"))]
    fell = {
        name
        for name in counters
        for before, then in pairwise(seen)
        if then.get(name, 0.0) < before[name]
    }
    assert fell == set()
    assert seen[-1][REQUESTS] > seen[0][REQUESTS]


def test_a_worker_that_is_too_busy_to_answer_keeps_its_counters(workers: SubprocessServer) -> None:
    for number in range(50):
        assert predict(workers, number) == 200
    before = scraped(workers)
    assert before is not None
    with ThreadPoolExecutor(1) as pool:
        hog = pool.submit(httpx.post, f"{workers.url}/hog", json=10.0, timeout=30)
        up = [f'spanserve_worker_up{{worker="{number}"}}' for number in (0, 1)]

        def others() -> bool:
            found = scraped(workers, 1.5)
            if found is None:  # the busy one was asked
                return False
            assert (found[REQUESTS], found[PREDICTED]) == (50, 50)
            return sorted(found[each] for each in up) == [0, 1]

        assert until(others)
        assert hog.result().status_code == 200
    assert workers.text().count("does not tell its metrics") == 1


def test_gauges_say_whose_they_are(workers: SubprocessServer) -> None:
    found = scraped(workers)
    assert found is not None
    gauges = {name: value for name, value in found.items() if name.startswith("loaded_models")}
    assert gauges == {'loaded_models{worker="0"}': 1, 'loaded_models{worker="1"}': 2}


def test_a_server_of_one_process_has_the_metrics_of_the_service() -> None:
    with subprocess_server(str(COUNTED)) as server:
        assert pids(server).keys() == {0}
        assert predict(server, 1) == 200
        found = scraped(server)
    assert found is not None
    assert (found[PREDICTED], found["loaded_models"], found["sizes_count"]) == (1, 1, 1)
    assert found["process_cpu_seconds_total"] > 0


@service
class Plain:
    @api
    def same(self, number: int) -> int:
        """Return the number."""
        return number


class Collects(Collector):
    """A collector of a service's."""

    def __init__(self, how: str) -> None:
        self.how = how
        self.go_on = threading.Event()

    def collect(self) -> Iterable[Metric]:
        """Give a counter; then fail, hang, or take a name of the server's."""
        yield CounterMetricFamily("theirs", "A count", 3)
        if self.how == "raises":
            raise RuntimeError("no more")
        if self.how == "hangs":
            self.go_on.wait(60)
        yield CounterMetricFamily("spanserve_requests", "Not yours", 1_000)


@pytest.mark.parametrize("how", ["raises", "hangs", "takes a name"])
def test_a_collector_of_the_service_breaks_nothing(
    how: str, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(Plain) as server:
        collector = Collects("")
        REGISTRY.register(collector)
        collector.how = how
        try:
            assert httpx.post(f"{server.url}/same", json=1).status_code == 200
            found = [server.metrics() for _ in range(3)]
        finally:
            collector.go_on.set()
            REGISTRY.unregister(collector)
    requests = 'spanserve_requests_total{endpoint="/same",status="200"}'
    assert [each[requests] for each in found] == [1, 1, 1]
    assert all("spanserve_requests_total" not in each for each in found)
    assert how == "hangs" or [each["theirs_total"] for each in found] == [3, 3, 3]
    said = [each.message for each in caplog.records if "metric" in each.message]
    assert len(said) == 1


def registry_of(counts: dict[str, int], sizes: list[int]) -> CollectorRegistry:
    registry = CollectorRegistry()
    counter = Counter("things", "Things", ["kind"], registry=registry)
    histogram = Histogram("sizes", "Sizes", buckets=(1, 10), registry=registry)
    Gauge("level", "Level", registry=registry).set(len(sizes))
    for kind, count in counts.items():
        counter.labels(kind).inc(count)
    for size in sizes:
        histogram.observe(size)
    return registry


PARTS = st.tuples(
    st.dictionaries(st.sampled_from("abc"), st.integers(0, 1000)), st.lists(st.integers(0, 20))
)


@given(st.lists(PARTS, min_size=1, max_size=4))
def test_the_sum_is_that_of_one_process_which_counted_all(
    parts: list[tuple[dict[str, int], list[int]]],
) -> None:
    each = [json.loads(json.dumps(told(registry_of(*part).collect()))) for part in parts]
    one_after_another = each[0]
    for own in each[1:]:
        one_after_another = added(lasting(one_after_another), own)
    side_by_side = together({str(place): part for place, part in enumerate(each)})
    whole: dict[str, int] = {}
    for counts, _ in parts:
        for kind, count in counts.items():
            whole[kind] = whole.get(kind, 0) + count
    expected = registry_of(whole, [size for _, sizes in parts for size in sizes])
    assert values(together({"": one_after_another})) == values(expected.collect()) | {
        "level": {(): float(len(parts[-1][1]))}
    }
    assert values(side_by_side) == values(expected.collect()) | {
        "level": {(("worker", str(n)),): float(len(sizes)) for n, (_, sizes) in enumerate(parts)}
    }


def values(metrics: Iterable[Metric]) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Return the values of samples by name and labels, without the times when they began."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for metric in metrics:
        for sample in metric.samples:
            if not sample.name.endswith("_created"):
                labels = tuple(sorted(sample.labels.items()))
                found.setdefault(sample.name, {})[labels] = sample.value
    return found
