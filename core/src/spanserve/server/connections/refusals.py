"""Why a connection's bytes are refused before any endpoint sees a request, or all of its body."""

import re
from functools import lru_cache
from typing import Final

from spanserve.server.connections.limits import MAX_HEADERS
from spanserve.server.http.answer import (
    CODES,
    MALFORMED_CODE,
    NO_ROOM_CODE,
    BodyError,
    RequestError,
)

REFUSALS: Final = (
    (400, MALFORMED_CODE),
    *((status, CODES[status]) for status in (408, 414, 431, 501, 505)),
    (503, NO_ROOM_CODE),
)
"""Each status and code that a connection may be refused with."""
CLOSE: Final = {"Connection": "close"}
NO_HOST: Final = b" "
"""What is no host."""
_HOST: Final = re.compile(
    rb"(?:\[[0-9A-Za-z:.%~_-]+\]|(?:[0-9A-Za-z._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)(?::[0-9]{0,5})?"
)
_VERSIONS: Final = frozenset({"1.0", "1.1"})


def refusal(status: int, message: str, code: str | None = None) -> RequestError:
    """Return an error after which the connection is closed."""
    return RequestError(status, code or CODES[status], message, headers=CLOSE)


def malformed(reason: str) -> RequestError:
    """Return the error of bytes that are no HTTP request."""
    return refusal(400, f"this is not an HTTP request: {reason}", MALFORMED_CODE)


def malformed_body(reason: str) -> BodyError:
    """Return the error of a body that is not sent as HTTP says."""
    return BodyError(400, MALFORMED_CODE, f"the body is not sent as HTTP says: {reason}")


def wrong_version(version: str) -> RequestError:
    """Return the error of another version of HTTP than those that are spoken."""
    return refusal(505, f"HTTP/{version} is not spoken here; HTTP/1.1 and HTTP/1.0 are")


def unknown_coding(coding: bytes) -> RequestError:
    """Return the error of a transfer coding other than chunked."""
    named = coding[:100].decode("latin-1")
    return refusal(501, f"Transfer-Encoding {named!r} is not read here, only 'chunked'")


def head_too_large(limit: int) -> RequestError:
    """Return the error of a head, or of what stands around a body, past the limit."""
    return refusal(431, f"the headers have more than {limit} bytes (server.max_header_bytes)")


def too_many_headers() -> RequestError:
    """Return the error of a request of too many headers."""
    return refusal(431, f"there are more than {MAX_HEADERS} headers")


def target_too_long(limit: int) -> RequestError:
    """Return the error of a request's line that alone is past the limit."""
    return refusal(414, f"the URL has more than {limit} bytes (server.max_header_bytes)")


def framing_too_large(limit: int) -> BodyError:
    """Return the error of a chunked body with too much around its chunks."""
    message = f"what stands around the body's chunks is more than {limit} bytes "
    return BodyError(431, CODES[431], f"{message}(server.max_header_bytes)")


def head_too_slow(limit_s: float) -> RequestError:
    """Return the error of a head that does not end."""
    return refusal(408, f"the headers took longer than {limit_s:g} s (server.header_timeout_s)")


def body_too_slow(limit_s: float) -> BodyError:
    """Return the error of a body that does not go on."""
    return BodyError(
        408, CODES[408], f"nothing came of the body for {limit_s:g} s (server.body_timeout_s)"
    )


def no_room(limit: int) -> BodyError:
    """Return the error of a body that waited too long for others to be read."""
    message = f"the bodies that are being read have {limit} bytes (server.max_buffered_bytes)"
    return BodyError(503, NO_ROOM_CODE, message, **{"Retry-After": "1"})


def check_version(version: str) -> None:
    """Raise RequestError where it is none that is spoken."""
    if version not in _VERSIONS:
        raise wrong_version(version)


def check_hosts(hosts: list[bytes], version: str) -> None:
    """Raise RequestError unless a request has the `Host` headers that HTTP wants."""
    if len(hosts) == 1 and is_host(hosts[0]):
        return
    if len(hosts) > 1:
        raise refusal(400, "there is more than one Host header", MALFORMED_CODE)
    if hosts:
        shown = hosts[0][:100].decode("latin-1")
        raise refusal(400, f"the Host header {shown!r} is no host", MALFORMED_CODE)
    if version == "1.1":
        raise refusal(400, "there is no Host header", MALFORMED_CODE)


@lru_cache(maxsize=256)
def is_host(value: bytes) -> bool:
    """Say whether it is a host, with a port or not."""
    return _HOST.fullmatch(value) is not None
