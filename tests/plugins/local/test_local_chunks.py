"""Chunks of the file: whatever spans go in come out again, whole."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from spanserve import Event, Link, Span, SpanKind
from spanserve_local.store import body, summary, table
from spanserve_local.store.arrays import Cells, Packing, Unpacking
from spanserve_local.store.gather import gathered

INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
UINT64 = st.integers(0, (1 << 64) - 1)
HEX = "0123456789abcdef"

arrays = st.one_of(
    st.lists(st.one_of(INT64, st.integers(0, 3)), max_size=50).map(lambda v: np.array(v, np.int64)),
    st.lists(st.one_of(UINT64, st.integers(0, 3)), max_size=50).map(
        lambda v: np.array(v, np.uint64)
    ),
    st.lists(INT64, max_size=50).map(lambda v: np.array(v, np.int64).astype("m8[ns]")),
    st.lists(st.floats(), max_size=50).map(lambda v: np.array(v, np.float64)),
    st.lists(st.booleans(), max_size=50).map(lambda v: np.array(v, np.bool_)),
    st.lists(st.text("0aAfz~ ", max_size=8), min_size=1, max_size=50).map(
        lambda v: np.array([each.encode() for each in v], "S8")
    ),
    st.lists(st.text(HEX, min_size=16, max_size=16), min_size=1, max_size=50).map(
        lambda v: np.array([each.encode() for each in v], "S16")
    ),
)


@settings(deadline=None)  # the machine may have other work
@given(st.lists(arrays, max_size=5))
def test_arrays_come_back_as_they_were_packed(several: list[Cells]) -> None:
    packing = Packing()
    forms = [packing.add(cells) for cells in several]
    unpacking = Unpacking(packing.data)
    back = [unpacking.take(f, len(c)) for f, c in zip(forms, several, strict=True)]
    for cells, again in zip(several, back, strict=True):
        assert again.dtype.kind == cells.dtype.kind
        np.testing.assert_array_equal(again, cells)


trace_ids = st.text(HEX, min_size=32, max_size=32).filter(lambda each: int(each, 16) > 0)
span_ids = st.text(HEX, min_size=16, max_size=16).filter(lambda each: int(each, 16) > 0)
times = st.integers(0, (1 << 62) - 1)
scalars = st.one_of(st.text(), st.booleans(), st.integers(), st.floats(allow_nan=False))
values = st.one_of(scalars, st.lists(scalars, max_size=3))
attributes = st.dictionaries(st.text(max_size=8), values, max_size=3)
links = st.builds(Link, trace_ids, span_ids, attributes, st.text(max_size=5), st.booleans())
events = st.builds(Event, st.text(max_size=8), times, attributes)
spans = st.builds(
    Span,
    st.sampled_from(["run", "queue", "batch /x", "é\n\ud800"]),
    st.sampled_from(SpanKind),
    trace_ids,
    span_ids,
    st.one_of(st.none(), span_ids),
    times,
    times,
    attributes,
    st.lists(links, max_size=2),
    st.lists(events, max_size=2),
    st.one_of(st.none(), st.text(max_size=5)),
    st.booleans(),
    st.text(max_size=5),
)


def told(span: Span) -> dict[str, object]:
    return {
        "trace_id": span.trace_id,
        "span_id": span.span_id,
        "parent_id": span.parent_id,
        "name": span.name,
        "kind": span.kind.value,
        "start_ns": span.start_ns,
        "end_ns": span.end_ns,
        "attributes": dict(span.attributes),
        "links": [
            {
                "trace_id": link.trace_id,
                "span_id": link.span_id,
                "attributes": dict(link.attributes),
                **({"tracestate": link.tracestate} if link.tracestate else {}),
                **({"is_remote": True} if link.is_remote else {}),
            }
            for link in span.links
        ],
        "events": [
            {"name": event.name, "time_ns": event.time_ns, "attributes": dict(event.attributes)}
            for event in span.events
        ],
        "error": span.error,
        "debug": span.debug,
        "tracestate": span.tracestate,
    }


def order(span: dict[str, object]) -> str:
    return repr(sorted(span.items(), key=str))


def read(blocks: list[table.Block]) -> list[dict[str, object]]:
    found = [
        span
        for block in blocks
        for each in block
        for span in table.spans_of(each, range(len(each.low)))
    ]
    return sorted(found, key=order)


@settings(deadline=None)  # the machine may have other work
@given(st.lists(spans, min_size=1, max_size=8), st.lists(spans, min_size=1, max_size=8))
def test_spans_come_back_from_a_chunk_and_from_two_that_were_put_together(
    first: list[Span], second: list[Span]
) -> None:
    chunks = [gathered(first), gathered(second)]
    bodies = [body.encoded(chunk.blocks) for chunk in chunks]
    assert read(body.decoded(bodies[0])) == sorted(map(told, first), key=order)
    together = table.joined([block for packed in bodies for block in body.decoded(packed)])
    again = body.decoded(body.encoded(together))
    assert read(again) == sorted(map(told, [*first, *second]), key=order)
    entries = summary.joined([summary.decoded(summary.encoded(each.summary)) for each in chunks])
    assert entries.columns["spans"].sum() == len(first) + len(second)
