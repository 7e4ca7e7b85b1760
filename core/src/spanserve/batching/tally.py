"""What became of an endpoint's items and batches, counted for whoever asks."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from typing import Final

from spanserve.tracing.recording.record import BatchRecord, ItemRecord

BOUNDS_S: Final = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025),
    *(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
_BOUNDS_NS: Final = [round(bound * 1e9) for bound in BOUNDS_S]


class Durations:
    """How many durations lie up to each of `BOUNDS_S`, and beyond; and one of each by its trace."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.total_ns = 0
        self.examples: dict[int, tuple[str, int]] = {}
        """By the place in `counts`: the trace of the last one there that has any, and its ns."""

    def add(self, duration_ns: int, times: int = 1) -> None:
        """Count a duration, so many times."""
        self.counts[bisect_left(_BOUNDS_NS, duration_ns)] += times
        self.total_ns += duration_ns * times

    def add_until(self, end_ns: int, starts_ns: Sequence[int]) -> None:
        """Count the durations from these marks, ascending, to a later one."""
        number, counted = len(starts_ns), 0
        while counted < number:  # a place of `counts` at a time, from the longest
            place = bisect_left(_BOUNDS_NS, end_ns - starts_ns[counted])
            shorter = number
            if place:
                shorter = bisect_left(starts_ns, end_ns - _BOUNDS_NS[place - 1], counted)
            self.counts[place] += shorter - counted
            counted = shorter
        self.total_ns += number * end_ns - sum(starts_ns)

    def show(self, duration_ns: int, trace_id: str) -> None:
        """Let a duration that was counted be an example: it can be seen in this trace."""
        self.examples[bisect_left(_BOUNDS_NS, duration_ns)] = trace_id, duration_ns


class Tally:
    """The counters of one endpoint."""

    def __init__(self) -> None:
        self.sizes: Counter[int] = Counter()
        self.reasons: Counter[str] = Counter()
        self.refused = 0
        self.late = 0
        self.expired = 0
        self.abandoned = 0
        self.failed_batches = 0
        self.splits = 0
        self.retries = 0
        self.reruns = 0
        self.runs = Durations()
        self.waits_for_peers = Durations()
        self.waits_for_runner = Durations()

    def ran(self, batch: BatchRecord, items: Sequence[ItemRecord]) -> None:
        """Count the times of a batch that ended."""
        released_ns = batch.released_ns
        ready_ns = min(batch.runner_free_ns, released_ns)
        # As the trace's queue spans have it: those that came later did not wait for the runner.
        queued_ns = [item.queued_ns for item in items]  # ascending: they are of a queue
        early = bisect_left(queued_ns, ready_ns)
        for_peers, for_runner = self.waits_for_peers, self.waits_for_runner
        for_runner.add_until(ready_ns, queued_ns[:early])
        for_runner.add(0, len(items) - early)
        for_peers.add_until(released_ns, queued_ns[early:])
        for_peers.add(released_ns - ready_ns, early)
        # The oldest waited longest.
        example, trace_id = _example(items) if batch.is_traced else (None, "")
        if example is not None:
            begin_ns = max(ready_ns, example.queued_ns)
            for_runner.show(begin_ns - example.queued_ns, trace_id)
            for_peers.show(released_ns - begin_ns, trace_id)
        if batch.run_ns:
            run_ns = (batch.ended_ns if batch.retries else batch.ran_ns) - batch.run_ns
            self.runs.add(run_ns)
            if trace_id:
                self.runs.show(run_ns, batch.trace_id or trace_id)


def _example(items: Sequence[ItemRecord]) -> tuple[ItemRecord | None, str]:
    """Return the oldest item whose request is sampled, and its trace id."""
    for item in items:
        if (request := item.request) is not None and request.sampled:
            return item, request.trace_id
    return None, ""
