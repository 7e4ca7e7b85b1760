"""The tables of records of any kind, as rows that a shape can be evaluated on."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from spanserve.tracing.admission.http_attributes import Origin
from spanserve.tracing.expansion.gathered import CUSTOM_FIELDS, Gathered
from spanserve.tracing.expansion.links import to_members
from spanserve.tracing.expansion.members import members_of
from spanserve.tracing.expansion.rows import Coded, Rows, alike, coded, each, joined
from spanserve.tracing.expansion.traces import Traces
from spanserve.tracing.model.columns import Cells
from spanserve.tracing.recording.table import (
    BATCH_FIELDS,
    ITEM_FIELDS,
    REQUEST_FIELDS,
    RETRY_FIELDS,
    STARTUP_FIELDS,
    TRACE_FIELDS,
    Table,
)

_MAX_TEXT: Final = 64
"""Characters of a text in a column of cells; with a longer one, all stand by themselves."""


def traces_of(gathered: Gathered) -> Traces:
    """Return gathered rows, a field of all as a column."""
    batches = _rows((*BATCH_FIELDS, "failure", "retried"), gathered.batches)
    batches.say(tracestate="")
    attempts = _attempts(batches, gathered.retries)
    requests = _rows((*REQUEST_FIELDS, "origin", "failure"), gathered.requests)
    items = _items(gathered.items, requests, batches)
    goes = _goes(gathered.goes, items, attempts, batches.count)
    copies = np.array(gathered.copies, np.int64).reshape(-1, 2)
    run_customs = _rows(CUSTOM_FIELDS, gathered.run_customs)
    copied = {"go": goes.take(copies[:, 0]), "custom": run_customs.take(copies[:, 1])}
    customs = _rows((*CUSTOM_FIELDS, *TRACE_FIELDS), gathered.customs)
    own_at = np.array(gathered.own, np.int64)
    own = batches.take(own_at)
    if own.count:
        own.say(members=to_members(own, members_of(gathered.members)))
    return Traces(
        requests=requests,
        items=items,
        goes=goes,
        copies=[Rows(len(copies), copied)],
        batches=own,
        attempts=attempts.take(np.flatnonzero(np.isin(attempts.batch_at, own_at))),
        customs=[customs],
        startups=_rows((*STARTUP_FIELDS, "tracestate", "debug", "failure"), gathered.startups),
        every_attempt=attempts,
    )


def _attempts(batches: Rows, retries: Sequence[Table]) -> Rows:
    """Return all attempts: those of the batches themselves, in their rows, and then the retries."""
    count, names = batches.count, ("batch", "positions", "failure", *RETRY_FIELDS)
    if not retries:
        batches.say(number=0, batch_at=np.arange(count), positions=())
        batches.say(batch=batches.twin())
        return batches
    again = _rows(names, retries)
    batch_at = np.concatenate((np.arange(count), again.batch))
    batches.say(number=0)

    def both(name: str) -> Cells:
        own, more = getattr(batches, name), getattr(again, name)
        return np.concatenate((_full(own, count), _full(more, again.count)))

    positions = [retry[1] for retry in retries]
    sizes = np.array([len(some) for some in positions], np.int64)
    return Rows(
        count + again.count,
        {name: both(name) for name in RETRY_FIELDS if name != "runner"}
        | {
            "runner": joined((batches.runner, count), (again.runner, again.count)),
            "failure": alike(both("failure")),
            "size": np.concatenate((batches.size, sizes)),
            "positions": each([()] * count + positions),
            "batch_at": batch_at,
            "batch": batches.take(batch_at),
        },
    )


def _items(plain: Sequence[Table], requests: Rows, batches: Rows) -> Rows:
    items = _rows(("request_at", "batch_at", "failure", *ITEM_FIELDS), plain)
    if items.count:
        in_batch = batches.take(items.batch_at)
        items.say(request=requests.take(items.request_at), batch=in_batch, last_attempt=in_batch)
    return items


def _goes(plain: Sequence[Table], items: Rows, attempts: Rows, batches: int) -> Rows:
    item_at, batch_at, retry = np.array(plain, np.int64).reshape(-1, 3).T
    attempt_at = np.where(retry < 0, batch_at, retry + batches)
    return Rows(
        len(plain),
        {
            "item_at": item_at,
            "attempt_at": attempt_at,
            "item": items.take(item_at),
            "attempt": attempts.take(attempt_at),
            "is_last": True,
        },
    )


def _rows(names: Sequence[str], plain: Sequence[Table]) -> Rows:
    """Return rows that are given as tuples of these fields."""
    if not plain:
        return Rows(0, {})
    fields = zip(names, zip(*plain, strict=True), strict=True)
    found = {name: _FIELDS.get(name, _numbers)(values) for name, values in fields}
    return Rows(len(plain), found)


def _numbers(values: Sequence[int]) -> Cells:
    return np.array(values, np.int64)


def _few(values: Sequence[int]) -> Any:
    """Return numbers of which nearly all are the same."""
    return alike(np.array(values))


def _ids(values: Sequence[int]) -> Cells:
    return np.array(values, np.uint64)


def _parents(parent_ids: Iterable[str | None]) -> Cells:
    return _ids([int(parent, 16) if parent else 0 for parent in parent_ids])


def _trace_ids(trace_ids: Sequence[str]) -> Cells:
    return np.array(trace_ids, "S32")


def _texts(texts: Sequence[str]) -> Any:
    """Return texts as cells, where those can hold them."""
    joined = "".join(texts)
    if joined.isascii() and "\0" not in joined and max(map(len, texts)) <= _MAX_TEXT:
        return np.array(texts, "S")
    return coded(texts)


def _origins(origins: Sequence[Table]) -> Any:
    found = coded(origins)
    if isinstance(found, Coded):
        return found.map(lambda origin: Origin(*origin))
    return Origin(*found)


def _rare(values: Sequence[Any]) -> Any:
    """Return what few rows have any of."""
    return each(values) if any(values) else ()


_FIELDS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "trace_id": _trace_ids,
    "root_id": _ids,
    "parent_id": _parents,
    "request_id": _texts,
    "origin": _origins,
    **dict.fromkeys(("place", "parent_place"), _ids),
    **dict.fromkeys(("debug", "client_left", "custom_lost", "status", "failure", "error"), _few),
    **dict.fromkeys(("recording", "nesting", "is_late"), _few),
    **dict.fromkeys(("tracestate", "caller", "debug_id", "kept_by", "route", "endpoint"), coded),
    **dict.fromkeys(("reason", "service", "name", "kind", "runner"), coded),
    "attributes": each,
    **dict.fromkeys(("events", "links", "positions"), _rare),
}
"""How the values of a field become a column; as numbers, where nothing else is said."""


def _full(value: Any, count: int) -> Cells:
    return value if isinstance(value, np.ndarray) else np.full(count, value, np.int64)
