"""The requests of a batch none of which has a record."""

from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

R = TypeVar("R")


class Leans(NamedTuple, Generic[R]):
    """All requests of a batch, none of which has a record.

    `ids` are 16 bytes of trace id each, empty where a client gave any id; the requests at the
    positions `sampled` are. `recorded` are so many: those, or all, since any may be kept.
    """

    requests: Sequence[R]
    ids: bytes
    sampled: Sequence[int]
    recorded: int
