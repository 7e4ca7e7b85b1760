"""Header formats of others: OpenTelemetry's propagators, by its group of entry points.

Their code reads what strangers send, and is not ours: values are bounded, and whatever it raises
costs the header alone.
"""

import logging
from collections.abc import Callable
from typing import Final, NamedTuple

from opentelemetry.context import Context
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.span import TraceState

from spanserve.config.entries import sound_entry_points
from spanserve.config.names import PROPAGATOR_GROUP
from spanserve.errors import ConfigError
from spanserve.tracing.model.failure import told
from spanserve.tracing.propagation.context import HeaderFields, Remote, first_text

log = logging.getLogger(__name__)

MAX_BYTES: Final = 4096


class OtherFormat(NamedTuple):
    """The headers of a format, and how they are read and written."""

    headers: frozenset[bytes]
    read: Callable[[HeaderFields], Remote | None]
    write: Callable[[Remote], dict[str, str]]


def other_format(name: str) -> OtherFormat | None:
    """Return the format of an installed propagator; None where there is none of this name."""
    for entry_point in sound_entry_points(PROPAGATOR_GROUP):
        if entry_point.name.lower() == name:
            try:
                propagator = entry_point.load()()
                headers = frozenset(field.lower().encode() for field in propagator.fields)
            except Exception as error:
                raise ConfigError(
                    f"the propagator '{name}' ({entry_point.value}) cannot be used: {told(error)}"
                ) from error
            reader = _Reader(propagator, {header: header.decode() for header in headers})
            return OtherFormat(headers, reader.read, reader.write)
    return None


class _Reader:
    """Has a propagator read and write."""

    def __init__(self, propagator: TextMapPropagator, names: dict[bytes, str]) -> None:
        self._propagator = propagator
        self._names = names

    def read(self, fields: HeaderFields) -> Remote | None:
        carrier = {
            text: value
            for name, text in self._names.items()
            if (value := first_text(fields, name, MAX_BYTES))
        }
        if not carrier:
            return None
        try:
            # By all spellings: some look for `X-Amzn-Trace-Id` in a mapping as it is.
            context = self._propagator.extract(_AnyCase(carrier), Context())
            span = get_current_span(context).get_span_context()
            if not span.is_valid:
                return None
            return Remote(
                f"{span.trace_id:032x}",
                f"{span.span_id:016x}",
                span.trace_flags.sampled,
                tracestate=span.trace_state.to_header(),
            )
        except Exception as error:  # another's code, of a stranger's text
            log.debug("a propagator raised", exc_info=error)
            return None

    def write(self, remote: Remote) -> dict[str, str]:
        flags = TraceFlags(TraceFlags.SAMPLED if remote.sampled else TraceFlags.DEFAULT)
        state = TraceState.from_header([remote.tracestate]) if remote.tracestate else None
        span = SpanContext(int(remote.trace_id, 16), remote.span_number, False, flags, state)
        carrier: dict[str, str] = {}
        try:
            context = set_span_in_context(NonRecordingSpan(span), Context())
            self._propagator.inject(carrier, context)
        except Exception as error:  # another's code
            log.debug("a propagator raised", exc_info=error)
            return {}
        return {name.lower(): value for name, value in carrier.items()}


class _AnyCase(dict[str, str]):
    """Headers by their names, however these are spelled."""

    def get(self, key: str, default: str | None = None) -> str | None:  # type: ignore[override]
        return super().get(key.lower(), default)

    def __getitem__(self, key: str) -> str:
        return super().__getitem__(key.lower())

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and super().__contains__(key.lower())
