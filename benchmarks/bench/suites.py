"""What is measured: each suite yields tables, the most telling cells first."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from bench.cells import Group, Row, Turns, raised
from bench.local import local
from bench.open_loop import open_loops
from bench.parts import parts
from bench.production import production
from bench.servers import (
    CACHE,
    HANGING_PORT,
    LONG_ROW,
    NOBODY_PORT,
    ROW,
    SINK_PORT,
    UDP_PORT,
    Server,
    SpanCounts,
    echo,
    peers,
    spanserve,
)
from bench.single import imports, memory, rare_ms, starts
from bench.sinks import sinks
from bench.tables import Grid, Sheet, Shown, Table

FULL = 64
CONNECTIONS = (FULL, 1, 16, 256, 1024)
MODEL_MS = 10.1
_A_SITTING = 2
_STEADY = 5
"""How many times as long a turn is whose first moments shall not show in the 99th percentile."""
ZIPKIN = f"type: zipkin, zipkin: {{url: 'http://127.0.0.1:{SINK_PORT}/api/v2/spans'}}"
JAEGER = f"type: jaeger, jaeger: {{address: 127.0.0.1, port: {UDP_PORT}}}"
HANGING = f"type: zipkin, zipkin: {{url: 'http://127.0.0.1:{HANGING_PORT}/api/v2/spans'}}"
DEAD = f"type: zipkin, zipkin: {{url: 'http://127.0.0.1:{NOBODY_PORT}/api/v2/spans'}}"
LOCAL = f"type: local, local: {{path: {CACHE / 'traces.db'}}}"
OTEL = SpanCounts("otel_spans_total", "otel_requests_total", "otel_spans_dropped_total")
TITLES = {
    "noop": "A model that does nothing: 64 floats in, 10 out",
    "accelerator": "A model of 10 ms a batch and 0.1 ms an item, without the processor",
    "digits": "A real model: scikit-learn, handwritten digits",
    "long": "A model that does nothing, and a body of 64 KiB",
}


@dataclass(frozen=True)
class Plan:
    """What was asked for; `interleaved_s` as in `Turns`, where ratios near 1 matter."""

    turns: Turns
    connections: Sequence[int]
    workloads: Sequence[str]
    servers: Sequence[str]
    interleaved_s: float
    port: int = 29_000

    def wanted(self, servers: Sequence[Server]) -> list[Server]:
        """Return the servers that were asked for."""
        return [each for each in servers if not self.servers or each.name in self.servers]

    @property
    def fewer(self) -> Turns:
        """How long to measure a cell that is one of many."""
        return replace(self.turns, rounds=max(1, self.turns.rounds // 3))


def comparison(plan: Plan) -> Iterator[Shown]:
    """All servers under the same loads; they stay up for all numbers of connections."""
    for model in plan.workloads:
        row = LONG_ROW if model == "long" else ROW
        servers = plan.wanted([echo(), spanserve(model), *peers(model)])
        with raised(servers, first_port=plan.port, row=row) as group:
            if FULL in plan.connections:
                yield _cell(group, f"{model}-{FULL}", TITLES[model], FULL, plan.turns)
            others = sorted(set(plan.connections) - {FULL})
            if not others:
                continue
            cells = tuple(
                _cell(group, f"{model}-{count}", TITLES[model], count, plan.fewer)
                for count in others
            )
        yield Grid(f"{model}-others", TITLES[model], cells)
        if model == "accelerator" and cells[0].connections == 1:
            yield _one_client(cells[0], plan.port)


def _one_client(cell: Table, port: int) -> Sheet:
    """What a lone client waits for, beside the model's own time.

    The echo's row is without a model: asked as seldom, it finds its caches as cold.
    """
    echo_ms = rare_ms(echo(), port, MODEL_MS / 1e3)
    rows = [(f"echo, asked every {MODEL_MS} ms", f"{echo_ms:.2f}", f"{echo_ms:.2f}")]
    for row in cell.rows:
        median_ms = row.typical("median_us") / 1e3
        if median_ms > MODEL_MS:  # echo runs no model
            rows.append((row.server, f"{median_ms:.2f}", f"{median_ms - MODEL_MS:.2f}"))
    columns = ("server", "median ms", f"ms above the model's own {MODEL_MS}")
    return Sheet("one-client", "One client at the model of 10 ms", columns, tuple(rows))


def overhead(plan: Plan) -> Iterator[Shown]:
    """Ours with tracing, against ours without; and OpenTelemetry's the same way."""
    digits = [
        spanserve("digits", name="off"),
        spanserve("digits", name="spanserve, Zipkin", tracing=ZIPKIN),
    ]
    plan = replace(plan, turns=replace(plan.turns, interleaved_s=plan.interleaved_s))
    with sinks():
        yield _sittings("tracing-noop", TITLES["noop"], _traced("noop"), plan)
        title = "The same model, and each request comes from another caller's span"
        yield _sittings("tracing-called", title, _called(), plan)
        if "digits" in plan.workloads:
            yield _sittings("tracing-digits", TITLES["digits"], digits, plan)
        for each in plan.wanted(peers("noop")):
            if "OTEL_MODE" in each.env:
                yield _table("tracing-otel", "FastAPI with OpenTelemetry", _otel(each), plan)


def _traced(model: str) -> list[Server]:
    return [
        spanserve(model, name="off"),
        spanserve(model, name="spanserve, Zipkin", tracing=ZIPKIN),
        spanserve(model, name="spanserve, Zipkin, one core", tracing=ZIPKIN, together=True),
        spanserve(model, name="spanserve, Zipkin, 1 %", tracing=f"sample_rate: 0.01, {ZIPKIN}"),
        spanserve(
            model,
            name="spanserve, Zipkin, 1 % and errors",
            tracing=f"sample_rate: 0.01, keep: {{errors: true}}, {ZIPKIN}",
        ),
        spanserve(
            model, name="spanserve, Zipkin, on a thread", tracing=f"exporter: thread, {ZIPKIN}"
        ),
        spanserve(model, name="spanserve, Jaeger over UDP", tracing=JAEGER),
        spanserve(model, name="spanserve, local", tracing=LOCAL),
        spanserve(model, name="spanserve, Zipkin dead", tracing=DEAD),
        spanserve(model, name="spanserve, Zipkin hanging", tracing=HANGING),
    ]


def _called() -> list[Server]:
    """Return the same where requests come from spans of another service."""
    return [
        spanserve("noop", name="off", called=True),
        spanserve("noop", name="spanserve, Zipkin", tracing=ZIPKIN, called=True),
        spanserve("noop", name="off, without callers"),
    ]


def _otel(server: Server) -> list[Server]:
    """Return the same server without tracing, and with some of it and all of it."""

    def traced(share: str, ratio: str) -> Server:
        env = {"OTEL_MODE": "on", "OTEL_TRACES_SAMPLER": "traceidratio"}
        env |= {"OTEL_TRACES_SAMPLER_ARG": ratio}
        name = f"{server.name}, {share}"
        return replace(server, name=name, env={**server.env, **env}, counts=OTEL)

    off = replace(server, name=f"{server.name}, off")
    return [off, traced("1 %", "0.01"), traced("100 %", "1")]


def tails(plan: Plan) -> Iterator[Shown]:
    """The slowest answers once a server has found its pace, and no other is there."""
    traced = spanserve("noop", name="spanserve, Zipkin", tracing=ZIPKIN)
    # What a span costs cannot be told beside the echo.
    ours = [spanserve("noop"), replace(traced, counts=None)]
    servers = [*plan.wanted([echo()]), *ours, *plan.wanted(peers("noop"))]
    turns = replace(plan.turns, seconds=_STEADY * plan.turns.seconds)
    title = f"{TITLES['noop']}, turns of {turns.seconds:g} s"
    with sinks():
        yield _alone("tails", title, servers, replace(plan, turns=turns))


def scaling(plan: Plan) -> Iterator[Shown]:
    """One worker and two; as many clients for each of two as fill the batches of one."""
    one, two = spanserve("noop", name="one worker"), spanserve("noop", name="two workers")
    two = replace(two, command=[*two.command, "--workers", "2"], cpus=(0, 1))
    yield _table("workers", TITLES["noop"], [one, two], plan, connections=2 * FULL)


def costs(plan: Plan) -> Iterator[Shown]:
    """What each part of a span's way costs by itself."""
    with sinks():
        yield parts(plan.turns.seconds)


SUITES: dict[str, Callable[[Plan], Iterator[Shown]]] = {
    "comparison": comparison,
    "overhead": overhead,
    "parts": costs,
    "production": lambda plan: iter(
        [production(replace(plan.turns, interleaved_s=plan.interleaved_s), plan.port, plan.servers)]
    ),
    "tails": tails,
    "scaling": scaling,
    "open-loop": lambda plan: iter([open_loops(plan.port, plan.turns)]),
    "starts": lambda plan: iter(
        [starts(plan.port, plan.wanted([echo(), spanserve("noop"), *peers("noop")]))]
    ),
    "imports": lambda _: iter([imports()]),
    "local": lambda plan: local(plan.turns.seconds),
    "memory": lambda plan: iter([memory(plan.port, plan.fewer.rounds)]),
}


def _table(
    key: str, title: str, servers: Sequence[Server], plan: Plan, connections: int = FULL
) -> Table:
    with raised(servers, first_port=plan.port) as group:
        return _cell(group, key, title, connections, plan.turns)


def _sittings(key: str, title: str, servers: Sequence[Server], plan: Plan) -> Table:
    """Start the servers anew after every other round.

    Of two processes of one server, one may be faster by some per cent for as long as they live.
    """
    rounds = plan.turns.rounds
    tables = [
        _table(key, title, servers, replace(plan, turns=replace(plan.turns, rounds=few)))
        for few in (min(_A_SITTING, rounds - done) for done in range(0, rounds, _A_SITTING))
    ]
    rows = zip(*(each.rows for each in tables), strict=True)
    return replace(tables[0], rows=tuple(map(Row.of, rows)))


def _alone(key: str, title: str, servers: Sequence[Server], plan: Plan) -> Table:
    """Start each server for one turn, while there is no other, not even one that is stopped.

    The system may look over the memory of all that is there some times a second, and take longer
    the more there is: up to a hundredth of all answers would wait for that.
    """
    once = replace(plan, turns=replace(plan.turns, rounds=1))
    rounds = [
        [_table(key, title, [server], once).rows[0] for server in servers]
        for _ in range(plan.turns.rounds)
    ]
    rows = list(map(Row.of, zip(*rounds, strict=True)))
    return Table(key, title, FULL, tuple(row.beside(rows[0]) for row in rows))


def _cell(group: Group, key: str, title: str, connections: int, turns: Turns) -> Table:
    print(f"{title}, {connections} connections: ", end="", file=sys.stderr, flush=True)
    began = time.monotonic()
    rows = group.cell(connections, turns)
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return Table(key, title, connections, tuple(rows))
