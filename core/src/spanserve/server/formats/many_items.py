"""Requests of several items: each goes through the batcher as if it had come alone."""

import asyncio
import re
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import aclosing
from enum import Enum, auto
from typing import Any, Final, NamedTuple

from pydantic_core import to_json

from spanserve.batching.batch import RunFailedError
from spanserve.batching.batcher import ExpiredError, LateError, QueueFullError
from spanserve.batching.item import Item
from spanserve.errors import forget_frames
from spanserve.server.endpoint import BatchEndpoint
from spanserve.server.http.answer import RequestError, request_error
from spanserve.server.http.exchange import Exchange
from spanserve.server.http.pacing import Pace
from spanserve.service.codecs.problems import InvalidBody, InvalidItem, InvalidResult

LEAST_WINDOW: Final = 256


MOST_TOLD: Final = 100
"""Lines that were no items which are answered in full; those after them are told in short."""
_END: Final = object()
_STEP_BYTES: Final = 64 * 1024
_BLANK: Final = re.compile(rb"\s*")


Written = Callable[["BatchEndpoint", Exchange, "Crowd"], AsyncGenerator[bytes, None]]
"""Writes the results of a request's items."""


class Line(NamedTuple):
    """An item that was decoded from a line."""

    value: Any
    body: bytes


class LongLine(NamedTuple):
    """A line whose item is decoded in steps."""

    body: bytes


class Pause(Enum):
    """What is no item: a step of the work to come to one was done."""

    PAUSE = auto()


class Crowd:
    """The items of one request, of which so many at a time are queued; answered in order.

    `values` are decoded items, `Line`s where they were decoded one by one, or why one could not be;
    lines that are still to be decoded, and pauses.
    """

    def __init__(
        self, endpoint: BatchEndpoint, exchange: Exchange, values: Iterable[Any | Exception]
    ) -> None:
        self._endpoint = endpoint
        self._exchange = exchange
        self._values = iter(values)
        self._held: Any = None
        self._holds = False
        self._pause_s = 0.0
        self._waiting: deque[tuple[Item, asyncio.Future[Any]] | Exception] = deque()
        self._pace = Pace()
        self._window = max(LEAST_WINDOW, 2 * endpoint.batcher.limits.max_batch_size)

    async def begin(self) -> None:
        """Queue the first items; raises QueueFullError where there is room for none."""
        await self._fill()
        if self._holds and not self._waiting:
            raise QueueFullError(self._endpoint.batcher.queued, self._pause_s)

    async def results(self) -> AsyncGenerator[Any | Exception, None]:
        """Yield each item's result, or the reason why it has none."""
        try:
            while True:
                await self._fill()
                if self._waiting:
                    yield await self._next()
                elif self._holds:  # others fill the queue, and none of ours is in it
                    await asyncio.sleep(self._pause_s)
                else:
                    return
        finally:
            for each in self._waiting:
                if not isinstance(each, Exception):
                    self._endpoint.give_up(each[0])
                    each[1].cancel()

    async def all_results(self) -> list[Any]:
        """Return every item's result; raises the first reason why one has none.

        Where it is an item's own, it says which, unless there is one only.
        """
        found: list[Any] = []
        async with aclosing(self.results()) as results:
            async for result in results:
                if isinstance(result, RunFailedError) and (found or self._waiting):
                    raise _of_item(len(found), request_error(result))
                if isinstance(result, Exception):
                    raise result
                found.append(result)
        return found

    async def _next(self) -> Any | Exception:
        head = self._waiting[0]
        if isinstance(head, Exception):
            self._waiting.popleft()
            return head
        item, future = head
        endpoint, exchange = self._endpoint, self._exchange
        left_s: float | None = None
        if item.deadline_ns:
            left_s = max(0.0, (item.deadline_ns - endpoint.tracing.now_ns()) / 1e9)
        done, _ = await asyncio.wait([future], timeout=left_s)
        self._waiting.popleft()
        if not done:
            endpoint.give_up(item)
            future.cancel()
            return endpoint.timed_out(exchange)
        error = future.exception()
        if isinstance(error, ExpiredError):
            return endpoint.timed_out(exchange)
        endpoint.is_done(exchange, item)
        return future.result() if error is None else error

    async def _fill(self) -> None:
        while len(self._waiting) < self._window:
            await self._pace.checkpoint()
            if not self._holds:
                self._held = next(self._values, _END)
                if self._held is _END:
                    return
                if self._held is Pause.PAUSE:
                    continue
                if isinstance(self._held, LongLine):
                    self._held = await self._decoded(self._held.body)
            self._holds = True
            if not self._submitted(self._held):
                return
            self._holds, self._held = False, None

    async def _decoded(self, line: bytes) -> Line | Exception:
        try:
            return Line(await self._endpoint.decoded(line), line)
        except (InvalidBody, InvalidItem, RequestError) as error:
            return error

    def _submitted(self, value: Any | Exception) -> bool:
        """Queue an item; False where there is no room for it now."""
        if isinstance(value, Exception):
            self._waiting.append(value)
            return True
        endpoint, exchange = self._endpoint, self._exchange
        value, body = value if isinstance(value, Line) else (value, None)
        future = asyncio.get_running_loop().create_future()
        try:
            item = endpoint.batcher.submit(
                value,
                request=endpoint.member(exchange),
                gone=exchange.asks_if_client_left,
                waiter=future,
                deadline_ns=endpoint.deadline_ns(exchange),
                body=None if body is None else endpoint.kept(body),
            )
        except QueueFullError as error:
            self._pause_s = error.retry_after_s
            return False
        except LateError as error:
            self._waiting.append(error)
            return True
        if exchange.record is not None:
            exchange.record.item_queued(item)
        self._waiting.append((item, future))
        return True


def items_of_lines(
    endpoint: BatchEndpoint, body: bytes
) -> Iterator[Line | LongLine | Exception | Pause]:
    """Yield the item of each line that is not blank, or why it is none."""
    decode = endpoint.codec.decode
    start, end = 0, len(body)
    while start < end:
        blank = _BLANK.match(body, start, start + _STEP_BYTES)
        start = blank.end() if blank else start
        if start == end or body[start : start + 1].isspace():
            yield Pause.PAUSE
            continue
        stop = body.find(b"\n", start)
        stop = end if stop < 0 else stop
        line = body[start:stop].rstrip()
        start = stop + 1
        if len(line) > endpoint.most_at_once:
            yield LongLine(line)
            continue
        value: Any
        try:
            value = Line(decode(line), line)
        except (InvalidBody, InvalidItem) as error:
            value = error
            forget_frames(error)
        yield value


def _of_item(index: int, refusal: RequestError) -> RequestError:
    return RequestError(
        refusal.status,
        refusal.code,
        f"item {index}: {refusal.message}",
        details=refusal.details,
        detail=refusal.detail,
        headers=refusal.headers,
    )


async def lines(
    endpoint: BatchEndpoint, exchange: Exchange, crowd: Crowd
) -> AsyncGenerator[bytes, None]:
    """Yield a line for each item, as soon as it and all before it have their results.

    That of an item that failed has the error and its `index` among the items, from 0. After many
    lines that were no items, those that follow each other share a short one.
    """
    told = 0
    run: _Run | None = None
    index = -1
    async with aclosing(crowd.results()) as results:
        async for result in results:
            index += 1
            if isinstance(result, InvalidBody | InvalidItem):
                told += 1
                if told > MOST_TOLD:
                    run = run or _Run(request_error(result).code, index)
                    continue
            if run is not None:
                yield run.line(index - 1)
                run = None
            yield written(endpoint, exchange, result, index) + b"\n"
        if run is not None:
            yield run.line(index)


class _Run(NamedTuple):
    """Lines that were no items, one after the other."""

    code: str
    first: int

    def line(self, last: int) -> bytes:
        """Return the line that stands for all of them."""
        short = {"error": {"code": self.code}, "index": self.first, "last_index": last}
        return to_json(short) + b"\n"


def written(
    endpoint: BatchEndpoint, exchange: Exchange, result: Any | Exception, index: int
) -> bytes:
    """Return one item's result as JSON, or its error, with the item's index."""
    line = _line(endpoint, result)
    if isinstance(line, bytes):
        return line
    error = line.body(exchange.request_id, exchange.trace_id)
    return to_json({"error": error, "index": index})


def _line(endpoint: BatchEndpoint, result: Any | Exception) -> bytes | RequestError:
    if isinstance(result, Exception):
        return request_error(result)
    try:
        return endpoint.codec.encode(result)
    except InvalidResult as error:
        return request_error(error)
