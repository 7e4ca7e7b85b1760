"""A trace as Zipkin's v2 JSON. Source: https://zipkin.io/zipkin-api/zipkin2-api.yaml."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from spanserve_local.views.trace import error_of, plain

_KINDS: Final = {"server": "SERVER", "client": "CLIENT", "producer": "PRODUCER"} | {
    "consumer": "CONSUMER"
}


def zipkin(resource: Mapping[str, Any], spans: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a trace as the body of a post to Zipkin."""
    service = str(resource.get("service.name", "")).lower()
    return [_span(span, service) for span in spans]


def _span(span: Mapping[str, Any], service: str) -> dict[str, Any]:
    start_us = span["start_ns"] // 1000
    found: dict[str, Any] = {
        "traceId": span["trace_id"],
        "id": span["span_id"],
        "name": span["name"].lower(),
        "timestamp": start_us,
        "duration": max(1, -(-span["end_ns"] // 1000) - start_us),
        "localEndpoint": {"serviceName": service},
    }
    if tags := _tags(span):
        found["tags"] = tags
    if span["parent_id"]:
        found["parentId"] = span["parent_id"]
    if span["kind"] in _KINDS:
        found["kind"] = _KINDS[span["kind"]]
    if span["debug"]:
        found["debug"] = True
    if span["events"]:
        found["annotations"] = [
            {"timestamp": event["time_ns"] // 1000, "value": _annotation(event)}
            for event in span["events"]
        ]
    return found


def _tags(span: Mapping[str, Any]) -> dict[str, str]:
    tags = {key: _text(value) for key, value in span["attributes"].items() if key != "error"}
    for number, link in enumerate(span["links"]):
        said = json.dumps(plain(link["attributes"]), separators=(",", ":"))
        state = link.get("tracestate", "")
        tags[f"otlp.link.{number}"] = f"{link['trace_id']}|{link['span_id']}|{state}|{said}|0"
    if (failure := error_of(span)) is not None:
        tags["error"] = failure["message"] or failure["type"] or "true"
    return tags


def _annotation(event: Mapping[str, Any]) -> str:
    # The OpenTelemetry Collector splits annotations at bars.
    if not event["attributes"]:
        return str(event["name"]).replace("|", "/")
    said = json.dumps(plain(event["attributes"]), separators=(",", ":"), ensure_ascii=False)
    return f"{json.dumps(event['name'], ensure_ascii=False)}: {said}".replace("|", "\\u007c")


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(plain(value), separators=(",", ":"), ensure_ascii=False)
