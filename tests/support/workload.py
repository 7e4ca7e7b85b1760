"""Any work that a server may do, drawn by hypothesis and written into real records.

What happens here is what server and batcher do, in an order they may do it in; the clock
ticks at each reading, so that no two marks are the same.
"""

from dataclasses import dataclass, field

from hypothesis import strategies as st

from spanserve import Span
from spanserve.tracing.model.failure import failure_of
from spanserve.tracing.model.ids import RUN, item_place
from spanserve.tracing.recording.attempt import RunBy
from spanserve.tracing.recording.base import Record, Scope
from spanserve.tracing.recording.counting import spans_of_request
from spanserve.tracing.recording.custom import CustomEvent, CustomSpan
from spanserve.tracing.recording.record import BatchRecord, ItemRecord, RequestRecord
from spanserve.tracing.recording.table import LATE
from spanserve.tracing.tracing import Tracing
from support.gate import UNIX_NS, Sent, answered, begun, queued, released
from support.oracle.expansion import Expansion
from support.oracle.late import late_record
from support.oracle.pieces import Pieces

ENDS = ("answered", "bad_body", "refused", "left_in_queue", "left_released", "left_in_run", "lost")
BATCH_ENDS = ("ok", "collate", "run", "split", "items")


@dataclass
class Workload:
    """Draws what happens, does it, and keeps what was recorded."""

    tracing: Tracing
    draw: st.DataObject
    linked: bool = False
    requests: list[RequestRecord] = field(default_factory=list)
    ends: dict[int, str] = field(default_factory=dict)
    batches: list[BatchRecord] = field(default_factory=list)
    early: dict[int, list[Span]] = field(default_factory=dict)
    counts: dict[int, int] = field(default_factory=dict)
    queue: list[ItemRecord] = field(default_factory=list)
    customs: list[tuple[Record, Scope, CustomSpan]] = field(default_factory=list)
    later: list[tuple[Scope, CustomSpan]] = field(default_factory=list)
    unsampled_items: int = 0
    sent: Sent = field(init=False)

    def __post_init__(self) -> None:
        self.sent = Sent.of(self.tracing)

    def run(self) -> None:
        """Let some requests come, some plain and some in batches, and all of them end."""
        for _ in range(self.draw.draw(st.integers(1, 6), "requests")):
            self.queue += self._arrive()
        self.queue = self.draw.draw(st.permutations(self.queue), "queue")
        while self.queue:
            size = self.draw.draw(st.integers(1, len(self.queue)), "size")
            items, self.queue = self.queue[:size], self.queue[size:]
            self._batch(items)
        for record in self.requests:
            self._end(record, 200)
        self._late()

    def expansion(self) -> Expansion:
        """Return what makes the spans of records, one by one."""
        return Expansion(Pieces(UNIX_NS, batch_spans="linked" if self.linked else "full"))

    def spans(self) -> list[Span]:
        """Return all spans that go to the exporter, expanded after everything is over."""
        expand = self.expansion().spans
        requests = [each for each in self.requests if each.recording]
        batches = [each for each in self.batches if each.recording]
        late = [late_record(each) for each in self.sent if each[0] == LATE]
        return [span for each in (*requests, *batches, *late) for span in expand(each)]

    def _arrive(self) -> list[ItemRecord]:
        sampled = self.draw.draw(st.booleans(), "sampled")
        record = begun(self.tracing, {} if sampled else {"b3": "0"})
        self.requests.append(record)
        now_ns = self.tracing.now_ns
        if self.draw.draw(st.booleans(), "decodes"):
            record.decode_started(now_ns())
            record.decode_ended(now_ns())
        end = self.draw.draw(st.sampled_from((*ENDS, "plain")), "end")
        self.ends[id(record)] = end
        if end in {"bad_body", "refused"}:
            self._end(record, 422 if end == "bad_body" else 429)
        elif end == "plain":
            self._plain(record)
        else:
            items = [queued(self.tracing, record) for _ in range(self.draw.draw(st.integers(1, 3)))]
            if end != "left_in_queue":
                return items
            for item in items:
                record.item_dequeued(item, now_ns())
            self._end(record, 504)
        return []

    def _plain(self, record: RequestRecord) -> None:
        now_ns = self.tracing.now_ns
        if self.draw.draw(st.booleans(), "waits"):
            record.plain_queued(now_ns())
        how = self.draw.draw(st.sampled_from(("ok", "raises", "timed_out", "late", "never")))
        if how in {"late", "never"}:
            self._end(record, 504)
        if how == "never":
            return
        record.runner = self._runner()
        record.plain_run_started(now_ns())
        self._user_code(record, RUN)
        if how == "timed_out":
            self._end(record, 504)
        if how == "raises":
            record.failure = failure_of(KeyError("k"), now_ns())
        record.plain_run_ended(now_ns())
        self._end(record, 500 if how == "raises" else 200)

    def _runner(self) -> RunBy | None:
        return self.draw.draw(st.sampled_from((None, None, ("process", 0), ("process", 1))))

    def _batch(self, items: list[ItemRecord]) -> None:
        now_ns = self.tracing.now_ns
        batch = released(self.tracing, items)
        self.batches.append(batch)
        if batch.recording:
            self.unsampled_items += sum(not i.request.recording for i in items if i.request)
        self._leave(items, "left_released")
        how = self.draw.draw(st.sampled_from(BATCH_ENDS), "batch")
        batch.runner = self._runner()
        batch.collate_started(now_ns())
        if how != "collate":
            batch.run_started(now_ns())
            only = _record(items[0]) if batch.size == 1 else None
            place = item_place(items[0].index, RUN) if only else RUN
            self._user_code(only or batch, place)
            self._leave(items, "left_in_run")
            if how != "run":
                batch.run_ended(now_ns())
        if how in {"collate", "run", "split"}:
            self._fail(batch, items)
        if how in {"collate", "run"} and batch.size > 1 and self.draw.draw(st.booleans(), "retry"):
            middle = batch.size // 2
            self._retry(batch, items[:middle])
            self._retry(batch, items[middle:])
        self._leave(items, "lost")
        batch.ended(now_ns())
        if how == "items":
            self._fail_one(batch, items)
        self.tracing.answered(batch, ())

    def _fail(self, batch: BatchRecord, items: list[ItemRecord]) -> None:
        now_ns = self.tracing.now_ns()
        batch.failure = failure_of(ValueError("v"), now_ns)
        if batch.run_ns and not batch.ran_ns:
            batch.run_ended(now_ns)
        for item in items:
            item.failure = batch.failure
            record = _record(item)
            if record is not None and not record.status:
                record.status = 500

    def _retry(self, batch: BatchRecord, items: list[ItemRecord]) -> None:
        now_ns = self.tracing.now_ns
        retry = batch.retry([item.position for item in items])
        retry.runner = self._runner()
        retry.collate_started(now_ns())
        retry.run_started(now_ns())
        self._user_code(batch, retry.place(RUN))
        fails = self.draw.draw(st.booleans(), "fails again")
        retry.failure = failure_of(ValueError("again"), now_ns()) if fails else None
        for item in items:
            item.failure = retry.failure
            record = _record(item)
            if record is not None and not record.ended_ns:
                record.status = 500 if fails else 0
        retry.run_ended(retry.failure.time_ns if retry.failure else now_ns())
        retry.ended(now_ns())

    def _fail_one(self, batch: BatchRecord, items: list[ItemRecord]) -> None:
        item = self.draw.draw(st.sampled_from(items), "failed item")
        record = _record(item)
        if record is not None and not record.ended_ns:
            item.failure = failure_of(ValueError("this one"), batch.ran_ns)
            record.status = 500

    def _leave(self, items: list[ItemRecord], end: str) -> None:
        for item in items:
            record = _record(item)
            if record is not None and self.ends[id(record)] == end:
                record.client_left = end == "lost"
                self._end(record, 0 if end == "lost" else 504)

    def _end(self, record: RequestRecord, status: int) -> None:
        if record.ended_ns:
            return
        for item in self.queue:
            if item.request is record:
                record.item_dequeued(item, self.tracing.now_ns())
        self.queue = [item for item in self.queue if item.request is not record]
        if status == 200:
            answered(self.tracing, record, record.status or status)
        else:
            record.status = status
            self.tracing.request_ended(record)
        if record.recording:
            self.early[id(record)] = self.expansion().spans(record)
            self.counts[id(record)] = spans_of_request(record, include_batch_run=not self.linked)

    def _user_code(self, record: Record, place: int, depth: int = 0) -> None:
        scope = self.tracing.scope(record, place)
        if not record.recording or scope is None:
            return
        now_ns = self.tracing.now_ns
        for _ in range(self.draw.draw(st.integers(0, 2 if depth < 3 else 0), "customs")):
            inside = scope.opened(f"custom {depth}", now_ns(), {})
            custom = inside.custom
            assert custom is not None
            self.customs.append((record, scope, custom))
            if self.draw.draw(st.booleans(), "event"):
                custom.events.append(CustomEvent("e", now_ns(), {"n": 1}))
            self._user_code(record, inside.place, depth + 1)
            how = self.draw.draw(st.sampled_from(("ends", "raises", "open", "later")), "custom")
            if how == "raises":
                custom.failure = failure_of(ValueError("c"), now_ns())
            if how == "later":
                self.later.append((scope, custom))
            elif how != "open":
                scope.closed(custom, now_ns())
            self._end_some()
            if how == "ends" and self.draw.draw(st.booleans(), "afterwards"):
                after = inside.opened("afterwards", now_ns(), {})
                assert after.custom is not None
                self.customs.append((record, inside, after.custom))
                inside.closed(after.custom, now_ns())

    def _end_some(self) -> None:
        """End a span that was opened before, perhaps in a record that is over by now."""
        if not self.later:
            return
        if self.draw.draw(st.booleans(), "ends now"):
            scope, custom = self.later.pop(0)
            scope.closed(custom, self.tracing.now_ns())

    def _late(self) -> None:
        """Let what is open end, or stay open to the end, and begin more in what is over."""
        for record, scope, _ in self.customs[::2]:
            inside = scope.opened("late", self.tracing.now_ns(), {})
            if record.recording and inside.custom is not None:
                self.customs.append((record, scope, inside.custom))
                scope.closed(inside.custom, self.tracing.now_ns())
        for scope, custom in self.later[::2]:
            scope.closed(custom, self.tracing.now_ns())
        self.tracing.late.stop()


def _record(item: ItemRecord) -> RequestRecord | None:
    return None if item.request is None else item.request.full_record
