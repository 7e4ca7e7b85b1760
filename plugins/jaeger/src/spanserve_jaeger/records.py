"""Which records of a block are meant, to come back to those that did not go out."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

from spanserve import Column, Links

Block: TypeAlias = Sequence[Column]
"""As in `spanserve.Spans`: the i-th rows of all columns are one record's spans."""


class Records(NamedTuple):
    """The records of a block from `first` up to `last`."""

    block: Block
    first: int
    last: int

    def alone(self) -> Block:
        """Return them as a block of their own, without a copy of what they hold."""
        return [_part(column, self.first, self.last) for column in self.block]


def joined(some: Iterable[Records]) -> Sequence[Records]:
    """Return the same records, those that follow each other in a block as one."""
    found: list[Records] = []
    for each in some:
        if found and found[-1].block is each.block and found[-1].last == each.first:
            found[-1] = found[-1]._replace(last=each.last)
        else:
            found.append(each)
    return found


def _part(column: Column, first: int, last: int) -> Column:
    return column._replace(
        trace_id=column.trace_id[first:last],
        span_id=column.span_id[first:last],
        parent_id=column.parent_id[first:last],
        start_ns=column.start_ns[first:last],
        end_ns=column.end_ns[first:last],
        which=column.which[first:last],
        own={key: cells[first:last] for key, cells in column.own.items()},
        links=None if column.links is None else _links(column.links, first, last),
    )


def _links(links: Links, first: int, last: int) -> Links:
    start, end = links.bounds[[first, last]].tolist()
    return Links(
        links.bounds[first : last + 1] - start,
        links.trace_id[start:end],
        links.span_id[start:end],
        {key: cells[start:end] for key, cells in links.attributes.items()},
    )
