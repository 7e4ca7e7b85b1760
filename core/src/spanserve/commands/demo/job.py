"""What the demo asks of its clients, and what they tell it."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Job:
    """What to send: every body once a round, from so many clients at a time.

    With `pause_ms` each client waits that long before a request, on average.
    """

    url: str
    clients: int
    rounds: int
    bodies: list[list[float]]
    pause_ms: float = 0.0


@dataclass(slots=True)
class Outcome:
    """What came back; `answers` is in the order of the requests, None where one failed.

    `trace_ids` are those of all that were answered, as the server told them.
    """

    answers: list[int | None]
    trace_ids: list[str] = field(default_factory=list)
    latencies_ms: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    elapsed_s: float = 0.0
