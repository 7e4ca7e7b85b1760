"""Head sampling decides as OpenTelemetry's parent-based ratio sampler does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import (
    Decision,
    ParentBasedTraceIdRatio,
    Sampler,
    TraceIdRatioBased,
)
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    set_span_in_context,
)

from spanserve.tracing.admission.sampling import RatioSampler
from spanserve.tracing.propagation.propagators import Remote

SPAN_ID = 0x1234567890123456

ids = st.integers(1, (1 << 128) - 1)
rates = st.floats(0.0, 1.0)


def remote(trace_id: int, *, sampled: bool | None, debug: bool = False) -> Remote:
    return Remote(f"{trace_id:032x}", f"{SPAN_ID:016x}", sampled, debug)


def theirs(sampler: Sampler, context: Context | None, trace_id: int) -> bool:
    return sampler.should_sample(context, trace_id, "x").decision is Decision.RECORD_AND_SAMPLE


@given(trace_id=ids, rate=rates)
def test_a_root_is_sampled_as_opentelemetry_samples_it(trace_id: int, rate: float) -> None:
    expected = theirs(TraceIdRatioBased(rate), None, trace_id)
    assert RatioSampler(rate).decide(f"{trace_id:032x}", None) is expected


@given(rate=rates, offset=st.integers(-2, 2))
def test_the_bound_itself_is_opentelemetrys(rate: float, offset: int) -> None:
    sampler = TraceIdRatioBased(rate)
    trace_id = (1 << 64) | min(max(sampler.bound + offset, 0), (1 << 64) - 1)
    expected = theirs(sampler, None, trace_id)
    assert RatioSampler(rate).decide(f"{trace_id:032x}", None) is expected


@given(trace_id=ids, rate=rates, sampled=st.booleans())
def test_a_callers_decision_is_followed_as_opentelemetry_follows_it(
    trace_id: int, rate: float, *, sampled: bool
) -> None:
    flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
    parent = SpanContext(trace_id, SPAN_ID, is_remote=True, trace_flags=flags)
    context = set_span_in_context(NonRecordingSpan(parent))
    expected = theirs(ParentBasedTraceIdRatio(rate), context, trace_id)
    mine = RatioSampler(rate).decide(f"{trace_id:032x}", remote(trace_id, sampled=sampled))
    assert mine is expected is sampled


@given(trace_id=ids, rate=rates)
def test_a_deferred_decision_is_made_as_for_a_root(trace_id: int, rate: float) -> None:
    sampler = RatioSampler(rate)
    text = f"{trace_id:032x}"
    deferred = remote(trace_id, sampled=None)
    assert sampler.decide(text, deferred) is sampler.decide(text, None)


@given(trace_id=ids, rate=rates, sampled=st.sampled_from([True, False, None]))
def test_debug_is_always_sampled(trace_id: int, rate: float, *, sampled: bool | None) -> None:
    caller = remote(trace_id, sampled=sampled, debug=True)
    assert RatioSampler(rate).decide(f"{trace_id:032x}", caller) is True


@pytest.mark.parametrize("sampled", [True, False])
def test_a_decision_without_ids_is_followed(*, sampled: bool) -> None:
    caller = Remote("", "", sampled)
    assert RatioSampler(0.5).decide("f" * 32, caller) is sampled
    assert RatioSampler(0.5).decide("0" * 16 + "1" * 16, caller) is sampled


@given(trace_id=ids)
def test_all_or_nothing_of_the_roots_can_be_sampled(trace_id: int) -> None:
    text = f"{trace_id:032x}"
    assert RatioSampler(1.0).decide(text, None) is True
    assert RatioSampler(0.0).decide(text, None) is False


@given(trace_id=ids, one=rates, other=rates)
def test_a_trace_sampled_at_a_rate_is_sampled_at_every_higher_one(
    trace_id: int, one: float, other: float
) -> None:
    text = f"{trace_id:032x}"
    low, high = sorted((one, other))
    assert RatioSampler(low).decide(text, None) <= RatioSampler(high).decide(text, None)


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan"), float("inf")])
def test_a_rate_that_is_no_share_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match=r"^the sample rate must be from 0\.0 to 1\.0, not "):
        RatioSampler(rate)
