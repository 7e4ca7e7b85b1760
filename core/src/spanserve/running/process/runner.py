"""The runner of processes: jobs go to replicas of the service, and come back or are lost."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from spanserve.running.process.replica import Held, Replica, Stream
from spanserve.running.process.replicas import NOWHERE, Replicas
from spanserve.running.process.seat import Seat
from spanserve.running.process.settings import ProcessSettings
from spanserve.running.protocol import (
    CallRequest,
    Job,
    Place,
    ReplicaDiedError,
    RunnerGoneError,
)
from spanserve.running.wire.messages import Assignment
from spanserve.running.wire.values import NotCarriedError
from spanserve.tracing.tracing import Tracing

log = logging.getLogger(__name__)


class ProcessRunner:
    """Runs jobs in processes; one that dies loses what it ran, and is started anew."""

    def __init__(
        self,
        settings: ProcessSettings,
        assignment: Callable[[list[Any] | None], Assignment],
        tracing: Tracing,
    ) -> None:
        """`assignment` makes what a replica is told, of where its start stands in a trace."""
        self.settings = settings
        self.replicas = settings.replicas
        self.slots = settings.replicas * settings.in_flight
        self._now_ns = tracing.now_ns
        self._all = Replicas(
            settings, assignment, tracing, freed=self._ask_those_who_wait, ended=self._ended
        )
        self._waiting: deque[Callable[[], None]] = deque()
        self._returned: deque[Job] = deque()
        self._startup = NOWHERE
        self._loop: asyncio.AbstractEventLoop

    @property
    def free(self) -> int:
        """How many jobs it would take; where it is gone one, which is lost at once."""
        return 1 if self.gone else sum(each.free for each in self._all.up)

    @property
    def idle(self) -> int:
        """How many replicas have nothing to do."""
        return 1 if self.gone else sum(not each.slots for each in self._all.up)

    @property
    def gone(self) -> bool:
        """Whether no replica is left, and none could be started lately."""
        return self._all.gone

    @property
    def is_ready(self) -> bool:
        """Whether any replica is up."""
        return bool(self._all.up)

    @property
    def up(self) -> list[Replica]:
        """The replicas that are up."""
        return self._all.up

    @property
    def seats(self) -> list[Seat]:
        """The places of all replicas, whether one is there or not."""
        return self._all.seats

    @property
    def awaited(self) -> bool:
        """Whether anyone waits for it."""
        return bool(self._waiting)

    @property
    def free_ns(self) -> int:
        """When the replica became free that would take the next job."""
        replica = self._all.least()
        return replica.free_ns if replica is not None else self._now_ns()

    def starting_in(self, place: Place) -> None:
        """Let the code of the first start run at this place of a trace."""
        self._startup = place

    async def start(self) -> None:
        """Start all replicas; StartError says why one cannot."""
        self._loop = asyncio.get_running_loop()
        await self._all.start(self._startup)

    def submit(self, job: Job) -> None:
        """Hand a job to the replica that has least to do."""
        request, replica = job.request(), self._all.least()
        if request is None:
            return
        if self.gone or replica is None:
            self._loop.call_soon(job.lost, self._none_left())
            return
        try:
            replica.submit(job, request)
        except NotCarriedError as error:
            self._loop.call_soon(job.lost, error)
        else:
            self.seats[replica.number].jobs += 1

    def spawn(self, job: Job, replica: Replica | None = None) -> Callable[[], None]:
        """Run a call that takes no slot, in any replica; return what gives it up.

        What is asked of a certain one, as whether it is healthy, is not counted as its job.
        """
        request, asked = job.request(), replica is not None
        replica = replica or self._all.least_beside()
        if replica is None or not isinstance(request, CallRequest):
            self._loop.call_soon(job.lost, self._none_left())
            return _nothing
        try:
            token = replica.spawn(job, request)
        except NotCarriedError as error:
            self._loop.call_soon(job.lost, error)
            return _nothing
        self.seats[replica.number].jobs += not asked
        return partial(replica.cancel, token)

    def stream(self, stream: Stream, given: str) -> tuple[Callable[[], None], Callable[[], None]]:
        """Run a generator in a replica; return what has the next value made, and what ends it.

        Raises NotCarriedError, and RunnerGoneError where there is no replica.
        """
        replica = self._all.least_beside()
        if replica is None:
            raise self._none_left()
        token = replica.stream(stream, given)
        self.seats[replica.number].jobs += 1
        return partial(replica.go_on, token), partial(replica.cancel, token)

    def when_free(self, ask: Callable[[], None]) -> None:
        """Remember who waits."""
        self._waiting.append(ask)

    async def close(self, timeout_s: float) -> None:
        """Let each replica finish and close its service; one that takes too long is killed."""
        await self._all.close(timeout_s)
        self._ask_those_who_wait()

    def _ended(self, replica: Replica, why: str) -> None:
        """Lose what a replica ran that is gone; what waited in it for its turn waits again."""
        held = list(replica.slots.values())
        self._returned += [each.job for each in held[1:]]
        error = ReplicaDiedError(f"the replica that ran it is gone ({why}); try again")
        for each in (*held[:1], *replica.beside.values()):
            self._lose(each, error)
        for stream in replica.streams.values():
            stream.job.lost(error)
            stream.values.put_nowait(None)

    def _lose(self, held: Held, error: Exception) -> None:
        try:
            held.job.lost(error)
        except Exception:
            log.exception("a job that was lost could not go on")

    def _ask_those_who_wait(self) -> None:
        while self._returned and self.free:
            self.submit(self._returned.popleft())
        # Each is asked at most once a round: one that decides to wait asks again later.
        for _ in range(len(self._waiting)):
            if not self.free:
                return
            self._waiting.popleft()()

    def _none_left(self) -> RunnerGoneError:
        if self._all.is_closing:
            return RunnerGoneError("the server stops")
        return ReplicaDiedError("no replica of the service is up; try again")


def _nothing() -> None:
    pass
