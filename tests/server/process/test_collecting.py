"""When the garbage collector runs: memory stays bounded, whatever a model leaves behind."""

import re
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanserve.server.process.memory import ALL, GROWTH_BYTES, LOOK_EVERY_S, YOUNG, Growth
from support.serving import subprocess_server

CYCLES = Path(__file__).parents[2] / "support" / "services" / "cycles.py"
MIB = 1024 * 1024


def memory_mib(pid: int, which: str) -> int:
    """Return what a process takes (VmRSS) or took at most (VmHWM)."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    found = re.search(rf"{which}:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) // 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
@pytest.mark.parametrize("path", ["/predict", "/plain"])
def test_cycles_of_the_models_own_do_not_fill_the_memory(path: str) -> None:
    with subprocess_server(str(CYCLES)) as server, httpx.Client(base_url=server.url) as client:
        pid = server.process.pid
        before = memory_mib(pid, "VmRSS")
        for number in range(600):
            assert client.post(path, json=number).json() == number
        assert memory_mib(pid, "VmHWM") - before < 300


STEPS = st.lists(
    st.tuples(
        st.integers(0, 8 * MIB),
        st.integers(0, 8 * MIB),
        st.integers(-4 * MIB, 4 * MIB),
        st.floats(0.0, 0.01),
    ),
    max_size=400,
)


@given(STEPS)
def test_garbage_is_bounded_however_old_it_is(steps: list[tuple[int, int, int, float]]) -> None:
    young = old = 0
    used = 100 * MIB
    growth, now_s, most_wait_s = Growth(used), 0.0, 0.0
    for more_young, more_old, more_used, took_s in steps:
        young, old, used = young + more_young, old + more_old, max(0, used + more_used)
        now_s += LOOK_EVERY_S
        if growth.look(used + young + old) is not None:
            young = 0
            if growth.then(used + old, now_s) is not None:
                old = 0
                growth.collected_all(used, took_s, now_s)
        most_wait_s = max(most_wait_s, took_s / 0.02)
        waited = (most_wait_s / LOOK_EVERY_S + 1) * 20 * MIB
        assert young + old <= 3 * GROWTH_BYTES + waited


def test_memory_that_is_used_is_not_searched_again_and_again() -> None:
    growth, now_s, searches = Growth(0), 0.0, 0
    for step in range(1, 2_000):
        taken = step * 10 * MIB
        now_s += LOOK_EVERY_S
        if growth.look(taken) == YOUNG and growth.then(taken, now_s) == ALL:
            searches += 1
            growth.collected_all(taken, 0.1, now_s)
    assert searches <= now_s / (0.1 / 0.02)


def test_nothing_is_collected_where_nothing_grows() -> None:
    growth = Growth(500 * MIB)
    assert [growth.look(taken * MIB) for taken in (500, 540, 480, 563)] == [None] * 4
