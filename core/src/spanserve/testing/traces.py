"""Traces as tests look at them."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, TypeVar

from spanserve.tracing.hookspecs import hookimpl
from spanserve.tracing.model import names
from spanserve.tracing.model.span import Span

Tree = dict[str, Any]
"""Names of spans, and below each the tree of its children: `{"run": {"multiply": {}}}`."""

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Trace:
    """The spans of one trace, or of as much of it as one request has."""

    spans: tuple[Span, ...]

    @property
    def id(self) -> str:
        """The trace's id, 32 hex digits."""
        return self.spans[0].trace_id

    @property
    def root(self) -> Span:
        """The first span whose parent is not among these: the request, or the batch."""
        ids = {span.span_id for span in self.spans}
        return next(span for span in self.spans if span.parent_id not in ids)

    def named(self, name: str) -> list[Span]:
        """Return the spans of this name, by their start."""
        return sorted(
            (span for span in self.spans if span.name == name), key=lambda span: span.start_ns
        )

    def span(self, name: str) -> Span:
        """Return the only span of this name; LookupError where there is none, or are several."""
        found = self.named(name)
        if len(found) != 1:
            there = ", ".join(sorted({span.name for span in self.spans}))
            raise LookupError(f"{len(found)} spans are named {name!r} (there: {there})")
        return found[0]

    def children(self, parent: Span) -> list[Span]:
        """Return the spans right below this one, by their start."""
        found = (span for span in self.spans if span.parent_id == parent.span_id)
        return sorted(found, key=lambda span: span.start_ns)

    def tree(self) -> Tree:
        """Return the names as a tree; a second sibling of one name is `name #2`."""
        ids = {span.span_id for span in self.spans}
        roots = [span for span in self.spans if span.parent_id not in ids]
        return self._level(sorted(roots, key=lambda span: span.start_ns))

    def _level(self, level: Sequence[Span]) -> Tree:
        found: Tree = {}
        seen = Counter[str]()
        for span in level:
            seen[span.name] += 1
            number = seen[span.name]
            name = span.name if number == 1 else f"{span.name} #{number}"
            found[name] = self._level(self.children(span))
        return found


class Keeper:
    """A tracer that keeps all spans in memory."""

    def __init__(self) -> None:
        self._spans: list[Span] = []
        self._changed = threading.Condition()

    @hookimpl
    def export_spans(self, spans: Sequence[Span]) -> None:
        """Keep them."""
        with self._changed:
            self._spans += spans
            self._changed.notify_all()

    def traces(self) -> list[Trace]:
        """Return all traces so far, the oldest first."""
        with self._changed:
            ordered = sorted(self._spans, key=lambda span: span.trace_id)
        traces = [Trace(tuple(spans)) for _, spans in groupby(ordered, lambda span: span.trace_id)]
        return sorted(traces, key=lambda trace: min(span.start_ns for span in trace.spans))

    def wait_for_request(self, request_id: str, timeout_s: float) -> Trace | None:
        """Return the trace of a request, once it is there; None: it did not come in time."""
        return self._wait(lambda: self._of_request(request_id), timeout_s)

    def _wait(self, look: Callable[[], Found | None], timeout_s: float) -> Found | None:
        give_up_s = time.monotonic() + timeout_s
        with self._changed:
            while (found := look()) is None and (left_s := give_up_s - time.monotonic()) > 0:
                self._changed.wait(left_s)
        return found

    def _of_request(self, request_id: str) -> Trace | None:
        for span in self._spans:
            if span.attributes.get(names.REQUEST_ID) == request_id:
                return Trace(tuple(_from(span, self._spans)))
        return None


def _from(root: Span, spans: Iterable[Span]) -> list[Span]:
    """Return a span and all below it: a caller may have had several requests in its trace."""
    in_trace = [span for span in spans if span.trace_id == root.trace_id]
    found = [root]
    ids = {root.span_id}
    while more := [s for s in in_trace if s.parent_id in ids and s.span_id not in ids]:
        found += more
        ids |= {span.span_id for span in more}
    return found
