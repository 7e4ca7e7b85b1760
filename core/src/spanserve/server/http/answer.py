"""What a request is answered with, and the error contract.

Every error is JSON: a stable `code`, a message that names what was wrong, the request's id
and, where it is traced, its trace's. What the user's code raised stays in the log and in
the trace; the client learns its type.
"""

import asyncio
import logging
import math
import re
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from pydantic import BaseModel, Field
from pydantic_core import from_json, to_json
from starlette.exceptions import HTTPException

from spanserve.batching.batch import RunFailedError
from spanserve.batching.batcher import LateError, QueueFullError
from spanserve.running.faults import CarriedError, status_of
from spanserve.running.protocol import RunnerGoneError
from spanserve.running.wire.values import NotCarriedError
from spanserve.service.codecs.problems import InvalidBody, InvalidItem, InvalidResult

log = logging.getLogger(__name__)

JSON: Final = (b"content-type", b"application/json")
JSON_ONLY: Final = (JSON,)
"""The headers of almost every answer; a server may know them by this object."""


class Answer(NamedTuple):
    """A whole response; `headers` are its own, without those that every response carries."""

    status: int
    body: bytes
    headers: Sequence[tuple[bytes, bytes]] = JSON_ONLY


class Streamed(NamedTuple):
    """A response whose body comes in chunks, which are asked for one after the other."""

    status: int
    chunks: AsyncGenerator[bytes, None]
    headers: Sequence[tuple[bytes, bytes]]


_CHUNK_BYTES: Final = 128 * 1024
_LARGE_BYTES: Final = 512 * 1024
"""A body beyond it goes out part by part: to put it together would take long, and memory."""


def in_parts(
    parts: Sequence[bytes], headers: Sequence[tuple[bytes, bytes]] = JSON_ONLY
) -> Answer | Streamed:
    """Return a 200 whose body is made of these parts."""
    length = sum(map(len, parts))
    if length <= _LARGE_BYTES:
        return Answer(200, b"".join(parts), headers)
    return Streamed(200, _gathered(parts), [*headers, (b"content-length", b"%d" % length)])


async def _gathered(parts: Sequence[bytes]) -> AsyncGenerator[bytes, None]:
    """Yield parts as chunks that are worth a write of their own."""
    chunk: list[bytes] = []
    length = 0
    for part in parts:
        chunk.append(part)
        length += len(part)
        if length >= _CHUNK_BYTES:
            yield b"".join(chunk)
            await asyncio.sleep(0)
            chunk.clear()
            length = 0
    yield b"".join(chunk)


NOBODY: Final = Answer(499, b"")
"""The answer where the client left; it is counted and never sent."""


class ErrorDetail(BaseModel):
    """One place in an item, and what is wrong there."""

    loc: list[str | int]
    message: str


class ErrorBody(BaseModel):
    """The body of every error."""

    code: str = Field(description="A stable name of what went wrong")
    message: str = Field(description="What went wrong, for people")
    request_id: str = Field(description="The request's id, as in X-Request-Id")
    trace_id: str | None = Field(default=None, description="The trace's id, where it is traced")
    details: list[ErrorDetail] = Field(default_factory=list, description="Places in the item")
    detail: Any = Field(
        default=None, description="The detail of an exception of the service's, if it is no text"
    )


class RequestError(Exception):
    """A request that ends in an error answer."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        details: Sequence[Any] = (),
        detail: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = details
        self.detail = detail
        self.headers = headers or {}

    def body(self, request_id: str, trace_id: str | None) -> dict[str, Any]:
        """Return what the client reads of this error."""
        body: dict[str, Any] = {
            "code": self.code,
            "message": self.message,
            "request_id": request_id,
        }
        if trace_id:
            body["trace_id"] = trace_id
        if self.details:
            body["details"] = list(self.details)
        if self.detail is not None:
            body["detail"] = self.detail
        return body

    def answer(self, request_id: str, trace_id: str | None) -> Answer:
        """Return this error as a response."""
        body = self.body(request_id, trace_id)
        headers = [
            (k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in self.headers.items()
        ]
        text = b"" if self.status in WITHOUT_BODY else to_json(body)
        return Answer(self.status, text, (JSON, *headers) if headers else JSON_ONLY)


class BodyError(RequestError, HTTPException):  # type: ignore[misc]  # a Mapping is enough here
    """What reading a body raises that will not come, or does not come in time.

    FastAPI lets it through, as an HTTP exception, where it would make its own of any other. The
    connection is of no more use.
    """

    def __init__(self, status: int, code: str, message: str, **headers: str) -> None:
        headers = {"Connection": "close", **headers}
        RequestError.__init__(self, status, code, message, headers=headers)
        self.status_code, self.detail = status, message

    def body(self, request_id: str, trace_id: str | None) -> dict[str, Any]:
        """Return what the client reads; the detail of an HTTP exception is the message here."""
        body = super().body(request_id, trace_id)
        del body["detail"]
        return body


CODES: Final = {
    400: "malformed_body",
    401: "unauthorized",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    408: "request_too_slow",
    413: "body_too_large",
    414: "url_too_long",
    415: "unsupported_media_type",
    422: "invalid_item",
    429: "queue_full",
    431: "headers_too_large",
    500: "service_failed",
    501: "not_implemented",
    503: "draining",
    504: "timed_out",
    505: "version_not_supported",
}

LATE_CODE: Final = "deadline_unreachable"
"""The code of the other 429."""
MALFORMED_CODE: Final = "malformed_request"
"""The code of the other 400."""
NO_ROOM_CODE: Final = "no_room_for_body"
"""The code of the other 503."""

GONE_CODE: Final = "runner_gone"
"""The code of the other 503."""

WITHOUT_BODY: Final = frozenset({204, 304})
_HEADER_TEXT: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_PLAIN_STATUSES: Final = frozenset({404, 405, 413})


def cause_of(error: BaseException) -> BaseException:
    """Return what the user's code raised, where that is what an exception stands for."""
    cause = error.__cause__ if isinstance(error, (RunFailedError, CarriedError)) else None
    return cause or error


def request_error(error: BaseException) -> RequestError:
    """Return what the client learns of an exception."""
    error = cause_of(error)
    for kind, explain in _EXPLANATIONS:
        if isinstance(error, kind):
            return explain(error)
    return _failed(error)


def _queue_full(error: Any) -> RequestError:
    seconds = str(max(1, math.ceil(error.retry_after_s)))
    return RequestError(429, CODES[429], str(error), headers={"Retry-After": seconds})


def _too_late(error: Any) -> RequestError:
    seconds = str(max(1, math.ceil(error.retry_after_s)))
    return RequestError(429, LATE_CODE, str(error), headers={"Retry-After": seconds})


def _gone(error: Any) -> RequestError:
    return RequestError(503, GONE_CODE, str(error), headers={"Retry-After": "1"})


def _failed(error: BaseException) -> RequestError:
    status = status_of(error)
    if status is not None:  # FastAPI's HTTPException, and its like
        try:
            return http_error(status, getattr(error, "detail", ""), getattr(error, "headers", None))
        except Exception:  # noqa: BLE001  # what a user's properties raise, and hold, may be anything
            log.warning("%s has a detail or headers that cannot be sent", type(error).__name__)
    message = f"the service raised {type(error).__name__}; the server's log and the trace say more"
    return RequestError(500, CODES[500], message)


_EXPLANATIONS: Final[Sequence[tuple[type[BaseException], Callable[[Any], RequestError]]]] = (
    (RequestError, lambda error: error),
    (InvalidBody, lambda error: RequestError(400, CODES[400], str(error))),
    (InvalidItem, lambda e: RequestError(422, CODES[422], str(e), details=e.details)),
    (QueueFullError, _queue_full),
    (LateError, _too_late),
    (RunnerGoneError, _gone),
    (InvalidResult, lambda error: RequestError(500, CODES[500], str(error))),
    (NotCarriedError, lambda error: RequestError(500, CODES[500], str(error))),
)


def http_error(status: int, detail: object, headers: Mapping[str, str] | None) -> RequestError:
    """Return the error of an HTTP exception, as FastAPI and users raise them.

    Only where the status says all does it get a code of ours: a user's 429 is no full queue.
    A detail that is no text is sent as JSON. Raises where the detail has no JSON form, or a header
    is none.
    """
    code = CODES[status] if status in _PLAIN_STATUSES else f"http_{status}"
    for line in (headers or {}).items():
        if not all(_HEADER_TEXT.fullmatch(part) for part in line):
            raise ValueError("a header with what no header can hold")
    if isinstance(detail, str):
        return RequestError(status, code, detail, headers=headers)
    plain = from_json(to_json(detail, inf_nan_mode="null"))
    return RequestError(status, code, str(to_json(plain), "utf-8"), detail=plain, headers=headers)


def not_taken(media: str, there: Sequence[str]) -> RequestError:
    """Return the error of a body in a format that the endpoint does not read."""
    message = f"the body is {media[:100]!r}; this endpoint reads {', '.join(there)} (Content-Type)"
    return RequestError(415, CODES[415], message, headers={"Accept-Post": ", ".join(there)})


def not_given(there: Sequence[str]) -> RequestError:
    """Return the error of a request that takes no format that the endpoint writes."""
    how = "does not take it" if len(there) == 1 else "takes none of them"
    message = f"the answer would be {' or '.join(there)}, and Accept {how}"
    return RequestError(406, CODES[406], message)


def too_large(limit: int, *, inflated: bool = False) -> BodyError:
    """Return the error of a body past the limit, as it came or when it was `inflated`."""
    when = " when it is inflated" if inflated else ""
    message = f"the body has more than {limit} bytes{when} (server.max_request_bytes)"
    return BodyError(413, CODES[413], message)


def too_long_json(limit: int) -> RequestError:
    """Return the error of JSON that is parsed as a whole, and longer than that may be."""
    message = f"the body has more than {limit} bytes of JSON (server.max_json_bytes)"
    return RequestError(413, CODES[413], message)


def timed_out(limit_ms: float, limited_by: str) -> RequestError:
    """Return the error of a request that took too long; `limited_by` names the limit."""
    message = f"the answer took longer than {limit_ms:g} ms ({limited_by})"
    return RequestError(504, CODES[504], message)


def body_timed_out(limit_ms: float, limited_by: str) -> BodyError:
    """Return the error of a request whose body took too long; `limited_by` names the limit."""
    message = f"the body was not there after {limit_ms:g} ms ({limited_by})"
    return BodyError(408, CODES[408], message)


def given_up() -> RequestError:
    """Return the error of a request that the server does not wait for any more as it stops."""
    message = "the server stops, and the answer took longer than server.drain_timeout_s"
    return RequestError(503, CODES[503], message)
