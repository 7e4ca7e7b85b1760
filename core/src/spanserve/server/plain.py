"""Plain endpoints: each request is a call of the method, on the loop, the runner or threads."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import Response

from spanserve.batching.call import Call, on_loop, on_runner
from spanserve.running.methods import call_of
from spanserve.running.process.runner import ProcessRunner
from spanserve.server.endpoint import Endpoint
from spanserve.server.formats.responses import streamed, whole
from spanserve.server.http.answer import Answer, RequestError, Streamed, not_given, not_taken
from spanserve.server.http.exchange import Exchange, unless_left
from spanserve.server.http.pacing import paced
from spanserve.server.running import Running
from spanserve.service.codecs.json import CallCodec
from spanserve.service.codecs.media import JSON, OCTETS, chosen, is_taken, media_type
from spanserve.service.codecs.problems import InvalidResult
from spanserve.service.files.forms import FormCodec
from spanserve.service.files.multipart import parts_of
from spanserve.service.results.responses import Whole
from spanserve.service.spec import ApiSpec
from spanserve.tracing.recording.record import RequestRecord


class PlainEndpoint(Endpoint):
    """Answers each request with a call of its own."""

    codec: CallCodec

    def __init__(self, spec: ApiSpec, service: Running, **options: Any) -> None:
        super().__init__(spec, **options)
        self.codec = spec.plain_codec
        self._service = service
        self._method = call_of(service.cls, spec)

    async def value(self, exchange: Exchange, body: bytes) -> Any:
        """Return the arguments that a body holds; a form's parts are read in steps."""
        if not isinstance(self.codec, FormCodec):
            return await self.decoded(body)
        parts = await paced(parts_of(body, exchange.header(b"content-type")))
        return self.codec.of_parts(parts)

    async def encoded(self, exchange: Exchange, result: Any) -> Answer | Streamed:
        """Return a result as an answer; a Response is one already."""
        if isinstance(result, Whole):
            return whole(result)
        if isinstance(result, InvalidResult):  # what another process cannot hand over
            raise result
        if isinstance(result, Response):
            return await streamed(exchange, result)
        return await super().encoded(exchange, result)

    async def answer(self, exchange: Exchange) -> Answer | Streamed:
        """Answer a request that comes in JSON, and takes what the endpoint gives."""
        try:
            check_formats(exchange, self.formats, self.answers)
        except RequestError as refusal:
            return self.refused(exchange, refusal)
        return await super().answer(exchange)

    @property
    def instance(self) -> Any:
        """The service's instance, while it serves."""
        return self._service.instance

    async def result(self, exchange: Exchange, value: Any, body: bytes) -> Any:
        """Call the method: on the loop, on the runner, or on threads of its own."""
        asked_ns = self._now_ns()
        value = {**value, **exchange.injected}
        if self._service.elsewhere is not None:
            return await self._elsewhere(exchange, value, body, self._service.elsewhere)
        if self.spec.asynchronous:
            try:
                called = self._on_loop(exchange, value)
                return await (unless_left(exchange, called) if self.spec.cancel else called)
            finally:
                self._note_times(exchange, asked_ns, asked_ns, self._now_ns())
        call = self.call(exchange, value, body)
        self.submit(call, exchange.record, asked_ns)
        try:
            return await call.future
        finally:
            self._note_times(exchange, asked_ns, call.run_ns, call.ran_ns)

    def submit(self, call: Call, record: RequestRecord | None, now_ns: int) -> None:
        """Have a call run on the runner, or on threads of the method's own."""
        if self.spec.threads > 1:
            self._service.pool(self.spec).submit(call)
        else:
            on_runner(call, self._service.runner, record=record, now_ns=now_ns)

    async def _elsewhere(
        self, exchange: Exchange, value: Any, body: bytes, runner: ProcessRunner
    ) -> Any:
        """Call the method in another process; what is given up there is cancelled, as here."""
        asked_ns, spec = self._now_ns(), self.spec
        call = self.call(exchange, value, body)
        give_up = None
        if spec.asynchronous or spec.threads > 1:
            give_up = runner.spawn(call)
        else:
            on_runner(call, runner, record=exchange.record, now_ns=asked_ns)
        try:
            answered = _result(call)
            return await (unless_left(exchange, answered) if spec.cancel else answered)
        except asyncio.CancelledError:
            if give_up is not None and spec.asynchronous:
                give_up()
            raise
        finally:
            self._note_times(exchange, asked_ns, call.run_ns, call.ran_ns)

    def call(self, exchange: Exchange, value: Mapping[str, Any], body: bytes) -> Call:
        """Return the call of the method that answers a request."""
        if isinstance(self.codec, FormCodec):
            body = self.codec.with_type(body, exchange.header(b"content-type"))
        return Call(
            self.spec.name,
            value,
            record=exchange.record,
            context=exchange.context,
            body=body,
            of_body=frozenset(value).difference(exchange.injected),
            retry=self.spec.retry,
        )

    async def _on_loop(self, exchange: Exchange, value: Mapping[str, Any]) -> Any:
        result = await on_loop(
            self._method,
            self.instance,
            value,
            tracing=self.tracing,
            record=exchange.record,
            context=exchange.context,
        )
        return self.codec.private(result)  # before another request has the loop

    def _note_times(self, exchange: Exchange, asked_ns: int, run_ns: int, ran_ns: int) -> None:
        if self._with_timing and ran_ns:
            exchange.timing = (run_ns - asked_ns, ran_ns - run_ns)


async def _result(call: Call) -> Any:
    return await call.future


def check_formats(exchange: Exchange, reads: Sequence[str], gives: Sequence[str]) -> None:
    """Raise RequestError (415, 406) where a request is in no format that is read, or takes none.

    Where there is no body, its format does not matter.
    """
    header = exchange.header(b"content-type")
    taken = media_type(header) if header or JSON in reads else OCTETS
    if not is_taken(taken, reads) and exchange.body_length:
        raise not_taken(taken, reads)
    if gives and chosen(exchange.header(b"accept"), gives) is None:
        raise not_given(gives)
