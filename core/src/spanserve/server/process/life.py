"""The life of a service's app: made and loaded on threads, run by one task, ended by it."""

import asyncio
from collections.abc import Callable, MutableMapping
from typing import Any

from spanserve.server.app import App
from spanserve.server.threads import on_thread


class Life:
    """From the making of an app to the end of its lifespan.

    `make` imports the service and builds its app, on a thread of its own: what is slow there
    leaves the event loop to answer and to hear signals. Everything of the lifespan is entered and
    left by one task, as what users open in it may demand. `state` gets what it yields.

    `started` has the app once its lifespan began, or what kept it from that.
    """

    def __init__(self, make: Callable[[], App], state: MutableMapping[str, Any]) -> None:
        self.started: asyncio.Future[App] = asyncio.get_running_loop().create_future()
        self._make = make
        self._state = state
        self._told_to_end = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    async def end(self) -> None:
        """Leave the lifespan; raises what its end raises."""
        self._told_to_end.set()
        await self._task

    async def _run(self) -> None:
        try:
            app = await on_thread(self._make, name="spanserve-loader")
            async with app.router.lifespan_context(app) as state:
                self._state.update(state or {})
                self.started.set_result(app)
                await self._told_to_end.wait()
        except Exception as error:
            if self.started.done():
                raise
            self.started.set_exception(error)
