"""Records that announce their spans' boundaries to live tracers, where they happen.

The gate makes these instead of the plain ones only where a loaded tracer implements
`span_started` or `span_ended`; the code that writes marks does not know the difference.
A boundary that several requests share, such as a batch's run, is announced once, in the
batch's trace.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spanserve.tracing.expansion import shape
from spanserve.tracing.expansion.shape import SpanShape
from spanserve.tracing.live.values import AttemptRow, CustomRow, ItemRow, SpanMaker
from spanserve.tracing.model.ids import COLLATE, DECODE, ENCODE, QUEUE, ROOT, RUN, SPLIT, item_place
from spanserve.tracing.model.span import NO_ATTRIBUTES, Attributes, Span, SpanStart
from spanserve.tracing.recording.attempt import Attempt, Retry
from spanserve.tracing.recording.base import Record
from spanserve.tracing.recording.custom import CustomSpan
from spanserve.tracing.recording.record import BatchRecord, ItemRecord, RequestRecord

_NOWHERE = -1

Parts = Mapping[int, tuple[int, SpanShape, Any]]
"""By part: where it lies in its record, its shape, and the row that has it."""


@dataclass(frozen=True, slots=True)
class Live:
    """Where the boundaries go, and how they are made into spans.

    Nobody hears of beginnings where there is no `started`.
    """

    started: Callable[[SpanStart], None] | None
    ended: Callable[[Span], None]
    maker: SpanMaker


class Announcer:
    """The open spans of one record.

    Each boundary is announced once, children's ends before their parent's: a part that is still
    open when its request ends (which timed out while its batch runs) is said to end there, and
    what begins or ends later is not announced. Custom spans begin and end when they do.
    """

    def __init__(self, live: Live) -> None:
        self.live = live
        self._open: dict[int, tuple[int, Callable[[int], Span]]] = {}
        # Boundaries come from the loop and from the runner; a hook may open a span itself.
        self._lock = threading.RLock()

    def start(self, place: int, parent_place: int, span: Callable[[int], Span]) -> None:
        """Announce a beginning; `span` makes the span as it ends at a mark, or at 0 begins."""
        with self._lock:
            if parent_place == _NOWHERE or parent_place in self._open:
                self._open[place] = parent_place, span
                if self.live.started is None:
                    return
                begun = span(0)
                self.live.started(SpanStart(*begun[:6], begun.attributes, begun.links))

    def end(self, place: int, now_ns: int) -> None:
        """Announce an end, after those of all parts that are still open below."""
        with self._lock:
            if place not in self._open:
                return
            for child, (parent_place, _) in reversed(tuple(self._open.items())):
                if parent_place == place:
                    self.end(child, now_ns)
            _, span = self._open.pop(place)
            self.live.ended(span(now_ns))


class _LiveCustoms(Record):
    announcer: Announcer | None = None

    def custom_started(
        self,
        name: str,
        parent_place: int,
        now_ns: int,
        attributes: Attributes = NO_ATTRIBUTES,
        place: int | None = None,
    ) -> CustomSpan:
        custom = super().custom_started(name, parent_place, now_ns, attributes, place)
        if (announcer := self.announcer) is not None and not custom.is_lost:
            make = announcer.live.maker.span
            # As if it had no parent: it need not lie within its own.
            announcer.start(
                custom.place,
                _NOWHERE,
                lambda end_ns: make(shape.CUSTOM, CustomRow(self, custom, end_ns)),
            )
        return custom

    def custom_ended(self, span: CustomSpan, now_ns: int) -> None:
        super().custom_ended(span, now_ns)
        if self.announcer is not None and not span.is_lost:
            self.announcer.end(span.place, now_ns)

    def custom_given_up(self, span: CustomSpan, now_ns: int) -> None:
        if self.announcer is not None:
            self.announcer.end(span.place, now_ns)


class LiveRequestRecord(_LiveCustoms, RequestRecord):
    """A request's record that announces its boundaries."""

    def __init__(self, live: Live, *fields: Any) -> None:
        super().__init__(*fields)
        self.maker = live.maker
        if self.sampled:
            self.announcer = Announcer(live)

    def started(self) -> None:
        """Announce the request itself, once its parent is known."""
        if self.announcer is not None:
            self.announcer.start(ROOT, _NOWHERE, lambda _: self.maker.span(shape.SERVER, self))

    def _start(self, place: int, part: SpanShape, row: Any) -> None:
        if self.announcer is not None:
            self.announcer.start(place, ROOT, lambda _: self.maker.span(part, row))

    def _end(self, place: int, now_ns: int) -> None:
        if self.announcer is not None:
            self.announcer.end(place, now_ns)

    def decode_started(self, now_ns: int) -> None:
        super().decode_started(now_ns)
        self._start(DECODE, shape.DECODING, self)

    def decode_ended(self, now_ns: int) -> None:
        super().decode_ended(now_ns)
        self._end(DECODE, now_ns)

    def item_queued(self, item: ItemRecord) -> None:
        super().item_queued(item)
        self._start(item_place(item.index, QUEUE), shape.WAITING, ItemRow(self, item))

    def item_dequeued(self, item: ItemRecord, now_ns: int) -> None:
        super().item_dequeued(item, now_ns)
        self._end(item_place(item.index, QUEUE), now_ns)

    def plain_queued(self, now_ns: int) -> None:
        super().plain_queued(now_ns)
        self._start(QUEUE, shape.PLAIN_QUEUE, self)

    def plain_run_started(self, now_ns: int) -> None:
        super().plain_run_started(now_ns)
        self._end(QUEUE, now_ns)
        self._start(RUN, shape.PLAIN_RUN, self)

    def plain_run_ended(self, now_ns: int) -> None:
        super().plain_run_ended(now_ns)
        self._end(RUN, now_ns)

    def encode_started(self, now_ns: int) -> None:
        super().encode_started(now_ns)
        self._start(ENCODE, shape.ENCODING, self)

    def encode_ended(self, now_ns: int) -> None:
        super().encode_ended(now_ns)
        self._end(ENCODE, now_ns)

    def ended(self, now_ns: int) -> None:
        super().ended(now_ns)
        self._end(ROOT, now_ns)


class LiveBatchRecord(_LiveCustoms, BatchRecord):
    """A batch's record that announces its boundaries, in its own trace or its only request's."""

    _items: Sequence[ItemRecord] = ()
    _parts: Parts
    _parts_announcer: Announcer | None = None

    def released(self, live: Live, items: Sequence[ItemRecord]) -> None:
        """Announce the batch itself, once its members are known."""
        self._items = items
        make = live.maker.span
        request = items[0].request
        if self.recording and self.sampled:
            self.announcer = self._parts_announcer = Announcer(live)
            self.announcer.start(ROOT, _NOWHERE, lambda _: make(shape.BATCH, self))
            self._parts = _parts_of_batch(self, self)
        elif self.size == 1 and isinstance(request, LiveRequestRecord):
            self._parts_announcer = request.announcer
            self._parts = _parts_of_one(request, items[0])

    def collate_started(self, now_ns: int) -> None:
        super().collate_started(now_ns)
        for item in self._items:
            if item.request is not None:
                item.request.item_dequeued(item, now_ns)
        self._items = ()
        self._start(COLLATE)

    def run_started(self, now_ns: int) -> None:
        super().run_started(now_ns)
        self._end(COLLATE, now_ns)
        self._start(RUN)

    def run_ended(self, now_ns: int) -> None:
        super().run_ended(now_ns)
        self._end(RUN, now_ns)
        if self.split_started:
            self._start(SPLIT)

    def ended(self, now_ns: int) -> None:
        super().ended(now_ns)
        self._end(COLLATE, now_ns)
        self._end(SPLIT, now_ns)
        if self.announcer is not None:
            self.announcer.end(ROOT, now_ns)
        self._parts_announcer = None

    def retry(self, positions: Sequence[int]) -> Retry:
        announcer = self.announcer
        if announcer is None:
            return super().retry(positions)
        retry = LiveRetry(len(self.retries) + 1, positions, self, announcer)
        self.retries = [*self.retries, retry]
        return retry

    def _start(self, part: int) -> None:
        if self._parts_announcer is not None:
            announcer = self._parts_announcer
            place, part_shape, row = self._parts[part]
            announcer.start(place, ROOT, lambda _: announcer.live.maker.span(part_shape, row))

    def _end(self, part: int, now_ns: int) -> None:
        if self._parts_announcer is not None:
            self._parts_announcer.end(self._parts[part][0], now_ns)


class LiveRetry(Retry):
    """A retry that announces its boundaries, in its batch's trace."""

    def __init__(
        self, number: int, positions: Sequence[int], batch: BatchRecord, announcer: Announcer
    ) -> None:
        super().__init__(number, positions)
        self._batch = batch
        self._announcer = announcer
        self._parts = _parts_of_batch(batch, self)

    def collate_started(self, now_ns: int) -> None:
        super().collate_started(now_ns)
        announcer, batch = self._announcer, self._batch
        announcer.end(COLLATE, now_ns)  # the batch's own, where it raised
        make, row = announcer.live.maker.span, AttemptRow(batch, self)
        announcer.start(self.place(ROOT), ROOT, lambda _: make(shape.RETRY, row))
        self._start(COLLATE)

    def run_started(self, now_ns: int) -> None:
        super().run_started(now_ns)
        self._announcer.end(self.place(COLLATE), now_ns)
        self._start(RUN)

    def run_ended(self, now_ns: int) -> None:
        super().run_ended(now_ns)
        self._announcer.end(self.place(RUN), now_ns)
        if self.split_started:
            self._start(SPLIT)

    def ended(self, now_ns: int) -> None:
        super().ended(now_ns)
        self._announcer.end(self.place(ROOT), now_ns)

    def _start(self, part: int) -> None:
        place, part_shape, row = self._parts[part]
        make = self._announcer.live.maker.span
        self._announcer.start(place, self.place(ROOT), lambda _: make(part_shape, row))


def _parts_of_batch(batch: BatchRecord, attempt: Attempt) -> Parts:
    """Return the parts of one attempt, in its batch's trace."""
    row = AttemptRow(batch, attempt)
    return {
        COLLATE: (attempt.place(COLLATE), shape.BATCH_COLLATE, row),
        RUN: (attempt.place(RUN), shape.BATCH_RUN, row),
        SPLIT: (attempt.place(SPLIT), shape.BATCH_SPLIT, row),
    }


def _parts_of_one(request: LiveRequestRecord, item: ItemRecord) -> Parts:
    """Return the parts of a batch of one, in its request's trace."""
    row, index = ItemRow(request, item), item.index
    return {
        COLLATE: (item_place(index, COLLATE), shape.ITEM_COLLATE, row),
        RUN: (item_place(index, RUN), shape.ITEM_RUN, row),
        SPLIT: (item_place(index, SPLIT), shape.ITEM_SPLIT, row),
    }
