"""The place of a replica among others: who is there now, and what became of those before."""

import asyncio
from dataclasses import dataclass

from spanserve.running.process.replica import Replica
from spanserve.tracing.export.process.restarts import Restarts


@dataclass(slots=True, eq=False)
class Seat:
    """The place of a replica: who is there now, and what became of those before."""

    number: int
    restarts: Restarts
    replica: Replica | None = None
    has_ended: int = 0
    fails: int = 0
    jobs: int = 0
    is_spawning: bool = False
    starts_again: asyncio.TimerHandle | None = None

    @property
    def state(self) -> str:
        """What is there: a replica that is up, or one that starts, or none."""
        if self.replica is None:
            return "starting" if self.is_spawning else "down"
        return "up" if self.replica.is_up else "starting"
