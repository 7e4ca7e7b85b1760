"""What became of the spans of one call of a tracer, whatever the tracer says of it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from spanserve.tracing.hookspecs import ExportResult
from spanserve.tracing.span import Span


class Drop(StrEnum):
    """Why spans were not delivered."""

    QUEUE_FULL = "queue_full"
    REJECTED = "rejected"
    UNACCOUNTED = "unaccounted"
    RETRIES_EXHAUSTED = "retries_exhausted"
    TRACER_RAISED = "tracer_raised"
    NOT_EXPANDED = "not_expanded"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Outcome:
    """Where each span of a call went: delivered, unconfirmed, dropped or to be retried."""

    dropped: Mapping[Drop, int] = field(default_factory=dict)
    delivered: int = 0
    unconfirmed: int = 0
    retry: Sequence[Span] = ()
    retry_after_s: float | None = None
    reason: str | None = None

    @property
    def failing(self) -> bool:
        """Whether the tracer could not deliver all."""
        return bool(self.retry or self.reason or any(self.dropped.values()))


def outcome_of(answer: object, handed: int) -> Outcome:
    """Return what a tracer's answer means for the `handed` spans of the call.

    Spans that the tracer says nothing of are dropped as unaccounted for. Raises TypeError
    or ValueError where the answer is none, or speaks of more spans than it was handed.
    """
    if answer is None:
        return Outcome(delivered=handed)
    if not isinstance(answer, ExportResult):
        raise TypeError(f"export_spans returned {type(answer).__name__}, not ExportResult or None")
    retry = tuple(answer.retry)
    counts = (answer.delivered, answer.unconfirmed, answer.rejected)
    missing = handed - sum(counts) - len(retry)
    if missing < 0 or min(counts) < 0:
        raise ValueError(f"export_spans was handed {handed} spans and told of {handed - missing}")
    return Outcome(
        {Drop.REJECTED: answer.rejected, Drop.UNACCOUNTED: missing},
        delivered=answer.delivered,
        unconfirmed=answer.unconfirmed,
        retry=retry,
        retry_after_s=_pause_s(answer.retry_after_s),
        reason=answer.reason,
    )


def _pause_s(wish_s: float | None) -> float | None:
    """Return a wish that can be waited for."""
    if wish_s is None or not math.isfinite(wish_s) or wish_s < 0:
        return None
    return wish_s
