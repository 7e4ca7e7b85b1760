"""One batch: the items in it, what is asked of the model, and what each item gets of it."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from spanserve.batching.item import Item
from spanserve.errors import SpanserveError, forget_frames
from spanserve.running.faults import is_fault
from spanserve.running.protocol import BatchReply, BatchRequest, Place, ReplicaDiedError
from spanserve.tracing.model.failure import Failure, failure_of
from spanserve.tracing.model.ids import ROOT, RUN, item_place
from spanserve.tracing.recording.attempt import Attempt, Retry, RunBy
from spanserve.tracing.recording.record import BatchRecord
from spanserve.tracing.tracing import Tracing

log = logging.getLogger(__name__)

MOST_NAMED = 10
"""How many items or requests a line of the log names."""


class RunFailedError(SpanserveError):
    """The user's code raised, or returned what cannot be split; the cause is what it raised."""


@dataclass(frozen=True, slots=True)
class Work:
    """What one endpoint does with a batch: `method` is the name of a method of the service.

    For `isolate_for_ns` after a run raised, its items may be run again in smaller groups.
    """

    endpoint: str
    method: str
    tracing: Tracing
    isolate_for_ns: int
    again: "Callable[[Batch, int], None] | None" = None
    """Has an item run again whose batch was lost with what ran it; None: none does."""


class Batch:
    """One release, as a job of the runner, and what it gave."""

    __slots__ = (
        "_missing",
        "_on_done",
        "_raised",
        "_results",
        "_work",
        "error",
        "is_failed",
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
        self.is_failed = False
        self._missing = 0
        """Items that are to run again, one by one."""

    def request(self) -> BatchRequest:
        """Return what is asked of the model."""
        items = self.items
        return BatchRequest(
            self._work.method,
            [item.value for item in items],
            [item.body for item in items],
            self._work.isolate_for_ns,
            self.place,
        )

    def sent_to(self, runner: RunBy) -> None:
        """Write down what it runs on."""
        self.record.runner = runner

    def attempt(self, positions: Sequence[int] | None) -> Attempt:
        """Begin a go, where the model runs."""
        if positions is None:
            return self.record
        for position in positions:
            self.items[position].failure = None
        retry = self.record.retry(positions)
        retry.runner = self.record.runner
        return retry

    def failed(self, attempt: Attempt, failure: Failure) -> None:
        """Write down why a go failed, where the model runs."""
        attempt.failure = failure
        items: Sequence[Item] = self.items
        if isinstance(attempt, Retry):
            items = [items[position] for position in attempt.positions]
        for item in items:
            item.failure = failure

    def run_started(self, now_ns: int) -> None:
        """Do nothing: a batch's marks are its goes'."""

    def run_ended(self, now_ns: int, failure: Failure | None) -> None:
        """Do nothing, as above."""

    def replied(self, reply: BatchReply) -> None:
        """Keep what became of it, and go on."""
        self._results, self.error, self._raised = reply
        self._ended()

    def _ended(self) -> None:
        self.is_failed = self.error is not None or (
            bool(self.record.retries) and all(isinstance(r, BaseException) for r in self._results)
        )
        self._on_done(self)

    def _place(self) -> Place:
        """Return where the user's code runs: a batch of one lies in its request's trace."""
        if self.record.size == 1:
            item = self.items[0]
            if not self._work.tracing.on:
                return Place(None if item.request is None else item.request.context, ROOT)
            request = item.request
            record = None if request is None else request.full_record
            return Place(record, item_place(item.index, RUN))
        return Place(self.record, RUN)

    @property
    def method(self) -> str:
        """The method that runs it."""
        return self._work.method

    def now_ns(self) -> int:
        """Return the monotonic clock."""
        return self._work.tracing.now_ns()

    @property
    def place_of_failure(self) -> Place:
        """Return where it is told that it failed: its run, if there was one."""
        record, place = self.place
        return Place(record, place if self.record.run_ns else ROOT)

    def lost(self, error: Exception) -> None:
        """Fail all items that wait, or have them run again one by one; on the loop.

        What ran them died; whichever of them is to blame takes no other along.
        """
        if self._work.again is not None and isinstance(error, ReplicaDiedError):
            self._run_again(error, self._work.again)
            return
        self.error, self.is_failed = error, True
        now_ns = self._work.tracing.now_ns()
        if not self.record.ended_ns:
            self.record.failure = failure = failure_of(error, now_ns)
            for item in self.items:
                item.failure = failure
            self.record.ended(now_ns)
        self._on_done(self)

    def _run_again(self, error: Exception, again: "Callable[[Batch, int], None]") -> None:
        now_ns, record, size = self._work.tracing.now_ns(), self.record, self.record.size
        if size > 1:
            record.collate_started(record.started_ns or record.released_ns)
            record.run_started(record.run_ns or record.released_ns)
            self.failed(record, failure_of(error, now_ns))
            record.run_ended(now_ns)
        self._results, self._missing = [error] * size, size
        for position in range(size):
            again(self, position)

    def ran_again(self, position: int, result: Any) -> None:
        """Keep what became of an item that ran again; with the last of them, go on."""
        results = self._results
        assert isinstance(results, list)  # noqa: S101  # made above
        results[position] = result
        self._missing -= 1
        if not self._missing:
            if self.record.size > 1 or not self.record.ended_ns:
                self.record.ended(self._work.tracing.now_ns())
            self._ended()

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
