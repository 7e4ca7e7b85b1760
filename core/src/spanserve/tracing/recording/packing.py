"""Packs the sampled requests of a batch that are all packable and have no records: most do."""

from array import array
from collections.abc import Sequence
from typing import Any, Final

from spanserve.tracing.admission.http_attributes import Origin
from spanserve.tracing.model.clock import ID_BYTES, ids_of
from spanserve.tracing.recording.members import (
    BETWEEN,
    MAX_REQUEST_ID,
    BatchRequests,
    Came,
    came,
    pack_marks,
)
from spanserve.tracing.recording.record import ItemRecord
from spanserve.tracing.recording.request_trace import RequestTrace

_NO_SPAN: Final = "0" * 16
_IS_PEER: Final = Origin._fields.index("is_peer")


def pack_requests(
    batch: BatchRequests[RequestTrace], items: Sequence[ItemRecord], ended_ns: int
) -> tuple[Sequence[Came], tuple[Any, ...]] | None:
    """Return the different origins of a batch's sampled requests, and the `PackedRequests`.

    Those are a plain tuple, which costs less than their class. The last answer was out at
    `ended_ns`. None where one has something that needs a record: an id of its client's that is too
    long for a column, or a client without a port.
    """
    requests, ids, sampled, _ = batch
    chosen: tuple[bytes | None, bytes | None] = None, None
    if len(sampled) < len(items):
        chosen = _chosen(requests, sampled, ended_ns)
        requests = [requests[place] for place in sampled]
        items = [items[place] for place in sampled]
        ids = b"".join([ids[ID_BYTES * each : ID_BYTES * (each + 1)] for each in sampled])
    origins, places = _origins(requests, are_called=not ids)
    marks = b"".join(
        [
            pack_marks(
                item.queued_ns,
                lean.started_ns,
                lean.encode_ns,
                lean.encoded_ns,
                item.depth,
                lean.head.client.port,
            )
            for lean, item in zip(requests, items, strict=True)
        ]
    )
    given = _given(requests) if not ids else (None, None, None)
    if given is None or False in [origin[_IS_PEER] for origin in origins]:
        return None
    ids = ids or bytes.fromhex("".join([lean.trace_id for lean in requests]))
    return origins, (ids, marks, ended_ns, *chosen, places, *given, None, None)


def _origins(
    requests: Sequence[RequestTrace], *, are_called: bool
) -> tuple[Sequence[Came], bytes | None]:
    """Return the different origins of requests, and where each has its own: None if all are one."""
    origins: Sequence[Came] = [(head := lean.head).known_origin or head.origin for lean in requests]
    if are_called:
        callers = [lean.decision.caller for lean in requests]
        if any(caller is not None and caller.tracestate for caller in callers):
            states = ["" if caller is None else caller.tracestate for caller in callers]
            origins = list(map(came, origins, states))
    if origins.count(origins[0]) == len(origins):  # nearly always
        return origins[:1], None
    place_of = {origin: place for place, origin in enumerate(dict.fromkeys(origins))}
    return list(place_of), array("I", [place_of[each] for each in origins]).tobytes()


def _chosen(
    requests: Sequence[RequestTrace], sampled: Sequence[int], ended_ns: int
) -> tuple[bytes, bytes]:
    """Return where the sampled requests of a batch stand, and when they ended."""
    ends_ns = ends_of(requests, ended_ns)
    chosen_ns = array("q", [ends_ns[place] for place in sampled])
    return array("I", sampled).tobytes(), chosen_ns.tobytes()


def ends_of(requests: Sequence[RequestTrace], ended_ns: int) -> Sequence[int]:
    """Return when the requests of a batch ended, whose last answer was out at `ended_ns`.

    Each as the next answer was begun: the loop did nothing in between but send.
    """
    ends_ns = []
    for lean in reversed(requests):
        ends_ns.append(ended_ns)
        ended_ns = lean.encode_ns or ended_ns
    return ends_ns[::-1]


def _given(leans: Sequence[RequestTrace]) -> tuple[bytes, bytes, str] | None:
    """Return what clients gave ids for; None where one is too long."""
    request_ids = [lean.request_id for lean in leans]
    if max(map(len, request_ids)) > MAX_REQUEST_ID:
        return None
    decided = [lean.decision for lean in leans]
    roots = [each.root_id or lean.root_id for each, lean in zip(decided, leans, strict=True)]
    callers = [each.caller for each in decided]
    parents = ids_of([(each and each.span_id) or _NO_SPAN for each in callers])
    return array("Q", roots).tobytes(), parents.tobytes(), BETWEEN.join(request_ids)
