"""Routes whose methods have FastAPI's dependencies: it resolves them, and nothing else.

FastAPI calls a function that has the resolved parameters and not the body, which the endpoint reads
itself, in any of its formats. So dependencies, security, overrides, exceptions and what is done
after the answer are FastAPI's own, by its public interface.
"""

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.types import ExceptionHandler

from spanserve.server.endpoint import Endpoint
from spanserve.server.http.answer import Answer, Streamed
from spanserve.server.http.exchange import SCOPE_KEY, Exchange, Receive, Scope, Send, send_answer
from spanserve.server.http.receive import Remembered
from spanserve.service.arguments import Parameter

App = Callable[[Scope, Receive, Send], Awaitable[None]]
Answering = Callable[[Exchange], Awaitable[Answer | Streamed]]
"""Answers an exchange whose dependencies are resolved."""

Sender = Callable[[Exchange, Answer | Streamed, Send], Awaitable[None]]
"""Sends an answer, with the headers of its own."""

_REQUEST: Final = "spanserve_request"
_RESPONSE: Final = "spanserve_response"
_OK: Final = 200


class Answered(Response):
    """An endpoint's answer, with what dependencies set on FastAPI's response to be."""

    def __init__(
        self, exchange: Exchange, answer: Answer | Streamed, asked: Response, sender: Sender
    ) -> None:
        super().__init__(status_code=answer.status)
        self._exchange = exchange
        self._sender = sender
        self._answer = answer
        self._asked = asked

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, and then do what was to be done after it."""
        del scope, receive
        answer, asked = self._answer, self._asked
        status = answer.status
        if status == _OK and asked.status_code is not None:
            status = asked.status_code
        headers = [*answer.headers, *asked.raw_headers]
        answer = answer._replace(status=status, headers=headers)
        await self._sender(self._exchange, answer, send)
        if self.background is not None:
            await self.background()


async def answered(
    exchange: Exchange, answering: Answering, asked: Response, sender: Sender
) -> Answered:
    """Return an endpoint's answer as a response.

    Raises what the endpoint failed with: dependencies with `yield` and the user's own handlers hear
    of it.
    """
    failures = exchange.failures = []
    answer = await answering(exchange)
    for error, _ in failures:
        raise error
    return Answered(exchange, answer, asked, sender)


def dependent_handler(
    name: str, injected: Sequence[Parameter], answering: Answering, sender: Sender
) -> Callable[..., Any]:
    """Return what FastAPI calls with the parameters that it resolved."""

    # FastAPI gives each of these to one parameter only: the method's, where it has one.
    request_name = _named(Request, injected) or _REQUEST
    response_name = _named(Response, injected) or _RESPONSE
    own = {request_name: Request, response_name: Response}
    wanted = {each.name for each in injected}

    async def handle(**values: Any) -> Response:
        request: Request = values[request_name]
        exchange: Exchange = request.scope[SCOPE_KEY]
        receive = request.receive
        exchange.receive = receive.again if isinstance(receive, Remembered) else receive
        exchange.injected = {key: value for key, value in values.items() if key in wanted}
        return await answered(exchange, answering, values[response_name], sender)

    handle.__name__ = name
    handle.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # how a signature is set
        [
            *(
                keyword(each, kind, inspect.Parameter.empty)
                for each, kind in own.items()
                if each not in wanted
            ),
            *(keyword(*each) for each in injected),
        ]
    )
    return handle


def _named(kind: type, injected: Sequence[Parameter]) -> str | None:
    """Return the name of the last parameter that is of this very kind."""
    return next((each.name for each in reversed(injected) if each.annotation is kind), None)


def keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    """Return a parameter of a signature that FastAPI reads."""
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=default, annotation=annotation)


def shortened(app: FastAPI, route: APIRoute, endpoint: Endpoint, sender: Sender) -> App | None:
    """Return the shortest way to a route that is FastAPI's own; None: by the app alone.

    What is left out is the search for the route, and the last resort for exceptions, which the
    endpoint's own stands in for.
    """
    try:
        from fastapi.middleware.asyncexitstack import (  # noqa: PLC0415  # no promise of FastAPI's
            AsyncExitStackMiddleware,
        )
    except ImportError:
        return None
    handlers = handlers_of(app)
    inner = with_handlers(handlers, endpoint, sender, AsyncExitStackMiddleware(route.app))
    found = found_route(app, route)

    async def short(scope: Scope, receive: Receive, send: Send) -> None:
        scope.update(found)
        await inner(scope, Remembered(receive), send)

    return short


def found_route(app: FastAPI, route: APIRoute) -> Mapping[str, Any]:
    """Return what FastAPI adds to the scope of a request once it has found its route."""
    return {
        "app": app,
        "router": app.router,
        "route": route,
        "endpoint": route.endpoint,
        "path_params": {},
    }


def handlers_of(app: FastAPI) -> Mapping[Any, ExceptionHandler]:
    """Return an app's handlers of exceptions, without the last resort."""
    handlers = app.exception_handlers.items()
    return {kind: handler for kind, handler in handlers if kind not in {500, Exception}}


def with_handlers(
    handlers: Mapping[Any, ExceptionHandler], endpoint: Endpoint, sender: Sender, inner: App
) -> App:
    """Return an endpoint's app with these handlers of exceptions, its own being the last."""
    handled = ExceptionMiddleware(inner, handlers=handlers)

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        exchange: Exchange = scope[SCOPE_KEY]
        try:
            await handled(scope, receive, send)
        except Exception as error:
            if exchange.status:  # the answer began
                raise
            known = exchange.answer_to(error)
            if known is not None:
                await sender(exchange, known, send)
            else:
                await send_answer(send, endpoint.refused(exchange, error), [])

    return answer
