"""What is read of a request's headers, and which requests need not be searched for it."""

from hypothesis import given
from hypothesis import strategies as st

from spanserve.server.http.headers import COMMONEST, read_fields, read_headers
from spanserve.tracing.propagation.propagators import KNOWN_FORMATS, Propagators

NAMES = (b"x-request-id", b"x-request-timeout-ms", b"host", b"traceparent", b"b3")
VALUES = (b"", b"abc", b"a b", b"250", b"0.5", b"1e3", b"-1", b"x" * 200)


@given(st.dictionaries(st.sampled_from(NAMES), st.sampled_from(VALUES)))
def test_headers_in_a_list_and_by_their_names_say_the_same(fields: dict[bytes, bytes]) -> None:
    listed = read_headers(list(fields.items()))
    assert read_fields(fields, are_bare=False) == listed
    if set(fields) <= set(COMMONEST):
        assert read_fields(fields, are_bare=True) == listed


def test_the_commonest_headers_ask_for_nothing_and_name_no_caller() -> None:
    read = {b"expect", b"x-request-id", b"x-request-timeout-ms"}
    read |= Propagators(KNOWN_FORMATS, KNOWN_FORMATS).headers
    assert read.isdisjoint(COMMONEST.values())
    assert {spelling.lower() for spelling in COMMONEST} == set(COMMONEST.values())
