"""Two services that call each other: one trace, and an edge in the servers' own view."""

import json
import secrets
import signal
from pathlib import Path

import httpx
import pytest

from support.backends import backend
from support.holding import HELD
from support.queries import Edge, Queries, wait_for
from support.real_servers import queries_of
from support.serving import subprocess_server, until
from support.traces import Tree, named, tree

CALLER = Path(__file__).parents[1] / "support" / "services" / "caller.py"


def edge_of(queries: Queries, caller: str, callee: str) -> Edge | None:
    edges = (
        edge for edge in queries.dependencies() if (edge.parent, edge.child) == (caller, callee)
    )
    return next(edges, None)


@pytest.mark.parametrize(
    "kind",
    ["real zipkin", "real jaeger by udp", "real jaeger by otlp-http", "real jaeger 1 by udp"],
)
def test_two_services_make_one_trace_and_an_edge(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    caller, callee = f"caller-{secrets.token_hex(4)}", f"callee-{secrets.token_hex(4)}"
    with backend(kind, request) as receiver:
        configs = {}
        for name in (caller, callee):
            configs[name] = tmp_path / f"{name}.yml"
            tracing = {**receiver.tracing, "service_name": name}
            configs[name].write_text(json.dumps({"tracing": tracing}))
        with (
            subprocess_server(str(CALLER), "--config", str(configs[caller])) as near,
            subprocess_server(str(HELD), "--config", str(configs[callee])) as far,
        ):
            question = {"url": f"{far.url}/predict", "number": 21}
            answer = httpx.post(f"{near.url}/ask", json=question)
            assert (answer.status_code, answer.json()) == (200, 42)
            assert [near.stop(signal.SIGTERM), far.stop(signal.SIGTERM)] == [0, 0]
        queries = queries_of(request.getfixturevalue(fixture_of(kind)))
    trace_id = answer.headers["X-Trace-Id"]
    spans = wait_for(lambda: queries.trace(trace_id), 14)
    far_tree: Tree = {
        "decode": {},
        "queue": {},
        "collate": {},
        "run": {"scale": {"multiply": {}}},
        "split": {},
        "encode": {},
    }
    near_tree = {
        "decode": {},
        "run": {"ask the other": {name_of(kind, "POST /predict"): far_tree}},
        "encode": {},
    }
    assert tree(spans) == {name_of(kind, "POST /ask"): near_tree}
    assert len(named("ask the other", spans)) == 1
    assert until(lambda: edge_of(queries, caller, callee)), queries.dependencies()


def fixture_of(kind: str) -> str:
    return "real_jaeger1" if " 1 " in kind else f"real_{kind.split()[1]}"


def name_of(kind: str, name: str) -> str:
    """Return a span's name as the server has it: Zipkin lower-cases."""
    return name.lower() if "zipkin" in kind else name
