"""What the demo measured: answers against the truth, times, and batches from `/metrics`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.request import ProxyHandler, build_opener

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from spanserve.commands.demo.job import Outcome

FETCH_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Answers:
    """What the answers were worth; `unlike_model` are not what the model says of that image."""

    count: int
    right: int
    unlike_model: int


@dataclass(frozen=True, slots=True)
class Batches:
    """How the server batched: `sizes` counts batches by the range of their size."""

    count: int
    items: int
    sizes: dict[str, int]
    reasons: dict[str, int]


def compared(
    outcome: Outcome, labels: Sequence[int], expected: Sequence[int], *, rounds: int
) -> Answers:
    """Hold the answers against the truth, and against what the model says itself."""
    rows = [
        (answer, label, own)
        for answer, label, own in zip(
            outcome.answers, [*labels] * rounds, [*expected] * rounds, strict=True
        )
        if answer is not None
    ]
    return Answers(
        len(rows),
        sum(answer == label for answer, label, _ in rows),
        sum(answer != own for answer, _, own in rows),
    )


def percentile(values: Sequence[float], percent: float) -> float:
    """Return a percentile; 0 of nothing."""
    return float(np.percentile(values, percent)) if values else 0.0


def fetch_metrics(url: str) -> str:
    """Read `/metrics` over HTTP, as Prometheus would; by no proxy, for the server is here."""
    with build_opener(ProxyHandler({})).open(f"{url}/metrics", timeout=FETCH_TIMEOUT_S) as response:
        text: str = response.read().decode()
    return text


def batches_of(metrics: str, endpoint: str) -> Batches:
    """Read what the metrics say of an endpoint's batches."""
    samples = [
        sample
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
        if sample.labels.get("endpoint") == endpoint
    ]
    values = {sample.name: int(sample.value) for sample in samples if len(sample.labels) == 1}
    cumulative = {
        float(sample.labels["le"]): int(sample.value)
        for sample in samples
        if sample.name == "spanserve_batch_size_bucket"
    }
    reasons = {
        sample.labels["reason"]: int(sample.value)
        for sample in samples
        if sample.name == "spanserve_batches_total"
    }
    return Batches(
        values.get("spanserve_batch_size_count", 0),
        values.get("spanserve_batch_size_sum", 0),
        _by_range(cumulative),
        reasons,
    )


def _by_range(cumulative: dict[float, int]) -> dict[str, int]:
    """Turn the counts of a histogram into those between its bounds, empty ones left out."""
    ranges: dict[str, int] = {}
    below, before = 0, 0
    for bound in sorted(each for each in cumulative if each != float("inf")):
        first, last = below + 1, int(bound)
        if count := cumulative[bound] - before:
            ranges[f"{first}" if first == last else f"{first} to {last}"] = count
        below, before = last, cumulative[bound]
    return ranges
