"""Deadlines of requests: one timer for many, and each is told in time."""

import asyncio
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from spanserve.server.http.deadlines import AllDeadlines


class Timer:
    """A timer of a loop that stands still."""

    def __init__(self, at_ns: int, call: Callable[[], None]) -> None:
        self.at_ns = at_ns
        self.call = call
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Loop:
    """A loop whose time goes on when it is told, and no other."""

    def __init__(self) -> None:
        self.now = 1
        self.timers: list[Timer] = []
        self.made = 0

    def now_ns(self) -> int:
        return self.now

    def call_later(self, delay_s: float, call: Callable[..., None], *args: Any) -> Timer:
        self.made += 1
        timer = Timer(self.now + round(delay_s * 1e9), lambda: call(*args))
        self.timers.append(timer)
        return timer

    def go_on(self, until_ns: int) -> None:
        while due := [each for each in self.timers if each.at_ns <= until_ns]:
            timer = min(due, key=lambda each: each.at_ns)
            self.timers.remove(timer)
            if not timer.cancelled:
                self.now = max(self.now, timer.at_ns)
                timer.call()
        self.now = until_ns


class Asked:
    """A request."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.started_ns = loop.now
        self.over_ns = 0

    def time_is_over(self) -> None:
        assert self.over_ns == 0
        self.over_ns = self.loop.now


MS = 1_000_000


@given(
    st.lists(
        st.tuples(
            st.sampled_from([5.0, 20.0, 300.0]),
            st.integers(0, 30 * MS),  # until the next begins
            st.one_of(st.none(), st.integers(0, 400 * MS)),  # until it is answered
        ),
        max_size=30,
    )
)
def test_each_is_told_when_its_time_is_over_and_none_that_was_answered(requests: Any) -> None:
    loop: Any = Loop()
    deadlines = AllDeadlines(loop.now_ns, {20.0})
    made: list[tuple[Asked, float, int | None]] = []
    for limit_ms, pause_ns, answered_ns in requests:
        request = Asked(loop)
        deadlines.of(limit_ms).add(request, loop)
        answered_at = None if answered_ns is None else loop.now + answered_ns
        made.append((request, limit_ms, answered_at))
        until = loop.now + pause_ns
        answer(loop, deadlines, made, until)
    answer(loop, deadlines, made, loop.now + 1000 * MS)

    for request, limit_ms, answered_at in made:
        due_ns = request.started_ns + int(limit_ms * MS)
        if answered_at is None or answered_at > due_ns:
            assert due_ns - MS <= request.over_ns <= due_ns
        elif answered_at < due_ns - MS:
            assert request.over_ns == 0


def answer(loop: Loop, deadlines: AllDeadlines, made: Any, until_ns: int) -> None:
    """Let time go on, and answer whom it is time to answer meanwhile."""
    due = [each for each in made if each[2] is not None and loop.now <= each[2] < until_ns]
    for request, limit_ms, answered_at in sorted(due, key=lambda each: each[2]):
        loop.go_on(answered_at)
        if not request.over_ns:
            deadlines.of(limit_ms).discard(request)
    loop.go_on(until_ns)


def test_many_requests_need_one_timer() -> None:
    loop: Any = Loop()
    deadlines = AllDeadlines(loop.now_ns, {100.0})
    for _ in range(1000):
        request = Asked(loop)
        deadlines.of(100.0).add(request, loop)
        loop.go_on(loop.now + MS // 100)
        deadlines.of(100.0).discard(request)
    assert loop.made == 1
    last = Asked(loop)
    deadlines.of(100.0).add(last, loop)
    loop.go_on(loop.now + 200 * MS)
    assert last.over_ns - last.started_ns == 100 * MS
    assert loop.made == 2
    assert loop.timers == []


def test_a_limit_of_a_client_is_forgotten_with_its_last_request() -> None:
    loop: Any = Loop()
    deadlines = AllDeadlines(loop.now_ns, {100.0})
    for number in range(1000):
        request = Asked(loop)
        of_it = deadlines.of(1e9 + number)
        of_it.add(request, loop)
        of_it.discard(request)
        another = deadlines.of(1e9 + number)
        another.add(request, loop)
        of_it.discard(request)  # once more: it is not in there
        assert deadlines.of(1e9 + number) is another is not of_it
        another.discard(request)
    assert [each for each in loop.timers if not each.cancelled] == []


async def test_they_keep_time_on_a_real_loop() -> None:
    loop = asyncio.get_running_loop()
    over = asyncio.Event()

    class Real:
        started_ns = int(loop.time() * 1e9)

        def time_is_over(self) -> None:
            over.set()

    deadlines = AllDeadlines(lambda: int(loop.time() * 1e9), {20.0})
    deadlines.of(20.0).add(Real(), loop)
    await asyncio.wait_for(over.wait(), 10)
    assert loop.time() * 1e9 - Real.started_ns >= 19 * MS
