"""One go at running a batch: its marks, and which part of it failed.

The first go is the batch's own. Where it raised, its items are run again in smaller groups,
to find the one that makes it raise: each of those is a `Retry`.
"""

from collections.abc import Sequence

from spanserve.tracing.model.failure import Failure
from spanserve.tracing.model.ids import COLLATE, RUN, SPLIT, retry_place

RunBy = tuple[str, int]
"""What ran the user's code elsewhere than in the server: a runner's type, and its replica."""


class Attempt:
    """The marks of one go; as in a record, 0 is one that was not reached."""

    size: int
    number: int = 0
    """0 is the batch's own; retries count from 1, in the order in which they ran."""

    started_ns: int = 0
    run_ns: int = 0
    ran_ns: int = 0
    ended_ns: int = 0
    failure: Failure | None = None
    runner: RunBy | None = None
    """What it ran on; None: a thread of the server."""

    def collate_started(self, now_ns: int) -> None:
        """Begin to make the method's argument, on the runner."""
        self.started_ns = now_ns

    def run_started(self, now_ns: int) -> None:
        """Have the method's argument, and call the method."""
        self.run_ns = now_ns

    def run_ended(self, now_ns: int) -> None:
        """Have the method's answer, or its exception."""
        self.ran_ns = now_ns

    def ended(self, now_ns: int) -> None:
        """Have one result for each item, or one failure for all."""
        self.ended_ns = now_ns

    @property
    def split_started(self) -> bool:
        """Whether the run went well, so that its answer was to be split."""
        failure = self.failure
        return self.ran_ns > 0 and (failure is None or self.part_of(failure) == SPLIT)

    def part_of(self, failure: Failure) -> int:
        """Return in which part this go, or an item in it, failed: `COLLATE`, `RUN`, `SPLIT`."""
        if not self.run_ns:
            return COLLATE
        return SPLIT if 0 < self.ran_ns < failure.time_ns else RUN

    def place(self, part: int) -> int:
        """Return the place of a part in the batch's own trace; `ROOT` is what holds the parts."""
        return part


class Retry(Attempt):
    """Another go, at the items at these positions of the batch."""

    def __init__(self, number: int, positions: Sequence[int]) -> None:
        self.number = number
        self.positions = positions
        self.size = len(positions)

    def place(self, part: int) -> int:
        """Return the place of a part in the batch's own trace."""
        return retry_place(self.number, part)
