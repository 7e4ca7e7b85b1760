"""The span of one record: a shape, evaluated on the marks that there are now."""

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

from spanserve.tracing.expansion.shape import SpanShape, item_failure, linked_wait_ns
from spanserve.tracing.model import names
from spanserve.tracing.model.failure import Failure
from spanserve.tracing.model.ids import QUEUE, copy_place, derived_id, item_place
from spanserve.tracing.model.span import AttributeValue, Event, Link, Span
from spanserve.tracing.recording.attempt import Attempt
from spanserve.tracing.recording.base import Record
from spanserve.tracing.recording.custom import CustomEvent, CustomSpan
from spanserve.tracing.recording.record import BatchRecord, ItemRecord, RequestRecord

_NEVER_NS: Final = 1 << 63
_TEXTS: Final = names.EXCEPTION_MESSAGE, names.EXCEPTION_STACKTRACE
_NO_BATCH: Final = BatchRecord("", "", 0, runner_free_ns=0, released_ns=0)


class ItemRow:
    """An item of a request as a shape sees it."""

    __slots__ = ("own", "request")

    is_last = True

    def __init__(self, request: RequestRecord, own: ItemRecord) -> None:
        self.request = request
        self.own = own

    @property
    def item(self) -> "ItemRow":
        """Itself: it is seen as an attempt at it, too."""
        return self

    @property
    def batch(self) -> BatchRecord:
        """Its batch, or what stands for none."""
        return self.own.batch or _NO_BATCH

    @property
    def attempt(self) -> BatchRecord:
        """The first attempt at it, which is its batch's."""
        return self.batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self.own, name)

    @property
    def last_attempt(self) -> Attempt:
        """The last attempt that the request lived to see."""
        return self.request.attempts(self.own.position, self.batch)[-1]


class AttemptRow:
    """An attempt at a batch as a shape sees it."""

    __slots__ = ("batch", "own")

    def __init__(self, batch: BatchRecord, own: Attempt) -> None:
        self.batch = batch
        self.own = own

    def __getattr__(self, name: str) -> Any:
        return getattr(self.own, name)


class CustomRow:
    """A span of the user's code, as of `end_ns`; 0 as it begins."""

    __slots__ = ("debug", "end_ns", "own", "root_id", "trace_id", "tracestate")

    def __init__(self, record: Record, own: CustomSpan, end_ns: int) -> None:
        self.own = own
        self.end_ns = end_ns
        self.trace_id, self.root_id = record.trace_id, record.root_id
        self.tracestate, self.debug = record.tracestate, record.debug

    def __getattr__(self, name: str) -> Any:
        return getattr(self.own, name)

    @property
    def error(self) -> Failure | None:
        """What is said of its failing, where it failed without an exception."""
        text = self.own.error
        return None if text is None else Failure(0, "", text, "")


class Values:
    """Operations on one row's values, for a shape: what `operations.Columns` are for many."""

    none: Final = None
    silent: Final = Failure(0, "", "", "")
    no_parent: Final = None

    def __init__(self, *, include_batch_run: bool) -> None:
        self.include_batch_run = include_batch_run

    minimum = staticmethod(min)
    maximum = staticmethod(max)
    given = staticmethod(bool)
    span_id = hex_id = staticmethod(derived_id)
    copy_slot = staticmethod(copy_place)

    @staticmethod
    def where(condition: Any, value: Any, other: Any) -> Any:
        """Return a value where the condition holds, and else the other."""
        return value if condition else other

    @staticmethod
    def no(condition: Any) -> bool:
        """Say whether a condition does not hold."""
        return not condition

    @staticmethod
    def end_of(record: Any) -> int:
        """Return when a record ended; what is open has not yet."""
        ended_ns: int = record.ended_ns
        return ended_ns or _NEVER_NS

    @staticmethod
    def call(function: Callable[..., Any], *values: Any) -> Any:
        """Return the result of a function."""
        return function(*values)

    @staticmethod
    def ms(length_ns: int) -> float:
        """Return a length as it is shown."""
        return length_ns / 1e6

    @staticmethod
    def is_none(failure: Failure | None) -> bool:
        """Say whether there is no failure."""
        return failure is None

    @staticmethod
    def has(failure: Failure | None) -> bool:
        """Say whether there is a failure."""
        return failure is not None

    @staticmethod
    def time_of(failure: Failure | None) -> int:
        """Return when it failed; 0 where it did not."""
        return 0 if failure is None else failure.time_ns

    @staticmethod
    def type_of(failure: Failure | None) -> str:
        """Return the type of an exception."""
        return "" if failure is None else failure.type

    @staticmethod
    def has_type(failure: Failure | None) -> bool:
        """Say whether a failure is an exception."""
        return failure is not None and bool(failure.type)

    def first_failed(self, request: RequestRecord) -> tuple[Failure | None, bool]:
        """Return why the first item failed that did, and whether another span shows it."""
        for item in request.items:
            if item.failure is not None and item.batch is not None:
                failure, is_shown = item_failure(self, ItemRow(request, item))
                if failure is not None:
                    return failure, is_shown
        return None, True

    def members(self, batch: BatchRecord) -> Sequence[Link]:
        """Return the links to the members of a batch that are known by now."""
        if batch.rows is None:
            return ()
        return [
            Link(
                member.trace_id,
                derived_id(member.root_id, item_place(max(member.item, 0), QUEUE)),
                {
                    names.LINK_POSITION: position,
                    names.LINK_WAIT_MS: self.ms(linked_wait_ns(self, batch, member.queued_ns)),
                },
            )
            for position, member in batch.rows
        ]


class SpanMaker:
    """Makes single spans; `offset_ns` turns a monotonic mark into Unix time.

    The rest is as in `Expander`. A record may still be open: then its spans are what is known of
    them so far.
    """

    def __init__(
        self,
        offset_ns: int,
        *,
        batch_spans: Literal["full", "linked"] = "full",
        exceptions: Literal["full", "type"] = "full",
    ) -> None:
        self._op = Values(include_batch_run=batch_spans == "full")
        self._offset_ns = offset_ns
        self._with_texts = exceptions == "full"

    def span(self, shape: SpanShape, row: Any) -> Span:
        """Return the span of a shape that a row has."""
        op, offset_ns = self._op, self._offset_ns
        trace = shape.trace(op, row)
        attributes: dict[str, AttributeValue] = {}
        if shape.common is not None:
            attributes.update(shape.common(op, row))
        for key, value, given in shape.said:
            if given is None or given(op, row):
                attributes[key] = value(op, row)
        parent_id = (
            derived_id(trace.root_id, shape.parent(op, row))
            if shape.parent_id is None
            else shape.parent_id(op, row)
        )
        end_ns = shape.end_ns(op, row)
        failure: Failure | None = shape.failure(op, row)
        own = () if shape.events is None else shape.events(op, row)
        return Span(
            shape.name(op, row),
            shape.kind(op, row),
            trace.trace_id,
            derived_id(trace.root_id, shape.slot(op, row)),
            parent_id,
            shape.start_ns(op, row) + offset_ns,
            end_ns + offset_ns,
            attributes,
            () if shape.links is None else shape.links(op, row),
            self._events(own, failure, end_ns) if own or failure else (),
            None if failure is None else failure.message if self._with_texts else "",
            trace.debug,
            trace.tracestate,
        )

    def _events(
        self, own: Sequence[CustomEvent], failure: Failure | None, end_ns: int
    ) -> Sequence[Event]:
        events = [
            Event(event.name, event.time_ns + self._offset_ns, self._told(event))
            for event in tuple(own)
            if event.time_ns <= end_ns
        ]
        if failure is not None and failure.type and self._with_texts:
            said = {
                names.EXCEPTION_TYPE: failure.type,
                names.EXCEPTION_MESSAGE: failure.message,
                names.EXCEPTION_STACKTRACE: failure.stack,
            }
            events.append(Event(names.EXCEPTION, failure.time_ns + self._offset_ns, said))
        return tuple(events)

    def _told(self, event: CustomEvent) -> dict[str, AttributeValue]:
        """Return what an event says, without the texts of an exception where they stay out."""
        if self._with_texts or event.name != names.EXCEPTION:
            return dict(event.attributes)
        return {key: value for key, value in event.attributes.items() if key not in _TEXTS}
