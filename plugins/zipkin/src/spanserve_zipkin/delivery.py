"""Encoded spans to posts: as few as can be, and a bad span must not take good ones along."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from spanserve import ExportResult, Span
from spanserve_zipkin.encode import body_of
from spanserve_zipkin.transport import Answer

BAD_REQUEST = 400
TOO_LARGE = 413

DEFAULT_MAX_BODY_BYTES = 4_000_000  # servers and what stands before them take 5 to 10 MB
_MIN_BODY_BYTES = 64_000
_MAX_POSTS = 64
_SPARE_POSTS = 12  # enough to get past one whole trace of bad spans in front of good ones


@dataclass(frozen=True, slots=True)
class Encoded:
    """A span, and its JSON."""

    span: Span
    json: bytes


class Delivery:
    """Sends spans through `post`. Learns how large a body may be, where a server says it."""

    def __init__(
        self, post: Callable[[bytes], Answer], *, max_body_bytes: int = DEFAULT_MAX_BODY_BYTES
    ) -> None:
        self._post = post
        self._max_body_bytes = max_body_bytes

    def deliver(self, spans: Sequence[Encoded]) -> ExportResult:
        """Post all spans, in order, and say what became of them.

        A body that is refused (400) or too large (413) is halved, and so on down to single
        spans. That ends where nothing at all is taken, since then it is not the spans that
        are at fault, and after 64 posts: what is left is to be handed over again.
        A transient failure ends the call at once; what is left is to be handed over again.
        """
        run = _Run(waiting=list(reversed(self._chunks(spans))))
        fruitless_posts = len(spans).bit_length() + _SPARE_POSTS
        while run.waiting and run.transient is None and run.posts < _MAX_POSTS:
            self._step(run)
            if not run.delivered and run.posts >= fruitless_posts:
                run.reject_waiting()
        return run.result()

    def _step(self, run: "_Run") -> None:
        chunk = run.waiting.pop()
        answer = self._post(body_of([item.json for item in chunk]))
        run.posts += 1
        if answer.is_delivered:
            run.delivered += len(chunk)
        elif answer.is_transient:
            run.waiting.append(chunk)
            run.transient = answer
        elif answer.status in {BAD_REQUEST, TOO_LARGE} and len(chunk) > 1:
            run.halve(chunk, answer)
            if answer.status == TOO_LARGE:
                self._learn(chunk)
        else:
            run.reject(chunk, answer)

    def _learn(self, refused: Sequence[Encoded]) -> None:
        half = sum(len(item.json) for item in refused) // 2
        self._max_body_bytes = min(self._max_body_bytes, max(half, _MIN_BODY_BYTES))

    def _chunks(self, spans: Sequence[Encoded]) -> list[Sequence[Encoded]]:
        chunks: list[Sequence[Encoded]] = []
        first, size = 0, 0
        for index, item in enumerate(spans):
            length = len(item.json) + 1
            if size + length > self._max_body_bytes and index > first:
                chunks.append(spans[first:index])
                first, size = index, 0
            size += length
        if first < len(spans):
            chunks.append(spans[first:])
        return chunks


@dataclass(slots=True)
class _Run:
    """One call's state. `waiting` is a stack: its last chunk is posted next."""

    waiting: list[Sequence[Encoded]]
    posts: int = 0
    delivered: int = 0
    rejected: int = 0
    refusal: Answer | None = None
    transient: Answer | None = None

    def halve(self, chunk: Sequence[Encoded], answer: Answer) -> None:
        middle = len(chunk) // 2
        self.waiting += chunk[middle:], chunk[:middle]
        self.refusal = answer

    def reject(self, chunk: Sequence[Encoded], answer: Answer) -> None:
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
            retry=tuple(item.span for chunk in reversed(self.waiting) for item in chunk),
            retry_after_s=self.transient.retry_after_s if self.transient else None,
            reason=answer.reason if answer and (self.rejected or self.waiting) else None,
        )
