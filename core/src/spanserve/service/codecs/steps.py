"""Work in steps: a generator that yields between them, and returns what the work comes to."""

from collections.abc import Generator
from typing import Any, TypeVar

T = TypeVar("T")

Steps = Generator[None, None, T]


def finished(steps: Generator[None, None, T]) -> T:
    """Return what work comes to, without a pause between its steps."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            result: Any = done.value
            return result  # type: ignore[no-any-return]  # what the generator returns
