"""`spanserve check --send`: one test trace to each tracer, by the way that served traces go."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from spanserve.config.model import QueueConfig, TracingConfig
from spanserve.config.values.redact import without_credentials
from spanserve.errors import SpanserveError
from spanserve.tracing.export.exporter import Drop, Exporter
from spanserve.tracing.model.failure import raised
from spanserve.tracing.model.span import Resource
from spanserve.tracing.plugins.loading import LoadedTracer
from spanserve.tracing.tracing import Tracing

PATH: Final = "/spanserve-check"
SERVICE: Final = "spanserve-check"

_SCOPE: Final = {
    "type": "http",
    "method": "GET",
    "path": PATH,
    "query_string": b"",
    "http_version": "1.1",
    "headers": [],
}
_NO_CONTENT: Final = 204
_FLUSH_INTERVAL_MS: Final = 10
_POLL_S: Final = 0.02
_ASK_AGAIN_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to retry, to wait for a tracer that hangs, to look up, and to stop.

    A tracer's own time limits lie below `settle_s`, so that it can give its own reason.
    """

    retry_s: float = 3.0
    settle_s: float = 12.0
    look_up_s: float = 3.0
    stop_s: float = 2.0


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of one tracer's test trace, in words: the verdict, then where it can be seen."""

    ok: bool
    lines: tuple[str, ...]


def send_all(
    config: TracingConfig, tracers: Sequence[LoadedTracer], say: Callable[[str], None]
) -> bool:
    """Send a trace of its own to each tracer, and say of each what became of it.

    Returns whether all took it, as far as they tell; false where tracing is off.
    """
    if not tracers:
        say("nothing was sent: tracing is off (tracing.type picks a tracer)")
        return False
    all_ok = True
    with _without_log():
        for tracer in tracers:
            sent = send(config, tracer)
            for line in sent.lines:
                say(line)
            all_ok = all_ok and sent.ok
    return all_ok


def send(config: TracingConfig, tracer: LoadedTracer, patience: Patience | None = None) -> Sent:
    """Send a test trace to one tracer; blocks for as long as this needs, and starts a thread."""
    patience = patience or Patience()
    tracing = Tracing([tracer], _test_config(config, patience), _resource(config))
    try:
        tracing.start()
    except SpanserveError as error:
        cause = error.__cause__ or error
        why = str(cause) if isinstance(cause, SpanserveError) else raised(cause)
        return Sent(ok=False, lines=(f"{tracer.name}: could not start: {why}",))
    try:
        trace_id = _record(tracing)
        _wait(lambda: all(map(_is_settled, tracing.exporters)), patience.settle_s, _POLL_S)
        ok, verdict = _verdict(tracing, tracer, patience)
        seen = _looked_up(tracing, trace_id, patience) if ok else ()
    finally:
        tracing.stop(patience.stop_s)
    return Sent(ok=ok, lines=(f"{tracer.name}: {verdict}", *seen))


def _test_config(config: TracingConfig, patience: Patience) -> TracingConfig:
    """Return the configuration that records the test trace whatever is sampled or excluded.

    On a thread: one trace is sent before a process would be ready for it.
    """
    queue = QueueConfig(flush_interval_ms=_FLUSH_INTERVAL_MS, retry_for_s=patience.retry_s)
    changes = {"sample_rate": 1.0, "excluded_urls": (), "exporter": "thread", "queue": queue}
    return config.model_copy(update=changes)


def _resource(config: TracingConfig) -> Resource:
    name = config.service_name or SERVICE
    return Resource(name, {**config.resource_attributes, "service.name": name})


def _record(tracing: Tracing) -> str:
    """Record the request, as the server would; return its trace's id."""
    scope: dict[str, Any] = {**_SCOPE}
    record = tracing.request(scope, request_id=SERVICE, route=PATH)
    if record is None:
        raise RuntimeError("nothing records")
    record.status = _NO_CONTENT
    tracing.request_ended(record)
    return record.trace_id


def _wait(condition: Callable[[], bool], patience_s: float, pause_s: float) -> bool:
    """Wait until a condition holds; return whether it does."""
    give_up_s = time.monotonic() + patience_s
    while not (holds := condition()) and time.monotonic() < give_up_s:
        time.sleep(pause_s)
    return holds


def _is_settled(exporter: Exporter) -> bool:
    counters = exporter.counters
    counted = counters.delivered + counters.unconfirmed + sum(counters.dropped.values())
    return counted > 0 and not exporter.waiting_spans


def _verdict(tracing: Tracing, tracer: LoadedTracer, patience: Patience) -> tuple[bool, str]:
    if failure := tracing.live_failures.get(tracer.name):
        return False, f"not shown live on {tracer.target}: {failure}"
    if tracing.exporters:
        return _verdict_of_export(tracing.exporters[0], tracer, patience)
    if {"span_started", "span_ended"} & tracer.hooks:
        return True, f"shown live on {tracer.target}"
    return False, "not sent: it implements no hook that takes spans"


def _verdict_of_export(
    exporter: Exporter, tracer: LoadedTracer, patience: Patience
) -> tuple[bool, str]:
    counters = exporter.counters
    dropped = [why for why, spans in counters.dropped.items() if spans]
    if dropped:
        return False, f"not delivered to {tracer.target}: {_why(exporter, dropped[0], tracer)}"
    if counters.unconfirmed:
        way = " over UDP" if tracer.target.startswith("udp:") else ""
        return True, f"sent to {tracer.target}{way}, which gives no answer"
    if counters.delivered:
        return True, f"delivered to {tracer.target}"
    return False, (
        f"not delivered to {tracer.target}: no answer within {patience.settle_s:g} s; "
        f"is {tracer.name} running there?"
    )


def _why(exporter: Exporter, drop: Drop, tracer: LoadedTracer) -> str:
    """Say why spans were dropped, and what to look at where the tracer would try again."""
    reason = without_credentials(exporter.reason or "it gave no reason").rstrip(".")
    if drop is Drop.REJECTED:
        return f"refused: {reason}"
    if drop in {Drop.RETRIES_EXHAUSTED, Drop.STOPPED}:
        return f"{reason}; is {tracer.name} running there?"
    if drop is Drop.UNACCOUNTED:
        return "its export_spans did not say what became of the span"
    return reason


def _looked_up(tracing: Tracing, trace_id: str, patience: Patience) -> tuple[str, ...]:
    """Ask the backend for the trace, and say where a person can look at it."""
    url = tracing.trace_url(trace_id)
    answers: list[bool | None] = []

    def is_answered() -> bool:
        answers.append(tracing.find_trace(trace_id))
        return answers[-1] is not False

    _wait(is_answered, patience.look_up_s, _ASK_AGAIN_S)
    place = url or f"trace {trace_id}"
    if answers[-1] is None:
        return (f"not looked up: {url} (no query API answers there)",) if url else ()
    return (f"found: {place}",) if answers[-1] else (f"not found yet: {place}",)


@contextmanager
def _without_log() -> Iterator[None]:
    """Keep what tracing logs of tracers off the terminal: it is said here, for each of them."""
    log, silence = logging.getLogger("spanserve.tracing"), logging.NullHandler()
    log.addHandler(silence)
    try:
        yield
    finally:
        log.removeHandler(silence)
