"""Where the time of an endpoint's requests goes."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from spanserve_local.store.arrays import Cells
from spanserve_local.store.reader import Reader
from spanserve_local.store.snapshot import Entries, Lazy
from spanserve_local.store.summary import Kind
from spanserve_local.views.advice import Facts, advice
from spanserve_local.views.filters import Filters, chosen

PARTS: Final[Mapping[str, str]] = {
    "decode": "decode_us",
    "wait for peers": "peers_us",
    "wait for the runner": "runner_us",
    "to start": "to_start_us",
    "run": "run_us",
    "encode": "encode_us",
}
"""The parts of a request, and the columns that say how long they took."""

_PERCENTILES: Final = (50, 90, 99)
_US_IN_MS: Final = 1000
_NS_IN_US: Final = 1000


def breakdown(reader: Reader, filters: Filters) -> dict[str, Any]:
    """Return how long requests and their parts took, how batches formed, and what to change."""
    entries = reader.entries(since_ns=filters.since_ns, until_ns=filters.until_ns)
    rows = chosen(entries, filters)
    kinds = entries.columns["kind"][rows]
    requests, batches = (
        _some(entries, rows[kinds == Kind.REQUEST]),
        _some(entries, rows[kinds == Kind.BATCH]),
    )
    total_us = requests["duration_ns"] // _NS_IN_US
    took = {name: np.maximum(requests[column], 0) for name, column in PARTS.items()}
    told_us = np.sum([us.astype(np.int64) for us in took.values()], axis=0)
    took["other"] = np.maximum(total_us - told_us, 0)
    parts = [_part(name, us, total_us) for name, us in took.items()]
    alone = requests["batch_size"] == 1
    sizes = _counts(np.concatenate((requests["batch_size"][alone], batches["batch_size"])))
    numbers = _counts(np.concatenate((requests["reason"][alone], batches["reason"])))
    reasons = {entries.names[number]: count for number, count in numbers.items()}
    reasons.pop("", None)
    facts = Facts(
        requests=len(total_us),
        total_ms=float(total_us.mean()) / _US_IN_MS if len(total_us) else 0.0,
        means_ms={part["name"]: part["mean"] for part in parts},
        sizes=sizes,
        reasons=reasons,
    )
    return {
        "requests": facts.requests,
        "errors": int(np.count_nonzero(requests["error"])),
        "total": _percentiles(total_us),
        "parts": parts,
        "batch_sizes": [[size, batches] for size, batches in sorted(sizes.items())],
        "reasons": reasons,
        "advice": advice(facts),
        "left_out": entries.left_out,
    }


def _some(entries: Entries, rows: Cells) -> Lazy:
    return Lazy(lambda field: entries.columns[field][rows])


def _part(name: str, us: Cells, total_us: Cells) -> dict[str, Any]:
    """Return what a part took; requests that did not come to it took nothing."""
    total = int(total_us.sum())
    return {
        "name": name,
        **_percentiles(us),
        "mean": round(float(us.mean()) / _US_IN_MS, 3) if len(us) else 0.0,
        "share": round(int(us.sum()) / total, 4) if total else 0.0,
    }


def _percentiles(us: Cells) -> dict[str, float | None]:
    """Return percentiles in ms: each that of a request, and no mean of two."""
    if not len(us):
        return {f"p{each}": None for each in _PERCENTILES}
    places = [min(len(us) - 1, len(us) * each // 100) for each in _PERCENTILES]
    found = np.partition(us, places)[places]
    return {
        f"p{each}": value / _US_IN_MS
        for each, value in zip(_PERCENTILES, found.tolist(), strict=True)
    }


def _counts(values: Cells) -> dict[int, int]:
    """Return how often each value is there."""
    found, counts = np.unique(values, return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))
