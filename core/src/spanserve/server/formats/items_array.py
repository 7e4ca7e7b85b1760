"""Requests of several items in one JSON array, which are answered with an array."""

import re
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any, Final

from pydantic_core import to_json

from spanserve.errors import forget_frames
from spanserve.server.endpoint import BatchEndpoint
from spanserve.server.formats.many_items import MOST_TOLD, Crowd, Line, LongLine, written
from spanserve.server.http.answer import request_error
from spanserve.server.http.exchange import Exchange
from spanserve.service.codecs.problems import InvalidBody, InvalidItem
from spanserve.service.codecs.steps import Steps

_TEXT: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_OUTER: Final = re.compile(rb'["\[\]{},]')
_INNER: Final = re.compile(rb'["\[\]{}]')
_STEP_ITEMS: Final = 1024


def items_of_array(
    endpoint: BatchEndpoint, body: bytes
) -> Steps[Iterator[Line | LongLine | Exception]]:
    """Return the items, each decoded when it is asked for; raises InvalidBody for no JSON array."""
    bounds = yield from entries(body)
    return _decoded(endpoint, body, bounds)


def _decoded(
    endpoint: BatchEndpoint, body: bytes, bounds: list[tuple[int, int]]
) -> Iterator[Line | LongLine | Exception]:
    for start, end in bounds:
        text = body[start:end].strip()
        if len(text) > endpoint.most_at_once:
            yield LongLine(text)
            continue
        value: Any
        try:
            value = Line(endpoint.codec.decode(text), text)
        except (InvalidBody, InvalidItem) as error:
            value = error
            forget_frames(error)
        yield value


def entries(body: bytes) -> Steps[list[tuple[int, int]]]:
    """Return where each entry of an array begins and ends, by its brackets, texts and commas.

    What is between them may still be no JSON: that is for the entry to say.
    """
    place = len(body) - len(body.lstrip())
    if body[place : place + 1] != b"[":
        raise InvalidBody("the body is no JSON array of items")
    bounds: list[tuple[int, int]] = []
    depth, start, place = 1, place + 1, place + 1
    while depth:
        token, place = _next_token(body, place, outer=depth == 1)
        depth += (token in b"[{") - (token in b"]}")
        if depth == 0 or token == b",":
            bounds.append((start, place - 1))
            start = place
            if len(bounds) % _STEP_ITEMS == 0:
                yield
    return _checked(body, bounds, end=place)


def _next_token(body: bytes, place: int, *, outer: bool) -> tuple[bytes, int]:
    """Return the next bracket, or comma between entries, and where it ends; texts are passed."""
    while True:
        found = (_OUTER if outer else _INNER).search(body, place)
        if found is None:
            raise InvalidBody("the body is not JSON: the array of items does not end")
        if found[0] != b'"':
            return found[0], found.end()
        text = _TEXT.match(body, found.start())
        if text is None:
            raise InvalidBody("the body is not JSON: a string does not end")
        place = text.end()


def _checked(body: bytes, bounds: list[tuple[int, int]], *, end: int) -> list[tuple[int, int]]:
    if body[end:].strip():
        raise InvalidBody("the body is not JSON: something follows the array of items")
    empty = [index for index, each in enumerate(bounds) if not body[slice(*each)].strip()]
    if len(bounds) == 1 and empty:
        return []
    if empty:
        raise InvalidBody(f"the body is not JSON: nothing stands in place of item {empty[0]}")
    return bounds


async def array(
    endpoint: BatchEndpoint, exchange: Exchange, crowd: Crowd
) -> AsyncGenerator[bytes, None]:
    """Yield the array of results, each as soon as it and all before it are there.

    That of an item that failed has the error and its `index`. After many items that were none, an
    error is told by its code alone.
    """
    told, index = 0, -1
    yield b"["
    async with aclosing(crowd.results()) as results:
        async for result in results:
            index += 1
            comma = b"," if index else b""
            told += isinstance(result, InvalidBody | InvalidItem)
            if told > MOST_TOLD and isinstance(result, InvalidBody | InvalidItem):
                short = {"error": {"code": request_error(result).code}, "index": index}
                yield comma + to_json(short)
            else:
                yield comma + written(endpoint, exchange, result, index)
    yield b"]"
