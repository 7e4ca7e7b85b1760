"""What a Zipkin server refuses, and what it takes but nobody should send.

From zipkin-api's `zipkin2-api.yaml`, and from openzipkin/zipkin 3.6: `V2SpanReader`,
`Span.Builder`, `Endpoint.Builder` and `ZipkinHttpCollector`.
"""

import json
import re
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

JsonObject = dict[str, Any]

_KINDS = {"CLIENT", "SERVER", "PRODUCER", "CONSUMER"}
_MEMBERS = {
    "traceId", "parentId", "id", "kind", "name", "timestamp", "duration", "debug",
    "localEndpoint", "remoteEndpoint", "annotations", "tags",
}  # fmt: skip
_MAX_TIMESTAMP_US = 1 << 63


class RefusedError(Exception):
    """The server answers 400, with this text."""


def read_spans(body: bytes | bytearray) -> list[JsonObject]:
    """Return the spans of a post's body, or raise `RefusedError` as the server would."""
    if not body:
        return []
    if b'yAnnotations"' in body:
        raise RefusedError("Expected a JSON_V2 encoded list")
    try:
        spans = json.loads(
            body.decode("utf-8"), object_pairs_hook=_members, parse_constant=_no_constant
        )
    except ValueError as error:
        raise RefusedError(f"Malformed reading List<Span> from json: {error}") from None
    if not isinstance(spans, list):
        raise RefusedError("Expected BEGIN_ARRAY")
    for span in spans:
        _check(span)
    return spans


def violations(span: JsonObject) -> list[str]:
    """Return what is wrong with a span although the server takes it."""
    return [f"{problem}: {span}" for problem in _problems(span)]


def _members(pairs: list[tuple[str, Any]]) -> JsonObject:
    members = dict(pairs)
    _refuse_if(len(members) != len(pairs), f"duplicate keys in {[key for key, _ in pairs]}")
    return members


def _no_constant(name: str) -> None:
    raise RefusedError(f"{name} is no JSON")


def _refuse_if(condition: bool, reason: str) -> None:  # noqa: FBT001  # reads as a sentence
    if condition:
        raise RefusedError(reason)


def _check(span: Any) -> None:
    _refuse_if(not isinstance(span, dict), "Expected BEGIN_OBJECT")
    _check_id(span, "traceId", 32)
    _check_id(span, "id", 16)
    if span.get("parentId") is not None:
        _check_id(span, "parentId", 16, zero=True)
    kind = span.get("kind")
    _refuse_if(kind is not None and kind not in _KINDS, f"No enum constant Kind.{kind}")
    _refuse_if(not isinstance(span.get("name", ""), str | None), "name is no string")
    for key in ("timestamp", "duration"):
        _refuse_if(not _is_long(span.get(key, 0), null=True), f"{key} is no long")
    for key in ("debug", "shared"):
        _refuse_if(not isinstance(span.get(key), bool | None), f"{key} is no boolean")
    for key in ("localEndpoint", "remoteEndpoint"):
        if span.get(key) is not None:
            _check_endpoint(key, span[key])
    _check_tags(span.get("tags"))
    _check_annotations(span.get("annotations"))


def _check_id(span: JsonObject, key: str, digits: int, *, zero: bool = False) -> None:
    value = span.get(key)
    _refuse_if(not isinstance(value, str) or not value, f"Missing: {key}")
    _refuse_if(not re.fullmatch(rf"[0-9a-f]{{1,{digits}}}", str(value)), f"{key} {value!r}")
    _refuse_if(not zero and not str(value).strip("0"), f"{key} is all zeros")


def _is_long(value: Any, *, null: bool = False) -> bool:
    return (value is None and null) or (
        isinstance(value, int)
        and not isinstance(value, bool)
        and -_MAX_TIMESTAMP_US <= value < _MAX_TIMESTAMP_US
    )


def _check_endpoint(key: str, endpoint: Any) -> None:
    _refuse_if(not isinstance(endpoint, dict), f"{key} is no object")
    _refuse_if(not endpoint, f"Empty endpoint at $[].{key}")
    port = endpoint.get("port")
    _refuse_if(port is not None and not (_is_long(port) and port <= 65535), f"invalid port {port}")
    for name in ("serviceName", "ipv4", "ipv6"):
        _refuse_if(not isinstance(endpoint.get(name), str | None), f"{key}.{name} is no string")


def _check_tags(tags: Any) -> None:
    if tags is not None:
        _refuse_if(not isinstance(tags, dict), "tags are no object")
        for key, value in tags.items():
            _refuse_if(not isinstance(value, str), f"No value at $[].tags.{key}")


def _check_annotations(annotations: Any) -> None:
    if annotations is None:
        return
    _refuse_if(not isinstance(annotations, list), "annotations are no array")
    for annotation in annotations:
        whole = isinstance(annotation, dict) and _is_long(annotation.get("timestamp"))
        whole = whole and isinstance(annotation.get("value"), str)
        _refuse_if(not whole, "Incomplete annotation at $[].annotations[]")


def _problems(span: JsonObject) -> Iterator[str]:
    if unknown := span.keys() - _MEMBERS:
        yield f"members that should not be sent {sorted(unknown)}"
    if None in span.values():
        yield "null members"
    if len(span["traceId"]) != 32 or any(len(span.get(key) or "0" * 16) != 16 for key in _IDS):
        yield "ids of another width than 32 and 16"
    if span.get("parentId") is not None and not span["parentId"].strip("0"):
        yield "a parent of zeros"
    if span.get("parentId") == span["id"]:
        yield "a span that is its own parent"
    if not (span.get("timestamp") or 0) > 0 or not (span.get("duration") or 0) > 0:
        yield "no timestamp or no duration"
    if any(span.get(key) in ({}, [], "") for key in span):
        yield "empty members"
    for key in ("localEndpoint", "remoteEndpoint"):
        yield from _endpoint_problems(key, span.get(key) or {"serviceName": "none"})
    yield from _text_problems(span)


_IDS = ("id", "parentId")


def _endpoint_problems(key: str, endpoint: JsonObject) -> Iterator[str]:
    if endpoint.keys() - {"serviceName", "ipv4", "ipv6", "port"} or None in endpoint.values():
        yield f"{key} with unknown or null members"
    if not endpoint.get("port", 1) > 0:
        yield f"{key} with a port of zero"
    for name, ip_version in (("ipv4", 4), ("ipv6", 6)):
        if name in endpoint and not _is_ip(endpoint[name], ip_version):
            yield f"{key}.{name} is no such address"


def _is_ip(text: str, ip_version: int) -> bool:
    try:
        return ip_address(text).version == ip_version
    except ValueError:
        return False


def _text_problems(span: JsonObject) -> Iterator[str]:
    tags = span.get("tags", {})
    if tags.get("error", "").lower() == "false":
        yield "a tag error=false, which makes an error of the span"
    if tags.get("otel.status_code") == "ERROR" and "error" not in tags:
        yield "a status of ERROR without the tag error"
    for annotation in span.get("annotations", []):
        if "|" in annotation["value"]:
            yield "an annotation with a bar, which the OpenTelemetry Collector splits"
    if re.search("[\ud800-\udfff]", json.dumps(span, ensure_ascii=False)):
        yield "lone surrogates"
