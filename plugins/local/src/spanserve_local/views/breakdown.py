"""Where the time of an endpoint's requests goes."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from spanserve_local.store.arrays import Cells
from spanserve_local.store.reader import Reader
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


def breakdown(reader: Reader, filters: Filters) -> dict[str, Any]:
    """Return how long requests and their parts took, how batches formed, and what to change."""
    entries = reader.entries(since_ns=filters.since_ns, until_ns=filters.until_ns)
    rows = chosen(entries, filters)
    columns = {name: cells[rows] for name, cells in entries.columns.items()}
    requests = columns["kind"] == Kind.REQUEST
    total_us = columns["duration_ns"][requests] / _US_IN_MS
    parts = [_part(name, columns[column][requests], total_us) for name, column in PARTS.items()]
    parts.append(_other(columns, requests, total_us))
    sizes = _sizes(columns, requests)
    reasons = _reasons(columns, entries.names, requests)
    facts = Facts(
        requests=int(requests.sum()),
        total_ms=float(total_us.mean() / _US_IN_MS) if len(total_us) else 0.0,
        means_ms={part["name"]: part["mean"] for part in parts},
        sizes=sizes,
        reasons=reasons,
    )
    return {
        "requests": facts.requests,
        "errors": int(columns["error"][requests].sum()),
        "total": _percentiles(total_us),
        "parts": parts,
        "batch_sizes": [[size, batches] for size, batches in sorted(sizes.items())],
        "reasons": reasons,
        "advice": advice(facts),
        "left_out": entries.left_out,
    }


def _part(name: str, us: Cells, total_us: Cells) -> dict[str, Any]:
    """Return what a part took; requests that did not come to it took nothing."""
    took = np.maximum(us, 0).astype(np.float64)
    total = float(total_us.sum())
    return {
        "name": name,
        **_percentiles(took),
        "mean": round(float(took.mean()) / _US_IN_MS, 3) if len(took) else 0.0,
        "share": round(float(took.sum()) / total, 4) if total else 0.0,
    }


def _other(columns: Mapping[str, Cells], requests: Cells, total_us: Cells) -> dict[str, Any]:
    told = np.zeros(len(total_us))
    for column in PARTS.values():
        told += np.maximum(columns[column][requests], 0)
    return _part("other", total_us - told, total_us)


def _percentiles(us: Cells) -> dict[str, float | None]:
    if not len(us):
        return {f"p{each}": None for each in _PERCENTILES}
    found = np.percentile(us, _PERCENTILES) / _US_IN_MS
    return {f"p{each}": round(ms, 3) for each, ms in zip(_PERCENTILES, found.tolist(), strict=True)}


def _sizes(columns: Mapping[str, Cells], requests: Cells) -> dict[int, int]:
    """Return how many batches of each size there were: those of one are requests alone."""
    batches = columns["kind"] == Kind.BATCH
    size = columns["batch_size"]
    alone = int((requests & (size == 1)).sum())
    sizes, counts = np.unique(size[batches], return_counts=True)
    found = dict(zip(sizes.tolist(), counts.tolist(), strict=True))
    return {**({1: alone} if alone else {}), **found}


def _reasons(columns: Mapping[str, Cells], names: Any, requests: Cells) -> dict[str, int]:
    own = (columns["kind"] == Kind.BATCH) | (requests & (columns["batch_size"] == 1))
    numbers, counts = np.unique(columns["reason"][own], return_counts=True)
    return {
        names[number]: count
        for number, count in zip(numbers.tolist(), counts.tolist(), strict=True)
        if names[number]
    }
