"""All replicas of a service: they are started, and started anew, chosen among, and ended."""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from spanserve.errors import StartError
from spanserve.running.process.hanging import HangWatch
from spanserve.running.process.replica import Replica
from spanserve.running.process.seat import Seat
from spanserve.running.process.settings import ProcessSettings
from spanserve.running.process.spawning import Spawner
from spanserve.running.protocol import Place
from spanserve.running.wire.messages import NUMBER_VARIABLE, Assignment
from spanserve.running.wire.traces import packed_place
from spanserve.tracing.export.process.restarts import Restarts
from spanserve.tracing.model.ids import ROOT
from spanserve.tracing.scope import entered
from spanserve.tracing.tracing import Tracing

log = logging.getLogger(__name__)

NOWHERE: Final = Place(None, ROOT)
FAILED_STARTS: Final = 2
"""After so many in a row, without any replica left, jobs are refused and no longer kept waiting."""


class Replicas:
    """The seats of replicas. `freed` is called when one can take more; `ended` as one is gone."""

    def __init__(
        self,
        settings: ProcessSettings,
        assignment: Callable[[list[Any] | None], Assignment],
        tracing: Tracing,
        *,
        freed: Callable[[], None],
        ended: Callable[[Replica, str], None],
    ) -> None:
        """`assignment` makes what a replica is told, of where its start stands in a trace."""
        self.seats = [Seat(number, Restarts()) for number in range(settings.replicas)]
        self.is_closing = False
        self._settings = settings
        self._assignment = assignment
        self._tracing = tracing
        self._freed, self._ended = freed, ended
        self._watch = HangWatch(settings.hang_after_s, self.seats, tracing.now_ns)
        self._starting: dict[int, asyncio.Future[None]] = {}
        self._startup = NOWHERE
        self._closed: asyncio.Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop
        self._spawner: Spawner | None = None

    @property
    def up(self) -> list[Replica]:
        """The replicas that are up."""
        return [seat.replica for seat in self.seats if seat.replica and seat.replica.is_up]

    @property
    def gone(self) -> bool:
        """Whether no replica is left, and none could be started lately."""
        if self.is_closing:
            return True
        return not self.up and all(seat.fails >= FAILED_STARTS for seat in self.seats)

    def least(self) -> Replica | None:
        """Return the replica with a free slot that has least in flight, the longest free first."""
        found = [each for each in self.up if each.free]
        return min(found, key=lambda each: (len(each.slots), each.free_ns), default=None)

    def least_beside(self) -> Replica | None:
        """Return the replica for a job that takes no slot."""
        return min(() if self.is_closing else self.up, key=lambda each: each.load, default=None)

    async def start(self, place: Place) -> None:
        """Start all, their code at this place of a trace; StartError says why one cannot."""
        self._loop = asyncio.get_running_loop()
        self._spawner = Spawner()
        self._startup = place
        waiting = [self._loop.create_future() for _ in self.seats]
        self._starting = dict(enumerate(waiting))
        with entered(None):  # what comes of it later is no part of this start
            for seat in self.seats:
                self._start(seat)
        try:
            await asyncio.gather(*waiting)
        except BaseException:
            await self.close(0.0)
            raise
        finally:
            self._starting = {}
        self._watch.start()

    async def close(self, timeout_s: float) -> None:
        """Let each finish and close its service; one that takes too long is killed."""
        if self._spawner is None:
            return
        self.is_closing = True
        self._watch.stop()
        self._closed = self._loop.create_future()
        for seat in self.seats:
            if seat.starts_again is not None:
                seat.starts_again.cancel()
                seat.starts_again = None
            if seat.replica is not None:
                seat.replica.stop()
        self._look_if_closed()
        await self._until_closed(self._closed, timeout_s)
        self._spawner.close()

    async def _until_closed(self, closed: "asyncio.Future[None]", timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.shield(closed)
        except TimeoutError:
            left = [seat.replica for seat in self.seats if seat.replica is not None]
            if timeout_s:
                log.warning(
                    "%d replicas run after %g s still; they are killed", len(left), timeout_s
                )
            for replica in left:
                replica.kill("it was killed as the server stopped")
            await closed

    def _start(self, seat: Seat) -> None:
        seat.starts_again = None
        seat.is_spawning = True
        seat.restarts.started(time.monotonic())
        # Only the first start is the server's own; code of a later one runs in no trace.
        place = self._startup if self._starting else NOWHERE
        assert self._spawner is not None  # noqa: S101  # made before
        spawning = self._spawner.spawn(
            self._assignment(packed_place(place, self._tracing.outgoing)),
            self._environment(seat.number),
            self._settings.in_flight,
        )
        asyncio.wrap_future(spawning).add_done_callback(partial(self._spawned, seat, place))

    def _environment(self, number: int) -> Mapping[str, str]:
        environment = {**os.environ, NUMBER_VARIABLE: str(number)}
        devices = self._settings.devices
        if devices:
            environment[self._settings.device_variable] = devices[number % len(devices)]
        return environment

    def _spawned(self, seat: Seat, place: Place, spawning: "asyncio.Future[Any]") -> None:
        seat.is_spawning = False
        error = spawning.exception()
        if error is not None:
            seat.fails += 1
            self._gone(seat, f"it cannot be started: {error}")
            return
        seat.replica = Replica(
            seat.number,
            spawning.result(),
            self._tracing,
            slots=self._settings.in_flight,
            startup=place,
            started=partial(self._is_up, seat),
            freed=self._freed,
            ended=partial(self._is_over, seat),
        )
        if self.is_closing:
            seat.replica.kill("the server stops")

    def _is_up(self, seat: Seat, replica: Replica) -> None:
        seat.restarts.delivered()
        seat.fails = 0
        if (started := self._starting.get(seat.number)) is not None and not started.done():
            started.set_result(None)
        if seat.has_ended:
            log.warning("replica %d is up again (process %d)", seat.number, replica.process.pid)
        self._freed()

    def _is_over(self, seat: Seat, replica: Replica, why: str) -> None:
        seat.replica = None
        was_up = replica.free_ns > 0
        seat.fails += not was_up
        if not self.is_closing and not (self._starting and not was_up):
            held = len(replica.slots) + len(replica.beside) + len(replica.streams)
            log.error("replica %d is gone: %s; jobs it held: %d", seat.number, why, held)
        self._ended(replica, why)
        self._gone(seat, why)

    def _gone(self, seat: Seat, why: str) -> None:
        if (started := self._starting.get(seat.number)) is not None and not started.done():
            started.set_exception(StartError(_cannot_start(seat.number, why)))
        elif not self.is_closing:
            seat.has_ended += 1
            seat.restarts.died(time.monotonic())
            wait_s = seat.restarts.wait_s(time.monotonic())
            seat.starts_again = self._loop.call_later(wait_s, self._start, seat)
        self._look_if_closed()
        self._freed()

    def _look_if_closed(self) -> None:
        closed = self._closed
        is_empty = all(seat.replica is None and not seat.is_spawning for seat in self.seats)
        if closed is not None and not closed.done() and is_empty:
            closed.set_result(None)


def _cannot_start(number: int, why: str) -> str:
    return why if "cannot start" in why else f"replica {number} cannot start: {why}"
