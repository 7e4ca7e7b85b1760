"""Time as the records know it."""

from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from spanserve.tracing.model.clock import Clock, Ids, SteadyOffset


def test_an_offset_is_steady_until_the_clocks_drift_apart_by_a_millisecond() -> None:
    unix_ns = 1_000_000_000
    offset = SteadyOffset(Clock(lambda: 0, lambda: unix_ns))
    unix_ns += 1_000_000
    assert offset() == 1_000_000_000
    unix_ns += 1
    assert offset() == 1_001_000_001
    unix_ns -= 5_000_000
    assert offset() == 996_000_001


@given(st.sets(st.integers(0, 8), max_size=5))
def test_an_offset_is_taken_from_clocks_that_were_read_without_a_wait(waits: set[int]) -> None:
    # Three goes of three readings each, of which the last ends its go: a wait after it is outside.
    now_ns, readings = 0, 0

    def read_ns() -> int:
        nonlocal now_ns, readings
        read, now_ns = now_ns, now_ns + (1_000_000 if readings in waits else 0)
        readings += 1
        return read

    offset_ns = Clock(read_ns, lambda: 5_000_000_000 + read_ns()).offset_ns()
    halves = [waits & {first, first + 1} for first in (0, 3, 6)]
    assert offset_ns == 5_000_000_000 or all(halves)


@given(st.integers())
def test_ids_are_hex_of_their_length_and_never_zero(seed: int) -> None:
    ids = Ids(seed)
    for trace_id, root_id in islice(ids.roots(), 600):
        assert root_id == int(trace_id[16:], 16)
        assert len(trace_id) == 32
        assert int(trace_id, 16) > 0
        assert 0 < root_id < 1 << 64
    assert {len(text) for text in islice(ids.texts(), 600)} == {32}
