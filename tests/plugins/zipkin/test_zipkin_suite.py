"""The Zipkin tracer passes the suite that every tracer does."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from typing_extensions import override

from spanserve.testing import Backend, TracerSuite
from support.zipkin_sink import ZipkinSink


def rows(sink: ZipkinSink) -> list[dict[str, Any]]:
    return [
        {
            "trace_id": span["traceId"],
            "span_id": span["id"],
            "parent_id": span.get("parentId"),
            "name": span.get("name"),
        }
        for span in sink.spans
    ]


class TestZipkin(TracerSuite):
    tracer = "zipkin"
    keeps = ("trace_id", "span_id", "parent_id", "name")
    faults = ("slow", "error", "partial")
    exporters = ("thread", "process")
    workers = True

    def kept(self, key: str, value: Any) -> Any:
        return value.lower() if key == "name" else value  # as Zipkin's own clients write it

    @override
    @contextmanager
    def open_backend(self, folder: Path) -> Iterator[Backend]:
        def partial() -> None:
            """Take short posts alone, and not the second of them."""

            def is_long(body: bytes) -> bool:
                if len(body) <= 8_000:
                    sink.answer(503, times=1)
                    sink.refuse_if(lambda body: len(body) > 8_000, 413)
                return len(body) > 8_000

            sink.refuse_if(is_long, 413)

        with ZipkinSink(allow_debug=True) as sink:
            yield Backend(
                {"url": sink.url, "timeout_s": 0.3},
                lambda: rows(sink),
                {"slow": sink.hang, "error": lambda: sink.answer(503), "partial": partial},
                sink.accept,
                lambda: sink.violations,
            )
