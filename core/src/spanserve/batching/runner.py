"""Where the model runs: one place that runs one job after another.

A runner owns the service's instance. Jobs come to it only while it is free, so that
whoever waits can decide as late as possible what to run next; whoever finds it busy asks
to be told. `ThreadRunner` runs jobs on a thread of this process. A runner in another
process, or on a cluster, needs no more than this protocol.
"""

import asyncio
import contextvars
import logging
import queue
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol

from spanserve.tracing.clock import Clock

log = logging.getLogger(__name__)


class Job(Protocol):
    """One piece of work for a runner."""

    def run(self, instance: object) -> None:
        """Do the work, where the runner runs; keep what it raises, and raise nothing."""

    def done(self) -> None:
        """Go on with what became of it, on the event loop."""


class Runner(Protocol):
    """Runs one job at a time on the service's instance; used from one event loop."""

    @property
    def busy(self) -> bool:
        """Whether a job is running."""

    @property
    def free_ns(self) -> int:
        """When the runner last became free (a monotonic mark)."""

    async def start(self) -> None:
        """Make the instance and warm it up; raises what the user's code raises."""

    def submit(self, job: Job) -> None:
        """Run a job; only while the runner is not busy."""

    def when_free(self, ask: Callable[[], None]) -> None:
        """Call `ask` once, on the loop, as soon as the runner is free; first come, first served."""

    async def close(self) -> None:
        """Finish the job that is running, and close the instance."""


class ThreadRunner:
    """Runs jobs on a thread of its own, so that a model need not be thread-safe.

    A hand-over is a put on one queue there and one callback on the loop back: a fraction
    of what an executor and its futures cost.
    """

    def __init__(self, instantiate: Callable[[], object], clock: Clock) -> None:
        self._instantiate = instantiate
        self._now_ns = clock.now_ns
        self._inbox: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._waiting: deque[Callable[[], None]] = deque()
        self._instance: object | None = None
        self._thread: threading.Thread | None = None
        self.busy = False
        self.free_ns = 0

    @property
    def instance(self) -> object:
        """The service's instance; only after `start`."""
        return self._instance

    async def start(self) -> None:
        """Make the instance on the runner's thread, and warm it up there."""
        self._loop = asyncio.get_running_loop()
        started: Future[None] = Future()
        context = contextvars.copy_context()
        self._thread = threading.Thread(
            target=context.run, args=(self._run, started), name="spanserve-runner", daemon=True
        )
        self._thread.start()
        await asyncio.wrap_future(started)
        self.free_ns = self._now_ns()

    def submit(self, job: Job) -> None:
        """Hand a job to the thread."""
        assert not self.busy, "a runner takes one job at a time"  # noqa: S101  # our own rule
        self.busy = True
        self._inbox.put(job)

    def when_free(self, ask: Callable[[], None]) -> None:
        """Remember who waits."""
        self._waiting.append(ask)

    async def close(self) -> None:
        """Let the thread finish its job, then end it."""
        if self._thread is None:
            return
        self._inbox.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self, started: Future[None]) -> None:
        try:
            self._instance = self._instantiate()
            _call_optional(self._instance, "warm_up")
        except BaseException as error:  # noqa: BLE001  # handed to whoever starts the runner
            started.set_exception(error)
            return
        started.set_result(None)
        finished = self._finished
        while (job := self._inbox.get()) is not None:
            job.run(self._instance)
            try:
                self._loop.call_soon_threadsafe(finished, job)
            except RuntimeError:  # the loop was closed under a job: nobody waits any more
                log.warning("a job ended after its server did")
                break
        try:
            _call_optional(self._instance, "close")
        except Exception:
            log.exception("the service's close() failed")

    def _finished(self, job: Job) -> None:
        self.busy = False
        self.free_ns = self._now_ns()
        job.done()
        # Each is asked at most once a round: one that decides to wait asks again later.
        for _ in range(len(self._waiting)):
            if self.busy:
                return
            self._waiting.popleft()()


class InlineRunner:
    """Runs jobs at once, on the loop: for models of microseconds.

    It borrows the instance of the thread that made it.
    """

    def __init__(self, owner: ThreadRunner, clock: Clock) -> None:
        self._owner = owner
        self._now_ns = clock.now_ns
        self.busy = False
        self.free_ns = 0

    async def start(self) -> None:
        """Do nothing: the owner is started before."""

    def submit(self, job: Job) -> None:
        """Run the job now."""
        job.run(self._owner.instance)
        self.free_ns = self._now_ns()
        job.done()

    def when_free(self, ask: Callable[[], None]) -> None:
        """Ask now: this runner is free whenever anyone can ask it."""
        ask()

    async def close(self) -> None:
        """Do nothing: the owner closes the instance."""


def _call_optional(instance: object, method: str) -> None:
    call = getattr(instance, method, None)
    if call is not None:
        call()
