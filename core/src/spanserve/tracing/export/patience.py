"""When spans that were not taken are handed over again, and until when."""

from dataclasses import dataclass
from typing import Final

LONGEST_PAUSE_S: Final = 10.0
LONGEST_ASKED_PAUSE_S: Final = 300.0
"""For how long a backend may ask to be left alone."""


@dataclass(frozen=True, slots=True)
class Pause:
    """How long to wait; `again` says whether to hand the same spans over then."""

    wait_s: float
    asked: bool
    again: bool


class Patience:
    """The pauses between the tries of one call: they grow, and end after `retry_for_s`.

    Where a backend asks for a longer pause, it gets that, and its spans' time stands still for as
    long as it is longer: they are not lost by waiting as they were told to.
    """

    def __init__(self, now_ns: int, *, retry_for_s: float, first_pause_s: float) -> None:
        self._pause_s = first_pause_s
        self._give_up_ns = now_ns + int(retry_for_s * 1e9)

    def after(self, retry_after_s: float | None, now_ns: int) -> Pause:
        """Return the pause after a try that ended now, with what the backend asked for."""
        own_s = self._pause_s
        self._pause_s = min(own_s * 2, LONGEST_PAUSE_S)
        asked_s = min(retry_after_s or 0.0, LONGEST_ASKED_PAUSE_S)
        again = now_ns + int(own_s * 1e9) <= self._give_up_ns
        self._give_up_ns += int(max(asked_s - own_s, 0.0) * 1e9)
        if asked_s > own_s:
            return Pause(asked_s, asked=True, again=again)
        return Pause(own_s if again else 0.0, asked=False, again=again)
