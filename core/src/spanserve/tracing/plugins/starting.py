"""All tracers of an app: start them, or none; ask them; stop them."""

import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from spanserve.errors import ConfigError, SpanserveError
from spanserve.tracing.model.failure import told
from spanserve.tracing.model.span import Resource
from spanserve.tracing.plugins.hooks import Hooks
from spanserve.tracing.plugins.loading import LoadedTracer

T = TypeVar("T")
log = logging.getLogger(__name__)


def extend_app(tracer: LoadedTracer, app: Any, server_url: str | None) -> tuple[str, ...]:
    """Let a tracer add routes; return the paths of these that are not to be traced.

    Raises ConfigError, which names the tracer, where it fails.
    """
    hook = tracer.call.extend_app

    def call() -> tuple[str, ...]:
        answers = hook(app=app, settings=tracer.settings, server_url=server_url)
        paths = [] if not answers or answers[0] is None else answers[0]
        if isinstance(paths, str) or not all(_is_path(path) for path in paths):
            raise TypeError("it returned no list of paths, each with a slash at its start")
        return tuple(paths)

    return _asked(tracer, "extend_app", call)


def _is_path(path: object) -> bool:
    return isinstance(path, str) and path.startswith("/")


def start(tracers: Sequence[LoadedTracer], resource: Resource) -> None:
    """Start each; where one fails, stop those that are started, and raise ConfigError."""
    started: list[LoadedTracer] = []
    for tracer in tracers:
        try:
            _start(tracer, resource)
        except BaseException:
            for each in reversed(started):
                stop(each, 0.0)
            raise
        started.append(tracer)


def first_answer(
    tracers: Sequence[LoadedTracer],
    ask: Callable[[Hooks, str], object],
    trace_id: str,
    kind: type[T],
) -> T | None:
    """Return what the first tracer that knows says of a trace; one that raises does not know."""
    for tracer in tracers:
        try:
            answer = ask(tracer.call, trace_id)
        except KeyboardInterrupt:
            raise
        except BaseException:  # noqa: BLE001, S112  # the contract: raising counts as None
            continue
        if isinstance(answer, kind):
            return answer
    return None


def stop(tracer: LoadedTracer, deadline_s: float) -> None:
    """Stop one; its failure is logged."""
    try:
        tracer.call.tracer_stopping(deadline_s)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a tracer may raise anything
        log.error("tracer %s failed to stop: %s", tracer.name, told(error))  # noqa: TRY400  # one line
        log.debug("tracer_stopping raised", exc_info=error)


def _start(tracer: LoadedTracer, resource: Resource) -> None:
    # A resource of its own: what one adds to it must not show with the others.
    own = Resource(resource.service_name, dict(resource.attributes))
    hook = tracer.call.tracer_started
    _asked(tracer, "tracer_started", lambda: hook(settings=tracer.settings, resource=own))


def _asked(tracer: LoadedTracer, hook: str, call: Callable[[], T]) -> T:
    try:
        return call()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        log.debug("%s of tracer %s raised", hook, tracer.name, exc_info=error)
        source = f"{tracer.distribution} {tracer.version}".strip()
        why = str(error) if isinstance(error, SpanserveError) else told(error)
        message = f"tracer '{tracer.name}' (from {source}) failed in {hook}: {why}"
        raise ConfigError(message) from error
