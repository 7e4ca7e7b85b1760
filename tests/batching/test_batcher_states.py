"""The batcher under random arrivals, cancellations, failures and shutdown."""

import asyncio
import gc
import logging
from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from spanserve.batching.batch import RunFailedError
from spanserve.batching.batcher import AbandonedError, Batcher, QueueFullError
from support.batching import HandClock, StepRunner, StillLoop, Thing, answer_of, batcher_on, host_of

FATES = ("answer",) * 8 + ("entry", "not found", "raise", "short", "exit", "stop")


class BoomError(Exception):
    """What the method raises."""


class NotFoundError(Exception):
    """What frameworks raise for an HTTP answer."""

    status_code = 404


def outcomes_of(things: list[Thing]) -> dict[int, str]:
    """Return what becomes of the things of a batch, by their names."""
    fates = {thing.fate for thing in things}
    if fates & {"raise", "stop"} and "exit" not in fates and len(things) > 1:
        middle = len(things) // 2
        return outcomes_of(things[:middle]) | outcomes_of(things[middle:])
    for fate, outcome in (
        ("exit", "SystemExit"),
        ("raise", "BoomError"),
        ("stop", "StopIteration"),
        ("short", "WrongResultCount"),
    ):
        if fate in fates:
            return dict.fromkeys([thing.name for thing in things], outcome)
    return {thing.name: outcome_of(thing) for thing in things}


def outcome_of(thing: Thing) -> str:
    """Return what becomes of a thing where nothing is wrong with its batch."""
    if thing.fate == "entry":
        return f"BoomError {thing.name}"
    if thing.fate == "not found":
        return f"NotFoundError {thing.name}"
    return f"answer {thing.name}"


class Batching(RuleBasedStateMachine):
    """Each request is answered once, with its own answer or its own error."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = HandClock()
        self.loop = StillLoop(self.clock)
        self.runner = StepRunner(
            host_of(self.clock.as_clock(), answer=self.answer), self.clock.as_clock()
        )
        self.tasks: dict[int, asyncio.Task[None]] = {}
        self.outcomes: dict[int, list[str]] = {}
        self.expected: dict[int, str] = {}
        self.accepted: list[Thing] = []
        self.batches: list[list[Thing]] = []
        self.left: set[int] = set()
        self.failed_batches = 0
        logging.getLogger("spanserve").setLevel(logging.CRITICAL)

    @initialize(max_batch_size=st.integers(1, 5), max_queue=st.integers(1, 12))
    def begin(self, max_batch_size: int, max_queue: int) -> None:
        self.max_batch_size = max_batch_size
        self.batcher: Batcher = batcher_on(
            self.runner,
            self.clock.as_clock(),
            max_batch_size=max_batch_size,
            max_queue=max_queue,
        )
        self.loop.run_until_complete(self.started())

    async def started(self) -> None:
        await self.runner.start()
        self.batcher.start()

    def answer(self, _instance: object, things: list[Thing]) -> list[object]:
        fates = {thing.fate for thing in things}
        if things[0].name not in self.expected:  # else it runs again, for one of them raised
            self.batches.append(things)
            outcomes = outcomes_of(things)
            self.expected.update(outcomes)
            answered = any(each.startswith("answer") for each in outcomes.values())
            wrong = fates & {"raise", "short", "exit", "stop"}
            self.failed_batches += bool(wrong) and not (answered and fates & {"raise", "stop"})
        if "exit" in fates:
            raise SystemExit("all")
        if "raise" in fates:
            raise BoomError("all")
        if "stop" in fates:
            raise StopIteration
        results: list[object] = []
        for thing in things:
            if thing.fate == "entry":
                results.append(BoomError(thing.name))
            elif thing.fate == "not found":
                results.append(NotFoundError(thing.name))
            else:
                results.append(f"answer {thing.name}")
        return results[1:] if "short" in fates else results

    async def request(self, thing: Thing) -> None:
        outcomes = self.outcomes[thing.name]
        try:
            item = self.batcher.submit(thing, gone=lambda: thing.name in self.left)
        except QueueFullError:
            outcomes.append("refused")
            return
        self.accepted.append(thing)
        try:
            outcomes.append(await answer_of(item))
        except asyncio.CancelledError:
            self.batcher.abandon(item)
            outcomes.append("cancelled")
            raise
        except AbandonedError:
            outcomes.append("abandoned")
        except RunFailedError as error:
            cause = error.__cause__
            whole = thing.fate not in {"entry", "not found"} or f"{cause}" != f"{thing.name}"
            outcomes.append(type(cause).__name__ if whole else f"{type(cause).__name__} {cause}")

    @rule(keys=st.lists(st.integers(0, 2), min_size=1, max_size=6), data=st.data())
    def arrive(self, keys: list[int], data: st.DataObject) -> None:
        for key in keys:
            thing = Thing(len(self.tasks), key, data.draw(st.sampled_from(FATES)))
            self.outcomes[thing.name] = []
            self.tasks[thing.name] = self.loop.create_task(self.request(thing))

    @rule(which=st.integers(0, 200))
    def cancel(self, which: int) -> None:
        if self.tasks:
            self.tasks[which % len(self.tasks)].cancel()

    @rule(which=st.integers(0, 200))
    def leave(self, which: int) -> None:
        if self.tasks:
            self.left.add(which % len(self.tasks))

    @rule(ms=st.floats(0, 60))
    def advance(self, ms: float) -> None:
        self.clock.advance(ms)

    @rule(turns=st.integers(1, 4))
    def turn(self, turns: int) -> None:
        self.loop.settle(turns)

    @rule()
    def run(self) -> None:
        self.loop.call_soon(self.runner.step)

    @rule()
    def drain(self) -> None:
        self.loop.call_soon(self.batcher.drain)

    @invariant()
    def batches_are_within_bounds_and_of_one_key(self) -> None:
        for batch in self.batches:
            assert 1 <= len(batch) <= self.max_batch_size
            assert len({thing.key for thing in batch}) == 1

    @invariant()
    def who_came_first_with_a_key_runs_first(self) -> None:
        ran = [thing for batch in self.batches for thing in batch]
        assert len(set(ran)) == len(ran), "something ran twice"
        order = {thing.name: place for place, thing in enumerate(self.accepted)}
        for key in range(3):
            places = [order[thing.name] for thing in ran if thing.key == key]
            assert places == sorted(places)

    @invariant()
    def nobody_is_answered_twice(self) -> None:
        assert all(len(outcomes) <= 1 for outcomes in self.outcomes.values())

    def teardown(self) -> None:
        logging.getLogger("spanserve").setLevel(logging.NOTSET)
        for _ in range(20 * len(self.tasks) + 20):
            self.loop.settle()
            if all(task.done() for task in self.tasks.values()):
                break
            self.runner.step()
            self.clock.advance(20)
        try:
            self.check_the_end()
        finally:
            self.loop.close()

    def check_the_end(self) -> None:
        assert all(task.done() for task in self.tasks.values()), "somebody waits for ever"
        if not hasattr(self, "batcher"):
            return
        self.loop.settle()
        self.runner.step()
        self.loop.settle()
        ran = {thing.name for batch in self.batches for thing in batch}
        for name, outcomes in self.outcomes.items():
            self.check_outcome(name, outcomes, ran=name in ran)
        self.check_tally(ran)
        self.tasks.clear()
        gc.collect()
        assert self.loop.unhandled == []

    def check_outcome(self, name: int, outcomes: list[str], *, ran: bool) -> None:
        if self.tasks[name].cancelled():
            assert outcomes in ([], ["cancelled"])  # none: it was cancelled before it began
            return
        assert self.tasks[name].exception() is None
        if ran:
            assert outcomes == [self.expected[name]]
        else:
            assert outcomes == ["refused"] or (outcomes == ["abandoned"] and name in self.left)

    def check_tally(self, ran: set[int]) -> None:
        tally = self.batcher.tally
        assert self.batcher.queued == 0
        assert tally.sizes == Counter(len(batch) for batch in self.batches)
        assert sum(tally.reasons.values()) == len(self.batches)
        assert tally.refused == sum(o == ["refused"] for o in self.outcomes.values())
        assert tally.abandoned == len(self.accepted) - len(ran)
        assert tally.failed_batches == self.failed_batches


TestBatching = pytest.mark.timeout(300)(Batching.TestCase)
TestBatching.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
