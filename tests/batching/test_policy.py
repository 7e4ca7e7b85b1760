"""The batching policy: its decisions for any situation, what it learns, and what comes of it."""

import math
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, repeat
from random import Random
from statistics import geometric_mean
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanserve.batching.arrivals import Arrivals, Bursts
from spanserve.batching.gaps import Gaps, Prospect
from spanserve.batching.gathering import Gathering, Outlook, Turns
from spanserve.batching.policy import (
    Decision,
    Limits,
    Policy,
    Release,
    ReleaseReason,
    Situation,
    Wait,
    decide,
)
from spanserve.batching.runtime import RunTime
from support.simulator import (
    OURS,
    Aimd,
    Batching,
    ClosedLoop,
    Cork,
    FixedWait,
    OpenLoop,
    Outcome,
    Refuse,
    RunTimeModel,
    Scenario,
    Simulation,
    Source,
    bars,
    best,
    bursts,
    daily,
    drawn,
    lead,
    linear,
    markdown,
    on_off,
    poisson,
    run,
    scenarios,
    stepped,
)

ACCELERATOR = linear(10, 0.1)
TIMES_MS = st.floats(0, 1e5)
SITUATIONS = st.builds(
    Situation,
    queued=st.integers(1, 300),
    outlook=st.builds(Outlook, TIMES_MS, st.integers(1, 300)),
    oldest_wait_ms=TIMES_MS,
    quiet_ms=st.floats(-10, 1e5),
    run_ms=TIMES_MS,
    draining=st.booleans(),
)
LIMITS = st.builds(Limits, st.integers(1, 256), st.floats(0.01, 1e5))


def policy(max_batch_size: int = 64, max_latency_ms: float = 1000) -> Policy:
    return Policy(max_batch_size=max_batch_size, max_latency_ms=max_latency_ms)


def simulate(source: Source, run_time: RunTimeModel, batching: Batching | None = None) -> Outcome:
    return Simulation(batching or policy(), source, run_time).run(8000)


class TestDecide:
    @given(SITUATIONS, LIMITS)
    def test_any_situation_gets_a_valid_decision(
        self, situation: Situation, limits: Limits
    ) -> None:
        decision = decide(situation, limits)
        if isinstance(decision, Release):
            assert decision.n == min(situation.queued, limits.max_batch_size)
        else:
            answered_ms = situation.oldest_wait_ms + decision.ms + situation.run_ms
            assert 0 < decision.ms < math.inf
            assert decision.enough == (situation.outlook.enough if decision.ms <= 1 else 1)
            assert answered_ms <= limits.max_latency_ms + 1e-6
            assert situation.quiet_ms + decision.ms <= situation.outlook.patience_ms + 1e-6
            assert situation.queued < limits.max_batch_size
            assert not situation.draining

    @given(SITUATIONS, LIMITS)
    def test_when_a_wait_is_over_the_batch_is_released(
        self, situation: Situation, limits: Limits
    ) -> None:
        decision = decide(situation, limits)
        if isinstance(decision, Wait):
            later = situation._replace(
                oldest_wait_ms=situation.oldest_wait_ms + decision.ms,
                quiet_ms=situation.quiet_ms + decision.ms,
            )
            assert isinstance(decide(later, limits), Release)

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            ({}, Wait(2.0)),
            ({"queued": 8}, Release(8, ReleaseReason.FULL)),
            ({"queued": 99, "draining": True}, Release(8, ReleaseReason.FULL)),
            ({"draining": True}, Release(3, ReleaseReason.DRAIN)),
            ({"quiet_ms": 3.0}, Release(3, ReleaseReason.IDLE)),
            ({"outlook": Outlook(0.0, 3)}, Release(3, ReleaseReason.IDLE)),
            ({"oldest_wait_ms": 39.5}, Wait(0.5, enough=6)),
            ({"quiet_ms": 2.5}, Wait(0.5, enough=6)),
            ({"oldest_wait_ms": 40.0}, Release(3, ReleaseReason.DEADLINE)),
            ({"oldest_wait_ms": 99.0, "outlook": Outlook(0.0, 3)}, Release(3, ReleaseReason.IDLE)),
        ],
    )
    def test_the_reason_says_what_ended_the_waiting(
        self, change: dict[str, Any], expected: Decision
    ) -> None:
        situation = Situation(
            queued=3,
            outlook=Outlook(3, 6),
            oldest_wait_ms=5,
            quiet_ms=1,
            run_ms=10,
            draining=False,
        )
        assert decide(situation._replace(**change), Limits(8, 50)) == expected


class TestRunTime:
    def test_nothing_is_predicted_before_the_first_run(self) -> None:
        assert RunTime().predict_ms(1) is None

    def test_one_run_is_taken_for_fixed(self) -> None:
        run_time = learned([(4, 12.0)])
        assert (run_time.fixed_ms, run_time.item_ms) == (12.0, 0.0)

    def test_a_straight_line_is_found(self) -> None:
        run_time = learned([(size, 10 + 0.1 * size) for size in (1, 64, 7, 20, 33, 50, 2, 41)] * 6)
        assert run_time.fixed_ms == pytest.approx(10, abs=0.01)
        assert run_time.item_ms == pytest.approx(0.1, abs=0.001)

    def test_equal_sizes_keep_the_slope_that_was_known(self) -> None:
        varied = [(size, 10 + 0.1 * size) for size in (1, 64, 7, 20, 33, 50, 2, 41)] * 6
        run_time = learned([*varied, *[(64, 16.4)] * 200])
        assert run_time.predict_ms(64) == pytest.approx(16.4)
        assert run_time.fixed_ms == pytest.approx(10, abs=0.01)

    def test_nearly_equal_sizes_with_noise_keep_the_slope_that_was_known(self) -> None:
        varied = [(size, 10 + 0.1 * size) for size in (1, 64, 7, 20, 33, 50, 2, 41)] * 6
        noisy = [(63 + i % 2, 16.4 + (1.0 if i % 4 == 1 else -1.0)) for i in range(32)]
        assert learned([*varied, *noisy]).item_ms == pytest.approx(0.1, rel=0.3)

    def test_a_warm_up_far_off_is_forgotten_with_the_window(self) -> None:
        run_time = learned([(1, 5000.0), *[(1 + i % 9, 2.0 + i % 9) for i in range(60)]])
        assert run_time.predict_ms(5) == pytest.approx(6.0, rel=0.02)

    @given(st.lists(st.tuples(st.integers(1, 512), st.floats(0, 1e6)), min_size=1, max_size=80))
    def test_neither_part_is_ever_negative(self, runs: list[tuple[int, float]]) -> None:
        run_time = learned(runs)
        assert 0 <= run_time.fixed_ms < math.inf
        assert 0 <= run_time.item_ms < math.inf


def learned(runs: Iterable[tuple[int, float]]) -> RunTime:
    run_time = RunTime()
    for size, run_ms in runs:
        run_time.observe(size, run_ms)
    return run_time


class TestArrivals:
    def test_patience_covers_the_gaps_that_are_worth_it(self) -> None:
        gaps = Gaps()
        for gap_ms in [0.05] * 30 + [60.0]:
            gaps.hit(gap_ms)
        patience_ms, chance, gap_ms = gaps.prospect(prize_ms=10, cost=5, worth_ms=0.1)
        assert patience_ms == 1
        assert chance == pytest.approx(30 / 31, abs=0.02)
        assert gap_ms == pytest.approx(0.05)

    def test_nobody_waits_where_nobody_came(self) -> None:
        gaps = Gaps()
        gaps.missed(10.0)
        assert gaps.prospect(10, 1, 0.1) == Prospect(0, 0, 0)

    def test_old_gaps_are_forgotten(self) -> None:
        gaps = Gaps()
        for gap_ms in [0.05] * 500 + [5.0] * 1000:
            gaps.hit(gap_ms)
        assert tuple(gaps.prospect(100, 1, 0.1)) == pytest.approx((8.0, 1.0, 5.0))

    def test_the_population_is_the_most_of_recent_batches(self) -> None:
        arrivals = Arrivals()
        arrivals.arrived([0.1, 0.2], 2)
        arrivals.arrived([0.3, 0.4, 0.5], 5)
        arrivals.run_ended(10, 5)
        assert arrivals.population == 5
        for batch in range(8):
            arrivals.arrived([20 + batch], 1)
            arrivals.run_ended(20.5 + batch, 1)
        assert arrivals.population == 1

    def test_who_came_in_company_once_is_not_waited_for_ever_after(self) -> None:
        arrivals = Arrivals()
        arrivals.arrived([0.0], 1)
        arrivals.arrived([0.5], 2)
        arrivals.run_ended(10, 2)
        for batch in range(1, 7):
            arrivals.arrived([50.0 * batch], 1)
            arrivals.run_ended(50.0 * batch + 10, 1)
        assert arrivals.population == 2
        assert arrivals.after_arrival.prospect(10, 2, 0.1) == Prospect(0, 0, 0)

    def test_time_in_which_nobody_came_counts_in_the_mean(self) -> None:
        gaps = Gaps()
        assert gaps.mean_ms == math.inf
        gaps.hit(4.0)
        gaps.missed(20.0)
        assert gaps.mean_ms == pytest.approx(24.0, rel=0.05)

    def test_what_is_known_of_this_arrival_counts_for_its_short_gap(self) -> None:
        gaps = Gaps()
        for gap_ms in [0.05] * 9 + [60.0]:
            gaps.hit(gap_ms)
        assert gaps.prospect(10, 5, 0.1).patience_ms == 1
        assert gaps.prospect(10, 5, 0.1, short_share=0.1).patience_ms == 0
        assert gaps.prospect(10, 5, 0.1, short_share=0.5).chance == pytest.approx(0.5)

    def test_what_was_long_ago_is_no_more_than_rare(self) -> None:
        gaps = Gaps()
        gaps.hit(0.05)
        for _ in range(36_000):  # its count gets too small to be divided by
            gaps.hit(5.0)
        assert gaps.prospect(100, 1, 0.1, short_share=0.5) == gaps.prospect(100, 1, 0.1)

    def test_those_just_answered_return_apart_from_others(self) -> None:
        arrivals = Arrivals()
        arrivals.arrived([float(i) / 10 for i in range(4)], 4)
        arrivals.run_ended(10, 4)  # all of them are away now
        arrivals.arrived([15.0, 15.1], 2)
        arrivals.run_ended(20, 2)  # two are away since longer
        arrivals.arrived([20.5], 1)
        assert arrivals.returns.mean_ms == pytest.approx(5.0)
        assert arrivals.after_run.mean_ms == pytest.approx(0.5)
        assert arrivals.back_ms(4) == pytest.approx(5.0 + 4 * 0.1)

    @given(
        st.lists(st.floats(0, 1e9), max_size=200),
        st.floats(-1e4, 1e4),
        st.integers(1, 500),
        st.none() | st.floats(0, 1),
    )
    def test_a_prospect_is_always_a_number(
        self, gaps_ms: list[float], prize_ms: float, cost: int, short_share: float | None
    ) -> None:
        gaps = Gaps()
        for gap_ms in gaps_ms:
            gaps.hit(gap_ms)
        prospect = gaps.prospect(prize_ms, cost, 0.1, short_share=short_share)
        assert 0 <= prospect.patience_ms < math.inf
        assert 0 <= prospect.chance <= 1
        assert 0 <= prospect.followers(7) <= 7

    @given(st.lists(st.floats(0, 1e4), min_size=1, max_size=200))
    def test_a_group_counts_each_of_its_gaps(self, gaps_ms: list[float]) -> None:
        times_ms = list(accumulate(gaps_ms, initial=0.0))
        gaps = Gaps()
        gaps.group(times_ms)
        patience_ms, chance, gap_ms = gaps.prospect(prize_ms=1e9, cost=1, worth_ms=0.1)
        assert patience_ms >= min(max(gaps_ms), 8192)
        assert chance == pytest.approx(1)
        assert gap_ms == pytest.approx(times_ms[-1] / len(gaps_ms), abs=1e-6)


class TestBursts:
    @given(st.lists(st.tuples(st.booleans(), st.integers(1, 5)), min_size=1, max_size=30))
    def test_bursts_are_counted_however_they_are_told(self, told: list[tuple[bool, int]]) -> None:
        at_once, one_by_one, now_ms = Bursts(), Bursts(), 0.0
        for is_new, size in told:
            now_ms += 100 if is_new else 0.5
            times_ms = [now_ms + 0.1 * i for i in range(size)]
            now_ms = times_ms[-1]
            at_once.arrived(times_ms)
            for time_ms in times_ms:
                one_by_one.arrived([time_ms])
        assert at_once.chance(0.5) == one_by_one.chance(0.5)
        assert at_once.left(99) == one_by_one.left(99)

    def test_one_as_long_as_all_before_is_over(self) -> None:
        bursts = told_of(6, 6, 6, 6)
        bursts.arrived([1000.0 + 0.1 * i for i in range(5)])
        assert bursts.chance(0.9) > 0.95
        assert bursts.left(99) == 1
        bursts.arrived([1000.5])
        assert bursts.chance(0.9) < 0.2
        assert bursts.left(99) == 99

    def test_one_longer_than_all_before_is_as_any(self) -> None:
        bursts = told_of(2, 3, 2)
        bursts.arrived([1000.0 + 0.1 * i for i in range(5)])
        assert bursts.chance(0.7) == 0.7


def told_of(*sizes: int) -> Bursts:
    bursts = Bursts()
    for place, size in enumerate(sizes, 1):
        bursts.arrived([10.0 * place + 0.1 * i for i in range(size)])
    return bursts


class TestGathering:
    """What is made of clients whose ways are known by now."""

    def test_a_few_too_many_for_a_batch_fill_it_where_they_are_soon_back(self) -> None:
        taught = in_turns(clients=65, away_ms=0.4, run_time=learned([(64, 10.6), (32, 9.0)]))
        patience_ms, enough = taught.outlook(1)
        assert patience_ms > 0
        assert enough > 32

    def test_what_an_item_costs_the_others_is_weighed(self) -> None:
        quick, slow = ([(size, 5 + ms * size) for size in (1, 8, 30, 4, 20)] for ms in (0.01, 0.3))
        for runs, enough in ((quick, 45), (slow, 13)):  # 4.9 / 0.11 and 4.9 / 0.4, rounded up
            taught = after_bursts(48, every_ms=70, gap_ms=0.1, run_time=learned(runs * 6))
            assert taught.outlook(1).patience_ms > 0
            assert taught.outlook(1).enough == enough
        assert taught.outlook(13).patience_ms == 0

    def test_a_burst_as_long_as_those_before_is_over_with_its_last(self) -> None:
        run_time = learned([(10, 11.0)])
        for came in range(1, 11):
            taught = after_bursts(10, every_ms=100, gap_ms=0.1, run_time=run_time, came=came)
            patience_ms, enough = taught.outlook(came)
            assert (patience_ms > 0, enough) == ((True, 10) if came < 10 else (False, 30))

    def test_half_is_enough_where_batches_take_turns(self) -> None:
        runs = [(32, 13.2), (2, 10.2)] * 9
        for do_turn in (True, False):
            taught = in_turns(64, 10.0, learned(runs), came=20)
            taught.turns.to_begin()  # not to be tried again now
            taught.turns.run_ended(others_wait=do_turn)
            assert taught.outlook(31).patience_ms > 0
            assert (taught.outlook(32).patience_ms > 0) is not do_turn


def in_turns(clients: int, away_ms: float, run_time: RunTime, *, came: int = 0) -> Gathering:
    """Two halves, each back `away_ms` after its answers while the other runs; 0.06 ms apart.

    A run has just ended, and `came` are back since.
    """
    arrivals, half = Arrivals(), clients // 2
    gathering = Gathering(64, run_time, arrivals)
    run_ms = run_time.predict_ms(half) or 0.0
    arrivals.arrived([0.06 * i for i in range(clients)], clients)
    now_ms = 10.0
    for _ in range(20):
        now_ms += max(run_ms, away_ms + 0.06 * half + 0.5)
        arrivals.run_ended(now_ms, half)
        gathering.turns.run_ended(others_wait=True)
        back_ms = [now_ms + away_ms + 0.06 * i for i in range(half)]
        arrivals.arrived(back_ms, clients)
    now_ms += max(run_ms, away_ms + 0.06 * half + 0.5)
    arrivals.run_ended(now_ms, half)
    if came:
        arrivals.arrived([now_ms + away_ms + 0.06 * i for i in range(came)], half + came)
    return gathering


def after_bursts(
    size: int, every_ms: float, gap_ms: float, run_time: RunTime, *, came: int = 1
) -> Gathering:
    """Some requests of a burst are here, after many that were each one batch; twice three."""
    arrivals = Arrivals()
    gathering = Gathering(64, run_time, arrivals)
    for burst in range(1, 30):
        begin_ms = burst * every_ms
        in_system = 3 * size if burst in {10, 25} else size
        arrivals.arrived([begin_ms + gap_ms * i for i in range(size)], in_system)
        arrivals.run_ended(begin_ms + gap_ms * size + 10, in_system)
        gathering.turns.run_ended(others_wait=False)
    arrivals.arrived([30 * every_ms + gap_ms * i for i in range(came)], came)
    return gathering


class TestTurns:
    def test_what_comes_to_nothing_is_tried_ever_more_rarely(self) -> None:
        turns, tries = Turns(), []
        for run_number in range(1, 300):
            turns.run_ended(others_wait=run_number % 3 == 0)
            if turns.to_begin():
                tries.append(run_number)
        assert tries == [4, 12, 28, 60, 124, 188, 252]

    def test_where_it_works_it_is_soon_tried_again(self) -> None:
        turns = Turns()
        for _ in range(300):
            turns.run_ended(others_wait=False)
            turns.to_begin()
        for _ in range(4):
            turns.run_ended(others_wait=True)
        assert turns.to_begin()


class TestPrediction:
    def test_the_time_to_an_answer_counts_the_batches_ahead(self) -> None:
        trained = policy(max_batch_size=4)
        trained.decide(1, 0.0, 0.0)
        trained.observed(1, 20.0)
        trained.decide(1, 0.0, 100.0)
        assert trained.predict_ms(9, 105.0) == 15 + 20 + 20 + 20

    def test_the_time_to_an_answer_is_unknown_at_first(self) -> None:
        assert policy().predict_ms(0, 0.0) is None


def test_two_halves_that_take_turns_are_brought_together() -> None:
    taught = policy()
    now_ms = 0.0
    for turn in range(20):
        taught.decide(32, 5.0, now_ms, draining=True)  # released, whatever it would like
        for i in range(32):
            taught.arrived(now_ms + 1.1 + 0.06 * i, (33 if turn else 1) + i)
        taught.observed(32, 13.2)
        now_ms += 13.2
    assert tuple(taught.decide(32, 10.0, now_ms)) == pytest.approx((2.0, 1))


class Checked:
    """A policy under watch: every decision must be valid, and no wait follows one for nothing."""

    def __init__(self, watched: Policy, limits: Limits) -> None:
        self._watched = watched
        self._limits = limits
        self._news = True

    def arrived(self, now_ms: float, in_system: int) -> None:
        self._watched.arrived(now_ms, in_system)
        self._news = True

    def decide(
        self, queued: int, oldest_wait_ms: float, now_ms: float, *, draining: bool = False
    ) -> Decision:
        decision = self._watched.decide(queued, oldest_wait_ms, now_ms, draining=draining)
        if isinstance(decision, Wait):
            assert decision.enough == 1 or queued < decision.enough <= self._limits.max_batch_size
            assert self._news, "waits a second time, and nobody has come"
            assert 0 < decision.ms <= self._limits.max_latency_ms - oldest_wait_ms
        else:
            assert 1 <= decision.n == min(queued, self._limits.max_batch_size)
        self._news = isinstance(decision, Release)
        return decision

    def observed(self, size: int, run_ms: float) -> None:
        self._watched.observed(size, run_ms)


GAPS_MS = st.one_of(st.just(0.0), st.floats(0, 0.5), st.floats(0, 50), st.floats(0, 1e5))


@given(
    st.lists(GAPS_MS, min_size=1, max_size=150),
    st.builds(Limits, st.integers(1, 20), st.floats(0.1, 200)),
    st.floats(0, 20),
    st.floats(0, 1),
    st.sampled_from([1e-3, 1.0]),
)
def test_whatever_comes_each_request_is_answered(
    gaps_ms: list[float], limits: Limits, fixed_ms: float, noise: float, timer_ms: float
) -> None:
    checked = Checked(policy(*limits), limits)
    arrivals = OpenLoop(lambda _: gaps_ms)
    simulation = Simulation(checked, arrivals, linear(fixed_ms, 0.1, noise), timer_ms=timer_ms)
    outcome = simulation.run(len(gaps_ms), warm_up=0)
    assert sum(outcome.batch_sizes) == len(outcome.latencies_ms) == len(gaps_ms)


def ideal_per_s(clients: int, fixed_ms: float = 10, item_ms: float = 0.1) -> float:
    """All clients in one batch; 0.3 ms of way there and back, and 0.06 ms from one to the next."""
    return 1000 * clients / (fixed_ms + item_ms * clients + 0.3 + 0.06 * clients)


class TestClosedLoop:
    def test_one_client_is_never_kept_waiting(self) -> None:
        outcome = simulate(ClosedLoop(1), ACCELERATOR)
        assert outcome.waits == 0
        assert outcome.mean_ms == pytest.approx(10.1 + 0.1)

    @pytest.mark.parametrize("clients", [2, 3, 4, 16, 32, 64])
    def test_all_clients_travel_together(self, clients: int) -> None:
        outcome = simulate(ClosedLoop(clients), ACCELERATOR)
        assert set(outcome.batch_sizes) == {clients}
        assert outcome.per_s >= 0.99 * ideal_per_s(clients)

    def test_sixty_four_clients_get_what_the_design_asks(self) -> None:
        assert simulate(ClosedLoop(64), ACCELERATOR).per_s >= 2.5 * 1157

    def test_more_clients_than_places_fill_every_batch(self) -> None:
        outcome = simulate(ClosedLoop(256), ACCELERATOR)
        assert outcome.reasons.keys() == {ReleaseReason.FULL}
        assert outcome.per_s >= 0.99 * 64_000 / 16.5

    @pytest.mark.parametrize("return_ms", [1, 3])
    def test_clients_that_are_slow_to_return_are_waited_for(self, return_ms: float) -> None:
        outcome = simulate(ClosedLoop(64, return_ms=return_ms), ACCELERATOR)
        assert set(outcome.batch_sizes) == {64}

    def test_two_batches_in_turn_where_gathering_costs_more_than_a_run(self) -> None:
        crowd = ClosedLoop(256)
        at_once = simulate(crowd, ACCELERATOR, FixedWait(0, max_batch_size=256))
        assert simulate(crowd, ACCELERATOR, policy(256)).per_s >= 0.99 * at_once.per_s

    @pytest.mark.parametrize("return_ms", [9, 10, 12, 16, 30])
    def test_clients_that_are_long_away_take_turns(self, return_ms: float) -> None:
        away = ClosedLoop(64, return_ms=return_ms)
        at_once = simulate(away, ACCELERATOR, FixedWait(0, max_batch_size=64))
        assert simulate(away, ACCELERATOR).per_s >= 0.99 * at_once.per_s

    def test_a_batch_that_gathers_is_asked_about_once_a_tick_or_so(self) -> None:
        outcome = simulate(ClosedLoop(64), ACCELERATOR)
        assert outcome.waits_per_batch < 6  # 3.8 ms from the first to the last

    @pytest.mark.parametrize("max_latency_ms", [5, 15])
    def test_a_tight_target_ends_the_waiting(self, max_latency_ms: float) -> None:
        outcome = simulate(ClosedLoop(64), ACCELERATOR, policy(64, max_latency_ms))
        assert outcome.reasons[ReleaseReason.DEADLINE] > 0
        assert outcome.per_s >= 0.9 * 64_000 / 26.6

    def test_clients_that_left_are_soon_forgotten(self) -> None:
        outcome = Simulation(policy(), Shrinking(64, 8, 2000), ACCELERATOR).run(4000, warm_up=2500)
        assert outcome.per_s >= 0.97 * ideal_per_s(8)


@dataclass
class Shrinking:
    """A closed loop of `before` clients of which only `after_that` stay after `answers`."""

    before: int
    after_that: int
    answers: int

    def first(self, random: Random) -> Iterable[float]:
        return ClosedLoop(self.before).first(random)

    def after(self, now_ms: float, answered: int, random: Random) -> Iterable[float]:
        self.answers -= answered
        staying = answered if self.answers > 0 else min(answered, self.after_that)
        return ClosedLoop(self.before).after(now_ms, staying, random)


def scattered_bursts(pause_ms: float) -> OpenLoop:
    """Ten requests 0.05 ms apart, and again after an independent pause."""

    def gaps(random: Random) -> Iterator[float]:
        while True:
            yield random.expovariate(1 / pause_ms)
            yield from repeat(0.05, 9)

    return OpenLoop(gaps)


class TestOpenLoop:
    @pytest.mark.parametrize("load", [0.05, 0.3, 0.6, 0.9])
    @pytest.mark.parametrize(("fixed_ms", "item_ms"), [(10, 0.1), (2, 0.5), (1, 0.05)])
    def test_independent_requests_wait_no_longer_than_with_the_best_fixed_wait(
        self, fixed_ms: float, item_ms: float, load: float
    ) -> None:
        stream = poisson(load * 64_000 / (fixed_ms + 64 * item_ms))
        model = linear(fixed_ms, item_ms)
        best_ms = min(
            simulate(stream, model, FixedWait(wait_ms, max_batch_size=64)).mean_ms
            for wait_ms in (0, 0.5, 1, 2, 4, 8)
        )
        assert simulate(stream, model).mean_ms <= 1.03 * best_ms

    @pytest.mark.parametrize("load", [0.3, 0.6, 0.9])
    def test_nearly_all_are_answered_within_the_target(self, load: float) -> None:
        outcome = simulate(poisson(load * 3902), ACCELERATOR, policy(64, 50))
        assert outcome.quantile_ms(0.99) <= 50

    def test_a_burst_is_one_batch(self) -> None:
        outcome = simulate(bursts((10, 10), every_ms=100, gap_ms=0.05), ACCELERATOR)
        assert set(outcome.batch_sizes) == {10}

    def test_bursts_of_any_size_are_seldom_cut(self) -> None:
        arrivals = bursts((5, 15), every_ms=100, gap_ms=0.05)
        outcome = simulate(arrivals, ACCELERATOR)
        best = simulate(arrivals, ACCELERATOR, FixedWait(1, max_batch_size=64))
        assert outcome.mean_ms <= 1.05 * best.mean_ms

    @pytest.mark.parametrize("pause_ms", [4.0, 8.0, 30.0])
    def test_bursts_at_any_moment_wait_little_longer_than_with_the_best_fixed_wait(
        self, pause_ms: float
    ) -> None:
        arrivals = scattered_bursts(pause_ms)
        best_ms = min(
            simulate(arrivals, ACCELERATOR, FixedWait(wait_ms, max_batch_size=64)).mean_ms
            for wait_ms in (0, 0.5, 1, 2, 4)
        )
        assert simulate(arrivals, ACCELERATOR).mean_ms <= 1.05 * best_ms

    def test_steady_rare_requests_go_at_once(self) -> None:
        outcome = simulate(OpenLoop(lambda _: repeat(40.0)), ACCELERATOR)
        assert (outcome.waits, outcome.mean_size) == (0, 1)


class TestModels:
    def test_a_padded_model_loses_nothing(self) -> None:
        outcome = simulate(ClosedLoop(64), stepped(10, 0.1, pad_to=16))
        assert outcome.per_s >= 0.99 * ideal_per_s(64)

    def test_a_noisy_model_loses_little(self) -> None:
        outcome = simulate(ClosedLoop(64), linear(10, 0.1, noise=0.3))
        mean_run_ms = 16.4 * math.exp(0.3**2 / 2)
        assert outcome.per_s >= 0.97 * 64_000 / (mean_run_ms + 0.3 + 0.06 * 64)

    @pytest.mark.parametrize("clients", [1, 8, 64])
    def test_a_model_of_microseconds_never_waits(self, clients: int) -> None:
        for fixed_ms, gap_ms in ((0.02, (0.02, 0.1)), (0.09, (0.001, 0.002))):
            close = ClosedLoop(clients, gap_ms=gap_ms)
            # It runs on the event loop: nothing is handed over.
            inline = Simulation(policy(), close, linear(fixed_ms, 0.0001), hand_over_ms=0.0)
            assert inline.run(1000).waits == 0

    def test_a_batch_waits_fewer_times_than_it_has_places(self) -> None:
        assert simulate(ClosedLoop(64), ACCELERATOR).most_waits < 64


class Inquisitive(Policy):
    """A policy that is asked at each arrival, whatever it thinks enough."""

    __slots__ = ()

    def decide(
        self, queued: int, oldest_wait_ms: float, now_ms: float, *, draining: bool = False
    ) -> Decision:
        decision = super().decide(queued, oldest_wait_ms, now_ms, draining=draining)
        return decision._replace(enough=1) if isinstance(decision, Wait) else decision


@pytest.mark.parametrize(
    "source",
    [
        ClosedLoop(64),
        ClosedLoop(64, return_ms=10),
        bursts((5, 15), every_ms=100, gap_ms=0.05),
        on_off(3000, 50, 100),
    ],
)
def test_to_ask_at_each_arrival_changes_little(source: Source) -> None:
    seldom = simulate(source, ACCELERATOR)
    always = simulate(source, ACCELERATOR, Inquisitive(max_batch_size=64, max_latency_ms=1000))
    assert seldom.mean_ms == pytest.approx(always.mean_ms, rel=0.05)
    assert seldom.per_s == pytest.approx(always.per_s, rel=0.03)


class TestRivals:
    def test_aimd_finds_the_largest_batch_that_meets_its_target(self) -> None:
        aimd = Aimd(13.1, 0, max_batch_size=64)  # 30 items, and the hand-over
        outcome = simulate(ClosedLoop(256), ACCELERATOR, aimd)
        assert max(outcome.batch_sizes) == 31
        assert outcome.mean_size == pytest.approx(29.5, abs=0.5)

    def test_cork_refuses_what_it_takes_for_late(self) -> None:
        outcome = simulate(poisson(4500), ACCELERATOR, Cork(50, max_batch_size=64))
        assert outcome.refused > 0
        assert outcome.quantile_ms(1.0) <= 51

    def test_cork_releases_at_once_what_it_expects_nobody_to_join(self) -> None:
        outcome = simulate(ClosedLoop(16), ACCELERATOR, Cork(100, max_batch_size=64))
        assert outcome.refused == 0
        assert outcome.per_s >= 733  # no wait: half of them in turn with the other half

    def test_the_refused_come_back_as_new_requests(self) -> None:
        outcome = simulate(ClosedLoop(8), ACCELERATOR, Refusing())
        assert outcome.refused > 0
        assert outcome.mean_size > 1


class Refusing(FixedWait):
    """No wait, but each tenth decision is to refuse the oldest."""

    def __init__(self) -> None:
        super().__init__(0, max_batch_size=64)
        self._decisions = 0

    def decide(  # type: ignore[override]  # a rival may refuse, our policy never does
        self, queued: int, oldest_wait_ms: float, now_ms: float, *, draining: bool = False
    ) -> Decision | Refuse:
        self._decisions += 1
        if self._decisions % 10 == 0:
            return Refuse(1)
        return super().decide(queued, oldest_wait_ms, now_ms, draining=draining)


COMPARED = {
    scenario.name: scenario
    for scenario in scenarios()
    if scenario.name
    in {
        "2 clients",
        "64 clients",
        "64 clients, back after 10 ms",
        "64 clients, back after 30 ms",
        "16 clients, think 10 ms",
        "40 clients, padded to 2^n",
        "Poisson 30%",
        "Poisson 60%",
        "Poisson 90%",
        "100 clients, back after 12 ms, 20 ms + 0.05 n",
        "40 clients, back after 20 ms, 10 ms + 0.1 n",
        "48 each 70 ms, 0.1 ms apart, 5 ms + 0.3 n",
        "12 each 25 ms, 0.5 ms apart, 20 ms + 0.05 n",
        "32 each 30 ms, 0.3 ms apart",
        "10 at random, 8 ms",
        "1000/s on 20, off 60 ms",
    }
}


@pytest.mark.parametrize("scenario", COMPARED.values(), ids=COMPARED.keys())
def test_no_other_policy_is_better_by_a_twentieth_with_its_best_setting(
    scenario: Scenario,
) -> None:
    results = best(run(scenario, 0.3))
    assert [result.policy for result in results] == [
        OURS,
        "no wait",
        "fixed wait",
        "AIMD",
        "CORK",
    ]
    assert lead(results) >= 0.95
    assert results[0].most_waits < scenario.max_batch_size
    assert results[0].on_time


def test_the_same_seed_draws_the_same_scenarios() -> None:
    once, again = ([scenario.name for scenario in drawn(20, 5)] for _ in range(2))
    assert once == again
    assert once != [scenario.name for scenario in drawn(20, 6)]


def test_few_scenarios_that_nobody_chose_are_better_served_by_another() -> None:
    leads = [lead(best(run(scenario, 0.1))) for scenario in drawn(12, 5)]
    assert geometric_mean(leads) >= 0.97
    assert sorted(leads)[2] >= 0.95


def test_a_day_of_ten_thousand_a_second_keeps_its_target() -> None:
    day = daily(500, 10_000, day_s=10)
    simulation = Simulation(policy(256, 50), day, linear(4, 0.02))
    outcome = simulation.run(50_000)
    assert outcome.quantile_ms(0.99) <= 12
    assert outcome.most_waits < 256


def test_a_run_repeats_exactly() -> None:
    noisy = linear(10, 0.1, noise=0.3)
    once, again = (Simulation(policy(), poisson(2000), noisy).run(2000) for _ in range(2))
    assert once == again


def test_the_table_and_the_picture_show_every_policy() -> None:
    results = best(run(COMPARED["2 clients"], 0.1))
    table = markdown([results])
    assert table.count("\n") == 2 + len(results)
    assert all(f"| {result.policy}" in table for result in results)
    texts = [element.text for element in ET.fromstring(bars("Throughput", [results])).iter()]
    assert {"Throughput", "2 clients", *(result.policy for result in results)} <= set(texts)


def test_of_several_replicas_none_waits_while_requests_are_queued() -> None:
    policy = Policy(max_batch_size=16, max_latency_ms=50, replicas=4)
    outcome = Simulation(policy, poisson(400), linear(10.0, 0.1), replicas=4).run(3000)
    alone = Policy(max_batch_size=16, max_latency_ms=50)
    waiting = Simulation(alone, poisson(400), linear(10.0, 0.1), replicas=4).run(3000)
    assert outcome.waits == 0
    assert outcome.quantile_ms(0.99) < 0.9 * waiting.quantile_ms(0.99)


def test_what_an_answer_takes_is_foretold_by_how_many_replicas_there_are() -> None:
    policy = Policy(max_batch_size=2, max_latency_ms=50, replicas=2)
    assert policy.predict_ms(0, 0.0) is None
    policy.observed(2, 10.0)
    idle = policy.predict_ms(0, 0.0)
    for _ in range(2):
        assert policy.decide(2, 0.0, 0.0) == Release(2, ReleaseReason.FULL)
    busy, queued = policy.predict_ms(0, 0.0), policy.predict_ms(4, 0.0)
    assert idle is not None
    assert busy is not None
    assert queued is not None
    assert idle < busy < queued == pytest.approx(busy + 10.0)
