"""Gathers what tables of records hold, whatever happened to them: their rows, as they come."""

from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any, Final

from spanserve.tracing.expansion.operations import Failures
from spanserve.tracing.model.ids import RUN, retry_place
from spanserve.tracing.model.span import Link, SpanKind
from spanserve.tracing.recording.custom import CustomEvent
from spanserve.tracing.recording.table import (
    BATCH,
    BATCH_FIELDS,
    ITEM_FIELDS,
    LATE,
    REQUEST,
    REQUEST_FIELDS,
    TRACE_FIELDS,
    Table,
)

_NO_BATCH: Final = "0" * 32, 0, "", "", 0, False, False, 0, None, *[0] * 6
_trace_of: Final = itemgetter(*(REQUEST_FIELDS.index(name) for name in TRACE_FIELDS))
_CUSTOM_PLACE: Final = 1
_CUSTOM_PARENT: Final = 2
CUSTOM_FIELDS: Final = (
    "nesting",
    "name",
    "place",
    "parent_place",
    "started_ns",
    "ended_ns",
    "end_ns",
    "attributes",
    "events",
    "failure",
    "error",
    "kind",
    "links",
    "is_late",
)
"""`nesting`: how deep a span lies in others; `end_ns`: when it ended, as its trace shows it."""

_DEBUG: Final = BATCH_FIELDS.index("debug")
_SIZE: Final = BATCH_FIELDS.index("size")
_POSITION: Final = ITEM_FIELDS.index("position")


class Gathered:
    """The rows of tables; each is a tuple, and refers to others by their numbers.

    Failures are numbers of `failures`. The first batch stands for none. An attempt is a number of
    `retries`, or -1 for a batch's own.
    """

    def __init__(self, failures: Failures) -> None:
        self._failures = failures
        self.requests: list[Table] = []
        self.items: list[Table] = []
        self.batches: list[Table] = [(*_NO_BATCH, 0, 0)]
        self.own: list[int] = []
        self.members: list[Table] = []
        self.retries: list[Table] = []
        self.goes: list[tuple[int, int, int]] = []
        self.customs: list[Table] = []
        self.run_customs: list[Table] = []
        self.copies: list[tuple[int, int]] = []
        self.startups: list[Table] = []

    def add(self, table: Table) -> None:
        """Take the rows of a table; one that is broken raises, and is then to be left out."""
        kind, _, *rest = table
        if kind == REQUEST:
            self._add_request(*rest)
        elif kind == BATCH:
            self._add_batch(*rest)
        elif kind == LATE:
            trace, customs = rest
            self._add_customs(trace, customs)
        else:
            fields, failure, customs = rest
            trace_id, root_id, *_ = fields
            self.startups.append((*fields, "", False, self._failures.add(failure)))
            self._add_customs((trace_id, root_id, "", False), customs)

    def _add_request(  # noqa: PLR0917  # as it is packed
        self, fields: Table, origin: Table, failure: Any, customs: Any, items: Any, batches: Any
    ) -> None:
        request, first = len(self.requests), len(self.batches)
        self.requests.append((*fields, origin, self._failures.add(failure)))
        self._add_customs(_trace_of(fields), customs)
        gone = [self._batch_of(batch) for batch in batches]
        for number, failed, *own in items:
            item = len(self.items)
            batch = 0 if number < 0 else first + number
            self.items.append((request, batch, self._failures.add(failed), *own))
            if not batch:
                continue
            position = own[_POSITION]
            attempts, run_customs = gone[number]
            for attempt, positions in attempts:
                if positions is None or position in positions:
                    go = len(self.goes)
                    # The row of an attempt is known once all batches are: those come first.
                    self.goes.append((item, batch, attempt))
                    self.copies += [(go, custom) for custom in run_customs.get(attempt, ())]

    def _batch_of(self, packed: Table) -> tuple[Any, dict[int, list[int]]]:
        """Take a batch that a request was in; return its attempts, and the custom spans in each."""
        fields, failure, customs, retries = packed
        batch = len(self.batches)
        self.batches.append((*fields, self._failures.add(failure), len(retries)))
        attempts: list[tuple[int, Any]] = [(-1, None)]
        numbers = {RUN: -1}
        for positions, failed, *own in retries:
            numbers[retry_place(own[0], RUN)] = row = len(self.retries)
            self.retries.append((batch, tuple(positions), self._failures.add(failed), *own))
            attempts.append((row, positions))
        in_run: dict[int, list[int]] = {}
        depths: dict[int, int] = {}
        if fields[_SIZE] > 1:
            for custom in customs:  # parents before children
                attempt = numbers.get(custom[_CUSTOM_PARENT])
                if attempt is not None:
                    numbers[custom[_CUSTOM_PLACE]] = attempt
                    in_run.setdefault(attempt, []).append(len(self.run_customs))
                    self.run_customs.append(self._custom(custom, depths))
        return attempts, in_run

    def _add_batch(self, packed: Table, members: Table) -> None:
        fields, failure, customs, retries = packed
        batch = len(self.batches)
        self.batches.append((*fields, self._failures.add(failure), len(retries)))
        for positions, failed, *own in retries:
            self.retries.append((batch, tuple(positions), self._failures.add(failed), *own))
        self.own.append(batch)
        self.members.append(members)
        trace_id, root_id, *_ = fields
        self._add_customs((trace_id, root_id, "", fields[_DEBUG]), customs)

    def _add_customs(self, trace: Sequence[Any], customs: Iterable[Table]) -> None:
        depths: dict[int, int] = {}
        self.customs += [(*self._custom(custom, depths), *trace) for custom in customs]

    def _custom(self, packed: Table, depths: dict[int, int]) -> Table:
        *fields, ended_ns, attributes, events, failure, error, kind, links = packed
        said = None if error is None else (0, "", error, "")
        nesting = depths.get(packed[_CUSTOM_PARENT], -1) + 1
        depths[packed[_CUSTOM_PLACE]] = nesting
        return (
            nesting,
            *fields,
            ended_ns,
            ended_ns,
            attributes,
            tuple(CustomEvent(*event) for event in events),
            self._failures.add(failure),
            self._failures.add(said),
            SpanKind(kind),
            tuple(Link(*link) for link in links),
            False,  # where it is late, its attributes say so
        )
