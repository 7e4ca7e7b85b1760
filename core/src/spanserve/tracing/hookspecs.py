"""Every hook of a tracer, each docstring a contract.

A tracer is a module, an instance or a class (instantiated once per app) behind an entry
point in the group `spanserve.tracers`. It implements the hooks it needs and marks each
with `hookimpl`. Hooks and their arguments are only ever added, never renamed or removed.

Each tracer has a queue, a thread or a process, retries and counters of its own: one that
fails never touches another, and none ever fails or slows a request.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pluggy
from pydantic import BaseModel

from spanserve.tracing.model.span import Resource, Span, SpanStart

if TYPE_CHECKING:
    from fastapi import FastAPI

PROJECT = "spanserve"

HOOKS_VERSION: Final = 2
"""The number of this contract: it grows with each hook or argument that is added.

1 was that of spanserve 0.1. A plugin that works with several versions of spanserve compares it.
"""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What became of the spans of one `export_spans` call.

    `delivered`, `unconfirmed` (sent where nobody answers, as over UDP) and `rejected`
    (refused for good) count spans. `retry` holds the spans to hand over again, and only
    those; `retry_after_s` is the backend's own wish for when (None: as configured).
    `reason` says in a few words, without secrets, why spans were rejected or must be retried.
    """

    delivered: int = 0
    unconfirmed: int = 0
    rejected: int = 0
    retry: Sequence[Span] = ()
    retry_after_s: float | None = None
    reason: str | None = None


@hookspec(firstresult=True)
def tracer_settings() -> type[BaseModel]:  # type: ignore[empty-body]
    """Return the pydantic model of this tracer's own section of the config.

    When: while the config is loaded, before every other hook; also by `spanserve tracers`.
    Thread: the main thread, before any server runs.
    Must be frozen and forbid extra keys; a field that holds a secret is a `SecretStr`.
    Forbidden: reading files, the environment or the network.
    Without this hook the section must be empty. Raising stops the start.
    """


@hookspec(firstresult=True)
def tracer_propagators() -> Sequence[str]:  # type: ignore[empty-body]
    """Name the header formats that users of this backend expect, beside W3C.

    When: once, while the tracer is loaded.
    Names: `b3`, `b3multi`, `jaeger`, `tracecontext`, and those of OpenTelemetry's propagators that
    are installed, as `xray`.
    They are written on outgoing calls, and read from incoming ones, as the four are in any case.
    An unknown name or an exception stops the start.
    """


@hookspec(firstresult=True)
def tracer_target(settings: BaseModel) -> str:  # type: ignore[empty-body]
    """Say where this tracer sends, for the start-up line, `check` and `/metadata`.

    When: after the settings are validated; perhaps more than once.
    Forbidden: connecting; secrets in the answer (redact credentials).
    Raising stops the start.
    """


@hookspec(firstresult=True)
def tracer_warnings(settings: BaseModel) -> Sequence[str]:  # type: ignore[empty-body]
    """Say what in these valid settings is probably a mistake, a sentence each.

    When: at start and in `check`, after the settings are validated; each is logged once.
    Forbidden: connecting; secrets in the answer.
    Raising stops the start.
    """


@hookspec(firstresult=True)
def tracer_isolation() -> str:  # type: ignore[empty-body]
    """Say where spans may be exported: `thread` (the default) or `process`.

    When: once, while the tracer is loaded.
    With `process`, `export_spans` is called in a process of its own, where encoding and
    sending take nothing from the requests: for a tracer that needs nothing of the server but
    its settings, which can be pickled. That process loads the tracer by its entry point and calls
    `tracer_started`, `export_spans` and `tracer_stopping`; all other hooks are called in the
    server's, where `tracer_started` and `tracer_stopping` are called, too. A process that dies is
    started anew, after pauses that grow. `tracing.exporter: thread` keeps everything in the
    server's process.
    Another answer or an exception stops the start.
    """


@hookspec
def tracer_started(settings: BaseModel, resource: Resource) -> None:
    """Open what this tracer needs: sockets, files, sessions.

    When: once in each process in which the tracer is called, after any fork and before
    any span. Not called by the commands that only read the config.
    Thread: the one that starts the server.
    A backend that is down is no reason to raise: spans are retried. Raising stops the start, with
    one line; the tracers that were started before are stopped.
    """


@hookspec
def span_started(start: SpanStart) -> None:
    """See a span begin, live.

    When: at each real boundary of a request or a batch, in order; copies of a batch's spans
    are not announced.
    Thread: the event loop, or that of the user's code for spans which that opens.
    Must return at once and never block: requests wait for it, and a call that hangs
    cannot be helped. One that takes more than 20 ms is said once, and counted in
    `spanserve_tracer_slow_calls_total`. One that raises is switched off for good, with one line in
    the log, and is seen in `spanserve_tracer_failing` and in `/metadata`.
    """


@hookspec
def span_ended(span: Span) -> None:
    """See a span end, live; children end before their parents, but for custom spans that last on.

    When, thread and rules: as for `span_started`.
    """


@hookspec(firstresult=True)
def export_spans(spans: Sequence[Span]) -> ExportResult | None:
    """Deliver finished spans.

    When: soon after their requests ended. All spans of a request, of a batch or of a start-up
    come in one call, parents before children; a call may hold several of them. What the user's
    code goes on with after that comes in later calls, as it ends: spans of a trace that was
    delivered before, marked `spanserve.late`. Custom spans need not lie within their parents.
    Thread: the exporter's, never two calls at once for a tracer. It may block: meanwhile new
    spans wait in a bounded queue that drops its oldest. A call that gives no sign of life for
    `tracing.queue.hang_after_s`, by `checkpoint()`, hangs: the log says so once, and a process is
    killed and started anew, without the spans of the call. OpenTelemetry's instrumentation is
    suppressed during the call.
    None means that all were delivered. Spans in `ExportResult.retry` are handed over
    again, alone, after a pause that grows, for as long as `tracing.queue.retry_for_s`; or after
    `retry_after_s`, 300 at most, while all others wait, too.
    Raising drops the spans of this call; they are counted, and the log says so once, with the
    stack at `debug`.
    """


@hookspec(firstresult=True)
def trace_url(trace_id: str) -> str | None:
    """Say where a person can look at this trace (32 hex digits), or None.

    When: on demand, after `tracer_started`. Must return at once, without connecting.
    Raising counts as None.
    """


@hookspec(firstresult=True)
def find_trace(trace_id: str) -> bool | None:
    """Ask the backend whether it holds this trace (32 hex digits), any span of it.

    When: on demand, for a person who waits for the answer (`spanserve check --send`), after
    `tracer_started` and before `tracer_stopping`; perhaps several times in a few seconds,
    since a backend may store later than it accepts.
    Thread: never the event loop; `export_spans` may run meanwhile on its own.
    It may connect, and must return within a few seconds: a call that hangs cannot be helped.
    True: it is there. False: the backend answered that it is not there, or not yet.
    None: it cannot be asked, or what answered is no backend's query API.
    Raising counts as None.
    """


@hookspec
def extend_app(app: "FastAPI", settings: BaseModel, server_url: str | None) -> Sequence[str] | None:
    """Add routes of this tracer's own, a viewer for example.

    When: once in each process that serves, while the app is built, before `tracer_started` and
    before it serves.
    `server_url` is where the server listens, with its port and without a slash at the end; None
    where that is not known, as in a test of the app alone.
    Returns paths of these routes whose requests are not to be traced; `*` stands for anything.
    The service's routes come first: one that would answer in place of an added one, or a path
    returned that is one of theirs, stops the start, and so does raising. Who may use the routes is
    the tracer's own business, unless `server.auth` guards all `routes`.
    """


@hookspec
def tracer_stopping(deadline_s: float) -> None:
    """Close what `tracer_started` opened, within this many seconds.

    When: once, after the last `export_spans`.
    Thread: the exporter's, or the one that stops the server for a tracer without
    `export_spans`. Raising is logged.
    """
