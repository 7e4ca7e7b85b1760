"""One service on a thread and in processes: the same answers, the same traces."""

import json
import logging
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
import pytest
from fastapi import BackgroundTasks, Request, Response

from spanserve import Resource, api, service
from spanserve.config.model import Config
from spanserve.errors import ConfigError, ServiceError
from spanserve.running.discovery import chosen_runner
from spanserve.server.app import create_app
from spanserve.service.bundle.load import load
from spanserve.tracing.tracing import Tracing
from support.replicas import SERVICE
from support.serving import Serving, service_of, serving, until
from support.traces import Keeps, check_all, named, one, traces, tree

CONFIGS = {
    "thread": {"type": "thread"},
    "process": {"type": "process", "replicas": 2, "in_flight": 2},
}


class Both(NamedTuple):
    """A server of the service, and what its tracer was told."""

    server: Serving
    keeps: Keeps
    client: httpx.Client
    runs_here: bool

    def post(self, route: str, json: Any = None, **options: Any) -> httpx.Response:
        return self.client.post(f"/{route}", json=json, **options)


@pytest.fixture(scope="module", params=CONFIGS)
def both(request: pytest.FixtureRequest) -> Iterator[Both]:
    keeps = Keeps()
    config = {"runner": CONFIGS[request.param], "tracing": {"queue": {"flush_interval_ms": 1}}}
    with (
        serving(str(SERVICE), config, tracers=[("keeps", keeps, {})]) as server,
        httpx.Client(base_url=server.url, timeout=30) as client,
    ):
        yield Both(server, keeps, client, request.param == "thread")


ANSWERS: list[tuple[str, Any, Any]] = [
    ("things", {"number": 4}, 4),
    ("rows", [1, 2, 3, 4], [2, 3, 4, 5]),
    ("shapes", [[1], [2]], [[2], [4]]),
    ("anything", {"a": [1, 2.5, None, "é", {"b": []}]}, {"a": [1, 2.5, None, "é", {"b": []}]}),
    ("anything", 2**70, 2**70),
    ("anything", [float(2**60), -(2**63) - 1], [float(2**60), -(2**63) - 1]),
    ("one", {"number": 3}, 3),
    ("later", 0.01, "slept 0.01"),
    ("pooled", 7, 7),
]


@pytest.mark.parametrize(("route", "sent", "answer"), ANSWERS)
def test_answers_are_the_same(both: Both, route: str, sent: Any, answer: Any) -> None:
    response = both.post(route, sent)
    assert (response.status_code, response.json()) == (200, answer)


def test_arguments_are_made_of_the_body_or_carried(both: Both) -> None:
    answer = both.post("plain", {"value": [2**70, {"a": 1}], "other": [1, 2, 3, 4]}).json()
    assert answer[:2] == [[2**70, {"a": 1}], [1, 2, 3, 4]]


def test_large_arrays_go_there_and_back(both: Both) -> None:
    array = np.random.default_rng(1).random((200, 300))
    response = both.post("shapes", array.tolist())
    np.testing.assert_array_equal(response.json(), array * 2)


@pytest.mark.parametrize("accept", ["application/x-ndjson", "text/event-stream"])
@pytest.mark.parametrize(
    ("route", "lines"),
    [
        ("tokens", [{"tokens": [0]}, {"tokens": [0, 1]}, {"tokens": [0, 1, 2]}]),
        ("steps", [[0], [0, 1], [0, 1, 2]]),
    ],
)
def test_each_value_of_a_stream_is_sent_as_it_was(
    both: Both, route: str, lines: list[Any], accept: str
) -> None:
    sent = {"count": 3} if route == "tokens" else 3
    text = both.post(route, sent, headers={"Accept": accept}).text
    found = [
        httpx.Response(200, text=line.removeprefix("data: ")).json()
        for line in text.splitlines()
        if line
    ]
    assert found == lines


def test_a_form_and_a_response_of_its_own_go_there_and_back(both: Both) -> None:
    files = {"file": ("a.txt", b"content")}
    assert both.post("sized", files=files, data={"note": "x"}).json() == ["a.txt", "content", "x"]
    page = both.post("page")
    assert (page.status_code, page.text, page.headers["x-page"]) == (203, "<p>hello</p>", "1")
    assert page.headers["content-type"] == "text/html; charset=utf-8"


LONG = [["é" * 100] * 7000, {"a": 2**70, "b": [1.5] * 20}]


@pytest.mark.parametrize("route", ["anything", "plain", "things"])
def test_long_json_goes_there_and_back(both: Both, route: str) -> None:
    long: Any = {"number": 5, "fate": "é" * 700_000} if route == "things" else LONG
    response = both.post(route, {"value": long} if route == "plain" else long)
    answer = response.json()
    assert (answer[0] if route == "plain" else answer) == (5 if route == "things" else long)


def test_long_json_of_many_items_comes_back_in_its_order(both: Both) -> None:
    items = [[f"{number}é" * 200] * 1500 + [{"n": number}] for number in range(4)]
    content = "".join(f"{json.dumps(item)}\n" for item in items)
    headers = {"Content-Type": "application/x-ndjson"}
    response = both.client.post("/anything", content=content, headers=headers)
    assert [json.loads(line) for line in response.text.splitlines()] == items


def test_errors_are_the_same(both: Both) -> None:
    teapot = both.post("teapot")
    assert (teapot.status_code, teapot.headers["x-tea"]) == (418, "green")
    assert teapot.json()["detail"] == {"short": "stout"}
    failed = [both.post(route, {"number": 1, "fate": "raise"}) for route in ("things", "one")]
    left = both.post("one", {"number": 1, "fate": "leave"})
    said = "the service raised {}; the server's log and the trace say more"
    assert [(each.status_code, each.json()["message"]) for each in (*failed, left)] == [
        (500, said.format(kind)) for kind in ("ValueError", "ValueError", "SystemExit")
    ]


def test_the_log_tells_where_the_code_failed(both: Both, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        both.post("one", {"number": 1, "fate": "raise"})
    text = caplog.text + "".join(
        logging.Formatter().formatException(record.exc_info)
        for record in caplog.records
        if record.exc_info
    )
    assert "ValueError: thing 1" in text
    assert "replicated.py" in text
    assert "in befall" in text


def spans_of(both: Both, response: httpx.Response, count: int) -> list[Any]:
    trace_id = response.headers["x-trace-id"]

    def found() -> list[Any]:
        return traces(both.keeps.spans).get(trace_id, [])

    assert until(lambda: len(found()) >= count)
    return found()


def test_spans_of_both_apis_and_outgoing_headers_are_of_the_request_s_trace(both: Both) -> None:
    response = both.post("traced")
    spans = spans_of(both, response, 5)
    assert tree(spans) == {
        "POST /traced": {"decode": {}, "run": {"outer": {"library": {}}}, "encode": {}}
    }
    check_all(spans)
    outer, library = one("outer", spans), one("library", spans)
    assert (outer.attributes["size"], [event.name for event in outer.events]) == (3, ["noticed"])
    assert library.attributes["otel.scope.name"] == "lib"
    answer = response.json()
    assert answer["trace"] == response.headers["x-trace-id"]
    assert answer["headers"]["traceparent"].split("-")[1:3] == [library.trace_id, outer.span_id]


def test_a_caller_s_trace_and_baggage_go_on(both: Both) -> None:
    headers = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "baggage": "user=7"}
    answer = both.post("traced", headers=headers).json()
    assert answer["trace"] == "a" * 32
    assert answer["headers"]["baggage"] == "user=7"


def test_a_batch_that_raises_shows_each_attempt_with_its_spans(both: Both) -> None:
    response = both.post("spans", 3)
    spans = spans_of(both, response, 6)
    check_all(spans)
    inner = one("inner", spans)
    assert (inner.attributes["size"], inner.error) == (1, "ValueError: odd") or inner.error
    assert one("run", spans).error


def test_a_span_that_ends_after_the_answer_goes_out_later(both: Both) -> None:
    response = both.post("leaving")
    assert response.json() == "left"
    trace_id = response.headers["x-trace-id"]
    assert until(lambda: named("after", traces(both.keeps.spans).get(trace_id, [])))
    after = one("after", traces(both.keeps.spans)[trace_id])
    assert after.end_ns - after.start_ns >= 150_000_000


@pytest.mark.parametrize(("item", "after"), [(1, {"outliving", "begun after"}), (0, {"following"})])
def test_spans_that_outlive_a_batch_go_out_later(both: Both, item: int, after: set[str]) -> None:
    response = both.post("parting", item)
    spans = spans_of(both, response, 6)
    trace_id = response.headers["x-trace-id"]

    def late() -> dict[str, Any]:
        return {
            each.name: each.attributes.get("spanserve.late")
            for each in traces(both.keeps.spans)[trace_id]
            if each.name in after
        }

    assert until(lambda: late() == dict.fromkeys(after, True))
    assert {
        each.parent_id for each in traces(both.keeps.spans)[trace_id] if each.name in after
    } == {one("run", spans).span_id}


MANY = {"Content-Type": "application/x-ndjson"}
RUNS: list[tuple[str, Any]] = [
    ("things", {"number": 1}),
    ("things", b'{"number": 1}\n' * 3),
    ("one", {"number": 3}),
    ("later", 0.01),
    ("pooled", 7),
    ("steps", 2),
    ("tokens", {"count": 2}),
]


def said_of_runners(spans: list[Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return what spans say of a runner elsewhere, where they say anything or are runs."""
    prefix = "spanserve.runner."
    found = [
        (span.name, {key: each for key, each in span.attributes.items() if key.startswith(prefix)})
        for span in spans
    ]
    return [(name, said) for name, said in found if said or name == "run"]


def with_batch(both: Both, response: httpx.Response) -> list[Any]:
    """Return the spans of a request's trace, and of its batch's where that has its own."""
    spans = spans_of(both, response, 3)
    batches = {span.attributes.get("spanserve.batch.trace_id") for span in spans} - {None}
    for batch in batches:
        assert until(
            lambda batch=batch: "run" in str(tree(traces(both.keeps.spans).get(batch, [])))
        )
        spans = [*spans, *traces(both.keeps.spans)[batch]]
    return spans


@pytest.mark.parametrize(("route", "sent"), RUNS)
def test_a_run_says_which_replica_it_was_in_and_on_a_thread_nothing(
    both: Both, route: str, sent: Any
) -> None:
    response = (
        both.client.post(f"/{route}", content=sent, headers=MANY)
        if isinstance(sent, bytes)
        else both.post(route, sent)
    )
    assert response.status_code == 200
    runs = said_of_runners(with_batch(both, response))
    assert len(runs) == (4 if isinstance(sent, bytes) else 1)
    expected: list[dict[str, Any]] = (
        [{}]
        if both.runs_here
        else [{"spanserve.runner.type": "process", "spanserve.runner.replica": n} for n in (0, 1)]
    )
    assert all(name == "run" and said in expected for name, said in runs)
    assert all(said == runs[0][1] for _, said in runs)


@pytest.mark.parametrize("both", ["process"], indirect=True)  # on a thread it would end the tests
def test_a_run_that_ended_its_replica_and_the_next_say_where_each_was(
    both: Both, tmp_path: Path
) -> None:
    poison = f'{{"number": 1, "fate": "kill", "marker": "{tmp_path / "marker"}"}}\n'
    content = f'{{"number": 0, "takes_s": 0.01}}\n{poison}'
    response = both.client.post("/things", content=content, headers=MANY)
    assert response.text == "0\n1\n"
    runs = said_of_runners(with_batch(both, response))
    assert len(runs) == 4 + 3  # each item's request has both of its goes, the batch all three
    assert all(
        {*said} == {f"spanserve.runner.{x}" for x in ("type", "replica")} for _, said in runs
    )
    places = {said["spanserve.runner.replica"] for _, said in runs}
    assert places == {0, 1}


def test_many_clients_get_their_own_answers(both: Both) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda number: both.post("things", {"number": number}).json(), range(200))
        )
    assert answers == list(range(200))


def test_an_argument_that_cannot_go_to_another_process_is_told_by_name(both: Both) -> None:
    answer = both.post("opened")
    if both.runs_here:
        assert answer.json() == "object"
    else:
        assert (answer.status_code, answer.json()["message"]) == (
            500,
            (
                "opened: the argument 'thing' (object) cannot go to another process; "
                "take plain values of it, or set runner.type to thread"
            ),
        )


@pytest.mark.parametrize("kind", [Request, Response, BackgroundTasks])
def test_what_is_the_server_s_alone_stops_the_start_of_replicas(kind: type[Any]) -> None:
    @service
    class Asking:
        @api
        def ask(self, given: kind) -> str:  # type: ignore[valid-type]  # as the test says
            return str(given)

    config = Config.model_validate({"runner": {"type": "process"}})
    tracing = Tracing([], config.tracing, Resource("test", {}))
    with pytest.raises(ServiceError, match=f"'given' is a {kind.__name__}, which cannot go to"):
        create_app(config, service_of(Asking), tracing)


def test_workers_and_replicas_are_not_both_for_more_processes() -> None:
    config = Config.model_validate({"runner": {"type": "process"}, "server": {"workers": 2}})
    tracing = Tracing([], config.tracing, Resource("test", {}))
    with pytest.raises(ConfigError, match=r"set server\.workers to 1, and runner\.replicas"):
        create_app(config, load(str(SERVICE)), tracing)


def test_the_configuration_is_stronger_than_what_the_service_says_of_its_runner() -> None:
    own = {"type": "process", "replicas": 3, "in_flight": 2}

    def chosen(section: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        name, _, settings = chosen_runner(section, own, {})
        return name, settings.model_dump(include={"replicas", "in_flight"})

    assert chosen({}) == ("process", {"replicas": 3, "in_flight": 2})
    assert chosen({"replicas": 2}) == ("process", {"replicas": 2, "in_flight": 2})
    assert chosen({"type": "thread"}) == ("thread", {})


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"type": "proces"}, "unknown runner 'proces' (installed: process, thread); did you mean"),
        ({"replicas": 2}, "unknown key runner.replicas"),
        ({"type": "process", "replicas": 0}, "runner.replicas"),
        ({"type": "process", "in_flight": 3}, "runner.in_flight"),
        ({"type": 3}, "runner.type: wanted the name of a runner"),
    ],
)
def test_a_runner_that_cannot_be_had_is_refused(section: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        chosen_runner(section, {}, {})
