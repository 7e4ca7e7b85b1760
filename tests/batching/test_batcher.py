"""The batcher, one behaviour at a time; `test_batcher_states` mixes them all."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from spanserve.batching.batch import RunFailedError
from spanserve.batching.batcher import (
    AbandonedError,
    Batcher,
    ExpiredError,
    LateError,
    QueueFullError,
)
from spanserve.batching.item import Item
from support.batching import HandClock, StepRunner, StillLoop, Thing, answer_of, batcher_on, host_of


class Bench:
    """A batcher on a runner and a loop that stand still until the test says so."""

    def __init__(self, loop: StillLoop, clock: HandClock) -> None:
        self.loop = loop
        self.clock = clock
        self._method: Callable[[Any, list[Thing]], Any] = self.names
        host = host_of(clock.as_clock(), answer=lambda *given: self._method(*given))  # noqa: PLW0108  # set later
        self.runner = StepRunner(host, clock.as_clock())
        self.batches: list[list[int]] = []
        self.batcher: Batcher

    def begin(
        self, method: Callable[[Any, list[Thing]], Any] | None = None, **limits: float
    ) -> None:
        self._method = method or self.names
        self.batcher = batcher_on(
            self.runner,
            self.clock.as_clock(),
            **limits,  # type: ignore[arg-type]  # whole numbers, as given
        )

        async def start() -> None:
            await self.runner.start()
            self.batcher.start()

        self.loop.run_until_complete(start())

    def names(self, _instance: object, things: list[Thing]) -> Sequence[object]:
        self.batches.append([thing.name for thing in things])
        return [thing.name for thing in things]

    def submit(self, *things: int | Thing, **options: Any) -> list[Item]:
        return [
            self.batcher.submit(each if isinstance(each, Thing) else Thing(each), **options)
            for each in things
        ]

    def run(self) -> None:
        """Let what is queued be released and run, and its answers be read."""
        self.loop.settle()
        self.runner.step()
        self.loop.settle()


@pytest.fixture
def bench() -> Iterator[Bench]:
    clock = HandClock()
    loop = StillLoop(clock)
    try:
        yield Bench(loop, clock)
        assert loop.unhandled == []
    finally:
        loop.close()


@contextmanager
def raised() -> Iterator[list[BaseException]]:
    """Keep the cause of a failed run."""
    causes: list[BaseException] = []
    with pytest.raises(RunFailedError) as caught:
        yield causes
    assert caught.value.__cause__ is not None
    causes.append(caught.value.__cause__)


def test_items_of_one_turn_of_the_loop_make_one_batch(bench: Bench) -> None:
    bench.begin()
    items = bench.submit(1, 2, 3)
    bench.run()
    assert bench.batches == [[1, 2, 3]]
    assert [answer_of(item).result() for item in items] == [1, 2, 3]
    assert [(item.position, item.depth) for item in items] == [(0, 0), (1, 1), (2, 2)]


def test_a_batch_is_never_larger_than_its_limit(bench: Bench) -> None:
    bench.begin(max_batch_size=2)
    bench.submit(*range(5))
    for _ in range(3):
        bench.run()
    assert bench.batches == [[0, 1], [2, 3], [4]]
    assert bench.batcher.tally.sizes == Counter({2: 2, 1: 1})
    assert bench.batcher.tally.reasons["full"] == 2


def test_what_arrives_while_the_runner_is_busy_waits_for_it(bench: Bench) -> None:
    bench.begin()
    bench.submit(1)
    bench.loop.settle()
    bench.submit(2, 3)
    bench.loop.settle()
    assert bench.batcher.queued == 2
    bench.runner.step()
    bench.run()
    assert bench.batches == [[1], [2, 3]]


@pytest.mark.parametrize("together", [1, 3])
def test_items_are_answered_as_their_run_ends_where_nobody_waits(
    bench: Bench, together: int
) -> None:
    bench.begin()
    answers = [answer_of(item) for item in bench.submit(*range(together))]
    bench.loop.settle()
    bench.runner.step()
    assert [answer.result() for answer in answers] == [*range(together)]


def test_where_another_waits_for_the_runner_it_goes_first(bench: Bench) -> None:
    bench.begin()
    (item,) = bench.submit(1)
    bench.loop.settle()
    answer, asked = answer_of(item), []
    bench.runner.when_free(lambda: asked.append(answer.done()))
    bench.runner.step()
    assert asked == [False]
    bench.run()
    assert answer.result() == 1


@pytest.mark.parametrize("together", [1, 2])
def test_where_others_wait_they_run_before_answers_are_made(bench: Bench, together: int) -> None:
    bench.begin(max_batch_size=together)
    answers = [answer_of(item) for item in bench.submit(*range(together + 1))]
    bench.loop.settle()
    bench.runner.step()
    assert not bench.runner.free
    assert not any(answer.done() for answer in answers)
    bench.run()
    assert [answer.result() for answer in answers] == [*range(together + 1)]


def test_items_that_do_not_go_together_run_apart_and_in_order(bench: Bench) -> None:
    bench.begin()
    bench.submit(Thing(1, key=0), Thing(2, key=1), Thing(3, key=0), Thing(4, key=1))
    for _ in range(2):
        bench.run()
    assert bench.batches == [[1, 3], [2, 4]]


def test_a_full_queue_refuses_and_says_when_to_try_again(bench: Bench) -> None:
    bench.begin(max_queue=2)
    bench.submit(1, 2)
    with pytest.raises(QueueFullError, match=r"the queue is full \(2 items wait\)") as caught:
        bench.submit(3)
    assert caught.value.retry_after_s == 1.0
    assert bench.batcher.tally.refused == 1
    bench.run()
    bench.submit(4)
    bench.run()
    assert bench.batches == [[1, 2], [4]]


def test_when_to_try_again_is_learned_from_the_runs(bench: Bench) -> None:
    bench.begin(max_queue=1)
    bench.submit(1)
    bench.loop.settle()
    bench.clock.advance(3000)
    bench.runner.step()
    bench.submit(2)
    with pytest.raises(QueueFullError) as caught:
        bench.submit(3)
    assert caught.value.retry_after_s >= 3.0
    bench.run()


def test_a_batch_that_raises_fails_each_of_its_items(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    boom = ValueError("no")

    def fail(_instance: object, things: list[Thing]) -> None:
        del things
        raise boom

    bench.begin(fail)
    items = bench.submit(1, 2)
    bench.run()
    for item in items:
        with raised() as causes:
            answer_of(item).result()
        assert causes == [boom]
    assert bench.batcher.tally.failed_batches == 1
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
        ("ERROR", "/answer failed for items 0, 1 of a batch of 2")
    ]
    assert (bench.batcher.tally.splits, bench.batcher.tally.retries) == (1, 2)


def test_the_item_that_makes_a_batch_raise_fails_alone(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    ran: list[list[int]] = []

    def answer(_instance: object, things: list[Thing]) -> list[int]:
        ran.append([thing.name for thing in things])
        if any(thing.name == 3 for thing in things):
            raise ValueError("three")
        return [thing.name for thing in things]

    bench.begin(answer)
    items = bench.submit(1, 2, 3, 4)
    bench.run()
    assert ran == [[1, 2, 3, 4], [1, 2], [3, 4], [3], [4]]
    with raised() as causes:
        answer_of(items[2]).result()
    assert str(causes[0]) == "three"
    assert [answer_of(items[each]).result() for each in (0, 1, 3)] == [1, 2, 4]
    tally = bench.batcher.tally
    assert (tally.failed_batches, tally.splits, tally.retries) == (0, 1, 4)
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
        ("ERROR", "/answer failed for item 2 of a batch of 4")
    ]


def test_a_batch_that_must_not_run_twice_fails_whole(bench: Bench) -> None:
    def fail(_instance: object, things: list[Thing]) -> None:
        bench.batches.append([thing.name for thing in things])
        raise ValueError

    bench.begin(fail, isolate=False)
    items = bench.submit(1, 2)
    bench.run()
    for item in items:
        with raised():
            answer_of(item).result()
    assert bench.batches == [[1, 2]]


def test_a_search_for_the_culprit_ends_in_time(bench: Bench) -> None:
    def fail(_instance: object, things: list[Thing]) -> None:
        bench.batches.append([thing.name for thing in things])
        bench.clock.advance(600)
        raise ValueError

    bench.begin(fail)
    bench.submit(1, 2, 3, 4)
    bench.run()
    assert bench.batches == [[1, 2, 3, 4], [1, 2], [3, 4]]  # 50 ms * 20 are over


def test_a_run_that_is_repeated_teaches_what_one_takes(bench: Bench) -> None:
    def fail(_instance: object, _things: list[Thing]) -> None:
        bench.clock.advance(200)
        raise ValueError

    bench.begin(fail, max_queue=2)
    bench.submit(1, 2)
    bench.run()
    bench.submit(3, 4)
    with pytest.raises(QueueFullError) as caught:
        bench.submit(5)
    assert 0.2 <= caught.value.retry_after_s < 0.5
    bench.run()


def deadline(bench: Bench, ms: float) -> int:
    return bench.clock.now_ns + int(ms * 1e6)


def learn_a_run(bench: Bench, ms: float) -> None:
    """Teach the policy what a run takes."""
    bench.submit(0)
    bench.loop.settle()
    bench.clock.advance(ms)
    bench.runner.step()
    bench.loop.settle()


def test_an_item_whose_deadline_cannot_be_met_is_refused_at_once(bench: Bench) -> None:
    bench.begin()
    learn_a_run(bench, 100)
    with pytest.raises(LateError, match="would take 100 ms, and 60 ms are left") as caught:
        bench.submit(1, deadline_ns=deadline(bench, 60))
    assert caught.value.retry_after_s == pytest.approx(0.04)
    assert bench.batcher.tally.late == 1
    bench.submit(2, deadline_ns=deadline(bench, 140))
    bench.run()
    assert bench.batches == [[0], [2]]


def test_nothing_is_refused_for_its_deadline_before_a_run_was_seen(bench: Bench) -> None:
    bench.begin()
    bench.submit(1, deadline_ns=deadline(bench, 1))
    bench.run()
    assert bench.batches == [[1]]


def test_a_model_that_was_slow_once_is_tried_again(bench: Bench) -> None:
    bench.begin()
    learn_a_run(bench, 100)
    bench.clock.advance(1_001)
    bench.submit(1, deadline_ns=deadline(bench, 60))
    bench.run()
    assert bench.batches == [[0], [1]]


def test_an_item_whose_deadline_passed_in_the_queue_does_not_run(bench: Bench) -> None:
    bench.begin()
    bench.submit(1)
    bench.loop.settle()
    late, other = (
        *bench.submit(2, deadline_ns=deadline(bench, 10)),
        *bench.submit(3, deadline_ns=deadline(bench, 30)),
    )
    bench.clock.advance(10)
    bench.runner.step()
    bench.run()
    assert bench.batches == [[1], [3]]
    with pytest.raises(ExpiredError):
        answer_of(late).result()
    assert answer_of(other).result() == 3
    assert bench.batcher.tally.expired == 1


def test_a_failed_item_leaves_its_neighbours_alone(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    boom = ValueError("no")
    bench.begin(lambda _, things: [boom if thing.name == 2 else thing.name for thing in things])
    items = bench.submit(1, 2, 3)
    bench.run()
    with raised() as causes:
        answer_of(items[1]).result()
    assert causes == [boom]
    assert [answer_of(items[0]).result(), answer_of(items[2]).result()] == [1, 3]
    assert bench.batcher.tally.failed_batches == 0
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
        ("ERROR", "/answer failed for item 1 of a batch of 3")
    ]


@pytest.mark.parametrize("whole", [False, True])
def test_an_http_answer_below_500_is_no_failure(
    bench: Bench, caplog: pytest.LogCaptureFixture, *, whole: bool
) -> None:
    class NotFoundError(Exception):
        status_code = 404

    def answer(_instance: object, things: list[Thing]) -> list[Exception]:
        if whole:
            raise NotFoundError
        return [NotFoundError() for _ in things]

    bench.begin(answer)
    (item,) = bench.submit(1)
    bench.run()
    with raised() as causes:
        answer_of(item).result()
    assert isinstance(causes[0], NotFoundError)
    assert item.failure is None
    assert item.batch is not None
    assert item.batch.failure is None
    assert caplog.records == []


def test_a_wrong_number_of_results_names_both_numbers(bench: Bench) -> None:
    bench.begin(lambda *_: [1, 2, 3])
    items = bench.submit(1, 2)
    bench.run()
    with raised() as causes:
        answer_of(items[0]).result()
    assert str(causes[0]) == (
        "Things.answer returned 3 results for 2 items; return one entry per item, in order"
    )
    with raised():
        answer_of(items[1]).result()


def test_an_item_whose_waiter_is_cancelled_leaves_the_queue(bench: Bench) -> None:
    bench.begin()
    bench.submit(1)
    bench.loop.settle()
    (gone,) = bench.submit(2)
    bench.batcher.abandon(gone)
    bench.batcher.abandon(gone)
    bench.submit(3)
    bench.runner.step()
    bench.run()
    assert bench.batches == [[1], [3]]
    assert answer_of(gone).cancelled()
    assert bench.batcher.tally.abandoned == 1


def test_an_item_cancelled_in_the_turn_of_its_release_does_not_run(bench: Bench) -> None:
    bench.begin()
    cancelled, other = bench.submit(1, 2)
    answer_of(cancelled).cancel()
    bench.run()
    assert bench.batches == [[2]]
    assert answer_of(other).result() == 2
    assert bench.batcher.tally.abandoned == 1


def test_a_client_that_left_and_was_cancelled_too_does_no_harm(bench: Bench) -> None:
    bench.begin()
    cancelled, other = bench.submit(1, 2, gone=lambda: True)
    bench.clock.advance(2)
    answer_of(cancelled).cancel()
    bench.run()
    assert bench.batches == []
    with pytest.raises(AbandonedError):
        answer_of(other).result()
    assert bench.batcher.tally.abandoned == 2


def test_only_who_waited_long_is_asked_whether_they_are_still_there(bench: Bench) -> None:
    asked: list[int] = []

    def ask() -> bool:
        asked.append(1)
        return False

    bench.begin()
    bench.submit(1, gone=ask)
    bench.run()
    assert asked == []
    bench.submit(2, gone=ask)
    bench.clock.advance(2)
    bench.run()
    assert asked == [1]
    assert bench.batches == [[1], [2]]


def test_an_item_abandoned_while_it_runs_is_forgotten(bench: Bench) -> None:
    bench.begin()
    first, second = bench.submit(1, 2)
    bench.loop.settle()
    answer_of(first).cancel()
    bench.batcher.abandon(first)
    bench.runner.step()
    bench.loop.settle()
    assert answer_of(second).result() == 2
    assert bench.batcher.tally.abandoned == 0


def learn_to_wait(bench: Bench) -> None:
    """Teach the policy that runs are long and that clients come in pairs, shortly apart."""
    for _ in range(10):
        bench.submit(1)
        bench.clock.advance(0.5)
        bench.submit(2)
        bench.loop.settle()
        bench.clock.advance(20)
        bench.runner.step()
        bench.loop.settle()
        while not bench.runner.free:
            bench.run()
        bench.clock.advance(1)
    bench.batches.clear()


def test_one_that_waits_for_peers_is_released_when_they_come(bench: Bench) -> None:
    bench.begin(max_latency_ms=500)
    learn_to_wait(bench)
    bench.submit(1)
    bench.loop.settle()
    assert bench.runner.free, "the policy waits for the second"
    bench.submit(2)
    bench.run()
    assert bench.batches == [[1, 2]]


def test_one_that_waits_in_vain_is_released_when_the_wait_is_over(bench: Bench) -> None:
    bench.begin(max_latency_ms=500)
    learn_to_wait(bench)
    bench.submit(1)
    bench.loop.settle()
    assert bench.runner.free, "the policy waits for the second"
    bench.clock.advance(500)
    bench.run()
    assert bench.batches == [[1]]


def test_draining_releases_one_that_waits_for_peers(bench: Bench) -> None:
    bench.begin(max_latency_ms=500)
    learn_to_wait(bench)
    (item,) = bench.submit(1)
    bench.loop.settle()
    assert bench.runner.free, "the policy waits for the second"
    bench.batcher.drain()
    bench.run()
    assert answer_of(item).result() == 1
    assert bench.batcher.tally.reasons["drain"] == 1


def test_a_timer_that_is_over_after_its_items_left_does_nothing(bench: Bench) -> None:
    bench.begin(max_latency_ms=500)
    learn_to_wait(bench)
    (item,) = bench.submit(1)
    bench.loop.settle()
    bench.batcher.abandon(item)
    bench.clock.advance(1000)
    bench.loop.settle()
    assert bench.runner.free
    assert bench.batches == []


def test_two_batchers_share_a_runner_in_turn(bench: Bench) -> None:
    bench.begin(max_batch_size=1)
    first = bench.batcher
    bench.begin(max_batch_size=1)
    second = bench.batcher
    for batcher, names in ((first, (1, 2, 3, 4)), (second, (11, 12))):
        for name in names:
            batcher.submit(Thing(name))
    for _ in range(6):
        bench.run()
    assert bench.batches == [[1], [2], [11], [3], [12], [4]]


async def test_failures_are_logged_with_the_stack_of_the_users_code(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = HandClock().as_clock()
    runner = StepRunner(host_of(clock, answer=lambda *_: 1 / 0), clock)
    batcher = batcher_on(runner, clock)
    await runner.start()
    batcher.start()
    item = batcher.submit(Thing(1))
    await asyncio.sleep(0)
    assert not runner.free
    with caplog.at_level(logging.ERROR):
        runner.step()
    with pytest.raises(RunFailedError):
        await answer_of(item)
    assert "ZeroDivisionError: division by zero" in caplog.text
