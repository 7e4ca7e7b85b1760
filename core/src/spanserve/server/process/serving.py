"""uvicorn's server for a service that loads while it listens, or before it does."""

import asyncio
import logging
import os
import socket
import sys
from collections.abc import Callable
from types import FrameType
from typing import Final, NoReturn

import uvicorn
from uvicorn.config import STARTUP_FAILURE

from spanserve.errors import SpanserveError, StartError
from spanserve.server.app import App
from spanserve.server.operations.whereabouts import whereabouts
from spanserve.server.process.life import Life
from spanserve.server.process.starting import Entrance
from spanserve.server.threads import on_thread

log = logging.getLogger(__name__)

STOPPED: Final = 0
"""The exit code of a process that was told to stop."""


class Server(uvicorn.Server):
    """Serves what `make` gives, through `entrance`.

    It listens first, and the entrance answers until the service is there. Where others do that, it
    loads first, and listens once `before_listening` returns, which is called on a thread.
    `on_ready` is called when requests are welcome.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        entrance: Entrance,
        make: Callable[[], App],
        *,
        before_listening: Callable[[], None] | None = None,
        load_timeout_s: float | None,
        on_ready: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._entrance = entrance
        self._make = make
        self._before_listening = before_listening
        self._load_timeout_s = load_timeout_s
        self._on_ready = on_ready
        self._is_loading = True
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop
        self._life: Life
        self._loading: asyncio.Task[None]

    def serve_until_stopped(self, sockets: list[socket.socket]) -> None:
        """Serve; return when all is finished after a signal. Raises why there was no start.

        That is a SpanserveError, or SystemExit after the log has told.
        """
        self.run(sockets)
        if self._failure is None:
            return
        if is_wrong_use(self._failure):
            raise self._failure
        sys.exit(STARTUP_FAILURE)

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve on the running loop."""
        self._loop = asyncio.get_running_loop()
        await super().serve(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen and load, in this order or the other."""
        wait = self._before_listening
        if wait is None:
            await super().startup(sockets)
            self._loading = asyncio.create_task(self._load())
            return
        await self._load()
        if self._failure is None:
            await on_thread(wait, name="spanserve-waits")
            await super().startup(sockets)
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish what was accepted, then end the service's life."""
        await super().shutdown(sockets)
        if self.force_exit:
            leave(STOPPED, "told to stop again: ended at once")
        if self._failure is not None:
            return
        try:
            await self._life.end()
        except Exception:
            log.exception("the app's lifespan failed to end")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Hear a signal; while the service loads nothing was accepted that could be lost."""
        if not self._is_loading:
            super().handle_exit(sig, frame)
        elif self.should_exit:
            os._exit(STOPPED)
        else:
            self.should_exit = True
            self._loop.call_soon_threadsafe(leave, STOPPED, "stopped while the service loads")

    async def _load(self) -> None:
        self._life = life = Life(self._make, self.lifespan.state)
        limit_s = self._load_timeout_s
        await asyncio.wait([life.started], timeout=limit_s)
        if not life.started.done():
            leave(
                STARTUP_FAILURE,
                f"the service did not load within {limit_s:g} s (server.load_timeout_s); "
                f"it is at {whereabouts()}",
                level=logging.ERROR,
            )
        try:
            self._entrance.open(life.started.result())
        except Exception as error:  # noqa: BLE001  # raised again by whoever runs the server
            self._failure = error
            self.should_exit = True
            if not is_wrong_use(error):
                _tell_of_failed_start(error)
            return
        if self._before_listening is None:
            self._ready()

    def _ready(self) -> None:
        self._is_loading = False
        log.info("ready")
        self._on_ready()


def is_wrong_use(error: BaseException) -> bool:
    """Whether a start failed for what the user asked, and not for what the service did then."""
    return isinstance(error, SpanserveError) and not isinstance(error, StartError)


def _tell_of_failed_start(error: Exception) -> None:
    own = isinstance(error, StartError)  # it has the user's frames: the stack would be ours
    log.error("%s", error if own else "the app failed to start", exc_info=None if own else error)
    log.debug("the stack of what failed", exc_info=error)
    log.error("Application startup failed. Exiting.")


def leave(code: int, why: str, *, level: int = logging.INFO) -> NoReturn:
    """End the process as it is, with a line in the log.

    A thread that loads cannot be ended, and an ordinary exit would wait for it, or for what it
    has started; in C++ it may even abort.
    """
    log.log(level, "%s", why)
    logging.shutdown()
    os._exit(code)
