"""uvicorn's protocol over h11, within the limits of every connection.

It serves where httptools is not installed.
"""

import asyncio
import re
import sys
from typing import Any, Final

import h11
from uvicorn.protocols.http.flow_control import CLOSE_HEADER
from uvicorn.protocols.http.h11_impl import H11Protocol

from spanserve.server.access.websocket_request import wants_websocket
from spanserve.server.connections.connection import LimitedConnection
from spanserve.server.connections.limits import MAX_HEADERS
from spanserve.server.connections.phases import BODY, HEAD, NEXT, NOTHING
from spanserve.server.connections.refusals import (
    check_hosts,
    check_version,
    head_too_large,
    malformed,
    malformed_body,
    refusal,
    target_too_long,
    too_many_headers,
    wrong_version,
)
from spanserve.server.http.answer import RequestError
from spanserve.server.http.exchange import Message, Receive, Scope, Send

_TOO_LONG: Final = 431
_LONGEST_LINE: Final = 200
_VERSION: Final = re.compile(rb"^[!-~]+ [!-~]+ HTTP/([0-9][0-9.]*)\r?$")
_SPACE: Final = 4
"""Bytes of a header beside its name and value."""


class _RefusedError(h11.RemoteProtocolError):
    """A request that h11 would take, and this server does not."""

    def __init__(self, refusal: RequestError) -> None:
        super().__init__(refusal.message, refusal.status)
        self.refusal = refusal


class _Parser(h11.Connection):
    """Tells the connection what it reads."""

    def __init__(self, owner: "LimitedH11") -> None:
        super().__init__(h11.SERVER, owner.limits.max_header_bytes)
        self._owner = owner

    def next_event(self) -> Any:
        event = super().next_event()
        owner = self._owner
        if isinstance(event, h11.Request):
            owner.check_request(event)
            owner.head_read()
        elif isinstance(event, h11.Data):
            owner.body_came(len(event.data))
        elif isinstance(event, h11.EndOfMessage):
            owner.body_read()
            owner.line_ended()
        return event


class LimitedH11(LimitedConnection, H11Protocol):  # type: ignore[misc]  # its cycle is another
    """One connection."""

    counts_heads = False  # h11 holds what waits for the answer before it, too
    _is_websocket = False
    _line = b""
    """How the request begins that is read now, its line at least."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.conn = _Parser(self)
        self.app = self.watched_app(self.app)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Know what answers are written to."""
        super().connection_made(transport)
        self.transport = self.answers

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave no circle of references."""
        super().connection_lost(exc)
        self.app = None  # no more requests come

    def data_received(self, data: bytes) -> None:
        """Read."""
        if self.phase == NOTHING:
            self.discard(len(data))
            return
        if self.phase != BODY and b"\n" not in self._line:
            self._line += data[:_LONGEST_LINE]
        super().data_received(data)
        self.data_read(len(data))

    def on_response_complete(self) -> None:
        """Go on with what was read meanwhile."""
        super().on_response_complete()
        if self.phase == NEXT and self.conn.trailing_data[0]:
            self.phase = HEAD
        self.data_read(0)

    async def _run(self, app: Any, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the app; an answer after which the connection is closed says so."""
        cycle = receive.__self__  # type: ignore[attr-defined]  # uvicorn's

        async def said(message: Message) -> None:
            if message["type"] == "http.response.start" and not cycle.keep_alive:
                headers = [h for h in message.get("headers", ()) if h[0].lower() != b"connection"]
                message = {**message, "headers": [*headers, CLOSE_HEADER]}
            await send(message)

        await super()._run(app, scope, receive, said)

    def body_came(self, size: int) -> None:
        """Note a piece of the body."""
        self._delivered += size

    def line_ended(self) -> None:
        """Begin with the line of another request."""
        self._line = self.conn.trailing_data[0][:_LONGEST_LINE]

    def check_request(self, event: h11.Request) -> None:
        """Raise what is answered to a request that is not taken."""
        try:
            self._check(event)
        except RequestError as error:
            raise _RefusedError(error) from None

    def _check(self, event: h11.Request) -> None:
        limit, headers = self.limits.max_header_bytes, list(event.headers)
        if len(event.target) > limit:
            raise target_too_long(limit)
        sizes = sum(len(name) + len(value) + _SPACE for name, value in headers)
        if len(event.target) + sizes > limit:
            raise head_too_large(limit)
        if len(headers) > MAX_HEADERS:
            raise too_many_headers()
        version = event.http_version.decode()
        check_version(version)
        check_hosts([value for name, value in headers if name == b"host"], version)
        self._is_chunked = any(name == b"transfer-encoding" for name, _ in headers)
        asked = version == "1.1" and wants_websocket(event.method, headers)
        self._is_websocket = asked and self.ws_protocol_class is not None
        if asked and self.ws_protocol_class is None:
            self.shared.say_no_websockets()

    def _should_upgrade(self) -> bool:
        return self._is_websocket

    def handle_websocket_upgrade(self, event: h11.Request) -> None:  # type: ignore[override]  # as over h11
        """Let the library for websockets go on with the connection."""
        self.phase = NOTHING
        self._unwatch()
        self.transport = self._wire
        H11Protocol.handle_websocket_upgrade(self, event)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # uvicorn's
        """Refuse what h11 did not understand, or we do not take."""
        error = sys.exception()
        if isinstance(error, _RefusedError):
            self.refuse(error.refusal)
        elif self.phase == BODY:
            self.fail_body(malformed_body(str(error)))
        else:
            self.refuse(self._refusal_of(error))

    def _refusal_of(self, error: BaseException | None) -> RequestError:
        hint = getattr(error, "error_status_hint", 400)
        if hint == _TOO_LONG:
            limit = self.limits.max_header_bytes
            rest, _ = self.conn.trailing_data
            return head_too_large(limit) if b"\n" in rest else target_too_long(limit)
        line = self._line.lstrip().partition(b"\n")[0]
        if (found := _VERSION.search(line)) and found[1] not in {b"1.0", b"1.1"}:
            return wrong_version(found[1].decode())
        if hint == 501:  # noqa: PLR2004  # of a transfer coding
            return refusal(hint, str(error))
        return malformed(str(error))
