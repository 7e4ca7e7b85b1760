"""The body of a chunk: all of its spans as compressed bytes, and back."""

import json
import zlib
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np

from spanserve_local.store.arrays import Packing, Unpacking
from spanserve_local.store.table import Block, Table, TableLinks

_LEVEL: Final = 1
"""Of zlib: the quickest. The next takes half as much time again, and saves a twentieth."""

_LENGTH_BYTES: Final = 4

MAX_BYTES: Final = 512 * 1024 * 1024
"""No chunk becomes larger than this when it is decompressed: beyond, the file is broken."""


def encoded(blocks: Iterable[Block]) -> bytes:
    """Return spans as bytes."""
    packing = Packing()
    texts: list[bytes] = []
    head = [
        [_packed(table, block, at, packing, texts) for at, table in enumerate(block)]
        for block in blocks
    ]
    described = json.dumps(head, separators=(",", ":")).encode()
    lines = b"".join(texts)
    lengths = len(described), len(lines)
    prefix = b"".join(length.to_bytes(_LENGTH_BYTES, "little") for length in lengths)
    return zlib.compress(b"".join((prefix, described, lines, packing.data)), _LEVEL)


def decoded(body: bytes) -> list[Block]:
    """Return the spans again; raises ValueError or zlib.error where the bytes are broken."""
    data = _inflated(body)
    first, second = (
        int.from_bytes(data[at : at + _LENGTH_BYTES], "little") for at in (0, _LENGTH_BYTES)
    )
    start = 2 * _LENGTH_BYTES
    head = json.loads(data[start : start + first])
    lines = data[start + first : start + first + second].split(b"\n")
    unpacking = Unpacking(memoryview(data)[start + first + second :])
    taken = iter(lines)
    blocks: list[Block] = []
    for described in head:
        tables: list[Table] = []
        for each in described:
            tables.append(_unpacked(each, tables, unpacking, taken))
        blocks.append(tables)
    return blocks


def _inflated(body: bytes) -> bytes:
    inflating = zlib.decompressobj()
    data = inflating.decompress(body, MAX_BYTES)
    if inflating.unconsumed_tail or not inflating.eof:
        raise ValueError("a chunk of the file is too long, or ends too early")
    return data


def _packed(
    table: Table, block: Block, at: int, packing: Packing, texts: list[bytes]
) -> Sequence[Any]:
    """Describe a table of a block; those behind the first are told by what differs."""
    root, before = block[0], block[at - 1]
    lines = [*table.common, *table.rare.values()]
    texts.append("".join(f"{line}\n" for line in lines).encode())
    forms = {
        "span_id": table.span_id - root.span_id if at else table.span_id,
        "parent_id": table.parent_id - root.span_id if at else table.parent_id,
        "start_ns": table.start_ns - before.end_ns if at else table.start_ns,
        "length": table.end_ns - table.start_ns,
        "which": table.which,
        "rare": np.fromiter(table.rare, np.int64, len(table.rare)),
    }
    same = at > 0 and table.low is root.low and table.high is root.high
    if not same:
        forms = {"high": table.high, "low": table.low, **forms}
    return [
        table.name,
        table.kind,
        len(table.span_id),
        len(table.common),
        len(table.rare),
        same,
        [packing.add(cells) for cells in forms.values()],
        {key: packing.add(cells) for key, cells in table.own.items()},
        None if table.links is None else _packed_links(table.links, packing),
    ]


def _packed_links(links: TableLinks, packing: Packing) -> Sequence[Any]:
    return [
        len(links.span_id),
        packing.add(np.diff(links.bounds)),
        # A request's first span has the lower half of its trace's id; the others follow from it.
        *(packing.add(cells) for cells in (links.high, links.low, links.span_id - links.low)),
        {key: packing.add(cells) for key, cells in links.attributes.items()},
    ]


def _unpacked(
    described: Sequence[Any], before: Sequence[Table], unpacking: Unpacking, lines: Any
) -> Table:
    name, kind, rows, commons, rares, same, forms, own, links = described
    common = [next(lines).decode() for _ in range(commons)]
    rare_texts = [next(lines).decode() for _ in range(rares)]
    counts = [*([] if same else [rows, rows]), rows, rows, rows, rows, rows, rares]
    arrays = [unpacking.take(*each) for each in zip(forms, counts, strict=True)]
    high, low = (before[0].high, before[0].low) if same else (arrays.pop(0), arrays.pop(0))
    span_id, parent_id, start_ns, length, which, rare = arrays
    if before:
        span_id = span_id + before[0].span_id
        parent_id = parent_id + before[0].span_id
        start_ns = start_ns + before[-1].end_ns
    return Table(
        name,
        kind,
        high,
        low,
        span_id,
        parent_id,
        start_ns,
        start_ns + length,
        common,
        which,
        {key: unpacking.take(form, rows) for key, form in own.items()},
        None if links is None else _unpacked_links(links, rows, unpacking),
        dict(zip(rare.tolist(), rare_texts, strict=True)),
    )


def _unpacked_links(described: Sequence[Any], rows: int, unpacking: Unpacking) -> TableLinks:
    count, counts, high, low, span_id, attributes = described
    bounds = np.concatenate(([0], np.cumsum(unpacking.take(counts, rows))))
    upper, lower = unpacking.take(high, count), unpacking.take(low, count)
    return TableLinks(
        bounds,
        upper,
        lower,
        unpacking.take(span_id, count) + lower,
        {key: unpacking.take(form, count) for key, form in attributes.items()},
    )
