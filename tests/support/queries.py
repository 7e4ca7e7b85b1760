"""What servers answer to queries, as spans: Zipkin's v2 API, and Jaeger's.

Formats: `zipkin2-api.yaml` of openzipkin/zipkin-api; OTLP's JSON under `result`, as of
Jaeger's api_v3; and the JSON of Jaeger's own web page.
What a server does not tell (Zipkin: link attributes as such, the types of tags) comes back
as `support.backends` has it for the sinks.
"""

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, NamedTuple, Protocol

from spanserve import Span
from support.query_formats import from_jaeger, from_otlp, from_zipkin

_POLL_S: Final = 0.05
_LIMIT: Final = 10_000


class Edge(NamedTuple):
    """Calls from one service to another, as a server's dependencies view has them."""

    parent: str
    child: str
    calls: int


class Queries(Protocol):
    """What a server can be asked, whatever it is; OSError where it does not answer."""

    def trace(self, trace_id: str) -> list[Span]:
        """Return what is known of a trace by now, by start; nothing where it is unknown."""
        ...

    def traces(self, service: str) -> list[Span]:
        """Return the spans of all traces of the last hour that a service had part in."""
        ...

    def services(self) -> list[str]:
        """Return the names of all services, sorted."""
        ...

    def dependencies(self) -> list[Edge]:
        """Return which service called which within the last hour, sorted."""
        ...

    def raw_trace(self, trace_id: str) -> Any:
        """Return a trace as the server writes it; None where it is unknown."""
        ...


def wait_for(
    ask: Callable[[], Sequence[Span]], count: int, *, deadline_s: float = 20.0
) -> list[Span]:
    """Ask until that many spans are there, since servers store what they accepted later.

    AssertionError: they were not within the deadline. More than asked for are returned, too.
    """
    end_s = time.monotonic() + deadline_s
    while len(spans := list(ask())) < count:
        names = dict(Counter(span.name for span in spans))
        late = time.monotonic() > end_s
        assert not late, f"{len(spans)} of {count} spans came within {deadline_s:g} s: {names}"
        time.sleep(_POLL_S)
    return spans


class ZipkinQueries:
    """Asks a Zipkin at this URL, such as http://localhost:9411."""

    def __init__(self, url: str) -> None:
        self._url = url

    def trace(self, trace_id: str) -> list[Span]:
        """See Queries."""
        return _sorted(from_zipkin(span) for span in self.raw_trace(trace_id) or [])

    def traces(self, service: str) -> list[Span]:
        """See Queries."""
        found = _get(f"{self._url}/api/v2/traces", serviceName=service, limit=str(_LIMIT)) or []
        return _sorted(from_zipkin(span) for trace in found for span in trace)

    def services(self) -> list[str]:
        """See Queries; the names are in lower case."""
        return sorted(_get(f"{self._url}/api/v2/services") or [])

    def dependencies(self) -> list[Edge]:
        """See Queries."""
        span = {"endTs": str(_now_ms()), "lookback": str(3_600_000)}
        return _edges(_get(f"{self._url}/api/v2/dependencies", **span) or [])

    def raw_trace(self, trace_id: str) -> Any:
        """See Queries; the answer of /api/v2/trace."""
        return _get(f"{self._url}/api/v2/trace/{trace_id}")


class JaegerQueries:
    """Asks a Jaeger at this URL, such as http://localhost:16686.

    v2 is asked by its v3 API. v1 is by that of its web page: its own v3 loses the names of
    events and the descriptions of errors.
    """

    def __init__(self, url: str, *, major: Literal[1, 2] = 2) -> None:
        self._url = url
        self._major = major

    def trace(self, trace_id: str) -> list[Span]:
        """See Queries."""
        return _jaeger_spans(self.raw_trace(trace_id))

    def traces(self, service: str) -> list[Span]:
        """See Queries."""
        if self._major == 1:
            query = {"service": service, "limit": str(_LIMIT), "lookback": "1h"}
            return _jaeger_spans(_get(f"{self._url}/api/traces", **query))
        now = datetime.now(UTC)
        span = (now - timedelta(hours=1), now + timedelta(minutes=1))
        first, last = (moment.isoformat().replace("+00:00", "Z") for moment in span)
        query = {
            "query.service_name": service,
            "query.start_time_min": first,
            "query.start_time_max": last,
            "query.num_traces": str(_LIMIT),
        }
        return _jaeger_spans(_get(f"{self._url}/api/v3/traces", **query))

    def services(self) -> list[str]:
        """See Queries."""
        path, key = ("/api/v3", "services") if self._major == 2 else ("/api", "data")
        found = _get(f"{self._url}{path}/services") or {}
        return sorted(found.get(key) or [])

    def dependencies(self) -> list[Edge]:
        """See Queries."""
        span = {"endTs": str(_now_ms()), "lookback": str(3_600_000)}
        found = _get(f"{self._url}/api/dependencies", **span) or {}
        return _edges(found.get("data") or [])

    def raw_trace(self, trace_id: str) -> Any:
        """See Queries; the answer of /api/v3/traces for v2, of /api/traces for v1."""
        path = "/api/v3/traces" if self._major == 2 else "/api/traces"
        return _get(f"{self._url}{path}/{trace_id}")


def _jaeger_spans(answer: Any) -> list[Span]:
    if not answer:
        return []
    return _sorted(from_otlp(answer) if "result" in answer else from_jaeger(answer))


def _sorted(spans: Any) -> list[Span]:
    return sorted(spans, key=lambda span: (span.start_ns, -span.end_ns, span.span_id))


def _edges(answer: Sequence[Mapping[str, Any]]) -> list[Edge]:
    return sorted(Edge(each["parent"], each["child"], each["callCount"]) for each in answer)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _get(url: str, **query: str) -> Any:
    """Return what a URL answers; None where it says that there is no such thing."""
    full = f"{url}?{urllib.parse.urlencode(query)}" if query else url
    try:
        with urllib.request.urlopen(full, timeout=20.0) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 404:
                return None
            text = error.read().decode(errors="replace")
        raise OSError(f"{full} answered {error.code}: {text}") from None
