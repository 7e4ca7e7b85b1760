"""Which records of a block are meant, to come back to those that did not go out."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

from spanserve import Column

Block: TypeAlias = Sequence[Column]
"""As in `spanserve.Spans`: the i-th rows of all columns are one record's spans."""


class Records(NamedTuple):
    """The records of a block from `first` up to `last`."""

    block: Block
    first: int
    last: int

    def alone(self) -> Block:
        """Return them as a block of their own, without a copy of what they hold."""
        return [column.part(self.first, self.last) for column in self.block]


def joined(some: Iterable[Records]) -> Sequence[Records]:
    """Return the same records, those that follow each other in a block as one."""
    found: list[Records] = []
    for each in some:
        if found and found[-1].block is each.block and found[-1].last == each.first:
            found[-1] = found[-1]._replace(last=each.last)
        else:
            found.append(each)
    return found
