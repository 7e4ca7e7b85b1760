"""One trace: its spans in the order of a waterfall."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from spanserve_local.store.reader import Reader
from spanserve_local.views.listing import ms

LATE: Final = "spanserve.late"
MAX_SPANS: Final = 20_000
_SAFE: Final = 1 << 53


class NoTraceError(LookupError):
    """There is no such trace, or no such span in it."""


def whole(reader: Reader, trace_id: str) -> tuple[Mapping[str, Any], list[dict[str, Any]]]:
    """Return a trace's resource and its spans as the file has them; raises NoTraceError."""
    read = reader.trace(trace_id)
    if read is None:
        raise NoTraceError(
            f"there is no trace {trace_id} in the file; it may be let go, or not be written yet"
        )
    resource, spans = read
    distinct = {span["span_id"]: span for span in spans}
    return resource, in_order(list(distinct.values()))


def in_order(spans: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return spans depth first, siblings by their starts."""
    ids = {span["span_id"] for span in spans}
    below: dict[str | None, list[dict[str, Any]]] = {}
    for span in spans:
        parent = span["parent_id"] if span["parent_id"] in ids else None
        below.setdefault(parent, []).append(span)
    for siblings in below.values():
        siblings.sort(key=lambda span: (span["start_ns"], -span["end_ns"]))
    ordered: list[dict[str, Any]] = []
    stack = below.get(None, [])[::-1]
    while stack:
        span = stack.pop()
        ordered.append(span)
        stack += below.pop(span["span_id"], [])[::-1]
    return ordered


def subtree(spans: Sequence[dict[str, Any]], span_id: str | None) -> list[dict[str, Any]]:
    """Return a span and those below it, or all spans; raises NoTraceError."""
    if span_id is None:
        return list(spans)
    wanted = {span_id}
    for span in spans:  # parents come before children
        if span["parent_id"] in wanted:
            wanted.add(span["span_id"])
    kept = [span for span in spans if span["span_id"] in wanted]
    if not kept or kept[0]["span_id"] != span_id:
        raise NoTraceError(f"there is no span {span_id} in this trace")
    return kept


def trace(reader: Reader, trace_id: str) -> dict[str, Any]:
    """Return a trace as the viewer draws it; raises NoTraceError."""
    return shown(trace_id, *whole(reader, trace_id))


def shown(
    trace_id: str, resource: Mapping[str, Any], spans: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return a trace that was read, as the viewer draws it."""
    return {
        "trace_id": trace_id,
        "resource": plain(resource),
        "spans": [_shown(span) for span in spans[:MAX_SPANS]],
        "left_out": max(0, len(spans) - MAX_SPANS),
    }


def _shown(span: Mapping[str, Any]) -> dict[str, Any]:
    attributes = plain(span["attributes"])
    return {
        "span_id": span["span_id"],
        "parent_id": span["parent_id"],
        "name": span["name"],
        "kind": span["kind"],
        "start_ms": ms(span["start_ns"]),
        "duration_ms": ms(span["end_ns"] - span["start_ns"]),
        "error": error_of(span),
        "attributes": attributes,
        "events": [
            {
                "name": event["name"],
                "at_ms": ms(event["time_ns"]),
                "attributes": plain(event["attributes"]),
            }
            for event in span["events"]
        ],
        "links": [
            {
                "trace_id": link["trace_id"],
                "span_id": link["span_id"],
                "attributes": plain(link["attributes"]),
            }
            for link in span["links"]
        ],
        "late": attributes.get(LATE) is True,
    }


def error_of(span: Mapping[str, Any]) -> dict[str, str] | None:
    """Return what failed in a span."""
    if span["error"] is None:
        return None
    said: Mapping[str, Any] = next(
        (each["attributes"] for each in span["events"] if each["name"] == "exception"), {}
    )
    kind = span["attributes"].get("error.type") or said.get("exception.type") or ""
    message = span["error"] or said.get("exception.message") or ""
    return {"type": str(kind), "message": str(message)}


def plain(value: Any) -> Any:
    """Return a value of which every JSON reader makes the same: no number is too long or odd."""
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, int):
        return value if abs(value) < _SAFE else str(value)
    return value if math.isfinite(value) else str(value)


def text(spans: Sequence[Mapping[str, Any]], trace_id: str, *, width: int = 40) -> Iterator[str]:
    """Yield a waterfall as lines of text, to be pasted."""
    if not spans:
        return
    first, last = min(s["start_ns"] for s in spans), max(s["end_ns"] for s in spans)
    scale = width / max(1, last - first)
    depths: dict[str | None, int] = {}
    rows = []
    for span in spans:
        depth = depths.get(span["parent_id"], -1) + 1
        depths[span["span_id"]] = depth
        rows.append((f"{'  ' * depth}{one_line(span['name'])}", span))
    names = min(60, max(len(name) for name, _ in rows))
    yield f"trace {trace_id}, {ms(last - first):g} ms, {len(spans)} spans"
    for name, span in rows:
        start = int((span["start_ns"] - first) * scale)
        length = max(1, round((span["end_ns"] - span["start_ns"]) * scale))
        start = min(start, width - 1)
        bar = f"{' ' * start}{'█' * min(length, width - start)}"
        took = f"{ms(span['end_ns'] - span['start_ns']):.3f} ms"
        yield f"{name:<{names}} |{bar:<{width}}| {took:>12}{_noted(span)}"


def _noted(span: Mapping[str, Any]) -> str:
    failure = error_of(span)
    parts = [f"ERROR {one_line(' '.join(filter(None, failure.values())))}"] if failure else []
    parts += [
        f"{key.removeprefix('spanserve.')}={one_line(_value(value))}"
        for key, value in span["attributes"].items()
    ]
    if span["links"]:
        parts.append(f"{len(span['links'])} links")
    return f"  {'  '.join(parts)}" if parts else ""


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(plain(value), ensure_ascii=False)


def one_line(value: str, most: int = 120) -> str:
    """Return a text that a terminal shows as it is, on one line."""
    shown = "".join(each if each.isprintable() else " " for each in value)
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"
