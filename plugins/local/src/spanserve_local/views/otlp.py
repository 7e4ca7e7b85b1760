"""A trace as OTLP JSON, which every OpenTelemetry collector reads.

Source: https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

_KINDS: Final = {"internal": 1, "server": 2, "client": 3, "producer": 4, "consumer": 5}
_ERROR: Final = 2
_INT64: Final = 1 << 63
_REMOTE: Final = 0x300
_KNOWN: Final = 0x100


def otlp(resource: Mapping[str, Any], spans: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a trace as the body of an export request."""
    scope = {"scope": {"name": "spanserve"}, "spans": [_span(span) for span in spans]}
    return {
        "resourceSpans": [
            {"resource": {"attributes": _attributes(resource)}, "scopeSpans": [scope]}
        ]
    }


def _span(span: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "traceId": span["trace_id"],
        "spanId": span["span_id"],
        "name": span["name"],
        "kind": _KINDS[span["kind"]],
        "startTimeUnixNano": str(span["start_ns"]),
        "endTimeUnixNano": str(span["end_ns"]),
        "attributes": _attributes(span["attributes"]),
    }
    if span["parent_id"]:
        found["parentSpanId"] = span["parent_id"]
    if span["tracestate"]:
        found["traceState"] = span["tracestate"]
    if span["events"]:
        found["events"] = [
            {
                "name": event["name"],
                "timeUnixNano": str(event["time_ns"]),
                "attributes": _attributes(event["attributes"]),
            }
            for event in span["events"]
        ]
    if span["links"]:
        found["links"] = [_link(link) for link in span["links"]]
    if span["error"] is not None:
        found["status"] = {"code": _ERROR, "message": span["error"]}
    return found


def _link(link: Mapping[str, Any]) -> dict[str, Any]:
    found = {
        "traceId": link["trace_id"],
        "spanId": link["span_id"],
        "attributes": _attributes(link["attributes"]),
    }
    if link.get("tracestate"):
        found["traceState"] = link["tracestate"]
    if link.get("is_remote"):
        found["flags"] = _REMOTE
    return found


def _attributes(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in attributes.items()]


def _value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int) and -_INT64 <= value < _INT64:
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value if math.isfinite(value) else _odd(value)}
    if isinstance(value, list | tuple):
        return {"arrayValue": {"values": [_value(each) for each in value]}}
    return {"stringValue": str(value)}


def _odd(value: float) -> str:
    """Return what protobuf's JSON has for numbers that JSON has no form for."""
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
