"""What the server and a replica say to each other: the first two values of every frame.

The server: run this, ask for the next value of a stream, give it up, tell the metrics, stop. A
replica: it is ready, it cannot start, a reply, a value of a stream, spans that ended late, metrics.
"""

from dataclasses import dataclass
from typing import Any, Final

from spanserve.service.bundle.load import LoadedService
from spanserve.tracing.admission.outgoing import OutgoingRules

BATCH: Final = 0
CALL: Final = 1
STREAM: Final = 2
NEXT: Final = 3
CANCEL: Final = 4
METRICS: Final = 5
STOP: Final = 6

READY: Final = 0
FAILED: Final = 1
REPLY: Final = 2
VALUE: Final = 3
LATE: Final = 4
COLLECTED: Final = 5

STARTUP: Final = 0
"""What stands for a request's number where the spans of a start are told; those count from 1."""

NUMBER_VARIABLE: Final = "SPANSERVE_REPLICA"
"""The environment variable that tells a service which replica it is in, from 0."""

MODULE: Final = "spanserve.running.hosted.program"


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a replica is told when it starts; pickled, by the server for its own child."""

    service: LoadedService
    logs: dict[str, Any]
    outgoing: OutgoingRules
    traces: bool
    """Whether anything is traced: OpenTelemetry's spans are to be ours then."""

    startup: list[Any] | None
    """Where its start stands in a trace."""
