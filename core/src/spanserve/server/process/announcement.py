"""What a server says of itself in the log as it starts."""

import logging
from collections.abc import Sequence
from importlib.metadata import version

from spanserve.config.load import Loaded
from spanserve.service.bundle.load import LoadedService
from spanserve.tracing.plugins.registry import KNOWN_DISTRIBUTIONS, LoadedTracer, Registry

log = logging.getLogger("spanserve")


def announce_start(loaded: Loaded, target: str, tracers: Sequence[LoadedTracer], url: str) -> None:
    """Say where the server listens, what it loads, and which tracers are live."""
    log.info("listening on %s, loading %s", url, target)
    rate = loaded.config.tracing.sample_rate
    for tracer in tracers:
        log.info("tracing %g %% of requests: %s to %s", rate * 100, tracer.name, tracer.target)
    if not tracers:
        log.info("tracing is off (tracing.type picks a tracer); %s", _how_to_see_traces(url))
    for warning in (*loaded.warnings, *(w for t in tracers for w in t.warnings)):
        log.warning(warning)


def _how_to_see_traces(url: str) -> str:
    if "local" in Registry.installed().names():
        return f"to see traces at {url}/traces/, start with SPANSERVE__TRACING__TYPE=local"
    distribution = KNOWN_DISTRIBUTIONS["local"]
    return f"to see traces: pip install {distribution}, then tracing.type: local"


def announce_service(service: LoadedService, url: str) -> None:
    """Say what is served, once that was imported."""
    log.info("spanserve %s serves %s on %s", version("spanserve"), service.name, url)
    for api in service.spec.apis:
        log.info("POST %s%s", api.route, " (batched)" if api.batch else "")
