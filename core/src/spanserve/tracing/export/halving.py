"""Send many spans in as few posts as can be, so that a bad one takes no good ones along."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from spanserve.tracing.export.answers import Answer, Verdict

MAX_POSTS: Final = 64
_SPARE_POSTS: Final = 12  # enough to get past one whole trace of bad spans in front of good ones


@dataclass(slots=True)
class Sent:
    """What became of spans, which are known by their indices.

    `left` are to be handed over again, in order. `answer` is the one that says why not all were
    delivered; None where all were.
    """

    delivered: int = 0
    rejected: int = 0
    left: list[int] = field(default_factory=list)
    answer: Answer | None = None

    @property
    def reason(self) -> str | None:
        """Why not all were delivered, in the backend's words."""
        return self.answer.reason if self.answer and (self.rejected or self.left) else None

    @property
    def retry_after_s(self) -> float | None:
        """For how long the backend wishes to be left alone."""
        return self.answer.retry_after_s if self.answer and self.left else None


def send_in_parts(parts: Iterable[range], send: Callable[[range], Answer]) -> Sent:
    """Send each part by itself, in order, and again in halves where the answer is one for that.

    That ends where nothing at all is taken, since then it is not single spans that are at fault,
    and after 64 posts: what is left then is to be handed over again. Where the backend says that
    it would take the same later, or never, no more is sent now.
    """
    waiting = list(parts)[::-1]  # a stack: its last is sent next
    fruitless_posts = sum(map(len, waiting)).bit_length() + _SPARE_POSTS
    sent = Sent()
    for posts in range(1, MAX_POSTS + 1):
        if not waiting:
            break
        part = waiting.pop()
        answer = send(part)
        if answer.verdict is Verdict.TAKEN:
            sent.delivered += len(part)
            continue
        sent.answer = answer
        if answer.verdict is Verdict.LATER:
            waiting.append(part)
            break
        if answer.verdict is Verdict.REFUSED:
            sent.rejected += len(part) + sum(map(len, waiting))
            waiting = []
        elif len(part) == 1:
            sent.rejected += 1
        else:
            middle = len(part) // 2
            waiting += part[middle:], part[:middle]
        if not sent.delivered and posts >= fruitless_posts:
            sent.rejected += sum(map(len, waiting))
            waiting = []
    sent.left = [index for part in reversed(waiting) for index in part]
    return sent
