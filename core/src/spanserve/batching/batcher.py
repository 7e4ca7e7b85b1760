"""The queue of one batch endpoint, and its releases.

Everything here happens on the event loop. The policy decides, the batcher waits: it asks
when an item arrives, when the runner becomes free and when the policy's own wait is over,
and never in between; nor, while it waits, on an arrival that is not the last of those waited for.
"""

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable
from typing import Any

from spanserve.batching.batch import Batch, Work
from spanserve.batching.item import Item, Waiter
from spanserve.batching.policy import Policy, Release, ReleaseReason
from spanserve.batching.rerun import Rerun
from spanserve.batching.tally import Tally
from spanserve.batching.turn import on_runner
from spanserve.errors import SpanserveError
from spanserve.running.protocol import Batched, Runner
from spanserve.tracing.recording.record import TracedRequest
from spanserve.tracing.scope import entered
from spanserve.tracing.tracing import Tracing

log = logging.getLogger(__name__)

ISOLATE_FOR = 20
"""For how many times the latency target a batch that raised may be run again, in parts."""

STALE_NS = 1_000_000_000
"""How long what was learned of the run time is believed enough to refuse a request for it."""

EARLY_NS = 1_000_000
"""How much before a deadline the loop's timer may tell that it passed."""

LONG_WAIT_NS = 1_000_000
"""An item that waited longer is asked, before its batch runs, whether anyone still wants it."""


class QueueFullError(SpanserveError):
    """The queue holds as many items as it may; `retry_after_s` is when to try again."""

    def __init__(self, queued: int, retry_after_s: float) -> None:
        super().__init__(f"the queue is full ({queued} items wait)")
        self.retry_after_s = retry_after_s


class LateError(SpanserveError):
    """By what was learned of the run time, the answer would come after the item's deadline.

    `expected_ms` is how long it would take, `retry_after_s` when to try again.
    """

    def __init__(self, expected_ms: float, left_ms: float, retry_after_s: float) -> None:
        super().__init__(
            f"the answer would take {expected_ms:.0f} ms, and {max(left_ms, 0):.0f} ms are left"
        )
        self.expected_ms = expected_ms
        self.retry_after_s = retry_after_s


class ExpiredError(SpanserveError):
    """The item's deadline passed while it was queued."""


class AbandonedError(SpanserveError):
    """The item left the queue unanswered, since nobody waits for its answer any more."""


class Batcher:
    """Gathers items of one endpoint into batches and gives each item its own result."""

    def __init__(
        self,
        endpoint: str,
        method: str,
        codec: Batched,
        *,
        policy: Policy,
        runner: Runner,
        tracing: Tracing,
        max_queue: int,
        isolate: bool = True,
        retry: bool = False,
    ) -> None:
        """`retry`: items run again, one by one, where the replica died that ran their batch."""
        self.endpoint = endpoint
        self.tally = Tally()
        self.limits = policy.limits
        self.max_queue = max_queue
        isolate_for_ns = int(ISOLATE_FOR * policy.limits.max_latency_ms * 1e6) if isolate else 0
        self._work = Work(endpoint, method, tracing, isolate_for_ns, self._again if retry else None)
        self._batch_key = codec.batch_key
        self._tracing = tracing
        self._policy = policy
        self._runner = runner
        self._now_ns = tracing.now_ns
        self._items: deque[Item] = deque()
        self._running = 0
        """Items of batches that the runner has."""

        self._prefetches = runner.slots > runner.replicas
        self._learned_ns = 0
        self._asking = False
        self._timer: asyncio.TimerHandle | None = None
        self._enough = 1
        self._draining = False
        self._loop: asyncio.AbstractEventLoop

    def start(self) -> None:
        """Belong to the running event loop, before the first item."""
        self._loop = asyncio.get_running_loop()

    @property
    def queued(self) -> int:
        """Items that wait."""
        return len(self._items)

    def submit(
        self,
        value: Any,
        *,
        request: TracedRequest | None = None,
        gone: Callable[[], bool] | None = None,
        waiter: Waiter | None = None,
        deadline_ns: int = 0,
        body: bytes | None = None,
    ) -> Item:
        """Queue an item; its `future` gets its result, or what became of it instead.

        Where the method may change the value, `body` is what it is decoded from for another run.

        That is `waiter`, where one is given. `gone` says, when asked, whether nobody waits for
        the answer any more; past `deadline_ns`, unless it is 0, nobody does.
        Raises QueueFullError and LateError.
        """
        items = self._items
        depth = len(items)
        if depth >= self.max_queue:
            self.tally.refused += 1
            raise QueueFullError(depth, self._retry_after_s(depth))
        now_ns = self._now_ns()
        if deadline_ns:
            self._refuse_late(deadline_ns, depth, now_ns)
        future = self._loop.create_future() if waiter is None else waiter
        item = Item(
            value,
            self._batch_key(value),
            future,
            gone,
            request,
            now_ns,
            depth,
            deadline_ns,
            body,
        )
        items.append(item)
        self._policy.arrived(now_ns / 1e6, depth + 1 + self._running)
        if not self._asking:
            if self._timer is None or depth + 1 >= self._enough:
                self._ask_soon()
        elif self._prefetches and depth + 1 == self.limits.max_batch_size and self._runner.free:
            self._loop.call_soon(self._ask)
        return item

    def abandon(self, item: Item) -> None:
        """Take an item, whose answer nobody waits for any more, out of the queue if it is there."""
        try:
            self._items.remove(item)
        except ValueError:  # it runs, or was taken out before
            return
        item.future.cancel()
        self._leave(item)
        if 0 < item.deadline_ns <= self._now_ns() + EARLY_NS:
            self.tally.expired += 1

    def drain(self) -> None:
        """From now on, release what is queued as soon as the runner is free."""
        self._draining = True
        if self._items and not self._asking:
            self._ask_soon()

    def _refuse_late(self, deadline_ns: int, depth: int, now_ns: int) -> None:
        """Raise LateError where the learned run time says that the deadline cannot be met.

        A model that was slow once must not be refused for ever: after a while without a run,
        the next request is let in and shows how fast it is now.
        """
        if now_ns - self._learned_ns > STALE_NS and not depth and not self._running:
            return
        expected_ms = self._policy.predict_ms(depth, now_ns / 1e6)
        left_ms = (deadline_ns - now_ns) / 1e6
        if expected_ms is not None and expected_ms > left_ms:
            self.tally.late += 1
            raise LateError(expected_ms, left_ms, max(0.0, expected_ms - left_ms) / 1e3)

    def _ask_soon(self) -> None:
        """Ask the policy when all that arrives in this turn of the loop is here."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._asking = True
        if not self._may_ask:
            self._runner.when_free(self._ask)
        else:
            self._loop.call_soon(self._ask)

    @property
    def _may_ask(self) -> bool:
        """Whether a batch could go now: what waits in a replica that is busy has to be full."""
        runner = self._runner
        if not self._prefetches or runner.idle or self._draining:
            return runner.free > 0
        return runner.free > 0 and len(self._items) >= self.limits.max_batch_size

    def _ask(self) -> None:
        self._asking = False
        self._timer = None
        if not self._items:
            return
        if not self._may_ask:
            self._ask_soon()
            return
        now_ns = self._now_ns()
        decision = self._policy.decide(
            queued=len(self._items),
            oldest_wait_ms=(now_ns - self._items[0].queued_ns) / 1e6,
            now_ms=now_ns / 1e6,
            draining=self._draining,
        )
        if isinstance(decision, Release):
            self._release(decision.n, decision.reason)
        else:
            # uvloop's timers have whole milliseconds, and one of less than half fires at once.
            self._timer = self._loop.call_later(math.ceil(decision.ms) / 1e3, self._ask)
            self._enough = decision.enough

    def _release(self, size: int, reason: ReleaseReason) -> None:
        now_ns = self._now_ns()
        items = self._take(size, now_ns)
        if items:
            record = self._tracing.batch(
                self.endpoint,
                reason.value,
                items,
                runner_free_ns=self._runner.free_ns,
                released_ns=now_ns,
            )
            self.tally.sizes[len(items)] += 1
            self.tally.reasons[reason.value] += 1
            self._running += len(items)
            self._runner.submit(Batch(self._work, items, record, self._batch_done))
        if self._items and not self._asking:
            self._ask_soon()

    def _take(self, size: int, now_ns: int) -> list[Item]:
        """Take the oldest items that go together, and leave out those nobody waits for."""
        taken: list[Item] = []
        passed: list[Item] = []
        items = self._items
        while items and len(taken) < size:
            item = items.popleft()
            if item.future.done():  # whoever waited was cancelled in this turn of the loop
                self._leave(item)
            elif 0 < item.deadline_ns <= now_ns:
                self._leave(item)
                self.tally.expired += 1
                item.future.set_exception(ExpiredError("the deadline passed in the queue"))
            elif now_ns - item.queued_ns > LONG_WAIT_NS and item.gone is not None and item.gone():
                self._leave(item)
                item.future.set_exception(AbandonedError("the client left"))
            elif taken and item.key != taken[0].key:
                passed.append(item)
            else:
                taken.append(item)
        items.extendleft(reversed(passed))
        return taken

    def _leave(self, item: Item) -> None:
        self.tally.abandoned += 1
        item.value = item.body = None
        if item.request is not None:
            item.request.item_dequeued(item, self._now_ns())

    def _batch_done(self, batch: Batch) -> None:
        """Hand out the results of the batch that ran, and learn from it."""
        self._running -= batch.record.size
        ended_ns = self._learned_ns = self._now_ns()
        try:
            self._note(batch)
        finally:
            if self._items or self._runner.awaited:
                # Later: to encode the answers takes longer than to start the next batch.
                self._loop.call_soon(batch.hand_out)
            else:  # clients who come back at once are then together in the next batch
                batch.hand_out()
        self._learn(batch, ended_ns)

    def _again(self, batch: Batch, position: int) -> None:
        """Run an item of a batch again whose replica died, as soon as there is a slot."""
        self.tally.reruns += 1
        on_runner(Rerun(batch, position), self._runner)

    def _note(self, batch: Batch) -> None:
        """Count a batch's items, and say what failed."""
        self.tally.ran(batch.record, batch.items)
        if batch.has_failures:
            with entered(self._tracing.scope(*batch.place_of_failure)):
                batch.log_failures()
            batch.note_failures()

    def _learn(self, batch: Batch, ended_ns: int) -> None:
        """Count a batch that ended, and tell the policy how long its run took."""
        record, tally = batch.record, self.tally
        if record.retries:
            tally.splits += 1
            tally.retries += len(record.retries)
            ended_ns = record.retries[0].started_ns  # what a run takes, it took until then
        if batch.is_failed:
            tally.failed_batches += 1
        # In a replica that was busy it waited first.
        begun_ns = record.started_ns if self._prefetches else record.released_ns
        self._policy.observed(record.size, (ended_ns - begun_ns) / 1e6)

    def _retry_after_s(self, queued: int) -> float:
        """Return when the items that are queued now will be gone, as far as is known."""
        expected_ms = self._policy.predict_ms(queued, self._now_ns() / 1e6)
        return 1.0 if expected_ms is None else expected_ms / 1e3
