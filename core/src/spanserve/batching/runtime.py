"""What a batch's run takes, learned from the runs themselves."""

from collections import deque
from typing import Final

_WINDOW: Final = 32
_TRUSTED_SPREAD: Final = 0.1
_NS: Final = 1_000_000


class RunTime:
    """Run time as a straight line over batch size: least squares over the last 32 batches.

    Neither `fixed_ms` nor `item_ms` is ever negative. Where batches are nearly all of one size
    (they spread by less than a tenth of it), the slope between them says little: the last slope
    is kept in that measure, so a steady load does not unlearn what a varied one taught. Before
    anything is known of the slope, all is taken for fixed. A run far off is forgotten with the
    window.
    """

    __slots__ = ("_run_ns", "_runs", "_size", "_size_run_ns", "_size_size", "fixed_ms", "item_ms")

    def __init__(self) -> None:
        self.fixed_ms = 0.0
        self.item_ms = 0.0
        self._runs: deque[tuple[int, int]] = deque()
        # Whole numbers, so that what leaves the window leaves the sums exactly.
        self._size = self._size_size = self._run_ns = self._size_run_ns = 0

    def observe(self, size: int, run_ms: float) -> None:
        """Learn from a run of `size` items (at least 1) that took `run_ms` (finite)."""
        run_ns = max(0, round(run_ms * _NS))
        self._runs.append((size, run_ns))
        self._count(size, run_ns, 1)
        if len(self._runs) > _WINDOW:
            self._count(*self._runs.popleft(), -1)
        self._fit()

    def predict_ms(self, size: int) -> float | None:
        """Return what a run of `size` items is expected to take; None before the first run."""
        return self.fixed_ms + self.item_ms * size if self._runs else None

    def _count(self, size: int, run_ns: int, times: int) -> None:
        self._size += times * size
        self._size_size += times * size * size
        self._run_ns += times * run_ns
        self._size_run_ns += times * size * run_ns

    def _fit(self) -> None:
        runs = len(self._runs)
        spread = runs * self._size_size - self._size * self._size
        together = (runs * self._size_run_ns - self._size * self._run_ns) / _NS
        trust = (_TRUSTED_SPREAD * self._size) ** 2
        slope = (together + trust * self.item_ms) / (spread + trust)
        mean_ms = self._run_ns / runs / _NS
        mean_size = self._size / runs
        self.item_ms = min(max(slope, 0.0), mean_ms / mean_size)
        self.fixed_ms = max(mean_ms - self.item_ms * mean_size, 0.0)
