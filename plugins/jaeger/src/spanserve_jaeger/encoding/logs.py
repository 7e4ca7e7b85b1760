"""Logs: the events of spans, and what their links say, for which references have no place."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final, TypeVar

import numpy as np

from spanserve import Attributes, Column, Events, Links
from spanserve_jaeger.encoding.cells import Integer, integers
from spanserve_jaeger.encoding.rows import Cells, Part, Ragged, chosen, ragged, rows_of, texts_of
from spanserve_jaeger.encoding.tags import Tags, tag
from spanserve_jaeger.encoding.thrift import LIST, structs_header

_LOGS_WITHOUT_TAGS: Final = 0x29
_I64: Final = b"\x16"
_STOP: Final = b"\0"

T = TypeVar("T")


def logs(column: Column, have_tags: Cells, start: Integer, tags: Tags, *, of_links: bool) -> Ragged:
    """Return the field of each span's logs: its events, then its links that have attributes."""
    every = [_events(column.events, tags)] if column.events is not None else []
    if column.links is not None and of_links:
        every.append(_links(column.links, start, tags))
    rows = zip(have_tags.tolist(), *every, strict=True)
    return ragged(
        [_field(tagged, [log for some in lists for log in some]) for tagged, *lists in rows]
    )


def _field(has_tags: bool, found: Sequence[bytes]) -> bytes:  # noqa: FBT001  # of this file alone
    header = LIST if has_tags else _LOGS_WITHOUT_TAGS
    return structs_header(header, len(found)) + b"".join(found) if found else b""


def _events(events: Events, tags: Tags) -> Sequence[Sequence[bytes]]:
    """Return a Log struct for each event, by span."""
    if not len(events.time_ns):
        return [()] * (len(events.bounds) - 1)
    said = [_fields(str(event.name), event.attributes, tags) for event in events.common]
    heads = [structs_header(LIST, len(fields)) + b"".join(fields) for fields in said]
    parts: list[Part] = [
        _I64,
        *integers(events.time_ns // 1000),
        chosen(heads, events.which),
        _STOP,
    ]
    return _by_span(texts_of(rows_of(parts, len(events.time_ns))), events.bounds)


def _links(links: Links, start: Integer, tags: Tags) -> Sequence[Sequence[bytes]]:
    """Return a Log struct for each link that says something, at its span's start, by span."""
    own, count = links.attributes, len(links.span_id)
    common: Sequence[Attributes] = [link.attributes for link in links.common] or [{}]
    which = np.zeros(count, np.intp) if links.which is None else links.which
    said = [_fields("link", each, tags, named="event" in own) for each in common]
    heads = [structs_header(LIST, len(fields) + len(own)) + b"".join(fields) for fields in said]
    repeats = np.diff(links.bounds)
    time = (part if isinstance(part, bytes) else np.repeat(part, repeats, axis=0) for part in start)
    cells = [part for key, each in own.items() for part in tag(key, each, tags)]
    found = texts_of(rows_of([_I64, *time, chosen(heads, which), *cells, _STOP], count))
    says = [bool(own or common[each]) for each in which.tolist()]
    by_span = _by_span([*zip(says, found, strict=True)], links.bounds)
    return [[log for said, log in some if said] for some in by_span]


def _fields(
    name: str, attributes: Attributes, tags: Tags, *, named: bool = False
) -> Sequence[bytes]:
    """Return an event's tags, of which one is its name."""
    named = named or "event" in attributes
    return tags.of(attributes) if named else tags.of({"event": name, **attributes})


def _by_span(several: Sequence[T], bounds: Cells) -> Sequence[Sequence[T]]:
    return [several[first:last] for first, last in pairwise(bounds.tolist())]
