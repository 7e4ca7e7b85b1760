"""From frozen records to spans, in whichever process the exporter works."""

from collections.abc import Sequence
from typing import Literal

from spanserve.tracing.expansion.expansion import Expansion
from spanserve.tracing.expansion.pieces import Pieces
from spanserve.tracing.expansion.tables import blocks_of
from spanserve.tracing.expansion.thawed import thawed
from spanserve.tracing.model.columns import Block
from spanserve.tracing.model.span import Span
from spanserve.tracing.recording.frozen import Frozen


class Expander:
    """Expands frozen records; its arguments mean what they mean to `Pieces`.

    `offset_ns` turns a monotonic mark into Unix time.
    """

    def __init__(
        self, *, batch_spans: Literal["full", "linked"], exceptions: Literal["full", "type"]
    ) -> None:
        self._batch_spans = batch_spans
        self._exceptions = exceptions

    def blocks(self, tables: Sequence[Frozen], offset_ns: int) -> Sequence[Block]:
        """Return all spans of records that are `TABLES`."""
        return blocks_of(tables, offset_ns, with_runs=self._batch_spans == "full")

    def spans(self, frozen: Frozen, offset_ns: int) -> Sequence[Span]:
        """Return all spans of a record of another kind."""
        pieces = Pieces(offset_ns, batch_spans=self._batch_spans, exceptions=self._exceptions)
        return Expansion(pieces).spans(thawed(frozen))
