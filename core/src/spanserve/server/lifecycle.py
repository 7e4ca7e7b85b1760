"""From start to stop: ready, draining, gone.

A signal to stop is answered in three steps: `/readyz` says 503 for `drain_delay_s`, so that
load balancers turn away; then the listener closes and what was accepted is finished; then
traces are flushed. The first step is taken here, before the server's own handler.
"""

import asyncio
import logging
import math
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, Final

from fastapi import FastAPI

from spanserve.batching.batcher import Batcher
from spanserve.server.operations.health import Health
from spanserve.server.running import Running, within
from spanserve.tracing.tracing import Tracing

log = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT)
LEAST_CLOSE_S = 1.0
"""What is left for the service to close, however long the requests took."""

LONGEST_PREPARATION_S: Final = 5.0
"""How long a server that could answer waits for its exporters."""


State = Mapping[str, Any]
"""What a lifespan gives to every request's `state`."""


@dataclass(frozen=True, slots=True)
class StopLimits:
    """How long each step of a stop may take: its sum is what a stop takes at most.

    The service has at least `LEAST_CLOSE_S` to close, if requests took all of the drain's time.
    """

    drain_delay_s: float
    drain_timeout_s: float
    flush_timeout_s: float


class Lifecycle:
    """Where in its life the server is."""

    def __init__(self, batchers: Sequence[Batcher], health: Health, *, limits: StopLimits) -> None:
        self.state = "starting"
        self._batchers = batchers
        self._health = health
        self._limits = limits
        self._handlers: dict[int, Any] = {}
        self._delayed: asyncio.TimerHandle | None = None
        self._give_up_s = math.inf
        self._loop: asyncio.AbstractEventLoop

    @property
    def ready(self) -> bool:
        """Whether new requests are welcome."""
        return self.state == "ready" and not self._health.trouble

    @property
    def status(self) -> str:
        """`ready`, or why new requests are not welcome."""
        return self._health.trouble or self.state if self.state == "ready" else self.state

    def lifespan(
        self,
        running: Running,
        tracing: Tracing,
        *,
        on_ready: Callable[[], None] | None,
        own: Callable[[Any], AbstractAsyncContextManager[State | None]],
        beside: Sequence[Callable[[], AbstractAsyncContextManager[None]]] = (),
    ) -> Callable[[FastAPI], AbstractAsyncContextManager[State]]:
        """Return the app's life: the model and the tracers are there while it serves.

        So is what `beside` opens, and the user's `own` lifespan, which finds the model made.
        """

        @asynccontextmanager
        async def lifespan(app: FastAPI) -> AsyncIterator[State]:
            self._loop = asyncio.get_running_loop()
            for batcher in self._batchers:
                batcher.start()
            tracing.start()
            try:
                await running.start()
                try:
                    await exporters_ready(tracing)
                    async with AsyncExitStack() as stack:
                        for open_beside in (self._health.watching, *beside):
                            await stack.enter_async_context(open_beside())
                        opened = self._opened(own(app), running)
                        state = await stack.enter_async_context(opened)
                        if on_ready is not None:
                            on_ready()
                        self.started()
                        yield state
                finally:
                    self.drain()
                    self.stopped()
                    await running.close(max(self._left_s(), LEAST_CLOSE_S))
            finally:
                await asyncio.to_thread(tracing.stop, self._limits.flush_timeout_s)

        return lifespan

    @asynccontextmanager
    async def _opened(
        self, own: AbstractAsyncContextManager[State | None], running: Running
    ) -> AsyncIterator[State]:
        """Be inside a lifespan of the user's; StartError says why it cannot be entered."""
        try:
            state = await own.__aenter__()
        except (Exception, SystemExit) as error:
            raise running.start_error(error) from error
        try:
            yield state or {}
        finally:
            self.drain()
            limit_s = max(self._left_s(), LEAST_CLOSE_S)
            await within(limit_s, own.__aexit__(None, None, None), "the app's lifespan")

    def started(self) -> None:
        """Be ready, and listen for the signals to stop (where a thread may: the main one)."""
        self.state = "ready"
        if threading.current_thread() is not threading.main_thread():
            return
        for number in SIGNALS:
            handler = signal.getsignal(number)
            if callable(handler):
                self._handlers[number] = handler
                signal.signal(number, self._told_to_stop)

    def drain(self) -> None:
        """Hurry those that wait, and count the time that is left for them."""
        if self._give_up_s == math.inf:
            self.state = "draining"
            self._give_up_s = self._loop.time() + self._limits.drain_timeout_s
            for batcher in self._batchers:
                batcher.drain()

    def stopped(self) -> None:
        """Give the signals back."""
        self.state = "stopped"
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()

    def _left_s(self) -> float:
        return min(max(self._give_up_s - self._loop.time(), 0.0), self._limits.drain_timeout_s)

    def _told_to_stop(self, number: int, frame: FrameType | None) -> None:
        self._loop.call_soon_threadsafe(self._stop_soon, self._handlers[number], number, frame)

    def _stop_soon(self, handler: Any, number: int, frame: FrameType | None) -> None:
        """Turn new requests away, and stop after the delay; told a second time, stop now."""
        if self.state == "ready" and self._limits.drain_delay_s:
            self.state = "draining"
            self._delayed = self._loop.call_later(
                self._limits.drain_delay_s, self._stop, handler, number, frame
            )
            return
        if self._delayed is not None:
            self._delayed.cancel()
        self._stop(handler, number, frame)

    def _stop(self, handler: Any, number: int, frame: FrameType | None) -> None:
        self.drain()
        handler(number, frame)


async def exporters_ready(tracing: Tracing, longest_s: float = LONGEST_PREPARATION_S) -> None:
    """Wait for the exporters: at full load, what is recorded before would fill their queues."""
    give_up_s = time.monotonic() + longest_s
    for exporter in tracing.exporters:
        left_s = max(0.0, give_up_s - time.monotonic())
        if not await asyncio.to_thread(exporter.wait_until_ready, left_s):
            log.warning(
                "tracer %s is not ready after %g s; its spans wait, as long as there is room",
                exporter.name,
                longest_s,
            )
