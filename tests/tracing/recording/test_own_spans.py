"""What one tracer does to its spans is not seen by any other."""

import operator
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from spanserve import Resource, Span, Spans, SpanStart, hookimpl, span
from spanserve.tracing.model.span import NO_ATTRIBUTES
from spanserve.tracing.scope import entered
from spanserve.tracing.tracing import Tracing
from support.gate import answered, begun, gate, queued, released, run
from support.serving import until

WAIT_S = 10


def mappings(spans: Sequence[Span | SpanStart]) -> Iterator[Any]:
    """Yield all that says something of these spans, in columns too."""
    if isinstance(spans, Spans):
        for column in (column for block in spans.blocks for column in block):
            yield from column.common
    for each in spans:
        yield each.attributes
        yield from (link.attributes for link in each.links)
        if isinstance(each, Span):
            yield from (event.attributes for event in each.events)


class Vandal:
    """Writes into all that it can."""

    def spoil(self, spans: Sequence[Span | SpanStart]) -> None:
        for mapping in mappings(spans):
            try:
                mapping["spoilt"] = True
            except TypeError:
                assert mapping is NO_ATTRIBUTES

    @hookimpl
    def tracer_started(self, resource: Resource) -> None:
        resource.attributes["spoilt"] = True  # type: ignore[index]  # that is its crime

    @hookimpl
    def export_spans(self, spans: Sequence[Span]) -> None:
        self.spoil(spans)


class LiveVandal(Vandal):
    """Does so at once, too."""

    @hookimpl
    def span_started(self, start: SpanStart) -> None:
        self.spoil([start])

    @hookimpl
    def span_ended(self, span: Span) -> None:
        self.spoil([span])


class Witness:
    """Keeps what it was shown."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    @hookimpl
    def tracer_started(self, resource: Resource) -> None:
        self.seen.append(resource.attributes)

    @hookimpl
    def export_spans(self, spans: Sequence[Span]) -> None:
        self.seen += mappings(spans)


class LiveWitness(Witness):
    """Is shown everything at once, too."""

    @hookimpl
    def span_started(self, start: SpanStart) -> None:
        self.seen += mappings([start])

    @hookimpl
    def span_ended(self, span: Span) -> None:
        self.seen += mappings([span])


def serve(tracing: Tracing) -> None:
    """Answer requests in batches, of one and of several, with custom spans in their runs."""
    for size in (1, 3):
        records = [begun(tracing) for _ in range(size)]
        batch = released(tracing, [queued(tracing, each) for each in records])
        with entered(tracing.scope(batch, 0)), span("custom", colour="red"), span("plain"):
            pass
        run(tracing, batch)
        for each in records:
            answered(tracing, each)


@pytest.mark.parametrize("live", [False, True])
def test_no_tracer_sees_what_another_wrote_into_its_spans(*, live: bool) -> None:
    witnesses = (LiveWitness(), LiveWitness()) if live else (Witness(), Witness())
    vandal = LiveVandal() if live else Vandal()
    tracing = gate(witnesses[0], vandal, witnesses[1], queue={"flush_interval_ms": 1})
    tracing.start()
    for _ in range(2):  # what was remembered of the first round is not spoilt either
        serve(tracing)
        for exporter in tracing.exporters:
            assert until(lambda: not exporter.waiting_spans, WAIT_S)  # noqa: B023  # at once
    tracing.stop(WAIT_S)
    assert all(len(witness.seen) > 50 for witness in witnesses)
    assert [each for witness in witnesses for each in witness.seen if "spoilt" in each] == []
    assert tracing.live_failures == {}


def test_nobody_can_add_to_what_is_said_of_nothing() -> None:
    nothing: Any = NO_ATTRIBUTES
    for change in (
        lambda: nothing.update(a=1),
        lambda: nothing.setdefault("a", 1),
        lambda: operator.setitem(nothing, "a", 1),
    ):
        with pytest.raises(TypeError, match="take a dict of your own"):
            change()
    assert nothing == {}
