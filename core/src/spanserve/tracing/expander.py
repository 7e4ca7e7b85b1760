"""From frozen records to spans, in whichever process the exporter works."""

from typing import Literal

from spanserve.tracing.expansion import Expansion
from spanserve.tracing.frozen import USUAL, USUAL_BATCH, Frozen, thawed
from spanserve.tracing.pieces import Pieces
from spanserve.tracing.span import Span
from spanserve.tracing.usual import UsualExpansion, batch_spans


class Expander:
    """Expands frozen records; its arguments mean what they mean to `Pieces`."""

    def __init__(
        self, *, batch_spans: Literal["full", "linked"], exceptions: Literal["full", "type"]
    ) -> None:
        self._batch_spans = batch_spans
        self._exceptions = exceptions
        self._usual = UsualExpansion(with_runs=batch_spans == "full")

    def spans(self, frozen: Frozen, offset_ns: int) -> list[Span]:
        """Return all spans of a record; `offset_ns` turns a monotonic mark into Unix time."""
        kind = frozen[0]
        if kind == USUAL:
            return self._usual.spans(frozen, offset_ns)
        if kind == USUAL_BATCH:
            return batch_spans(frozen, offset_ns)
        pieces = Pieces(offset_ns, batch_spans=self._batch_spans, exceptions=self._exceptions)
        return Expansion(pieces).spans(thawed(frozen))
