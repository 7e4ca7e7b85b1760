"""Long work on the event loop, in steps between which others have it."""

import asyncio
from time import perf_counter
from typing import Any, Final

from spanserve.service.codecs.steps import Steps, T

HOLD_S: Final = 0.004
"""How long work may go on before the loop has its turn; a step beyond it is what it takes."""


class Pace:
    """When the loop must have its turn: by the time that passed, however much was done in it."""

    __slots__ = ("_since_s",)

    def __init__(self) -> None:
        self._since_s = perf_counter()

    async def checkpoint(self) -> None:
        """Let the loop have its turn, if it is due."""
        if perf_counter() - self._since_s > HOLD_S:
            await asyncio.sleep(0)
            self._since_s = perf_counter()


async def paced(steps: Steps[T]) -> T:
    """Return what work comes to that yields between its steps."""
    pace = Pace()
    while True:
        try:
            next(steps)
        except StopIteration as done:
            result: Any = done.value
            return result  # type: ignore[no-any-return]  # what the generator returns
        await pace.checkpoint()
