"""From start to stop: ready, draining, gone.

A signal to stop is answered in three steps: `/readyz` says 503 for `drain_delay_s`, so that
load balancers turn away; then the listener closes and what was accepted is finished; then
traces are flushed. The first step is taken here, before the server's own handler.
"""

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import FrameType
from typing import Any

from fastapi import FastAPI

from spanserve.batching.batcher import Batcher
from spanserve.server.running import Running
from spanserve.tracing.tracing import Tracing

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Lifecycle:
    """Where in its life the server is."""

    def __init__(self, batchers: Sequence[Batcher], *, drain_delay_s: float) -> None:
        self.state = "starting"
        self._batchers = batchers
        self._drain_delay_s = drain_delay_s
        self._handlers: dict[int, Any] = {}

    @property
    def ready(self) -> bool:
        """Whether new requests are welcome."""
        return self.state == "ready"

    def lifespan(
        self,
        running: Running,
        tracing: Tracing,
        *,
        on_ready: Callable[[], None] | None,
        drain_timeout_s: float,
    ) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
        """Return the app's life: the model and the tracers are there while it serves."""

        @asynccontextmanager
        async def lifespan(_: FastAPI) -> AsyncIterator[None]:
            for batcher in self._batchers:
                batcher.start()
            tracing.start()
            try:
                await running.start()
                if on_ready is not None:
                    on_ready()
                self.started()
                try:
                    yield
                finally:
                    self.drain()
                    self.stopped()
                    await running.close()
            finally:
                await asyncio.to_thread(tracing.stop, drain_timeout_s)

        return lifespan

    def started(self) -> None:
        """Be ready, and listen for the signals to stop (where a thread may: the main one)."""
        self.state = "ready"
        if threading.current_thread() is not threading.main_thread():
            return
        self._loop = asyncio.get_running_loop()
        for number in SIGNALS:
            handler = signal.getsignal(number)
            if callable(handler):
                self._handlers[number] = handler
                signal.signal(number, self._told_to_stop)

    def drain(self) -> None:
        """Turn new requests away, and hurry those that wait."""
        if self.state != "draining":
            self.state = "draining"
            for batcher in self._batchers:
                batcher.drain()

    def stopped(self) -> None:
        """Give the signals back."""
        self.state = "stopped"
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()

    def _told_to_stop(self, number: int, frame: FrameType | None) -> None:
        handler = self._handlers[number]
        again = self.state == "draining"
        self._loop.call_soon_threadsafe(self.drain)
        if again or not self._drain_delay_s:
            handler(number, frame)
        else:
            self._loop.call_soon_threadsafe(
                self._loop.call_later, self._drain_delay_s, handler, number, frame
            )
