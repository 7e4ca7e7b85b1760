"""What goes between a server and a replica: whole, bounded, and never more than data."""

import math
from collections.abc import Iterator
from typing import Any

import msgpack  # type: ignore[import-untyped]  # it has no types
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanserve.running.wire.frames import (
    HEAD,
    MOST_BYTES,
    MOST_INLINE,
    NO_ARENA,
    Arenas,
    Frame,
    FrameError,
    Reader,
    packed,
    unpacked,
)
from spanserve.running.wire.results import (
    Faults,
    fault_of,
    packed_results,
    read_ahead,
    results_of,
)
from spanserve.running.wire.values import (
    NotCarriedError,
    Parts,
    packed_values,
    unpacked_values,
)
from spanserve.service.codecs.problems import InvalidResult
from spanserve.service.results.private import EncodedJson


@pytest.fixture
def arenas() -> Iterator[Arenas]:
    made = Arenas.made(2)
    yield made
    made.close()


def sent(parts: list[Any]) -> bytes:
    return b"".join(bytes(memoryview(each).cast("B")) for each in parts)


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
ARRAYS = st.builds(
    lambda dtype, shape: np.arange(math.prod(shape)).astype(dtype).reshape(shape),
    st.sampled_from(["f4", "f8", "i8", "u1", "?", "<U5", "c16", "M8[s]"]),
    st.lists(st.integers(0, 3), max_size=3).map(tuple),
)


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same, of the same types, NaN included."""
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        kinds = one.dtype == other.dtype and one.shape == other.shape
        return bool(kinds and one.tobytes() == other.tobytes())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    return repr(one) == repr(other)


@given(st.lists(PLAIN | ARRAYS, min_size=1, max_size=5))
@settings(max_examples=200, deadline=None)
def test_values_arrive_as_they_were_or_as_their_bodies(values: list[Any]) -> None:
    bodies = [f"body {place}".encode() for place in range(len(values))]
    parts = Parts()
    form = packed_values(values, bodies, parts)
    (frame,) = Reader(Arenas(())).fed(sent(packed([form], parts.buffers, arenas=Arenas(()))))
    found, again = unpacked_values(frame.content[0], frame, lambda body: body)
    for place, value in enumerate(values):
        assert same(found[place], value) or found[place] == bodies[place]
    assert len(again) == len(values)


@pytest.mark.parametrize("value", [2**70, "\ud800", {1, 2}, object()])
def test_what_cannot_go_exactly_goes_as_its_body_or_not_at_all(value: Any) -> None:
    form = packed_values([value, 1], [b"the body", None], Parts())
    found, _ = unpacked_values(form, Frame(None, b""), lambda body: body)
    assert found == [b"the body", 1]
    with pytest.raises(NotCarriedError, match="cannot go to another process"):
        packed_values([value], [None], Parts())


def test_an_item_is_made_anew_for_each_run() -> None:
    form = packed_values([{"a": [1]}, {"a": [2]}], [None, None], Parts())
    found, again = unpacked_values(form, Frame(None, b""), lambda body: body)
    found[1]["a"].append(3)
    assert again[1] is not None
    fresh, _ = unpacked_values(form, Frame(None, b""), lambda body: body)
    assert fresh == [{"a": [1]}, {"a": [2]}]


@given(st.lists(PLAIN | ARRAYS, max_size=5))
@settings(max_examples=200, deadline=None)
def test_results_arrive_as_they_were_or_as_their_json(results: list[Any]) -> None:
    parts, faults = Parts(), Faults()
    form = packed_results(results, parts, faults)
    content = [form, faults.forms]
    (frame,) = Reader(Arenas(())).fed(sent(packed(content, parts.buffers, arenas=Arenas(()))))
    failed = [fault_of(each) for each in frame.content[1]]
    found = results_of(frame.content[0], frame, failed, len(results))
    read_ahead(frame.content[0])
    ahead = results_of(frame.content[0], frame, failed, len(results))
    assert all(
        isinstance(one, Exception) or same(one, two) for one, two in zip(found, ahead, strict=True)
    )
    for one, other in zip(found, results, strict=True):
        assert same(one, other) or isinstance(one, EncodedJson | InvalidResult)


def test_results_that_no_plain_value_is_arrive_too() -> None:
    error = KeyError("a")
    results = [np.float32(0.1), EncodedJson(b"{}"), error, [np.arange(3), "x"], error, 2**70]
    parts, faults = Parts(), Faults()
    form = packed_results(results, parts, faults)
    (frame,) = Reader(Arenas(())).fed(
        sent(packed([form, faults.forms], parts.buffers, arenas=Arenas(())))
    )
    failed = [fault_of(each) for each in frame.content[1]]
    found = results_of(frame.content[0], frame, failed, len(results))
    assert len(failed) == 1
    assert type(found[0]) is np.float32
    assert found[:2] == [np.float32(0.1), b"{}"]
    assert found[2] is found[4]
    assert (type(found[2]).__name__, str(found[2])) == ("KeyError", "'a'")
    assert [found[3][0].tolist(), found[3][1]] == [[0, 1, 2], "x"]
    assert found[5] == b"1180591620717411303424"


@pytest.mark.parametrize("size", [0, 10, MOST_INLINE, MOST_INLINE + 1, 1_000_000])
@pytest.mark.parametrize("hidden", [False, True])
def test_arrays_arrive_whatever_their_size_and_the_system(
    arenas: Arenas, size: int, *, hidden: bool
) -> None:
    used = Arenas(()) if hidden else arenas
    data = [bytes([each % 251]) * (size // 2) for each in range(2)]
    whole = sent(packed(["a"], data, arenas=used, arena=1)) + sent(packed(["b"], arenas=used))
    reader = Reader(used)
    frames = [
        frame
        for place in range(0, len(whole), 999)
        for frame in reader.fed(whole[place : place + 999])
    ]
    assert [(each.content, bytes(each.data)) for each in frames] == [
        (["a"], b"".join(data)),
        (["b"], b""),
    ]


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_what_is_no_frame_is_refused_or_waits_for_more(data: bytes) -> None:
    reader = Reader(Arenas(()))
    try:
        for frame in reader.fed(data):
            assert isinstance(frame, Frame)
    except FrameError:
        pass


@pytest.mark.parametrize(
    ("head", "why"),
    [
        ((1, MOST_BYTES, 0, NO_ARENA), "a frame of"),
        ((1, 0, 5, 7), "an arena has no 5 bytes"),
        ((1, 0, 1 << 30, 1), "an arena has no"),
    ],
)
def test_a_head_that_says_too_much_is_refused(
    arenas: Arenas, head: tuple[int, ...], why: str
) -> None:
    with pytest.raises(FrameError, match=why):
        Reader(arenas).fed(HEAD.pack(*head) + msgpack.packb(1))


@pytest.mark.parametrize(
    "payload",
    [
        msgpack.packb(msgpack.ExtType(5, b"x")),
        b"\xdd\xff\xff\xff\xff",
        b"\xdd\x00\x0f\xff\xff" * 900,
        b"\x91" * 5_000 + b"\x01",
        b"\xdb\x00\xff\xff\xffabc",
        b"\xc1",
        b"",
        b"\x01\x02",
    ],
    ids=["extension", "length", "many lengths", "depth", "text", "reserved", "nothing", "two"],
)
def test_what_is_no_plain_value_is_refused(payload: bytes) -> None:
    with pytest.raises(FrameError):
        unpacked(payload)


EXTENSIONS = st.one_of(
    st.builds(msgpack.Timestamp, st.integers(-(2**63), 2**63 - 1), st.integers(0, 10**9 - 1)),
    st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=20)),
)


@given(
    EXTENSIONS,
    st.lists(st.sampled_from([lambda x: [x], lambda x: {"a": x}, lambda x: {x: 1}])),
    PLAIN,
)
@settings(deadline=None)
def test_no_extension_type_is_read_wherever_it_stands(
    extension: Any, around: list[Any], beside: Any
) -> None:
    value = extension
    for each in around:
        try:
            value = each(value)
        except TypeError:  # no key
            value = [value]
    try:
        payload = msgpack.packb([beside, value])
    except (OverflowError, ValueError, UnicodeEncodeError):
        payload = msgpack.packb([value])
    with pytest.raises(FrameError, match="extension type"):
        unpacked(payload)


@pytest.mark.parametrize("seconds", [0, 2**33, -1])
def test_bytes_that_look_like_a_timestamp_are_none(seconds: int) -> None:
    looks = msgpack.packb(msgpack.Timestamp(seconds))
    assert unpacked(msgpack.packb([looks, 1])) == [looks, 1]
    with pytest.raises(FrameError, match="extension type"):
        unpacked(looks)


@given(PLAIN)
@settings(deadline=None)
def test_reading_ahead_what_is_no_results_leaves_that_to_be_refused(form: Any) -> None:
    try:
        read_ahead(form)
        results_of(form, Frame(None, b""), [], 1)
    except FrameError:
        return
    raise AssertionError(form)
