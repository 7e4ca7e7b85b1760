"""Tail sampling: whether a trace that was not sampled as it began is kept after all."""

from typing import Final, NamedTuple

from spanserve.tracing.recording.record import RequestRecord

ERROR: Final = "error"
SLOW: Final = "slow"
_SERVER_ERROR: Final = 500


class Rules(NamedTuple):
    """Which traces are recorded, as of now.

    `sample_rate` of them, decided as they begin; of the others, decided as they end, those that
    failed, with `keep_errors`, and those that took longer than `keep_slower_than_ms`.
    """

    sample_rate: float
    keep_errors: bool = False
    keep_slower_than_ms: float | None = None

    @property
    def keeps(self) -> bool:
        """Whether any trace is kept that was not sampled, so that all must be recorded."""
        return self.keep_errors or self.keep_slower_than_ms is not None

    def kept_by(self, record: RequestRecord) -> str:
        """Return the rule that keeps an ended request, `error` or `slow`; empty where none does."""
        if self.keep_errors and (record.failure is not None or record.status >= _SERVER_ERROR):
            return ERROR
        return SLOW if self.keeps_after(record.ended_ns - record.started_ns) else ""

    def keeps_after(self, duration_ns: int) -> bool:
        """Whether a request is kept that took so long, however it went."""
        limit_ms = self.keep_slower_than_ms
        return limit_ms is not None and duration_ns > limit_ms * 1e6
