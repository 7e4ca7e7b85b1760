"""FastAPI's dependencies by its own solver, without the rest of its handling of a request.

A request whose dependencies leave nothing to close, and nothing to do after the answer, is then
one like any other. The rest is answered in the steps that FastAPI takes.
"""

import inspect
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, Final

from fastapi import FastAPI, Request, Response, params
from fastapi.dependencies import utils
from fastapi.exceptions import FastAPIError, RequestValidationError
from fastapi.routing import APIRoute
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException

from spanserve.server.dependencies import (
    App,
    Sender,
    answered,
    found_route,
    handlers_of,
    with_handlers,
)
from spanserve.server.endpoint import Endpoint
from spanserve.server.http.exchange import SCOPE_KEY, Exchange, Receive, Scope, Send

SOLVER: Final = "solve_dependencies"
ARGUMENTS: Final = (
    *("request", "dependant", "response", "dependency_overrides_provider"),
    *("async_exit_stack", "embed_body_fields"),
)
ROUTE: Final = ("dependant", "body_field", "dependency_overrides_provider")
_BEFORE: Final = "fastapi_function_astack"
_AFTER: Final = "fastapi_inner_astack"
_NOT_AWAITED: Final = (
    "Response not awaited: a dependency with yield caught an exception and did not raise it again"
)


def missing() -> list[str]:
    """Return what is not as it is needed in the FastAPI that is installed."""
    solve = getattr(utils, SOLVER, None)
    if solve is None:
        return [SOLVER]
    taken = inspect.signature(solve).parameters
    lacking = [f"{SOLVER}({name}=)" for name in ARGUMENTS if name not in taken]
    # Before there were scopes, what has `yield` ended before the answer went out.
    return (
        lacking if "scope" in inspect.signature(params.Depends).parameters else [*lacking, "scope"]
    )


def resolver_of(
    app: FastAPI, route: APIRoute, endpoint: Endpoint, sender: Sender
) -> "Resolver | None":
    """Return what resolves a route's dependencies; None where it is FastAPI that has to."""
    if missing() or not all(hasattr(route, name) for name in ROUTE) or route.body_field is not None:
        return None
    return Resolver(app, route, endpoint, sender)


class Asked(Response):
    """What dependencies set on the response to be; it has no headers of its own."""

    def __init__(self) -> None:
        self.raw_headers = []
        self.status_code = None  # type: ignore[assignment]  # as in FastAPI: not set
        self.background = None
        self.body = b""

    @property
    def is_used(self) -> bool:
        """Whether anything was set."""
        return bool(self.raw_headers) or self.status_code is not None


_NO_QUERY: Final = QueryParams()


class PlainRequest(Request):
    """A request without a query: FastAPI looks for one at each dependency."""

    @property
    def query_params(self) -> QueryParams:
        """What the query says: nothing."""
        return _NO_QUERY


class Resolver:
    """Resolves what one route asks of FastAPI."""

    def __init__(self, app: FastAPI, route: APIRoute, endpoint: Endpoint, sender: Sender) -> None:
        self._solve: Callable[..., Awaitable[Any]] = getattr(utils, SOLVER)
        self._dependant = route.dependant
        self._overrides = route.dependency_overrides_provider
        self._endpoint = endpoint
        self._sender = sender
        self.found = found_route(app, route)
        self._handlers = handlers = handlers_of(app)
        self._with_handlers = partial(with_handlers, handlers, endpoint, sender)

    def handles(self, error: BaseException) -> bool:
        """Say whether the app has a handler for what a method raised."""
        kinds: tuple[Any, ...] = type(error).__mro__
        status = (error.status_code,) if isinstance(error, HTTPException) else ()
        return any(kind in self._handlers for kind in (*status, *kinds))

    def answer_of(self, resolution: "Resolution") -> App:
        """Return what answers a request by its resolution, exceptions by the app's handlers."""
        return self._with_handlers(resolution.answer)

    async def answered(self, exchange: Exchange, asked: Response) -> Response:
        """Return the endpoint's answer, with what was asked for; raises what it failed with."""
        return await answered(exchange, self._endpoint.answer, asked, self._sender)

    def solve(self, resolution: "Resolution", request: Request) -> Awaitable[Any]:
        """Have FastAPI resolve all that a request needs."""
        return self._solve(
            request=request,
            dependant=self._dependant,
            response=resolution.asked,
            dependency_overrides_provider=self._overrides,
            async_exit_stack=resolution.after,
            embed_body_fields=False,  # those that read bodies come by FastAPI alone
        )


class Resolution:
    """The dependencies of one request: what they said, and what is left to do."""

    __slots__ = ("_resolver", "after", "asked", "background", "before", "error")

    def __init__(self, resolver: Resolver, error: BaseException | None = None) -> None:
        """`error` is what the method raised, where it was called by now."""
        self._resolver = resolver
        self.asked = Asked()
        self.before, self.after = AsyncExitStack(), AsyncExitStack()
        """What ends before the answer goes out, and after it."""
        self.error = error
        self.background: Any = None

    async def solve(self, scope: Scope, receive: Receive) -> bool:
        """Resolve all; says whether nothing is left to do but to answer."""
        scope[_BEFORE], scope[_AFTER] = self.before, self.after
        try:
            solved = await self._resolver.solve(self, PlainRequest(scope, receive))
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001  # what was entered hears of it, as it ends
            self.error = error
            return False
        self.background = solved.background_tasks
        if solved.errors:
            self.error = RequestValidationError(solved.errors)
        return not (
            self.background or self.error or self.asked.is_used or _is_open(self.after, self.before)
        )

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, and do what is left to do before and after, as FastAPI does."""
        exchange: Exchange = scope[SCOPE_KEY]
        is_sent = False
        async with self.after:
            async with self.before:
                if self.error is not None:
                    raise self.error
                exchange.receive = receive
                answered = await self._resolver.answered(exchange, self.asked)
                answered.background = self.background
            await answered(scope, receive, send)
            is_sent = True
        if not is_sent:
            raise FastAPIError(_NOT_AWAITED)


def _is_open(*stacks: AsyncExitStack) -> bool:
    """Say whether anything may be left to close."""
    # No promise of Python's: without it, all are closed.
    return any(getattr(stack, "_exit_callbacks", True) for stack in stacks)
