"""What the user's code raises, in forms that a server survives."""

from typing import Final

from spanserve.errors import SpanserveError

_STATUSES: Final = range(200, 600)


class CarriedError(SpanserveError):
    """The user's code raised what no future can hold, or would end the server: the cause."""


def carried(error: BaseException) -> Exception:
    """Return an exception in a form that a future can hold and an event loop survives.

    A future takes no StopIteration, and SystemExit would end the server.
    """
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    try:
        text = repr(error)
    except Exception:  # noqa: BLE001  # a user's __repr__ may do anything
        text = type(error).__name__
    carrier = CarriedError(f"the service raised {text}")
    carrier.__cause__ = error
    return carrier


def is_fault(error: BaseException) -> bool:
    """Whether it is a failure, and not an HTTP answer below 500 that the user's code raised."""
    status = status_of(error)
    return status is None or status >= 500  # noqa: PLR2004  # HTTP's server errors


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status that an exception names, as FastAPI's does; None: it names none."""
    try:
        status = getattr(error, "status_code", None)
    except Exception:  # noqa: BLE001  # a user's property may do anything
        return None
    return status if isinstance(status, int) and status in _STATUSES else None
