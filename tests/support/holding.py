"""Requests that gather behind a held runner, and then go in one batch."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

HELD = Path(__file__).parent / "services" / "held.py"
CONNECTIONS_OF_A_CLIENT = 25  # with 500, httpx takes seconds to choose among them
UNTRACED = ["/hold", "/release", "/readyz", "/metrics"]


async def metric(client: httpx.AsyncClient, name: str, **labels: str) -> float:
    """Return one sample of /metrics; 0 where it is not there yet."""
    text = (await client.get("/metrics")).text
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                return sample.value
    return 0.0


async def until(client: httpx.AsyncClient, value: float, name: str, **labels: str) -> None:
    """Ask /metrics until a sample has this value; the test's own timeout is the deadline."""
    while await metric(client, name, **labels) != value:
        pass


@asynccontextmanager
async def held_runner(client: httpx.AsyncClient) -> AsyncIterator[None]:
    """Keep the runner busy inside the block."""
    hold = asyncio.create_task(client.post("/hold"))
    await until(client, 1, "spanserve_runner_busy")
    try:
        yield
    finally:
        await client.post("/release")
        assert (await hold).status_code == 200


async def in_one_batch(
    client: httpx.AsyncClient,
    items: Sequence[Any],
    headers: Mapping[int, Mapping[str, str]] | None = None,
) -> list[httpx.Response]:
    """Send items so that they gather in this order and run as one batch; return the answers."""
    headers = headers or {}
    async with held_runner(client):
        tasks = []
        for position, item in enumerate(items):
            request = client.post("/predict", json=item, headers=headers.get(position))
            tasks.append(asyncio.create_task(request))
            await until(client, position + 1, "spanserve_queue_depth", endpoint="/predict")
    return list(await asyncio.gather(*tasks))


async def in_one_crowd(client: httpx.AsyncClient, items: Sequence[Any]) -> list[httpx.Response]:
    """Send items so that they gather in any order and run as one batch; return the answers."""
    async with held_runner(client):
        answers = asyncio.create_task(all_at_once(client.base_url, items))
        await until(client, len(items), "spanserve_queue_depth", endpoint="/predict")
    return await answers


async def all_at_once(url: httpx.URL | str, items: Sequence[Any]) -> list[httpx.Response]:
    """Send items at once, each on a connection of its own; return the answers."""
    async with AsyncExitStack() as stack:
        posts = []
        for first in range(0, len(items), CONNECTIONS_OF_A_CLIENT):
            limits = httpx.Limits(max_connections=None)
            client = httpx.AsyncClient(base_url=url, limits=limits, timeout=60, verify=False)
            await stack.enter_async_context(client)
            some = items[first : first + CONNECTIONS_OF_A_CLIENT]
            posts += [client.post("/predict", json=item) for item in some]
        return list(await asyncio.gather(*posts))
