"""The HTTP attributes of a server span, from an ASGI scope.

OpenTelemetry's semantic conventions for HTTP server spans, 1.44: the stable set of
required and recommended attributes. Secrets in the query are redacted as they demand.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from spanserve.tracing import names
from spanserve.tracing.span import AttributeValue

_METHODS: Final = frozenset(
    ("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE")
)
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_SECRET_QUERY: Final = re.compile(
    r"(^|&)(AWSAccessKeyId|Signature|sig|X-Amz-Credential|X-Amz-Security-Token|X-Amz-Signature"
    r"|X-Goog-Signature)=[^&]*",
    re.IGNORECASE,
)
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
            _host(value.decode("latin-1"), scope["scheme"], attributes)
        elif name == b"user-agent":
            attributes[names.USER_AGENT] = value.decode("latin-1")[:MAX_TEXT_CHARS]
    return attributes


def _url(scope: Mapping[str, Any]) -> dict[str, AttributeValue]:
    method = scope["method"]
    attributes: dict[str, AttributeValue] = {
        names.HTTP_METHOD: method if method in _METHODS else "_OTHER",
        names.URL_PATH: scope["path"][:MAX_TEXT_CHARS],
        names.URL_SCHEME: scope["scheme"],
    }
    if method not in _METHODS:
        attributes[names.HTTP_METHOD_ORIGINAL] = method[:MAX_TEXT_CHARS]
    if query := scope["query_string"]:
        text = _SECRET_QUERY.sub(r"\1\2=REDACTED", query.decode("latin-1"))
        attributes[names.URL_QUERY] = text[:MAX_TEXT_CHARS]
    return attributes


def _addresses(scope: Mapping[str, Any], attributes: dict[str, AttributeValue]) -> None:
    if client := scope.get("client"):
        host, port = client
        attributes[names.CLIENT_ADDRESS] = attributes[names.PEER_ADDRESS] = host
        if port:
            attributes[names.PEER_PORT] = port


def _host(host: str, scheme: str, attributes: dict[str, AttributeValue]) -> None:
    """Take apart a Host header: a name or `[IPv6]`, with or without a port."""
    address, colon, port = host[:MAX_TEXT_CHARS].rpartition(":")
    if not colon or "]" in port:
        address, port = host[:MAX_TEXT_CHARS], ""
    attributes[names.SERVER_ADDRESS] = address.strip("[]")
    if port.isascii() and port.isdigit():
        attributes[names.SERVER_PORT] = int(port)
    elif scheme in _DEFAULT_PORTS:
        attributes[names.SERVER_PORT] = _DEFAULT_PORTS[scheme]
