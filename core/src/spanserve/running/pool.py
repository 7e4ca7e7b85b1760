"""Threads for plain methods that may run several at a time."""

import asyncio
import contextvars
import queue
import threading

from spanserve.running.host import Host
from spanserve.running.protocol import Job
from spanserve.running.thread import is_back, ran


class ThreadPool:
    """Runs jobs on several threads at once, for a method that says it is thread-safe.

    Its threads are daemons: a job that never ends does not keep the process alive, as it would
    on an executor's.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._inbox: queue.SimpleQueue[tuple[contextvars.Context, Job] | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._run, name=f"{name}-{number}", daemon=True)
            for number in range(threads)
        ]

    def start(self, host: Host) -> None:
        """Start the threads; what they run, they run on this host."""
        self._loop = asyncio.get_running_loop()
        self._host = host
        for thread in self._threads:
            thread.start()

    def submit(self, job: Job) -> None:
        """Run a job as soon as a thread is free, in a copy of the caller's context."""
        self._inbox.put((contextvars.copy_context(), job))

    def close(self) -> None:
        """End each thread after its job."""
        for _ in self._threads:
            self._inbox.put(None)

    def _run(self) -> None:
        while (work := self._inbox.get()) is not None:
            context, job = work
            go_on = context.run(ran, job, self._host)
            del work, context, job  # as on the runner
            if not is_back(self._loop, go_on):
                return
            del go_on
