"""Questions to Jaeger's query API, at its usual port beside the web page."""

import re
from contextlib import closing
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from spanserve_jaeger.settings import JaegerSettings

USUAL_PORT: Final = 16686
# v1 answers an unknown trace with 500 at the first of these, and v2 may lose the second one day.
_PATHS: Final = ("/api/v3/traces/", "/api/traces/")
_TIMEOUT_S: Final = 2.0
_MAX_ANSWER_BYTES: Final = 64 * 1024
# Jaeger answers paths that it does not know with its web page and 200, and errors are JSON
# that says it is plain text: what counts is how the body begins.
_HELD: Final = re.compile(rb'\s*\{\s*"(?:result"\s*:\s*\{|data"\s*:\s*\[\s*\{)')
_NOT_HELD: Final = re.compile(rb'\s*\{.*"errors?"', re.DOTALL)


class QueryApi(NamedTuple):
    """Where Jaeger's web page and query API are."""

    host: str
    port: int = USUAL_PORT

    @property
    def url(self) -> str:
        """The web page; an IPv6 address stands in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def holds(self, trace_id: str) -> bool | None:
        """Whether Jaeger holds any span of a trace; None: nobody answers as Jaeger does."""
        try:
            for path in _PATHS:
                found = self._ask(path + trace_id)
                if found is not None:
                    return found
        except (OSError, HTTPException):
            return None
        return None

    def _ask(self, path: str) -> bool | None:
        with closing(HTTPConnection(self.host, self.port, timeout=_TIMEOUT_S)) as connection:
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read(_MAX_ANSWER_BYTES)
        if response.status == HTTPStatus.OK and _HELD.match(body):
            return True
        if response.status == HTTPStatus.NOT_FOUND and _NOT_HELD.match(body):
            return False
        return None


def query_host(settings: JaegerSettings) -> str:
    """The host that spans are sent to: Jaeger's web page is on it, too, if it is all in one."""
    if settings.protocol == "udp":
        return settings.address or ""
    return urlsplit(settings.endpoint or "").hostname or ""
