"""How a request comes in: its ids, whether it is sampled, and who called."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from typing import Final, NamedTuple

from spanserve.config.model import TracingConfig
from spanserve.tracing.admission.outgoing import Outgoing, OutgoingRules
from spanserve.tracing.admission.sampling import RatioSampler, Rules
from spanserve.tracing.model.clock import ID_BYTES, ROOT_ID_AT, Ids, root_ids
from spanserve.tracing.plugins.loading import LoadedTracer
from spanserve.tracing.propagation import baggage
from spanserve.tracing.propagation.baggage import BAGGAGE
from spanserve.tracing.propagation.context import Remote
from spanserve.tracing.propagation.propagators import KNOWN_FORMATS, Propagators
from spanserve.tracing.recording.record import RequestRecord
from spanserve.tracing.recording.request_trace import Decision, RequestTrace, decision_of

_SAMPLED: Final = Decision(sampled=True, recording=True)
_BITS_BUT_A_BYTE: Final = 56
"""Of a root's id, those behind its first byte."""


class StartedTrace(NamedTuple):
    """The trace of a request as it begins, and who called, if anyone said.

    `own_id` is the trace's where it joins no other, and the request's where its client gave none.
    """

    own_id: str
    trace_id: str
    root_id: int
    sampled: bool
    caller: Remote | None


class RequestStarter:
    """Admits requests by the rules in force; `next_root` draws a trace's id and its root's."""

    def __init__(self, tracers: Sequence[LoadedTracer], config: TracingConfig, ids: Ids) -> None:
        self.next_root = ids.roots().__next__
        self._ids = ids
        reads, writes = _formats(tracers, config)
        self.propagators = Propagators(reads, writes)
        self._trusts = config.trust_incoming
        carries_baggage = config.propagators is None or "baggage" in config.propagators
        self.outgoing = Outgoing(OutgoingRules(reads, writes, self._trusts, carries_baggage))
        self._caller_of = self.propagators.extract_once

    def apply(self, rules: Rules) -> None:
        """Admit by these rules from the next request on."""
        sampler = RatioSampler(rules.sample_rate)
        self._decide, self._bound = sampler.decide, sampler.bound
        self._samples_all = rules.sample_rate == 1
        self.keeps = rules.keeps
        self._unsampled = Decision(sampled=False, recording=rules.keeps)

    def started(
        self, headers: Iterable[tuple[bytes, bytes]], fields: Mapping[bytes, bytes]
    ) -> StartedTrace:
        """Start the trace of a request whose path is traced; `fields` are its headers by name."""
        own_id, root_id = self.next_root()
        caller = self.propagators.extract(headers, fields)
        trace_id, sampled = self._joined(caller, own_id, root_id)
        return StartedTrace(own_id, trace_id, root_id, sampled, caller)

    def _joined(self, caller: Remote | None, own_id: str, root_id: int) -> tuple[str, bool]:
        """Return the trace that a request belongs to, and whether it is sampled."""
        if caller is None or not self._trusts:
            return own_id, root_id < self._bound
        trace_id, sampled = caller.trace_id or own_id, caller.sampled
        return trace_id, self._decide(trace_id, caller) if sampled is None else sampled

    def admit(self, leans: Sequence[RequestTrace]) -> tuple[Sequence[int] | None, bytes]:
        """Begin some requests that have no records, as `Tracing.begin` does one that has.

        The `request_id` of each is empty where its client gave none. Returns the positions of those
        that are sampled, if none of their callers asked for more than to be joined; and the ids of
        all traces, 16 bytes each, empty where a client gave any id.
        """
        bits, trace_ids = self._ids.some(len(leans))
        sampled, decisions = self._decided(bits)
        called = False
        for lean, trace_id, decision in zip(leans, trace_ids, decisions, strict=False):
            if lean.head.is_bare:  # most are: as few steps as there can be
                lean.trace_id = lean.request_id = trace_id
                lean.decision = decision
                continue
            caller = self._caller_of(lean.head.fields)
            if caller is None:
                lean.trace_id = trace_id
                lean.decision = decision
            else:
                self._admit_called(lean, caller, trace_id)
                called = True
            if called or lean.request_id:
                bits = b""
            lean.request_id = lean.request_id or trace_id
        return _sampled(leans) if called else sampled, bits

    def _decided(self, bits: bytes) -> tuple[Sequence[int], Iterable[Decision]]:
        """Decide on traces without callers: which are sampled, and what was decided on each."""
        count = len(bits) // ID_BYTES
        if self._samples_all:
            return range(count), repeat(_SAMPLED)
        bound, unsampled = self._bound, self._unsampled
        # The first bytes of the roots' ids tell it nearly always, where few are sampled.
        if not bits or min(bits[ROOT_ID_AT::ID_BYTES]) > (bound - 1) >> _BITS_BUT_A_BYTE:
            return (), repeat(unsampled)
        sampled = [place for place, root_id in enumerate(root_ids(bits)) if root_id < bound]
        decisions = [unsampled] * count
        for place in sampled:
            decisions[place] = _SAMPLED
        return sampled, decisions

    def _admit_called(self, lean: RequestTrace, caller: Remote, own_id: str) -> None:
        """Begin a request that has a caller."""
        root_id, trusts = int(own_id[16:], 16), self._trusts
        lean.trace_id, sampled = self._joined(caller, own_id, root_id)
        debug = trusts and caller.debug
        lean.decision = decision_of((sampled, sampled or self.keeps, debug, caller, root_id))
        if not trusts or caller.asks_for_more:  # that does not fit into a row
            lean.request_id = lean.request_id or own_id
            lean.record = self.record_of(lean)

    def record_of(self, lean: RequestTrace) -> RequestRecord:
        """Return a record of what is known of a request that was admitted without."""
        ids = lean.trace_id, lean.root_id, lean.sampled
        came = lean.head.origin, lean.head.client.port, lean.started_ns
        record = RequestRecord(*ids, *came, lean.request_id, lean.head.path)
        record.endpoint = lean.head.path
        record.recording = lean.recording
        if lean.caller is not None:
            self.note_caller(record, lean.caller)
        if BAGGAGE in lean.head.fields:
            record.baggage = baggage.sent(lean.head.fields.items())
        return record

    def note_caller(self, record: RequestRecord, caller: Remote) -> None:
        """Write down who called: to join its trace, or to link it where it is not trusted."""
        if not self._trusts:
            if caller.trace_id:
                record.caller = caller.trace_id, caller.span_id, caller.tracestate
                record.packable = False
            return
        record.parent_id = caller.span_id or None
        if caller.debug:
            record.debug = True
            record.packable = False
        record.tracestate = caller.tracestate
        if caller.random:
            record.random = True
        if caller.debug_id:
            record.debug_id = caller.debug_id
            record.packable = False


def _sampled(leans: Sequence[RequestTrace]) -> Sequence[int] | None:
    """Return the positions of those that are sampled; None where one has a record by now."""
    if any(lean.record is not None for lean in leans):
        return None
    return [place for place, lean in enumerate(leans) if lean.decision.sampled]


def _formats(
    tracers: Sequence[LoadedTracer], config: TracingConfig
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the formats of headers that are read, and those that are written."""
    if config.propagators is not None:
        formats = tuple(name for name in config.propagators if name != "baggage")
        return formats, formats
    named = [name for tracer in tracers for name in tracer.propagators]
    wanted = [name for name in named if name != "baggage"]
    return tuple(dict.fromkeys([*KNOWN_FORMATS, *wanted])), tuple(
        dict.fromkeys(["tracecontext", *wanted])
    )
