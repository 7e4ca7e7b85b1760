"""Errors of FastAPI's own and of the user's routes, in the form of the error contract."""

from collections.abc import Awaitable, Callable
from typing import Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from spanserve.server.formats.oip import PREFIX, as_response
from spanserve.server.http.answer import CODES, RequestError, http_error, request_error
from spanserve.server.http.exchange import SCOPE_KEY, Exchange

_MOST_CHARS: Final = 100


def answer_errors(app: FastAPI, *, protocol: bool) -> None:
    """Give every error the form of the contract; where `protocol`, the protocol's in its paths."""

    async def refused(request: Request, error: Exception) -> Response:
        exchange: Exchange = request.scope[SCOPE_KEY]
        if isinstance(error, RequestValidationError):
            refusal = _validation_error(error)
        elif isinstance(error, RequestError):
            refusal = error
        elif isinstance(error, HTTPException):
            refusal = _not_here(request, error)
        else:
            refusal = request_error(error)  # the front door tells the log, with the stack
        answer = refusal.answer(exchange.request_id, exchange.trace_id)
        return as_response(answer, protocol=protocol and request.scope["path"].startswith(PREFIX))

    handler: Callable[[Request, Exception], Awaitable[Response]] = refused
    for kind in (RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, handler)


def _not_here(request: Request, error: HTTPException) -> RequestError:
    """Return an HTTP exception's error, in better words where the router raised it."""
    method, path = request.method, request.scope["path"][:_MOST_CHARS]
    if error.status_code == 404 and "endpoint" not in request.scope:  # noqa: PLR2004  # HTTP's
        detail = f"there is no {path!r} here; /docs shows what there is"
    elif error.status_code == 405 and error.detail == "Method Not Allowed":  # noqa: PLR2004  # ditto
        allowed = (error.headers or {}).get("Allow", "another method")
        detail = f"{method} is not allowed for {path!r}, only {allowed}"
    else:
        detail = error.detail
    return http_error(error.status_code, detail, error.headers)


def _validation_error(error: RequestValidationError) -> RequestError:
    """Return FastAPI's validation error in the words of the error contract."""
    errors = error.errors()
    details = [{"loc": list(e["loc"]), "message": str(e["msg"])} for e in errors[:10]]
    if errors and errors[0]["type"] == "json_invalid":
        return RequestError(400, CODES[400], "the body is not JSON", details=details)
    first = details[0] if details else {"loc": [], "message": "the request is not valid"}
    place = ".".join(str(part) for part in first["loc"])
    return RequestError(422, CODES[422], f"{place}: {first['message']}", details=details)
