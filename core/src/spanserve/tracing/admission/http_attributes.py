"""The HTTP attributes of a server span, from what the record keeps of an ASGI scope.

OpenTelemetry's semantic conventions for HTTP server spans, 1.44: the stable set of
required and recommended attributes. Secrets in the query are redacted as they demand.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple
from urllib.parse import unquote_plus

from spanserve.tracing.model import names
from spanserve.tracing.model.span import Attributes, AttributeValue


class Origin(NamedTuple):
    """What the requests of like clients have in common; with a port, all that a record keeps.

    `client` is an address. One without a port stood in a proxy's header: then it is no peer.
    """

    method: str
    path: str
    query: bytes
    scheme: str
    version: str
    client: str
    is_peer: bool
    host: bytes | None
    user_agent: bytes | None
    key_name: str = ""
    """The name of the key that they carried."""


_METHODS: Final = frozenset(
    ("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE")
)
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_QUERY_FIELD: Final = re.compile(r"([^&;=]+)=[^&;]*")
_SECRET_FIELDS: Final = frozenset(
    (
        "awsaccesskeyid",
        "sig",
        "signature",
        "x-amz-credential",
        "x-amz-security-token",
        "x-amz-signature",
        "x-goog-signature",
    )
)
_HOST: Final = re.compile(
    r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<name>[^\[\]:\s]+))(?::(?P<port>[0-9]*))?"
)
_MAX_PORT: Final = 65_535
MAX_TEXT_CHARS: Final = 1_000


def span_name(method: str, route: str) -> str:
    """Return `{method} {route}`; never the raw path, of which there may be too many."""
    method = method if method in _METHODS else "HTTP"
    return f"{method} {route}" if route else method


def origin_of(
    scope: Mapping[str, Any], headers: Mapping[bytes, bytes], key_name: str = ""
) -> tuple[Origin, int]:
    """Keep what the attributes are made of: the origin, and the client's port or 0."""
    address, port = scope.get("client") or ("", 0)
    origin = Origin(
        scope["method"],
        scope["path"],
        scope["query_string"],
        scope.get("scheme", "http"),
        scope["http_version"],
        address,
        bool(port),
        headers.get(b"host"),
        headers.get(b"user-agent"),
        key_name,
    )
    return origin, port or 0


# Most are asked for again by the next request of the same client.
@lru_cache(maxsize=4096)
def server_attributes(origin: Origin, route: str, endpoint: str, status: int) -> Attributes:
    """Return what all requests have in common that came and were answered alike.

    It is one mapping for all of them, and not to be changed.
    """
    attributes = _request_attributes(origin)
    if route:
        attributes[names.HTTP_ROUTE] = route
    if endpoint:
        attributes[names.ENDPOINT] = endpoint
    if status:
        attributes[names.HTTP_STATUS] = status
    return attributes


def _request_attributes(origin: Origin) -> dict[str, AttributeValue]:
    attributes = _url(origin.method, origin.path, origin.query, origin.scheme)
    attributes[names.PROTOCOL_VERSION] = origin.version
    if client := origin.client:
        attributes[names.CLIENT_ADDRESS] = client[:MAX_TEXT_CHARS]
        if origin.is_peer:
            attributes[names.PEER_ADDRESS] = client
    if origin.key_name:
        attributes[names.KEY_NAME] = origin.key_name
    if origin.host is not None:
        _host(origin.host.decode("latin-1"), origin.scheme, attributes)
    if origin.user_agent is not None:
        attributes[names.USER_AGENT] = origin.user_agent.decode("latin-1")[:MAX_TEXT_CHARS]
    return attributes


def _url(method: str, path: str, query: bytes, scheme: str) -> dict[str, AttributeValue]:
    attributes: dict[str, AttributeValue] = {
        names.HTTP_METHOD: method if method in _METHODS else "_OTHER",
        names.URL_PATH: path[:MAX_TEXT_CHARS],
        names.URL_SCHEME: scheme,
    }
    if method not in _METHODS:
        attributes[names.HTTP_METHOD_ORIGINAL] = method[:MAX_TEXT_CHARS]
    if query:
        text = _QUERY_FIELD.sub(_redacted, query[:MAX_TEXT_CHARS].decode("latin-1"))
        attributes[names.URL_QUERY] = text[:MAX_TEXT_CHARS]
    return attributes


def _redacted(field: re.Match[str]) -> str:
    name = field[1]
    return f"{name}=REDACTED" if unquote_plus(name).lower() in _SECRET_FIELDS else field[0]


def _host(host: str, scheme: str, attributes: dict[str, AttributeValue]) -> None:
    """Take apart a Host header: a name or `[IPv6]`, with or without a port."""
    match = _HOST.fullmatch(host[:MAX_TEXT_CHARS])
    if match is None:
        return
    attributes[names.SERVER_ADDRESS] = match["ipv6"] or match["name"]
    port = int(match["port"]) if match["port"] else _DEFAULT_PORTS.get(scheme, 0)
    if 0 < port <= _MAX_PORT:
        attributes[names.SERVER_PORT] = port
