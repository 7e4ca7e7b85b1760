"""Long work yields the CPU between its steps."""

import sys
import threading
from collections.abc import Callable, Iterator, Sequence

import pytest

from spanserve import Resource, Span, Spans, breathe, checkpoint, hookimpl
from spanserve.tracing.expansion.expand import Expander
from spanserve.tracing.export.checkpoint import hear_signs
from spanserve.tracing.recording.table import TABLE
from spanserve_jaeger.packets import PacketEncoder
from spanserve_zipkin.encode import Encoder
from support.gate import Sent, gate, ran, released
from support.leans import Call, Lean

RESOURCE = Resource("test", {"service.name": "test"})


def test_whoever_waits_for_the_interpreter_gets_it() -> None:
    interval_s = sys.getswitchinterval()
    go_on, went_on = threading.Lock(), threading.Event()
    go_on.acquire()

    def waiting() -> None:
        with go_on:
            went_on.set()

    other = threading.Thread(target=waiting)
    other.start()
    sys.setswitchinterval(1_000)  # nobody is made to let go of it
    try:
        go_on.release()
        signs = 0
        while not went_on.is_set() and signs < 1_000_000:
            checkpoint()
            signs += 1
    finally:
        sys.setswitchinterval(interval_s)
    other.join()
    assert 0 < signs < 1_000_000


class Quiet:
    """A tracer that does nothing with its spans."""

    @hookimpl
    def export_spans(self, spans: Sequence[Span]) -> None:
        """Forget them."""


@pytest.fixture
def steps() -> Iterator[list[float]]:
    """Give a list that grows at each checkpoint."""
    signs: list[float] = []
    hear_signs(signs.append)
    yield signs
    hear_signs(None)


def spans_of_a_batch(steps: list[float]) -> tuple[Spans, int]:
    """Return the spans of a batch of two as columns, and in how many steps they were made."""
    tracing = gate(Quiet())
    sent = Sent.of(tracing)
    leans = [Lean(tracing, Call(("", ""), "", b"curl", "", 5555, fails=False)) for _ in range(2)]
    items = [lean.own for lean in leans]
    batch = released(tracing, items)
    ran(tracing, batch)
    for lean in leans:
        lean.answer(fails=False)
    tracing.answered(batch, items)
    expander = Expander(batch_spans="full", exceptions="full", checkpoint=checkpoint)
    assert [record[0] for record in sent] == [TABLE]
    before = len(steps)
    return Spans(expander.blocks(sent, 0)), len(steps) - before


@pytest.mark.parametrize(
    "export",
    [
        lambda spans: Encoder(RESOURCE).encode(spans),
        lambda spans: PacketEncoder(RESOURCE).encode(spans),
    ],
    ids=["zipkin", "jaeger"],
)
def test_columns_are_made_and_written_one_in_a_step(
    steps: list[float], export: Callable[[Spans], object]
) -> None:
    spans, made = spans_of_a_batch(steps)
    columns = sum(map(len, spans.blocks))
    assert made >= columns - 1  # the requests' own column is made with the first of their parts
    before = len(steps)
    assert export(spans)
    assert len(steps) - before >= columns


def test_the_name_of_spanserve_0_1_still_works_and_says_how_it_is_called_now(
    steps: list[float],
) -> None:
    with pytest.warns(DeprecationWarning, match=r"called checkpoint\(\) now"):
        breathe()
    assert len(steps) == 1
