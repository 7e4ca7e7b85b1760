"""Calls that may take long, or for ever, beside the event loop."""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from spanserve.running.faults import carried

T = TypeVar("T")


async def on_thread(call: Callable[[], T], *, name: str) -> T:
    """Call something on a daemon thread: one that never ends keeps no process alive."""
    future: Future[T] = Future()
    context = contextvars.copy_context()

    def run() -> None:
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001  # handed to whoever waits
            future.set_exception(carried(error))
        else:
            future.set_result(result)

    threading.Thread(target=context.run, args=(run,), name=name, daemon=True).start()
    return await asyncio.wrap_future(future)
