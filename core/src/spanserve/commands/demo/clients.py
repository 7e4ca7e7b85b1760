"""The demo's clients, a process of their own: `python -m spanserve.commands.demo.clients`.

A job comes in as a line of JSON; lines of JSON go out, `{"done": n}` now and then, and the
outcome last; then comes the next job, or the end. In the server's process they would compete
with it for the interpreter, and its traces would show their time instead of the model's.
"""

import asyncio
import json
import math
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Final

import httpx

from spanserve.commands.demo.job import Job, Outcome
from spanserve.commands.demo.transport import Connection

HTTP_OK: Final = 200
ANSWERS_A_REPORT: Final = 20
TIMEOUT_S: Final = 30.0
TOGETHER_S: Final = 0.15
"""Clients that pause go on at multiples of this, some at once, so that batches form."""


async def send_all(job: Job, done: Callable[[int], None]) -> Outcome:
    """Send the job's requests, telling `done` how many are answered."""
    bodies = [json.dumps(body).encode() for body in job.bodies]
    outcome = Outcome([None] * (len(bodies) * job.rounds))
    numbers = iter(range(len(outcome.answers)))
    started_s = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(job.clients):
            group.create_task(_one_client(job, bodies, numbers, outcome, done))
    outcome.elapsed_s = time.perf_counter() - started_s
    return outcome


async def _one_client(
    job: Job,
    bodies: list[bytes],
    numbers: Iterator[int],
    outcome: Outcome,
    done: Callable[[int], None],
) -> None:
    """Send one request after the other on one connection, until none is left."""
    headers = {"Content-Type": "application/json"}
    transport = await Connection.open(httpx.URL(job.url))
    async with httpx.AsyncClient(transport=transport, headers=headers) as client:
        for number in numbers:
            if job.pause_ms:
                await _pause(job.pause_ms / 1e3)
            started_s = time.perf_counter()
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    response = await client.post(job.url, content=bodies[number % len(bodies)])
                outcome.answers[number] = _answer(response)
            except (httpx.HTTPError, TimeoutError, ValueError) as error:
                outcome.failures.append(f"{type(error).__name__}: {error}")
            else:
                outcome.trace_ids.append(response.headers.get("X-Trace-Id", ""))
                outcome.latencies_ms.append((time.perf_counter() - started_s) * 1e3)
            done(len(outcome.latencies_ms) + len(outcome.failures))


async def _pause(mean_s: float) -> None:
    now_s = time.monotonic()
    due_s = now_s + random.expovariate(1 / mean_s)
    await asyncio.sleep(math.ceil(due_s / TOGETHER_S) * TOGETHER_S - now_s)


def _answer(response: httpx.Response) -> int:
    """Return the digit; ValueError for anything else."""
    if response.status_code != HTTP_OK:
        raise ValueError(f"{response.status_code} {response.text[:200]}")
    answer = response.json()
    if not isinstance(answer, int):
        raise ValueError(f"not a digit: {response.text[:200]}")  # noqa: TRY004  # one kind of failure
    return answer


def _say(message: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def _report(done: int) -> None:
    if done % ANSWERS_A_REPORT == 0:
        _say({"done": done})


def main() -> None:
    """Do the jobs that come on stdin."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the demo itself ends its clients
    for line in sys.stdin:
        _say({"outcome": asdict(asyncio.run(send_all(Job(**json.loads(line)), _report)))})


if __name__ == "__main__":
    main()
