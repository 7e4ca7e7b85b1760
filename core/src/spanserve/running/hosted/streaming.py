"""Streamed answers of a replica: an async generator, one value at a time."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from spanserve.running.faults import carried, is_fault
from spanserve.running.hosted.in_host import HostTrail
from spanserve.running.protocol import CallReply, CallRequest
from spanserve.running.wire import messages
from spanserve.running.wire.frames import NO_ARENA, Frame
from spanserve.running.wire.values import Parts
from spanserve.tracing.model.failure import failure_of

if TYPE_CHECKING:
    from spanserve.running.hosted.replica import Hosted


class Streams:
    """The generators that run, on the event loop; each goes on when its last value was sent."""

    def __init__(self, hosted: "Hosted") -> None:
        self._hosted = hosted
        self._running: dict[int, tuple[asyncio.Task[None], asyncio.Event]] = {}

    def start(self, token: int, given: str, asked: list[Any], frame: Frame) -> None:
        """Begin one."""
        wanted = asyncio.Event()
        task = asyncio.get_running_loop().create_task(self._run(token, given, asked, frame, wanted))
        self._running[token] = task, wanted
        task.add_done_callback(lambda _: self._running.pop(token, None))

    def go_on(self, token: int) -> None:
        """Have the next value made."""
        if token in self._running:
            self._running[token][1].set()

    def cancel(self, token: int) -> None:
        """End one whose client left."""
        if token in self._running:
            self._running[token][0].cancel()

    async def _run(
        self, token: int, given: str, asked: list[Any], frame: Frame, wanted: asyncio.Event
    ) -> None:
        hosted = self._hosted
        request = hosted.request(asked, frame)
        assert isinstance(request, CallRequest)  # noqa: S101  # a stream is a call
        trail, error = HostTrail(), None
        now_ns = hosted.now_ns
        trail.run_started(now_ns())
        failure = None
        try:
            async with aclosing(hosted.yielded(given, request)) as chunks:
                async for each in chunks:
                    parts = Parts()
                    parts.buffers.append(each)
                    hosted.send([messages.VALUE, token], parts)
                    await wanted.wait()
                    wanted.clear()
        except (Exception, SystemExit, asyncio.CancelledError) as raised:  # noqa: BLE001
            error = raised
            if is_fault(raised):
                failure = failure_of(raised, now_ns())
        trail.run_ended(now_ns(), failure)
        hosted.reply(token, request, trail, CallReply(None, error), NO_ARENA)


async def stepped(
    values: Iterator[Any],
    encode: Callable[[Any], bytes],
    put: Callable[[Callable[[], None]], None],
) -> AsyncGenerator[bytes, None]:
    """Yield what a generator does that is not async: each step is put among the model's jobs.

    A value is encoded there, too, before others can change it.

    It keeps its context from step to step, and the steps of others do not see it.
    """
    context, loop = copy_context(), asyncio.get_running_loop()

    async def there(call: Callable[[], Any]) -> Any:
        future = loop.create_future()

        def run() -> None:
            result, error = None, None
            try:
                result = context.run(call)
            except BaseException as raised:  # noqa: BLE001  # whatever it is, it is the stream's
                error = carried(raised)
            loop.call_soon_threadsafe(_settled, future, result, error)

        put(run)
        return await asyncio.shield(future)

    def step() -> bytes | None:
        for value in values:
            return encode(value)
        return None

    try:
        while (value := await there(step)) is not None:
            yield value
    finally:
        close = getattr(values, "close", None)
        if close is not None:
            await there(close)


def _settled(future: "asyncio.Future[Any]", result: Any, error: Exception | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
