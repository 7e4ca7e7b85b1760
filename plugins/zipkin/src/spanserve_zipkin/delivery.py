"""Encoded spans to posts: as few as can be, and a bad span must not take good ones along."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from spanserve import ExportResult, Span
from spanserve_zipkin.encode import Encoded, body_of
from spanserve_zipkin.transport import Answer

BAD_REQUEST = 400
TOO_LARGE = 413

DEFAULT_MAX_BODY_BYTES = 4_000_000  # servers and what stands before them take 5 to 10 MB
_MIN_BODY_BYTES = 64_000
_MAX_POSTS = 64
_SPARE_POSTS = 12  # enough to get past one whole trace of bad spans in front of good ones


class Delivery:
    """Sends spans through `post`. Learns how large a body may be, where a server says it."""

    def __init__(
        self, post: Callable[[bytes], Answer], *, max_body_bytes: int = DEFAULT_MAX_BODY_BYTES
    ) -> None:
        self._post = post
        self.max_body_bytes = max_body_bytes

    def deliver(self, encoded: Encoded) -> ExportResult:
        """Post all spans, in order, and say what became of them.

        A body that is refused (400) or too large (413) is halved, and so on down to single
        spans. That ends where nothing at all is taken, since then it is not the spans that
        are at fault, and after 64 posts: what is left is to be handed over again.
        A transient failure ends the call at once; what is left is to be handed over again.
        """
        run = _Run(encoded.spans, list(reversed(self._chunks(encoded))))
        fruitless_posts = len(encoded.spans).bit_length() + _SPARE_POSTS
        while run.waiting and run.transient is None and run.posts < _MAX_POSTS:
            self._step(run, encoded.pieces)
            if not run.delivered and run.posts >= fruitless_posts:
                run.reject_waiting()
        return run.result()

    def _step(self, run: "_Run", pieces: Sequence[str]) -> None:
        chunk = run.waiting.pop()
        body = body_of(pieces[chunk.start : chunk.stop])
        answer = self._post(body)
        run.posts += 1
        if answer.is_delivered:
            run.delivered += len(chunk)
        elif answer.is_transient:
            run.waiting.append(chunk)
            run.transient = answer
        elif answer.status in {BAD_REQUEST, TOO_LARGE} and len(chunk) > 1:
            run.halve(chunk, answer)
            if answer.status == TOO_LARGE:
                self._learn(len(body))
        else:
            run.reject(chunk, answer)

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


@dataclass(slots=True)
class _Run:
    """One call's state. `waiting` is a stack of index ranges: its last is posted next."""

    spans: Sequence[Span]
    waiting: list[range]
    posts: int = 0
    delivered: int = 0
    rejected: int = 0
    refusal: Answer | None = None
    transient: Answer | None = None

    def halve(self, chunk: range, answer: Answer) -> None:
        middle = len(chunk) // 2
        self.waiting += chunk[middle:], chunk[:middle]
        self.refusal = answer

    def reject(self, chunk: range, answer: Answer) -> None:
        self.rejected += len(chunk)
        self.refusal = answer

    def reject_waiting(self) -> None:
        self.rejected += sum(map(len, self.waiting))
        self.waiting.clear()

    def result(self) -> ExportResult:
        answer = self.transient or self.refusal
        return ExportResult(
            delivered=self.delivered,
            rejected=self.rejected,
            retry=tuple(self.spans[n] for chunk in reversed(self.waiting) for n in chunk),
            retry_after_s=self.transient.retry_after_s if self.transient else None,
            reason=answer.reason if answer and (self.rejected or self.waiting) else None,
        )
