"""OpenTelemetry's own variables: what its library cannot use is withdrawn and said."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.trace import (
    INVALID_SPAN,
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    get_current_span,
    set_span_in_context,
)

from spanserve.config.load import load
from spanserve.config.opentelemetry import LIMITS, withdraw
from spanserve.tracing.otel.propagators import B3Multi, B3Single, HeaderPropagator, Jaeger


@pytest.mark.parametrize(
    ("asked", "left"),
    [
        ("b3", "b3"),
        ("tracecontext,baggage,b3", "tracecontext,baggage,b3"),
        (" B3 ,jaeger", "b3,jaeger"),
        ("datadog", None),
        ("datadog,ottrace,b3multi,datadog", "b3multi"),
        ("NONE,b3", "none"),
        ("", ""),
        (",", None),
    ],
)
def test_propagators_that_are_not_installed_are_withdrawn(asked: str, left: str | None) -> None:
    environ = {"OTEL_PROPAGATORS": asked, "OTHER": "1"}
    withdraw(environ)
    assert environ.pop("OTHER") == "1"
    assert environ == ({} if left is None else {"OTEL_PROPAGATORS": left})


@pytest.mark.parametrize("variable", LIMITS)
def test_a_limit_that_is_no_number_is_withdrawn_and_said(variable: str) -> None:
    for value in ("abc", "-1", "1.5", "1e3"):
        environ = {variable: value}
        assert load(None, environ, {}).warnings == (
            f"{variable} is not read: it is no whole number",
        )
        withdraw(environ)
        assert environ == {}
    for value in ("0", " 12 ", "unset"):
        environ = {variable: value}
        assert load(None, environ, {}).warnings == ()
        withdraw(environ)
        assert environ == {variable: value}
    withdraw(empty := {variable: ""})
    assert (empty, load(None, {variable: ""}, {}).warnings) == ({}, ())


def test_a_tracer_provider_that_is_not_installed_is_withdrawn_and_said() -> None:
    environ = {"OTEL_PYTHON_TRACER_PROVIDER": "nothing"}
    words = "OTEL_PYTHON_TRACER_PROVIDER is not read: no tracer provider of that name is installed"
    assert load(None, environ, {}).warnings == (words,)
    withdraw(environ)
    assert environ == {}
    withdraw(there := {"OTEL_PYTHON_TRACER_PROVIDER": "sdk_tracer_provider"})
    assert there == {"OTEL_PYTHON_TRACER_PROVIDER": "sdk_tracer_provider"}


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"OTEL_TRACES_EXPORTER": "otlp"}, "OTEL_TRACES_EXPORTER"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a"}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "a", "OTEL_TRACES_EXPORTER": "none"}, ""),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, ""),
        ({"OTEL_TRACES_EXPORTER": "otlp", "SPANSERVE__TRACING__TYPE": "off"}, ""),
        ({"OTEL_TRACES_EXPORTER": "otlp", "SPANSERVE__TRACING__TYPE": "otel"}, ""),
        ({}, ""),
    ],
)
def test_a_wish_for_opentelemetrys_exporters_is_noticed_where_tracing_is_not_chosen(
    environ: dict[str, str], named: str
) -> None:
    words = f"{named} is set, and tracing is off: `tracing.type: otel` would read it"
    assert load(None, environ, {}).warnings == ((words,) if named else ())


@given(
    trace_id=st.integers(min_value=1, max_value=2**128 - 1),
    span_id=st.integers(min_value=1, max_value=2**64 - 1),
    sampled=st.booleans(),
    kind=st.sampled_from([B3Single, B3Multi, Jaeger]),
)
def test_what_a_propagator_injects_it_extracts(
    *, trace_id: int, span_id: int, sampled: bool, kind: type[HeaderPropagator]
) -> None:
    flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
    sent = SpanContext(trace_id, span_id, is_remote=False, trace_flags=flags)
    carrier: dict[str, str] = {}
    propagator = kind()  # type: ignore[call-arg]  # those for entry points take no name
    propagator.inject(carrier, set_span_in_context(NonRecordingSpan(sent)))
    assert {name.lower() for name in carrier} <= propagator.fields
    lower = {name.lower(): value for name, value in carrier.items()}
    came = get_current_span(propagator.extract(lower)).get_span_context()
    assert (came.trace_id, came.span_id, came.trace_flags) == (trace_id, span_id, flags)
    assert came.is_remote


@pytest.mark.parametrize("kind", [B3Single, B3Multi, Jaeger])
def test_without_a_span_nothing_is_injected_and_from_nonsense_nothing_extracted(
    kind: type[HeaderPropagator],
) -> None:
    propagator = kind()  # type: ignore[call-arg]  # as above
    carrier: dict[str, str] = {}
    propagator.inject(carrier, set_span_in_context(INVALID_SPAN))
    assert carrier == {}
    for value in ("", "nonsense", "0", "é" * 200):
        context = propagator.extract(dict.fromkeys(propagator.fields, value))
        assert not get_current_span(context).get_span_context().is_valid
