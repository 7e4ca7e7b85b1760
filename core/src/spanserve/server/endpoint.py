"""One inference route: body -> item -> batcher or method -> response.

`answer` is the whole of a request's own work; it is reached from the front door, from
FastAPI's routing and from FastAPI's own handling alike.
"""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from functools import cached_property
from typing import Any, TypeVar

from pydantic import BaseModel

from spanserve.batching.batch import RunFailedError
from spanserve.batching.batcher import AbandonedError, Batcher, ExpiredError
from spanserve.batching.item import Item, Waiter
from spanserve.errors import forget_frames
from spanserve.server.http.answer import (
    JSON_ONLY,
    NOBODY,
    Answer,
    ErrorBody,
    RequestError,
    Streamed,
    body_timed_out,
    cause_of,
    in_parts,
    request_error,
    timed_out,
    too_long_json,
)
from spanserve.server.http.exchange import ClientLeftError, Exchange, within
from spanserve.server.http.pacing import paced
from spanserve.service.arguments import Parameter
from spanserve.service.codecs.json import LONG_BODY_BYTES, BatchCodec, CallCodec, ListBatchCodec
from spanserve.service.codecs.media import JSON
from spanserve.service.results.large_results import STEP_ENTRIES, encoded, weight
from spanserve.service.spec import ApiSpec
from spanserve.tracing.model.failure import failure_of
from spanserve.tracing.recording.record import TracedRequest
from spanserve.tracing.tracing import Tracing

Read = TypeVar("Read")
log = logging.getLogger(__name__)


class Endpoint(ABC):
    """What batch and plain endpoints have in common: a codec, a limit, an error contract."""

    codec: BatchCodec | CallCodec

    @property
    def formats(self) -> tuple[str, ...]:
        """The formats that a body may be in."""
        return self.codec.reads

    @property
    def answers(self) -> tuple[str, ...]:
        """The formats that an answer may be in; the first is the usual one."""
        return self.codec.gives

    error_body: type[BaseModel] = ErrorBody
    """The body of its errors, for the schema."""

    @property
    def body_parameters(self) -> tuple[Parameter, ...]:
        """What the body holds, for the schema."""
        return self.codec.body_parameters

    @property
    def response_annotation(self) -> Any:
        """The type of the answer's JSON, for the schema."""
        return self.codec.response_annotation

    def in_shape(self, refusal: Answer) -> Answer:
        """Return an error in the form that the endpoint gives all of them."""
        return refusal

    @property
    def speaks_json(self) -> bool:
        """Whether bodies and answers are JSON, unless a request says otherwise."""
        return self.codec.has_json

    @cached_property
    def result_headers(self) -> Sequence[tuple[bytes, bytes]]:
        """The headers of a result's answer."""
        [given, *_] = self.codec.gives or (JSON,)
        return JSON_ONLY if given == JSON else [(b"content-type", given.encode())]

    def __init__(
        self,
        spec: ApiSpec,
        *,
        tracing: Tracing,
        max_request_bytes: int,
        max_json_bytes: int | None,
        request_timeout_ms: float | None,
        with_timing: bool,
    ) -> None:
        self.spec = spec
        self.tracing = tracing
        self.is_traced = tracing.traces(spec.route)
        # Of a request that is not traced it tells the code of a batch of one what to pass on.
        self._is_member = self.is_traced or not tracing.on
        self._now_ns = tracing.now_ns
        self.max_request_bytes = max_request_bytes
        self.max_json_bytes = max_request_bytes if max_json_bytes is None else max_json_bytes
        """Bytes of JSON that may be parsed as a whole."""
        self.most_at_once = min(LONG_BODY_BYTES, self.max_json_bytes, max_request_bytes)
        """Bytes of JSON that are decoded without a thought."""
        self.timeout_ms = request_timeout_ms
        self._with_timing = with_timing

    async def answer(self, exchange: Exchange) -> Answer | Streamed:
        """Answer a request from its body's bytes."""
        record = exchange.record
        self.reads(exchange)
        try:
            body = await self.body(exchange)
            value = await self.value(exchange, body)
        except Exception as error:  # noqa: BLE001  # every error has an answer, or is the client's leaving
            return self.refused(exchange, error)
        finally:
            if record is not None:
                record.decode_ended(self._now_ns())
        return await self.answer_value(exchange, value, body)

    def member(self, exchange: Exchange) -> TracedRequest | None:
        """Return what a batch is told of a request."""
        return exchange.record or (exchange if self._is_member else None)

    async def value(self, exchange: Exchange, body: bytes) -> Any:  # noqa: ARG002  # some need its head
        """Return the value of a request's body."""
        return await self.decoded(body)

    async def decoded(self, body: bytes) -> Any:
        """Return a body's value; that of a long one is made in steps, as far as there are any."""
        if len(body) <= self.most_at_once:
            return self.codec.decode(body)
        if not self.codec.reads_in_steps:
            self.check_json(len(body))
        return await paced(self.codec.steps(body))

    def check_json(self, length: int) -> None:
        """Raise RequestError (413) where JSON is too long to be parsed as a whole."""
        if length > self.max_json_bytes:
            raise too_long_json(self.max_json_bytes)

    def reads(self, exchange: Exchange) -> None:
        """Begin to read a body."""
        if exchange.record is not None:
            exchange.record.decode_started(self._now_ns())

    async def answer_value(self, exchange: Exchange, value: Any, body: bytes) -> Answer | Streamed:
        """Answer a request whose body was decoded, here or by FastAPI."""
        try:
            return await self.respond(exchange, value, body)
        except Exception as error:  # noqa: BLE001  # as in `answer`
            return self.refused(exchange, error)

    async def respond(self, exchange: Exchange, value: Any, body: bytes) -> Answer | Streamed:
        """Get the result of a decoded value, in time, and encode it."""
        limit_ms = self.limit_ms(exchange)
        if limit_ms is None:
            result = await self.result(exchange, value, body)
        else:
            result = await self._result_in_time(exchange, value, body, limit_ms)
        return await self.encoded(exchange, result)

    def limit_ms(self, exchange: Exchange) -> float | None:
        """Return how long the answer may take: what the client says, or less by the config."""
        own_ms, asked_ms = self.timeout_ms, exchange.limit_ms
        if own_ms is None or asked_ms is None:
            return own_ms if asked_ms is None else asked_ms
        return min(own_ms, asked_ms)

    def deadline_ns(self, exchange: Exchange) -> int:
        """Return when the answer must be there, a monotonic mark; 0: at no time."""
        limit_ms = self.limit_ms(exchange)
        return 0 if limit_ms is None else exchange.started_ns + int(limit_ms * 1e6)

    async def body(self, exchange: Exchange) -> bytes:
        """Read a body, in the time that the answer may take; raises RequestError (413, 408)."""
        reading = exchange.body(self.max_request_bytes)
        return await self.in_time(exchange, reading)

    async def in_time(self, exchange: Exchange, reading: Awaitable[Read]) -> Read:
        """Wait for what is read of a body; raises RequestError (408) at the deadline."""
        deadline_ns = self.deadline_ns(exchange)
        if not deadline_ns:
            return await reading
        limit = asyncio.timeout(max(0.0, (deadline_ns - self._now_ns()) / 1e9))
        try:
            async with limit:
                return await reading
        except TimeoutError:
            if limit.expired():
                raise self.body_timed_out(exchange) from None
            raise

    def body_timed_out(self, exchange: Exchange) -> RequestError:
        """Return the error of a request whose deadline passed before its body was there."""
        return body_timed_out(*self._passed(exchange))

    def timed_out(self, exchange: Exchange) -> RequestError:
        """Return the error of a request whose deadline passed."""
        return timed_out(*self._passed(exchange))

    def _passed(self, exchange: Exchange) -> tuple[float, str]:
        """Return the limit that passed, and what set it."""
        limit_ms = self.limit_ms(exchange) or 0.0
        by_config = limit_ms == self.timeout_ms
        return limit_ms, "server.request_timeout_ms" if by_config else "X-Request-Timeout-Ms"

    async def encoded(self, exchange: Exchange, result: Any) -> Answer | Streamed:
        """Return a result as an answer, a large one in steps; raises InvalidResult."""
        record, encode = exchange.record, self.codec.encode
        if record is not None:
            record.encode_started(self._now_ns())
        try:
            if weight(result) <= STEP_ENTRIES:
                return Answer(200, encode(result), self.result_headers)
            return in_parts(await paced(encoded(result, encode)))
        finally:
            if record is not None:
                record.encode_ended(self._now_ns())

    async def _result_in_time(
        self, exchange: Exchange, value: Any, body: bytes, limit_ms: float
    ) -> Any:
        spent_ms = (self._now_ns() - exchange.started_ns) / 1e6
        limit = asyncio.timeout(max(0.0, limit_ms - spent_ms) / 1e3)
        try:
            async with limit:
                return await self.result(exchange, value, body)
        except TimeoutError:
            if limit.expired():
                raise self.timed_out(exchange) from None
            raise
        except ExpiredError:
            raise self.timed_out(exchange) from None

    @abstractmethod
    async def result(self, exchange: Exchange, value: Any, body: bytes) -> Any:
        """Run the user's method for the value of a body; what it gives is private."""

    def refused(self, exchange: Exchange, error: Exception) -> Answer:
        """Return the answer to a failed request, which goes nowhere where the client left."""
        answer = self._refused(exchange, error)
        if exchange.failures is not None:
            cause = cause_of(error)
            exchange.failures.append((cause if isinstance(cause, Exception) else error, answer))
        return answer

    def _refused(self, exchange: Exchange, error: Exception) -> Answer:
        if isinstance(error, (AbandonedError, ClientLeftError)):
            exchange.client_left = True
            forget_frames(error)
            return NOBODY
        refusal = request_error(error)
        # A refusal of the server's own needs no stack, and a batch has told of its failure.
        unforeseen = not isinstance(error, (RequestError, RunFailedError))
        if refusal.status >= 500 and unforeseen:  # noqa: PLR2004
            log.error(
                "%s failed for request %s", self.spec.route, exchange.request_id, exc_info=error
            )
            if exchange.failure is None and exchange.trace_id:
                exchange.failure = failure_of(error, self._now_ns())
        forget_frames(error)
        return refusal.answer(exchange.request_id, exchange.trace_id)


class BatchEndpoint(Endpoint):
    """Answers each request with its own result of a batch."""

    codec: BatchCodec

    def __init__(
        self, spec: ApiSpec, batcher: Batcher, *, carries: bool = False, **options: Any
    ) -> None:
        """With `carries` items go to other processes: what cannot is made there of its body."""
        super().__init__(spec, **options)
        self.codec = spec.batch_codec
        self.batcher = batcher
        may_run_again = spec.isolate and batcher.limits.max_batch_size > 1
        self._keeps_bodies = (self.codec.gives_items and may_run_again) or (
            carries and isinstance(self.codec, ListBatchCodec)
        )

    async def result(self, exchange: Exchange, value: Any, body: bytes) -> Any:
        """Queue the item and wait for its result."""
        future = asyncio.get_running_loop().create_future()
        item = self.batcher.submit(
            value,
            request=self.member(exchange),
            gone=exchange.asks_if_client_left,
            waiter=future,
            deadline_ns=self.deadline_ns(exchange),
            body=self.kept(body),
        )
        if exchange.record is not None:
            exchange.record.item_queued(item)
        try:
            result = await future
        except asyncio.CancelledError:
            self.give_up(item)
            raise
        except Exception:
            self.is_done(exchange, item)
            raise
        self.is_done(exchange, item)
        return result

    def begin(
        self, exchange: Exchange, body: bytes, *, waiter: Waiter, gone: Callable[[], bool]
    ) -> Item:
        """Queue the item of a body that was read, for `waiter`.

        `gone` says whether the client left. Raises what `refused` has an answer to.
        """
        if len(body) > self.most_at_once:
            within(body, self.max_request_bytes)
            if not self.codec.reads_in_steps:
                self.check_json(len(body))
        value = self.codec.decode(body)
        limited = self.timeout_ms is not None or exchange.limit_ms is not None
        return self.batcher.submit(
            value,
            request=exchange if self._is_member else None,
            gone=gone,
            waiter=waiter,
            deadline_ns=self.deadline_ns(exchange) if limited else 0,
            body=body if self._keeps_bodies else None,
        )

    def kept(self, body: bytes) -> bytes | None:
        """Return an item's body where another run may need it, to make the item anew."""
        return body if self._keeps_bodies else None

    def give_up(self, item: Item) -> None:
        """Wait no more for an item."""
        self.batcher.abandon(item)
        item.gone = None  # its batch may be running and need the rest

    def is_done(self, exchange: Exchange, item: Item) -> None:
        """Let go of an item that has its result, or failed, and note its times."""
        item.forget()
        if self._with_timing and (batch := item.batch) is not None:
            ran_ns = batch.ended_ns if batch.retries else batch.ran_ns
            if ran_ns:
                exchange.timing = (batch.started_ns - item.queued_ns, ran_ns - batch.run_ns)
