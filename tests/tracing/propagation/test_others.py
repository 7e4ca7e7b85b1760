"""Header formats of others: X-Ray's propagator, from its own distribution, end to end."""

from collections.abc import Iterator

import pytest

from spanserve import api, hookimpl, outgoing_headers, service
from spanserve.testing import Client, client

ROOT = "5759e988bd862e3fe1be46a994272793"
PARENT = "53995c3f42cd8ad8"
HEADER = f"Root=1-{ROOT[:8]}-{ROOT[8:]};Parent={PARENT};Sampled=1"
W3C = f"00-{'a' * 32}-{'b' * 16}-01"
HOSTILE = [
    "",
    "Root=1-00000000-000000000000000000000000;Parent=0000000000000000;Sampled=1",
    f"Root=1-{ROOT};Parent={PARENT};Sampled=1",
    "Root=;Parent=;Sampled=",
    "=" * 5000,
    "Root=1-\xe9;Parent=\xe9;Sampled=\xe9",
    HEADER + ";" + "x" * 5000,
]


@service
class Calls:
    @api
    def headers(self) -> dict[str, str]:
        return outgoing_headers()


class WantsXRay:
    @hookimpl
    def tracer_propagators(self) -> list[str]:
        return ["xray"]


@pytest.fixture(scope="module")
def server() -> Iterator[Client]:
    with client(Calls, config={"tracing": {"propagators": ["tracecontext", "xray"]}}) as running:
        yield running


def test_the_caller_s_trace_is_joined_and_handed_on(server: Client) -> None:
    response = server.post("/headers", headers={"X-Amzn-Trace-Id": HEADER})

    root = server.trace(response).span("POST /headers")
    run = server.trace(response).span("run")
    assert (root.trace_id, root.parent_id) == (ROOT, PARENT)
    assert response.json() == {
        "traceparent": f"00-{ROOT}-{run.span_id}-01",
        "x-amzn-trace-id": f"Root=1-{ROOT[:8]}-{ROOT[8:]};Parent={run.span_id};Sampled=1",
    }


def test_a_caller_s_decision_against_it_is_kept(server: Client) -> None:
    response = server.post(
        "/headers", headers={"x-amzn-trace-id": HEADER.replace("Sampled=1", "Sampled=0")}
    )

    assert response.headers["x-trace-id"] == ROOT
    assert response.json()["x-amzn-trace-id"].endswith(";Sampled=0")


def test_spanserve_s_own_formats_win(server: Client) -> None:
    response = server.post("/headers", headers={"X-Amzn-Trace-Id": HEADER, "traceparent": W3C})

    assert response.headers["x-trace-id"] == "a" * 32


@pytest.mark.parametrize("value", HOSTILE)
def test_a_bad_header_costs_itself_alone(server: Client, value: str) -> None:
    response = server.post("/headers", headers=[(b"x-amzn-trace-id", value.encode("latin-1"))])

    assert response.status_code == 200
    assert response.headers["x-trace-id"] not in {ROOT, "0" * 32}


def test_a_tracer_may_ask_for_it() -> None:
    with client(Calls, tracers=[WantsXRay]) as server:
        response = server.post("/headers", headers={"X-Amzn-Trace-Id": HEADER})

    assert response.headers["x-trace-id"] == ROOT
    assert set(response.json()) == {"traceparent", "x-amzn-trace-id"}
