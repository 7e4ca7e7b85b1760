"""The HTTP attributes of a server span, from an ASGI scope.

OpenTelemetry's semantic conventions for HTTP server spans, 1.44: the stable set of
required and recommended attributes. Secrets in the query are redacted as they demand.
"""

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote_plus

from spanserve.tracing import names
from spanserve.tracing.span import AttributeValue

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


def attributes_of(scope: Mapping[str, Any]) -> dict[str, AttributeValue]:
    """Return what the scope of a request says, before anything is known of the answer."""
    attributes = _url(scope)
    attributes[names.PROTOCOL_VERSION] = scope["http_version"]
    _addresses(scope, attributes)
    for name, value in scope["headers"]:
        if name == b"host":
            _host(value.decode("latin-1"), scope.get("scheme", "http"), attributes)
        elif name == b"user-agent":
            attributes[names.USER_AGENT] = value.decode("latin-1")[:MAX_TEXT_CHARS]
    return attributes


def _url(scope: Mapping[str, Any]) -> dict[str, AttributeValue]:
    method = scope["method"]
    attributes: dict[str, AttributeValue] = {
        names.HTTP_METHOD: method if method in _METHODS else "_OTHER",
        names.URL_PATH: scope["path"][:MAX_TEXT_CHARS],
        names.URL_SCHEME: scope.get("scheme", "http"),
    }
    if method not in _METHODS:
        attributes[names.HTTP_METHOD_ORIGINAL] = method[:MAX_TEXT_CHARS]
    if query := scope["query_string"]:
        text = _QUERY_FIELD.sub(_redacted, query[:MAX_TEXT_CHARS].decode("latin-1"))
        attributes[names.URL_QUERY] = text[:MAX_TEXT_CHARS]
    return attributes


def _redacted(field: re.Match[str]) -> str:
    name = field[1]
    return f"{name}=REDACTED" if unquote_plus(name).lower() in _SECRET_FIELDS else field[0]


def _addresses(scope: Mapping[str, Any], attributes: dict[str, AttributeValue]) -> None:
    host, port = scope.get("client") or (None, None)
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
