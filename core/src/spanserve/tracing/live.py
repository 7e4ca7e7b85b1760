"""Records that announce their spans' boundaries to live tracers, where they happen.

The gate makes these instead of the plain ones only where a loaded tracer implements
`span_started` or `span_ended`; the code that writes marks does not know the difference.
A boundary that several requests share, such as a batch's run, is announced once, in the
batch's trace.
"""

from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from spanserve.tracing import names
from spanserve.tracing.expansion import Expansion
from spanserve.tracing.record import (
    COLLATE,
    DECODE,
    ENCODE,
    SPLIT,
    BatchRecord,
    CustomSpan,
    ItemRecord,
    Record,
    RequestRecord,
    item_place,
)
from spanserve.tracing.span import Span, SpanStart


@dataclass(frozen=True, slots=True)
class Live:
    """Where the boundaries go, and how they are made into spans."""

    started: Callable[[SpanStart], None]
    ended: Callable[[Span], None]
    expansion: Expansion

    def start(self, span: Span) -> None:
        """Announce the beginning of what is, so far, this span."""
        self.started(SpanStart(*span[:6], span.attributes, span.links))


class _LiveCustoms(Record):
    live: Live

    def custom_started(self, name: str, parent_place: int, now_ns: int) -> CustomSpan:
        span = super().custom_started(name, parent_place, now_ns)
        if self.recording:
            self.live.start(self.live.expansion.custom(self, span))
        return span

    def custom_ended(self, span: CustomSpan, now_ns: int) -> None:
        super().custom_ended(span, now_ns)
        if self.recording:
            self.live.ended(self.live.expansion.custom(self, span))


class LiveRequestRecord(_LiveCustoms, RequestRecord):
    """A request's record that announces its boundaries."""

    def __init__(
        self,
        live: Live,
        trace_id: str,
        root_id: int,
        *,
        sampled: bool,
        scope: MutableMapping[str, Any],
        started_ns: int,
    ) -> None:
        super().__init__(trace_id, root_id, sampled=sampled, scope=scope, started_ns=started_ns)
        self.live = live

    def started(self) -> None:
        """Announce the request itself, once its parent is known."""
        if self.recording:
            self.live.start(self.live.expansion.server(self))

    def _part(self, name: str, place: int, start_ns: int, end_ns: int = 0) -> None:
        if not self.recording:
            return
        span = self.live.expansion.part(self, name, place, start_ns, end_ns)
        if end_ns:
            self.live.ended(span)
        else:
            self.live.start(span)

    def decode_started(self, now_ns: int) -> None:
        super().decode_started(now_ns)
        self._part(names.DECODE, DECODE, now_ns)

    def decode_ended(self, now_ns: int) -> None:
        super().decode_ended(now_ns)
        self._part(names.DECODE, DECODE, self.decode_ns, now_ns)

    def item_queued(self, item: ItemRecord) -> None:
        super().item_queued(item)
        if self.recording:
            self.live.start(self.live.expansion.queue(self, item))

    def item_dequeued(self, item: ItemRecord, now_ns: int) -> None:
        super().item_dequeued(item, now_ns)
        if self.recording:
            self.live.ended(self.live.expansion.queue(self, item))

    def plain_queued(self, now_ns: int) -> None:
        super().plain_queued(now_ns)
        if self.recording:
            self.live.start(self.live.expansion.plain_queue(self))

    def plain_run_started(self, now_ns: int) -> None:
        super().plain_run_started(now_ns)
        if self.recording:
            if self.queued_ns:
                self.live.ended(self.live.expansion.plain_queue(self))
            self.live.start(self.live.expansion.plain_run(self))

    def plain_run_ended(self, now_ns: int) -> None:
        super().plain_run_ended(now_ns)
        if self.recording:
            self.live.ended(self.live.expansion.plain_run(self))

    def encode_started(self, now_ns: int) -> None:
        super().encode_started(now_ns)
        self._part(names.ENCODE, ENCODE, now_ns)

    def encode_ended(self, now_ns: int) -> None:
        super().encode_ended(now_ns)
        self._part(names.ENCODE, ENCODE, self.encode_ns, now_ns)

    def ended(self, now_ns: int) -> None:
        super().ended(now_ns)
        if self.recording:
            self.live.ended(self.live.expansion.server(self))


class LiveBatchRecord(_LiveCustoms, BatchRecord):
    """A batch's record that announces its boundaries, in its own trace or its only request's."""

    live: Live
    items: Sequence[ItemRecord]

    def released(self, live: Live, items: Sequence[ItemRecord]) -> None:
        """Announce the batch itself, once its members are known."""
        self.live = live
        self.items = items
        if self.recording:
            live.start(live.expansion.batch(self))

    def collate_started(self, now_ns: int) -> None:
        super().collate_started(now_ns)
        for item in self.items:
            if item.request is not None:
                item.request.item_dequeued(item, now_ns)
        self._part(names.COLLATE, COLLATE, now_ns)

    def run_started(self, now_ns: int) -> None:
        self._part(names.COLLATE, COLLATE, self.started_ns, now_ns)
        super().run_started(now_ns)
        self._run(self.live.start)

    def run_ended(self, now_ns: int) -> None:
        super().run_ended(now_ns)
        self._run(self.live.ended)
        if self.split_started:
            self._part(names.SPLIT, SPLIT, now_ns)

    def ended(self, now_ns: int) -> None:
        if not self.run_ns:
            self._part(names.COLLATE, COLLATE, self.started_ns, now_ns)
        elif self.split_started:
            self._part(names.SPLIT, SPLIT, self.ran_ns, now_ns)
        super().ended(now_ns)
        if self.recording:
            self.live.ended(self.live.expansion.batch(self))

    def _only(self) -> tuple[RequestRecord, ItemRecord] | None:
        """Return the request in whose trace a batch of one lies, where it is recorded."""
        if self.size == 1:
            request = self.items[0].request
            if request is not None and request.recording:
                return request, self.items[0]
        return None

    def _part(self, name: str, place: int, start_ns: int, end_ns: int = 0) -> None:
        owner: Record
        if only := self._only():
            owner, place = only[0], item_place(only[1].index, place)
        elif self.recording:
            owner = self
        else:
            return
        span = self.live.expansion.part(owner, name, place, start_ns, end_ns)
        if end_ns:
            self.live.ended(span)
        else:
            self.live.start(span)

    def _run(self, announce: Callable[[Span], None]) -> None:
        if only := self._only():
            request, item = only
            announce(self.live.expansion.item_run(request, item, self))
        elif self.recording:
            announce(self.live.expansion.batch_run(self))
