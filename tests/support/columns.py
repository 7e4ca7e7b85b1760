"""Any columns of spans, drawn by hypothesis."""

import string
from functools import partial
from typing import Any

import numpy as np
from hypothesis import strategies as st

from spanserve import Column, Event, Events, Link, Links, Span, SpanKind, Spans

HEX = "0123456789abcdef"
WORD = st.text("abcXYZ019._:/+=@-", min_size=1, max_size=36)
ID = st.integers(1, 2**63 - 1)
PARENT = st.integers(2**63, 2**64 - 1)  # none is the span itself
LENGTH = st.integers(0, 10**15) | st.integers(0, 10**6)
COMMON = st.dictionaries(
    st.sampled_from(["client.address", "service.version", "100%", '"', "é", "yAnnotations"]),
    st.sampled_from(["1.2.3.4", "::1", "a", "", 7, -1, 1.5, True, 'é"\\', "\ud800"]),
    max_size=4,
)


ODD_CELLS: Any = {
    "f8": st.floats(),
    "?": st.booleans(),
    "i4": st.integers(-9, 9),
    "U": st.sampled_from(["", "é", '"', "binaryAnnotations", "\ud800"]),
    "S": st.sampled_from([b"binaryAnnotations", b'a"', b"\\", b"\n", b"x"]),
    "u8": st.integers(0, (1 << 64) - 1),
    "m": st.integers(-(10**9), 10**9),
    "O": st.sampled_from(["a", 1, None, True, "\ud800"]),
}


def odd_cells(draw: st.DrawFn, rows: int) -> np.ndarray[Any, Any]:
    """Draw cells that are none of the usual: negative, too large, to be escaped, of any type."""
    kind = draw(st.sampled_from(sorted(ODD_CELLS)))
    drawn = draw(st.lists(ODD_CELLS[kind], min_size=rows, max_size=rows))
    return np.array(drawn, "timedelta64[ns]" if kind == "m" else kind)


def cells(draw: st.DrawFn, rows: int, kind: str) -> np.ndarray[Any, Any]:
    """Draw the cells of one attribute."""
    if kind == "S":
        return np.array(
            [each.encode() for each in draw(st.lists(WORD, min_size=rows, max_size=rows))]
        )
    drawn = draw(st.lists(LENGTH, min_size=rows, max_size=rows))
    return np.array(drawn, "timedelta64[ns]" if kind == "m" else kind)


def ids(draw: st.DrawFn, rows: int, one: st.SearchStrategy[int] = ID) -> np.ndarray[Any, Any]:
    """Draw ids."""
    return np.array(draw(st.lists(one, min_size=rows, max_size=rows)), np.uint64)


def trace_ids(draw: st.DrawFn, rows: int) -> np.ndarray[Any, Any]:
    """Draw ids of traces."""
    some = st.text(HEX, min_size=32, max_size=32).filter(lambda text: text.strip("0"))
    return np.array([each.encode() for each in draw(st.lists(some, min_size=rows, max_size=rows))])


@st.composite
def columns(draw: st.DrawFn, rows: int, *, plain: bool = False, fewest_links: int = 1) -> Column:
    """Draw a column of so many spans; a `plain` one has no links and no caller."""
    kinds = [SpanKind.INTERNAL] if plain else [SpanKind.INTERNAL, SpanKind.SERVER]
    kind = draw(st.sampled_from(kinds))
    common: list[Any] = draw(st.lists(COMMON, min_size=1, max_size=3))
    own = {
        key: cells(draw, rows, draw(st.sampled_from(["i8", "u8", "m", "S"])))
        for key in ("x", "y %s")
    }
    if draw(st.booleans()):
        own, common = {}, [each for each in common if each] or [{}]
    if kind is SpanKind.SERVER:
        common = [
            each | {"client.address": "1.2.3.4", "network.peer.address": "1.2.3.4"}
            for each in common
        ]
        own["network.peer.port"] = draw(st.just(np.arange(1, rows + 1, dtype=np.uint16)))
    start_ns = 1_700_000_000_000_000_000 + np.array(
        draw(st.lists(LENGTH, min_size=rows, max_size=rows)), np.int64
    )
    length_ns = np.array(draw(st.lists(LENGTH, min_size=rows, max_size=rows)), np.int64)
    linked = not plain and kind is SpanKind.INTERNAL and draw(st.booleans())
    parents = st.just(0) if linked else draw(st.sampled_from([st.just(0), PARENT]))
    if kind is SpanKind.SERVER:
        parents |= PARENT
    which = draw(st.lists(st.integers(0, len(common) - 1), min_size=rows, max_size=rows))
    return Column(
        draw(st.sampled_from(["run", "POST /predict", 'é"', ""])),
        kind,
        trace_ids(draw, rows),
        ids(draw, rows),
        ids(draw, rows, parents),
        start_ns,
        start_ns + length_ns,
        common,
        np.array(which, np.intp),
        own,
        links(draw, rows, fewest=fewest_links) if linked else None,
    )


def links(draw: st.DrawFn, rows: int, *, fewest: int = 1) -> Links:
    """Draw links, of which every span has so many at least."""
    counts = draw(st.lists(st.integers(fewest, 12), min_size=rows, max_size=rows))
    bounds = np.concatenate(([0], np.cumsum(counts)))
    total = int(bounds[-1])
    attributes = {"position": cells(draw, total, "i8"), "wait_ms": cells(draw, total, "m")}
    return Links(bounds, trace_ids(draw, total), ids(draw, total), attributes)


@st.composite
def calls(draw: st.DrawFn, *, plain: bool = False, fewest_links: int = 1) -> Spans:
    """Draw what a tracer may be handed: some blocks of columns."""
    column = partial(columns, plain=plain, fewest_links=fewest_links)
    blocks = []
    for _ in range(draw(st.integers(0, 2))):
        rows = draw(st.integers(1, 5))
        blocks.append([draw(column(rows)) for _ in range(draw(st.integers(1, 3)))])
    return Spans(blocks)


TEXTS = st.text(st.characters(exclude_categories=()), max_size=40)  # lone surrogates included
SCALARS = TEXTS | st.booleans() | st.integers(-(1 << 70), 1 << 70) | st.floats()
ATTRIBUTES: st.SearchStrategy[Any] = st.dictionaries(
    TEXTS
    | st.sampled_from(
        ["client.address", "network.peer.address", "network.peer.port", "server.address", "error"]
    ),
    SCALARS | st.lists(SCALARS, max_size=3) | st.sampled_from(["10.0.0.1", "::1", 80]),
    max_size=6,
)
ERRORS = TEXTS.map("e{}".format)  # none that says that there is no error
TIMES_NS = st.integers(1_000, (1 << 62) - 1)


def hex_ids(digits: int) -> st.SearchStrategy[str]:
    """Draw ids of so many hex digits."""
    some = st.text(string.hexdigits[:16], min_size=digits, max_size=digits)
    return some.filter(lambda text: bool(text.strip("0")))


@st.composite
def any_spans(draw: st.DrawFn) -> Span:
    """Draw any span that keeps the contract of `Span`."""
    states = st.sampled_from(["", "a=1", "a=|"])
    times = draw(st.tuples(TIMES_NS, TIMES_NS))
    span_id = draw(hex_ids(16))
    return Span(
        draw(st.sampled_from(["run", "POST /predict"]) | TEXTS),
        draw(st.sampled_from(SpanKind)),
        draw(hex_ids(32)),
        span_id,
        draw(st.none() | hex_ids(16).filter(lambda parent_id: parent_id != span_id)),
        min(times),
        max(times),
        draw(ATTRIBUTES),
        draw(
            st.lists(
                st.builds(Link, hex_ids(32), hex_ids(16), ATTRIBUTES, states, st.booleans()),
                max_size=3,
            )
        ),
        draw(st.lists(st.builds(Event, TEXTS, TIMES_NS, ATTRIBUTES), max_size=3)),
        draw(st.none() | ERRORS),
        draw(st.booleans()),
        draw(states),
    )


def some(draw: st.DrawFn, one: st.SearchStrategy[Any], rows: int) -> tuple[list[Any], Any]:
    """Draw some values, and which of them each row has."""
    values = draw(st.lists(one, min_size=1, max_size=3))
    places = st.integers(0, len(values) - 1)
    return values, np.array(draw(st.lists(places, min_size=rows, max_size=rows)), np.intp)


def events(draw: st.DrawFn, rows: int) -> Events:
    """Draw the events of a column's spans."""
    counts = draw(st.lists(st.integers(0, 2), min_size=rows, max_size=rows))
    times = draw(st.lists(TIMES_NS, min_size=sum(counts), max_size=sum(counts)))
    common, which = some(draw, st.builds(Event, TEXTS, st.just(0), ATTRIBUTES), sum(counts))
    bounds = np.array([0, *np.cumsum(counts)], np.intp)
    return Events(bounds, np.array(times, np.int64), common, which)


@st.composite
def enriched(draw: st.DrawFn, column: Column) -> Column:
    """Draw a column that has more of what few columns have."""
    rows = len(column.span_id)
    if draw(st.booleans()):
        errors, failures = some(draw, ERRORS, rows)
        column = column._replace(errors=errors, failures=failures)
    if draw(st.booleans()):
        column = column._replace(events=events(draw, rows))
    if draw(st.booleans()):
        key = draw(st.sampled_from(["odd", "error", "otlp.link.3", "client.address"]))
        if not any(key in each for each in column.common):
            column = column._replace(own={**column.own, key: odd_cells(draw, rows)})
    if column.links is not None and draw(st.booleans()):
        total = len(column.links.span_id)
        said = st.dictionaries(TEXTS, st.integers(), max_size=2)
        states = st.sampled_from(["", "a=1", "|"])
        one = st.builds(Link, st.just(""), st.just(""), said, states, st.booleans())
        common, which = some(draw, one, total)
        more = {**column.links.attributes, "odd": odd_cells(draw, total)}
        own = more if draw(st.booleans()) else column.links.attributes
        column = column._replace(
            links=column.links._replace(attributes=own, common=common, which=which)
        )
    return column._replace(debug=draw(st.booleans()))


@st.composite
def any_calls(draw: st.DrawFn) -> Spans:
    """Draw any columns, and any spans beside them."""
    blocks = draw(calls(fewest_links=0)).blocks
    richer = [[draw(enriched(column)) for column in block] for block in blocks]
    return Spans(richer, draw(st.lists(any_spans(), max_size=3)))
