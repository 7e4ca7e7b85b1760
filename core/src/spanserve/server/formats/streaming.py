"""Answers that go out while they are made, until the last byte or until the client leaves."""

import asyncio
from contextlib import aclosing

from spanserve.server.http.answer import Streamed
from spanserve.server.http.exchange import Exchange, Send, left


async def send_stream(
    exchange: Exchange, send: Send, answer: Streamed, common: list[tuple[bytes, bytes]]
) -> None:
    """Send a response chunk by chunk, each as soon as it is there and the client has room.

    A client that leaves ends the generator at its `yield` or `await`, at once. What the generator
    raises comes through, and leaves the response without an end.
    """
    await send(
        {
            "type": "http.response.start",
            "status": answer.status,
            "headers": [*common, *answer.headers],
        }
    )
    # One task runs all of the generator, so that it keeps its context from chunk to chunk.
    sending = asyncio.create_task(_send_chunks(send, answer))
    leaving = asyncio.create_task(left(exchange.receive))
    try:
        await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not sending.done():
            exchange.client_left = True
    finally:
        leaving.cancel()
        if not sending.done():
            sending.cancel()
        await asyncio.wait((sending,))
    if not sending.cancelled():
        sending.result()


async def _send_chunks(send: Send, answer: Streamed) -> None:
    async with aclosing(answer.chunks) as chunks:
        async for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
