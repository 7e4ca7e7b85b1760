"""From the tables of batches that went well to their spans, column by column.

They are the spans that `Expansion` makes of the same records, which a property test holds the
two to; here those of all batches of a call are made at once.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from spanserve.tracing.admission.http_attributes import Origin, server_attributes, span_name
from spanserve.tracing.expansion.members import derived, length, of_leans, of_rows, those
from spanserve.tracing.export.checkpoint import breathe
from spanserve.tracing.model import names
from spanserve.tracing.model.columns import Block, Cells, Column, Links, hex_digits
from spanserve.tracing.model.ids import (
    COLLATE,
    DECODE,
    ENCODE,
    QUEUE,
    RUN,
    SPLIT,
    copy_place,
    derived_id,
    id_step,
    item_place,
)
from spanserve.tracing.model.span import Attributes, SpanKind
from spanserve.tracing.recording.custom import PlainCustom
from spanserve.tracing.recording.frozen import LEAN_TABLE, Frozen, batch_size
from spanserve.tracing.recording.rows import NOTHING, WHOLE, Came

_MARKS: Final = ("runner_free_ns", "released_ns", "started_ns", "run_ns", "ran_ns", "ended_ns")
_FIRST_MARK: Final = 8
_MASK: Final = (1 << 64) - 1
_OK: Final = 200
_ORIGIN: Final = len(Origin._fields)
_IN_RUN: Final = -1
_ITEM_STEP: Final = (id_step(item_place(1, QUEUE)) - id_step(item_place(0, QUEUE))) & _MASK
_NO_OWN: Final[Mapping[str, Cells]] = {}


def blocks_of(tables: Sequence[Frozen], offset_ns: int, *, with_runs: bool) -> list[Block]:
    """Return the spans of tables; `offset_ns` turns a monotonic mark into Unix time.

    `with_runs`: a member of a shared batch has the batch's run in its trace.
    """
    groups: dict[tuple[Any, ...], list[Frozen]] = {}
    for table in tables:
        key = table[2][2], batch_size(table) == 1, table[0], *_outline(table[4])
        groups.setdefault(key, []).append(table)
    blocks: list[Block] = []
    for (endpoint, alone, *_), group in groups.items():
        batches = _Batches(endpoint, group, offset_ns)
        blocks.append(_members(batches, with_runs=with_runs or alone, alone=alone))
        if not alone:
            blocks.append(_batches(batches))
    return [block for block in blocks if len(block[0].span_id)]


def _outline(customs: Sequence[PlainCustom]) -> Iterator[tuple[str, str, int]]:
    """Yield what is the same in like runs of a model's code: names, kinds, which lies in which."""
    numbers = {custom[2]: number for number, custom in enumerate(customs)}
    for name, kind, _, parent_place, *_ in customs:
        yield name, kind, numbers.get(parent_place, _IN_RUN)


class _Batches:
    """The batches of some tables of one endpoint, a row each, and the rows of all their members."""

    def __init__(self, endpoint: str, tables: Sequence[Frozen], offset_ns: int) -> None:
        self.endpoint = endpoint
        self.own = [own for _, _, own, *_ in tables]
        self.origins = [origins for _, _, _, origins, *_ in tables]
        self.customs = list(zip(*(customs for *_, customs, _ in tables), strict=True))
        self.offset_ns = offset_ns
        self.trace_id = np.array([own[0] for own in self.own], "S32")
        self.root_id = np.array([own[1] for own in self.own], np.uint64)
        self.size = np.array([own[4] for own in self.own])
        reasons: dict[str, int] = {}
        self.reason = np.array([reasons.setdefault(own[3], len(reasons)) for own in self.own])
        self.reasons = list(reasons)
        marks = np.array([own[_FIRST_MARK:] for own in self.own], np.int64)
        self.marks = dict(zip(_MARKS, marks.T, strict=True))
        members_of = of_leans if tables[0][0] == LEAN_TABLE else of_rows
        members = members_of([rows for *_, rows in tables])
        self.trace_ids, self.request_ids, self.rows, self.batch, self.position = members


class _Trace:
    """The root spans of some records, and what their parts need of them; a row each."""

    def __init__(self, trace_id: Cells, root_id: Cells, offset_ns: int) -> None:
        self.trace_id = trace_id
        self.root_id = root_id
        self._offset_ns = offset_ns
        self._none = np.zeros(len(root_id), np.intp)
        self.tracestates: Sequence[str] = ()
        self.whose: Cells | None = None

    def column(  # noqa: PLR0917  # a row of the trace: what, where, when
        self,
        name: str,
        step: int | Cells,
        start_ns: Cells,
        end_ns: Cells,
        common: Sequence[Attributes] | None = None,
        which: Cells | None = None,
        own: Mapping[str, Cells] = _NO_OWN,
    ) -> Column:
        """Return a column of parts, children of the roots; a step of its own."""
        breathe()
        return Column(
            name,
            SpanKind.INTERNAL,
            self.trace_id,
            derived(self.root_id, step),
            self.root_id,
            start_ns + self._offset_ns,
            end_ns + self._offset_ns,
            [{}] if common is None else common,
            self._none if which is None else which,
            own,
            tracestates=self.tracestates,
            whose=self.whose,
        )


def _members(batches: _Batches, *, with_runs: bool, alone: bool) -> Block:
    """Return the spans of the usual requests of these batches."""
    whole = those(batches.rows["kind"] == WHOLE)
    rows, batch = batches.rows[whole], batches.batch[whole]
    marks = {name: each[batch] for name, each in batches.marks.items()}
    trace = _Trace(
        batches.trace_ids[whole], np.ascontiguousarray(rows["root_id"]), batches.offset_ns
    )
    column = trace.column
    queue = {**_waits(rows, marks, batches.position[whole]), **_references(batches, batch, alone)}
    block = [
        _servers(batches, whole, trace),
        column(names.DECODE, id_step(DECODE), rows["decode_ns"], rows["decoded_ns"]),
        column(
            names.QUEUE,
            id_step(item_place(0, QUEUE)),
            rows["queued_ns"],
            marks["started_ns"],
            [{names.RELEASE_REASON: reason} for reason in batches.reasons],
            batches.reason[batch],
            queue,
        ),
    ]
    if alone:
        step = id_step(item_place(0, COLLATE))
        block.append(column(names.COLLATE, step, marks["started_ns"], marks["run_ns"]))
    if with_runs:
        share = length((marks["ran_ns"] - marks["run_ns"]) // batches.size[batch])
        step, own = id_step(item_place(0, RUN)), {names.RUN_SHARE_MS: share}
        block.append(column(names.RUN, step, marks["run_ns"], marks["ran_ns"], own=own))
        block += _customs(batches, trace, batch, copies=not alone)
    if alone:
        step = id_step(item_place(0, SPLIT))
        block.append(column(names.SPLIT, step, marks["ran_ns"], marks["ended_ns"]))
    block.append(column(names.ENCODE, id_step(ENCODE), rows["encode_ns"], rows["encoded_ns"]))
    return block


def _servers(batches: _Batches, whole: Cells | slice, trace: _Trace) -> Column:
    """Return the root spans of requests, and tell `trace` the tracestates that they came with."""
    rows, batch = batches.rows[whole], batches.batch[whole]
    endpoint = batches.endpoint
    places: dict[Came, int] = {}
    states: dict[str, int] = {}
    every = [each for some in batches.origins for each in some]
    which = [places.setdefault(each[:_ORIGIN], len(places)) for each in every]
    whose = [states.setdefault("".join(each[_ORIGIN:]), len(states)) for each in every]
    common = [dict(server_attributes(Origin(*each), endpoint, endpoint, _OK)) for each in places]
    first = np.cumsum([0, *map(len, batches.origins[:-1])])
    row = first[batch] + rows["origin"]
    if any(states):
        trace.tracestates, trace.whose = list(states), np.array(whose, np.intp)[row]
    return Column(
        span_name("POST", endpoint),
        SpanKind.SERVER,
        trace.trace_id,
        trace.root_id,
        rows["parent_id"],
        rows["started_ns"] + batches.offset_ns,
        rows["ended_ns"] + batches.offset_ns,
        common,
        np.array(which, np.intp)[row],
        {names.PEER_PORT: rows["port"], names.REQUEST_ID: batches.request_ids[whole]},
        tracestates=trace.tracestates,
        whose=trace.whose,
    )


def _references(batches: _Batches, batch: Cells, alone: bool) -> Mapping[str, Cells]:  # noqa: FBT001  # of this file alone
    """Return what leads from members to their batch; one that was alone has none."""
    size = {names.BATCH_SIZE: batches.size[batch]}
    if alone:
        return size
    return size | {
        names.BATCH_TRACE_ID: batches.trace_id[batch],
        names.BATCH_SPAN_ID: hex_digits(batches.root_id)[batch],
    }


def _waits(rows: Cells, marks: Mapping[str, Cells], position: Cells) -> Mapping[str, Cells]:
    """Return members' waits, each split as `ItemRecord.waits_ns` does."""
    queued_ns, released_ns = rows["queued_ns"], marks["released_ns"]
    ready_ns = np.maximum(queued_ns, np.minimum(marks["runner_free_ns"], released_ns))
    return {
        names.QUEUE_DEPTH: rows["depth"],
        names.BATCH_POSITION: position,
        names.WAIT_FOR_PEERS_MS: length(released_ns - ready_ns),
        names.WAIT_FOR_RUNNER_MS: length(ready_ns - queued_ns),
        names.WAIT_FOR_START_MS: length(marks["started_ns"] - released_ns),
    }


def _batches(batches: _Batches) -> Block:
    """Return the spans of the batches themselves."""
    marks, count = batches.marks, len(batches.own)
    trace = _Trace(batches.trace_id, batches.root_id, batches.offset_ns)
    root = trace.column(
        f"{names.BATCH} {batches.endpoint}",
        0,
        marks["released_ns"],
        marks["ended_ns"],
        [
            {names.ENDPOINT: batches.endpoint, names.RELEASE_REASON: reason}
            for reason in batches.reasons
        ],
        batches.reason,
        {names.BATCH_SIZE: batches.size},
    )
    return [
        root._replace(parent_id=np.zeros(count, np.uint64), links=_links(batches)),
        trace.column(names.COLLATE, id_step(COLLATE), marks["started_ns"], marks["run_ns"]),
        trace.column(names.RUN, id_step(RUN), marks["run_ns"], marks["ran_ns"]),
        *_customs(batches, trace, np.arange(count)),
        trace.column(names.SPLIT, id_step(SPLIT), marks["ran_ns"], marks["ended_ns"]),
    ]


def _customs(
    batches: _Batches, trace: _Trace, batch: Cells, *, copies: bool = False
) -> Iterator[Column]:
    """Yield the spans of the model's code in each trace, whose batch is `batch`.

    `copies`: they are those of the batch, copied into its members' traces.
    """

    def steps(places: Iterable[int]) -> Cells:
        copied = (copy_place(0, place) if copies else place for place in places)
        return np.array([id_step(place) & _MASK for place in copied], np.uint64)[batch]

    for several in batches.customs:
        names_, kinds, places, parents, starts, ends, attributes = zip(*several, strict=True)
        common = [*map(dict, attributes)]
        if copies:
            origins = (
                derived_id(own[1], place) for own, place in zip(batches.own, places, strict=True)
            )
            common = [
                {**each, names.COPY_OF: origin}
                for each, origin in zip(attributes, origins, strict=True)
            ]
        column = trace.column(
            names_[0], steps(places), np.array(starts)[batch], np.array(ends)[batch], common, batch
        )
        yield column._replace(
            kind=SpanKind(kinds[0]), parent_id=derived(trace.root_id, steps(parents))
        )


def _links(batches: _Batches) -> Links:
    """Return a link to the queue span of each member that was kept."""
    kept = those(batches.rows["kind"] != NOTHING)
    rows, batch = batches.rows[kept], batches.batch[kept]
    counts = np.bincount(batch, minlength=len(batches.own))
    steps = (rows["index"].astype(np.uint64)) * np.uint64(_ITEM_STEP)
    queues = derived(rows["root_id"] + steps, id_step(item_place(0, QUEUE)))
    waits = length(batches.marks["started_ns"][batch] - rows["queued_ns"])
    return Links(
        np.concatenate(([0], np.cumsum(counts))),
        batches.trace_ids[kept],
        queues,
        {names.LINK_POSITION: batches.position[kept], names.LINK_WAIT_MS: waits},
    )
