"""Who answers while no worker is ready: the supervisor, on a thread with a loop of its own."""

import asyncio
import socket
import threading
from contextlib import suppress
from typing import Final

import uvicorn

from spanserve.config.model import Config
from spanserve.server.connections.limits import Limits
from spanserve.server.connections.shared import Connections
from spanserve.server.process.options import uvicorn_config
from spanserve.server.process.starting import Starting

PATIENCE_S: Final = 5.0
"""How long the thread may take for what takes it a millisecond."""


class Stopgap:
    """Says that the service is starting, on the port of the workers, from `start` to `stop`."""

    def __init__(self, config: Config, listener: socket.socket) -> None:
        self._config = config
        self._listener = listener
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to answer, unless it does."""
        if self._server is not None:
            return
        server = self._config.server
        connections = Connections(Limits.of(server))
        app = Starting(connections, root_path=server.root_path, closing=True)
        options = uvicorn_config(self._config, app, None)
        options.loop = "asyncio"  # uvloop crashes where a process ends under it
        self._server = _Server(options)
        # The server closes what it listens on, and the workers' socket must stay.
        self._thread = threading.Thread(
            target=self._server.run,
            args=([self._listener.dup()],),
            name="spanserve-stopgap",
            daemon=True,
        )
        self._thread.start()

    def stop(self) -> None:
        """Accept no more from now on; what was accepted is answered, and the port stays open."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    def join(self) -> None:
        """Wait until what was accepted is answered, for a while: the process is to end."""
        if self._thread is not None:
            self._thread.join(PATIENCE_S)


class _Server(uvicorn.Server):
    """uvicorn's server, which closes its listener at once when it is told to."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._up = threading.Event()
        self._closed = threading.Event()
        self._told_to_stop = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop

    def stop(self) -> None:
        """Stop, and wait until nothing is accepted any more."""
        if self._up.wait(PATIENCE_S):
            self._loop.call_soon_threadsafe(self._told_to_stop.set)
            self._closed.wait(PATIENCE_S)

    async def main_loop(self) -> None:
        """Serve until told to stop."""
        self._loop = asyncio.get_running_loop()
        self._up.set()
        while not self._told_to_stop.is_set():
            await self.on_tick(0)  # the date of the answers
            with suppress(TimeoutError):
                await asyncio.wait_for(self._told_to_stop.wait(), 1)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more, and finish what was accepted."""
        for server in self.servers:
            server.close()
        self._closed.set()
        await super().shutdown(sockets)
