"""What a batch leaves behind whose sampled requests all stayed usual, and had no records: most do.

It says nothing twice, and nothing that follows from the rest: what is the same for all, or can be
counted out, `members` puts back, for many batches at once.
"""

import struct
from array import array
from collections.abc import Sequence
from typing import Final

from spanserve.tracing.admission.http_attributes import Origin
from spanserve.tracing.model.clock import ID_BYTES, ids_of
from spanserve.tracing.recording.lean import LeanRequest
from spanserve.tracing.recording.leans import Leans
from spanserve.tracing.recording.record import ItemRecord
from spanserve.tracing.recording.rows import BETWEEN, FIELDS, MAX_REQUEST_ID, Came, came

_OWN: Final = ("queued_ns", "started_ns", "encode_ns", "encoded_ns", "depth", "port")

MARKS: Final = tuple(field for field in FIELDS if field[0] in _OWN)
"""What each request has of its own, in the order of `_OWN`. Its body was there as it began, its
item queued as soon as that was decoded, and it ended as the next answer was begun: four marks stand
for seven."""

_NO_SPAN: Final = "0" * 16
_IS_PEER: Final = Origin._fields.index("is_peer")

_pack: Final = struct.Struct("@" + "".join(code for _, _, code in MARKS)).pack

PlainLeans = tuple[
    bytes,
    bytes,
    int,
    tuple[bytes, bytes] | None,
    bytes | None,
    bytes | None,
    bytes | None,
    str | None,
]
"""The requests of a batch as they go out: 16 bytes of trace id each; their marks; when the last of
them ended; 4 bytes each that say where they stand in the batch, and 8 when they ended, None where
all that were in it are here; 4 bytes each that say where their origins stand, None where there is
one; 8 bytes each of root's and of parent's id, None where a root's is the lower half of its trace's
and none has a parent; their own ids, None where they are those of the traces."""


def plain_leans(
    batch: Leans[LeanRequest], items: Sequence[ItemRecord], ended_ns: int
) -> tuple[Sequence[Came], PlainLeans] | None:
    """Return the different origins of a batch's sampled requests, and what goes out.

    The last answer was out at `ended_ns`. None where one has something that needs a record: an id
    of its client's that is too long for a column, or a client without a port.
    """
    requests, ids, sampled, _ = batch
    chosen = None
    if len(sampled) < len(items):
        chosen = _chosen(requests, sampled, ended_ns)
        requests = [requests[place] for place in sampled]
        items = [items[place] for place in sampled]
        ids = b"".join([ids[ID_BYTES * each : ID_BYTES * (each + 1)] for each in sampled])
    origins, places = _origins(requests, are_called=not ids)
    marks = b"".join(
        [
            _pack(
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
    given = (None, None, None) if ids else _given(requests)
    if given is None or False in [origin[_IS_PEER] for origin in origins]:
        return None
    ids = ids or bytes.fromhex("".join([lean.trace_id for lean in requests]))
    return origins, (ids, marks, ended_ns, chosen, places, *given)


def _origins(
    requests: Sequence[LeanRequest], *, are_called: bool
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
    requests: Sequence[LeanRequest], sampled: Sequence[int], ended_ns: int
) -> tuple[bytes, bytes]:
    """Return where the sampled requests of a batch stand, and when they ended."""
    ends_ns = ends_of(requests, ended_ns)
    chosen_ns = array("q", [ends_ns[place] for place in sampled])
    return array("I", sampled).tobytes(), chosen_ns.tobytes()


def ends_of(requests: Sequence[LeanRequest], ended_ns: int) -> Sequence[int]:
    """Return when the requests of a batch ended, whose last answer was out at `ended_ns`.

    Each as the next answer was begun: the loop did nothing in between but send.
    """
    ends_ns = []
    for lean in reversed(requests):
        ends_ns.append(ended_ns)
        ended_ns = lean.encode_ns or ended_ns
    return ends_ns[::-1]


def _given(leans: Sequence[LeanRequest]) -> tuple[bytes, bytes, str] | None:
    """Return what clients gave ids for; None where one is too long."""
    request_ids = [lean.request_id for lean in leans]
    if max(map(len, request_ids)) > MAX_REQUEST_ID:
        return None
    decided = [lean.decision for lean in leans]
    roots = [each.root_id or lean.root_id for each, lean in zip(decided, leans, strict=True)]
    callers = [each.caller for each in decided]
    parents = ids_of([(each and each.span_id) or _NO_SPAN for each in callers])
    return array("Q", roots).tobytes(), parents.tobytes(), BETWEEN.join(request_ids)
