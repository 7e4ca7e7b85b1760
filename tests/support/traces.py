"""Whole traces, compared and checked: every rule that holds for any trace of spanserve.

All work on sequences of `spanserve.Span`, whatever they came from. Failures say which span
broke which rule.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from spanserve import Span, SpanKind, hookimpl
from spanserve.tracing.model import names

Tree = dict[str, Any]

_TRACE_ID = re.compile(r"(?!0{32})[0-9a-f]{32}")
_SPAN_ID = re.compile(r"(?!0{16})[0-9a-f]{16}")


class Keeps:
    """A tracer that keeps everything."""

    def __init__(self) -> None:
        self.spans: list[Span] = []

    @hookimpl
    def export_spans(self, spans: list[Span]) -> None:
        self.spans += spans


def tree(spans: Iterable[Span]) -> Tree:
    """Return `{name: {child: {...}}}`, siblings by start; a second of one name is `name #2`.

    Roots are spans whose parents are not among the spans: several traces may be given.
    """
    ordered = list(spans)
    ids = {(span.trace_id, span.span_id) for span in ordered}
    roots = [span for span in ordered if (span.trace_id, span.parent_id) not in ids]
    return _level(roots, ordered)


def _level(level: Sequence[Span], spans: Sequence[Span]) -> Tree:
    found: Tree = {}
    seen = Counter[str]()
    for span in sorted(level, key=lambda each: each.start_ns):
        seen[span.name] += 1
        name = span.name if seen[span.name] == 1 else f"{span.name} #{seen[span.name]}"
        found[name] = _level(children(span, spans), spans)
    return found


def children(parent: Span, spans: Iterable[Span]) -> list[Span]:
    """Return the spans right below this one."""
    wanted = (parent.trace_id, parent.span_id)
    return [span for span in spans if (span.trace_id, span.parent_id) == wanted]


def traces(spans: Iterable[Span]) -> dict[str, list[Span]]:
    """Return the spans of each trace, by its id."""
    ordered = sorted(spans, key=lambda span: span.trace_id)
    return {key: list(group) for key, group in groupby(ordered, lambda span: span.trace_id)}


def named(name: str, spans: Iterable[Span]) -> list[Span]:
    """Return the spans of this name."""
    return [span for span in spans if span.name == name]


def one(name: str, spans: Iterable[Span]) -> Span:
    """Return the only span of this name."""
    (found,) = named(name, spans)
    return found


def check_trace(spans: Sequence[Span], *, remote_parent: str | None = None) -> None:
    """Assert all rules of the spans of one whole trace, made by one process.

    There is one root, without a parent or with this remote one; a trace that one caller
    had several requests in has several, each with that parent.
    """
    assert len({span.trace_id for span in spans}) == 1, "spans of several traces"
    by_id = {span.span_id: span for span in spans}
    assert len(by_id) == len(spans), f"ids that occur twice in {sorted(s.span_id for s in spans)}"
    roots = [span for span in spans if span.parent_id is None or span.parent_id not in by_id]
    assert roots, "no root"
    assert len(roots) == 1 or remote_parent is not None, f"several roots: {roots}"
    assert {root.parent_id for root in roots} == {remote_parent}, f"absent parents: {roots}"
    for span in spans:
        _check_span(span)
        if span not in roots:
            _check_child(span, by_id[str(span.parent_id)])


def _check_span(span: Span) -> None:
    assert _TRACE_ID.fullmatch(span.trace_id), span
    assert _SPAN_ID.fullmatch(span.span_id), span
    assert span.start_ns <= span.end_ns, f"ends before it starts: {span}"
    for event in span.events:
        assert span.start_ns <= event.time_ns <= span.end_ns, f"an event outside: {span}"
    for link in span.links:
        assert _TRACE_ID.fullmatch(link.trace_id), span
        assert _SPAN_ID.fullmatch(link.span_id), span


_PARTS = frozenset(
    (
        *(names.DECODE, names.QUEUE, names.COLLATE, names.RUN),
        *(names.SPLIT, names.RETRY, names.ENCODE),
    )
)


def _check_child(span: Span, parent: Span) -> None:
    inside = parent.start_ns <= span.start_ns and span.end_ns <= parent.end_ns
    # The user's own need not: a task may outlive what it was begun in.
    assert inside or span.name not in _PARTS, f"{span} is not within {parent}"
    if names.SCOPE_NAME not in span.attributes:  # OpenTelemetry's code may say what it likes
        assert span.kind is SpanKind.INTERNAL, span


def is_batch(span: Span) -> bool:
    """Say whether a span is the root of a batch's own trace."""
    return span.name.startswith(f"{names.BATCH} ") and span.kind is SpanKind.INTERNAL


def check_batches(spans: Sequence[Span], *, unsampled: int | None = None) -> None:
    """Assert that batches and their members name each other; the spans are all there are.

    `unsampled`, where given, is how many items of batches belong to no trace at all.
    """
    by_id = {(span.trace_id, span.span_id): span for span in spans}
    members = 0
    left_out = 0
    for batch in filter(is_batch, spans):
        queues = [by_id[link.trace_id, link.span_id] for link in batch.links]
        members += len(queues)
        left_out += _int(batch, names.BATCH_SIZE) - len(queues)
        _check_batch(batch, queues)
    references = [span for span in spans if names.BATCH_TRACE_ID in span.attributes]
    assert len(references) == members, "a queue span names a batch that does not link it"
    assert unsampled is None or left_out == unsampled, f"{left_out} members were left out"
    batches_of = defaultdict[str, set[str]](set)
    for span in references:
        batches_of[span.trace_id].add(str(span.attributes[names.BATCH_TRACE_ID]))
    for span in spans:
        if names.COPY_OF in span.attributes:
            _check_copy(span, by_id, batches_of[span.trace_id])


def _check_batch(batch: Span, queues: Sequence[Span]) -> None:
    size = _int(batch, names.BATCH_SIZE)
    assert 1 <= len(queues) <= size, f"{len(queues)} links of {batch}"
    assert size > 1, f"a batch of one has no trace of its own: {batch}"
    positions = [queue.attributes[names.BATCH_POSITION] for queue in queues]
    assert len(set(positions)) == len(positions), f"positions {positions} of {batch}"
    assert set(positions) <= set(range(size)), f"positions {positions} of {batch}"
    for queue, link in zip(queues, batch.links, strict=True):
        assert queue.name == names.QUEUE, queue
        if names.LINK_POSITION in link.attributes:  # a reference over UDP says no more
            assert link.attributes[names.LINK_POSITION] == queue.attributes[names.BATCH_POSITION]
        said = {name: queue.attributes.get(name) for name in _OF_BATCH}
        assert said == {
            names.BATCH_TRACE_ID: batch.trace_id,
            names.BATCH_SPAN_ID: batch.span_id,
            names.BATCH_SIZE: size,
            names.RELEASE_REASON: batch.attributes[names.RELEASE_REASON],
        }, queue


_OF_BATCH = (names.BATCH_TRACE_ID, names.BATCH_SPAN_ID, names.BATCH_SIZE, names.RELEASE_REASON)


def _check_copy(
    copy: Span, by_id: Mapping[tuple[str, str], Span], batches: Collection[str]
) -> None:
    origin_id = copy.attributes[names.COPY_OF]
    found = [by_id[key] for trace_id in batches if (key := (trace_id, str(origin_id))) in by_id]
    assert len(found) == 1, f"a copy of {len(found)} spans: {copy}"
    assert found[0].name == copy.name, f"{copy} is no copy of {found[0]}"
    assert found[0].start_ns == copy.start_ns, f"{copy} is no copy of {found[0]}"
    assert copy.span_id != origin_id, copy


def _int(span: Span, name: str) -> int:
    value = span.attributes[name]
    assert isinstance(value, int), span
    return value


def check_all(spans: Sequence[Span], *, remote_parents: Mapping[str, str] | None = None) -> None:
    """Assert the rules of every trace and of all batches; remote parents by trace id."""
    for trace_id, each in traces(spans).items():
        check_trace(each, remote_parent=(remote_parents or {}).get(trace_id))
    check_batches(spans)
