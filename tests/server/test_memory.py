"""What a request leaves behind: records form no cycles, and hold no data of the request."""

import asyncio
import gc
import weakref
from collections.abc import Sequence
from typing import Any, ClassVar

import pytest
from fastapi import FastAPI

from spanserve import ExportResult, Span, api, hookimpl, service
from spanserve.config.model import Config
from spanserve.server.app import create_app
from spanserve.tracing.model.span import Resource
from spanserve.tracing.tracing import Tracing
from support.serving import service_of, tracer_of

BODY = b'"text"'


class Text(str):
    """A result that can be watched."""

    __slots__ = ("__weakref__",)


@service
class Texts:
    results: ClassVar[weakref.WeakSet[Text]] = weakref.WeakSet()

    @api(batch=True)
    def batched(self, texts: list[str]) -> list[Text]:
        """Return each text, or fail for all."""
        if "bad" in texts:
            raise ValueError("bad")
        answers = [Text(text * 2) for text in texts]
        self.results.update(answers)
        return answers

    @api
    def plain(self, text: str) -> str:
        """Return the text."""
        return text


class Middleware:
    """Does nothing, and so keeps requests from the short way."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


class Counts:
    """A tracer that takes all spans."""

    spans = 0

    @hookimpl
    def export_spans(self, spans: Sequence[Span]) -> ExportResult | None:
        self.spans += len(spans)
        return None


async def post(app: FastAPI, path: str, body: bytes) -> int:
    """Send one request through ASGI and return the status."""
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", b"h"), (b"content-type", b"application/json")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }
    await app(scope, receive, send)
    [status] = statuses
    return status


@pytest.mark.parametrize("middleware", [False, True])
@pytest.mark.parametrize("path", ["/batched", "/plain"])
async def test_requests_leave_no_cycles_for_the_collector(path: str, *, middleware: bool) -> None:
    tracing = Tracing([tracer_of("counts", Counts(), {})], Config().tracing, Resource("texts", {}))
    app = create_app(Config(), service_of(Texts), tracing)
    if middleware:
        app.add_middleware(Middleware)
    async with app.router.lifespan_context(app):
        await asyncio.gather(*(post(app, path, BODY) for _ in range(20)))
        tracing_spans = tracing.exporters[0].recorded_spans
        gc.collect()
        gc.disable()
        try:
            statuses = await asyncio.gather(*(post(app, path, BODY) for _ in range(20)))
        finally:
            gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
        ours = [thing for thing in gc.garbage if type(thing).__module__.startswith("spanserve")]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert statuses == [200] * 20
    assert tracing.exporters[0].recorded_spans > tracing_spans
    assert [type(thing).__name__ for thing in ours] == []


async def test_a_record_that_waits_for_its_exporter_does_not_keep_the_result() -> None:
    config = Config.model_validate({"tracing": {"queue": {"flush_interval_ms": 600_000}}})
    tracing = Tracing([tracer_of("counts", Counts(), {})], config.tracing, Resource("texts", {}))
    app = create_app(config, service_of(Texts), tracing)
    async with app.router.lifespan_context(app):
        assert await post(app, "/batched", BODY) == 200
        # The batch itself is the last to let go, on the runner.
        assert await post(app, "/plain", BODY) == 200
        assert tracing.exporters[0].waiting_spans > 0
        assert len(Texts.results) == 0
