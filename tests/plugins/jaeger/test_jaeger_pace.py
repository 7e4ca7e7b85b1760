"""How fast packets follow each other over UDP."""

from collections.abc import Sequence

import pytest

from spanserve_jaeger.pace import FASTEST_BYTES_PER_S, SLOWEST_BYTES_PER_S, Pace


class Turning:
    """A clock that stands still, but for what is slept."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def read(self) -> float:
        """Return the time."""
        return self.now_s

    def sleep(self, length_s: float) -> None:
        """Turn the clock."""
        self.now_s += length_s


def paced(clock: Turning, pace: Pace, sizes: Sequence[int]) -> float:
    """Send packets of these sizes in one call; return how long it took."""
    began_s = clock.now_s
    pace.begin(sum(sizes))
    for size in sizes:
        pace.wait()
        pace.sent(size)
    return clock.now_s - began_s


def test_packets_keep_their_distance_and_a_caller_who_is_behind_is_held_up_for_less() -> None:
    clock = Turning()
    pace = Pace(clock_s=clock.read, sleep=clock.sleep)
    sizes = [65_000] * 11
    slowest_s, fastest_s = (650_000 / rate for rate in (SLOWEST_BYTES_PER_S, FASTEST_BYTES_PER_S))
    assert paced(clock, pace, sizes) == pytest.approx(slowest_s)
    took_s = [paced(clock, pace, sizes) for _ in range(6)]
    assert took_s == sorted(took_s, reverse=True)
    assert took_s[-1] == pytest.approx(fastest_s * 1.1)  # with the pause before its first packet
    clock.sleep(10)
    assert paced(clock, pace, sizes) == pytest.approx(slowest_s)


def test_short_packets_and_empty_calls_are_held_up_for_less() -> None:
    clock = Turning()
    pace = Pace(clock_s=clock.read, sleep=clock.sleep)
    assert [paced(clock, pace, sizes) for sizes in ([], [], [1_400])] == [0, 0, 0]
    clock.sleep(10)
    assert paced(clock, pace, [1_400, 1_400]) == pytest.approx(1_400 / SLOWEST_BYTES_PER_S)
