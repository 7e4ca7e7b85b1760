"""Responses of Starlette's that a plain method returned: as data, where they are whole.

Their classes are known by their names, for services can do without them.
"""

from functools import lru_cache
from typing import Any, NamedTuple


class Whole(NamedTuple):
    """A response that is there as a whole, as data."""

    status: int
    body: bytes
    headers: list[tuple[bytes, bytes]]


@lru_cache(maxsize=256)
def is_response(kind: Any) -> bool:
    """Whether it is Starlette's `Response`, or a class made of it."""
    return _base(kind) is not None


def as_data(response: Any) -> Any:
    """Return a response as data, unless it is made as it goes out, or has more to do after that."""
    kind = type(response)
    base: Any = _base(kind)
    if kind.__call__ is not base.__call__ or response.background is not None:
        return response
    return Whole(response.status_code, bytes(response.body), list(response.raw_headers))


def _base(kind: Any) -> type | None:
    bases = kind.__mro__ if isinstance(kind, type) else ()
    return next(
        (
            base
            for base in bases
            if base.__name__ == "Response" and base.__module__ == "starlette.responses"
        ),
        None,
    )
