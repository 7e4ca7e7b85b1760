"""`spanserve serve`: a service over HTTP, in one process or several."""

import asyncio
import logging.config
import math
import os
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any, Literal

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors.multiprocess import Multiprocess, Process

from spanserve.config.load import Loaded
from spanserve.config.model import ServerConfig
from spanserve.errors import SpanserveError
from spanserve.server.lifecycle import SIGNALS
from spanserve.server.logs import logging_config
from spanserve.server.worker import Worker, spawned
from spanserve.service.bundle import load as load_service
from spanserve.tracing.plugins import LoadedTracer

log = logging.getLogger("spanserve")


MEMORY = "/dev/shm"  # noqa: S108  # a folder is made in it, and no name is guessed
CLIENTS_A_TURN = 16
"""How many one turn of a lone worker's event loop accepts; each costs a failed call when idle."""


class SharedFolderError(SpanserveError):
    """The workers have no folder in common."""


class ListenError(SpanserveError):
    """The server cannot have the address that it was told to listen on."""


def serve(target: str, loaded: Loaded) -> None:
    """Serve until told to stop; raises SpanserveError before anything was served."""
    config = loaded.config
    logs = logging_config(config.logging.level, config.logging.format)
    logging.config.dictConfig(logs)
    worker = Worker(loaded, load_service(target))
    tracers = worker.tracers()
    with ExitStack() as stack:
        listener = stack.enter_context(listening_socket(config.server))
        url = stack.enter_context(written_url(config.server, listener))
        announce(worker, tracers, url)
        several = config.server.workers > 1
        app: Any
        if several:
            share = stack.enter_context(shared_folder())
            app = partial(spawned, loaded, worker.service.target, share)
        else:
            app = worker.app(tracers)
        options = uvicorn.Config(
            app,
            factory=several,
            workers=config.server.workers,
            log_config=logs,
            access_log=config.server.access_log,
            lifespan="on",
            http=http_protocol(),
            ws="none",
            server_header=False,
            root_path=config.server.root_path,
            proxy_headers=config.server.proxy_headers,
            ssl_certfile=config.server.ssl_certfile,
            ssl_keyfile=config.server.ssl_keyfile,
            timeout_graceful_shutdown=math.ceil(config.server.drain_timeout_s),
        )
        run(options, listener)


def http_protocol() -> type[asyncio.Protocol] | Literal["auto"]:
    """Return the HTTP protocol of our own, or uvicorn's where ours cannot build on it."""
    try:
        from spanserve.server import protocol, upstream  # noqa: PLC0415  # they need httptools
    except ImportError as error:
        log.warning("requests are read by uvicorn's own protocol, which costs more time: %s", error)
        return "auto"
    lacking = ", ".join(upstream.missing())
    if not lacking:
        return protocol.DirectProtocol
    log.warning(
        "uvicorn %s has not all that the short way of requests needs (%s); they go uvicorn's own",
        version("uvicorn"),
        lacking,
    )
    return "auto"


def run(options: uvicorn.Config, listener: socket.socket) -> None:
    """Run one process, or a supervisor of several; ends the process with what became of it."""
    if options.workers > 1:
        supervisor = Supervisor(options, sockets=[listener])
        supervisor.run()
        if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes):
            sys.exit(STARTUP_FAILURE)
        return
    # uvicorn raises the signal again after it has drained, and to be told to stop is no failure.
    for number in SIGNALS:
        signal.signal(number, _stopped)
    uvicorn.Server(options).run(sockets=[listener, *more_of(listener)])


def more_of(listener: socket.socket) -> list[socket.socket]:
    """Return the listener some more times, so that a turn of the event loop takes as many clients.

    libuv accepts one client for each listener and turn. Of a thousand that come at once, the last
    would wait for a thousand batches: with a model of a millisecond, for more than a second. Of
    several workers, though, one that is quick would take them all (measured).
    """
    return [listener.dup() for _ in range(CLIENTS_A_TURN - 1)]


class Supervisor(Multiprocess):
    """Starts workers again that died, and stops them all when it is told to stop."""

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket]) -> None:
        super().__init__(config, sockets)
        self._found_dead: set[Process] = set()

    def keep_subprocess_alive(self) -> None:
        # Without uvicorn's pings: it kills a worker that is slow to answer one, and a model may
        # well hold its interpreter for long.
        if self.should_exit.is_set():
            return
        for place, worker in enumerate(self.processes):
            if worker.process.is_alive():
                continue
            if worker.exitcode == STARTUP_FAILURE:
                self.should_exit.set()
                return
            # Ctrl-C in a terminal reaches the workers, too, and may have ended them before it is
            # handled here, where another thread may have taken it: that is known at the next look.
            if worker not in self._found_dead:
                self._found_dead.add(worker)
                continue
            self._found_dead.remove(worker)
            worker.kill()  # closes its pipes
            log.error(
                "worker %s died (exit code %s); starting another", worker.pid, worker.exitcode
            )
            self.processes[place] = Process(self.config, self.sockets)
            self.processes[place].start()

    def terminate_all(self) -> None:
        # Before the workers let go of the listener: else clients would connect to nobody.
        for listener in self.sockets:
            listener.close()
        super().terminate_all()


def _stopped(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)


def listening_socket(server: ServerConfig) -> socket.socket:
    """Bind the server's address; raises ListenError."""
    family = socket.AF_INET6 if ":" in server.host else socket.AF_INET
    # asyncio sets TCP_NODELAY on connections of this very protocol, not of 0, which is the same:
    # without it an answer in two writes waits 40 ms for the client's delayed acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((server.host, server.port))
    except OSError as error:
        listener.close()
        place = f"{server.host}:{server.port}"
        raise ListenError(
            f"cannot listen on {place}: {error.strerror}; choose another with --host and --port"
        ) from None
    listener.set_inheritable(True)
    return listener


@contextmanager
def written_url(server: ServerConfig, listener: socket.socket) -> Iterator[str]:
    """Give the server's URL, which stands in `server.url_file` meanwhile; raises ListenError."""
    url = url_of(server, listener)
    file = Path(server.url_file) if server.url_file else None
    try:
        if file:
            file.write_text(f"{url}\n", encoding="utf-8")
    except OSError as error:
        raise ListenError(f"cannot write server.url_file {file}: {error.strerror}") from None
    try:
        yield url
    finally:
        if file:
            file.unlink(missing_ok=True)


@contextmanager
def shared_folder() -> Iterator[Path]:
    """Give a folder that all workers have in common; raises SharedFolderError."""
    try:
        folder = TemporaryDirectory(prefix="spanserve-")
    except OSError as error:
        # A container that is read-only has no other place.
        if not os.access(MEMORY, os.W_OK):
            raise SharedFolderError(
                f"server.workers above 1 needs a folder for temporary files: {error.strerror}; "
                "set TMPDIR to one that can be written"
            ) from None
        folder = TemporaryDirectory(prefix="spanserve-", dir=MEMORY)
    with folder as path:
        yield Path(path)


def url_of(server: ServerConfig, listener: socket.socket) -> str:
    """Return where the server is reached."""
    host, port = listener.getsockname()[:2]
    scheme = "https" if server.ssl_certfile else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def announce(worker: Worker, tracers: Sequence[LoadedTracer], url: str) -> None:
    """Say what is served, where, and which tracers are live."""
    service, config = worker.service, worker.loaded.config
    log.info("spanserve %s serves %s on %s", version("spanserve"), service.name, url)
    for api in service.spec.apis:
        log.info("POST %s%s", api.route, " (batched)" if api.batch else "")
    rate = config.tracing.sample_rate
    for tracer in tracers:
        log.info("tracing %g %% of requests: %s to %s", rate * 100, tracer.name, tracer.target)
    if not tracers:
        log.info("tracing is off (tracing.type picks a tracer)")
    for warning in (*worker.loaded.warnings, *(w for t in tracers for w in t.warnings)):
        log.warning(warning)
