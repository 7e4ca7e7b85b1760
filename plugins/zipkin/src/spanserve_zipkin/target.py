"""The URL that spans are posted to: what it says, and what of it people may see."""

import base64
from ipaddress import ip_address
from urllib.parse import SplitResult, unquote, urlsplit

_SPANS = "/api/v2/spans"
_OLD_SPANS = "/api/v1/spans"


def redacted(url: str) -> str:
    """Return the URL with its credentials, and the values of its query, masked."""
    parts = urlsplit(url)
    host = _host(parts)
    netloc = f"***@{host}" if "@" in parts.netloc else host
    query = "***" if parts.query else ""
    return parts._replace(netloc=netloc, query=query, fragment="").geturl()


def base_url(url: str) -> str:
    """Return scheme, host and port alone."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{_host(parts)}"


def path_and_query(url: str) -> str:
    """Return what a request line names."""
    parts = urlsplit(url)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def basic_authorization(url: str) -> str | None:
    """Return the value of the header Authorization for the user and password in the URL."""
    parts = urlsplit(url)
    if parts.username is None:
        return None
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


def credentials(url: str) -> set[str]:
    """Return every form in which the URL's user and password may turn up in a text."""
    parts = urlsplit(url)
    plain = {word for word in (parts.username, parts.password) if word}
    coded = (basic_authorization(url) or "").removeprefix("Basic ")
    return plain | {unquote(word) for word in plain} | ({coded} if coded else set())


def is_loopback(url: str) -> bool:
    """Say whether the URL, by its words alone, leads to this machine."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def viewer_url(url: str, trace_id: str) -> str | None:
    """Return where Zipkin's own UI shows the trace, if the URL is one of Zipkin's own."""
    path = urlsplit(url).path
    if not path.endswith(_SPANS):
        return None
    return f"{base_url(url)}{path.removesuffix(_SPANS)}/zipkin/traces/{trace_id}"


def query_path(url: str, trace_id: str) -> str | None:
    """Return the path at which Zipkin's query API has the trace, if the URL is one of Zipkin's."""
    path = urlsplit(url).path
    if not path.endswith(_SPANS):
        return None
    return f"{path.removesuffix(_SPANS)}/api/v2/trace/{trace_id}"


def path_warnings(url: str) -> list[str]:
    """Say what in the URL's path is probably a mistake."""
    parts = urlsplit(url)
    path = parts.path.rstrip("/")
    if parts.path.endswith(_SPANS):
        return []
    if path.endswith(_OLD_SPANS):
        meant = path.removesuffix(_OLD_SPANS) + _SPANS
        problem = "is Zipkin's old API, and spans are sent in the format of version 2"
    else:
        meant = path.removesuffix("/zipkin") + _SPANS
        meant = meant.replace(_SPANS + _SPANS, _SPANS)
        problem = f"does not end in {_SPANS}, where Zipkin takes spans"
    better = redacted(parts._replace(path=meant).geturl())
    return [f"zipkin.url {redacted(url)} {problem}; did you mean {better} ?"]


def _host(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[2]
