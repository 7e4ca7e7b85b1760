"""Generators that run where the model is, a step at a time: others have it between the steps."""

from collections.abc import Callable, Iterator, Mapping
from contextvars import Context, copy_context
from typing import Any, Final, NamedTuple

BEGIN: Final = "{} (begin)"
STEP: Final = "{} (step)"
CLOSE: Final = "{} (close)"
"""The methods of an endpoint's generators, by the endpoint's name."""


class Step(NamedTuple):
    """What a generator came to: a value, or, at its end, none."""

    has_value: bool
    value: Any


class Generators:
    """The generators that run, by the number that whoever began them gave.

    Each keeps its context from step to step, and the steps of others do not see it.
    """

    def __init__(self) -> None:
        self._running: dict[int, tuple[Iterator[Any], Context]] = {}

    def begin(self, call: Callable[..., Iterator[Any]]) -> Callable[..., None]:
        """Return a method that begins the generator of this one."""

        def begun(instance: object, number: int, arguments: Mapping[str, Any]) -> None:
            context = copy_context()
            self._running[number] = (context.run(call, instance, **arguments), context)

        return begun

    def step(self, _instance: object, number: int) -> Step:
        """Run one to its next value."""
        values, context = self._running[number]
        try:
            return Step(has_value=True, value=context.run(next, values))
        except StopIteration:
            del self._running[number]
            return Step(has_value=False, value=None)
        except BaseException:
            del self._running[number]
            raise

    def close(self, _instance: object, number: int) -> None:
        """End one at the value that it gave last, if it has not ended."""
        values, context = self._running.pop(number, (None, None))
        close = getattr(values, "close", None)
        if context is not None and close is not None:
            context.run(close)
