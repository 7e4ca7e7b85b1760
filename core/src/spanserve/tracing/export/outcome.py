"""What became of the spans of one call of a tracer, whatever the tracer says of it."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from spanserve.tracing.hookspecs import ExportResult
from spanserve.tracing.model.attributes import one_line, plain_text
from spanserve.tracing.model.span import Span


class Drop(StrEnum):
    """Why spans were not delivered."""

    QUEUE_FULL = "queue_full"
    REJECTED = "rejected"
    UNACCOUNTED = "unaccounted"
    RETRIES_EXHAUSTED = "retries_exhausted"
    TRACER_RAISED = "tracer_raised"
    NOT_EXPANDED = "not_expanded"
    EXPORTER_DIED = "exporter_died"
    EXPORTER_HUNG = "exporter_hung"
    STOPPED = "stopped"
    LATE = "late"


class State(StrEnum):
    """How a tracer's backend is doing."""

    IDLE = "idle"
    DELIVERING = "delivering"
    FAILING = "failing"
    HANGING = "hanging"


FAILING: Final = frozenset({State.FAILING, State.HANGING})
"""States in which a tracer cannot deliver."""


@dataclass(slots=True)
class Counters:
    """What became of spans; with those that wait, the sum is all that were recorded."""

    delivered: int = 0
    unconfirmed: int = 0
    # All keys from the start: one thread may read while another counts.
    dropped: Counter[Drop] = field(default_factory=lambda: Counter(dict.fromkeys(Drop, 0)))


class Accounts(NamedTuple):
    """The spans that were recorded: those that wait, and what became of the others."""

    recorded: int
    waiting: int
    counters: Counters


NOTHING_DROPPED: Final[Mapping[Drop, int]] = {}


class Outcome(NamedTuple):
    """Where each of `spans` went: delivered, unconfirmed, dropped or to be retried."""

    dropped: Mapping[Drop, int] = NOTHING_DROPPED
    spans: int = 0
    delivered: int = 0
    unconfirmed: int = 0
    retry: int = 0
    retry_after_s: float | None = None
    reason: str | None = None

    @property
    def failing(self) -> bool:
        """Whether the tracer could not deliver all that it was handed."""
        lost = any(n for why, n in self.dropped.items() if why is not Drop.NOT_EXPANDED)
        return bool(self.retry or self.reason or lost)


def outcome_of(answer: object, handed: int) -> tuple[Outcome, Sequence[Span]]:
    """Return what a tracer's answer means for the `handed` spans of the call, and those to retry.

    Spans that the tracer says nothing of are dropped as unaccounted for. Raises TypeError
    or ValueError where the answer is none, or speaks of more spans than it was handed.
    """
    if answer is None:
        return Outcome(spans=handed, delivered=handed), ()
    if not isinstance(answer, ExportResult):
        raise TypeError(f"export_spans returned {type(answer).__name__}, not ExportResult or None")
    retry = answer.retry
    counts = (answer.delivered, answer.unconfirmed, answer.rejected)
    missing = handed - sum(counts) - len(retry)
    if missing < 0 or min(counts) < 0:
        raise ValueError(f"export_spans was handed {handed} spans and told of {handed - missing}")
    outcome = Outcome(
        {Drop.REJECTED: answer.rejected, Drop.UNACCOUNTED: missing},
        spans=handed,
        delivered=answer.delivered,
        unconfirmed=answer.unconfirmed,
        retry=len(retry),
        retry_after_s=_pause_s(answer.retry_after_s),
        reason=_in_short(answer.reason),
    )
    return outcome, retry


def _in_short(reason: object) -> str | None:
    """Return a tracer's reason, whatever it is, in one line that is not long."""
    return None if reason is None else one_line(plain_text(reason))


def _pause_s(wish_s: float | None) -> float | None:
    """Return a wish that can be waited for."""
    if wish_s is None or not math.isfinite(wish_s) or wish_s < 0:
        return None
    return wish_s
