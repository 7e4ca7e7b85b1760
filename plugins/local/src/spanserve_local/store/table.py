"""Spans that are alike, as the file keeps them: columns, with their attributes as JSON."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from spanserve_local.store.arrays import Cells

Texts: TypeAlias = Sequence[str]
"""JSON texts, ASCII, each on one line."""


class TableLinks(NamedTuple):
    """The links of a table's rows: those from `bounds[i]` up to `bounds[i + 1]` are row i's."""

    bounds: Cells
    high: Cells
    low: Cells
    span_id: Cells
    attributes: Mapping[str, Cells]


class Table(NamedTuple):
    """Spans of one name and kind, a row each.

    A trace's id is two numbers, `high` and `low`. The attributes of row i are `common[which[i]]`
    and the i-th cells of `own`. `rare` has, by row, what few spans have: `events`, `links`,
    `error`, `debug`, `tracestate`, as members of a JSON object.
    """

    name: str
    kind: str
    high: Cells
    low: Cells
    span_id: Cells
    parent_id: Cells
    start_ns: Cells
    end_ns: Cells
    common: Texts
    which: Cells
    own: Mapping[str, Cells]
    links: TableLinks | None = None
    rare: Mapping[int, str] = {}

    def __hash__(self) -> int:
        return id(self)


Block: TypeAlias = Sequence[Table]
"""Tables whose i-th rows are one record's spans, parents first."""


def json_text(value: Any) -> str:
    """Return a value as JSON on one line; what JSON has no form for is text."""
    return json.dumps(value, separators=(",", ":"), default=str)


def joined(blocks: Iterable[Block]) -> list[Block]:
    """Return the same spans in as few blocks as can be: those that are alike in one."""
    groups: dict[Any, list[Block]] = {}
    for block in blocks:
        groups.setdefault(tuple(map(_signature, block)), []).append(block)
    return [
        group[0] if len(group) == 1 else [_one(tables) for tables in zip(*group, strict=True)]
        for group in groups.values()
    ]


def _signature(table: Table) -> Any:
    own = tuple((key, cells.dtype.kind) for key, cells in table.own.items())
    links = table.links and tuple((k, c.dtype.kind) for k, c in table.links.attributes.items())
    return table.name, table.kind, own, links


def _one(tables: Sequence[Table]) -> Table:
    places: dict[str, int] = {}
    which = [
        np.array([places.setdefault(text, len(places)) for text in table.common], np.int64)[
            table.which
        ]
        for table in tables
    ]
    ends = np.cumsum([0, *(len(table.span_id) for table in tables)]).tolist()
    first = tables[0]
    return Table(
        first.name,
        first.kind,
        np.concatenate([table.high for table in tables]),
        np.concatenate([table.low for table in tables]),
        np.concatenate([table.span_id for table in tables]),
        np.concatenate([table.parent_id for table in tables]),
        np.concatenate([table.start_ns for table in tables]),
        np.concatenate([table.end_ns for table in tables]),
        list(places),
        np.concatenate(which),
        {key: np.concatenate([table.own[key] for table in tables]) for key in first.own},
        _one_links([table.links for table in tables if table.links is not None]),
        {
            start + row: text
            for start, table in zip(ends, tables, strict=False)
            for row, text in table.rare.items()
        },
    )


def _one_links(several: Sequence[TableLinks]) -> TableLinks | None:
    if not several:
        return None
    counts = [np.diff(each.bounds) for each in several]
    return TableLinks(
        np.concatenate(([0], np.cumsum(np.concatenate(counts)))),
        np.concatenate([each.high for each in several]),
        np.concatenate([each.low for each in several]),
        np.concatenate([each.span_id for each in several]),
        {
            key: np.concatenate([each.attributes[key] for each in several])
            for key in several[0].attributes
        },
    )


def spans_of(table: Table, rows: Iterable[int]) -> Iterator[dict[str, Any]]:
    """Yield spans as plain values: ids as hex texts, times in ns, attributes of JSON's kinds."""
    for row in rows:
        rare = json.loads(table.rare[row]) if row in table.rare else {}
        own = {key: plain(cells, row) for key, cells in table.own.items()}
        parent = int(table.parent_id[row])
        yield {
            "trace_id": f"{int(table.high[row]):016x}{int(table.low[row]):016x}",
            "span_id": f"{int(table.span_id[row]):016x}",
            "parent_id": f"{parent:016x}" if parent else None,
            "name": table.name,
            "kind": table.kind,
            "start_ns": int(table.start_ns[row]),
            "end_ns": int(table.end_ns[row]),
            "attributes": {**json.loads(table.common[int(table.which[row])]), **own},
            "links": [*_links_of(table.links, row), *rare.get("links", ())],
            "events": rare.get("events", []),
            "error": rare.get("error"),
            "debug": rare.get("debug", False),
            "tracestate": rare.get("tracestate", ""),
        }


def _links_of(links: TableLinks | None, row: int) -> Iterator[dict[str, Any]]:
    if links is None:
        return
    for at in range(int(links.bounds[row]), int(links.bounds[row + 1])):
        yield {
            "trace_id": f"{int(links.high[at]):016x}{int(links.low[at]):016x}",
            "span_id": f"{int(links.span_id[at]):016x}",
            "attributes": {key: plain(cells, at) for key, cells in links.attributes.items()},
        }


def plain(cells: Cells, row: int) -> Any:
    """Return a cell as a span's attribute holds it: lengths in ms."""
    kind, cell = cells.dtype.kind, cells[row]
    if kind == "m":
        return int(cell.astype(np.int64)) / 1e6
    return cell.decode("latin-1") if kind == "S" else cell.item()


def row_count(blocks: Iterable[Block]) -> int:
    """Return how many spans there are."""
    return sum(len(table.span_id) for table in chain.from_iterable(blocks))
