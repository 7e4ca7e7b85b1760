"""Who answers while no worker is ready: the supervisor, on a thread with a loop of its own."""

import socket
import threading

import uvicorn

from spanserve.config.model import Config
from spanserve.server.http.connections import Connections
from spanserve.server.http.limits import Limits
from spanserve.server.process.options import uvicorn_config
from spanserve.server.process.starting import Starting


class Stopgap:
    """Says that the service is starting, on the port of the workers, from `start` to `stop`."""

    def __init__(self, config: Config, listener: socket.socket) -> None:
        self._config = config
        self._listener = listener
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to answer."""
        if self._server is not None:
            return
        server = self._config.server
        connections = Connections(Limits.of(server))
        app = Starting(connections, root_path=server.root_path, closing=True)
        self._server = uvicorn.Server(uvicorn_config(self._config, app, None))
        # The server closes what it listens on, and the workers' socket must stay.
        self._thread = threading.Thread(
            target=self._server.run,
            args=([self._listener.dup()],),
            name="spanserve-stopgap",
            daemon=True,
        )
        self._thread.start()

    def stop(self) -> None:
        """Accept no more; what was accepted is answered, and the port stays open."""
        if self._server is None or self._thread is None:
            return
        self._server.should_exit = True
        self._thread.join()
        self._server = self._thread = None
