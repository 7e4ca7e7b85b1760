"""A request's headers by their names, and what the server itself asks of them."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from spanserve.service.codecs.media import JSON, NPY, chosen, media_type

HeaderList = Sequence[tuple[bytes, bytes]]
Fields = Mapping[bytes, bytes]
"""Headers by their names; of several of a name the last."""

HeadersRead = tuple[str, int, float | None]
"""The request's id, if its client gave one, its body's length or -1, and how long its client
waits, in ms, if it says."""

_COMMONEST: Final = (
    *("accept", "accept-encoding", "accept-language", "authorization", "connection"),
    *("content-length", "content-type", "cookie", "host", "origin", "user-agent", "x-api-key"),
)
COMMONEST: Final[Mapping[bytes, bytes]] = {
    spelling.encode(): name.encode() for name in _COMMONEST for spelling in (name, name.title())
}
"""The headers that nearly all requests have, and no other, by either way they are spelled.

None says who called, or asks anything of the server itself: a request that has no others, a *bare*
one, need not be searched for that."""

_JSON: Final = JSON.encode()
_LIMIT: Final = re.compile(rb"[0-9]{1,9}(\.[0-9]{1,3})?")
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")
_NOTHING: Final[HeadersRead] = "", -1, None


def read_fields(fields: Fields, *, are_bare: bool) -> HeadersRead:
    """Return what the server itself needs of headers, of a body that is there or soon will be."""
    if are_bare:
        return _NOTHING
    given, limit = fields.get(b"x-request-id"), fields.get(b"x-request-timeout-ms")
    request_id = given.decode("ascii") if given and _REQUEST_ID.fullmatch(given) else ""
    limit_ms = float(limit) if limit and _LIMIT.fullmatch(limit) else None
    return request_id, -1, limit_ms


def read_headers(headers: HeaderList) -> HeadersRead:
    """Return the same of headers in a list, and the body's length; what is not sane is left out."""
    request_id, length, limit_ms = "", -1, None
    for name, value in headers:
        if name == b"content-length":
            if value.isdigit():
                length = int(value[:20])
        elif name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            request_id = value.decode("ascii")
        elif name == b"x-request-timeout-ms" and _LIMIT.fullmatch(value):
            limit_ms = float(value)
    return request_id, length, limit_ms


def is_json(fields: Fields) -> bool:
    """Say whether the body is JSON, as far as the client says, and so may be the answer."""
    content, accept = fields.get(b"content-type"), fields.get(b"accept")
    if content is not None and content != _JSON and media_type(str(content, "latin-1")) != JSON:
        return False
    if accept is None or accept == b"*/*":
        return True
    return chosen(str(accept, "latin-1"), (JSON, NPY)) == JSON
