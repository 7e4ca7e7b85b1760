"""`spanserve serve`: a service over HTTP, in one process or several."""

import logging
import logging.config
import os
import sys
from contextlib import ExitStack, closing
from dataclasses import replace

from spanserve.config.load import Loaded
from spanserve.running.discovery import chosen_runner
from spanserve.server.access.keys import KeyRing
from spanserve.server.operations.logs import logging_config
from spanserve.server.process.announcement import announce_start
from spanserve.server.process.listening import UrlFile, given_listener, more_of, url_of
from spanserve.server.process.process import Plan, serve_alone, stopping_at_once
from spanserve.server.process.share import shared_folder
from spanserve.server.process.supervisor import Supervisor
from spanserve.service.bundle.load import find
from spanserve.tracing.plugins.registry import load_tracers

log = logging.getLogger("spanserve")

WORKERS_A_PROCESSOR = 4
"""More would not serve more, and so many may take the machine down."""


def serve(target: str, loaded: Loaded) -> None:
    """Serve until told to stop; raises SpanserveError before anything was served."""
    with stopping_at_once():
        _serve(target, loaded)


def _serve(target: str, loaded: Loaded) -> None:
    find(target)  # what can be said without its import is said before anything else
    config = loaded.config
    server = config.server
    logs = logging_config(config.logging.level, config.logging.format)
    logging.config.dictConfig(logs)
    tracers = load_tracers(config.tracing, sources=loaded.sources)
    if "type" in config.runner:  # else the service may say it, which is not imported yet
        chosen_runner(config.runner, {}, loaded.sources).check_workers(server.workers)
    if server.auth is not None:
        KeyRing(server.auth)  # each worker reads the keys itself; here, that they can be read
    with ExitStack() as stack:
        listener = stack.enter_context(closing(given_listener(server)))
        url = url_of(server, listener)
        url_file = UrlFile(server.url_file, url)
        stack.enter_context(url_file.kept())
        plan = Plan(loaded, target, url, logs)
        announce_start(loaded, target, tracers, url)
        workers = bounded(server.workers)
        if workers == 1:
            serve_alone(plan, tracers, [listener, *more_of(listener)], url_file.write)
            return
        plan = replace(plan, share=stack.enter_context(shared_folder()))
        if code := Supervisor(plan, listener, workers, url_file.write).run():
            sys.exit(code)


def bounded(workers: int) -> int:
    """Return how many workers to start."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    processors = processors or os.cpu_count() or 1
    most = WORKERS_A_PROCESSOR * processors
    if workers > most:
        log.warning(
            "server.workers is %d; %d are started: %d for each of %d processors, at most",
            *(workers, most, WORKERS_A_PROCESSOR, processors),
        )
    return min(workers, most)
