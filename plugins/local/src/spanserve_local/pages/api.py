"""The read API under /traces/api/, with an OpenAPI document of its own."""

import json
import sqlite3
import zlib
from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated, Any, Final

from fastapi import Depends, FastAPI, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, PlainTextResponse, Response

from spanserve import ConfigError
from spanserve_local.pages import models
from spanserve_local.pages.threads import BusyError, ReadingThreads
from spanserve_local.store.reader import Reader
from spanserve_local.views import listing
from spanserve_local.views import trace as traces
from spanserve_local.views.breakdown import breakdown
from spanserve_local.views.filters import STATUS, Filters, KindName
from spanserve_local.views.otlp import otlp
from spanserve_local.views.timeline import timeline
from spanserve_local.views.zipkin import zipkin

MAX_PAGE: Final = 1000
MAX_POINTS: Final = 50_000
MAX_TIMELINE: Final = 10_000

Ms = Annotated[float | None, Query(allow_inf_nan=False)]
Size = Annotated[int | None, Query(ge=0, le=1 << 31)]
Word = Annotated[str | None, Query(max_length=500)]
TraceId = Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="32 hex digits")]
SpanId = Annotated[str | None, Query(pattern="^[0-9a-f]{16}$", description="16 hex digits")]


def _filters(
    *,
    endpoint: Word = None,
    kind: KindName | None = None,
    status: Annotated[
        str | None, Query(pattern=f"^({STATUS})$", description="a code, 4xx, 5xx or error")
    ] = None,
    min_ms: Ms = None,
    max_ms: Ms = None,
    since_ms: Ms = None,
    until_ms: Ms = None,
    batch_min: Size = None,
    batch_max: Size = None,
    reason: Word = None,
    text: Annotated[
        str | None, Query(max_length=500, description="in names and attribute values")
    ] = None,
) -> Filters:
    return Filters(
        *(endpoint, kind, status, min_ms, max_ms, since_ms, until_ms),
        *(batch_min, batch_max, reason, text),
    )


def _range(endpoint: Word = None, since_ms: Ms = None, until_ms: Ms = None) -> Filters:
    return Filters(endpoint=endpoint, since_ms=since_ms, until_ms=until_ms)


Given = Annotated[Filters, Depends(_filters)]
GivenRange = Annotated[Filters, Depends(_range)]


class Api:
    """Answers questions about the file, each on one of few threads."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._threads = ReadingThreads()
        self.app = FastAPI(
            title="spanserve traces",
            version=version("spanserve-local"),
            description="What the local tracer keeps: read only.",
            docs_url=None,
            redoc_url=None,
            openapi_url="/api/openapi.json",
        )
        self._answer_errors()
        self._add_lists()
        self._add_traces()

    def close(self) -> None:
        """Take no more questions."""
        self._threads.close()

    async def _json(self, ask: Callable[[], Any], *, file_name: str | None = None) -> Response:
        def read() -> bytes:
            return json.dumps(
                ask(), separators=(",", ":"), ensure_ascii=False, allow_nan=False
            ).encode("utf-8", "replace")

        headers = {"cache-control": "no-store"}
        if file_name is not None:
            headers["content-disposition"] = f'attachment; filename="{file_name}"'
        body = await self._threads.run(read)
        return Response(body, media_type="application/json", headers=headers)

    def _add_lists(self) -> None:
        reader, get = self._reader, self.app.get

        @get("/api/traces", response_model=models.Traces)
        async def list_traces(  # as its query
            filters: Given,
            sort: listing.Sort = "start",
            order: listing.Order = "desc",
            limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
            cursor: Annotated[str | None, Query(pattern=f"^{listing.CURSOR}$")] = None,
        ) -> Response:
            """List entries: requests, batches and starts."""
            return await self._json(
                lambda: listing.traces(
                    reader, filters, sort=sort, order=order, limit=limit, cursor=cursor
                )
            )

        @get("/api/points", response_model=models.Points)
        async def points(
            filters: Given, limit: Annotated[int, Query(ge=1, le=MAX_POINTS)] = 5000
        ) -> Response:
            """Return durations over time, in columns: the newest, if there are too many."""
            return await self._json(lambda: listing.points(reader, filters, limit=limit))

        @get("/api/timeline", response_model=models.Timeline)
        async def batch_timeline(
            filters: GivenRange, limit: Annotated[int, Query(ge=1, le=MAX_TIMELINE)] = 2000
        ) -> Response:
            """Return requests against batches over time, in columns."""
            return await self._json(lambda: timeline(reader, filters, limit=limit))

        @get("/api/breakdown", response_model=models.Breakdown)
        async def where_the_time_goes(filters: GivenRange) -> Response:
            """Say where the time of requests goes, and what to change."""
            return await self._json(lambda: breakdown(reader, filters))

        @get("/api/endpoints", response_model=models.Endpoints)
        async def endpoints() -> Response:
            """List the endpoints that have traces."""
            return await self._json(lambda: listing.endpoints(reader))

        @get("/api/status", response_model=models.Status)
        async def status() -> Response:
            """Say how much the file holds, and within which bounds."""
            return await self._json(lambda: listing.status(reader, self.app.version))

    def _add_traces(self) -> None:
        reader, get = self._reader, self.app.get

        @get("/api/traces/{trace_id}", response_model=models.Trace)
        async def one_trace(trace_id: TraceId) -> Response:
            """Return a trace's spans in the order of a waterfall."""
            return await self._json(lambda: traces.trace(reader, trace_id))

        @get("/api/traces/{trace_id}/text", response_class=PlainTextResponse)
        async def as_text(trace_id: TraceId, span: SpanId = None) -> Response:
            """Return a trace, or what is below a span, as text to be pasted."""

            def read() -> str:
                spans = traces.subtree(traces.whole(reader, trace_id)[1], span)
                return "".join(f"{line}\n" for line in traces.text(spans, trace_id))

            text = await self._threads.run(read)
            return PlainTextResponse(
                text.encode("utf-8", "replace"), headers={"cache-control": "no-store"}
            )

        @get("/api/traces/{trace_id}/otlp.json")
        async def as_otlp(trace_id: TraceId) -> Response:
            """Download a trace as OTLP JSON."""
            return await self._json(
                lambda: otlp(*traces.whole(reader, trace_id)), file_name=f"{trace_id}.otlp.json"
            )

        @get("/api/traces/{trace_id}/zipkin.json")
        async def as_zipkin(trace_id: TraceId) -> Response:
            """Download a trace as Zipkin's v2 JSON."""
            return await self._json(
                lambda: zipkin(*traces.whole(reader, trace_id)), file_name=f"{trace_id}.zipkin.json"
            )

    def _answer_errors(self) -> None:
        handler = self.app.exception_handler

        @handler(RequestValidationError)
        async def invalid(_: Request, error: RequestValidationError) -> Response:
            said = [f"{each['loc'][-1]}: {each['msg']}" for each in error.errors()]
            return _error(422, "invalid_query", "; ".join(said))

        @handler(HTTPException)
        async def http(_: Request, error: HTTPException) -> Response:
            return _error(error.status_code, "not_found", str(error.detail))

        @handler(traces.NoTraceError)
        async def no_trace(_: Request, error: traces.NoTraceError) -> Response:
            return _error(404, "no_trace", str(error))

        @handler(BusyError)
        async def busy(_: Request, __: BusyError) -> Response:
            return _error(503, "busy", "many questions wait for the file; ask again in a second")

        for kind in (sqlite3.Error, ConfigError, ValueError, OSError, zlib.error):

            @handler(kind)
            async def unreadable(_: Request, error: Exception) -> Response:
                return _error(503, "unreadable", f"the file of traces cannot be read: {error}")


def _error(status: int, code: str, message: str) -> Response:
    headers = {"cache-control": "no-store", **({"retry-after": "1"} if status == 503 else {})}  # noqa: PLR2004
    return JSONResponse({"code": code, "message": message}, status, headers)
