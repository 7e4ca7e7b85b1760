"""Whether the model can be trusted with requests: its runner is watched, and the service asked.

A service with `healthy()` is asked between two runs, on the runner: a model that is not
thread-safe need not fear it, and while a run lasts the last answer holds. A run that lasts too
long is what `server.hang_after_s` is for. An async `healthy()` is awaited on the event loop.
"""

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final

from spanserve.batching.call import Call, on_runner
from spanserve.running.faults import CarriedError
from spanserve.running.methods import HEALTHY
from spanserve.server.elsewhere import everywhere
from spanserve.server.operations.whereabouts import whereabouts
from spanserve.server.running import Running
from spanserve.service.failures import named

log = logging.getLogger(__name__)

ASK_EVERY_S: Final = 1.0
LOOKS_A_HANG: Final = 4
"""How often a run is looked at until it is taken for one that hangs."""

GONE: Final = "the model's thread ended"
NO_REPLICA: Final = "no replica of the model is up"
HANGS: Final = "the model's run does not end"
UNHEALTHY: Final = "healthy() says no"


class Health:
    """What speaks against sending requests to the model, as far as is known."""

    def __init__(self, running: Running, *, hang_after_s: float | None) -> None:
        self._running = running
        self._hang_after_s = hang_after_s
        self._hangs = False
        self._unhealthy = ""

    @property
    def trouble(self) -> str:
        """What is wrong, in a few words; empty where nothing is."""
        elsewhere = self._running.elsewhere
        if elsewhere is not None and not elsewhere.is_ready:
            return NO_REPLICA
        if self._running.runner.gone:
            return GONE
        if self._hangs:
            return HANGS
        return UNHEALTHY if self._unhealthy else ""

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Watch, meanwhile; the service has been asked once before this begins."""
        loops: list[Coroutine[Any, Any, None]] = []
        if self._hang_after_s is not None and self._running.elsewhere is None:
            loops.append(self._watch(self._hang_after_s))
        if self._running.has_healthy:
            await self._ask()
            loops.append(self._ask_again())
        tasks = [asyncio.create_task(each) for each in loops]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()

    async def _watch(self, hang_after_s: float) -> None:
        """Look whether one run goes on and on: the runner was not free in between."""
        runner, loop = self._running.runner, asyncio.get_running_loop()
        run: int | None = None
        since_s = 0.0
        while True:
            await asyncio.sleep(hang_after_s / LOOKS_A_HANG)
            if runner.free or runner.free_ns != run:
                run, since_s = None if runner.free else runner.free_ns, loop.time()
                if self._hangs:
                    log.warning("the model's run that hung has ended")
                self._hangs = False
            elif not self._hangs and loop.time() - since_s >= hang_after_s:
                self._hangs = True
                log.error(
                    "a run of the model lasts longer than %g s (server.hang_after_s); /readyz says "
                    "503 until it ends; it is at %s",
                    hang_after_s,
                    whereabouts(),
                )

    async def _ask_again(self) -> None:
        while True:
            await asyncio.sleep(ASK_EVERY_S)
            try:
                await self._ask()
            except Exception:  # an error that cannot even be shown
                log.exception("the service could not be asked whether it is healthy")

    async def _ask(self) -> None:
        """Ask the service, and say a change once."""
        before = self._unhealthy
        try:
            answer = await self._answer()
            self._unhealthy = "" if answer else f"healthy() returned {answer!r}"
        except (Exception, SystemExit) as error:  # noqa: BLE001  # whatever it is, it is no yes
            cause = error.__cause__ if isinstance(error, CarriedError) else error
            self._unhealthy = f"healthy() raised {named(cause or error)}"
        if self._unhealthy and not before:
            log.error("the service is not healthy, and /readyz says 503: %s", self._unhealthy)
        elif before and not self._unhealthy:
            log.warning("the service is healthy again")

    async def _answer(self) -> Any:
        if self._running.elsewhere is not None:
            return await everywhere(self._running.elsewhere, lambda: Call(HEALTHY, {}))
        instance: Any = self._running.instance
        if inspect.iscoroutinefunction(instance.healthy):
            return await instance.healthy()
        question = Call(HEALTHY, {})
        on_runner(question, self._running.runner, record=None, now_ns=0)
        return await question.future
