"""Whether to wait for others, and until when: what is made of what was learned.

Released now, whoever comes next must wait for this run to end. A run costs a fixed part, whatever
its size, and a part for each item. One more on board saves about a fixed part, while each of the
queued and the newcomer wait until it comes, and each of the queued waits for the newcomer's item
to be run. So waiting pays as long as

    fixed_ms - queued * item_ms > (queued + 1) * gap_ms

with the gap to the newcomer, which `Arrivals` has learned. Where clients come back for more, that
is not all: who is answered late comes back late. Then it counts how long the runner is free:

- clients who are back before a second run would have ended (`together`) are all waited for, as far
  as a batch holds them, whatever an item costs;
- of others, two batches do better to take turns, one running while the clients of the other are
  away (`Turns`).
"""

from math import ceil
from typing import Final, NamedTuple

from spanserve.batching.arrivals import Arrivals
from spanserve.batching.runtime import RunTime

WORTH_MS: Final = 0.1
"""Savings of less are not worth a wait."""
_SETTLED_RUNS: Final = 4
_FIRST_TRY_RUNS: Final = 4
_RAREST_TRY_RUNS: Final = 64


class Outlook(NamedTuple):
    """Waiting pays until `patience_ms` after the last news (0: not at all), or `enough` queued."""

    patience_ms: float
    enough: int


class Turns:
    """Whether to let two batches take turns, one here while the clients of the other are away.

    To gather all the clients of a closed loop, who are long away, leaves the runner free for that
    long; with two batches it is not. Two that take turns go on to do so of themselves; but to
    begin, one has to be released early. That is tried, and where nothing comes of it, as with
    bursts of independent requests, half as often each time.
    """

    __slots__ = ("_every", "_row", "_since")

    def __init__(self) -> None:
        self._row = 0  # runs one after the other at whose end others were queued
        self._since = 0  # runs since the last try
        self._every = _FIRST_TRY_RUNS

    def run_ended(self, *, others_wait: bool) -> None:
        """A run ended, and others were queued by then, or not."""
        self._since += 1
        self._row = self._row + 1 if others_wait else 0
        if self.are_taken:
            self._every = _FIRST_TRY_RUNS

    @property
    def are_taken(self) -> bool:
        """Whether batches have been taking turns for a while."""
        return self._row >= _SETTLED_RUNS

    def to_begin(self) -> bool:
        """Whether to try now."""
        if self._since < self._every:
            return False
        self._since = 0
        self._every = min(2 * self._every, _RAREST_TRY_RUNS)
        return True


class Gathering:
    """Weighs waiting for others against going at once, for batches of at most `most`."""

    __slots__ = ("_arrivals", "_most", "_run_time", "turns")

    def __init__(self, most: int, run_time: RunTime, arrivals: Arrivals) -> None:
        self._most = most
        self._run_time = run_time
        self._arrivals = arrivals
        self.turns = Turns()

    def outlook(self, queued: int) -> Outlook:
        """Return how long to wait with `queued` requests (at least 1), as of the last news."""
        fixed_ms, item_ms = self._run_time.fixed_ms, self._run_time.item_ms
        absent = min(self._arrivals.population, self._most) - queued
        if absent <= 0 or fixed_ms <= WORTH_MS:
            return Outlook(0.0, queued)
        together = self._are_together()
        if together:
            item_ms = 0.0
        elif self.turns.are_taken and self._is_complete(queued):
            return Outlook(0.0, queued)
        prize_ms = fixed_ms - queued * item_ms
        if self._arrivals.news_is_run:
            patience_ms = self._after_run_ms(queued, absent, prize_ms)
        else:
            patience_ms = self._after_arrival_ms(queued, prize_ms)
            may_turn = patience_ms > 0.0 and not together and self._is_half(queued)
            if may_turn and self.turns.to_begin():
                patience_ms = 0.0
        return Outlook(patience_ms, queued + self._enough(queued, absent, item_ms))

    def _are_together(self) -> bool:
        """Whether clients are back so soon that as many as a batch holds are worth waiting for.

        The runner is free for that long, and then one run serves `most` of them. Without waiting,
        two batches take turns, and two runs serve all.
        """
        population, most = self._arrivals.population, self._most
        if not 0 < population < 2 * most:
            return False
        spared_ms = self._run_time.fixed_ms * min(2 * most / population - 1, 1.0)
        return self._arrivals.back_ms(min(population, 2 * most - population)) < spared_ms

    def _is_half(self, queued: int) -> bool:
        return 2 * queued >= self._arrivals.population

    def _is_complete(self, queued: int) -> bool:
        """Whether a batch that takes turns has its half, or all others were answered just now."""
        arrivals = self._arrivals
        return self._is_half(queued) or (arrivals.news_is_run and not arrivals.others_away)

    def _after_arrival_ms(self, queued: int, prize_ms: float) -> float:
        gaps, bursts = self._arrivals.after_arrival, self._arrivals.bursts
        goes_on = bursts.chance(gaps.short_share)
        return gaps.prospect(prize_ms, queued + 1, WORTH_MS, short_share=goes_on).patience_ms

    def _after_run_ms(self, queued: int, absent: int, prize_ms: float) -> float:
        # The first of the answered clients may be long in coming, if others follow it closely.
        fixed_ms, arrivals = self._run_time.fixed_ms, self._arrivals
        peer = arrivals.after_arrival.prospect(prize_ms, queued + 1, WORTH_MS)
        followers = peer.followers(absent - 1)
        prize_ms += followers * max(fixed_ms - (queued + 1) * peer.gap_ms, 0.0)
        first = arrivals.gaps.prospect(prize_ms, queued + 1, WORTH_MS)
        # Once they are together, all of them have to be waited for each time.
        bursts = absent / (followers + 1)
        gather_ms = bursts * first.gap_ms + (queued + absent - bursts) * peer.gap_ms
        return first.patience_ms if gather_ms < fixed_ms else 0.0

    def _enough(self, queued: int, absent: int, item_ms: float) -> int:
        """Return for how many others to wait: no more than come in this burst, or than pay."""
        arrivals, fixed_ms = self._arrivals, self._run_time.fixed_ms
        expected = min(absent, arrivals.bursts.left(absent))
        gap_ms = arrivals.after_arrival.short_ms
        each_ms = gap_ms + item_ms
        if each_ms * (queued + expected) <= fixed_ms - gap_ms:
            return expected
        return min(expected, max(ceil((fixed_ms - gap_ms) / each_ms) - queued, 1))
