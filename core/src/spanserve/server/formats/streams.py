"""Plain endpoints that answer bit by bit: generators, async ones and those that are not."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from itertools import count
from typing import Any, NamedTuple

from spanserve.batching.call import Call, is_cancelled, note_failure
from spanserve.running.faults import carried
from spanserve.running.generators import BEGIN, CLOSE, STEP, Step
from spanserve.server.elsewhere import streamed
from spanserve.server.http.answer import Answer, Streamed, not_given
from spanserve.server.http.exchange import Exchange, unless_left
from spanserve.server.plain import PlainEndpoint
from spanserve.service.codecs import media
from spanserve.service.results.chunks import BYTES, TEXT, chunk
from spanserve.tracing.model.ids import ROOT, RUN
from spanserve.tracing.scope import entered

log = logging.getLogger(__name__)

_NUMBERS = count()
"""Of the generators of this process."""


class _End(NamedTuple):
    """What comes last: the generator ended, or raised."""

    error: BaseException | None


Chunks = asyncio.Queue[bytes | _End]
"""What a generator has yielded, encoded; at most one value."""


class StreamEndpoint(PlainEndpoint):
    """Sends what a method yields, each value as soon as it is there.

    Bytes go out as they are, texts as one text, and anything else as a line of JSON; texts and
    JSON go out as events (SSE) where the client asks for those.
    """

    @property
    def answers(self) -> tuple[str, ...]:
        """The formats of the answer; the first is the usual one."""
        if self.spec.returns is bytes:
            return (self.spec.media_type or BYTES,)
        return (TEXT if self.spec.returns is str else media.NDJSON, media.EVENTS)

    def given(self, exchange: Exchange) -> str | None:
        """Return the format that the client likes best; None: it takes none that there is."""
        return media.chosen(exchange.header(b"accept"), self.answers)

    async def answer_value(
        self,
        exchange: Exchange,
        value: Any,
        body: bytes,
    ) -> Answer | Streamed:
        """Answer a decoded request, as soon as there is a first value, or none will come."""
        given = self.given(exchange)
        if given is None:
            return self.refused(exchange, not_given(self.answers))
        chunks: Chunks = asyncio.Queue(maxsize=1)
        running = asyncio.create_task(self._run(exchange, given, value, body, chunks))
        try:
            first = await unless_left(exchange, self._first(exchange, chunks))
            if isinstance(first, _End) and first.error is not None:
                return self.refused(exchange, carried(first.error))
        except BaseException as error:
            running.cancel()
            if isinstance(error, Exception):
                return self.refused(exchange, error)
            raise
        if exchange.record is not None:
            exchange.record.first_item_ns = self.tracing.now_ns()
        content_type = f"{given}; charset=utf-8" if given == TEXT else given
        headers = [(b"content-type", content_type.encode()), (b"cache-control", b"no-store")]
        return Streamed(200, self._chunks(exchange, first, chunks, running), headers)

    async def _first(self, exchange: Exchange, chunks: Chunks) -> bytes | _End:
        limit_ms = self.limit_ms(exchange)
        if limit_ms is None:
            return await chunks.get()
        left_s = max(0.0, (self.deadline_ns(exchange) - self.tracing.now_ns()) / 1e9)
        try:
            return await asyncio.wait_for(chunks.get(), left_s)
        except TimeoutError:
            raise self.timed_out(exchange) from None

    async def _run(
        self, exchange: Exchange, given: str, value: Any, body: bytes, chunks: Chunks
    ) -> None:
        """Run the generator, all of it in this task: it keeps its context from value to value.

        Each value is encoded as it is yielded, for the generator may change it then. It goes on
        once that value was sent, as far as the connection has room.
        """
        record, tracing = exchange.record, self.tracing
        if record is not None:
            record.plain_run_started(tracing.now_ns())
        error: BaseException | None = None
        try:
            with entered(tracing.scope(exchange.context, RUN)):
                value = {**value, **exchange.injected}
                async with aclosing(self._chunked(exchange, given, value, body)) as yielded:
                    async for each in yielded:
                        await chunks.put(each)
                        await chunks.join()
        except (Exception, SystemExit, asyncio.CancelledError) as raised:
            if isinstance(raised, asyncio.CancelledError) and is_cancelled():
                raise
            error = raised
            note_failure(record, raised, tracing.now_ns())
        finally:
            if record is not None:
                record.plain_run_ended(tracing.now_ns())
        await chunks.put(_End(error))

    async def _chunked(
        self, exchange: Exchange, given: str, value: Mapping[str, Any], body: bytes
    ) -> AsyncGenerator[bytes, None]:
        """Yield what is sent of each value, encoded before the generator goes on."""
        runner = self._service.elsewhere
        if runner is not None:
            call = self.call(exchange, value, body)
            async with aclosing(streamed(runner, call, given)) as chunks:
                async for each in chunks:
                    yield each
            return
        async with aclosing(self._yielded(exchange, value)) as values:
            async for each in values:
                yield chunk(each, given, self.spec.returns, self.codec.encode, self.spec.route)

    def _yielded(self, exchange: Exchange, value: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
        if self.spec.asynchronous:
            return self._method(self.instance, **value)  # type: ignore[no-any-return]  # as it was declared
        return self._stepped(exchange, value)

    async def _stepped(
        self, exchange: Exchange, value: Mapping[str, Any]
    ) -> AsyncGenerator[Any, None]:
        """Run a generator that is not async where the model is, a step at a time."""
        name, number = self.spec.name, next(_NUMBERS)
        await self._call(exchange, BEGIN.format(name), number=number, arguments=value)
        try:
            while True:
                step: Step = await self._call(exchange, STEP.format(name), number=number)
                if not step.has_value:
                    return
                yield step.value
        finally:
            closing = self._call(exchange, CLOSE.format(name), number=number)
            await asyncio.shield(asyncio.ensure_future(closing))

    async def _call(self, exchange: Exchange, method: str, **arguments: Any) -> Any:
        call = Call(method, arguments, context=exchange.context)
        self.submit(call, None, self.tracing.now_ns())
        return await call.future

    async def _chunks(
        self,
        exchange: Exchange,
        first: bytes | _End,
        chunks: Chunks,
        running: asyncio.Task[None],
    ) -> AsyncGenerator[bytes, None]:
        try:
            chunk = first
            while not isinstance(chunk, _End):
                yield chunk
                chunks.task_done()
                chunk = await chunks.get()
            if chunk.error is not None:
                route, request_id = self.spec.route, exchange.request_id
                with entered(self.tracing.scope(exchange.record, ROOT)):
                    log.error("%s broke off its answer to request %s", route, request_id)
                raise carried(chunk.error)
        finally:
            running.cancel()
            await asyncio.wait((running,))
