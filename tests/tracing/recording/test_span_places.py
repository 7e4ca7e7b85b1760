"""Where spans of the service's own code lie: with both APIs, in every kind of code."""

import asyncio
import contextvars
import json
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from opentelemetry import propagate, trace
from opentelemetry.trace import (
    Link,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    TraceState,
)

from spanserve import Link as SpanLink
from spanserve import Span, api, current_trace, service, span
from spanserve import SpanKind as Kind
from spanserve.tracing.model import names
from spanserve.tracing.model.clock import Clock
from support.serving import Serving, serving, until
from support.traces import Keeps, Tree, check_all, one, tree

tracer = trace.get_tracer("places", "1.5")  # as libraries do, before anything is configured

Opens = Callable[[str], AbstractContextManager[object]]
ELSEWHERE = SpanContext(5, 7, is_remote=True, trace_flags=TraceFlags(1))
OPENS: dict[str, Opens] = {"spanserve": span, "opentelemetry": tracer.start_as_current_span}


@pytest.fixture(params=list(OPENS))
def opens(request: pytest.FixtureRequest) -> Opens:
    return OPENS[request.param]


@service
class Places:
    """Opens spans in every kind of code, with what the test says."""

    opens: Opens = staticmethod(span)
    inner: Opens = staticmethod(span)

    def __init__(self) -> None:
        self.pool = ThreadPoolExecutor(2)

    def close(self) -> None:
        self.pool.shutdown()

    @api
    async def on_the_loop(self) -> int:
        with self.opens("outer"):
            await asyncio.sleep(0)
            with self.inner("inner"):
                return 1

    @api
    async def in_tasks(self) -> int:
        async def work(name: str) -> None:
            with self.opens(name):
                await asyncio.sleep(0)
                with self.inner(f"{name}'s"):
                    await asyncio.sleep(0)

        with self.opens("outer"):
            await asyncio.gather(work("a"), work("b"))
        return 1

    @api
    def on_the_runner(self) -> int:
        with self.opens("outer"), self.inner("inner"):
            return 1

    @api(threads=2)
    def in_the_pool(self) -> int:
        with self.opens("outer"), self.inner("inner"):
            return 1

    @api
    def in_own_threads(self) -> int:
        def work() -> None:
            with self.inner("inner"):
                pass

        with self.opens("outer"):
            self.pool.submit(contextvars.copy_context().run, work).result()
            thread = threading.Thread(target=contextvars.copy_context().run, args=(work,))
            thread.start()
            thread.join()
        return 1

    @api
    async def in_a_worker_thread(self) -> int:
        def work() -> None:
            with self.inner("inner"):
                pass

        with self.opens("outer"):
            await asyncio.to_thread(work)
        return 1

    @api
    def in_a_generator(self) -> int:
        def numbers() -> Iterator[int]:
            with self.opens("generator"):
                yield 1
                with self.inner("inner"):
                    yield 2

        return sum(numbers())

    @api
    async def streamed(self) -> AsyncIterator[str]:
        with self.opens("outer"):
            yield "a"
            with self.inner("inner"):
                yield "b"

    @api(batch=True)
    def batched(self, rows: np.ndarray) -> np.ndarray:
        with self.opens("outer"):
            with self.inner("inner"):
                pass
            return rows

    @api(batch=True, inline=True)
    def inline(self, rows: np.ndarray) -> np.ndarray:
        with self.opens("outer"), self.inner("inner"):
            return rows

    @classmethod
    def configure_app(cls, app: FastAPI) -> None:
        @app.get("/of-the-users")
        async def route() -> int:
            with cls.opens("outer"), cls.inner("inner"):
                return 1


NESTED: Tree = {"outer": {"inner": {}}}
IN_RUNS: dict[str, Tree] = {
    "/on_the_loop": NESTED,
    "/in_tasks": {"outer": {"a": {"a's": {}}, "b": {"b's": {}}}},
    "/on_the_runner": NESTED,
    "/in_the_pool": NESTED,
    "/in_own_threads": {"outer": {"inner": {}, "inner #2": {}}},
    "/in_a_worker_thread": NESTED,
    "/in_a_generator": {"generator": {"inner": {}}},
    "/streamed": NESTED,
    "/batched": NESTED,
    "/inline": NESTED,
}


@pytest.mark.parametrize("inner", list(OPENS))
@pytest.mark.parametrize("route", list(IN_RUNS))
def test_a_span_lies_in_the_one_around_it(
    route: str, opens: Opens, inner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spans = spans_of(route, opens, OPENS[inner], monkeypatch)
    assert tree(spans)[f"POST {route}"]["run"] == IN_RUNS[route]


@pytest.mark.parametrize("inner", list(OPENS))
def test_in_a_route_of_the_users_it_lies_in_the_request(
    opens: Opens, inner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spans = spans_of("/of-the-users", opens, OPENS[inner], monkeypatch)
    assert tree(spans) == {"GET /of-the-users": NESTED}


def spans_of(route: str, opens: Opens, inner: Opens, monkeypatch: pytest.MonkeyPatch) -> list[Span]:
    """Return the spans of one request."""
    monkeypatch.setattr(Places, "opens", staticmethod(opens))
    monkeypatch.setattr(Places, "inner", staticmethod(inner))
    kept = Keeps()
    method = "GET" if route == "/of-the-users" else "POST"
    with serving(Places, tracers=[("kept", kept, {})]) as server:
        body: object = 1 if route in {"/batched", "/inline"} else {}
        httpx.request(method, f"{server.url}{route}", json=body).raise_for_status()
    check_all(kept.spans)
    return kept.spans


class Interrupted:
    """A clock, each fifth reading of which is followed by a long turn of another thread."""

    turn_ns = 3_000_000

    def __init__(self) -> None:
        self.readings = 0

    def now_ns(self) -> int:
        now_ns = time.perf_counter_ns()
        self.readings += 1
        if self.readings % 5 == 0:
            while time.perf_counter_ns() < now_ns + self.turn_ns:
                pass
        return now_ns


def test_it_lies_there_though_other_threads_run_while_the_clocks_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Places, "opens", staticmethod(tracer.start_as_current_span))
    kept = Keeps()
    clock = Clock(Interrupted().now_ns)
    with serving(Places, tracers=[("kept", kept, {})], clock=clock) as server:
        for _ in range(5):
            httpx.post(f"{server.url}/on_the_loop", json={}).raise_for_status()
    check_all(kept.spans)
    assert [each["run"] for each in tree(kept.spans).values()] == [NESTED] * 5


@service
class Gathers:
    """A batch of several, whose code opens spans."""

    opens: Opens = staticmethod(span)

    @api(batch=True, max_latency_ms=2_000)
    def predict(self, rows: np.ndarray) -> np.ndarray:
        with self.opens("outer"):
            with span("inner"):
                self.ids = current_trace()
            return rows


def test_in_a_batch_of_several_it_lies_in_the_batch_s_run_and_a_copy_in_each_member_s(
    opens: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Gathers, "opens", staticmethod(opens))
    kept = Keeps()
    with serving(Gathers, tracers=[("kept", kept, {})]) as server:
        assert until(lambda: _several(server))
    check_all(kept.spans)
    found = tree(kept.spans)
    runs = [each["run"] for name, each in found.items() if name.startswith("batch ")]
    assert runs
    assert all(run == NESTED for run in runs)
    requests = [each["run"] for name, each in found.items() if name.startswith("POST ")]
    assert all(run == NESTED for run in requests)


def _several(server: Serving) -> bool:
    """Send a few at once; say whether any two came into one batch."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: httpx.post(f"{server.url}/predict", json=1), range(8)))
    metrics = server.metrics()
    batches = metrics['spanserve_batch_size_count{endpoint="/predict"}']
    return metrics['spanserve_batch_size_sum{endpoint="/predict"}'] > batches


class Starts:
    """A service whose start has spans."""

    opens: Opens = staticmethod(span)
    fails = False

    def __init__(self) -> None:
        with self.opens("load"):
            pass

    def warm_up(self) -> None:
        with self.opens("warm up"), span("first run"):
            pass
        if self.fails:
            raise RuntimeError("too cold")

    @api
    def ask(self) -> int:
        return 1


def test_start_up_code_has_a_trace_of_its_own(
    opens: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Starts, "opens", staticmethod(opens))
    kept = Keeps()
    with serving(service(Starts), tracers=[("kept", kept, {})]) as server:
        httpx.post(f"{server.url}/ask").raise_for_status()
    check_all(kept.spans)
    assert tree(kept.spans) == {
        "startup Starts": {"load": {}, "warm up": {"first run": {}}},
        "POST /ask": {"decode": {}, "run": {}, "encode": {}},
    }
    assert one("startup Starts", kept.spans).parent_id is None


def test_a_start_whose_ids_are_known_elsewhere_has_a_trace() -> None:
    @service
    class Asks:
        def __init__(self) -> None:
            self.ids = current_trace()

        @api
        def ask(self) -> str:
            return self.ids.trace_id if self.ids else ""

    kept = Keeps()
    with serving(Asks, tracers=[("kept", kept, {})]) as server:
        trace_id = httpx.post(f"{server.url}/ask").json()
    assert [each.name for each in kept.spans if each.trace_id == trace_id] == ["startup Asks"]


def test_a_start_without_spans_has_no_trace() -> None:
    kept = Keeps()
    with serving(Says, tracers=[("kept", kept, {})]):
        pass
    assert kept.spans == []


def test_a_start_that_fails_is_told_in_its_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Starts, "fails", True)
    kept = Keeps()
    with (
        pytest.raises(RuntimeError, match="failed to start"),
        serving(service(Starts), tracers=[("kept", kept, {})]),
    ):
        pass
    root = one("startup Starts", kept.spans)
    assert root.error == "too cold"
    assert root.attributes[names.ERROR_TYPE] == "RuntimeError"


def test_with_nothing_sampled_a_start_is_not_recorded() -> None:
    kept = Keeps()
    config = {"tracing": {"sample_rate": 0}}
    with serving(service(Starts), config, tracers=[("kept", kept, {})]):
        pass
    assert kept.spans == []


@service
class Says:
    """Says everything that OpenTelemetry's API can say."""

    told: Any = None

    @api
    def everything(self) -> int:
        state = TraceState([("foo", "1")])
        context = SpanContext(5, 7, True, TraceFlags(1), state)
        link = Link(context, {"why": "why not"})
        with tracer.start_as_current_span(
            "call", kind=SpanKind.CLIENT, attributes={"a": 1}, links=[link]
        ) as current:
            current.set_attribute("b", [1.5, 2.5])
            current.add_event("sent", {"bytes": 64})
            current.update_name("call it")
        return 1

    @api
    def fails(self) -> int:
        with tracer.start_as_current_span("fails"):
            raise KeyError("key")

    @api
    def handled(self) -> int:
        with tracer.start_as_current_span("handled") as current:
            current.record_exception(KeyError("key"))
        return 1

    @api
    def refused(self) -> int:
        with tracer.start_as_current_span("refused") as current:
            current.set_status(StatusCode.ERROR, "not today")
        return 1

    @api
    def ids(self) -> dict[str, str]:
        with tracer.start_as_current_span("calls"):
            headers: dict[str, str] = {}
            propagate.inject(headers)
            return headers

    @api
    def elsewhere(self) -> int:
        context = trace.set_span_in_context(trace.NonRecordingSpan(ELSEWHERE))
        with tracer.start_as_current_span("of another's", context=context):
            return 1

    @api
    def never_ends(self) -> int:
        tracer.start_span("open")
        return 1


def said(route: str, config: dict[str, Any] | None = None) -> tuple[httpx.Response, list[Span]]:
    """Return the answer to one request, and its spans."""
    kept = Keeps()
    with serving(Says, config, tracers=[("kept", kept, {})]) as server:
        answer = httpx.post(f"{server.url}/{route}")
    check_all(kept.spans)
    return answer, kept.spans


def test_all_that_opentelemetry_s_api_says_is_kept() -> None:
    found = one("call it", said("everything")[1])
    assert found.kind is Kind.CLIENT
    assert found.attributes == {
        "a": 1,
        "b": (1.5, 2.5),
        names.SCOPE_NAME: "places",
        names.SCOPE_VERSION: "1.5",
    }
    assert [(e.name, e.attributes) for e in found.events] == [("sent", {"bytes": 64})]
    assert found.start_ns <= found.events[0].time_ns <= found.end_ns
    assert list(found.links) == [
        SpanLink(f"{5:032x}", f"{7:016x}", {"why": "why not"}, "foo=1", is_remote=True)
    ]


def test_an_exception_marks_it_as_one_of_spanserve_s() -> None:
    found = one("fails", said("fails")[1])
    assert found.error == "'key'"
    assert found.attributes[names.ERROR_TYPE] == "KeyError"
    (event,) = found.events
    assert event.name == names.EXCEPTION
    assert "raise KeyError" in str(event.attributes[names.EXCEPTION_STACKTRACE])


def test_an_exception_that_was_handled_is_an_event_and_no_error() -> None:
    found = one("handled", said("handled")[1])
    assert found.error is None
    assert [event.name for event in found.events] == [names.EXCEPTION]


def test_a_status_without_an_exception_is_an_error() -> None:
    found = one("refused", said("refused")[1])
    assert (found.error, list(found.events)) == ("not today", [])


def test_texts_of_exceptions_stay_out_where_they_are_to() -> None:
    config = {"tracing": {"exceptions": "type"}}
    fails, handled, refused = (
        one(name, said(name, config)[1]) for name in ("fails", "handled", "refused")
    )
    assert (fails.error, list(fails.events)) == ("", [])
    assert refused.error == ""
    assert {**handled.events[0].attributes} == {
        "exception.type": "KeyError",
        "exception.escaped": "False",
    }


def test_what_it_calls_finds_its_parent() -> None:
    answer, spans = said("ids")
    found = one("calls", spans)
    assert answer.json()["traceparent"] == f"00-{found.trace_id}-{found.span_id}-01"


def test_a_span_with_a_parent_elsewhere_is_linked_to_it() -> None:
    found = one("of another's", said("elsewhere")[1])
    assert [(int(link.trace_id, 16), int(link.span_id, 16)) for link in found.links] == [(5, 7)]


def test_a_span_that_never_ends_is_cut_off_and_says_so() -> None:
    assert one("open", said("never_ends")[1]).attributes[names.UNFINISHED] is True


def test_a_request_that_is_not_sampled_records_none_and_tells_others_so() -> None:
    answer, spans = said("ids", {"tracing": {"sample_rate": 0}})
    assert spans == []
    assert answer.json()["traceparent"].endswith("-00")


def test_outside_any_scope_nothing_is_recorded() -> None:
    with tracer.start_as_current_span("nowhere") as current:
        assert not current.is_recording()


APART = """
import json, sys
sys.path[:0] = {path!r}
{provider}
from opentelemetry import trace
from spanserve import api, service, span
from support.serving import serving
from support.traces import Keeps, tree
import httpx

tracer = trace.get_tracer("apart")

@service
class Apart:
    @api
    def ask(self) -> int:
        with tracer.start_as_current_span("outer"), span("inner"):
            with tracer.start_as_current_span("innermost"):
                return 1

kept = Keeps()
with serving(Apart, tracers=[("kept", kept, {{}})]) as server:
    httpx.post(f"{{server.url}}/ask").raise_for_status()
ids = {{each.name: [each.trace_id, each.span_id] for each in kept.spans}}
print(json.dumps({{"tree": tree(kept.spans), "ids": ids, "theirs": theirs()}}))
"""
SDK = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
def theirs():
    contexts = {each.name: each.context for each in exporter.get_finished_spans()}
    return {name: [f"{c.trace_id:032x}", f"{c.span_id:016x}"] for name, c in contexts.items()}
"""
STRANGE = """
import logging
logging.basicConfig()
from opentelemetry import trace
class Strange(trace.NoOpTracerProvider):
    pass
trace.set_tracer_provider(Strange())
def theirs():
    return {}
"""


def apart(provider: str) -> tuple[dict[str, Any], str]:
    """Serve in a process whose user sets a tracer provider; return what is told, and the log."""
    code = APART.format(path=sys.path, provider=textwrap.dedent(provider))
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    told: dict[str, Any] = json.loads(done.stdout)
    return told, done.stderr


def test_a_provider_that_the_user_set_is_joined_and_keeps_its_exporter() -> None:
    told, _ = apart(SDK)
    assert told["tree"]["POST /ask"]["run"] == {"outer": {"inner": {"innermost": {}}}}
    assert told["theirs"] == {name: told["ids"][name] for name in ("outer", "innermost")}


def test_a_provider_that_cannot_be_joined_is_said_once() -> None:
    told, log = apart(STRANGE)
    assert told["tree"]["POST /ask"]["run"] == {"inner": {}}
    assert log.count("OpenTelemetry's spans stay out of the traces: __main__.Strange") == 1


FIRST = """
import asyncio, json, sys
sys.path[:0] = {path!r}
from opentelemetry import propagate, trace
from spanserve import api, current_trace, service
from support.serving import serving
from support.traces import Keeps
import httpx

def seen():
    headers = {{}}
    propagate.inject(headers)
    found = trace.get_current_span().get_span_context()
    ids = f"{{found.trace_id:032x}}-{{found.span_id:016x}}"
    return headers["traceparent"][3:52], ids

@service
class First:
    met = 0

    @api
    async def ask(self) -> dict:
        before = seen()
        self.met += 1
        while self.met < 2:
            await asyncio.sleep(0.001)
        with trace.get_tracer("first").start_as_current_span("call"):
            return {{"before": before, "inside": seen(), "own": current_trace()}}

async def both(url):
    async with httpx.AsyncClient(base_url=url) as client:
        answers = await asyncio.gather(*(client.post("/ask") for _ in range(2)))
    return [[a.json(), a.headers["x-trace-id"]] for a in answers]

kept = Keeps()
with serving(First, tracers=[("kept", kept, {{}})]) as server:
    told = asyncio.run(both(server.url))
ids = {{f"{{each.trace_id}}-{{each.span_id}}": each.name for each in kept.spans}}
print(json.dumps({{"told": told, "ids": ids}}))
"""


def told_by(code: str) -> Any:
    """Run code in a process of its own; return what it prints as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", code.format(path=sys.path)],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return json.loads(done.stdout)


def test_opentelemetry_s_context_is_ours_from_the_first_request_on_and_in_those_in_flight() -> None:
    told = told_by(FIRST)
    ids = told["ids"]
    for answer, trace_id in told["told"]:
        (sent, current), (sent_inside, current_inside) = answer["before"], answer["inside"]
        assert sent == current
        assert sent_inside == current_inside
        assert {current[:32], current_inside[:32]} == {trace_id}
        assert (ids[current], ids[current_inside]) == ("run", "call")
        assert answer["own"][:2] == [trace_id, current_inside[33:]]
    assert len({trace_id for _, trace_id in told["told"]}) == 2


STEPPED = """
import json, sys, time
sys.path[:0] = {path!r}
now, ahead = time.time_ns, [0]
time.time_ns = lambda: now() + ahead[0]
from opentelemetry import trace
from spanserve import api, service
from support.serving import serving
from support.traces import Keeps
import httpx

tracer = trace.get_tracer("stepped")

@service
class Stepped:
    @api
    def ask(self, by_s: int) -> int:
        with tracer.start_as_current_span("whole") as span:
            span.add_event("first")
            ahead[0] += by_s * 10**9
            span.add_event("last")
        return 1

    @api
    def fails(self, by_s: int) -> int:
        with tracer.start_as_current_span("whole") as span:
            span.add_event("first")
            span.record_exception(KeyError("k"))
            ahead[0] += by_s * 10**9
            raise ValueError("v")

kept = Keeps()
with serving(Stepped, tracers=[("kept", kept, {{}})]) as server:
    for route in ("ask", "fails"):
        for by_s in (3600, -3600):
            httpx.post(f"{{server.url}}/{{route}}", json=by_s)
found = [each for each in kept.spans if each.name == "whole"]
print(json.dumps([[f.start_ns, [[e.name, e.time_ns] for e in f.events], f.end_ns] for f in found]))
"""


def test_events_stand_in_their_spans_though_the_clock_is_set_meanwhile() -> None:
    told = told_by(STEPPED)
    assert [[name for name, _ in events] for _, events, _ in told] == (
        [["first", "last"]] * 2 + [["first", "exception", "exception"]] * 2
    )
    for start_ns, events, end_ns in told:
        times = [start_ns, *(time_ns for _, time_ns in events), end_ns]
        assert times == sorted(times)
        assert end_ns - start_ns < 60 * 10**9
