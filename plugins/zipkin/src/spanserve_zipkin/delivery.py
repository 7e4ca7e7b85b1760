"""Encoded spans to posts: as few as can be, and a bad span must not take good ones along."""

from collections.abc import Callable

from spanserve import Answer, ExportResult, Verdict, send_in_parts
from spanserve_zipkin.encode import Encoded, body_of

DEFAULT_MAX_BODY_BYTES = 4_000_000  # servers and what stands before them take 5 to 10 MB
_MIN_BODY_BYTES = 64_000
_GROWTH = 32


class Delivery:
    """Sends spans through `post`. Learns how large a body may be, where a server says it."""

    def __init__(
        self, post: Callable[[bytes], Answer], *, max_body_bytes: int = DEFAULT_MAX_BODY_BYTES
    ) -> None:
        self._post = post
        self.max_body_bytes = max_body_bytes

    def deliver(self, encoded: Encoded) -> ExportResult:
        """Post all spans, in order, and say what became of them."""
        spans, pieces = encoded.spans, encoded.pieces

        def send(part: range) -> Answer:
            body = body_of(pieces[part.start : part.stop])
            answer = self._post(body)
            if answer.verdict is Verdict.TOO_LARGE and len(part) > 1:
                self._learn(len(body))
            return answer

        sent = send_in_parts(self._chunks(encoded), send)
        return ExportResult(
            delivered=sent.delivered,
            rejected=sent.rejected,
            retry=tuple(spans[index] for index in sent.left),
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
        """Cut the spans into bodies by their indices; the size of each is at most the limit."""
        spans, pieces = len(encoded.spans), encoded.pieces
        # So many bytes a character takes at most: enough to do without encoding each span here.
        widest = 2 if all(map(str.isascii, pieces)) else 6
        if spans and sum(map(len, pieces)) * widest + 2 < self.max_body_bytes:
            return [range(spans)]
        chunks = []
        first, size = 0, 0
        for index in range(spans):
            length = len(body_of(pieces[index : index + 1])) - 1  # a comma for brackets
            if size + length > self.max_body_bytes and index > first:
                chunks.append(range(first, index))
                first, size = index, 0
            size += length
        if first < spans:
            chunks.append(range(first, spans))
        return chunks
