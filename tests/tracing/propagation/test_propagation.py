"""Trace headers: the tables of the specifications, hostile input, and OpenTelemetry's reading."""

import logging
from collections.abc import Sequence
from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from opentelemetry.trace import get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from spanserve.errors import ConfigError
from spanserve.tracing.propagation.propagators import KNOWN_FORMATS, Propagators, Remote
from spanserve.tracing.propagation.w3c import MAX_TRACESTATE_CHARS

TRACE: Final = "12345678901234567890123456789012"
SPAN: Final = "1234567890123456"
TRACEPARENT: Final = f"00-{TRACE}-{SPAN}-01"
B3_TRACE: Final = "80f198ee56343ba864fe8b2a57d3eff7"
B3_SPAN: Final = "e457b5a2e4d86bd1"
PARENT: Final = "05e3ac9a4f6e3b90"
NO_TRACE: Final = "0" * 32
NO_SPAN: Final = "0" * 16

Headers = Sequence[tuple[str, str]]


def all_formats() -> Propagators:
    return Propagators(KNOWN_FORMATS, KNOWN_FORMATS)


def as_asgi(headers: Headers) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]


def extract(*headers: tuple[str, str]) -> Remote | None:
    return all_formats().extract(as_asgi(headers))


def tracestate(*values: str) -> str:
    remote = extract(("traceparent", TRACEPARENT), *(("tracestate", value) for value in values))
    assert remote is not None
    assert remote[:4] == (TRACE, SPAN, True, False)
    return remote.tracestate


def is_valid(remote: Remote) -> bool:
    if remote.debug and not remote.sampled:
        return False
    if not remote.trace_id:
        return remote.span_id == "" and remote.sampled is not None and remote.tracestate == ""
    hex_digits = set("0123456789abcdef")
    return (
        len(remote.trace_id) == 32
        and len(remote.span_id) == 16
        and set(remote.trace_id + remote.span_id) <= hex_digits
        and remote.trace_id != NO_TRACE
        and remote.span_id != NO_SPAN
        and remote.tracestate.isascii()
        and len(remote.tracestate) <= MAX_TRACESTATE_CHARS
        and (remote.tracestate == "" or remote.tracestate.isprintable())
    )


@pytest.mark.parametrize(
    ("value", "sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-03", True),
        (f"00-{TRACE}-{SPAN}-02", False),
        (f"00-{TRACE}-{SPAN}-09", True),
        (f"00-{TRACE}-{SPAN}-ff", True),
        (f"00-{TRACE}-{SPAN}-fe", False),
        (f"cc-{TRACE}-{SPAN}-01", True),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like", True),
        (f"01-{TRACE}-{SPAN}-00-", False),
        (f" {TRACEPARENT}", True),
        (f"\t{TRACEPARENT}", True),
        (f"{TRACEPARENT} ", True),
        (f"{TRACEPARENT}\t", True),
        (f"\t {TRACEPARENT} \t", True),
    ],
)
def test_a_valid_traceparent_is_continued(value: str, *, sampled: bool) -> None:
    is_random = value.strip()[53:55] in {"02", "03", "fe", "ff"}
    assert extract(("traceparent", value)) == Remote(TRACE, SPAN, sampled, random=is_random)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "-",
        f"{TRACEPARENT}.",
        f"{TRACEPARENT}-",
        f"{TRACEPARENT}-what-the-future-will-be-like",
        f"cc-{TRACE}-{SPAN}-01.what-the-future-will-be-like",
        f"cc-{TRACE}-{SPAN}-011",
        f"cc-{TRACE}-{SPAN}-01-{'x' * 500}",
        f"ff-{TRACE}-{SPAN}-01",
        f"FF-{TRACE}-{SPAN}-01",
        f".0-{TRACE}-{SPAN}-01",
        f"0.-{TRACE}-{SPAN}-01",
        f"000-{TRACE}-{SPAN}-01",
        f"0000-{TRACE}-{SPAN}-01",
        f"0-{TRACE}-{SPAN}-01",
        f"00-{NO_TRACE}-{SPAN}-01",
        f"00-.{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE[:-1]}.-{SPAN}-01",
        f"00-{TRACE[:-1]}A-{SPAN}-01",
        f"00-{TRACE}3-{SPAN}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}-{NO_SPAN}-01",
        f"00-{TRACE}-.{SPAN[1:]}-01",
        f"00-{TRACE}-{SPAN[:-1]}.-01",
        f"00-{TRACE}-{SPAN[:-1]}A-01",
        f"00-{TRACE}-{SPAN}7-01",
        f"00-{TRACE}-{SPAN[:-1]}-01",
        f"00-{TRACE}-{SPAN}-.0",
        f"00-{TRACE}-{SPAN}-0.",
        f"00-{TRACE}-{SPAN}-0A",
        f"00-{TRACE}-{SPAN}-001",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE[:-1]}\u00b2-{SPAN}-01",
        f"{TRACEPARENT}\n",
        f"{TRACEPARENT}\r\n",
        f"{TRACEPARENT}\x00",
        f"cc-{TRACE}-{SPAN}-01-\n",
        f"{TRACEPARENT}, {TRACEPARENT}",
    ],
)
def test_an_invalid_traceparent_starts_a_new_trace(value: str) -> None:
    propagators = all_formats()
    headers = as_asgi([("traceparent", value), ("tracestate", "foo=1")])
    assert propagators.extract(headers) is None
    assert propagators.ignored == 1


def test_a_repeated_traceparent_starts_a_new_trace() -> None:
    assert extract(("traceparent", TRACEPARENT), ("traceparent", TRACEPARENT)) is None


@pytest.mark.parametrize("name", ["trace-parent", "trace.parent", "x-traceparent"])
def test_a_header_of_another_name_is_not_read(name: str) -> None:
    propagators = all_formats()
    assert propagators.extract(as_asgi([(name, TRACEPARENT)])) is None
    assert propagators.ignored == 0


def test_a_tracestate_without_traceparent_says_nothing() -> None:
    assert extract(("tracestate", "foo=1")) is None


KEY: Final = "abcdefghijklmnopqrstuvwxyz0123456789_-*/"
VALUE: Final = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) not in ",=")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["foo=1,bar=2"], "foo=1,bar=2"),
        ([""], ""),
        (["foo=1", ""], "foo=1"),
        (["", "foo=1"], "foo=1"),
        (["foo=1,,bar=2, ,"], "foo=1,bar=2"),
        (["foo=1,bar=2", "rojo=1,congo=2", "baz=3"], "foo=1,bar=2,rojo=1,congo=2,baz=3"),
        ([f"{KEY}={VALUE}"], f"{KEY}={VALUE}"),
        ([f"{KEY}@a-z0-9_-*/={VALUE}"], f"{KEY}@a-z0-9_-*/={VALUE}"),
        (["foo=1 \t , \t bar=2, \t baz=3"], "foo=1,bar=2,baz=3"),
        (["foo=1\t \t,\t \tbar=2,\t \tbaz=3"], "foo=1,bar=2,baz=3"),
        ([" foo=1"], "foo=1"),
        (["\tfoo=1"], "foo=1"),
        (["foo=1 "], "foo=1"),
        (["\t foo=1 \t"], "foo=1"),
        (["foo=  1"], "foo=  1"),
        (["foo=1", "z" * 256 + "=1"], "foo=1," + "z" * 256 + "=1"),
        (["foo=1", "t" * 241 + "@" + "v" * 14 + "=1"], "foo=1," + "t" * 241 + f"@{'v' * 14}=1"),
        (["1digit=1,9@vendor=2"], "1digit=1,9@vendor=2"),
        (["foo=1,foo=1"], "foo=1"),
        (["foo=1,bar=3,foo=2"], "foo=1,bar=3"),
        (["foo=1", "foo=1"], "foo=1"),
        (["foo=1", "foo=2"], "foo=1"),
    ],
)
def test_a_valid_tracestate_is_carried_in_order(values: list[str], expected: str) -> None:
    assert tracestate(*values) == expected


@pytest.mark.parametrize(
    "values",
    [
        ["foo =1"],
        ["foo=1,foo =2"],
        ["FOO=1"],
        ["foo.bar=1"],
        ["@foo=1,bar=2"],
        ["_foo=1,bar=2"],
        ["foo=bar=baz"],
        ["foo=,bar=3"],
        ["foo= ,bar=3"],
        ["foo,bar=3"],
        ["=1"],
        ["foo=1", "z" * 257 + "=1"],
        ["foo=" + "v" * 257],
        ["foo=1\r\nevil: 1"],
        ["foo=1\n"],
        ["foo=a\tb"],
        ["foo=\u00e9"],
        ["foo=\x7f"],
    ],
)
def test_a_malformed_tracestate_is_dropped_and_the_trace_continued(values: list[str]) -> None:
    assert tracestate(*values) == ""


def test_a_tracestate_has_at_most_32_members() -> None:
    members = [f"bar{i:02}={i:02}" for i in range(1, 34)]
    assert tracestate(*members[:32]) == ",".join(members[:32])
    assert tracestate(*members) == ""


def test_a_tracestate_of_nothing_but_commas_is_not_read_to_its_end() -> None:
    assert tracestate("," * 8_000) == ""
    assert tracestate("foo=1" + "," * 8_000) == ""


def test_a_tracestate_of_many_headers_beyond_the_limit_is_dropped() -> None:
    assert tracestate(*(f"k{i}=v" for i in range(32)), "," * 8_192) == ""


def test_a_long_tracestate_loses_its_long_members_first_and_then_its_last() -> None:
    short = [f"s{i:02}={'v' * 100}" for i in range(18)]
    long = [f"l{i}={'v' * 200}" for i in range(3)]
    kept = tracestate(",".join([long[0], *short[:9], long[1], *short[9:], long[2]]))
    assert kept == ",".join([*short[:9], *short[9:]])
    twenty = [f"s{i:02}={'v' * 100}" for i in range(20)]
    assert tracestate(",".join([long[0], *twenty])) == ",".join(twenty[:19])


def test_512_characters_of_tracestate_always_pass() -> None:
    state = f"{'k' * 253}={'v' * 3},{'j' * 200}={'w' * 53}"
    assert len(state) == 512
    assert tracestate(state) == state


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (f"{B3_TRACE}-{B3_SPAN}-1-{PARENT}", Remote(B3_TRACE, B3_SPAN, sampled=True)),
        (f"{B3_TRACE}-{B3_SPAN}-1", Remote(B3_TRACE, B3_SPAN, sampled=True)),
        (f"{B3_TRACE}-{B3_SPAN}-0", Remote(B3_TRACE, B3_SPAN, sampled=False)),
        (f"{B3_TRACE}-{B3_SPAN}-d", Remote(B3_TRACE, B3_SPAN, sampled=True, debug=True)),
        (f"{B3_TRACE}-{B3_SPAN}-d-{PARENT}", Remote(B3_TRACE, B3_SPAN, sampled=True, debug=True)),
        (f"{B3_TRACE}-{B3_SPAN}", Remote(B3_TRACE, B3_SPAN, sampled=None)),
        (f"{B3_TRACE}-{B3_SPAN}-{PARENT}", Remote(B3_TRACE, B3_SPAN, sampled=None)),
        (f"{B3_TRACE[16:]}-{B3_SPAN}-1", Remote(NO_SPAN + B3_TRACE[16:], B3_SPAN, sampled=True)),
        (f" {B3_TRACE}-{B3_SPAN}-1\t", Remote(B3_TRACE, B3_SPAN, sampled=True)),
        (f"{B3_TRACE.upper()}-{B3_SPAN.upper()}-1", Remote(B3_TRACE, B3_SPAN, sampled=True)),
        ("0", Remote("", "", sampled=False)),
        ("1", Remote("", "", sampled=True)),
        ("d", Remote("", "", sampled=True, debug=True)),
        (f"{NO_TRACE}-{NO_SPAN}-0", Remote("", "", sampled=False)),
        (f"{B3_TRACE}-{NO_SPAN}-0", Remote("", "", sampled=False)),
        (f"{NO_TRACE}-{B3_SPAN}", None),
        ("", None),
        ("2", None),
        ("-", None),
        ("\u00b2", None),
        ("false", None),
        (B3_TRACE, None),
        (f"{B3_TRACE}-", None),
        (f"{B3_TRACE}-{B3_SPAN}-", None),
        (f"{B3_TRACE}-{B3_SPAN}-2", None),
        (f"{B3_TRACE}-{B3_SPAN}-true", None),
        (f"{B3_TRACE}-{B3_SPAN}-1-", None),
        (f"{B3_TRACE}-{B3_SPAN}-1-{PARENT}-1", None),
        (f"{B3_TRACE}-{B3_SPAN[1:]}-1", None),
        (f"{B3_TRACE[1:]}-{B3_SPAN}-1", None),
        (f"{B3_TRACE}0-{B3_SPAN}-1", None),
        (f"{B3_TRACE[:-1]}\u00b2-{B3_SPAN}-1", None),
        (f"{B3_TRACE}-{B3_SPAN}-1\n", None),
        (f"{B3_TRACE}-{B3_SPAN}-1{' ' * 200}", None),
    ],
)
def test_the_single_b3_header_is_read(value: str, expected: Remote | None) -> None:
    propagators = all_formats()
    assert propagators.extract(as_asgi([("b3", value)])) == expected
    assert propagators.ignored == (expected is None)


IDS: Final = (("X-B3-TraceId", B3_TRACE), ("X-B3-SpanId", B3_SPAN))


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([*IDS], Remote(B3_TRACE, B3_SPAN, sampled=None)),
        ([*IDS, ("X-B3-Sampled", "1")], Remote(B3_TRACE, B3_SPAN, sampled=True)),
        ([*IDS, ("X-B3-Sampled", "true")], Remote(B3_TRACE, B3_SPAN, sampled=True)),
        ([*IDS, ("X-B3-Sampled", "0")], Remote(B3_TRACE, B3_SPAN, sampled=False)),
        ([*IDS, ("X-B3-Sampled", "False")], Remote(B3_TRACE, B3_SPAN, sampled=False)),
        ([*IDS, ("X-B3-Sampled", "d")], Remote(B3_TRACE, B3_SPAN, sampled=True, debug=True)),
        ([*IDS, ("X-B3-Sampled", "perhaps")], Remote(B3_TRACE, B3_SPAN, sampled=None)),
        ([*IDS, ("X-B3-Sampled", "1" * 10_000)], Remote(B3_TRACE, B3_SPAN, sampled=None)),
        ([*IDS, ("X-B3-Flags", "1")], Remote(B3_TRACE, B3_SPAN, sampled=True, debug=True)),
        (
            [*IDS, ("X-B3-Flags", "1"), ("X-B3-Sampled", "0")],
            Remote(B3_TRACE, B3_SPAN, sampled=True, debug=True),
        ),
        (
            [*IDS, ("X-B3-Flags", "0"), ("X-B3-Sampled", "1")],
            Remote(B3_TRACE, B3_SPAN, sampled=True),
        ),
        (
            [*IDS, ("X-B3-ParentSpanId", "rubbish"), ("X-B3-Sampled", "1")],
            Remote(B3_TRACE, B3_SPAN, sampled=True),
        ),
        (
            [("X-B3-TraceId", B3_TRACE[16:]), ("X-B3-SpanId", B3_SPAN)],
            Remote(NO_SPAN + B3_TRACE[16:], B3_SPAN, sampled=None),
        ),
        ([*IDS, ("X-B3-TraceId", TRACE)], Remote(B3_TRACE, B3_SPAN, sampled=None)),
        ([("X-B3-Sampled", "0")], Remote("", "", sampled=False)),
        ([("X-B3-Sampled", "1")], Remote("", "", sampled=True)),
        ([("X-B3-Flags", "1")], Remote("", "", sampled=True, debug=True)),
        ([IDS[0], ("X-B3-Sampled", "0")], Remote("", "", sampled=False)),
        ([("X-B3-TraceId", "x"), IDS[1], ("X-B3-Sampled", "0")], Remote("", "", sampled=False)),
        (
            [("X-B3-TraceId", NO_TRACE), IDS[1], ("X-B3-Sampled", "0")],
            Remote("", "", sampled=False),
        ),
        ([("X-B3-TraceId", B3_TRACE), ("X-B3-SpanId", NO_SPAN)], None),
        ([IDS[0]], None),
        ([IDS[1]], None),
        ([("X-B3-TraceId", B3_TRACE + "0"), IDS[1]], None),
        ([("X-B3-TraceId", "a" * 10_000), IDS[1]], None),
        ([("X-B3-Sampled", "perhaps")], None),
        ([("X-B3-Flags", "0")], None),
    ],
)
def test_the_b3_headers_of_one_field_each_are_read(
    headers: Headers, expected: Remote | None
) -> None:
    propagators = all_formats()
    assert propagators.extract(as_asgi(headers)) == expected
    assert propagators.ignored == (expected is None)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (f"{TRACE}:{SPAN}:0:1", Remote(TRACE, SPAN, sampled=True)),
        (f"{TRACE}:{SPAN}:{PARENT}:1", Remote(TRACE, SPAN, sampled=True)),
        (f"{TRACE}:{SPAN}::01", Remote(TRACE, SPAN, sampled=True)),
        (f"{TRACE}:{SPAN}:0:0", Remote(TRACE, SPAN, sampled=False)),
        (f"{TRACE}:{SPAN}:0:3", Remote(TRACE, SPAN, sampled=True, debug=True)),
        (f"{TRACE}:{SPAN}:0:2", Remote(TRACE, SPAN, sampled=False)),
        (f"{TRACE}:{SPAN}:0:8", Remote(TRACE, SPAN, sampled=False)),
        (f"{TRACE}:{SPAN}:0:9", Remote(TRACE, SPAN, sampled=True)),
        (f"{TRACE}:{SPAN}:0:0b", Remote(TRACE, SPAN, sampled=True, debug=True)),
        (f"{TRACE}%3A{SPAN}%3a0%3A1", Remote(TRACE, SPAN, sampled=True)),
        ("1:A:0:1", Remote(f"{'0' * 31}1", f"{'0' * 15}a", sampled=True)),
        (f" {TRACE}:{SPAN}:0:1 ", Remote(TRACE, SPAN, sampled=True)),
        (f"{NO_TRACE}:{SPAN}:0:1", None),
        (f"{TRACE}:{NO_SPAN}:0:1", None),
        ("0:0:0:0", None),
        ("", None),
        (":::", None),
        (f"{TRACE}:{SPAN}:0", None),
        (f"{TRACE}:{SPAN}:0:", None),
        (f"{TRACE}:{SPAN}:0:1:1", None),
        (f"{TRACE}:{SPAN}:0:001", None),
        (f"{TRACE}0:{SPAN}:0:1", None),
        (f"{TRACE}:{SPAN}0:0:1", None),
        (f"{TRACE}:{SPAN}:{PARENT}0:1", None),
        (f"0x1f:{SPAN}:0:1", None),
        (f"1_0:{SPAN}:0:1", None),
        (f"-1:{SPAN}:0:1", None),
        (f"1: 1:{SPAN}:1", None),
        (f"{TRACE}:{SPAN}:0:+1", None),
        (f"{TRACE}%{SPAN}%0%1", None),
        (f"{TRACE}:{SPAN}:0:1\n", None),
        (f"\u00b2:{SPAN}:0:1", None),
        ("a" * 60_000, None),
    ],
)
def test_the_header_of_jaeger_is_read(value: str, expected: Remote | None) -> None:
    propagators = all_formats()
    assert propagators.extract(as_asgi([("uber-trace-id", value)])) == expected
    assert propagators.ignored == (expected is None)


W3C_HEADER: Final = ("traceparent", f"00-{'a' * 32}-{'1' * 16}-01")
SINGLE_HEADER: Final = ("b3", f"{'b' * 32}-{'1' * 16}-1")
MULTI_HEADERS: Final = (("x-b3-traceid", "c" * 32), ("x-b3-spanid", "1" * 16))
UBER_HEADER: Final = ("uber-trace-id", f"{'d' * 32}:{'1' * 16}:0:1")


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([UBER_HEADER, *MULTI_HEADERS, SINGLE_HEADER, W3C_HEADER], "a" * 32),
        ([UBER_HEADER, *MULTI_HEADERS, SINGLE_HEADER], "b" * 32),
        ([UBER_HEADER, *MULTI_HEADERS], "c" * 32),
        ([UBER_HEADER], "d" * 32),
        ([("traceparent", "bad"), ("b3", "bad"), ("x-b3-traceid", "bad"), UBER_HEADER], "d" * 32),
        ([W3C_HEADER, W3C_HEADER, SINGLE_HEADER], "b" * 32),
        ([W3C_HEADER, ("b3", f"{NO_TRACE}-{NO_SPAN}-0")], "a" * 32),
        ([("b3", "0"), W3C_HEADER], "a" * 32),
        ([("b3", "0"), *MULTI_HEADERS], "c" * 32),
        ([("b3", "0"), ("x-b3-sampled", "0"), UBER_HEADER], "d" * 32),
        ([("x-b3-sampled", "0"), UBER_HEADER], "d" * 32),
    ],
)
def test_the_first_format_with_valid_ids_wins(headers: Headers, expected: str) -> None:
    remote = extract(*headers)
    assert remote is not None
    assert remote.trace_id == expected
    assert remote.sampled is not False


def test_a_deny_counts_where_no_header_has_valid_ids() -> None:
    bad = ("traceparent", f"00-{NO_TRACE}-{SPAN}-01")
    assert extract(bad, ("b3", "0"), ("uber-trace-id", "0:0:0:1")) == Remote("", "", sampled=False)
    assert extract(("x-b3-sampled", "1"), ("b3", "0")) == Remote("", "", sampled=False)


def test_only_the_named_formats_are_read_and_written() -> None:
    propagators = Propagators(["b3"], ["jaeger"])
    assert propagators.extract(as_asgi([W3C_HEADER, *MULTI_HEADERS, UBER_HEADER])) is None
    assert propagators.extract(as_asgi([SINGLE_HEADER])) == Remote("b" * 32, "1" * 16, sampled=True)
    assert propagators.ignored == 0
    assert propagators.inject(TRACE, SPAN, sampled=True) == {"uber-trace-id": f"{TRACE}:{SPAN}:0:1"}


def test_without_formats_nothing_is_read_or_written() -> None:
    propagators = Propagators([], [])
    assert propagators.extract(as_asgi([W3C_HEADER])) is None
    assert propagators.inject(TRACE, SPAN, sampled=True) == {}


def test_an_unknown_format_is_named_beside_the_known_ones() -> None:
    expected = r"^unknown propagator 'b4' \(known: tracecontext, b3, b3multi, jaeger\)$"
    with pytest.raises(ConfigError, match=expected):
        Propagators(["b4"], [])
    with pytest.raises(ConfigError, match=expected):
        Propagators([], ["b4"])


@pytest.mark.parametrize(
    ("sampled", "debug", "expected"),
    [
        (
            True,
            False,
            {
                "traceparent": f"00-{TRACE}-{SPAN}-01",
                "tracestate": "foo=1",
                "b3": f"{TRACE}-{SPAN}-1",
                "x-b3-traceid": TRACE,
                "x-b3-spanid": SPAN,
                "x-b3-sampled": "1",
                "uber-trace-id": f"{TRACE}:{SPAN}:0:1",
            },
        ),
        (
            False,
            False,
            {
                "traceparent": f"00-{TRACE}-{SPAN}-00",
                "tracestate": "foo=1",
                "b3": f"{TRACE}-{SPAN}-0",
                "x-b3-traceid": TRACE,
                "x-b3-spanid": SPAN,
                "x-b3-sampled": "0",
                "uber-trace-id": f"{TRACE}:{SPAN}:0:0",
            },
        ),
        (
            True,
            True,
            {
                "traceparent": f"00-{TRACE}-{SPAN}-01",
                "tracestate": "foo=1",
                "b3": f"{TRACE}-{SPAN}-d",
                "x-b3-traceid": TRACE,
                "x-b3-spanid": SPAN,
                "x-b3-flags": "1",
                "uber-trace-id": f"{TRACE}:{SPAN}:0:3",
            },
        ),
    ],
)
def test_every_format_is_written(*, sampled: bool, debug: bool, expected: dict[str, str]) -> None:
    written = all_formats().inject(TRACE, SPAN, sampled=sampled, debug=debug, tracestate="foo=1")
    assert written == expected


def test_each_call_writes_a_dict_of_its_own() -> None:
    propagators = all_formats()
    first = propagators.inject(TRACE, SPAN, sampled=True)
    first["b3"] = "changed"
    assert propagators.inject(TRACE, SPAN, sampled=True)["b3"] == f"{TRACE}-{SPAN}-1"


trace_ids = st.integers(1, (1 << 128) - 1).map("{:032x}".format)
span_ids = st.integers(1, (1 << 64) - 1).map("{:016x}".format)


@pytest.mark.parametrize("name", KNOWN_FORMATS)
@given(
    trace_id=trace_ids,
    span_id=span_ids,
    sampled=st.booleans(),
    debug=st.booleans(),
    random=st.booleans(),
)
def test_what_is_written_is_read_back(
    name: str, trace_id: str, span_id: str, *, sampled: bool, debug: bool, random: bool
) -> None:
    propagators = Propagators([name], [name])
    sampled = sampled or debug
    state = "foo=1" if name == "tracecontext" else ""
    written = propagators.inject(
        trace_id, span_id, sampled=sampled, debug=debug, tracestate=state, random=random
    )
    is_w3c = name == "tracecontext"
    carries_debug = debug and not is_w3c
    expected = Remote(trace_id, span_id, sampled, carries_debug, state, random=random and is_w3c)
    assert propagators.extract(as_asgi(list(written.items()))) == expected


header_names = st.sampled_from(
    [
        b"traceparent",
        b"tracestate",
        b"b3",
        b"x-b3-traceid",
        b"x-b3-spanid",
        b"x-b3-sampled",
        b"x-b3-flags",
        b"uber-trace-id",
        b"accept",
    ]
)
likely_values = st.lists(
    st.sampled_from(
        [TRACE, SPAN, NO_TRACE, NO_SPAN, "00", "ff", "1", "0", "d", "-", ":", "%3A", ",", "=", " "]
    )
).map(lambda parts: "".join(parts).encode())
near_values = st.sampled_from(
    [TRACEPARENT, f"{TRACE}-{SPAN}-1", f"{TRACE}:{SPAN}:0:1", TRACE, SPAN, "1", "foo=1,bar=2"]
).map(str.encode)


@given(
    st.lists(
        st.tuples(header_names, st.one_of(st.binary(max_size=80), likely_values, near_values)),
        max_size=12,
    )
)
def test_any_headers_give_a_valid_answer_or_none(headers: list[tuple[bytes, bytes]]) -> None:
    remote = all_formats().extract(headers)
    assert remote is None or is_valid(remote)


@given(
    st.dictionaries(
        header_names, st.one_of(st.binary(max_size=80), likely_values, near_values), max_size=6
    ),
    st.sampled_from([KNOWN_FORMATS, ("tracecontext",), ("b3", "jaeger")]),
)
@example({b"traceparent": TRACEPARENT.encode()}, KNOWN_FORMATS)
@example({b"traceparent": TRACEPARENT.encode(), b"tracestate": b"a=1"}, KNOWN_FORMATS)
@example({b"traceparent": TRACEPARENT.encode(), b"b3": b"d"}, ("b3", "jaeger"))
@example({b"traceparent": f"00-{NO_TRACE}-{SPAN}-01".encode(), b"b3": b"d"}, KNOWN_FORMATS)
def test_headers_that_are_there_once_say_the_same_by_their_names(
    fields: dict[bytes, bytes], formats: Sequence[str]
) -> None:
    by_name, one_by_one = Propagators(formats, formats), Propagators(formats, formats)
    assert by_name.extract_once(fields) == one_by_one.extract(fields.items())
    assert by_name.ignored == one_by_one.ignored


@given(
    position=st.integers(0, len(TRACEPARENT)),
    replaced=st.integers(0, 3),
    inserted=st.text("0123456789abcdefABCDEFg-. \t", max_size=3),
)
def test_a_usual_traceparent_is_read_as_any_other(
    position: int, replaced: int, inserted: str
) -> None:
    changed = TRACEPARENT[:position] + inserted + TRACEPARENT[position + replaced :]
    fields = {b"traceparent": changed.encode()}
    assert all_formats().extract_once(fields) == all_formats().extract(fields.items())


@given(
    bad=st.lists(
        st.tuples(
            st.sampled_from([b"tracestate", b"b3", b"x-b3-traceid", b"x-b3-spanid", b"x-b3-flags"]),
            st.binary(max_size=40),
        )
    )
)
def test_no_other_header_hides_a_valid_traceparent(bad: list[tuple[bytes, bytes]]) -> None:
    remote = all_formats().extract([*bad, (b"traceparent", TRACEPARENT.encode())])
    assert remote is not None
    assert remote[:4] == (TRACE, SPAN, True, False)


def test_a_bad_header_is_never_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        extract(
            ("traceparent", "evil\r\n"),
            ("tracestate", "evil"),
            ("b3", "evil"),
            ("x-b3-traceid", "evil"),
            ("uber-trace-id", "evil"),
        )
        tracestate("evil\r\nline")
    assert caplog.records == []


def read_by_opentelemetry(headers: dict[str, str]) -> Remote | None:
    context = TraceContextTextMapPropagator().extract(headers)
    span = get_current_span(context).get_span_context()
    if not span.is_valid:
        return None
    return Remote(
        f"{span.trace_id:032x}",
        f"{span.span_id:016x}",
        sampled=span.trace_flags.sampled,
        tracestate=span.trace_state.to_header(),
    )


@given(
    position=st.integers(0, len(TRACEPARENT)),
    replaced=st.integers(0, 3),
    inserted=st.text("0123456789abcdefABCDEFg-. \t", max_size=3),
    version=st.sampled_from(["00", "01", "cc", "ff"]),
)
def test_a_traceparent_is_read_as_opentelemetry_reads_it(
    position: int, replaced: int, inserted: str, version: str
) -> None:
    whole = version + TRACEPARENT[2:]
    value = whole[:position] + inserted + whole[position + replaced :]
    assert extract(("traceparent", value)) == read_by_opentelemetry({"traceparent": value})


members = st.tuples(
    st.from_regex(r"[a-z][a-z0-9_\-*/]{0,8}", fullmatch=True),
    st.from_regex(r"[!-+\--<>-~]{1,8}", fullmatch=True),
)


@given(st.lists(members, max_size=32, unique_by=lambda member: member[0]))
def test_a_tracestate_is_read_as_opentelemetry_reads_it(pairs: list[tuple[str, str]]) -> None:
    state = ", ".join(f"{key}={value}" for key, value in pairs)
    headers = {"traceparent": TRACEPARENT, "tracestate": state}
    assert extract(*headers.items()) == read_by_opentelemetry(headers)
