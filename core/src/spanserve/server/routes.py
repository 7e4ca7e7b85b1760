"""The inference routes as FastAPI sees them: their schema, and two of the ways to them."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Final, Protocol

from fastapi import Body, FastAPI, Request, Response
from fastapi.routing import APIRoute

from spanserve.server.answer import Answer, ErrorBody, RequestError, Streamed
from spanserve.server.endpoint import Endpoint, check_formats
from spanserve.server.exchange import (
    SCOPE_KEY,
    Exchange,
    Message,
    Receive,
    Scope,
    Send,
    send_answer,
)
from spanserve.service.arguments import Parameter
from spanserve.service.media import JSON


class Door(Protocol):
    """What a route asks of the front door, by which its requests came in."""

    def refusal(self, exchange: Exchange) -> RequestError | None:
        """Return why a request may not reach a model; None: it may."""

    def note(self, exchange: Exchange, endpoint: Endpoint, answer: Answer) -> Answer:
        """Count an answer, and return what is to be sent."""

    async def stream(
        self, exchange: Exchange, endpoint: Endpoint, answer: Streamed, send: Send
    ) -> None:
        """Send a streamed answer, and count it."""


_BINARY: Final = {"schema": {"type": "string", "format": "binary"}}
_REQUEST: Final = "spanserve_request"
_ERRORS: Final = {
    400: "The body is not JSON",
    413: "The body is too large",
    422: "The item has the wrong shape or type",
    429: "The queue is full; `Retry-After` says when to try again",
    500: "The service's code failed",
    503: "The server is going away",
    504: "The answer took too long",
}
_NEGOTIATION_ERRORS: Final = {
    406: "The answer comes in no format that `Accept` takes",
    415: "The body is in a format that is not read here",
}


def add_route(app: FastAPI, endpoint: Endpoint, door: Door) -> None:
    """Add the route of an endpoint to the app, with its place in the OpenAPI document."""
    spec = endpoint.spec
    formats = _formats(endpoint, dependent=bool(app.router.dependencies))
    others, answers = ({n: _BINARY for n in names if n != JSON} for names in formats)
    responses = error_responses(_ERRORS | _NEGOTIATION_ERRORS)
    if answers:
        responses[200] = {"content": answers}
    app.router.add_api_route(
        spec.route,
        _handler(endpoint, door),
        methods=["POST"],
        name=spec.name,
        summary=spec.name.replace("_", " ").capitalize(),
        description=spec.doc,
        response_model=endpoint.codec.response_annotation,
        responses=responses,
        openapi_extra={"requestBody": {"content": others}} if others else None,
        route_class_override=_route_class(endpoint, door),
    )


def error_responses(errors: Mapping[int, str] = _ERRORS) -> dict[int | str, dict[str, Any]]:
    """Return what the OpenAPI document says of the error answers of an inference route."""
    return {s: {"model": ErrorBody, "description": what} for s, what in errors.items()}


def _formats(endpoint: Endpoint, *, dependent: bool) -> tuple[Sequence[str], Sequence[str]]:
    """Return what is read and what is given: by FastAPI's own handling, of dependents, JSON only.

    A stream is given in its own formats by either.
    """
    if dependent and JSON in endpoint.answers:
        return (JSON,), (JSON,)
    return endpoint.formats, endpoint.answers


def _route_class(endpoint: Endpoint, door: Door) -> type[APIRoute]:
    """Return a route that answers without FastAPI's request and response objects.

    Where dependencies are declared, FastAPI's own handling runs instead.
    """

    class InferenceRoute(APIRoute):
        async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
            exchange: Exchange = scope[SCOPE_KEY]
            post = scope["method"] == "POST"
            if (refused := door.refusal(exchange)) is not None:
                answer: Answer | Streamed = endpoint.refused(exchange, refused)
            elif post and not self.dependencies:
                exchange.receive = receive
                answer = await endpoint.answer(exchange)
            else:
                exchange.receive = receive
                readable = await _readable(exchange, endpoint) if post else receive
                if not isinstance(readable, Answer):
                    await super().handle(scope, readable, send)
                    return
                answer = readable
            if isinstance(answer, Streamed):
                await door.stream(exchange, endpoint, answer, send)
            else:
                # Where the client left, too: middleware counts on an answer.
                await send_answer(send, door.note(exchange, endpoint, answer), [])

    return InferenceRoute


async def _readable(exchange: Exchange, endpoint: Endpoint) -> Receive | Answer:
    """Return a request's body as FastAPI's own handling reads it, or the refusal."""
    try:
        check_formats(exchange, *_formats(endpoint, dependent=True))
        if not exchange.header(b"content-encoding"):
            return exchange.receive
        body = await exchange.body(endpoint.max_request_bytes)
    except Exception as error:  # noqa: BLE001  # every error has an answer
        return endpoint.refused(exchange, error)
    rest = exchange.receive
    is_read = False

    async def receive() -> Message:
        nonlocal is_read
        if is_read:
            return await rest()
        is_read = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


class StreamResponse(Response):
    """A streamed answer, as FastAPI sends it: with the headers that a dependency has set."""

    def __init__(
        self, exchange: Exchange, endpoint: Endpoint, answer: Streamed, door: Door
    ) -> None:
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in answer.headers}
        super().__init__(None, answer.status, headers)
        if "content-length" not in headers:
            del self.headers["content-length"]
        self._exchange = exchange
        self._endpoint = endpoint
        self._answer = answer
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        del scope, receive
        answer = self._answer._replace(status=self.status_code, headers=self.raw_headers)
        await self._door.stream(self._exchange, self._endpoint, answer, send)
        if self.background is not None:
            await self.background()


def _handler(endpoint: Endpoint, door: Door) -> Callable[..., Any]:
    """Return what FastAPI calls with a validated body, and reads the schema from."""
    parameters = endpoint.codec.body_parameters

    async def handle(**values: Any) -> Response:
        request: Request = values.pop(_REQUEST)
        exchange: Exchange = request.scope[SCOPE_KEY]
        value = values if not endpoint.spec.batch else next(iter(values.values()))
        body = await request.body()
        exchange.is_read = True
        answer = await endpoint.answer_value(exchange, value, body)
        if isinstance(answer, Streamed):
            return StreamResponse(exchange, endpoint, answer, door)
        answer = door.note(exchange, endpoint, answer)
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in answer.headers}
        return Response(answer.body, answer.status, headers)

    handle.__name__ = endpoint.spec.name
    handle.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # how a signature is set
        [
            inspect.Parameter(_REQUEST, inspect.Parameter.KEYWORD_ONLY, annotation=Request),
            *(_body_parameter(parameter) for parameter in parameters),
        ]
    )
    return handle


def _body_parameter(parameter: Parameter) -> inspect.Parameter:
    return inspect.Parameter(
        parameter.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=parameter.default,
        annotation=Annotated[parameter.annotation, Body()],
    )
