"""Which traces are recorded: by a ratio as they begin, and by rules as they end."""

from typing import Final, NamedTuple

from spanserve.tracing.propagation.context import Remote
from spanserve.tracing.recording.record import RequestRecord

_ID_RANGE: Final = 1 << 64
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


class RatioSampler:
    """OpenTelemetry's `parentbased_traceidratio`: the caller's decision, else a share of all.

    The share is taken by the low 64 bits of the trace id, as OpenTelemetry's
    TraceIdRatioBased does, so that services with the same rate decide alike.
    `rate` is from 0.0 (nothing) to 1.0 (everything); any other is a `ValueError`. `bound` is what
    those 64 bits of a sampled trace are below.
    """

    __slots__ = ("bound", "rate")

    def __init__(self, rate: float) -> None:
        if not 0.0 <= rate <= 1.0:
            raise ValueError(f"the sample rate must be from 0.0 to 1.0, not {rate}")
        self.rate = rate
        self.bound = round(rate * _ID_RANGE)

    def decide(self, trace_id: str, remote: Remote | None) -> bool:
        """Say whether to sample this trace, whose id has 32 hex digits."""
        if remote is not None:
            if remote.debug:
                return True
            if remote.sampled is not None:
                return remote.sampled
        return int(trace_id[-16:], 16) < self.bound
