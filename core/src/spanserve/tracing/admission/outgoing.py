"""What calls to other services are told of the trace that they belong to."""

from collections.abc import Sequence
from typing import NamedTuple

from spanserve.tracing.propagation import baggage
from spanserve.tracing.propagation.passing import PassingRecord
from spanserve.tracing.propagation.propagators import Propagators
from spanserve.tracing.recording.base import Record


class OutgoingRules(NamedTuple):
    """The formats that are read and written, and what of a caller's goes on; plain values."""

    reads: tuple[str, ...]
    writes: tuple[str, ...]
    trusts: bool
    carries_baggage: bool


class Outgoing:
    """Writes the headers of calls to other services."""

    def __init__(self, rules: OutgoingRules) -> None:
        self.rules = rules
        self._propagators = Propagators(rules.reads, rules.writes)

    @property
    def header_names(self) -> frozenset[bytes]:
        """The headers of a request that may go on as they came."""
        return self._propagators.headers | {baggage.BAGGAGE}

    def baggage_of(self, record: Record) -> Sequence[bytes]:
        """Return what the caller of a request sent along, unread, where it is trusted."""
        rules = self.rules
        return record.baggage if rules.trusts and rules.carries_baggage else ()

    def headers_for(self, record: Record, span_id: str) -> dict[str, str]:
        """Return the headers that continue this span's trace in another service."""
        if isinstance(record, PassingRecord):
            trusts = self.rules.trusts
            headers = self._propagators.pass_on(record.headers()) if trusts else {}
        else:
            headers = self._propagators.inject(
                record.trace_id,
                span_id,
                sampled=record.sampled,
                debug=record.debug,
                tracestate=record.tracestate,
                random=record.random,
            )
        if passed_on := baggage.passed_on(self.baggage_of(record)):
            headers["baggage"] = passed_on
        return headers
