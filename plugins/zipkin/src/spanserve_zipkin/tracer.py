"""The hooks of the Zipkin tracer."""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from spanserve import ExportResult, Resource, Span, Spans, hookimpl
from spanserve_zipkin.delivery import Delivery
from spanserve_zipkin.encode import Encoder
from spanserve_zipkin.network import check_ca_file, proxy_of
from spanserve_zipkin.settings import ZipkinSettings
from spanserve_zipkin.target import path_warnings, query_path, redacted, viewer_url
from spanserve_zipkin.transport import Transport

_FULL = 0.9
"""As full as a body may be by what its spans may take: not all take the same."""


class Zipkin:
    """Posts spans as v2 JSON to Zipkin, or to whatever takes its format."""

    def __init__(self) -> None:
        self._exporter: _Exporter | None = None

    @hookimpl
    def tracer_settings(self) -> type[ZipkinSettings]:
        return ZipkinSettings

    @hookimpl
    def tracer_propagators(self) -> Sequence[str]:
        return ("b3",)

    @hookimpl
    def tracer_isolation(self) -> str:
        return "process"

    @hookimpl
    def tracer_target(self, settings: ZipkinSettings) -> str:
        check_ca_file(settings)
        proxy = proxy_of(settings.url)
        by = f" by the proxy {redacted(proxy)}" if proxy else ""
        return redacted(settings.url) + by

    @hookimpl
    def tracer_warnings(self, settings: ZipkinSettings) -> Sequence[str]:
        warnings = path_warnings(settings.url)
        if settings.ca_file is not None and not settings.url.startswith("https:"):
            warnings.append("zipkin.ca_file is not used: zipkin.url does not begin with https:")
        return warnings

    @hookimpl
    def tracer_started(self, settings: ZipkinSettings, resource: Resource) -> None:
        self._exporter = _Exporter(settings, resource)

    @hookimpl
    def export_spans(self, spans: Sequence[Span]) -> ExportResult:
        if self._exporter is None:
            raise RuntimeError("export_spans was called outside tracer_started … tracer_stopping")
        return self._exporter.export(spans)

    @hookimpl
    def trace_url(self, trace_id: str) -> str | None:
        return self._exporter.trace_url(trace_id) if self._exporter else None

    @hookimpl
    def find_trace(self, trace_id: str) -> bool | None:
        return self._exporter.find_trace(trace_id) if self._exporter else None

    @hookimpl
    def tracer_stopping(self) -> None:
        if self._exporter is not None:
            self._exporter.close()
            self._exporter = None


class _Exporter:
    """All that lives between `tracer_started` and `tracer_stopping`."""

    def __init__(self, settings: ZipkinSettings, resource: Resource) -> None:
        self._url = settings.url
        self._encoder = Encoder(resource, links=settings.links)
        self._transport = Transport(settings)
        self._delivery = Delivery(self._transport.post)
        self._span_bytes = 0.0

    def export(self, spans: Sequence[Span]) -> ExportResult:
        limit = self._delivery.max_body_bytes
        posts = deque(filter(len, Spans.joined([spans]).parts(self._posts(spans))))
        total = ExportResult()
        while posts and not total.retry:
            total = _both(total, self._deliver(posts.popleft()))
        if posts:  # the others would fare no better now
            total = replace(total, retry=Spans.joined([total.retry, *posts]))
        if total.delivered and limit == self._delivery.max_body_bytes:
            self._delivery.grow()
        return total

    def _posts(self, spans: Sequence[Span]) -> int:
        """Return how many posts it takes, by what a span took in the last."""
        body_bytes = len(spans) * self._span_bytes
        return max(1, math.ceil(body_bytes / (_FULL * self._delivery.max_body_bytes)))

    def _deliver(self, spans: Spans) -> ExportResult:
        encoded = self._encoder.encode(spans)
        self._span_bytes = sum(map(len, encoded.rows)) / len(spans)
        result = self._delivery.deliver(encoded)
        if not encoded.rejected:
            return result
        lost, failure = encoded.rejected, type(encoded.failure).__name__
        reason = f"{lost} spans cannot be encoded ({failure})"
        return replace(
            result,
            rejected=result.rejected + lost,
            reason=f"{reason}; {result.reason}" if result.reason else reason,
        )

    def trace_url(self, trace_id: str) -> str | None:
        return viewer_url(self._url, trace_id)

    def find_trace(self, trace_id: str) -> bool | None:
        path = query_path(self._url, trace_id)
        return self._transport.holds(path, trace_id) if path else None

    def close(self) -> None:
        self._transport.close()


def _both(first: ExportResult, second: ExportResult) -> ExportResult:
    """Return what became of the spans of two posts, of which the first left none to retry."""
    return replace(
        second,
        delivered=first.delivered + second.delivered,
        rejected=first.rejected + second.rejected,
        reason=second.reason or first.reason,
    )
