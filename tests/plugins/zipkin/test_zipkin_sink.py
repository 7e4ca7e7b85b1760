"""The Zipkin sink of these tests is as strict as it claims."""

import json
from typing import Any

import pytest

from support.zipkin_rules import RefusedError, read_spans, violations

GOOD: dict[str, Any] = {
    "traceId": "0af7651916cd43dd8448eb211c80319c",
    "id": "b7ad6b7169203331",
    "name": "run",
    "timestamp": 1_700_000_000_000_000,
    "duration": 1,
}


def test_a_good_span_is_taken() -> None:
    assert read_spans(json.dumps([GOOD]).encode()) == [GOOD]
    assert violations(GOOD) == []
    assert read_spans(b"") == read_spans(b"[]") == []


@pytest.mark.parametrize(
    "change",
    [
        {"traceId": None},
        {"traceId": ""},
        {"traceId": "0" * 32},
        {"traceId": "A" * 32},
        {"traceId": "1" * 33},
        {"id": "0" * 16},
        {"id": "1" * 17},
        {"parentId": "G" * 16},
        {"kind": "INTERNAL"},
        {"timestamp": 1.5},
        {"timestamp": "soon"},
        {"debug": "true"},
        {"tags": {"a": None}},
        {"tags": {"a": True}},
        {"tags": {"a": 1}},
        {"annotations": [{"timestamp": 1}]},
        {"annotations": [{"value": "a"}]},
        {"localEndpoint": {}},
        {"remoteEndpoint": {"port": 65536}},
        {"name": "binaryAnnotations"},
        {"tags": {"xyAnnotations": "a"}},
    ],
)
def test_what_zipkin_refuses_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(RefusedError):
        read_spans(json.dumps([GOOD, {**GOOD, **change}]).encode())


@pytest.mark.parametrize(
    "body", [b"{}", b"[1]", b"[", b'[{"id":"1","id":"1"}]', b"[NaN]", b'["\xff"]', b"[]]"]
)
def test_what_is_no_list_of_spans_is_refused(body: bytes) -> None:
    with pytest.raises(RefusedError):
        read_spans(body)


@pytest.mark.parametrize(
    "change",
    [
        {"traceId": "1" * 16},
        {"id": "1"},
        {"parentId": "0" * 16},
        {"parentId": GOOD["id"]},
        {"duration": 0},
        {"timestamp": 0},
        {"kind": None},
        {"shared": True},
        {"name": ""},
        {"tags": {}},
        {"tags": {"error": "false"}},
        {"tags": {"otel.status_code": "ERROR"}},
        {"annotations": [{"timestamp": 1, "value": "a|b|c"}]},
        {"remoteEndpoint": {"ipv4": "localhost"}},
        {"remoteEndpoint": {"ipv4": "::1"}},
        {"remoteEndpoint": {"ipv4": "1.2.3.4", "port": 0}},
        {"tags": {"a": "\ud800"}},
    ],
)
def test_what_zipkin_takes_but_should_not_get_is_a_violation(change: dict[str, Any]) -> None:
    [span] = read_spans(json.dumps([{**GOOD, **change}]).encode())
    assert len(violations(span)) == 1
