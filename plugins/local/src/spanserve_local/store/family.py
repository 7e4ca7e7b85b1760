"""Which span of an export is whose parent: columns of places among all of its spans."""

from collections.abc import Sequence

import numpy as np

from spanserve import Column, SpanKind
from spanserve_local.store.arrays import Cells


def parents_of(blocks: Sequence[Sequence[Column]]) -> Cells:
    """Return where each span's parent is; -1 where it is of another export, or the span a request.

    Spans are counted through all columns in turn.
    """
    columns = [column for block in blocks for column in block]
    found: list[Cells] = []
    at, first = 0, None
    lookups: list[tuple[int, Cells]] = []
    for block in blocks:
        first = at
        for column in block:
            rows = len(column.span_id)
            if column.kind is SpanKind.SERVER:
                places = np.full(rows, -1)
            elif column.parent_id is block[0].span_id:  # as mostly: no need to look for it
                places = np.arange(first, first + rows)
            else:
                places = np.full(rows, -1)
                if column.parent_id.any():
                    lookups.append((len(found), column.parent_id))
            found.append(places)
            at += rows
    if lookups:
        ids = np.concatenate([column.span_id for column in columns])
        order = np.argsort(ids)
        for number, parent_id in lookups:
            found[number] = _places(ids, order, parent_id)
    return np.concatenate([np.empty(0, np.int64), *found])


def _places(ids: Cells, order: Cells, wanted: Cells) -> Cells:
    at = np.minimum(np.searchsorted(ids, wanted, sorter=order), len(ids) - 1)
    places = order[at]
    return np.where((ids[places] == wanted) & (wanted != 0), places, -1)


def tops_of(parents: Cells) -> Cells:
    """Return the uppermost span above each one, or itself."""
    tops = np.where(parents < 0, np.arange(len(parents)), parents)
    for _ in range(64):  # each step doubles the depth that is passed; a circle ends nowhere
        higher = tops[tops]
        if np.array_equal(higher, tops):
            break
        tops = higher
    return tops
