"""What production puts before a model: what each part costs, beside the same server without it."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from bench.cells import Row, Turns, raised
from bench.servers import CACHE, HERE, SINK_PORT, Server, model_env, peers
from bench.sinks import sinks
from bench.tables import Sheet

KEY: Final = "correct-horse-battery-staple"
CONNECTIONS: Final = 64
_ZIPKIN: Final = f"{{type: zipkin, zipkin: {{url: 'http://127.0.0.1:{SINK_PORT}/api/v2/spans'}}}}"
_ORIGIN: Final = {"Origin": "https://app.example.org"}
_HELD: Final = {"X-API-Key": KEY}
_AUTH: Final = f"auth: {{keys: [{KEY}]}}"
_CORS: Final = "cors: {origins: ['https://app.example.org']}"


@dataclass(frozen=True)
class Part:
    """Something in force: ours by `server`'s keys or another service, the others' by its word.

    `beside_called`: it is compared with a plain server whose heads differ as well.
    """

    title: str
    word: str = ""
    server: str = ""
    tracing: str = "{type: off}"
    service: str = "models.py:Noop"
    options: tuple[tuple[str, Any], ...] = ()
    beside_called: bool = False


NOTHING: Final = Part("nothing")
PARTS: Final = (
    Part("a key", "key", _AUTH, options=(("headers", _HELD),)),
    Part(
        "a key, every head differs, as without it",
        "",
        _AUTH,
        options=(("headers", _HELD), ("called", True)),
        beside_called=True,
    ),
    Part("CORS", "cors", _CORS, options=(("headers", _ORIGIN),)),
    Part("a root path", "root_path", "root_path: /models"),
    Part("an access log, into a file", "access_log", "access_log: true"),
    Part("`request_timeout_ms`", "", "request_timeout_ms: 30000"),
    Part(
        "all of these, own `traceparent`, Zipkin 100 %",
        "key,cors,root_path,access_log,traced",
        f"{_AUTH}, {_CORS}, root_path: /models, access_log: true, request_timeout_ms: 30000",
        _ZIPKIN,
        options=(("headers", {**_HELD, **_ORIGIN}), ("called", True)),
    ),
    Part("an async dependency", "async", service="production.py:Async"),
    Part("a sync dependency", "sync", service="production.py:Sync"),
    Part("`Header()`", "header", service="production.py:WithHeader"),
    Part("`Security()`", "security", service="production.py:WithSecurity"),
    Part("a plain async method", service="production.py:PlainAsync"),
    Part("a plain sync method", service="production.py:PlainSync"),
)


def production(turns: Turns, port: int, wanted: Sequence[str]) -> Sheet:
    """Measure each part by turns with the same server without it."""
    ours = [(part, _ours(part)) for part in (NOTHING, *PARTS)]
    columns = {"spanserve": ours} | {
        peer.name: [
            (part, _theirs(peer, part))
            for part in (NOTHING, *PARTS)
            if part is NOTHING
            or (part.word and _SPOKEN[peer.name].issuperset(part.word.split(",")))
        ]
        for peer in peers("noop")
        if peer.name in _SPOKEN
    }
    columns = {name: each for name, each in columns.items() if not wanted or name in wanted}
    with sinks():
        found = {name: _ratios(each, turns, port) for name, each in columns.items()}
    rows = [(part.title, *(found[name].get(part.title, "-") for name in columns)) for part in PARTS]
    head = ("in force", *columns)
    title = "CPU of a plain request / CPU of one with this in force"
    return Sheet("production", title, head, tuple(rows))


def _ratios(servers: Sequence[tuple[Part, Server]], turns: Turns, port: int) -> dict[str, str]:
    """Return the ratios by the parts' titles; each part is up with the plain server alone."""
    (_, plain), *others = servers
    return {
        part.title: _ratio(replace(plain, called=part.beside_called), server, turns, port)
        for part, server in others
    }


def _ratio(plain: Server, server: Server, turns: Turns, port: int) -> str:
    with raised([plain, server], first_port=port) as group:
        _, row = group.cell(CONNECTIONS, turns)
    found = told(row)
    print(f"{server.name}, {server.settings}: {found}", file=sys.stderr, flush=True)
    return found


def told(row: Row) -> str:
    """Return the first server's CPU as a share of this one's, or why there is none."""
    if row.why or row.errors:
        return row.why or f"{row.errors:,} errors"
    ratio = row.ratio("cpu_us")
    return f"{1 / ratio:.2f}" if ratio else "-"


def _ours(part: Part) -> Server:
    settings = f"server: {{{part.server}}}\ntracing: {part.tracing}\n"
    folder = CACHE / "configs"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"production-{''.join(filter(str.isalnum, part.title))}.yml"
    path.write_text(settings)
    command = [sys.executable, "-m", "spanserve", "serve", "--port", "{port}", "--config"]
    command += [str(path), str(HERE / "services" / part.service)]
    options: dict[str, Any] = dict(part.options)
    return Server("spanserve", command, env=model_env(), settings=part.title, **options)


_SPOKEN: Final = {
    "fastapi_otel": {"key", "cors", "root_path", "access_log", "traced", "async", "sync", "header"}
    | {"security"},
    "litserve": {"key", "cors", "access_log"},
}
"""The parts that each peer's service knows, by `PEER_PARTS`."""


def _theirs(peer: Server, part: Part) -> Server:
    words = part.word.split(",")
    env = {**peer.env, "PEER_PARTS": part.word}
    command = list(peer.command)
    if "key" in words:
        env |= {"PEER_KEY": KEY, "LIT_SERVER_API_KEY": KEY}
    if "root_path" in words:
        env["UVICORN_ROOT_PATH"] = "/models"
    if "access_log" in words:
        command = ["info" if each == "warning" else each for each in command]
        command = [each for each in command if each != "--no-access-log"]
    if "traced" in words:
        env["OTEL_MODE"] = "on"
    options: dict[str, Any] = dict(part.options)
    return replace(peer, command=command, env=env, settings=part.title, **options)
