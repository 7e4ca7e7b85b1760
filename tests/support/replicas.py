"""Runners of processes for tests: a service in real replicas, and jobs that keep their answers."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from spanserve.batching.call import Call
from spanserve.running.process import Process
from spanserve.running.process.runner import ProcessRunner
from spanserve.running.process.settings import ProcessSettings
from spanserve.running.protocol import BatchReply, BatchRequest, Place
from spanserve.running.surroundings import Surroundings
from spanserve.server.operations.logs import logging_config
from spanserve.service.bundle.load import load
from spanserve.tracing.model.clock import Clock
from spanserve.tracing.model.failure import Failure
from spanserve.tracing.model.ids import ROOT
from spanserve.tracing.recording.attempt import Attempt, RunBy
from support.batching import tracing_off

SERVICE = Path(__file__).parent / "services" / "replicated.py"
DEADLINE_S = 30


@asynccontextmanager
async def replicas(service: Path = SERVICE, **settings: Any) -> AsyncIterator[ProcessRunner]:
    """Start a service in processes; they end with the block."""
    around = Surroundings(
        load(str(service)), tracing_off(Clock()), logging_config("warning", "text")
    )
    runner = Process.runner(ProcessSettings(**settings), around)
    await runner.start()
    try:
        yield runner
    finally:
        await runner.close(DEADLINE_S)


class Asked:
    """A batch of items as bodies, which keeps every answer that it is given."""

    def __init__(
        self, method: str, bodies: Sequence[bytes], values: Sequence[Any] | None = None
    ) -> None:
        self.method = method
        # What cannot go, so that the bodies do.
        self.values = [object() for _ in bodies] if values is None else values
        self.bodies = bodies
        self.answers: list[Any] = []
        self.over = asyncio.Event()

    def request(self) -> BatchRequest:
        return BatchRequest(self.method, self.values, self.bodies, 0, Place(None, ROOT))

    def sent_to(self, runner: RunBy) -> None:
        assert runner[0] == "process"

    def attempt(self, positions: Sequence[int] | None) -> Attempt:
        assert positions is None
        return Attempt()

    def failed(self, attempt: Attempt, failure: Failure) -> None:
        attempt.failure = failure

    def run_started(self, now_ns: int) -> None:
        raise AssertionError(now_ns)

    def run_ended(self, now_ns: int, failure: Failure | None) -> None:
        raise AssertionError(now_ns, failure)

    def replied(self, reply: BatchReply) -> None:
        self.answers.append(list(reply.results) if reply.error is None else reply.error)
        self.over.set()

    def lost(self, error: Exception) -> None:
        self.answers.append(error)
        self.over.set()

    async def answer(self) -> Any:
        """Wait for the one answer."""
        async with asyncio.timeout(DEADLINE_S):
            await self.over.wait()
        (answer,) = self.answers
        return answer


async def called(runner: ProcessRunner, method: str, body: bytes, **arguments: Any) -> Any:
    """Call a plain method, whose arguments a body may give."""
    call = Call(method, arguments, body=body, of_body=arguments)
    runner.submit(call)
    async with asyncio.timeout(DEADLINE_S):
        return await call.future


async def when_up(runner: ProcessRunner, count: int) -> None:
    """Wait until so many replicas are up."""
    async with asyncio.timeout(DEADLINE_S):
        while len(runner.up) != count:  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.01)
