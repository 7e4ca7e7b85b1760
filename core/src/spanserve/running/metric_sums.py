"""Metrics as data that can be kept and sent, and their sums over workers."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from prometheus_client.core import Metric
from prometheus_client.samples import Exemplar, Sample

Told = list[Any]
"""Metrics as JSON has them: name, text, type, unit and samples of each."""

LASTING: Final = frozenset({"counter", "histogram", "summary"})
"""Types whose values only grow: what was counted stays counted when its process ends."""

CREATED: Final = "_created"
"""The end of the name of a sample that says when a metric began."""


def told(metrics: Iterable[Metric]) -> Told:
    """Return metrics as data."""
    return [
        [
            metric.name,
            metric.documentation,
            metric.type,
            metric.unit,
            [_sample(each) for each in metric.samples],
        ]
        for metric in metrics
    ]


def _sample(sample: Sample) -> list[Any]:
    exemplar = sample.exemplar and [sample.exemplar.labels, sample.exemplar.value]
    return [sample.name, sample.labels, float(sample.value), exemplar]


def lasting(metrics: Told) -> Told:
    """Return those metrics that outlive the process which counted."""
    return [family for family in metrics if family[2] in LASTING]


def added(before: Told, own: Told) -> Told:
    """Return a process's metrics, with what its predecessors had counted added."""
    return told(_sums([("", before), ("", own)]))


def together(parts: Mapping[str, Told], label: str = "worker") -> list[Metric]:
    """Add up what can be added; give the rest a label that says whose it is."""
    return list(_sums(parts.items(), label))


def _sums(parts: Iterable[tuple[str, Told]], label: str = "worker") -> Iterator[Metric]:
    """Yield the sums of several parts, each of which may have a name."""
    metrics: dict[str, Metric] = {}
    sums: dict[str, dict[tuple[Any, ...], list[Any]]] = {}
    for part, families in parts:
        for name, text, kind, unit, samples in families:
            family = metrics.setdefault(name, Metric(name, text, kind, unit))
            if family.type != kind:  # by another version of the service's code
                continue
            whose = {} if kind in LASTING or not part else {label: part}
            totals = sums.setdefault(name, {})
            for sample, labels, value, exemplar in samples:
                own = {**labels, **whose}
                _add(totals, (sample, *own.items()), [sample, own, value, exemplar])
    for name, metric in metrics.items():
        for sample, labels, value, exemplar in _ordered(sums.get(name, {}).values()):
            metric.add_sample(sample, labels, value, exemplar=exemplar and Exemplar(*exemplar))
        yield metric


def _add(totals: dict[tuple[Any, ...], list[Any]], key: tuple[Any, ...], new: list[Any]) -> None:
    total = totals.setdefault(key, new)
    if total is new:
        return
    first = new[0].endswith(CREATED)
    total[2] = min(total[2], new[2]) if first else total[2] + new[2]
    total[3] = new[3] or total[3]


def _ordered(samples: Iterable[list[Any]]) -> Sequence[list[Any]]:
    """Return samples so that those of one histogram stand together, as OpenMetrics wants them."""
    return sorted(samples, key=lambda each: [item for item in each[1].items() if item[0] != "le"])
