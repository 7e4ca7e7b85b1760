"""A process that serves: alone, or as a worker of a supervisor."""

import logging
import logging.config
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import Any, Final

from spanserve.config.load import Loaded
from spanserve.config.service_settings import settings_of
from spanserve.errors import SpanserveError
from spanserve.running.wire.messages import NUMBER_VARIABLE as REPLICA_VARIABLE
from spanserve.server.app import App
from spanserve.server.connections.limits import Limits
from spanserve.server.connections.shared import Connections
from spanserve.server.lifecycle import SIGNALS
from spanserve.server.process.announcement import announce_service
from spanserve.server.process.memory import settle
from spanserve.server.process.options import uvicorn_config
from spanserve.server.process.serving import STOPPED, Server
from spanserve.server.process.starting import Entrance
from spanserve.server.worker import Worker
from spanserve.service.bundle.load import load as load_service
from spanserve.tracing.plugins.registry import LoadedTracer, load_tracers

LOADED: Final = "loaded"
READY: Final = "ready"
"""What a worker tells its supervisor, one after the other; else, why it does not start."""

LISTEN: Final = "listen"
"""What it is told in between: nobody else answers on the port any more, or others are ready."""

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
    server = _server(plan, tracers, on_ready, number=0, announces=True)
    server.serve_until_stopped(listeners)


def work(
    plan: Plan, listener: socket.socket, supervisor: Connection, *, number: int, announces: bool
) -> None:
    """Load the service, then serve on the listener until told to stop; the end of the process.

    `supervisor` is told what became of the start. When it ends, so does this.
    """
    stop_at_once()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # the supervisor held it back
    logging.config.dictConfig(plan.logs)
    may_listen = threading.Event()
    threading.Thread(target=_obey, args=(supervisor, may_listen), daemon=True).start()

    def tell(what: str) -> None:
        with suppress(OSError):  # it is gone, and so will be this
            supervisor.send(what)

    def before_listening() -> None:
        tell(LOADED)
        may_listen.wait()

    try:
        tracers = load_tracers(plan.loaded.config.tracing, sources=plan.loaded.sources)
        server = _server(
            plan,
            tracers,
            partial(tell, READY),
            number=number,
            announces=announces,
            before_listening=before_listening,
        )
        server.serve_until_stopped([listener])
    except SpanserveError as error:
        tell(str(error))
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
    announces: bool,
    before_listening: Callable[[], None] | None = None,
) -> Server:
    os.environ[NUMBER_VARIABLE] = str(number)  # for the service, before it is imported
    os.environ.setdefault(REPLICA_VARIABLE, "0")
    config = plan.loaded.config
    connections = Connections(Limits.of(config.server))
    entrance = Entrance(connections, root_path=config.server.root_path)

    def make() -> App:
        service = load_service(plan.target)
        service = service.with_settings(
            settings_of(
                service.spec.settings_model,
                config.service,
                plan.loaded.sources,
                service=service.name,
            )
        )
        if announces:
            announce_service(service, plan.url)
        return Worker(plan.loaded, service, plan.share, number, plan.url).app(tracers)

    def ready() -> None:
        settle()
        on_ready()

    return Server(
        uvicorn_config(config, entrance, plan.logs),
        entrance,
        make,
        before_listening=before_listening,
        load_timeout_s=config.server.load_timeout_s,
        on_ready=ready,
    )


def _obey(supervisor: Connection, may_listen: threading.Event) -> None:
    """Do what the supervisor says; stop once it is gone, however that ended: nobody else would."""
    try:
        while supervisor.recv() == LISTEN:
            may_listen.set()
    except (EOFError, OSError):
        os.kill(os.getpid(), signal.SIGTERM)
