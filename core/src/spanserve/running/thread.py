"""The model on a thread of the server, or on its event loop.

Jobs come to a runner only while it is free, so that whoever waits can decide as late as possible
what to run next; whoever finds it busy asks to be told.
"""

import asyncio
import contextvars
import logging
import queue
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial

from spanserve.running.faults import carried
from spanserve.running.host import Host
from spanserve.running.protocol import Job, RunnerGoneError
from spanserve.tracing.model.clock import Clock

log = logging.getLogger(__name__)


class ThreadRunner:
    """Runs jobs on a thread of its own, so that a model need not be thread-safe.

    A hand-over is a put on one queue there and one callback on the loop back: a fraction
    of what an executor and its futures cost.
    """

    slots = replicas = 1

    def __init__(self, host: Host, clock: Clock) -> None:
        self.host = host
        self._now_ns = clock.now_ns
        self._inbox: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._waiting: deque[Callable[[], None]] = deque()
        self._thread: threading.Thread | None = None
        self._job: Job | None = None
        self.free = 1
        self.gone = False
        self.free_ns = 0

    @property
    def idle(self) -> int:
        """As many as are free."""
        return self.free

    @property
    def awaited(self) -> bool:
        """Whether anyone waits for it."""
        return bool(self._waiting)

    @property
    def instance(self) -> object:
        """The service's instance; only after `start`."""
        return self.host.instance

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
        assert self.free, "a runner takes one job at a time"  # noqa: S101  # our own rule
        if self.gone:
            self._loop.call_soon(job.lost, _gone())
            return
        self.free = 0
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
            self.host.start()
        except BaseException as error:  # noqa: BLE001  # handed to whoever starts the runner
            started.set_exception(carried(error))
            return
        started.set_result(None)
        try:
            while (job := self._inbox.get()) is not None:
                go_on = partial(self._finished, ran(job, self.host))
                del job  # an idle runner must not keep what it ran last
                if not is_back(self._loop, go_on):
                    break
                del go_on
        except BaseException as error:  # noqa: BLE001  # anything may be raised into a thread
            is_back(self._loop, partial(self._thread_ended, error))
        try:
            self.host.close()
        except Exception:
            log.exception("the service's close() failed")

    def _finished(self, go_on: Callable[[], None]) -> None:
        self.free = 1
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
            if not self.free:
                return
            self._waiting.popleft()()


class InlineRunner:
    """Runs jobs at once, on the loop: for models of microseconds.

    It borrows the host of the thread that made the instance.
    """

    slots = replicas = free = idle = 1
    awaited = gone = False

    def __init__(self, host: Host, clock: Clock) -> None:
        self._host = host
        self._now_ns = clock.now_ns
        self.free_ns = 0

    async def start(self) -> None:
        """Do nothing: the host is started before."""

    def submit(self, job: Job) -> None:
        """Run the job now."""
        go_on = ran(job, self._host)
        self.free_ns = self._now_ns()
        go_on()

    def when_free(self, ask: Callable[[], None]) -> None:
        """Ask now: this runner is free whenever anyone can ask it."""
        ask()

    async def close(self, timeout_s: float) -> None:
        """Do nothing: the host's thread closes the instance."""


def ran(job: Job, host: Host) -> Callable[[], None]:
    """Run a job, whatever it raises; return how to go on, on the loop."""
    try:
        request = job.request()
        if request is None:
            return _nothing
        return partial(job.replied, host.run(request, job))
    except BaseException as error:  # no job, and nothing it runs, may end its thread
        log.exception("a job of the runner failed")
        return partial(job.lost, carried(error))


def is_back(loop: asyncio.AbstractEventLoop, go_on: Callable[[], None]) -> bool:
    """Go on, on the loop; False where it was closed under a job, and nobody waits any more."""
    try:
        loop.call_soon_threadsafe(go_on)
    except RuntimeError:
        log.warning("a job ended after its server did")
        return False
    return True


def _gone() -> RunnerGoneError:
    return RunnerGoneError("the model's thread ended; the server must be started again")


def _nothing() -> None:
    pass
