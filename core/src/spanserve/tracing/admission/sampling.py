"""Head sampling: whether a trace is recorded, decided when a request arrives."""

from typing import Final

from spanserve.tracing.propagation.context import Remote

_ID_RANGE: Final = 1 << 64


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
