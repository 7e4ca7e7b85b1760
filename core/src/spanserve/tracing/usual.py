"""The spans of usual requests and batches, quickly: nothing failed, nothing was out of turn.

What `Expansion` makes of any record, written out for the shapes that nearly all have, at a
fifth of the cost. A property test holds the two to the same spans.
"""

from functools import partial
from typing import Any, Final

from spanserve.tracing import names
from spanserve.tracing.frozen import Frozen
from spanserve.tracing.http import server_attributes, span_name
from spanserve.tracing.places import COLLATE, DECODE, ENCODE, QUEUE, RUN, SPLIT, id_step, item_place
from spanserve.tracing.span import (
    NO_ATTRIBUTES,
    Attributes,
    AttributeValue,
    Layered,
    Link,
    Shared,
    Span,
    SpanKind,
)

_MASK: Final = (1 << 64) - 1
_DECODE, _ENCODE = id_step(DECODE), id_step(ENCODE)
_QUEUE, _RUN = id_step(item_place(0, QUEUE)), id_step(item_place(0, RUN))
_COLLATE, _SPLIT = id_step(item_place(0, COLLATE)), id_step(item_place(0, SPLIT))
_BATCH_COLLATE, _BATCH_RUN, _BATCH_SPLIT = id_step(COLLATE), id_step(RUN), id_step(SPLIT)
_SERVER, _INTERNAL = SpanKind.SERVER, SpanKind.INTERNAL

# Half of what a call of the class costs, which has twelve arguments to bind.
_span = partial(tuple.__new__, Span)
_link = partial(tuple.__new__, Link)

# What the parts of one request have in common: trace, root id, root span, offset, debug.
_Request = tuple[str, int, str, int, bool]


def _queue(index: int) -> int:
    return id_step(item_place(index, QUEUE))


class UsualExpansion:
    """Makes spans of frozen records of the kind `USUAL`.

    `with_runs`: a member of a shared batch has the batch's run in its trace.
    """

    def __init__(self, *, with_runs: bool) -> None:
        self._with_runs = with_runs
        self._batch: _Batch | None = None

    def spans(self, frozen: Frozen, offset_ns: int) -> list[Span]:
        """Return the spans, parents first; `offset_ns` turns a monotonic mark into Unix time."""
        (
            _,
            _,
            trace_id,
            root_id,
            parent_id,
            http,
            route,
            endpoint,
            request_id,
            status,
            debug,
            started_ns,
            decode_ns,
            decoded_ns,
            encode_ns,
            encoded_ns,
            ended_ns,
            queued_ns,
            depth,
            position,
            fields,
        ) = frozen
        batch = self._batch
        if batch is None or fields is not batch.fields:  # members of a batch come one by one
            batch = self._batch = _Batch(fields)
        root = f"{root_id:016x}"
        request = trace_id, root_id, root, offset_ns, debug
        own: dict[str, AttributeValue] = {names.REQUEST_ID: request_id} if request_id else {}
        spans = [
            _span(
                (
                    span_name(http[0], route),
                    _SERVER,
                    trace_id,
                    root,
                    parent_id,
                    started_ns + offset_ns,
                    ended_ns + offset_ns,
                    Layered(server_attributes(http, route, endpoint, status), own),
                    (),
                    (),
                    None,
                    debug,
                )
            ),
            _part(names.DECODE, request, _DECODE, decode_ns, decoded_ns),
            _part(
                names.QUEUE,
                request,
                _QUEUE,
                queued_ns,
                batch.started_ns,
                batch.queue_attributes(queued_ns, depth, position),
            ),
        ]
        if batch.alone or self._with_runs:
            spans += batch.parts(request)
        spans.append(_part(names.ENCODE, request, _ENCODE, encode_ns, encoded_ns))
        return spans


def batch_spans(frozen: Frozen, offset_ns: int) -> list[Span]:
    """Return the spans of a batch that went well and had no custom spans, parents first."""
    _, _, fields, members, *_ = frozen
    trace_id, root_id, endpoint, reason, size, debug, *_, released_ns, begun_ns, run_ns, ran_ns = (
        fields[:13]
    )
    root = f"{root_id:016x}"
    batch = trace_id, root_id, root, offset_ns, debug
    ended_ns = fields[13]
    attributes = {names.ENDPOINT: endpoint, names.BATCH_SIZE: size, names.RELEASE_REASON: reason}
    links = [
        _link(
            (
                trace,
                "%016x" % ((start + (_QUEUE if index == 0 else _queue(index))) & _MASK or 1),
                {names.LINK_POSITION: position, names.LINK_WAIT_MS: (begun_ns - queued_ns) / 1e6},
            )
        )
        for trace, start, index, position, queued_ns in members
    ]
    whole = (
        f"{names.BATCH} {endpoint}",
        _INTERNAL,
        trace_id,
        root,
        None,
        released_ns + offset_ns,
        ended_ns + offset_ns,
        attributes,
        links,
        (),
        None,
        debug,
    )
    return [
        _span(whole),
        _part(names.COLLATE, batch, _BATCH_COLLATE, begun_ns, run_ns),
        _part(names.RUN, batch, _BATCH_RUN, run_ns, ran_ns),
        _part(names.SPLIT, batch, _BATCH_SPLIT, ran_ns, ended_ns),
    ]


class _Batch:
    """What the members of a batch have in common."""

    def __init__(self, fields: Frozen) -> None:
        self.fields = fields
        trace_id, root_id, _, reason, size, _, recording, _, free_ns, released_ns, *marks = fields
        self.started_ns, self._run_ns, self._ran_ns, self._ended_ns = marks
        self.alone = size == 1
        self._free_ns = min(free_ns, released_ns)
        self._released_ns = released_ns
        self._queue = Shared({names.BATCH_SIZE: size, names.RELEASE_REASON: reason})
        if recording:
            self._queue[names.BATCH_TRACE_ID] = trace_id
            self._queue[names.BATCH_SPAN_ID] = f"{root_id:016x}"
        share_ms = (self._ran_ns - self._run_ns) // size / 1e6
        self._run = Layered(Shared({names.RUN_SHARE_MS: share_ms}), {})
        self._start_ms = (self.started_ns - released_ns) / 1e6

    def queue_attributes(self, queued_ns: int, depth: int, position: int) -> Layered:
        """Return a member's wait, split as `ItemRecord.waits_ns` does."""
        ready_ns = max(self._free_ns, queued_ns)
        return Layered(
            self._queue,
            {
                names.QUEUE_DEPTH: depth,
                names.BATCH_POSITION: position,
                names.WAIT_FOR_PEERS_MS: (self._released_ns - ready_ns) / 1e6,
                names.WAIT_FOR_RUNNER_MS: (ready_ns - queued_ns) / 1e6,
                names.WAIT_FOR_START_MS: self._start_ms,
            },
        )

    def parts(self, request: _Request) -> list[Span]:
        """Return the run, and where the member is alone all that its batch did."""
        run = _part(names.RUN, request, _RUN, self._run_ns, self._ran_ns, self._run)
        if not self.alone:
            return [run]
        return [
            _part(names.COLLATE, request, _COLLATE, self.started_ns, self._run_ns),
            run,
            _part(names.SPLIT, request, _SPLIT, self._ran_ns, self._ended_ns),
        ]


def _part(  # noqa: PLR0917  # a row of the trace: what, where, when
    name: str,
    request: _Request,
    step: int,
    start_ns: int,
    end_ns: int,
    attributes: Attributes = NO_ATTRIBUTES,
) -> Any:
    trace_id, root_id, root, offset_ns, debug = request
    return _span(
        (
            name,
            _INTERNAL,
            trace_id,
            "%016x" % ((root_id + step) & _MASK or 1),  # half of what an f-string costs
            root,
            start_ns + offset_ns,
            end_ns + offset_ns,
            attributes,
            (),
            (),
            None,
            debug,
        )
    )
