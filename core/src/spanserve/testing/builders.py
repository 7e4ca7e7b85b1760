"""Builders of `Span` and `Spans`, as an exporter hands them to a tracer."""

import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Final

import numpy as np

from spanserve.tracing.model.columns import Block, Cells, Column, Spans
from spanserve.tracing.model.grouping import columns_of
from spanserve.tracing.model.span import Attributes, Span, SpanKind

_NS_PER_MS: Final = 1_000_000
_LARGEST: Final = 1 << 63
_LENGTH: Final = "_ms"


def make_span(
    name: str = "run",
    parent: Span | None = None,
    *,
    after_ms: float = 0,
    duration_ms: float = 1,
    attributes: Mapping[str, Any] | None = None,
    **fields: Any,
) -> Span:
    """Return a span with new ids, of now: a root, or a child that begins so long after its parent.

    `fields` are others of `Span`: `make_span("GET /", kind=SpanKind.SERVER, error="")`.
    """
    began_ns = parent.start_ns if parent else time.time_ns()
    start_ns = began_ns + int(after_ms * _NS_PER_MS)
    given: dict[str, Any] = {
        "kind": SpanKind.INTERNAL,
        "trace_id": parent.trace_id if parent else secrets.token_hex(16),
        "span_id": secrets.token_hex(8),
        "parent_id": parent.span_id if parent else None,
        "start_ns": start_ns,
        "end_ns": start_ns + int(duration_ms * _NS_PER_MS),
        "attributes": dict(attributes or {}),
        **fields,
    }
    return Span(name, **given)


def spans_of(records: Iterable[Sequence[Span]]) -> Spans:
    """Return the spans of requests, batches and so on as a tracer gets them, in one call.

    Each record is a list of spans, parents first. Those that are alike, span by span, stand in
    columns: whole numbers and lengths (`…_ms`) that all have in cells of their own.
    """
    groups: dict[object, list[Sequence[Span]]] = {}
    for record in records:
        groups.setdefault(tuple(map(_form, record)), []).append(record)
    blocks: list[Block] = []
    others: list[Span] = []
    for alike in groups.values():
        block = _block(alike)
        if block is None:
            others += chain.from_iterable(alike)
        else:
            blocks.append(block)
    return Spans(blocks, others)


def _form(span: Span) -> object:
    return span.name, span.kind, bool(span.links), bool(span.events), span.error is None, span.debug


def _block(alike: Sequence[Sequence[Span]]) -> Block | None:
    """Return records in columns; None where they cannot be."""
    block = []
    for spans in zip(*alike, strict=True):
        grouped = columns_of(spans)
        if grouped.broken or len(grouped.columns) != 1:
            return None
        block.append(_with_cells(grouped.columns[0], [span.attributes for span in spans]))
    return block


def _with_cells(column: Column, rows: Sequence[Attributes]) -> Column:
    found = {key: _cells(key, [row.get(key) for row in rows]) for key in rows[0]}
    own = {key: cells for key, cells in found.items() if cells is not None}
    common = [
        {key: value for key, value in each.items() if key not in own} for each in column.common
    ]
    return column._replace(common=common, own=own)


def _cells(key: str, values: Sequence[object]) -> Cells | None:
    if all(type(each) is int and -_LARGEST <= each < _LARGEST for each in values):
        return np.array(values, np.int64)
    if not key.endswith(_LENGTH) or not all(type(each) is float for each in values):
        return None
    lengths_ns = np.round(np.array(values) * _NS_PER_MS)
    return lengths_ns.astype("timedelta64[ns]") if np.isfinite(lengths_ns).all() else None
