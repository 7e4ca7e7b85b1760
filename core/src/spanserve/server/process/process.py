"""A process that serves: alone, or as a worker of a supervisor."""

import logging
import logging.config
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import Any, Final

from spanserve.config.load import Loaded
from spanserve.errors import SpanserveError
from spanserve.server.app import App
from spanserve.server.http.connections import Connections
from spanserve.server.http.limits import Limits
from spanserve.server.lifecycle import SIGNALS
from spanserve.server.process.announcement import announce_service
from spanserve.server.process.memory import settle
from spanserve.server.process.options import uvicorn_config
from spanserve.server.process.serving import STOPPED, Server
from spanserve.server.process.starting import Entrance
from spanserve.server.worker import Worker
from spanserve.service.bundle import load as load_service
from spanserve.tracing.plugins import LoadedTracer, load_tracers

READY: Final = "ready"
"""What a worker tells its supervisor; anything else is why it did not start."""

NUMBER_VARIABLE: Final = "SPANSERVE_WORKER"
"""The environment variable that tells a service which worker it is in, from 0."""

WRONG_USE: Final = 2
"""The exit code of a start that the user must mend."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is served, and where; the same for every worker of a server."""

    loaded: Loaded
    target: str
    url: str
    logs: dict[str, Any]
    share: Path | None = None
    """A folder that the workers have in common, where there are several."""


def serve_alone(
    plan: Plan,
    tracers: Sequence[LoadedTracer],
    listeners: list[socket.socket],
    on_ready: Callable[[], None],
) -> None:
    """Serve in this process, from this moment on: until told to stop.

    Raises SpanserveError or SystemExit where the service cannot be loaded.
    """
    server = _server(plan, tracers, on_ready, number=0, listens_first=True, announces=True)
    server.serve_until_stopped(listeners)


def work(
    plan: Plan, listener: socket.socket, supervisor: Connection, *, number: int, announces: bool
) -> None:
    """Load the service, then serve on the listener until told to stop; the end of the process.

    `supervisor` is told what became of the start. When it ends, so does this.
    """
    stop_at_once()
    logging.config.dictConfig(plan.logs)
    threading.Thread(target=_end_with, args=(supervisor,), daemon=True).start()
    tell_ready = partial(supervisor.send, READY)
    try:
        tracers = load_tracers(plan.loaded.config.tracing, sources=plan.loaded.sources)
        server = _server(
            plan, tracers, tell_ready, number=number, listens_first=False, announces=announces
        )
        server.serve_until_stopped([listener])
    except SpanserveError as error:
        supervisor.send(str(error))
        sys.exit(WRONG_USE)


@contextmanager
def stopping_at_once() -> Iterator[None]:
    """End without a word when told to stop: nothing is served yet, or not any more.

    This goes on as the process ends, where the next signal must not show a stack; but not after
    a SpanserveError, that somebody handles.
    """
    before = stop_at_once()
    try:
        yield
    except SpanserveError:
        for number, handler in before.items():
            signal.signal(number, handler)
        raise


def stop_at_once() -> dict[signal.Signals, Any]:
    """End without a word when told to stop, from now on; return what was done before."""
    return {number: signal.signal(number, _stopped) for number in SIGNALS}


def _stopped(_number: int, _frame: FrameType | None) -> None:
    sys.exit(STOPPED)


def _server(
    plan: Plan,
    tracers: Sequence[LoadedTracer],
    on_ready: Callable[[], None],
    *,
    number: int,
    listens_first: bool,
    announces: bool,
) -> Server:
    os.environ[NUMBER_VARIABLE] = str(number)  # for the service, before it is imported
    config = plan.loaded.config
    connections = Connections(Limits.of(config.server))
    entrance = Entrance(connections, root_path=config.server.root_path)

    def make() -> App:
        service = load_service(plan.target)
        if announces:
            announce_service(service, plan.url)
        return Worker(plan.loaded, service, plan.share, number).app(tracers)

    def ready() -> None:
        settle()
        on_ready()

    return Server(
        uvicorn_config(config, entrance, plan.logs),
        entrance,
        make,
        listens_first=listens_first,
        load_timeout_s=config.server.load_timeout_s,
        on_ready=ready,
    )


def _end_with(supervisor: Connection) -> None:
    """Stop this process once its supervisor is gone, however that ended: nobody else would."""
    try:
        supervisor.recv()  # it says nothing, ever
    except (EOFError, OSError):
        os.kill(os.getpid(), signal.SIGTERM)
