"""Encoded spans to posts: as few as can be, and a bad span must not take good ones along."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate

from spanserve import Answer, ExportResult, Spans, Verdict, part_of, send_in_parts
from spanserve_zipkin.encode import Encoded
from spanserve_zipkin.encoding.rows import body_of, lengths_of, parts_of

DEFAULT_MAX_BODY_BYTES = 4_000_000  # servers and what stands before them take 5 to 10 MB
_MIN_BODY_BYTES = 64_000
_GROWTH = 32


class Delivery:
    """Sends spans through `post`. Learns how large a body may be, where a server says it."""

    def __init__(
        self,
        post: Callable[[bytearray], Answer],
        *,
        max_body_bytes: int = DEFAULT_MAX_BODY_BYTES,
    ) -> None:
        self._post = post
        self.max_body_bytes = max_body_bytes

    def deliver(self, encoded: Encoded) -> ExportResult:
        """Post all spans, and say what became of them."""

        def send(part: range) -> Answer:
            body = body_of(parts_of(encoded.rows, part.start, part.stop))
            answer = self._post(body)
            if answer.verdict is Verdict.TOO_LARGE and len(part) > 1:
                self._learn(len(body))
            return answer

        sent = send_in_parts(self._chunks(encoded), send)
        return ExportResult(
            delivered=sent.delivered,
            rejected=sent.rejected,
            retry=_spans(encoded, sent.left),
            retry_after_s=sent.retry_after_s,
            reason=sent.reason,
        )

    def grow(self) -> None:
        """Let a body be a little longer: what was too large may have been one long span."""
        longer = self.max_body_bytes + self.max_body_bytes // _GROWTH
        self.max_body_bytes = min(longer, DEFAULT_MAX_BODY_BYTES)

    def _learn(self, refused_bytes: int) -> None:
        self.max_body_bytes = min(self.max_body_bytes, max(refused_bytes // 2, _MIN_BODY_BYTES))

    def _chunks(self, encoded: Encoded) -> list[range]:
        """Cut the spans into bodies by their numbers; the size of each is at most the limit."""
        rows = encoded.rows
        count = sum(each.count for each in rows)
        if sum(map(len, rows)) < self.max_body_bytes:
            return [range(count)] if count else []
        ends = [*accumulate(lengths_of(rows))]
        chunks = []
        first = start = 0
        while first < count:
            # One byte more: brackets for a comma.
            last = max(bisect_right(ends, start + self.max_body_bytes - 1), first + 1)
            chunks.append(range(first, last))
            first, start = last, ends[last - 1]
        return chunks


def _spans(encoded: Encoded, numbers: Sequence[int]) -> Spans | tuple[()]:
    """Return the spans of these numbers, which ascend, in columns."""
    if not numbers:
        return ()
    columns = []
    first = previous = numbers[0]
    for number in [*numbers[1:], -1]:
        if number != previous + 1:
            columns += part_of(encoded.columns, first, previous + 1)
            first = number
        previous = number
    return Spans([[column] for column in columns])
