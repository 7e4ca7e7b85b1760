"""What a runner is made with."""

from dataclasses import dataclass
from typing import Any

from spanserve.service.bundle.load import LoadedService
from spanserve.tracing.tracing import Tracing


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The service that is to run, and what its code finds around it: `logs` is for `dictConfig`."""

    service: LoadedService
    tracing: Tracing
    logs: dict[str, Any]
