"""uvicorn's protocol over httptools, within the limits of every connection."""

import logging
from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

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
    unknown_coding,
)
from spanserve.server.connections.upgrade import BodyParser
from spanserve.server.http.answer import RequestError

log = logging.getLogger(__name__)

_VERSION_ERRORS: Final = frozenset(
    {"Invalid HTTP version", "Invalid major version", "Invalid minor version", "Expected dot"}
    | {"Expected CRLF after version", "Pause on PRI/Upgrade"}
)
"""What the parser says of a version that it does not know."""
_SPACE: Final = 4
"""Bytes of a header beside its name and value."""
_FORESEEN: Final = (httptools.HttpParserInvalidURLError, UnicodeError)


class LimitedHttpTools(LimitedConnection, HttpToolsProtocol):
    """One connection."""

    _fed = 0
    _is_websocket = False
    _is_upgrade = False
    version = "1.1"

    def data_received(self, data: bytes) -> None:
        """Read."""
        if self.phase == NOTHING:
            self.discard(len(data))
            return
        self._unset_keepalive_if_required()
        self._fed = len(data)
        self._feed(data)

    def _feed(self, data: bytes) -> None:
        rest = None
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._parse_failed(error)
            return
        except httptools.HttpParserUpgrade as upgrade:
            rest = data[upgrade.args[0] :]
        if rest is not None:  # not above, where its errors would have this one as their cause
            self._upgrade(rest)
        elif self.phase == NEXT and self._ended:  # nothing is owed, as nearly always
            self._ended = self._delivered = 0
        else:
            self.data_read(self._fed)

    def _upgrade(self, rest: bytes) -> None:
        """Go over to websockets, or go on: the parser left a body out, as of another protocol."""
        if self._is_websocket:
            self._unwatch()
            self.handle_websocket_upgrade()
            return
        self._is_upgrade = False
        self.parser = BodyParser(self).parser
        self._feed(rest)

    def _parse_failed(self, error: httptools.HttpParserError) -> None:
        cause, reason = error.__context__, str(error)
        if isinstance(cause, RequestError):
            self.refuse(cause)
        elif cause is not None and not isinstance(cause, _FORESEEN):
            log.error("a connection failed", exc_info=cause)
            self.refuse(refusal(500, "the server failed; its log says more"))
        elif self.phase == BODY:
            self.fail_body(malformed_body(reason))
        elif cause is None and reason in _VERSION_ERRORS:
            self.refuse(refusal(505, "this version of HTTP is not spoken here; HTTP/1.1 is"))
        else:
            self.refuse(malformed("its target is no path" if cause else reason))

    def on_message_begin(self) -> None:
        """Begin a head."""
        self.phase = HEAD
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Check a head, and begin its request; raises RequestError."""
        self.check_head()
        self.phase = BODY
        self._head_bytes = 0
        self._ended += 1
        self.begin_request()

    def check_head(self) -> None:
        """Raise RequestError where a request with this head is not taken."""
        headers, parser = self.headers, self.parser
        if self._head_bytes + self._fed > self.limits.max_header_bytes:
            self._check_size()
        if len(headers) > MAX_HEADERS:
            raise too_many_headers()
        self.version = version = parser.get_http_version()
        check_version(version)
        check_hosts(self.values(b"host"), version)
        codings = self.values(b"transfer-encoding")
        self._is_chunked = bool(codings)
        if codings and (len(codings) > 1 or codings[0].lower() != b"chunked"):
            raise unknown_coding(b", ".join(codings))
        if parser.should_upgrade():
            self._note_upgrade()

    def _check_size(self) -> None:
        limit = self.limits.max_header_bytes
        sizes = [len(name) + len(value) + _SPACE for name, value in self.headers]
        if len(self.url) > limit:
            raise target_too_long(limit)
        if len(self.url) + sum(sizes) > limit:
            raise head_too_large(limit)

    def _note_upgrade(self) -> None:
        """Tell a websocket from what is not spoken here, and so is a request like any other."""
        asked = self.version == "1.1" and wants_websocket(self.parser.get_method(), self.headers)
        self._is_websocket = asked and self.ws_protocol_class is not None and not self.answering
        self._is_upgrade = not self._is_websocket
        if asked and self.ws_protocol_class is None:
            self.shared.say_no_websockets()

    def _should_upgrade(self) -> bool:
        return self._is_websocket

    def values(self, name: bytes) -> list[bytes]:
        """Return the values of a header."""
        return [value for each, value in self.headers if each == name]

    def begin_request(self) -> None:
        """Begin uvicorn's way."""
        HttpToolsProtocol.on_headers_complete(self)
        if not self._is_websocket:
            self.cycle.transport = self.answers
        self.headers = []  # a trailer is no header

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        super()._start_asgi_task(cycle, self.watched_app(app))

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body."""
        self._delivered += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a body."""
        if not self._is_upgrade:
            self.body_read()
            super().on_message_complete()

    def head_too_large(self) -> RequestError:
        """Return the error of a head that is longer than it may be."""
        limit = self.limits.max_header_bytes
        has_line = self.phase == HEAD and bool(self.headers)
        return super().head_too_large() if has_line else target_too_long(limit)
