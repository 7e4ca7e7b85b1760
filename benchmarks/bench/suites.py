"""What is measured: each suite yields tables, the most telling cells first."""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from bench.cells import Row, Turns, measured
from bench.servers import (
    HANGING_PORT,
    LONG_ROW,
    NOBODY_PORT,
    ROW,
    SINK_PORT,
    UDP_PORT,
    Server,
    echo,
    peers,
    spanserve,
)
from bench.sinks import sinks

CONNECTIONS = (64, 1, 16, 256, 1024)
ZIPKIN = f"type: zipkin, zipkin: {{url: 'http://127.0.0.1:{SINK_PORT}/api/v2/spans'}}"
JAEGER = f"type: jaeger, jaeger: {{address: 127.0.0.1, port: {UDP_PORT}}}"
HANGING = f"type: zipkin, zipkin: {{url: 'http://127.0.0.1:{HANGING_PORT}/api/v2/spans'}}"
DEAD = f"type: zipkin, zipkin: {{url: 'http://127.0.0.1:{NOBODY_PORT}/api/v2/spans'}}"
TITLES = {
    "noop": "A model that does nothing: 64 floats in, 10 out",
    "accelerator": "A model of 10 ms a batch and 0.1 ms an item, without the processor",
    "digits": "A real model: scikit-learn, handwritten digits",
    "long": "A model that does nothing, and a body of 64 KiB",
}


@dataclass(frozen=True)
class Table:
    """One table of results."""

    key: str
    title: str
    connections: int
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Plan:
    """What was asked for."""

    turns: Turns
    connections: Sequence[int]
    workloads: Sequence[str]
    servers: Sequence[str]
    port: int = 29_000

    def wants(self, server: Server) -> bool:
        """Say whether a server was asked for."""
        return not self.servers or server.name in self.servers


def comparison(plan: Plan) -> Iterator[Table]:
    """All servers under the same loads."""
    for connections in plan.connections:
        for model in plan.workloads:
            row = LONG_ROW if model == "long" else ROW
            servers = [
                each for each in (echo(), spanserve(model), *peers(model)) if plan.wants(each)
            ]
            yield _table(f"{model}-{connections}", TITLES[model], servers, plan, connections, row)


def overhead(plan: Plan) -> Iterator[Table]:
    """Ours with tracing, against ours without."""
    with sinks():
        yield _table("tracing-noop", TITLES["noop"], _traced("noop"), plan, 64)
        servers = [
            spanserve("digits", name="off"),
            spanserve("digits", name="Zipkin", tracing=ZIPKIN),
        ]
        yield _table("tracing-digits", TITLES["digits"], servers, plan, 64)
        for otel in (each for each in peers("noop") if "OTEL_MODE" in each.env):
            modes = [
                replace(otel, name=f"{otel.name}, {mode}", env={**otel.env, "OTEL_MODE": mode})
                for mode in ("off", "on")
            ]
            yield _table("tracing-otel", "FastAPI with OpenTelemetry", modes, plan, 64)


def _traced(model: str) -> list[Server]:
    return [
        spanserve(model, name="off"),
        spanserve(model, name="spanserve, Zipkin", tracing=ZIPKIN),
        spanserve(model, name="spanserve, Zipkin, one core", tracing=ZIPKIN, together=True),
        spanserve(model, name="spanserve, Zipkin, 1 %", tracing=f"sample_rate: 0.01, {ZIPKIN}"),
        spanserve(
            model, name="spanserve, Zipkin, on a thread", tracing=f"exporter: thread, {ZIPKIN}"
        ),
        spanserve(model, name="spanserve, Jaeger over UDP", tracing=JAEGER),
        spanserve(model, name="spanserve, Zipkin dead", tracing=DEAD),
        spanserve(model, name="spanserve, Zipkin hanging", tracing=HANGING),
    ]


def scaling(plan: Plan) -> Iterator[Table]:
    """One worker and two."""
    one, two = spanserve("noop", name="one worker"), spanserve("noop", name="two workers")
    two = replace(two, command=[*two.command, "--workers", "2"], cpus=(0, 1))
    yield _table("workers", TITLES["noop"], [one, two], plan, 64)


SUITES: dict[str, Callable[[Plan], Iterator[Table]]] = {
    "comparison": comparison,
    "overhead": overhead,
    "scaling": scaling,
}


def _table(  # noqa: PLR0917  # a row of the plan
    key: str, title: str, servers: Sequence[Server], plan: Plan, connections: int, row: str = ROW
) -> Table:
    print(f"{title}, {connections} connections: ", end="", file=sys.stderr, flush=True)
    rows = measured(
        servers, connections=connections, turns=plan.turns, first_port=plan.port, row=row
    )
    print("done", file=sys.stderr, flush=True)
    return Table(key, title, connections, tuple(rows))
