"""Responses of Starlette's that a method returned -> answers of ours."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from typing import Any, Final

from starlette.responses import Response

from spanserve.server.http.answer import Answer, Streamed
from spanserve.server.http.exchange import Exchange, Message, unless_left
from spanserve.service.results.responses import Whole

log = logging.getLogger(__name__)

_LENGTH: Final = b"content-length"
_Messages = asyncio.Queue[Message | None]


def whole(response: Whole) -> Answer:
    """Return the answer for a response that is data."""
    headers = [each for each in response.headers if each[0] != _LENGTH]
    return Answer(response.status, response.body, headers)


async def streamed(exchange: Exchange, response: Response) -> Streamed:
    """Return an answer whose body the response makes, while it goes out.

    Its background tasks go on once the body is out, whether or not the client stays. Raises what
    the response raises before it begins.
    """
    messages: _Messages = asyncio.Queue(maxsize=1)
    scope = {**exchange.scope, "extensions": {}}
    running = asyncio.create_task(_run(response, scope, messages))
    try:
        start = await unless_left(exchange, _next(messages, running))
    except BaseException:
        await _ended(running)
        raise
    headers = [(bytes(name), bytes(value)) for name, value in start["headers"]]
    return Streamed(start["status"], _chunks(messages, running), headers)


async def _run(response: Response, scope: dict[str, Any], messages: _Messages) -> None:
    """Have a response send itself; where it fails, the last message is None."""
    try:
        await response(scope, _receive, messages.put)
    except Exception:
        await messages.put(None)  # who waits for a message hears why none comes
        raise
    finally:
        close = getattr(getattr(response, "body_iterator", None), "aclose", None)
        if close is not None:
            await close()


async def _receive() -> Message:
    """Wait for ever: who leaves is seen elsewhere, and ends the response by cancelling it."""
    await asyncio.Event().wait()
    raise AssertionError


async def _next(messages: _Messages, running: "asyncio.Task[None]") -> Message:
    message = await messages.get()
    if message is None:
        await running
        raise RuntimeError("the response ended before it was whole")
    return message


async def _chunks(
    messages: _Messages, running: "asyncio.Task[None]"
) -> AsyncGenerator[bytes, None]:
    more = True
    try:
        while more:
            message = await _next(messages, running)
            more = message.get("more_body", False)
            if body := message.get("body", b""):
                yield bytes(body)
    finally:
        if more:
            await _ended(running)
        else:
            _in_background.add(running)
            running.add_done_callback(_background_ended)


_in_background: Final[set["asyncio.Task[None]"]] = set()
"""What goes on after its answer: the event loop alone would not keep it."""


def _background_ended(running: "asyncio.Task[None]") -> None:
    _in_background.discard(running)
    if not running.cancelled() and (error := running.exception()) is not None:
        log.error("a response's background task failed", exc_info=error)


async def _ended(running: "asyncio.Task[None]") -> None:
    running.cancel()
    await asyncio.wait((running,))
