"""The HTTP attributes of a server span, from what the record keeps of an ASGI scope.

OpenTelemetry's semantic conventions for HTTP server spans, 1.44: the stable set of
required and recommended attributes. Secrets in the query are redacted as they demand.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final
from urllib.parse import unquote_plus

from spanserve.tracing import names
from spanserve.tracing.span import AttributeValue, Shared

HttpFields = tuple[
    str, str, bytes, str, str, tuple[str, int | None] | None, bytes | None, bytes | None
]
"""Method, path, query, scheme, version, client, and the headers Host and User-Agent."""

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


def fields_of(scope: Mapping[str, Any], headers: Mapping[bytes, bytes]) -> HttpFields:
    """Keep what the attributes are made of; it is all that a record holds of the request."""
    client = scope.get("client")
    return (
        scope["method"],
        scope["path"],
        scope["query_string"],
        scope.get("scheme", "http"),
        scope["http_version"],
        client and tuple(client),
        headers.get(b"host"),
        headers.get(b"user-agent"),
    )


# Most are asked for again by the next request of the same connection.
@lru_cache(maxsize=4096)
def server_attributes(fields: HttpFields, route: str, endpoint: str, status: int) -> Shared:
    """Return what all requests have in common that came and were answered alike."""
    attributes = Shared(_request_attributes(fields))
    if route:
        attributes[names.HTTP_ROUTE] = route
    if endpoint:
        attributes[names.ENDPOINT] = endpoint
    if status:
        attributes[names.HTTP_STATUS] = status
    return attributes


def _request_attributes(fields: HttpFields) -> dict[str, AttributeValue]:
    method, path, query, scheme, version, client, host, agent = fields
    attributes = _url(method, path, query, scheme)
    attributes[names.PROTOCOL_VERSION] = version
    if client is not None:
        _addresses(*client, attributes)
    if host is not None:
        _host(host.decode("latin-1"), scheme, attributes)
    if agent is not None:
        attributes[names.USER_AGENT] = agent.decode("latin-1")[:MAX_TEXT_CHARS]
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


def _addresses(host: str, port: int | None, attributes: dict[str, AttributeValue]) -> None:
    if host:
        attributes[names.CLIENT_ADDRESS] = host[:MAX_TEXT_CHARS]
        # A client without a port stood in a proxy's header: the peer is that proxy.
        if port:
            attributes[names.PEER_ADDRESS] = host
            attributes[names.PEER_PORT] = port


def _host(host: str, scheme: str, attributes: dict[str, AttributeValue]) -> None:
    """Take apart a Host header: a name or `[IPv6]`, with or without a port."""
    match = _HOST.fullmatch(host[:MAX_TEXT_CHARS])
    if match is None:
        return
    attributes[names.SERVER_ADDRESS] = match["ipv6"] or match["name"]
    port = int(match["port"]) if match["port"] else _DEFAULT_PORTS.get(scheme, 0)
    if 0 < port <= _MAX_PORT:
        attributes[names.SERVER_PORT] = port
