"""Spans of code that goes on by itself: each is kept, with its own times and its own parent."""

import asyncio
import contextvars
import json
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar

import httpx
import numpy as np
import pytest
from fastapi import BackgroundTasks, FastAPI
from opentelemetry import trace

from spanserve import Span, Spans, TraceIds, api, current_trace, outgoing_headers, service, span
from spanserve.tracing.expansion.expand import Expander
from spanserve.tracing.export.outcome import Drop
from spanserve.tracing.model import names
from spanserve.tracing.model.ids import RUN
from spanserve.tracing.plugins.registry import load_plugin
from spanserve.tracing.recording.base import MAX_CUSTOM_SPANS, Record
from spanserve.tracing.recording.completion import Completion
from spanserve.tracing.recording.late import MAX_OPEN
from spanserve.tracing.recording.record import BatchRecord, RequestRecord
from spanserve.tracing.recording.table import LATE, REQUEST, Table
from spanserve.tracing.scope import entered
from support.backends import SINKS, backend
from support.gate import (
    Sent,
    Watch,
    answered,
    begin_run,
    begun,
    end_run,
    gate,
    queued,
    released,
)
from support.query_formats import from_zipkin
from support.serving import Serving, serving, subprocess_server, until
from support.traces import Keeps, Tree, check_all, named, one, tree
from support.zipkin_sink import ZipkinSink

tracer = trace.get_tracer("late")
Opens = Callable[[str], AbstractContextManager[object]]
OPENS: dict[str, Opens] = {"spanserve": span, "opentelemetry": tracer.start_as_current_span}
PATIENCE_S = 20
THREADS = 4


@pytest.fixture(params=list(OPENS))
def opens(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Opens:
    monkeypatch.setattr(Lasting, "opens", staticmethod(OPENS[request.param]))
    return OPENS[request.param]


class Course:
    """What the test and the service's code tell each other, and the ids that were given out."""

    def __init__(self) -> None:
        self.begun, self.go, self.over = (threading.Event() for _ in range(3))
        self.given: list[TraceIds] = []
        self.called: list[str] = []

    def note(self) -> None:
        """Ask for the ids of here, and for the headers of a call."""
        ids = current_trace()
        assert ids is not None
        self.given.append(ids)
        self.called.append(outgoing_headers()["traceparent"].split("-")[2])


@service
class Lasting:
    """Begins work in every kind of code that goes on after the answer."""

    opens: Opens = staticmethod(span)
    course = Course()
    kept_tasks: set[asyncio.Task[None]]

    def __init__(self) -> None:
        self.kept_tasks = set()

    @classmethod
    def work(cls) -> None:
        course = cls.course
        course.note()
        with cls.opens("long"):
            course.note()
            course.begun.set()
            assert course.go.wait(PATIENCE_S)
            with cls.opens("inner"):
                course.note()
        with cls.opens("next"):
            course.note()
        course.note()
        course.over.set()

    @classmethod
    async def work_on_the_loop(cls) -> None:
        course = cls.course
        with cls.opens("long"):
            course.note()
            course.begun.set()
            assert await asyncio.to_thread(course.go.wait, PATIENCE_S)
            with cls.opens("inner"):
                course.note()
        with cls.opens("next"):
            course.note()
        course.over.set()

    def in_a_thread(self) -> None:
        threading.Thread(target=contextvars.copy_context().run, args=(self.work,)).start()
        assert self.course.begun.wait(PATIENCE_S)

    async def in_a_task(self) -> None:
        task = asyncio.create_task(self.work_on_the_loop())
        self.kept_tasks.add(task)
        await asyncio.to_thread(self.course.begun.wait, PATIENCE_S)

    @api
    async def on_the_loop(self) -> int:
        await self.in_a_task()
        return 1

    @api
    async def on_the_loop_in_a_span(self) -> int:
        with self.opens("submit"):
            await self.in_a_task()
        return 1

    @api
    def on_the_runner(self) -> int:
        self.in_a_thread()
        return 1

    @api(threads=2)
    def in_the_pool(self) -> int:
        self.in_a_thread()
        return 1

    @api
    async def streamed(self) -> AsyncIterator[str]:
        yield "a"
        await self.in_a_task()
        yield "b"

    @api(batch=True)
    def batched(self, rows: np.ndarray) -> np.ndarray:
        self.in_a_thread()
        return rows

    @api(batch=True, inline=True)
    def inline(self, rows: np.ndarray) -> np.ndarray:
        self.in_a_thread()
        return rows

    @classmethod
    def configure_app(cls, app: FastAPI) -> None:
        @app.post("/of_the_users")
        async def route() -> int:
            threading.Thread(target=contextvars.copy_context().run, args=(cls.work,)).start()
            await asyncio.to_thread(cls.course.begun.wait, PATIENCE_S)
            return 1

        @app.post("/background")
        async def background(tasks: BackgroundTasks) -> int:
            tasks.add_task(cls.work)
            cls.course.go.set()
            return 1


@pytest.fixture
def fast_switching() -> Iterator[None]:
    """Let threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.fixture
def course(monkeypatch: pytest.MonkeyPatch) -> Course:
    fresh = Course()
    monkeypatch.setattr(Lasting, "course", fresh)
    return fresh


def until_over(course: Course) -> None:
    course.go.set()
    assert course.over.wait(PATIENCE_S)


def asked(server: Serving, route: str) -> None:
    body: object = 1 if route in {"/batched", "/inline"} else {}
    httpx.post(f"{server.url}{route}", json=body).raise_for_status()


def counts(server: Serving) -> dict[str, int]:
    """Return where all spans are that were recorded; they add up to that."""
    (exporter,) = server.tracing.exporters
    dropped = exporter.counters.dropped
    found = {
        "recorded": exporter.recorded_spans,
        "delivered": exporter.counters.delivered,
        "waiting": exporter.waiting_spans,
        **{why.value: lost for why, lost in dropped.items() if lost},
    }
    assert found["recorded"] == sum(found.values()) - found["recorded"], found
    return found


AFTERWARDS: Tree = {"long": {"inner": {}}, "next": {}}
ROUTES: dict[str, Tree] = {
    "/on_the_loop": {"run": AFTERWARDS},
    "/on_the_loop_in_a_span": {"run": {"submit": AFTERWARDS}},
    "/on_the_runner": {"run": AFTERWARDS},
    "/in_the_pool": {"run": AFTERWARDS},
    "/streamed": {"run": AFTERWARDS},
    "/batched": {"run": AFTERWARDS},
    "/inline": {"run": AFTERWARDS},
    "/of_the_users": AFTERWARDS,
}


@pytest.mark.parametrize("route", list(ROUTES))
@pytest.mark.usefixtures("opens")
def test_what_ends_or_begins_after_the_answer_follows_in_its_place(
    route: str, course: Course
) -> None:
    kept = Keeps()
    with serving(Lasting, tracers=[("kept", kept, {})]) as server:
        asked(server, route)
        assert until(lambda: named(f"POST {route}", kept.spans))
        assert named("long", kept.spans) == []
        until_over(course)
        assert until(lambda: named("next", kept.spans))
    check_all(kept.spans)
    found = tree(kept.spans)[f"POST {route}"]
    expected = ROUTES[route]
    assert {name: found[name] for name in expected} == expected
    assert {each.name for each in kept.spans if names.LATE in each.attributes} == {
        *("long", "inner", "next")
    }
    assert not any(names.UNFINISHED in each.attributes for each in kept.spans)
    assert one("long", kept.spans).end_ns >= one("inner", kept.spans).end_ns
    ids_are_of(kept.spans, course)
    assert counts(server) == {"recorded": len(kept.spans), "delivered": len(kept.spans)} | {
        "waiting": 0
    }


def ids_are_of(spans: Sequence[Span], course: Course) -> None:
    """Assert that each id that was given out is that of a span that was exported."""
    ids = {(each.trace_id, each.span_id) for each in spans}
    assert {(each.trace_id, each.span_id) for each in course.given} <= ids
    assert set(course.called) <= {each.span_id for each in spans}


@pytest.mark.usefixtures("opens")
def test_a_background_task_s_spans_are_in_the_request_s_trace(course: Course) -> None:
    kept = Keeps()
    with serving(Lasting, tracers=[("kept", kept, {})]) as server:
        asked(server, "/background")
        assert course.over.wait(PATIENCE_S)
    check_all(kept.spans)
    assert tree(kept.spans) == {"POST /background": AFTERWARDS}
    ids_are_of(kept.spans, course)


@pytest.mark.usefixtures("opens")
def test_at_a_stop_what_is_open_goes_out_as_it_is(course: Course) -> None:
    kept = Keeps()
    with serving(Lasting, tracers=[("kept", kept, {})]) as server:
        asked(server, "/on_the_runner")
    until_over(course)
    check_all(kept.spans)
    said = one("long", kept.spans).attributes
    assert (said[names.LATE], said[names.UNFINISHED]) == (True, True)
    assert named("inner", kept.spans) == named("next", kept.spans) == []
    found = counts(server)
    # What began after the stop is counted, and goes nowhere.
    assert found["late"] == 2
    assert found["delivered"] == len(kept.spans)


SAMPLING: dict[str, tuple[dict[str, Any], set[str]]] = {
    "not sampled": ({"sample_rate": 0}, set()),
    "kept, as slow": ({"sample_rate": 0, "keep": {"slower_than_ms": 0.001}}, {"long", "next"}),
    "not kept": ({"sample_rate": 0, "keep": {"errors": True}}, set()),
}


@pytest.mark.parametrize("rules", list(SAMPLING))
@pytest.mark.parametrize("route", ["/on_the_runner", "/batched"])
@pytest.mark.usefixtures("opens")
def test_late_spans_are_kept_as_their_traces_are(route: str, rules: str, course: Course) -> None:
    config, expected = SAMPLING[rules]
    kept = Keeps()
    with serving(Lasting, {"tracing": config}, tracers=[("kept", kept, {})]) as server:
        asked(server, route)
        until_over(course)
    assert {each.name for each in kept.spans} >= expected
    assert bool(kept.spans) == bool(expected)
    assert counts(server)["recorded"] == len(kept.spans)


def test_beyond_the_bound_of_a_trace_they_are_counted_and_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    over = threading.Event()
    ids: list[TraceIds | None] = []

    @service
    class Many:
        @api
        def ask(self) -> int:
            answered = threading.Event()

            def work() -> None:
                assert answered.wait(PATIENCE_S)
                for _ in range(MAX_CUSTOM_SPANS + 50):
                    with span("many"):
                        ids.append(current_trace())
                over.set()

            threading.Thread(target=contextvars.copy_context().run, args=(work,)).start()
            self.answered = answered
            return 1

        @api
        def go(self) -> int:
            self.answered.set()
            return 1

    kept = Keeps()
    with serving(Many, tracers=[("kept", kept, {})]) as server:
        httpx.post(f"{server.url}/ask").raise_for_status()
        assert until(lambda: named("POST /ask", kept.spans))
        httpx.post(f"{server.url}/go").raise_for_status()
        assert over.wait(PATIENCE_S)
        metrics = server.metrics()
        assert metrics['spanserve_spans_dropped_total{reason="late",tracer="kept"}'] == 50
    check_all(kept.spans)
    assert len(named("many", kept.spans)) == MAX_CUSTOM_SPANS
    assert counts(server)["late"] == 50
    said = (
        f"spans of trace {one('POST /ask', kept.spans).trace_id} are dropped, and counted as late:"
        " it has more than 1000 custom spans, or left more than 3600 s ago; this is said once"
    )
    assert [r.message for r in caplog.records if "counted as late" in r.message] == [said]
    exported = {each.span_id for each in kept.spans}
    assert {each.span_id for each in ids if each is not None} <= exported


@service
class Concurrent:
    """Spans that need not lie within each other."""

    opens: Opens = staticmethod(span)

    @api
    async def tasks_after_their_span(self) -> int:
        async def step(number: int) -> None:
            with self.opens(f"step {number}"):
                await asyncio.sleep(0.01)
            with self.opens(f"then {number}"):
                await asyncio.sleep(0)

        with self.opens("submit"):
            tasks = [asyncio.create_task(step(number)) for number in range(2)]
        await asyncio.gather(*tasks)
        return 1

    @api
    def a_pool_after_its_span(self) -> int:
        def step(number: int) -> None:
            with self.opens(f"step {number}"), self.opens("inner"):
                pass

        with ThreadPoolExecutor(2) as pool:
            with self.opens("submit"):
                contexts = [contextvars.copy_context() for _ in range(2)]
            list(pool.map(lambda n: contexts[n].run(step, n), range(2)))
        return 1

    @api
    def generators_that_take_turns(self) -> int:
        def numbers(name: str, count: int) -> Iterator[int]:
            with span(name):
                yield from range(count)

        for _ in zip(numbers("short", 1), numbers("long", 2), strict=False):
            pass
        with self.opens("after"):
            return 1

    @api
    async def async_generators_that_take_turns(self) -> int:
        async def numbers(name: str, count: int) -> AsyncIterator[int]:
            with span(name):
                for number in range(count):
                    yield number

        short, long = numbers("short", 1), numbers("long", 2)
        await anext(short)
        await anext(long)
        await anext(short, None)
        await anext(long)
        await anext(long, None)
        with self.opens("after"):
            return 1

    @api
    def that_overlap(self) -> int:
        first, second = self.opens("first"), self.opens("second")
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        second.__exit__(None, None, None)
        return 1


STEPS: Tree = {f"{word} {number}": {} for word in ("step", "then") for number in range(2)}
CONCURRENT: dict[str, Tree] = {
    "/tasks_after_their_span": {"submit": STEPS},
    "/a_pool_after_its_span": {"submit": {f"step {n}": {"inner": {}} for n in range(2)}},
    "/generators_that_take_turns": {"short": {"long": {}}, "after": {}},
    "/async_generators_that_take_turns": {"short": {"long": {}}, "after": {}},
    "/that_overlap": {"first": {"second": {}}},
}


@pytest.mark.parametrize("route", list(CONCURRENT))
@pytest.mark.parametrize("kind", list(OPENS))
def test_no_span_is_lost_or_cut_for_outliving_its_parent(
    kind: str, route: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Concurrent, "opens", staticmethod(OPENS[kind]))
    kept = Keeps()
    with serving(Concurrent, tracers=[("kept", kept, {})]) as server:
        httpx.post(f"{server.url}{route}").raise_for_status()
    check_all(kept.spans)
    assert tree(kept.spans)[f"POST {route}"]["run"] == CONCURRENT[route]
    assert not any({names.LATE, names.UNFINISHED} & {*each.attributes} for each in kept.spans)
    if route == "/tasks_after_their_span":
        assert one("step 0", kept.spans).end_ns > one("submit", kept.spans).end_ns
        assert one("step 0", kept.spans).duration_ns > 5_000_000


@service
class Gathered:
    """A batch whose threads go on after it."""

    opens: Opens = staticmethod(span)
    course = Course()

    @api(batch=True, max_latency_ms=2_000)
    def predict(self, rows: np.ndarray) -> np.ndarray:
        course = self.course
        if len(rows) < 2 or course.begun.is_set():
            return rows

        def work() -> None:
            with self.opens("long"):
                course.note()
                course.begun.set()
                assert course.go.wait(PATIENCE_S)
            course.over.set()

        with self.opens("submit"):
            threading.Thread(target=contextvars.copy_context().run, args=(work,)).start()
        assert course.begun.wait(PATIENCE_S)
        return rows


def test_a_late_span_of_a_shared_batch_stands_in_the_batch_s_trace(
    opens: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    course = Course()
    monkeypatch.setattr(Gathered, "opens", staticmethod(opens))
    monkeypatch.setattr(Gathered, "course", course)
    kept = Keeps()
    with serving(Gathered, tracers=[("kept", kept, {})]) as server:
        url = f"{server.url}/predict"
        while not course.begun.is_set():
            with ThreadPoolExecutor(4) as pool:
                list(pool.map(lambda n: httpx.post(url, json=n), range(4)))
        until_over(course)
        assert until(lambda: names.LATE in [k for s in kept.spans for k in s.attributes])
    check_all(kept.spans)
    (last,) = [each for each in kept.spans if names.LATE in each.attributes]
    (batch,) = [
        each for each in kept.spans if each.trace_id == last.trace_id and each.parent_id is None
    ]
    assert batch.name == "batch /predict"
    of_batch = [each for each in kept.spans if each.trace_id == batch.trace_id]
    assert tree(of_batch)["batch /predict"]["run"] == {"submit": {"long": {}}}
    ids_are_of(kept.spans, course)
    # A member's trace says of it what there was to say when that left.
    copies = [each for each in named("long", kept.spans) if names.COPY_OF in each.attributes]
    assert all(each.attributes[names.UNFINISHED] for each in copies)
    counts(server)


class Held:
    """A batch that waits on the runner while its request is given up."""

    def __init__(self) -> None:
        self.holds, self.go = threading.Event(), threading.Event()
        self.ids: list[TraceIds | None] = []


held = Held()


@service
class Slow:
    @api
    def hold(self) -> int:
        held.holds.set()
        assert held.go.wait(PATIENCE_S)
        return 1

    @api(batch=True)
    def predict(self, rows: np.ndarray) -> np.ndarray:
        with span("mine"):
            held.ids.append(current_trace())
            held.holds.set()
            assert held.go.wait(PATIENCE_S)
        return rows

    @api
    def plain(self) -> int:
        with span("mine"):
            held.ids.append(current_trace())
            held.holds.set()
            assert held.go.wait(PATIENCE_S)
        return 1


@pytest.mark.parametrize("route", ["predict", "plain"])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_request_that_is_given_up_before_its_run_ends_keeps_the_run_s_spans(
    route: str, *, chunked: bool
) -> None:
    for event in (held.holds, held.go):
        event.clear()
    held.ids.clear()
    kept = Keeps()
    with serving(Slow, tracers=[("kept", kept, {})]) as server:
        body = b"1" if route == "predict" else b"{}"
        answer = httpx.post(
            f"{server.url}/{route}",
            content=iter([body]) if chunked else body,
            headers={"content-type": "application/json", "x-request-timeout-ms": "100"},
        )
        assert answer.status_code == 504
        assert held.holds.wait(PATIENCE_S)
        held.go.set()
        assert until(lambda: named("mine", kept.spans))
    check_all(kept.spans)
    mine = one("mine", kept.spans)
    assert mine.attributes == {names.LATE: True}
    assert [(each.trace_id, each.span_id) for each in held.ids if each] == [
        (mine.trace_id, mine.span_id)
    ]


@pytest.mark.parametrize("kind", [*SINKS, "otel"])
@pytest.mark.parametrize("exporter", ["thread", "process"])
def test_every_tracer_sends_them(
    kind: str, exporter: str, course: Course, request: pytest.FixtureRequest
) -> None:
    with backend("jaeger-otlp-http" if kind == "otel" else kind, request) as receiver:
        section = receiver.tracing
        if kind == "otel":
            options = {"endpoint": f"{section['jaeger']['endpoint']}/v1/traces"}
            section = {"type": kind, kind: {"exporter": "otlp_proto_http", "options": options}}
        name = section["type"]
        tracer = load_plugin(name).configured(section[name], {})
        config = {"tracing": {"exporter": exporter, "service_name": "late"}}
        with serving(Lasting, config, tracers=[tracer]) as server:
            asked(server, "/on_the_loop_in_a_span")
            until_over(course)
    spans = receiver.spans("late", 8)
    check_all(spans)
    (root,) = tree(spans).values()
    assert root["run"] == {"submit": AFTERWARDS}
    ids_are_of(spans, course)


async def test_threads_that_race_with_the_end_of_a_record_lose_no_span_and_double_none(
    fast_switching: None,  # noqa: ARG001
) -> None:
    kept = Keeps()
    tracing = gate(kept)
    tracing.start()
    opened: list[tuple[str, str]] = []

    def work(barrier: threading.Barrier) -> None:
        barrier.wait(PATIENCE_S)
        for _ in range(3):
            with span("mine"):
                ids = current_trace()
                assert ids is not None
                opened.append((ids.trace_id, ids.span_id))
                time.sleep(0)  # let others have their turn while it is open

    def contexts(record: RequestRecord | BatchRecord) -> list[contextvars.Context]:
        with entered(tracing.scope(record, RUN)):
            return [contextvars.copy_context() for _ in range(THREADS)]

    with ThreadPoolExecutor(THREADS) as pool:
        for turn in range(300):
            requests = [begun(tracing) for _ in range(2)]
            batch = released(tracing, [queued(tracing, record) for record in requests])
            plain = begun(tracing)
            plain.plain_run_started(tracing.now_ns())
            begin_run(tracing, batch)
            barrier = threading.Barrier(THREADS + 1)
            where = contexts(plain if turn % 2 else batch)
            done = [pool.submit(each.run, work, barrier) for each in where]
            barrier.wait(PATIENCE_S)
            for _ in range(turn % 7):
                await asyncio.sleep(0)
            end_run(tracing, batch)
            for record in (plain, *requests):
                answered(tracing, record)
            for each in done:
                await asyncio.wrap_future(each)
    await asyncio.to_thread(tracing.stop, 10)
    mine = [each for each in named("mine", kept.spans) if names.COPY_OF not in each.attributes]
    assert sorted((each.trace_id, each.span_id) for each in mine) == sorted(opened)
    check_all(kept.spans)
    lasting = [each for each in mine if names.LATE in each.attributes]
    assert 0 < len(lasting) < len(mine)  # some came first, and some later
    (exporter,) = tracing.exporters
    assert exporter.recorded_spans == exporter.counters.delivered == len(kept.spans)


def test_what_overtakes_the_end_of_its_record_goes_out_once() -> None:
    tracing = gate(Keeps())
    sent = Sent.of(tracing)
    record = begun(tracing)
    record.plain_run_started(tracing.now_ns())
    scope = tracing.scope(record, RUN)
    assert scope is not None
    before = scope.opened("begun before", tracing.now_ns(), {}).custom
    assert before is not None

    def overtaken(record: Record) -> None:
        """Do what another thread may, once the record has left and is not yet parted."""
        assert record.left_ns
        scope.closed(before, tracing.now_ns())
        within = scope.opened("begun within", tracing.now_ns(), {}).custom
        assert within is not None
        scope.closed(within, tracing.now_ns())
        scope.opened("open", tracing.now_ns(), {})
        tracing.late.left(record)

    ending = Completion(tracing.now_ns, sent.put, overtaken, include_batch_run=True)
    ending.rules = tracing.configured
    ending.request_ended(record)
    tracing.late.stop()
    assert [each[0] for each in sent] == [REQUEST, LATE]
    found = [(each.name, dict(each.attributes)) for each in made_of(sent)]
    assert [each for each in found if each[0].startswith(("begun", "open"))] == [
        ("begun before", {}),
        ("begun within", {names.LATE: True}),
        ("open", {names.LATE: True, names.UNFINISHED: True}),
    ]


class Outlives:
    """A service whose start begins what goes on."""

    told: ClassVar[list[TraceIds | None]] = []
    asks = threading.Event()
    over = threading.Event()
    opens_spans = True

    def __init__(self) -> None:
        threading.Thread(target=contextvars.copy_context().run, args=(self.work,)).start()

    def work(self) -> None:
        assert self.asks.wait(PATIENCE_S)
        if self.opens_spans:
            with span("refresh"):
                self.told.append(current_trace())
        self.told.append(current_trace())
        self.over.set()

    @api
    def ask(self) -> int:
        self.asks.set()
        return 1


@pytest.mark.parametrize("opens_spans", [True, False])
def test_code_that_outlives_the_start_stands_in_its_trace_which_is_there_from_then_on(
    monkeypatch: pytest.MonkeyPatch, *, opens_spans: bool
) -> None:
    monkeypatch.setattr(Outlives, "opens_spans", opens_spans)
    for event in (Outlives.asks, Outlives.over):
        event.clear()
    Outlives.told.clear()
    kept = Keeps()
    with serving(service(Outlives), tracers=[("kept", kept, {})]) as server:
        httpx.post(f"{server.url}/ask").raise_for_status()
        assert Outlives.over.wait(PATIENCE_S)
    check_all(kept.spans)
    (trace_id,) = {each.trace_id for each in Outlives.told if each}
    assert tree([each for each in kept.spans if each.trace_id == trace_id]) == {
        "startup Outlives": {"refresh": {}} if opens_spans else {}
    }
    exported = {each.span_id for each in kept.spans}
    assert {each.span_id for each in Outlives.told if each} <= exported
    counts(server)


def test_what_is_open_for_an_hour_after_its_trace_goes_out_as_it_is_and_no_more_is_taken() -> None:
    watch = Watch(tick_ns=1_000)
    tracing = gate(Keeps(), watch=watch)
    sent = Sent.of(tracing)
    record = begun(tracing)
    record.plain_run_started(tracing.now_ns())
    scope = tracing.scope(record, RUN)
    assert scope is not None
    inside = scope.opened("long", tracing.now_ns(), {})
    answered(tracing, record)
    watch.advance(3_599)
    in_time = scope.opened("in time", tracing.now_ns(), {})
    watch.advance(2)
    too_late = scope.opened("too late", tracing.now_ns(), {})
    assert in_time.place != scope.place == too_late.place
    tracing.late._flush()  # noqa: SLF001  # what the loop calls each second
    assert [each[0] for each in sent] == [REQUEST, LATE]
    assert sent.lost == {Drop.LATE: 1}
    (long,) = made_of(sent[1:])
    assert (long.name, dict(long.attributes)) == (
        "long",
        {names.LATE: True, names.UNFINISHED: True},
    )
    for scope_of_it, each in ((scope, inside), (scope, in_time)):
        assert each.custom is not None
        scope_of_it.closed(each.custom, tracing.now_ns())
    tracing.late.stop()
    (short,) = made_of(sent[2:])
    assert (short.name, dict(short.attributes)) == ("in time", {names.LATE: True})


def test_of_very_many_that_are_open_the_oldest_goes_out_as_it_is() -> None:
    tracing = gate(Keeps())
    sent = Sent.of(tracing)
    for first in range(0, MAX_OPEN + 3, MAX_CUSTOM_SPANS):
        record = begun(tracing)
        record.plain_run_started(tracing.now_ns())
        answered(tracing, record)
        scope = tracing.scope(record, RUN)
        assert scope is not None
        for number in range(first, min(first + MAX_CUSTOM_SPANS, MAX_OPEN + 3)):
            scope.opened(f"open {number}", tracing.now_ns(), {})
    sent.clear()
    tracing.late._flush()  # noqa: SLF001  # what the loop calls
    assert [each.name for each in made_of(sent)] == [f"open {number}" for number in range(3)]
    sent.clear()
    tracing.late.stop()
    assert [each.name for each in made_of(sent)] == [
        f"open {number}" for number in range(3, MAX_OPEN + 3)
    ]


def made_of(sent: Sequence[Table]) -> list[Span]:
    expander = Expander(batch_spans="full", exceptions="full")
    return [*Spans(expander.blocks(sent, 0))]


GOES_ON = """
import asyncio
from spanserve import api, service, span

@service
class GoesOn:
    @api
    async def ask(self) -> int:
        self.task = asyncio.create_task(self.work())
        while not hasattr(self, "began"):
            await asyncio.sleep(0)
        return 1

    async def work(self) -> None:
        with span("short"):
            self.began = True
            await asyncio.sleep(0.1)
        with span("long"):
            await asyncio.Event().wait()
"""


def test_a_server_that_is_stopped_sends_what_was_open_through_its_exporter_s_process(
    tmp_path: Path,
) -> None:
    (tmp_path / "goes_on.py").write_text(GOES_ON)
    config = tmp_path / "config.json"
    with ZipkinSink() as sink:
        config.write_text(json.dumps({"tracing": {"type": "zipkin", "zipkin": {"url": sink.url}}}))
        target = f"{tmp_path / 'goes_on.py'}:GoesOn"
        with subprocess_server(target, "--config", str(config)) as server:
            httpx.post(f"{server.url}/ask").raise_for_status()
            assert until(lambda: "short" in {each["name"] for each in sink.spans})
            assert server.stop(signal.SIGTERM) == 0
        assert sink.violations == []
        spans = [from_zipkin(each) for each in sink.spans]
    check_all(spans)
    assert tree(spans)["post /ask"]["run"] == {"short": {}, "long": {}}
    marks = {names.LATE: "true", names.UNFINISHED: "true"}
    assert {**one("long", spans).attributes}.items() >= marks.items()
    assert names.UNFINISHED not in one("short", spans).attributes
    assert "lost" not in server.text()
