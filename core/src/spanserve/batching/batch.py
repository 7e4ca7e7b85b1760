"""One batch: the items in it, its run, and what each item gets of it."""

import logging
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from spanserve.batching.call import is_fault
from spanserve.errors import SpanserveError
from spanserve.tracing.failure import failure_of
from spanserve.tracing.places import RUN, item_place
from spanserve.tracing.record import BatchRecord, ItemRecord, RequestRecord
from spanserve.tracing.scope import entered
from spanserve.tracing.tracing import Tracing

log = logging.getLogger(__name__)


class RunFailedError(SpanserveError):
    """The user's code raised, or returned what cannot be split; the cause is what it raised."""


class Waiter(Protocol):
    """What waits for an item: an `asyncio.Future`, or what goes on at once when it is told."""

    def done(self) -> bool:
        """Whether it has its answer, or waits for none any more."""

    def set_result(self, result: Any, /) -> None:
        """Take the item's result; raises nothing."""

    def set_exception(self, error: Exception, /) -> None:
        """Take the reason why there is no result; raises nothing."""

    def cancel(self) -> object:
        """Learn that the item left the queue."""


class Batched(Protocol):
    """How a method runs on a batch: what the batcher needs of an endpoint's codec."""

    def batch_key(self, item: Any) -> Hashable:
        """Return what all items of one batch must have in common."""

    def collate(self, items: Sequence[Any]) -> Any:
        """Make the method's argument of the items; on the runner."""

    def split(self, result: Any, count: int) -> Sequence[Any]:
        """Make one result an item of the method's answer; on the runner."""


@dataclass(frozen=True, slots=True)
class Work:
    """What one endpoint does with a batch: call `method(instance, argument)` of the service."""

    endpoint: str
    method: Callable[[Any, Any], Any]
    codec: Batched
    tracing: Tracing


class Item(ItemRecord):
    """One item in the queue: its value, and who waits for its result."""

    __slots__ = ("future", "gone", "key", "value")

    def __init__(  # noqa: PLR0917  # made for every request: keywords would cost
        self,
        value: Any,
        key: Hashable,
        future: Waiter,
        gone: Callable[[], bool] | None,
        request: RequestRecord | None,
        queued_ns: int,
        depth: int,
    ) -> None:
        super().__init__(request, queued_ns, depth)
        self.value = value
        self.key = key
        self.future = future
        self.gone = gone

    def forget(self) -> None:
        """Let go of all but the record, once answered: an exporter holds on to that for a while.

        What is let go of would keep the request's data alive, and close a cycle with its record.
        """
        del self.value, self.future, self.gone


class Batch:
    """One release: the job that runs on the runner, and what it gave."""

    __slots__ = ("_items", "_on_done", "_results", "_work", "error", "record")

    def __init__(
        self,
        work: Work,
        items: Sequence[Item],
        record: BatchRecord,
        on_done: "Callable[[Batch], None]",
    ) -> None:
        self._work = work
        self._items = items
        self._on_done = on_done
        self._results: Sequence[Any] = ()
        self.record = record
        self.error: BaseException | None = None

    def run(self, instance: object) -> None:
        """Collate, run the user's method, and split; on the runner."""
        work, record = self._work, self.record
        now_ns, codec = work.tracing.now_ns, work.codec
        record.collate_started(now_ns())
        try:
            argument = codec.collate([item.value for item in self._items])
            record.run_started(now_ns())
            with entered(work.tracing.scope(*self.place)):
                result = work.method(instance, argument)
            record.run_ended(now_ns())
            self._results = codec.split(result, len(self._items))
        except BaseException as error:  # noqa: BLE001  # even SystemExit of a model must not end the runner
            self._failed(error)
        record.ended(now_ns())

    @property
    def place(self) -> tuple[BatchRecord | RequestRecord | None, int]:
        """Return where the user's code runs: a batch of one lies in its request's trace."""
        if self.record.size == 1:
            item = self._items[0]
            return item.request, item_place(item.index, RUN)
        return self.record, RUN

    def _failed(self, error: BaseException) -> None:
        record = self.record
        now_ns = self._work.tracing.now_ns()
        if record.run_ns and not record.ran_ns:
            record.run_ended(now_ns)
        self.error = error
        if is_fault(error):
            record.failure = failure = failure_of(error, now_ns)
            for item in self._items:
                item.failure = failure

    def done(self) -> None:
        """Go on, on the loop."""
        self._on_done(self)

    def log_failures(self) -> None:
        """Say once what failed: the whole batch, or each item that did."""
        endpoint, size = self._work.endpoint, self.record.size
        if self.error is not None:
            if is_fault(self.error):
                log.error("%s failed for a batch of %d", endpoint, size, exc_info=self.error)
            return
        for result in self._results:
            if isinstance(result, BaseException) and is_fault(result):
                log.error("%s failed for an item of a batch of %d", endpoint, size, exc_info=result)

    def note_failures(self) -> None:
        """Write down which items failed, before the batch's record ends."""
        if self.error is not None:
            return  # written down as it was raised
        for item, result in zip(self._items, self._results, strict=True):
            if isinstance(result, BaseException) and is_fault(result):
                item.failure = failure_of(result, self.record.ran_ns)

    def hand_out(self) -> None:
        """Give each item its result, or the reason why it has none."""
        results = self._results
        if self.error is not None:
            results = [self.error] * len(self._items)
        for item, result in zip(self._items, results, strict=True):
            waiter = item.future
            if waiter.done():
                continue
            if isinstance(result, BaseException):
                failed = RunFailedError(f"the run failed with {type(result).__name__}")
                failed.__cause__ = result
                waiter.set_exception(failed)
            else:
                waiter.set_result(result)
