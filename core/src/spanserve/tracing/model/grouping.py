"""Any spans in columns: those that have the same fields stand in one column, a row each."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import accumulate, chain
from typing import Any, Final, NamedTuple

import numpy as np

from spanserve.tracing.model.columns import Cells, Column, Events, Links, Spans
from spanserve.tracing.model.span import Event, Link, Span, SpanKind

_TRACE_ID_DIGITS: Final = 32
_SPAN_ID_DIGITS: Final = 16
_NO_PARENT: Final = "0" * _SPAN_ID_DIGITS
_KINDS: Final[Mapping[object, SpanKind]] = {kind: kind for kind in SpanKind}


class Grouped(NamedTuple):
    """Spans in columns. `broken` are those that are none by `Span`, and `failure` says why."""

    columns: Sequence[Column]
    broken: Sequence[Span] = ()
    failure: Exception | None = None


def columns_of(spans: Sequence[Span]) -> Grouped:
    """Return any spans in columns; one that is broken costs no other.

    Those that are in columns stay so, and come first. The others keep their order within each
    column. All their attributes are in `common`, whatever they hold. Ids and times are checked,
    a name becomes text, and an unknown kind INTERNAL.
    """
    if isinstance(spans, Spans):
        others = columns_of(spans.others)
        return others._replace(columns=[*chain.from_iterable(spans.blocks), *others.columns])
    groups: dict[Hashable, list[Span]] = {}
    for span in spans:
        groups.setdefault(_signature(span), []).append(span)
    try:
        return Grouped([_column(group) for group in groups.values()])
    except Exception:  # noqa: BLE001  # whatever it is, the other spans are sound
        return _sound_columns(groups.values())


def part_of(columns: Sequence[Column], first: int, last: int) -> list[Column]:
    """Return the spans from the `first` up to the `last`, counted through the columns in turn."""
    found = []
    for column in columns:
        rows = len(column.span_id)
        if first < rows and last > 0:
            found.append(column.part(max(first, 0), min(last, rows)))
        first, last = first - rows, last - rows
    return found


def _signature(span: Span) -> Hashable:
    """Return what all spans of a column have in common."""
    name, kind, *_, links, events, error, debug, _ = span
    form = bool(links), bool(events), error is None, bool(debug)
    return (name if type(name) is str else str(name)), _KINDS.get(kind, SpanKind.INTERNAL), form


def _sound_columns(groups: Iterable[Sequence[Span]]) -> Grouped:
    columns: list[Column] = []
    broken: list[Span] = []
    failure = None
    for group in groups:
        sound = []
        for span in group:
            try:
                _column([span])
            except Exception as error:  # noqa: BLE001  # see above
                broken.append(span)
                failure = error
            else:
                sound.append(span)
        columns += [_column(sound)] if sound else []
    return Grouped(columns, broken, failure)


def _column(group: Sequence[Span]) -> Column:
    """Return spans of one signature as a column; raises for one that is broken."""
    (
        (name, *_),
        (kind, *_),
        trace_ids,
        span_ids,
        parent_ids,
        starts_ns,
        ends_ns,
        attributes,
        links,
        events,
        errors,
        (debug, *_),
        tracestates,
    ) = zip(*group, strict=True)
    common, which = _distinct(attributes)
    if not all(isinstance(each, Mapping) for each in common):
        raise TypeError("the attributes of a span are a mapping")
    column = Column(
        name if type(name) is str else str(name),
        _KINDS.get(kind, SpanKind.INTERNAL),
        _trace_ids(trace_ids),
        _span_ids(span_ids),
        _span_ids([_NO_PARENT if each is None else each for each in parent_ids]),
        np.array(starts_ns, np.int64),
        np.array(ends_ns, np.int64),
        common,
        which,
        {},
        links_of(links) if any(links) else None,
        events=_events(events) if any(events) else None,
        debug=bool(debug),
    )
    if any(tracestates):
        states, whose = _distinct(tracestates)
        column = column._replace(tracestates=states, whose=whose)
    if errors[0] is not None:
        texts, failures = _distinct(errors)
        column = column._replace(errors=[str(text) for text in texts], failures=failures)
    return column


def _distinct(values: Sequence[Any]) -> tuple[Sequence[Any], Cells]:
    """Return each object of some once, and which of them each is."""
    objects = {id(value): value for value in values}
    places = {each: place for place, each in enumerate(objects)}
    return [*objects.values()], np.array([places[id(value)] for value in values], np.intp)


def links_of(links: Sequence[Sequence[Link]]) -> Links:
    every = [*chain.from_iterable(links)]
    return Links(
        _bounds(links),
        _trace_ids([link.trace_id for link in every]),
        _span_ids([link.span_id for link in every]),
        {},
        every,
        np.arange(len(every)),
    )


def _events(events: Sequence[Sequence[Event]]) -> Events:
    every = [*chain.from_iterable(events)]
    times_ns = np.array([event.time_ns for event in every], np.int64)
    return Events(_bounds(events), times_ns, every, np.arange(len(every)))


def _bounds(several: Sequence[Sequence[object]]) -> Cells:
    return np.array([*accumulate(map(len, several), initial=0)], np.intp)


def _trace_ids(texts: Sequence[str]) -> Cells:
    return np.frombuffer(_raw(texts, _TRACE_ID_DIGITS).hex().encode(), "S32")


def _span_ids(texts: Sequence[str]) -> Cells:
    return np.frombuffer(_raw(texts, _SPAN_ID_DIGITS), ">u8").astype(np.uint64)


def _raw(texts: Sequence[str], digits: int) -> bytes:
    """Return ids of so many hex digits as bytes; raises where one is none."""
    raw = bytes.fromhex("".join(texts))
    # Blanks are no digits, and a short id may stand before a long one.
    if len(raw) * 2 != len(texts) * digits or {*map(len, texts)} != {digits}:
        raise ValueError(f"an id is {digits} hex digits")
    return raw
