"""The rows of which traces are made."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from spanserve.tracing.expansion.rows import Rows

NONE: Final = Rows(0, {})


class Traces(NamedTuple):
    """Rows of each kind.

    `goes` are the attempts at the batch of an item that the item was part of, and `copies` the
    custom spans of a batch in the trace of a request whose item was in it. `attempts` are those
    at `batches`, which are those of traces of their own. `are_alike`: each request has one item,
    which went through one attempt; else `every_attempt` has those at batches of other traces, too.
    """

    requests: Rows
    items: Rows
    goes: Rows
    every_attempt: Rows
    copies: Sequence[Rows] = ()
    request_customs: Sequence[Rows] = ()
    batches: Rows = NONE
    attempts: Rows = NONE
    startups: Rows = NONE
    customs: Sequence[Rows] = ()
    are_alike: bool = False
