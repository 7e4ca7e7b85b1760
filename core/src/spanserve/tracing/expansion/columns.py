"""One kind of span of many rows, as columns: a shape, evaluated on arrays.

Rows of which the spans say different things stand in different columns.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from spanserve.tracing.expansion.operations import Columns
from spanserve.tracing.expansion.rows import Coded, Ragged, Rows, taken
from spanserve.tracing.expansion.shape import SpanShape
from spanserve.tracing.model import names
from spanserve.tracing.model.columns import Cells, Column, Events, Links
from spanserve.tracing.model.grouping import links_of
from spanserve.tracing.model.span import Attributes, Event
from spanserve.tracing.recording.custom import CustomEvent

_TEXTS = names.EXCEPTION_MESSAGE, names.EXCEPTION_STACKTRACE


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a shape is evaluated with.

    `offset_ns` turns a monotonic mark into Unix time; with `exceptions` "type" the texts of
    exceptions stay out of the trace.
    """

    op: Columns
    offset_ns: int
    exceptions: Literal["full", "type"]
    checkpoint: Callable[[], None]

    def columns(self, shape: SpanShape, rows: Rows) -> Iterator[Column]:
        """Yield the spans of a shape that these rows have."""
        if not rows.count:
            return
        exists = shape.exists(self.op, rows)
        if np.ndim(exists) == 0:
            if not exists:
                return
        elif not exists.all():
            rows = rows.take(np.flatnonzero(exists))
            if not rows.count:
                return
        fields = _Fields(self, shape, rows)
        for at in fields.signatures():
            self.checkpoint()
            yield fields.column(at)


class _Fields:
    """The fields of a shape's spans: a column each, or one value for all rows."""

    def __init__(self, evaluation: Evaluation, shape: SpanShape, rows: Rows) -> None:
        self._evaluation, op = evaluation, evaluation.op
        self._count = rows.count
        trace = shape.trace(op, rows)
        self._nesting = shape.nesting(op, rows)
        self._name, self._kind = shape.name(op, rows), shape.kind(op, rows)
        self._trace_id = trace.trace_id
        self._span_id = op.span_id(trace.root_id, shape.slot(op, rows))
        if shape.parent_id is None:
            self._parent_id = op.span_id(trace.root_id, shape.parent(op, rows))
        else:
            self._parent_id = shape.parent_id(op, rows)
        self._start_ns = shape.start_ns(op, rows)
        self._end_ns = shape.end_ns(op, rows)
        self._tracestate, self._debug = trace.tracestate, trace.debug
        self._common = {} if shape.common is None else shape.common(op, rows)
        self._failure = shape.failure(op, rows)
        self._links = () if shape.links is None else shape.links(op, rows)
        self._events = None if shape.events is None else shape.events(op, rows)
        self._said: list[tuple[str, Any, Any]] = []
        masks: dict[Any, Any] = {None: True}
        for key, value, given in shape.said:
            if given is not None and given not in masks:
                masks[given] = _mask(given(op, rows))
            where = masks[given]
            if where is not False:
                self._said.append((key, value(op, rows), where))

    def signatures(self) -> Iterator[Cells | None]:
        """Yield the places of rows whose spans have the same fields; None for all rows."""
        parts = [self._nesting, *(where for _, _, where in self._said)]
        parts += [_mask(self._failure != 0), _mask(self._debug)]
        parts += [each.codes for each in (self._name, self._kind) if isinstance(each, Coded)]
        joint: Cells | None = None
        for part in parts:
            if isinstance(part, np.ndarray):
                codes = part.astype(np.intp)
                joint = codes if joint is None else joint * (codes.max() + 1) + codes
                _, joint = np.unique(joint, return_inverse=True)
        if joint is None or (joint == joint[0]).all():
            yield None if joint is None else np.arange(self._count)
            return
        order = np.argsort(joint, kind="stable")
        yield from np.split(order, np.flatnonzero(np.diff(joint[order])) + 1)

    def column(self, at: Cells | None) -> Column:
        """Return the spans of these rows, which have the same fields, as one column."""
        count = self._count if at is None else len(at)
        offset_ns = self._evaluation.offset_ns
        end_ns = _full(self._at(self._end_ns, at), count, np.int64)
        common, which, own = self._attributes(at, count)
        column = Column(
            self._one(self._name, at),
            self._one(self._kind, at),
            self._at(self._trace_id, at),
            self._at(self._span_id, at),
            _full(self._at(self._parent_id, at), count, np.uint64),
            _full(self._at(self._start_ns, at), count, np.int64) + offset_ns,
            end_ns + offset_ns,
            common,
            which,
            own,
            self._links_of(at, count),
            events=self._events_of(at, count, end_ns),
            debug=bool(self._one(self._debug, at)),
        )
        state = self._at(self._tracestate, at)
        if isinstance(state, Coded):
            column = column._replace(tracestates=state.values, whose=state.codes)
        elif state:
            column = column._replace(tracestates=[state], whose=np.zeros(count, np.intp))
        return self._with_errors(column, at, count)

    @staticmethod
    def _at(value: Any, at: Cells | None) -> Any:
        return value if at is None else taken(value, at)

    def _one(self, value: Any, at: Cells | None) -> Any:
        """Return the value that all these rows have in common."""
        value = self._at(value, at)
        if isinstance(value, Coded):
            return value.values[value.codes[0]]
        return value[0] if isinstance(value, np.ndarray) else value

    def _attributes(
        self, at: Cells | None, count: int
    ) -> tuple[Sequence[Attributes], Cells, Mapping[str, Cells]]:
        keys: list[str] = []
        told: list[Any] = [self._at(self._common, at)]
        own: dict[str, Cells] = {}
        for key, value, where in self._said:
            if self._one(where, at):
                cells = self._at(value, at)
                if isinstance(cells, np.ndarray):
                    own[key] = cells
                else:
                    keys.append(key)
                    told.append(cells)

        def mapping(common: Attributes, *values: Any) -> Attributes:
            return {**common, **dict(zip(keys, values, strict=True))}

        found = self._evaluation.op.call(mapping, *map(_compact, told))
        if isinstance(found, Coded):
            return found.values, found.codes, own
        return [found], np.zeros(count, np.intp), own

    def _links_of(self, at: Cells | None, count: int) -> Links | None:
        links = self._at(self._links, at)
        if isinstance(links, Ragged):
            return links.links
        if not isinstance(links, Coded) and not links:
            return None
        if isinstance(links, Coded):
            several = [links.values[code] for code in links.codes.tolist()]
        else:
            several = [links] * count
        return links_of(several) if any(several) else None

    def _with_errors(self, column: Column, at: Cells | None, count: int) -> Column:
        if not self._one(self._failure, at):
            return column
        failure = _full(self._at(self._failure, at), count, np.intp)
        numbers, failures = np.unique(failure, return_inverse=True)
        known = self._evaluation.op.failures
        with_texts = self._evaluation.exceptions == "full"
        errors = [known[each].message if with_texts else "" for each in numbers.tolist()]
        return column._replace(errors=errors, failures=failures)

    def _events_of(self, at: Cells | None, count: int, end_ns: Cells) -> Events | None:
        """Return each span's own events until its end, and then that of its exception."""
        own = None if self._events is None else self._at(self._events, at)
        failure = self._at(self._failure, at)
        if not isinstance(own, Coded) and isinstance(failure, int) and failure < 2:  # noqa: PLR2004
            return None
        common: list[Event] = []
        found: list[tuple[int, int]] = []
        bounds = [0]
        number_of: dict[int, int] = {}
        several = (
            [own.values[code] for code in own.codes.tolist()]
            if isinstance(own, Coded)
            else [()] * count
        )
        failures = _full(failure, count, np.intp).tolist()
        known = self._evaluation.op.failures
        for events, number, end in zip(several, failures, end_ns.tolist(), strict=True):
            for event in events:
                if event.time_ns <= end:
                    found.append((len(common), event.time_ns))
                    common.append(Event(event.name, 0, self._told(event)))
            if known[number].type and self._evaluation.exceptions == "full":
                if number not in number_of:
                    number_of[number] = len(common)
                    common.append(_exception(known[number]))
                found.append((number_of[number], known[number].time_ns))
            bounds.append(len(found))
        if not found:
            return None
        which, time_ns = zip(*found, strict=True)
        return Events(
            np.array(bounds),
            np.array(time_ns, np.int64) + self._evaluation.offset_ns,
            common,
            np.array(which, np.intp),
        )

    def _told(self, event: CustomEvent) -> Attributes:
        """Return what an event says, without the texts of an exception where they stay out."""
        if self._evaluation.exceptions == "full" or event.name != names.EXCEPTION:
            return event.attributes
        return {key: each for key, each in event.attributes.items() if key not in _TEXTS}


def _exception(failure: Any) -> Event:
    return Event(
        names.EXCEPTION,
        0,
        {
            names.EXCEPTION_TYPE: failure.type,
            names.EXCEPTION_MESSAGE: failure.message,
            names.EXCEPTION_STACKTRACE: failure.stack,
        },
    )


def _mask(condition: Any) -> Any:
    """Return a condition as one truth where it is the same for all rows."""
    if np.ndim(condition) == 0:
        return bool(condition)
    if condition.all():
        return True
    return condition if condition.any() else False


def _compact(value: Any) -> Any:
    """Leave out values that no row has."""
    if not isinstance(value, Coded) or len(value.values) <= 1:
        return value
    used, codes = np.unique(value.codes, return_inverse=True)
    if len(used) == len(value.values):
        return value
    return Coded(codes, [value.values[each] for each in used.tolist()])


def _full(value: Any, count: int, dtype: Any) -> Cells:
    """Return a column of so many rows."""
    if isinstance(value, np.ndarray) and value.ndim:
        return value
    return np.full(count, value, dtype)
