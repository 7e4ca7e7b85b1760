"""What is done to the server while ordinary clients ask it: a function for each, in a list.

A scenario goes on until it is cancelled. What it does is all right as long as ordinary clients
hardly notice, no span is lost in silence, and memory stays bounded.
"""

import asyncio
import gzip
import os
import random
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from campaign.clients import JSON, connected, head
from campaign.sink import Sink


@dataclass(frozen=True)
class Field:
    """Where a scenario takes place."""

    port: int
    pid: int
    sink: Sink
    random: random.Random


Scenario = Callable[[Field], Awaitable[None]]


async def quiet(_field: Field) -> None:
    """Nothing else; what the others are compared with."""
    await asyncio.Event().wait()


async def slow_heads(field: Field) -> None:
    """Clients send their heads byte by byte, and never end."""
    await _many(40, lambda: _dribble(field, head("/predict", 1), rest_s=0.05))


async def slow_bodies(field: Field) -> None:
    """Clients send bodies in small pieces, with pauses."""
    text = head("/plain", 300) + b'"' + b"x" * 298 + b'"'
    await _many(40, lambda: _dribble(field, text, rest_s=0.02))


async def slow_readers(field: Field) -> None:
    """Clients ask for a long stream and do not read it."""

    async def once() -> None:
        async with connected(field.port) as (_, writer):
            writer.write(head("/stream", 5) + b"20000")
            await asyncio.sleep(2.0)

    await _many(10, once)


async def leaving_clients(field: Field) -> None:
    """Clients leave at any moment of their request."""

    async def once() -> None:
        text = head("/predict", 3) + b"1.5"
        async with connected(field.port) as (_, writer):
            writer.write(text[: field.random.randint(1, len(text))])
            await asyncio.sleep(field.random.random() * 0.01)
            if field.random.random() < 0.5:
                writer.transport.abort()

    await _many(8, once)


HOSTILE: Final[Sequence[tuple[str, bytes]]] = (
    (JSON, b"[" * 50_000),
    (JSON, b"1e999"),
    (JSON, b"-" * 10_000),
    (JSON, b'{"a":' * 5_000 + b"1" + b"}" * 5_000),
    (JSON, b"\xff\xfe" * 1_000),
    (JSON, b'"\\ud800"'),
    (JSON, b"9" * 100_000),
    (JSON, b"NaN"),
    (JSON + "content-encoding: gzip\r\n", gzip.compress(b" " * 50_000_000)),
    (JSON + "content-encoding: gzip\r\n", b"\x1f\x8b" + b"\0" * 100),
    ("content-type: application/x-ndjson\r\n", b"\n".join([b"x"] * 20_000)),
    ("content-type: application/x-npy\r\n", b"\x93NUMPY\x01\x00" + b"\xff" * 300),
    ("content-type: text/" + "x" * 5_000 + "\r\n", b"1"),
    ("x-request-timeout-ms: 0.001\r\n" + JSON, b"1"),
    ("traceparent: 00-" + "f" * 300 + "\r\nbaggage: " + "k=v," * 2_000 + "\r\n" + JSON, b"1"),
)


async def hostile_bodies(field: Field) -> None:
    """Clients send what is meant to hurt: deep, huge, malformed, inflating."""

    async def once() -> None:
        headers, body = field.random.choice(HOSTILE)
        path = field.random.choice(("/predict", "/plain", "/fail", "/stream", "/v2/models/x/infer"))
        async with connected(field.port) as (reader, writer):
            writer.write(head(path, len(body), headers) + body)
            await reader.read(1_000)

    await _many(4, once)


async def hostile_protocol(field: Field) -> None:
    """Clients send what is no HTTP, or nearly."""

    async def once() -> None:
        noise = field.random.randbytes(field.random.randint(1, 2_000))
        chunked = b"POST /predict HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n"
        choices = (
            noise,
            chunked + b"fffffffffffffffff\r\n" + noise,
            chunked + b"1\r\n1\r\n" * 500,
            b"POST /predict HTTP/1.1\r\n" + b"a: b\r\n" * 2_000,
            head("/predict", 10**12) + noise,
            b"GET /metrics HTTP/1.1\r\n\r\n" * 20,
        )
        async with connected(field.port) as (reader, writer):
            writer.write(field.random.choice(choices))
            with suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    await reader.read(1_000)

    await _many(4, once)


async def failing_requests(field: Field) -> None:
    """Requests of a megabyte whose model raises."""
    body = b'"' + b"x" * 1_000_000 + b'"'

    async def once() -> None:
        async with connected(field.port) as (reader, writer):
            writer.write(head("/fail", len(body)) + body)
            await reader.read(1_000)
            await asyncio.sleep(0.02)

    await _many(2, once)


async def failing_backend(field: Field) -> None:
    """The tracing backend answers 500."""
    await _mood(field, "fails")


async def hanging_backend(field: Field) -> None:
    """The tracing backend answers after two seconds."""
    await _mood(field, "hangs")


async def resetting_backend(field: Field) -> None:
    """The tracing backend closes each connection."""
    await _mood(field, "resets")


async def killed_exporter(field: Field) -> None:
    """The exporter's process is killed every two seconds."""
    while True:
        await asyncio.sleep(2.0)
        for pid in _children(field.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


SCENARIOS: Final[Sequence[Scenario]] = (
    quiet,
    slow_heads,
    slow_bodies,
    slow_readers,
    leaving_clients,
    hostile_bodies,
    hostile_protocol,
    failing_requests,
    failing_backend,
    hanging_backend,
    resetting_backend,
    killed_exporter,
)


async def _many(clients: int, once: Callable[[], Awaitable[None]]) -> None:
    async def again_and_again() -> None:
        while True:
            with suppress(OSError, EOFError):
                await once()
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(clients):
            tasks.create_task(again_and_again())


async def _dribble(field: Field, text: bytes, *, rest_s: float) -> None:
    async with connected(field.port) as (_, writer):
        for place in range(0, len(text), 3):
            writer.write(text[place : place + 3])
            await writer.drain()
            await asyncio.sleep(rest_s)


async def _mood(field: Field, mood: str) -> None:
    field.sink.mood = mood
    try:
        await asyncio.Event().wait()
    finally:
        field.sink.mood = "well"


def _children(pid: int) -> list[int]:
    """Return the processes that a process started, where the system tells."""
    found: list[int] = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        found += map(int, file.read_text(encoding="ascii").split())
    return found
