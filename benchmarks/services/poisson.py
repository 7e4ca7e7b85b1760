"""An open loop: requests arrive when they arrive, whatever became of those before.

    python poisson.py HOST PORT BODY RATE SECONDS SEED

Arrivals are a Poisson process of RATE a second. A latency counts from the moment the request was
due, not from when a connection was free for it. Prints one line of JSON: mean and percentiles in
milliseconds, and how many were sent, answered with 200, and sent late by more than a millisecond.
"""

import asyncio
import json
import random
import sys
import time

import uvloop

_LATE_S = 0.001


class Client(asyncio.Protocol):
    """One connection, and the request that it is at."""

    def __init__(self, free: "asyncio.LifoQueue[Client]") -> None:
        self._free = free
        self.due = 0.0
        self.data = b""
        self.latencies: list[float] = []
        self.bad = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be ready."""
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]  # TCP has both

    def data_received(self, data: bytes) -> None:
        """Read until the answer is whole."""
        self.data += data
        head, found, body = self.data.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if len(body) >= length:
            self.latencies.append(time.perf_counter() - self.due)
            self.bad += not head.startswith(b"HTTP/1.1 200")
            self.data = b""
            self._free.put_nowait(self)


async def main(  # noqa: PLR0917  # the arguments of the command line
    host: str, port: int, body: str, rate: float, seconds: float, seed: int
) -> None:
    """Send, wait for the last answers, and print."""
    loop = asyncio.get_running_loop()
    free: asyncio.LifoQueue[Client] = asyncio.LifoQueue()
    clients = []
    for _ in range(512):
        _, client = await loop.create_connection(lambda: Client(free), host, port)
        clients.append(client)
        free.put_nowait(client)
    request = (
        f"POST /predict HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()
    chance = random.Random(seed)  # noqa: S311  # arrivals are no secrets
    due, sent, late = time.perf_counter() + 0.1, 0, 0
    end = due + seconds
    while (due := due + chance.expovariate(rate)) < end:
        if (wait := due - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        client = await free.get()
        late += time.perf_counter() - due > _LATE_S
        client.due = due
        client.transport.write(request)
        sent += 1
    give_up = time.perf_counter() + 10
    for _ in clients:
        await asyncio.wait_for(free.get(), max(give_up - time.perf_counter(), 0.001))
    latencies = sorted(1e3 * each for client in clients for each in client.latencies)
    print(
        json.dumps(
            {
                "sent": sent,
                "answered": len(latencies) - sum(client.bad for client in clients),
                "late": late,
                "mean_ms": sum(latencies) / len(latencies),
                "p50_ms": latencies[len(latencies) // 2],
                "p99_ms": latencies[int(len(latencies) * 0.99)],
            }
        )
    )


if __name__ == "__main__":
    uvloop.install()
    host, port, body, rate, seconds, seed = sys.argv[1:]
    asyncio.run(main(host, int(port), body, float(rate), float(seconds), int(seed)))
