"""Spans for the local tracer's file, and what is read back from it."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from spanserve import Attributes, Resource, Span, SpanKind
from spanserve_local.store.reader import Reader
from spanserve_local.store.writer import Writer

RESOURCE = Resource("shop", {"service.name": "shop"})
NS = 1_000_000_000


def request_spans(number: int, start_ns: int, *, text: str = "") -> list[Span]:
    """Return the spans of a request; its number is in its ids."""
    trace_id, root = f"{number + 1:032x}", f"{number + 1:016x}"
    attributes: Attributes = {
        "spanserve.endpoint": "/predict",
        "http.response.status_code": 200,
    }
    part = f"{(1 << 32) + number + 1:016x}"
    return [
        Span(
            *("POST /predict", SpanKind.SERVER, trace_id, root, None),
            *(start_ns, start_ns + 5_000_000, attributes),
        ),
        Span(
            *("run", SpanKind.INTERNAL, trace_id, part, root),
            *(start_ns + 1_000_000, start_ns + 4_000_000, {"note": text} if text else {}),
        ),
    ]


def writer_of(file: Path, *, max_bytes: int = 1 << 28, now_s: float = 1e9) -> Writer:
    """Return what writes to a file, at a time that stands still."""
    return Writer(file, RESOURCE, max_bytes=max_bytes, max_age_s=3600, now_s=lambda: now_s)


def filled(file: Path, numbers: Sequence[int], *, each: int = 1, now_s: float = 1e9) -> None:
    """Write requests of these numbers, a second apart, so many in a call."""
    writer = writer_of(file, now_s=now_s)
    for first in range(0, len(numbers), each):
        some = numbers[first : first + each]
        writer.append([span for n in some for span in request_spans(n, int(now_s * NS) + n * NS)])
    writer.close()


def numbers_in(file: Path) -> list[int]:
    """Return the numbers of the requests that a file has, as often as it has them."""
    reader = Reader(file)
    try:
        return sorted(int(low) - 1 for low in reader.entries().columns["low"])
    finally:
        reader.close()


def traces_of(file: Path, numbers: Sequence[int]) -> Iterator[list[str]]:
    """Yield the names of each trace's spans."""
    reader = Reader(file)
    for number in numbers:
        read = reader.trace(f"{number + 1:032x}")
        yield [span["name"] for span in read[1]] if read else []
    reader.close()
