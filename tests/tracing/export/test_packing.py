"""Table records as bytes, and back."""

from enum import StrEnum
from http import HTTPStatus
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from spanserve.tracing.export.process.packing import packed, unpacked
from spanserve.tracing.recording.table import PACKED, REQUEST, Table, span_count

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=[]))
    | st.binary()
)
values = st.recursive(
    scalars,
    lambda each: st.lists(each).map(tuple) | st.dictionaries(st.text(), each),
    max_leaves=20,
)


@given(values, st.integers(1, 1000))
def test_what_is_packed_comes_back_and_says_all_along_how_many_spans_it_makes(
    value: Any, spans: int
) -> None:
    record: Table = (REQUEST, spans, value)
    parcel = packed(record)
    assert (parcel[0], span_count(parcel)) == (PACKED, spans)
    assert unpacked(parcel) == record
    assert repr(unpacked(parcel)) == repr(record)  # 1 is True, and not the same


def test_subclasses_of_plain_types_cross_as_what_they_are() -> None:
    class Colour(StrEnum):
        RED = "red"

    values = (HTTPStatus.OK, Colour.RED, [True, 1.5, None, b"x"], {Colour.RED: (2,)})
    assert unpacked(packed((REQUEST, 1, values))) == (
        REQUEST,
        1,
        (200, "red", (True, 1.5, None, b"x"), {"red": (2,)}),
    )
