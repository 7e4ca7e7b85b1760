"""Where the file is read: on few threads, with few who wait."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

T = TypeVar("T")

THREADS: Final = 2
MOST_WAITING: Final = 16


class BusyError(Exception):
    """So many questions wait already that one more would only wait, too."""


class ReadingThreads:
    """Threads of their own for whatever reads the file: the event loop never waits for that."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="spanserve-traces")
        self._waiting = 0

    async def run(self, read: Callable[[], T]) -> T:
        """Return what a function returns, run on one of the threads; raises BusyError."""
        if self._waiting >= MOST_WAITING:
            raise BusyError
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, read)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Take no more; what runs is finished."""
        self._pool.shutdown(wait=False, cancel_futures=True)
