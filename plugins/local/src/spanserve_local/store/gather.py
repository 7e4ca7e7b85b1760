"""From the spans of one export to tables and their summary: by columns where they come so."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from spanserve import Column, Event, Link, Links, Span, Spans, columns_of
from spanserve_local.store.arrays import Cells
from spanserve_local.store.entries import Rows, entries_of, halves
from spanserve_local.store.summary import Names, Summary
from spanserve_local.store.table import Block, Table, TableLinks, json_text


class Gathered(NamedTuple):
    """What one export adds to the file; `broken` counts spans that are none, and `failure` why."""

    blocks: Sequence[Block]
    summary: Summary
    broken: int = 0
    failure: str | None = None


def gathered(spans: Sequence[Span]) -> Gathered:
    """Return spans as tables, with a summary of their entries."""
    blocks, others = (spans.blocks, spans.others) if isinstance(spans, Spans) else ((), spans)
    columned = columns_of(others)
    columns = [*blocks, *([column] for column in columned.columns)]
    rows, at = [], 0
    for block in columns:
        rows.append(_numbered(block, at))
        at += sum(len(each.low) for each in rows[-1])
    return Gathered(
        [[_table(*each) for each in block] for block in rows],
        entries_of(rows, Names()),
        len(columned.broken),
        None if columned.failure is None else str(columned.failure),
    )


def _numbered(block: Sequence[Column], at: int) -> list[Rows]:
    """Return a block's columns with their trace ids as numbers; those that are shared stay so."""
    ids: dict[int, tuple[Cells, Cells]] = {}
    found = []
    for column in block:
        key = id(column.trace_id)
        if key not in ids:
            ids[key] = halves(column.trace_id)
        found.append(Rows(column, *ids[key], at))
        at += len(column.span_id)
    return found


def _table(column: Column, high: Cells, low: Cells, _: int) -> Table:
    links = column.links
    return Table(
        column.name,
        column.kind.value,
        high,
        low,
        column.span_id,
        column.parent_id,
        column.start_ns,
        column.end_ns,
        [json_text({str(key): value for key, value in each.items()}) for each in column.common],
        column.which,
        column.own,
        None if links is None or links.which is not None else _links(links),
        dict(_rare_of(column)),
    )


def _links(links: Links) -> TableLinks:
    return TableLinks(links.bounds, *halves(links.trace_id), links.span_id, links.attributes)


def _rare_of(column: Column) -> Iterator[tuple[int, str]]:
    """Yield what few spans have, by their rows."""
    has_links = column.links is not None and column.links.which is not None
    if has_links or column.events is not None or column.failures is not None or column.debug:
        for row, span in enumerate(column.spans()):
            if text := _rare(span, has_links=has_links):
                yield row, text
    elif column.whose is not None:
        texts = [each and json_text({"tracestate": each}) for each in column.tracestates]
        for row, place in enumerate(column.whose.tolist()):
            if texts[place]:
                yield row, texts[place]


def _rare(span: Span, *, has_links: bool) -> str:
    """Return what few spans have, as JSON; nothing where this one has nothing of it."""
    said = {
        "links": [_link(link) for link in span.links] if has_links else [],
        "events": [_event(event) for event in span.events],
        "error": span.error,
        "debug": span.debug,
        "tracestate": span.tracestate,
    }
    kept = {key: value for key, value in said.items() if value or (key == "error" and value == "")}
    return json_text(kept) if kept else ""


def _link(link: Link) -> dict[str, Any]:
    said: dict[str, Any] = {
        "trace_id": link.trace_id,
        "span_id": link.span_id,
        "attributes": dict(link.attributes),
    }
    if link.tracestate:
        said["tracestate"] = link.tracestate
    return said | ({"is_remote": True} if link.is_remote else {})


def _event(event: Event) -> dict[str, Any]:
    return {"name": event.name, "time_ns": event.time_ns, "attributes": dict(event.attributes)}
