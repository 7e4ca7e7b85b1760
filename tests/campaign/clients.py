"""Clients: ordinary ones, whose requests must all succeed, and what others are made of."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

PATIENCE_S = 20.0
JSON = "content-type: application/json\r\n"

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Streams]:
    """Give a connection; however it ended, it is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


def head(path: str, length: int, headers: str = JSON) -> bytes:
    """Return the head of a request."""
    return f"POST {path} HTTP/1.1\r\nhost: h\r\n{headers}content-length: {length}\r\n\r\n".encode()


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Read an answer with a length."""
    text = await reader.readuntil(b"\r\n\r\n")
    status = int(text.split(b" ", 2)[1])
    length = 0
    for line in text.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
    return status, await reader.readexactly(length)


@dataclass
class Ordinary:
    """What became of the requests of ordinary clients."""

    seconds: list[float] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)

    def p99_ms(self) -> float:
        """Return the 99th percentile."""
        ordered = sorted(self.seconds)
        return 1e3 * ordered[int(len(ordered) * 0.99)] if ordered else float("nan")


async def ordinary(port: int, found: Ordinary, stop: asyncio.Event, *, pause_s: float) -> None:
    """Ask and wait, again and again, on one connection as long as it lasts."""
    number = 0
    while not stop.is_set():
        with suppress(OSError):
            async with connected(port) as streams:
                while not stop.is_set():
                    number += 1
                    if not await _asked(streams, found, number):
                        break
                    await asyncio.sleep(pause_s)


async def _asked(streams: Streams, found: Ordinary, number: int) -> bool:
    reader, writer = streams
    body = b"%d" % number
    began_s = time.perf_counter()
    try:
        async with asyncio.timeout(PATIENCE_S):
            writer.write(head("/predict", len(body)) + body)
            status, text = await answer(reader)
    except (OSError, EOFError, TimeoutError) as error:
        found.failed[type(error).__name__] += 1
        return False
    found.seconds.append(time.perf_counter() - began_s)
    if status != 200:
        found.failed[str(status)] += 1
    elif float(text) != 2 * number:
        found.failed["wrong answer"] += 1
    return True
