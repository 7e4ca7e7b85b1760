"""Endpoints in OpenAI's shape: embeddings over a batch method, chat over a generator."""

import time
from base64 import b64encode
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from typing import Any, Final, NamedTuple

import numpy as np
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json, to_json

from spanserve.server.endpoint import Endpoint
from spanserve.server.formats.many_items import Crowd, Line
from spanserve.server.formats.negotiation import FormatsEndpoint
from spanserve.server.formats.openai_schema import (
    MOST_INPUTS,
    ChatRequest,
    ChatResponse,
    EmbeddingsRequest,
    EmbeddingsResponse,
    OpenAIErrorBody,
)
from spanserve.server.formats.streams import StreamEndpoint
from spanserve.server.http.answer import JSON_ONLY, Answer, Streamed, request_error
from spanserve.server.http.exchange import Exchange
from spanserve.server.plain import check_formats
from spanserve.service.arguments import Parameter
from spanserve.service.codecs import media
from spanserve.service.codecs.problems import InvalidItem, InvalidResult, explained
from spanserve.service.results.chunks import TEXT

_NO_USAGE: Final = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
_EVENTS: Final = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
_DONE: Final = b"data: [DONE]\n\n"
_SERVER_ERROR: Final = 500
_TOO_MANY: Final = 429


class _Shaped(Endpoint):
    """What both have in common: JSON in OpenAI's own form, errors too."""

    request_model: type[BaseModel]
    response_model: type[BaseModel]
    error_body = OpenAIErrorBody

    @property
    def formats(self) -> tuple[str, ...]:
        """The formats that a body may be in."""
        return (media.JSON,)

    @property
    def speaks_json(self) -> bool:
        """Whether the method's own bodies and answers are what comes and goes: they are not."""
        return False

    @property
    def body_parameters(self) -> tuple[Parameter, ...]:
        """What the body holds."""
        return (Parameter("request", self.request_model),)

    @property
    def response_annotation(self) -> Any:
        """The type of the answer."""
        return self.response_model

    def in_shape(self, refusal: Answer) -> Answer:
        """Return an error in OpenAI's form, beside the ids of ours."""
        if not refusal.body:
            return refusal
        ours = from_json(refusal.body)
        error = _error(ours, refusal.status)
        ids = {key: ours[key] for key in ("request_id", "trace_id") if key in ours}
        return refusal._replace(body=to_json({"error": error, **ids}))

    def refused(self, exchange: Exchange, error: Exception) -> Answer:
        """Return the answer to a failed request."""
        return self.in_shape(super().refused(exchange, error))


class EmbeddingsEndpoint(_Shaped, FormatsEndpoint):
    """`/v1/embeddings`: each input is an item, batched with everybody's."""

    request_model = EmbeddingsRequest
    response_model = EmbeddingsResponse

    async def answer(self, exchange: Exchange) -> Answer | Streamed:
        """Answer a request, whose inputs have their places in the answer."""
        record, now_ns = exchange.record, self.tracing.now_ns
        try:
            check_formats(exchange, self.formats, ())
            self.reads(exchange)
            try:
                body = await self.body(exchange)
                self.check_json(len(body))
                asked = _read(EmbeddingsRequest, body)
                lines = [*self._lines(asked.input)]
            finally:
                if record is not None:
                    record.decode_ended(now_ns())
            crowd = Crowd(self, exchange, lines)
            await crowd.begin()
            results = await crowd.all_results()
            if record is not None:
                record.encode_started(now_ns())
            answer = self._written(asked, results)
            if record is not None:
                record.encode_ended(now_ns())
        except Exception as error:  # noqa: BLE001  # every error has an answer
            return self.refused(exchange, error)
        return answer

    def _lines(self, given: Any) -> Iterator[Line]:
        """Yield the items: a text or a list of tokens is one, a list of either is many."""
        is_one = not isinstance(given, list) or (given and isinstance(given[0], int))
        inputs = [given] if is_one else given
        if not 1 <= len(inputs) <= MOST_INPUTS:
            raise InvalidItem(f"input: {len(inputs)} items, between 1 and {MOST_INPUTS} are taken")
        for each in inputs:
            text = to_json(each)
            yield Line(self.codec.decode(text), text)

    def _written(self, asked: EmbeddingsRequest, results: list[Any]) -> Answer:
        data = []
        for index, result in enumerate(results):
            embedding: Any = np.asarray(result)
            if embedding.dtype.kind not in "fiu" or embedding.ndim != 1:
                raise InvalidResult(f"{self.spec.route} returned what is no row of numbers")
            if asked.encoding_format == "base64":
                embedding = str(b64encode(embedding.astype("<f4").tobytes()), "ascii")
            else:
                embedding = embedding.tolist()
            data.append({"object": "embedding", "index": index, "embedding": embedding})
        usage = {"prompt_tokens": 0, "total_tokens": 0}
        model = asked.model or self.spec.name
        body = {"object": "list", "data": data, "model": model, "usage": usage}
        return Answer(200, to_json(body, inf_nan_mode="null"), JSON_ONLY)


class _Asked(NamedTuple):
    """What a chat is to be, and the method's own arguments, as JSON and decoded."""

    request: ChatRequest
    body: bytes
    arguments: Mapping[str, Any]


class ChatEndpoint(_Shaped, StreamEndpoint):
    """`/v1/chat/completions`: what a generator yields, piece by piece or as a whole."""

    request_model = ChatRequest
    response_model = ChatResponse

    @property
    def answers(self) -> tuple[str, ...]:
        """The formats of the answer: by the body's `stream`, whatever `Accept` says."""
        return (media.JSON, media.EVENTS)

    def given(self, exchange: Exchange) -> str:  # noqa: ARG002  # as of every stream
        """Return the format in which the generator's values are asked for."""
        return TEXT if self.spec.returns is str else media.NDJSON

    async def answer(self, exchange: Exchange) -> Answer | Streamed:
        """Answer a request in JSON."""
        try:
            check_formats(exchange, self.formats, ())
        except Exception as refusal:  # noqa: BLE001  # as everywhere
            return self.refused(exchange, refusal)
        return await Endpoint.answer(self, exchange)

    async def value(self, exchange: Exchange, body: bytes) -> _Asked:  # noqa: ARG002  # as of every endpoint
        """Read the request, and of it what the method has parameters for."""
        self.check_json(len(body))
        request = _read(ChatRequest, body)
        names = [each.name for each in self.spec.parameters]
        fields = request.model_dump(exclude_unset=True)
        own: Any = {name: fields[name] for name in names if name in fields}
        if len(names) == 1:  # then the method's body is its only value
            own = fields.get(names[0], fields)
        text = to_json(own)
        return _Asked(request, text, self.codec.decode(text))

    async def answer_value(self, exchange: Exchange, value: Any, body: bytes) -> Answer | Streamed:
        """Answer in chunks, or as a whole, as the body's `stream` says."""
        asked: _Asked = value
        answer = await super().answer_value(exchange, asked.arguments, asked.body or body)
        if isinstance(answer, Answer):
            return answer
        head = {
            "id": f"chatcmpl-{exchange.request_id}",
            "created": int(time.time()),
            "model": asked.request.model or self.spec.name,
        }
        if asked.request.stream:
            return Streamed(200, self._events(exchange, asked.request, head, answer), _EVENTS)
        try:
            return await self._whole(head, answer)
        except Exception as error:  # noqa: BLE001  # as everywhere
            return self.refused(exchange, error)

    async def _whole(self, head: Mapping[str, Any], answer: Streamed) -> Answer:
        message: dict[str, Any] = {"role": "assistant", "content": ""}
        async with aclosing(answer.chunks) as chunks:
            async for chunk in chunks:
                delta = self._delta(chunk)
                message["content"] += delta.pop("content", "") or ""
                message |= delta
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        body = {**head, "object": "chat.completion", "choices": [choice], "usage": _NO_USAGE}
        return Answer(200, to_json(body), JSON_ONLY)

    async def _events(
        self, exchange: Exchange, request: ChatRequest, head: Mapping[str, Any], answer: Streamed
    ) -> AsyncGenerator[bytes, None]:
        """Yield an event for each piece, and `[DONE]` after the last one; an error is one, too."""

        def event(delta: Mapping[str, Any], finish: str | None = None) -> bytes:
            choice = {"index": 0, "delta": delta, "finish_reason": finish}
            return _event({**head, "object": "chat.completion.chunk", "choices": [choice]})

        yield event({"role": "assistant", "content": ""})
        try:
            async with aclosing(answer.chunks) as chunks:
                async for chunk in chunks:
                    yield event(self._delta(chunk))
        except Exception as error:
            refusal = request_error(error)
            ours = refusal.body(exchange.request_id, exchange.trace_id)
            yield _event({"error": _error(ours, refusal.status)})
            raise
        yield event({}, "stop")
        options = request.stream_options
        if options is not None and options.include_usage:
            last = {**head, "object": "chat.completion.chunk", "choices": [], "usage": _NO_USAGE}
            yield _event(last)
        yield _DONE

    def _delta(self, chunk: bytes) -> dict[str, Any]:
        """Return what a value adds: a text is content, an object is a delta by itself."""
        value = str(chunk, "utf-8") if self.spec.returns is str else from_json(chunk)
        if isinstance(value, dict):
            return value
        if not isinstance(value, str):
            raise InvalidResult(f"{self.spec.route} yielded what is no text, and no delta")
        return {"content": value}


def _event(value: Mapping[str, Any]) -> bytes:
    return b"data: %b\n\n" % to_json(value)


def _error(ours: Mapping[str, Any], status: int) -> dict[str, Any]:
    kind = "invalid_request_error" if status < _SERVER_ERROR else "server_error"
    kind = "rate_limit_exceeded" if status == _TOO_MANY else kind
    return {"message": ours["message"], "type": kind, "param": None, "code": ours["code"]}


def _read(model: type[Any], body: bytes) -> Any:
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise explained(error, body, root="") from None
