"""Exceptions, made plain where they were caught."""

import traceback
from typing import Final, NamedTuple

from spanserve.config.values.redact import without_credentials
from spanserve.tracing.model.attributes import bounded, one_line

MAX_MESSAGE_CHARS: Final = 1_000
MAX_STACK_CHARS: Final = 16_000
MAX_STACK_FRAMES: Final = 50


class Failure(NamedTuple):
    """An exception, made plain where it was caught; `time_ns` is monotonic."""

    time_ns: int
    type: str
    message: str
    stack: str


def failure_of(exception: BaseException, time_ns: int) -> Failure:
    """Describe an exception in bounded text."""
    kind = type(exception)
    name = kind.__qualname__
    if kind.__module__ != "builtins":
        name = f"{kind.__module__}.{name}"
    try:
        message = str(exception)
        stack = "".join(traceback.format_exception(exception, limit=-MAX_STACK_FRAMES))
    except Exception:  # noqa: BLE001  # a user's __str__ may do anything
        message, stack = "(its text cannot be read)", ""
    message = bounded(message, MAX_MESSAGE_CHARS)
    return Failure(time_ns, name, message, bounded(stack[-MAX_STACK_CHARS:], MAX_STACK_CHARS))


def told(exception: BaseException) -> str:
    """Say in one line, without secrets, what this is."""
    failure = failure_of(exception, 0)
    words = f"{failure.type}: {failure.message}" if failure.message else failure.type
    return one_line(without_credentials(words))


def raised(exception: BaseException) -> str:
    """Say in one line, without secrets, that a tracer raised this."""
    return f"it raised {told(exception)}"
