"""Where the model runs: one place that runs one job after another.

A runner owns the service's instance. Jobs come to it only while it is free, so that
whoever waits can decide as late as possible what to run next; whoever finds it busy asks
to be told. `ThreadRunner` runs jobs on a thread of this process. A runner in another
process, or on a cluster, needs no more than this protocol.
"""

import asyncio
import contextvars
import inspect
import logging
import queue
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Protocol

from spanserve.errors import SpanserveError
from spanserve.tracing.model.clock import Clock

log = logging.getLogger(__name__)


class RunnerGoneError(SpanserveError):
    """The runner's thread ended, and nothing runs the model any more."""


class CarriedError(SpanserveError):
    """The user's code raised what no future can hold, or would end the server: the cause."""


class Job(Protocol):
    """One piece of work for a runner."""

    def run(self, instance: object) -> None:
        """Do the work, where the runner runs; keep what it raises, and raise nothing."""

    def done(self) -> None:
        """Go on with what became of it, on the event loop."""

    def lost(self, error: Exception) -> None:
        """Fail, in place of `done`, on the event loop: it raised after all, or was never run."""


class Runner(Protocol):
    """Runs one job at a time on the service's instance; used from one event loop."""

    @property
    def busy(self) -> bool:
        """Whether a job is running."""

    @property
    def gone(self) -> bool:
        """Whether it will run nothing any more; what is submitted is lost at once."""

    @property
    def awaited(self) -> bool:
        """Whether anyone asked to be told when it is free, and was not yet."""

    @property
    def free_ns(self) -> int:
        """When the runner last became free (a monotonic mark)."""

    async def start(self) -> None:
        """Make the instance and warm it up; raises what the user's code raises."""

    def submit(self, job: Job) -> None:
        """Run a job; only while the runner is not busy."""

    def when_free(self, ask: Callable[[], None]) -> None:
        """Call `ask` once, on the loop, as soon as the runner is free; first come, first served."""

    async def close(self, timeout_s: float) -> None:
        """Finish the job that is running, and close the instance; give up after `timeout_s`."""


class ThreadRunner:
    """Runs jobs on a thread of its own, so that a model need not be thread-safe.

    A hand-over is a put on one queue there and one callback on the loop back: a fraction
    of what an executor and its futures cost.
    """

    def __init__(
        self,
        instantiate: Callable[[], object],
        clock: Clock,
        starting: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """`starting` is what the instance is made and warmed up in."""
        self._instantiate = instantiate
        self._starting = starting
        self._now_ns = clock.now_ns
        self._inbox: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._waiting: deque[Callable[[], None]] = deque()
        self._instance: object | None = None
        self._thread: threading.Thread | None = None
        self._job: Job | None = None
        self.busy = False
        self.gone = False
        self.free_ns = 0

    @property
    def awaited(self) -> bool:
        """Whether anyone waits for it."""
        return bool(self._waiting)

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
        if self.gone:
            self._loop.call_soon(job.lost, _gone())
            return
        self.busy = True
        self._job = job
        self._inbox.put(job)

    def when_free(self, ask: Callable[[], None]) -> None:
        """Remember who waits."""
        self._waiting.append(ask)

    async def close(self, timeout_s: float) -> None:
        """Let the thread finish its job, then end it; one that takes too long is left behind."""
        if self._thread is None:
            return
        self._inbox.put(None)
        await asyncio.to_thread(self._thread.join, timeout_s)
        if self._thread.is_alive():
            log.warning("the service's code still runs after %g s; it is left behind", timeout_s)

    def _run(self, started: Future[None]) -> None:
        try:
            with self._starting():
                self._instance = self._instantiate()
                _call_optional(self._instance, "warm_up")
        except BaseException as error:  # noqa: BLE001  # handed to whoever starts the runner
            started.set_exception(carried(error))
            return
        started.set_result(None)
        try:
            while (job := self._inbox.get()) is not None:
                go_on = partial(self._finished, ran(job, self._instance))
                del job  # an idle runner must not keep what it ran last
                if not is_back(self._loop, go_on):
                    break
                del go_on
        except BaseException as error:  # noqa: BLE001  # anything may be raised into a thread
            is_back(self._loop, partial(self._thread_ended, error))
        try:
            _call_optional(self._instance, "close")
        except Exception:
            log.exception("the service's close() failed")

    def _finished(self, go_on: Callable[[], None]) -> None:
        self.busy = False
        self._job = None
        self.free_ns = self._now_ns()
        try:
            go_on()
        finally:  # whatever became of that job, the others are not to wait for ever
            self._ask_those_who_wait()

    def _thread_ended(self, error: BaseException) -> None:
        """Fail the job that was there, and from now on every other."""
        self.gone = True
        log.critical("the runner's thread ended; nothing runs the model any more", exc_info=error)
        job = self._job
        self._finished(partial(job.lost, _gone()) if job is not None else _nothing)

    def _ask_those_who_wait(self) -> None:
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
        self.busy = self.awaited = self.gone = False
        self.free_ns = 0

    async def start(self) -> None:
        """Do nothing: the owner is started before."""

    def submit(self, job: Job) -> None:
        """Run the job now."""
        go_on = ran(job, self._owner.instance)
        self.free_ns = self._now_ns()
        go_on()

    def when_free(self, ask: Callable[[], None]) -> None:
        """Ask now: this runner is free whenever anyone can ask it."""
        ask()

    async def close(self, timeout_s: float) -> None:
        """Do nothing: the owner closes the instance."""


def ran(job: Job, instance: object) -> Callable[[], None]:
    """Run a job, whatever it raises; return how to go on, on the loop."""
    try:
        job.run(instance)
    except BaseException as error:  # no job, and nothing it runs, may end its thread
        log.exception("a job of the runner failed")
        return partial(job.lost, carried(error))
    return job.done


def carried(error: BaseException) -> Exception:
    """Return an exception in a form that a future can hold and an event loop survives.

    A future takes no StopIteration, and SystemExit would end the server.
    """
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    try:
        text = repr(error)
    except Exception:  # noqa: BLE001  # a user's __repr__ may do anything
        text = type(error).__name__
    carrier = CarriedError(f"the service raised {text}")
    carrier.__cause__ = error
    return carrier


def _gone() -> RunnerGoneError:
    return RunnerGoneError("the model's thread ended; the server must be started again")


def _nothing() -> None:
    pass


def is_back(loop: asyncio.AbstractEventLoop, go_on: Callable[[], None]) -> bool:
    """Go on, on the loop; False where it was closed under a job, and nobody waits any more."""
    try:
        loop.call_soon_threadsafe(go_on)
    except RuntimeError:
        log.warning("a job ended after its server did")
        return False
    return True


def _call_optional(instance: object, method: str) -> None:
    """Call a method if it is there; one that is async is awaited by others, on the loop."""
    call = getattr(instance, method, None)
    if call is not None and not inspect.iscoroutinefunction(call):
        call()
