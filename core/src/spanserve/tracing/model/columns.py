"""What a tracer is handed: spans in a sequence, and behind it, in columns, those that are alike.

A `Span` of its own is made only where one is asked for. A tracer that writes thousands a second
takes the columns instead: one call of NumPy then does for a field of all what would cost a call
of Python for each.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, pairwise, repeat
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar, overload

import numpy as np
import numpy.typing as npt

from spanserve.tracing.model.span import Attributes, AttributeValue, Event, Link, Span, SpanKind

T = TypeVar("T")
D = TypeVar("D")

_NOTHING_ELSE: Final = Link("", "")

Cells: TypeAlias = npt.NDArray[Any]
"""A value for each row: integers, `timedelta64[ns]` for a length, shown in ms, or ASCII bytes."""


def hex_digits(ids: Cells) -> Cells:
    """Return the 16 hex digits (`S16`) of each id of a column."""
    return np.frombuffer(ids.astype(">u8").tobytes().hex().encode(), "S16")


class Links(NamedTuple):
    """The links of a column's spans: those from `bounds[i]` up to `bounds[i + 1]` are row i's.

    `trace_id` and `span_id` are as a column's; every link has all of the attributes. What else
    link j says, further attributes, a tracestate and whether it is remote, is that of the link
    `common[which[j]]`, whose ids count for nothing; there is nothing else without `which`.
    """

    bounds: Cells
    trace_id: Cells
    span_id: Cells
    attributes: Mapping[str, Cells]
    common: Sequence[Link] = ()
    which: Cells | None = None

    def part(self, first: int, last: int) -> "Links":
        """Return those of the rows from `first` up to `last`, without a copy of what they hold."""
        start, end = self.bounds[[first, last]].tolist()
        return Links(
            self.bounds[first : last + 1] - start,
            self.trace_id[start:end],
            self.span_id[start:end],
            {key: cells[start:end] for key, cells in self.attributes.items()},
            self.common,
            None if self.which is None else self.which[start:end],
        )


class Events(NamedTuple):
    """The events of a column's spans: those from `bounds[i]` up to `bounds[i + 1]` are row i's.

    Event j is `common[which[j]]`, but at its own time.
    """

    bounds: Cells
    time_ns: Cells
    common: Sequence[Event]
    which: Cells

    def part(self, first: int, last: int) -> "Events":
        """Return those of the rows from `first` up to `last`, without a copy of what they hold."""
        start, end = self.bounds[[first, last]].tolist()
        return Events(
            self.bounds[first : last + 1] - start,
            self.time_ns[start:end],
            self.common,
            self.which[start:end],
        )


class Column(NamedTuple):
    """Spans that are alike, a row each; their fields mean what they mean in `Span`.

    `trace_id` is an array of 32 hex digits (`S32`), `span_id` and `parent_id` are of `uint64`
    (0: a root), times are of `int64`. The attributes of row i are `common[which[i]]` and the
    i-th cells of `own`; no key is in both. Its tracestate is `tracestates[whose[i]]`, and empty
    where there is no `whose`.

    What few spans have is there for all rows or for none: links, events, the debug flag, and
    errors, of which row i's is `errors[failures[i]]`.
    """

    name: str
    kind: SpanKind
    trace_id: Cells
    span_id: Cells
    parent_id: Cells
    start_ns: Cells
    end_ns: Cells
    common: Sequence[Attributes]
    which: Cells
    own: Mapping[str, Cells]
    links: Links | None = None
    tracestates: Sequence[str] = ()
    whose: Cells | None = None
    events: Events | None = None
    errors: Sequence[str] = ()
    failures: Cells | None = None
    debug: bool = False

    def part(self, first: int, last: int) -> "Column":
        """Return the rows from `first` up to `last`, without a copy of what they hold."""
        return self._replace(
            trace_id=self.trace_id[first:last],
            span_id=self.span_id[first:last],
            parent_id=self.parent_id[first:last],
            start_ns=self.start_ns[first:last],
            end_ns=self.end_ns[first:last],
            which=self.which[first:last],
            own={key: cells[first:last] for key, cells in self.own.items()},
            links=None if self.links is None else self.links.part(first, last),
            whose=None if self.whose is None else self.whose[first:last],
            events=None if self.events is None else self.events.part(first, last),
            failures=None if self.failures is None else self.failures[first:last],
        )

    def spans(self) -> Iterator[Span]:
        """Make all spans, in the order of the rows."""
        return map(
            Span,
            repeat(self.name),
            repeat(self.kind),
            map(bytes.decode, self.trace_id.tolist()),
            map("{:016x}".format, self.span_id.tolist()),
            map(_parent, self.parent_id.tolist()),
            self.start_ns.tolist(),
            self.end_ns.tolist(),
            _attributes(self),
            repeat(()) if self.links is None else _links(self.links),
            repeat(()) if self.events is None else _events(self.events),
            _chosen(self.errors, self.failures, None),
            repeat(self.debug),
            _chosen(self.tracestates, self.whose, ""),
        )


Block: TypeAlias = Sequence[Column]
"""Records that are alike: the i-th rows of all columns are one record's spans, parents first."""


class Spans(Sequence[Span]):
    """The spans of one call of `export_spans`.

    `blocks` are those that are alike, and `others` those that stand alone. Parents come before
    their children; between them may come spans of other records.
    """

    def __init__(self, blocks: Sequence[Block], others: Sequence[Span] = ()) -> None:
        self.blocks = blocks
        self.others = others
        self._made: Sequence[Span] | None = None

    @classmethod
    def joined(cls, several: Iterable[Sequence[Span]]) -> "Spans":
        """Return spans in one sequence: those that are in columns stay so."""
        blocks: list[Block] = []
        others: list[Span] = []
        for spans in several:
            blocks += spans.blocks if isinstance(spans, Spans) else ()
            others += spans.others if isinstance(spans, Spans) else spans
        return cls(blocks, others)

    def parts(self, count: int) -> "Sequence[Spans]":
        """Return the same spans in so many parts, about as long as each other.

        Those in columns are parted by whole records. Where there are few, a part may be empty.
        """
        if count == 1:
            return [self]
        lengths = [len(block[0].span_id) for block in self.blocks]
        parts = []
        for number in range(count):
            share = [
                (length * number // count, length * (number + 1) // count) for length in lengths
            ]
            blocks = [
                [column.part(*rows) for column in block]
                for block, rows in zip(self.blocks, share, strict=True)
                if rows[0] < rows[1]
            ]
            parts.append(Spans(blocks, self.others[number::count]))
        return parts

    def __len__(self) -> int:
        return sum(len(column.span_id) for block in self.blocks for column in block) + len(
            self.others
        )

    def __iter__(self) -> Iterator[Span]:
        return iter(self._all())

    @overload
    def __getitem__(self, index: int) -> Span: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Span]: ...
    def __getitem__(self, index: int | slice) -> Span | Sequence[Span]:
        return self._all()[index]

    def _all(self) -> Sequence[Span]:
        if self._made is None:
            rows = (
                zip(*(column.spans() for column in block), strict=True) for block in self.blocks
            )
            records: Iterable[tuple[Span, ...]] = chain.from_iterable(rows)
            self._made = [*chain.from_iterable(records), *self.others]
        return self._made


def _parent(parent_id: int) -> str | None:
    return f"{parent_id:016x}" if parent_id else None


def _attributes(column: Column) -> Iterator[Attributes]:
    keys = tuple(column.own)
    common = map(column.common.__getitem__, column.which.tolist())
    if not keys:
        return map(dict, common)
    rows = zip(*map(_values, column.own.values()), strict=True)
    pairs = zip(common, rows, strict=True)
    return ({**some, **dict(zip(keys, row, strict=True))} for some, row in pairs)


def _values(cells: Cells) -> Sequence[AttributeValue]:
    """Return the cells of a column as a span's attribute holds them."""
    if cells.dtype.kind == "m":
        return [length / 1e6 for length in cells.astype(np.int64).tolist()]
    if cells.dtype.kind == "S":
        return [text.decode() for text in cells.tolist()]
    plain: list[AttributeValue] = cells.tolist()
    return plain


def _chosen(values: Sequence[T], which: Cells | None, none: D) -> Iterator[T | D]:
    """Return one of some values for each row, without end where no row has any."""
    return repeat(none) if which is None else map(values.__getitem__, which.tolist())


def _links(links: Links) -> Iterator[Sequence[Link]]:
    keys = tuple(links.attributes)
    rows = zip(*map(_values, links.attributes.values()), strict=True) if keys else repeat(())
    made = [
        Link(
            trace_id.decode(),
            f"{span_id:016x}",
            {**rest.attributes, **dict(zip(keys, row, strict=True))},
            rest.tracestate,
            rest.is_remote,
        )
        for trace_id, span_id, row, rest in zip(
            links.trace_id.tolist(),
            links.span_id.tolist(),
            rows,
            _chosen(links.common, links.which, _NOTHING_ELSE),
            strict=False,  # some have no end
        )
    ]
    return _by_row(made, links.bounds)


def _events(events: Events) -> Iterator[Sequence[Event]]:
    common = map(events.common.__getitem__, events.which.tolist())
    pairs = zip(common, events.time_ns.tolist(), strict=True)
    return _by_row([Event(name, at, said) for (name, _, said), at in pairs], events.bounds)


def _by_row(several: Sequence[T], bounds: Cells) -> Iterator[Sequence[T]]:
    return (several[start:end] for start, end in pairwise(bounds.tolist()))
