"""What a record writes down: ids, failures, waits and counts."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanserve import hookimpl
from spanserve.tracing.expansion.shape.rules import Waits, waits
from spanserve.tracing.live.values import ItemRow, Values
from spanserve.tracing.model.failure import MAX_MESSAGE_CHARS, MAX_STACK_CHARS, Failure, failure_of
from spanserve.tracing.model.ids import (
    COLLATE,
    DECODE,
    ENCODE,
    QUEUE,
    ROOT,
    RUN,
    SPLIT,
    copy_place,
    derived_id,
    item_place,
    place_of,
)
from spanserve.tracing.recording.base import CUSTOMS, MAX_CUSTOM_SPANS
from spanserve.tracing.recording.custom import CustomSpan
from spanserve.tracing.recording.record import BatchRecord, ItemRecord, RequestRecord
from support.gate import begun, gate, http_origin


class Recording:
    """The smallest tracer there is."""

    @hookimpl
    def span_ended(self, span: object) -> None:
        """Look away."""


def request(**marks: int) -> RequestRecord:
    record = RequestRecord("a" * 32, 7, True, *http_origin(), 1)
    for name, mark_ns in marks.items():
        setattr(record, name, mark_ns)
    return record


@given(root_id=st.integers(1, 2**64 - 1), other=st.integers(0, 2**56), place=st.integers(0, 2**56))
def test_ids_are_16_digits_not_zero_and_differ_where_places_do(
    root_id: int, place: int, other: int
) -> None:
    one, two = derived_id(root_id, place), derived_id(root_id, other)
    assert len(one) == 16
    assert int(one, 16) > 0
    assert (one == two) is (place == other) or 1 in (int(one, 16), int(two, 16))


@given(root_id=st.integers(1, 2**64 - 1), span_id=st.integers(1, 2**64 - 1))
def test_a_span_with_an_id_of_its_own_has_the_place_that_gives_it(
    root_id: int, span_id: int
) -> None:
    assert derived_id(root_id, place_of(root_id, span_id)) == f"{span_id:016x}"


def test_the_id_that_would_be_zero_is_not() -> None:
    assert derived_id(0, 0) == "0000000000000001"


def test_no_two_places_of_a_record_are_the_same() -> None:
    parts = [ROOT, DECODE, ENCODE, QUEUE, COLLATE, RUN, SPLIT]
    record = request()
    customs = [record.custom_started("c", RUN, 1).place for _ in range(MAX_CUSTOM_SPANS)]
    items = [
        item_place(index, part) for index in range(300) for part in (QUEUE, COLLATE, RUN, SPLIT)
    ]
    copies = [copy_place(index, place) for index in range(300) for place in customs]
    places = [*parts, *customs, *items, *copies]
    assert len(set(places)) == len(places)


def test_the_copy_of_a_run_stands_where_the_item_s_own_run_does() -> None:
    assert copy_place(3, RUN) == item_place(3, RUN)


def test_a_failure_has_the_type_with_its_module_the_message_and_the_stack() -> None:
    class OddError(Exception):
        pass

    def fail() -> None:
        raise OddError("no")

    with pytest.raises(OddError) as caught:
        fail()
    failure = failure_of(caught.value, 5)
    assert failure[:3] == (5, f"{__name__}.{OddError.__qualname__}", "no")
    assert failure.stack.startswith("Traceback (most recent call last)")
    assert failure.stack.rstrip().endswith("OddError: no")
    assert failure_of(ValueError("x"), 1).type == "ValueError"


def test_a_failure_is_bounded_and_can_be_encoded() -> None:
    def deep(left: int) -> None:
        if left:
            deep(left - 1)
        raise ValueError("é\udc80" * 10_000)

    with pytest.raises(ValueError, match="é") as caught:
        deep(500)
    failure = failure_of(caught.value, 1)
    assert len(failure.message) == MAX_MESSAGE_CHARS
    assert len(failure.stack) <= MAX_STACK_CHARS
    assert "\udc80" not in failure.message + failure.stack


def test_an_exception_whose_text_cannot_be_read_is_a_failure_all_the_same() -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("not today")

    failure = failure_of(MuteError(), 1)
    assert failure[2:] == ("(its text cannot be read)", "")


def test_custom_spans_past_the_bound_are_counted_and_not_kept() -> None:
    record = request()
    for _ in range(MAX_CUSTOM_SPANS + 3):
        record.custom_ended(record.custom_started("c", RUN, 1), 2)
    assert (len(record.custom_spans), record.custom_lost) == (MAX_CUSTOM_SPANS, 3)


def test_first_custom_spans_of_two_threads_have_one_list_and_one_count_of_places() -> None:
    record = request()
    waiting = [threading.Event(), threading.Event()]

    def begin(ready: threading.Event) -> CustomSpan:
        ready.set()
        return record.custom_started("own", RUN, 1)

    with ThreadPoolExecutor(2) as pool, CUSTOMS:  # both find that there is no list yet, and wait
        begun = [pool.submit(begin, ready) for ready in waiting]
        for ready in waiting:
            assert ready.wait(10)
    assert len(record.custom_spans) == 2
    places = {each.result().place for each in begun}
    assert places == {each.place for each in record.custom_spans}
    assert max(places) == min(places) + 1


def test_records_share_nothing() -> None:
    tracing = gate(Recording())
    one, two = begun(tracing), begun(tracing)
    one.custom_started("c", RUN, 1)
    one.item_queued(ItemRecord(one, 1, 0))
    assert (two.custom_spans, two.items) == ((), ())


def test_items_are_numbered_as_they_come() -> None:
    record = request()
    items = [ItemRecord(record, 1, 0) for _ in range(3)]
    for item in items:
        record.item_queued(item)
    assert [item.index for item in items] == [0, 1, 2]
    assert list(record.items) == items


def waits_of(queued_ns: int, batch: BatchRecord, until_ns: int) -> Waits:
    """Return how long an item waited until then, of which this is the batch."""
    record = request()
    item = ItemRecord(record, queued_ns, 0)
    item.batch = batch
    return waits(Values(include_batch_run=True), ItemRow(record, item), until_ns)


@given(
    queued_ns=st.integers(1, 100),
    released=st.integers(0, 100),
    free_ns=st.integers(0, 300),
    started=st.integers(0, 100),
)
def test_the_three_waits_are_never_negative_and_add_up_to_the_whole(
    queued_ns: int, released: int, free_ns: int, started: int
) -> None:
    released_ns = queued_ns + released
    batch = BatchRecord("/p", "full", 1, runner_free_ns=free_ns, released_ns=released_ns)
    until_ns = released_ns + started
    found = waits_of(queued_ns, batch, until_ns)
    assert sum(found) == until_ns - queued_ns
    assert min(found) >= 0
    assert found.for_start_ns == started


def test_the_wait_is_for_the_busy_runner_then_for_peers_and_then_to_start() -> None:
    batch = BatchRecord("/p", "full", 1, runner_free_ns=30, released_ns=50)
    assert waits_of(10, batch, 55) == (20, 20, 5)


def test_a_failure_belongs_to_the_part_in_which_it_happened() -> None:
    def batch(run_ns: int, ran_ns: int) -> BatchRecord:
        record = BatchRecord("/p", "full", 1, runner_free_ns=0, released_ns=1)
        record.run_ns, record.ran_ns = run_ns, ran_ns
        return record

    def failed(time_ns: int) -> Failure:
        return Failure(time_ns, "E", "", "")

    assert batch(0, 0).part_of(failed(5)) == COLLATE
    assert batch(4, 6).part_of(failed(6)) == RUN
    assert batch(4, 6).part_of(failed(7)) == SPLIT
