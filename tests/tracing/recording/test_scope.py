"""What the service's own code says and learns: spans, ids, headers, in every kind of code."""

import asyncio
import contextvars
import enum
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Self

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanserve import Span, TraceIds, current_trace, outgoing_headers, span
from spanserve.tracing.model.attributes import MAX_ELEMENTS, MAX_TEXT_CHARS, plain_value
from spanserve.tracing.model.ids import RUN, item_place
from spanserve.tracing.recording.record import RequestRecord
from spanserve.tracing.scope import MAX_EVENTS, entered
from spanserve.tracing.tracing import Tracing
from support.gate import answered, begun, gate, queued, released
from support.traces import Keeps, check_trace, one, tree


class Call:
    """A plain call of a method: enters the scope, and gives the spans when it is over."""

    def __init__(self, headers: dict[str, str] | None = None) -> None:
        self.keeps = Keeps()
        self.tracing: Tracing = gate(self.keeps)
        self.record: RequestRecord = begun(self.tracing, headers)
        self.record.plain_run_started(self.tracing.now_ns())
        self._scope = entered(self.tracing.scope(self.record, RUN))

    def __enter__(self) -> Self:
        self._scope.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._scope.__exit__(None, None, None)
        self.record.plain_run_ended(self.tracing.now_ns())
        answered(self.tracing, self.record)
        self.tracing.start()
        self.tracing.stop(10)
        if self.keeps.spans:
            check_trace(self.keeps.spans)

    def tree(self) -> dict[str, Any]:
        """Return what is below the run."""
        run: dict[str, Any] = tree(self.keeps.spans)["POST /predict"]["run"]
        return run

    def span(self, name: str) -> Span:
        return one(name, self.keeps.spans)


def test_spans_nest_as_their_blocks_do() -> None:
    with Call() as call:
        with span("outer", rows=64), span("inner"):
            pass
        with span("next"):
            pass
    assert call.tree() == {"outer": {"inner": {}}, "next": {}}
    assert call.span("outer").attributes == {"rows": 64}


def test_a_handle_adds_attributes_and_events() -> None:
    with Call() as call, span("s", a=1) as handle:
        handle.set(a=2, b=np.float32(0.5))
        handle.event("half", done=32)
    found = call.span("s")
    assert found.attributes == {"a": 2, "b": 0.5}
    assert [(event.name, event.attributes) for event in found.events] == [("half", {"done": 32})]


def test_an_exception_marks_every_span_it_leaves_and_goes_on() -> None:
    def failing() -> None:
        with span("outer"), span("inner"):
            raise KeyError("k")

    with Call() as call, pytest.raises(KeyError):
        failing()
    assert [call.span(name).attributes for name in ("outer", "inner")] == (
        [{"error.type": "KeyError"}] * 2
    )
    assert [event.name for event in call.span("inner").events] == ["exception"]


def test_a_handled_exception_is_recorded_by_hand() -> None:
    with Call() as call, span("s") as handle:
        try:
            int("x")
        except ValueError as error:
            handle.record_exception(error)
    assert call.span("s").error == "invalid literal for int() with base 10: 'x'"


def test_leaving_by_a_cancellation_is_no_failure() -> None:
    def cancelled() -> None:
        with span("s"):
            raise asyncio.CancelledError

    with Call() as call, pytest.raises(asyncio.CancelledError):
        cancelled()
    assert call.span("s").error is None


def test_a_decorated_function_is_a_span_each_time() -> None:
    @span("twice", kind="sync")
    def doubled(value: int) -> int:
        return value * 2

    with Call() as call:
        assert [doubled(1), doubled(2)] == [2, 4]
    assert call.tree() == {"twice": {}, "twice #2": {}}
    assert doubled.__name__ == "doubled"


async def test_a_decorated_coroutine_is_a_span_until_it_returns() -> None:
    @span("outer")
    async def outer() -> str:
        await asyncio.sleep(0)
        with span("inner"):
            await asyncio.sleep(0)
        return "done"

    with Call() as call:
        assert await outer() == "done"
    assert call.tree() == {"outer": {"inner": {}}}


async def test_concurrent_tasks_do_not_nest_in_each_other() -> None:
    async def work(name: str) -> None:
        with span(name):
            await asyncio.sleep(0)
            with span(f"in {name}"):
                await asyncio.sleep(0)

    with Call() as call:
        await asyncio.gather(work("a"), work("b"))
    assert call.tree() == {"a": {"in a": {}}, "b": {"in b": {}}}


def test_a_decorated_generator_is_a_span_while_it_runs() -> None:
    @span("rows")
    def rows() -> Iterator[int]:
        for number in range(2):
            with span("row"):
                yield number

    with Call() as call:
        assert list(rows()) == [0, 1]
    assert call.tree() == {"rows": {"row": {}, "row #2": {}}}


async def test_a_decorated_async_generator_is_a_span_while_it_runs() -> None:
    @span("rows")
    async def rows() -> AsyncIterator[int]:
        for number in range(2):
            with span("row"):
                yield number

    with Call() as call:
        assert [number async for number in rows()] == [0, 1]
    assert call.tree() == {"rows": {"row": {}, "row #2": {}}}


def test_a_generator_closed_in_another_context_does_no_harm() -> None:
    def rows() -> Iterator[int]:
        with span("rows"):
            yield 1
            yield 2

    with Call() as call:
        generator = rows()
        contextvars.copy_context().run(next, generator)
        generator.close()  # type: ignore[attr-defined]  # an Iterator to its users
        with span("after"):
            pass
    assert call.tree() == {"rows": {}, "after": {}}


def test_outside_any_scope_everything_works_and_says_nothing() -> None:
    with span("s", a=1) as handle:
        handle.set(b=2)
        handle.event("e")
        handle.record_exception(ValueError("v"))
    assert (current_trace(), outgoing_headers()) == (None, {})


def test_an_unsampled_request_has_ids_and_headers_but_no_spans() -> None:
    with Call({"b3": "0"}) as call, span("s") as handle:
        handle.set(a=1)
        ids = TraceIds(call.record.trace_id, call.record.span_id(RUN), sampled=False)
        assert current_trace() == ids
        assert outgoing_headers() == {"traceparent": f"00-{ids.trace_id}-{ids.span_id}-00"}
    assert (call.keeps.spans, call.record.custom_spans) == ([], ())


def test_the_current_trace_is_that_of_the_innermost_span() -> None:
    with Call() as call:
        in_run = current_trace()
        with span("s"):
            inside = current_trace()
            headers = outgoing_headers()
        assert current_trace() == in_run
    assert in_run == (call.record.trace_id, call.span("run").span_id, True)
    assert inside == (call.record.trace_id, call.span("s").span_id, True)
    assert headers == {"traceparent": f"00-{call.record.trace_id}-{call.span('s').span_id}-01"}


def test_in_a_batch_of_several_a_call_joins_the_batch_s_trace() -> None:
    tracing = gate(Keeps())
    batch = released(tracing, [queued(tracing, begun(tracing)) for _ in range(2)])
    with entered(tracing.scope(batch, RUN)):
        assert current_trace() == (batch.trace_id, batch.span_id(RUN), True)
        assert outgoing_headers() == {"traceparent": f"00-{batch.trace_id}-{batch.span_id(RUN)}-01"}


def test_in_a_batch_of_one_a_call_joins_the_request_s_trace() -> None:
    tracing = gate(Keeps())
    record = begun(tracing)
    item = queued(tracing, record)
    place = item_place(item.index, RUN)
    with entered(tracing.scope(record, place)):
        assert current_trace() == (record.trace_id, record.span_id(place), True)


def test_a_thread_with_a_copied_context_adds_its_spans_and_one_without_does_not() -> None:
    def work(name: str) -> None:
        with span(name):
            pass

    with Call() as call, span("outer"):
        context = contextvars.copy_context()
        threads = [
            threading.Thread(target=context.run, args=(work, "with")),
            threading.Thread(target=work, args=("without",)),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert call.tree() == {"outer": {"with": {}}}


def test_many_threads_lose_no_span_and_share_no_id() -> None:
    def work() -> None:
        for _ in range(50):
            with span("s"):
                pass

    with Call() as call:
        threads = [
            threading.Thread(target=contextvars.copy_context().run, args=(work,)) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(call.tree()) == 400


def test_events_past_the_bound_are_left_out() -> None:
    with Call() as call, span("s") as handle:
        for number in range(MAX_EVENTS + 5):
            handle.event("e", n=number)
    assert len(call.span("s").events) == MAX_EVENTS


def test_a_name_of_any_kind_is_a_text() -> None:
    odd: Any = 5
    with Call() as call, span(odd), span("\ud800" * 5_000):
        pass
    assert call.tree() == {"5": {"?" * MAX_TEXT_CHARS: {}}}


class Colour(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    HIGH = 3


class Word(enum.StrEnum):
    HELLO = "hello"


class Mute:
    def __str__(self) -> str:
        raise RuntimeError("no")


class Trap:
    def __getattr__(self, name: str) -> object:
        raise RuntimeError(f"no {name}")

    def __str__(self) -> str:
        return "a trap"


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        ("text", "text"),
        (True, True),
        (7, 7),
        (2.5, 2.5),
        (None, "None"),
        (np.float32(0.5), 0.5),
        (np.int64(9), 9),
        (np.bool_(1), True),
        (np.str_("s"), "s"),
        (np.array(3), 3),
        (np.array([1, 2]), "[1 2]"),
        ([1, "a", np.int8(2)], (1, "a", 2)),
        ((1.5, None), (1.5, "None")),
        ([[1], {}], ("[1]", "{}")),
        ({"a": 1}, "{'a': 1}"),
        (Colour.RED, "Colour.RED"),
        (Level.HIGH, 3),
        (Word.HELLO, "hello"),
        (b"bytes", "b'bytes'"),
        (1 + 2j, "(1+2j)"),
        (2**63 - 1, 2**63 - 1),
        (2**63, str(2**63)),
        (-(2**63), -(2**63)),
        (10**5_000, "<int without text>"),
        ("x" * 9_999, "x" * MAX_TEXT_CHARS),
        (list(range(999)), tuple(range(MAX_ELEMENTS))),
        ("\ud800é", "?é"),
        (Mute(), "<Mute without text>"),
        (Trap(), "a trap"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_attributes_are_made_plain(value: object, plain: object) -> None:
    made = plain_value(value)
    assert (made, type(made)) == (plain, type(plain))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_value_is_made_of_plain_scalars_that_can_be_encoded(value: object) -> None:
    made = plain_value(value)
    scalars = made if isinstance(made, tuple) else (made,)
    assert {type(scalar) for scalar in scalars} <= {str, bool, int, float}
    repr(made).encode()
    assert all(len(scalar) <= MAX_TEXT_CHARS for scalar in scalars if isinstance(scalar, str))


def test_what_a_caller_does_with_its_list_later_changes_nothing() -> None:
    rows = [1, 2]
    with Call() as call, span("s", rows=rows):
        rows.append(3)
    assert call.span("s").attributes == {"rows": (1, 2)}


@pytest.mark.parametrize("decorate", [span("s"), span("s", a=1)])
def test_one_decorator_may_be_used_on_several_functions(
    decorate: Callable[[Callable[[], int]], Callable[[], int]],
) -> None:
    one_, two = decorate(lambda: 1), decorate(lambda: 2)
    with Call() as call:
        assert (one_(), two()) == (1, 2)
    assert call.tree() == {"s": {}, "s #2": {}}
