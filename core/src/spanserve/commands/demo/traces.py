"""The demo's own tracer: it keeps every span, to see that none is missing and to show some."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

from spanserve import Span, SpanKind, hookimpl
from spanserve.tracers.tree import by_trace
from spanserve.tracing.model import names
from spanserve.tracing.plugins.loading import LoadedTracer, opened

NAME: Final = "demo"

Trace = list[Span]


class Collector:
    """Keeps all spans."""

    def __init__(self) -> None:
        self.spans: list[Span] = []

    @hookimpl
    def export_spans(self, spans: Sequence[Span]) -> None:
        """See `hookspecs`."""
        self.spans += spans


def as_tracer(collector: Collector) -> LoadedTracer:
    """Return the collector as a tracer that `Tracing` takes beside those of the configuration."""
    return opened(collector, NAME, "spanserve", version("spanserve")).configured({}, {})


@dataclass(frozen=True, slots=True)
class Example:
    """One request's trace, and that of its batch, which is empty where it was alone in one."""

    request: Trace
    batch: Trace

    @property
    def trace_id(self) -> str:
        """The id of the request's trace."""
        return self.request[0].trace_id


class Traces:
    """All spans of a run, sorted into the traces of requests and those of their batches."""

    def __init__(self, spans: Sequence[Span]) -> None:
        self._all = by_trace(spans)
        self.requests = [trace for trace in self._all if trace[0].kind is SpanKind.SERVER]
        self.batches = {
            trace[0].trace_id: trace
            for trace in self._all
            if trace[0].name.startswith(f"{names.BATCH} ")
        }

    def example(self) -> Example | None:
        """Return the request whose time is in the middle, of those in the larger batches.

        One that was alone in its batch is only chosen where all were.
        """
        if not self.requests:
            return None
        shared = [trace for trace in self.requests if self._links(trace)] or self.requests
        usual = _middle(shared, self._links)
        larger = [trace for trace in shared if self._links(trace) >= self._links(usual)]
        request = _middle(larger, lambda trace: trace[0].duration_ns)
        return Example(request, self._batch(request))

    def _batch(self, request: Trace) -> Trace:
        return self.batches.get(_batch_of(request), [])

    def _links(self, request: Trace) -> int:
        batch = self._batch(request)
        return len(batch[0].links) if batch else 0

    def problems(self, answered: Sequence[str], *, sample_rate: float) -> Iterator[str]:
        """Say what is missing, where the requests of these traces were answered."""
        everyone = sample_rate >= 1
        known = {trace[0].trace_id for trace in self.requests}
        untraced = sum(trace_id not in known for trace_id in answered) if everyone else 0
        if untraced:
            yield f"{untraced} of {len(answered)} answered requests have no trace"
        orphans = sum(map(_orphans, self._all))
        if orphans:
            yield f"{orphans} spans have a parent that is missing"
        wanted = {_batch_of(trace) for trace in self.requests} - {""}
        if wanted - self.batches.keys():
            yield f"{len(wanted - self.batches.keys())} batches have no trace"
        unlinked = sum(map(_has_missing_links, self.batches.values())) if everyone else 0
        if unlinked:
            yield f"{unlinked} batches are not linked to all their members"


def _middle(traces: Sequence[Trace], key: Callable[[Trace], int]) -> Trace:
    return sorted(traces, key=key)[len(traces) // 2]


def _batch_of(request: Trace) -> str:
    """Return the trace id of a request's batch; empty where it was alone."""
    ids = (span.attributes.get(names.BATCH_TRACE_ID) for span in request)
    return next((each for each in ids if isinstance(each, str)), "")


def _orphans(trace: Trace) -> int:
    known = {span.span_id for span in trace}
    return sum(span.parent_id is not None and span.parent_id not in known for span in trace)


def _has_missing_links(batch: Trace) -> bool:
    root = batch[0]
    return len(root.links) != root.attributes.get(names.BATCH_SIZE)
