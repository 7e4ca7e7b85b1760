"""The inference routes as FastAPI sees them: their schema, and two of the ways to them."""

import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Protocol

from fastapi import Body, FastAPI, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel

from spanserve.server.dependencies import Sender, dependent_handler, keyword
from spanserve.server.endpoint import Endpoint
from spanserve.server.http.answer import Answer, ErrorBody, RequestError, Streamed
from spanserve.server.http.exchange import SCOPE_KEY, Exchange, Receive, Scope, Send, send_answer
from spanserve.server.http.receive import Remembered
from spanserve.service.arguments import Parameter
from spanserve.service.codecs.media import FORM, ITEMS, JSON


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


_DESCRIBED: Final = frozenset({JSON, FORM})
"""Formats whose schema FastAPI makes, of the parameters."""
_BINARY: Final = {"schema": {"type": "string", "format": "binary"}}
_SCHEMAS: Final = {ITEMS: {"schema": {"type": "array", "items": {}}}}
ERRORS: Final = {
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


def add_route(app: FastAPI, endpoint: Endpoint, door: Door) -> APIRoute:
    """Add the route of an endpoint to the app, with its place in the OpenAPI document."""
    spec = endpoint.spec
    dependent = spec.is_dependent or bool(app.router.dependencies)
    if dependent:  # before the one that stands in the document: the first that fits answers
        app.router.add_api_route(
            spec.route,
            dependent_handler(spec.name, spec.injected, endpoint.answer, sender(endpoint, door)),
            methods=["POST"],
            include_in_schema=False,
            dependencies=spec.dependencies,
            route_class_override=guarded_route(endpoint, door, sender(endpoint, door)),
        )
    others, answers = (
        {name: _SCHEMAS.get(name, _BINARY) for name in names if name not in _DESCRIBED}
        for names in (endpoint.formats, endpoint.answers)
    )
    responses = error_responses(ERRORS | _NEGOTIATION_ERRORS, endpoint.error_body)
    if answers:
        responses[200] = {"content": answers}
    elif media_type := getattr(spec.returns, "media_type", None):  # a class of responses
        responses[200] = {"content": {media_type: {"schema": {"type": "string"}}}}
    gives_json = JSON in endpoint.codec.gives
    body: dict[str, Any] = {"content": others}
    if JSON not in endpoint.formats:
        body["required"] = True
    app.router.add_api_route(
        spec.route,
        _described(endpoint),
        methods=["POST"],
        name=spec.name,
        summary=spec.name.replace("_", " ").capitalize(),
        description=spec.doc,
        tags=list(spec.tags),
        dependencies=spec.dependencies,
        response_model=endpoint.response_annotation if gives_json else None,
        response_class=JSONResponse if gives_json else Response,
        responses=responses,
        openapi_extra={"requestBody": body} if others else None,
        route_class_override=_inference_route(endpoint, door),
    )
    routes = app.router.routes[-2:] if dependent else app.router.routes[-1:]
    route = routes[0]
    assert isinstance(route, APIRoute)  # noqa: S101  # it was added here
    return route


def error_responses(
    errors: Mapping[int, str] = ERRORS, body: type[BaseModel] = ErrorBody
) -> dict[int | str, dict[str, Any]]:
    """Return what the OpenAPI document says of the error answers of an inference route."""
    return {s: {"model": body, "description": what} for s, what in errors.items()}


def sender(endpoint: Endpoint, door: Door) -> Sender:
    """Return what sends an endpoint's answer from within the app, and has it counted."""

    async def sent(exchange: Exchange, answer: Answer | Streamed, send: Send) -> None:
        if isinstance(answer, Streamed):
            await door.stream(exchange, endpoint, answer, send)
        else:
            # Where the client left, too: middleware counts on an answer.
            await send_answer(send, door.note(exchange, endpoint, answer), [])

    return sent


def guarded_route(endpoint: Endpoint, door: Door, sent: Sender) -> type[APIRoute]:
    """Return FastAPI's route, of which the front door is asked again."""

    class GuardedRoute(APIRoute):
        async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
            exchange: Exchange = scope[SCOPE_KEY]
            refused = door.refusal(exchange)
            if refused is not None:
                await sent(exchange, endpoint.refused(exchange, refused), send)
                return
            try:
                await super().handle(scope, Remembered(receive), send)
            except Exception as error:
                answer = exchange.answer_to(error)
                if answer is None:
                    raise
                await sent(exchange, answer, send)

    return GuardedRoute


def _inference_route(endpoint: Endpoint, door: Door) -> type[APIRoute]:
    """Return a route that answers without FastAPI's request and response objects."""
    sent = sender(endpoint, door)

    class InferenceRoute(guarded_route(endpoint, door, sent)):  # type: ignore[misc]  # made for the endpoint
        async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
            exchange: Exchange = scope[SCOPE_KEY]
            if scope["method"] != "POST" or door.refusal(exchange) is not None:
                await super().handle(scope, receive, send)
                return
            exchange.receive = receive
            await sent(exchange, await endpoint.answer(exchange), send)

    return InferenceRoute


def _described(endpoint: Endpoint) -> Callable[..., Any]:
    """Return a function that FastAPI reads the schema from, and that nothing calls."""

    async def handle(**_values: Any) -> Response:
        raise NotImplementedError

    handle.__name__ = endpoint.spec.name
    handle.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # how a signature is set
        [
            *(
                _body_parameter(each, form=FORM in endpoint.formats)
                for each in endpoint.body_parameters
            ),
            *(keyword(*each) for each in endpoint.spec.injected),
        ]
    )
    return handle


def _body_parameter(parameter: Parameter, *, form: bool) -> inspect.Parameter:
    marker = Body(media_type=FORM, embed=True) if form else Body()
    return keyword(parameter.name, Annotated[parameter.annotation, marker], parameter.default)
