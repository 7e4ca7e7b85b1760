"""Answers that are streamed: async generators, to their last byte or until the client leaves."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel

from spanserve import api, service, span
from spanserve.tracing.model import names
from support.serving import Serving, serving, until
from support.traces import Keeps, check_all, one, tree


class Word(BaseModel):
    text: str


@service
class Streams:
    """Streams of each kind."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.go_on = asyncio.Event()

    @api
    async def words(self, text: str) -> AsyncIterator[str]:
        for word in text.split():
            with span("word", text=word):
                yield word

    @api
    async def models(self, count: int) -> AsyncIterator[Word]:
        for number in range(count):
            yield Word(text=str(number))

    @api
    async def raw(self) -> AsyncIterator[bytes]:
        yield b"\x00"
        yield b"\xff"

    @api
    async def fails(self, after: int) -> AsyncIterator[int]:
        for number in range(after):
            yield number
        raise ValueError("no more")

    @api
    async def refuses(self, status: int) -> AsyncIterator[int]:
        if status:
            raise HTTPException(status, "nothing there")
        yield 1

    @api
    async def waits(self) -> AsyncIterator[int]:
        yield 1
        try:
            await self.go_on.wait()
            yield 2
        finally:
            self.ended.set()

    @api
    async def never(self) -> AsyncIterator[int]:
        await asyncio.Event().wait()
        yield 1

    @api
    async def resume(self) -> None:
        self.go_on.set()

    @api
    async def has_ended(self) -> bool:
        return self.ended.is_set()


@pytest.fixture(scope="module")
def server() -> Iterator[Serving]:
    with serving(Streams) as server:
        yield server


EVENTS = "text/event-stream"


@pytest.mark.parametrize(
    ("path", "body", "accept", "content_type", "content"),
    [
        ("/words", "a bc", "*/*", "text/plain; charset=utf-8", b"abc"),
        ("/words", "", "*/*", "text/plain; charset=utf-8", b""),
        ("/words", "a bc", EVENTS, EVENTS, b'data: "a"\n\ndata: "bc"\n\n'),
        ("/models", 2, "*/*", "application/x-ndjson", b'{"text":"0"}\n{"text":"1"}\n'),
        ("/models", 1, EVENTS, EVENTS, b'data: {"text":"0"}\n\n'),
        ("/raw", None, "*/*", "application/octet-stream", b"\x00\xff"),
    ],
    ids=str,
)
def test_what_is_yielded_is_sent(  # noqa: PLR0917  # a row of the table
    server: Serving, path: str, body: Any, accept: str, content_type: str, content: bytes
) -> None:
    answer = httpx.post(f"{server.url}{path}", json=body, headers={"Accept": accept})
    assert (answer.status_code, answer.headers["content-type"]) == (200, content_type)
    assert answer.content == content
    assert "content-length" not in answer.headers


def test_values_are_sent_as_they_come() -> None:
    with serving(Streams) as server, httpx.stream("POST", f"{server.url}/waits") as answer:
        lines = answer.iter_lines()
        assert next(lines) == "1"
        httpx.post(f"{server.url}/resume")
        assert list(lines) == ["2"]


def test_the_trace_ends_with_the_last_byte_and_spans_lie_in_the_run() -> None:
    kept = Keeps()
    with serving(Streams, tracers=[("kept", kept, {})]) as server:
        httpx.post(f"{server.url}/words", json="a bc d")
    check_all(kept.spans)
    assert tree(kept.spans) == {
        "POST /words": {"decode": {}, "run": {"word": {}, "word #2": {}, "word #3": {}}}
    }


def test_what_fails_before_the_first_value_is_an_ordinary_error(server: Serving) -> None:
    failed = httpx.post(f"{server.url}/fails", json=0)
    refused = httpx.post(f"{server.url}/refuses", json=404)
    wrong = httpx.post(f"{server.url}/fails", json="x")
    assert (failed.status_code, failed.json()["code"]) == (500, "service_failed")
    assert (refused.status_code, refused.json()["message"]) == (404, "nothing there")
    assert wrong.status_code == 422


def test_what_fails_later_breaks_the_answer_off() -> None:
    kept = Keeps()
    with serving(Streams, tracers=[("kept", kept, {})]) as server:
        with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message"):
            httpx.post(f"{server.url}/fails", json=2)
        assert httpx.post(f"{server.url}/raw").status_code == 200
    check_all(kept.spans)
    [run] = [each for each in kept.spans if each.name == "run" and each.error is not None]
    assert run.error == "no more"
    root = one("POST /fails", kept.spans)
    assert (root.error, root.attributes[names.ERROR_TYPE]) == ("", "ValueError")


async def test_a_client_that_leaves_ends_the_generator_and_its_trace() -> None:
    kept = Keeps()
    with serving(Streams, tracers=[("kept", kept, {})]) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"POST /waits HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        await reader.readuntil(b"1\n")
        writer.close()

        def ended() -> bool:
            return bool(httpx.post(f"{server.url}/has_ended").json())

        assert await asyncio.to_thread(until, ended)
    check_all(kept.spans)
    assert one("POST /waits", kept.spans).attributes[names.CLIENT_LEFT] is True


def test_the_first_value_has_to_come_in_time() -> None:
    with serving(Streams, {"server": {"request_timeout_ms": 50}}) as server:
        late = httpx.post(f"{server.url}/never")
        with httpx.stream("POST", f"{server.url}/waits") as answer:
            lines = answer.iter_lines()
            assert next(lines) == "1"
            httpx.post(f"{server.url}/resume")
            assert list(lines) == ["2"]
    assert (late.status_code, late.json()["code"]) == (504, "timed_out")


def test_a_format_that_it_has_not_is_406(server: Serving) -> None:
    answer = httpx.post(f"{server.url}/raw", headers={"Accept": EVENTS})
    assert (answer.status_code, answer.json()["code"]) == (406, "not_acceptable")


@pytest.mark.parametrize("how", ["middleware", "dependencies"])
def test_it_streams_behind_fastapis_own_handling(how: str) -> None:
    @service
    class Behind:
        @api
        async def words(self, text: str) -> AsyncIterator[str]:
            for word in text.split():
                yield word

        @classmethod
        def configure_app(cls, app: FastAPI) -> None:
            if how == "dependencies":
                app.router.dependencies.append(Depends(lambda: None))
                return

            @app.middleware("http")
            async def passed(request: Any, call_next: Any) -> Any:
                return await call_next(request)

    with serving(Behind) as server:
        answer = httpx.post(f"{server.url}/words", json="a bc")
    assert (answer.status_code, answer.text) == (200, "abc")


def test_the_openapi_document_names_the_formats(server: Serving) -> None:
    paths = httpx.get(f"{server.url}/openapi.json").json()["paths"]
    assert EVENTS in paths["/words"]["post"]["responses"]["200"]["content"]
