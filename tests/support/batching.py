"""What tests of the batcher and of runners share: a runner and a loop that stand still."""

import asyncio
import json
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

from spanserve.batching.batcher import Batcher
from spanserve.batching.item import Item
from spanserve.batching.policy import Policy
from spanserve.config.model import TracingConfig
from spanserve.running.host import BatchMethod, Host, PlainMethod
from spanserve.running.protocol import Job, Runner
from spanserve.running.thread import ran
from spanserve.service.results.results import split
from spanserve.tracing.model.clock import Clock
from spanserve.tracing.model.span import Resource
from spanserve.tracing.tracing import Tracing


class HandClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_ns = 1_000_000_000

    def advance(self, ms: float) -> None:
        self.now_ns += round(ms * 1e6)

    def as_clock(self) -> Clock:
        return Clock(lambda: self.now_ns, lambda: self.now_ns)


class StillLoop(asyncio.SelectorEventLoop):
    """An event loop whose timers go by a test's clock. It keeps what nobody handled."""

    def __init__(self, clock: HandClock) -> None:
        super().__init__()
        self._hand = clock
        self.unhandled: list[dict[str, Any]] = []
        self.set_exception_handler(lambda _, context: self.unhandled.append(context))

    def time(self) -> float:
        return self._hand.now_ns / 1e9

    def settle(self, turns: int = 5) -> None:
        """Let everything happen that can happen now."""

        async def some_turns() -> None:
            for _ in range(turns):
                await asyncio.sleep(0)

        self.run_until_complete(some_turns())


class StepRunner:
    """A runner whose jobs run and end when the test says so; it keeps the contract of runners."""

    slots = replicas = 1

    def __init__(self, host: Host, clock: Clock) -> None:
        self.host = host
        self._now_ns = clock.now_ns
        self._waiting: deque[Callable[[], None]] = deque()
        self.job: Job | None = None
        self.gone = False
        self.free_ns = 0

    @property
    def free(self) -> int:
        return self.job is None

    @property
    def idle(self) -> int:
        return self.free

    @property
    def awaited(self) -> bool:
        return bool(self._waiting)

    async def start(self) -> None:
        self.host.start()
        self.free_ns = self._now_ns()

    def submit(self, job: Job) -> None:
        assert self.job is None, "two jobs at once"
        self.job = job

    def when_free(self, ask: Callable[[], None]) -> None:
        self._waiting.append(ask)

    async def close(self, timeout_s: float) -> None:
        del timeout_s
        self.step()
        self.host.close()

    def step(self) -> None:
        """Run the job, if there is one, and let everybody go on."""
        job, self.job = self.job, None
        if job is None:
            return
        go_on = ran(job, self.host)
        self.free_ns = self._now_ns()
        go_on()
        for _ in range(len(self._waiting)):
            if not self.free:
                return
            self._waiting.popleft()()


class Thing(NamedTuple):
    """An item: its name, its batch key, and what the method does on seeing it."""

    name: int
    key: int = 0
    fate: str = "answer"


class ThingCodec:
    """The codec of a method on lists of things."""

    def batch_key(self, item: Thing) -> Hashable:
        return item.key

    def decode_again(self, body: bytes) -> Thing:
        return Thing(*json.loads(body))

    def collate(self, items: Sequence[Thing]) -> list[Thing]:
        return list(items)

    def split(self, result: Any, count: int) -> Sequence[Any]:
        return split(result, count, where="Things.answer")


def answer_of(item: Item) -> asyncio.Future[Any]:
    """Return what waits for an item that was submitted without a waiter of its own."""
    assert isinstance(item.future, asyncio.Future)
    return item.future


def tracing_off(clock: Clock) -> Tracing:
    """Return a gate with no tracer behind it."""
    return Tracing([], TracingConfig(), Resource("test", {}), clock=clock)


def host_of(
    clock: Clock,
    instantiate: Callable[[], object] = object,
    **methods: Callable[..., Any] | BatchMethod | PlainMethod,
) -> Host:
    """Return a host; its methods take things, unless it is said what they take."""
    hosted = {
        name: BatchMethod(method, ThingCodec()) if callable(method) else method
        for name, method in methods.items()
    }
    return Host(instantiate, hosted, tracing_off(clock))


def batcher_on(
    runner: Runner,
    clock: Clock,
    *,
    max_batch_size: int = 4,
    max_latency_ms: float = 50,
    max_queue: int = 100,
    isolate: bool = True,
) -> Batcher:
    """Return a real batcher with a real policy, for the method `answer`; not started."""
    return Batcher(
        "/answer",
        "answer",
        ThingCodec(),
        policy=Policy(max_batch_size=max_batch_size, max_latency_ms=max_latency_ms),
        runner=runner,
        tracing=tracing_off(clock),
        max_queue=max_queue,
        isolate=isolate,
    )
