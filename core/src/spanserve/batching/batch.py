"""One batch: the items in it, its run, and what each item gets of it."""

import logging
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from spanserve.batching.call import is_fault
from spanserve.batching.isolation import Positions, isolated
from spanserve.batching.item import Item
from spanserve.errors import SpanserveError, forget_frames
from spanserve.service.codecs.problems import InvalidResult
from spanserve.tracing.model.failure import failure_of
from spanserve.tracing.model.ids import ROOT, RUN, item_place
from spanserve.tracing.recording.attempt import Attempt
from spanserve.tracing.recording.base import Record
from spanserve.tracing.recording.record import BatchRecord
from spanserve.tracing.scope import entered
from spanserve.tracing.tracing import Tracing

log = logging.getLogger(__name__)

MOST_NAMED = 10
"""How many items or requests a line of the log names."""

Place = tuple[Record | None, int]
"""Where code runs: a place in a record."""


class RunFailedError(SpanserveError):
    """The user's code raised, or returned what cannot be split; the cause is what it raised."""


class Batched(Protocol):
    """How a method runs on a batch: what the batcher needs of an endpoint's codec."""

    def batch_key(self, item: Any) -> Hashable:
        """Return what all items of one batch must have in common."""

    def decode_again(self, body: bytes) -> Any:
        """Make an item anew, of the body that it was decoded from; on the runner."""

    def collate(self, items: Sequence[Any]) -> Any:
        """Make the method's argument of the items; on the runner."""

    def split(self, result: Any, count: int) -> Sequence[Any]:
        """Make one private result an item of the method's answer; on the runner."""


@dataclass(frozen=True, slots=True)
class Work:
    """What one endpoint does with a batch: call `method(instance, argument)` of the service.

    For `isolate_for_ns` after a run raised, its items may be run again in smaller groups.
    """

    endpoint: str
    method: Callable[[Any, Any], Any]
    codec: Batched
    tracing: Tracing
    isolate_for_ns: int


class Batch:
    """One release: the job that runs on the runner, and what it gave."""

    __slots__ = (
        "_on_done",
        "_raised",
        "_results",
        "_work",
        "error",
        "failed",
        "items",
        "place",
        "record",
    )

    def __init__(
        self,
        work: Work,
        items: Sequence[Item],
        record: BatchRecord,
        on_done: "Callable[[Batch], None]",
    ) -> None:
        self._work = work
        self.items = items
        self._on_done = on_done
        self._results: Sequence[Any] = ()
        self._raised: Sequence[BaseException] = ()
        self.record = record
        self.place = self._place()
        """Where the user's code runs, though a request's record may end before it does."""
        self.error: BaseException | None = None
        self.failed = False

    def run(self, instance: object) -> None:
        """Run the user's method; where it raises, find whose fault it is. On the runner."""
        record, raised = self.record, None
        try:
            self._results = self._attempt(instance, record, self.items, self.place)
        except BaseException as error:  # noqa: BLE001  # even SystemExit of a model must not end the runner
            raised = error
        if raised is not None:  # here, so that what the retries raise is not chained to it
            self._isolate(instance, raised)
        record.ended(self._work.tracing.now_ns())

    def _attempt(
        self, instance: object, attempt: Attempt, items: Sequence[Item], place: Place
    ) -> Sequence[Any]:
        """Collate, run the user's method, and split; raises whatever fails."""
        work = self._work
        now_ns, codec = work.tracing.now_ns, work.codec
        attempt.collate_started(now_ns())
        try:
            if attempt.number:  # what the method was given before, it may have changed
                values = [self._value_again(item) for item in items]
            else:
                values = [item.value for item in items]
            argument = codec.collate(values)
            attempt.run_started(now_ns())
            with entered(work.tracing.scope(*place)):
                result = work.method(instance, argument)
            attempt.run_ended(now_ns())
            return codec.split(result, len(items))
        except BaseException as error:
            self._raised = (*self._raised, error)
            time_ns = now_ns()
            if is_fault(error):
                attempt.failure = failure = failure_of(error, time_ns)
                for item in items:
                    item.failure = failure
            if attempt.run_ns and not attempt.ran_ns:
                attempt.run_ended(time_ns)
            raise

    def _isolate(self, instance: object, error: BaseException) -> None:
        """Run the items again in smaller groups, where that may help some of them."""
        record, items, now_ns = self.record, self.items, self._work.tracing.now_ns
        give_up_ns = now_ns() + self._work.isolate_for_ns

        def may_retry(error: BaseException) -> bool:
            """Whether it may be the fault of one item, and there is time to see which."""
            may_be = isinstance(error, Exception) and not isinstance(error, InvalidResult)
            return may_be and now_ns() < give_up_ns

        def attempt(positions: Positions) -> Sequence[Any]:
            retry = record.retry(positions)
            chosen = [items[position] for position in positions]
            for item in chosen:
                item.failure = None
            try:
                return self._attempt(instance, retry, chosen, (record, retry.place(RUN)))
            finally:
                retry.ended(now_ns())

        if len(items) > 1 and may_retry(error):
            self._results = isolated(len(items), error, attempt, may_retry=may_retry)
            self.failed = all(isinstance(result, BaseException) for result in self._results)
        else:
            self.error = error
            self.failed = True

    def _value_again(self, item: Item) -> Any:
        """Return an item's value as it was before the method was given it."""
        return item.value if item.body is None else self._work.codec.decode_again(item.body)

    def _place(self) -> Place:
        """Return where the user's code runs: a batch of one lies in its request's trace."""
        if self.record.size == 1:
            item = self.items[0]
            if not self._work.tracing.on:
                return (None if item.request is None else item.request.context), ROOT
            request = item.request
            record = None if request is None else request.full_record
            return record, item_place(item.index, RUN)
        return self.record, RUN

    @property
    def place_of_failure(self) -> Place:
        """Return where it is told that it failed: its run, if there was one."""
        record, place = self.place
        return record, place if self.record.run_ns else ROOT

    def done(self) -> None:
        """Go on, on the loop."""
        self._on_done(self)

    def lost(self, error: Exception) -> None:
        """Fail all items that wait: the machinery failed, or the runner is gone; on the loop."""
        self.error, self.failed = error, True
        now_ns = self._work.tracing.now_ns()
        if not self.record.ended_ns:
            self.record.failure = failure = failure_of(error, now_ns)
            for item in self.items:
                item.failure = failure
            self.record.ended(now_ns)
        self._on_done(self)

    @property
    def has_failures(self) -> bool:
        """Whether the run failed, or any item of it."""
        kinds = set(map(type, self._results))  # nearly always one
        return self.error is not None or any(issubclass(each, BaseException) for each in kinds)

    def log_failures(self) -> None:
        """Say once what failed, and for which requests: the whole batch, or items of it."""
        endpoint, size = self._work.endpoint, self.record.size
        if self.error is not None:
            if is_fault(self.error):
                whose = _requests_of(self.items)
                log.error(
                    "%s failed for a batch of %d%s", endpoint, size, whose, exc_info=self.error
                )
            return
        failed: dict[int, list[int]] = {}
        for position, result in enumerate(self._results):
            if isinstance(result, BaseException) and is_fault(result):
                failed.setdefault(id(result), []).append(position)
        for positions in failed.values():
            items = f"item{'' if len(positions) == 1 else 's'} {_listed(positions)}"
            whose = _requests_of([self.items[position] for position in positions])
            error = self._results[positions[0]]
            log.error(
                "%s failed for %s of a batch of %d%s", endpoint, items, size, whose, exc_info=error
            )

    def note_failures(self) -> None:
        """Write down which items failed, before the batch's record ends."""
        if self.error is not None:
            return  # written down as it was raised
        for item, result in zip(self.items, self._results, strict=True):
            if item.failure is None and isinstance(result, BaseException) and is_fault(result):
                ran_ns = self.record.attempts(item.position)[-1].ran_ns
                item.failure = failure_of(result, ran_ns)

    def hand_out(self) -> None:
        """Give each item its result, or the reason why it has none."""
        for error in self._raised:
            forget_frames(error)
        results = self._results
        if self.error is not None:
            results = [self.error] * len(self.items)
        for item, result in zip(self.items, results, strict=True):
            waiter = item.future
            has_failed = isinstance(result, BaseException)
            if has_failed:
                forget_frames(result)
            item.value = item.body = None  # whoever waits, or left, may keep the item
            if waiter.done():
                continue
            try:
                if has_failed:
                    failed = RunFailedError(f"the run failed with {type(result).__name__}")
                    failed.__cause__ = result
                    waiter.set_exception(failed)
                else:
                    waiter.set_result(result)
            except Exception:  # the others are to have their answers all the same
                log.exception("%s: an item could not be answered", self._work.endpoint)
        self._work.tracing.answered(self.record, self.items)


def _requests_of(items: Sequence[Item]) -> str:
    """Name the requests of these items, as far as they are recorded."""
    ids = [item.request.request_id for item in items if item.request is not None]
    if not ids:
        return ""
    return f" (request{'' if len(ids) == 1 else 's'} {_listed(ids)})"


def _listed(things: Sequence[object]) -> str:
    text = ", ".join(map(str, things[:MOST_NAMED]))
    return f"{text}, …" if len(things) > MOST_NAMED else text
