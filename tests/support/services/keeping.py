"""Models that fill one output again and again, and return it in every shape."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final

import numpy as np
from pydantic import BaseModel

from spanserve import Array, api, service

Row = Annotated[np.ndarray, Array("float64", (4,))]


class Held(BaseModel):
    """A model that holds what it is given, as `model_construct` does."""

    values: Any


@dataclass
class Plain:
    """A dataclass that holds what it is given."""

    values: Any


class Tensor:
    """A tensor of a library's: an array that lends its memory, also to who asks for a copy."""

    def __init__(self, memory: np.ndarray) -> None:
        self.memory = memory

    def __array__(self, dtype: Any = None, **_: Any) -> np.ndarray:
        return np.asarray(self.memory, dtype)


SHAPES: Final[dict[str, Callable[[Any, list[Any]], Any]]] = {
    "the buffer": lambda out, _: out,
    "views": lambda out, _: list(out),
    "a tensor": lambda out, _: Tensor(out),
    "tensors": lambda out, _: [Tensor(row) for row in out],
    "dicts of views": lambda out, _: [{"values": row} for row in out],
    "models of views": lambda out, _: [Held.model_construct(values=row) for row in out],
    "dataclasses of views": lambda out, _: [Plain(row) for row in out],
    "lists of views": lambda out, _: [[row, row] for row in out],
    "tuples of tensors": lambda out, _: [(Tensor(row), 1) for row in out],
    "rows of one list": lambda _, rows: rows,
    "dicts of one list's rows": lambda _, rows: [{"values": row} for row in rows],
    "an array of objects": lambda _, rows: objects(rows),
}
"""What a method may return of an output that it fills again and again."""


def objects(rows: list[Any]) -> np.ndarray:
    """Return an array whose entries are the very lists."""
    array = np.empty(len(rows), dtype=object)
    array[:] = rows
    return array


class Buffers:
    """An output of each kind, filled again by each run."""

    def __init__(self) -> None:
        self.out = np.zeros((64, 4))
        self.rows = [[0.0] * 4 for _ in range(64)]

    def fill(self, batch: np.ndarray) -> tuple[np.ndarray, list[Any]]:
        count = len(batch)
        self.out[:count] = batch
        for row, values in zip(self.rows, batch.tolist(), strict=False):
            row[:] = values
        return self.out[:count], self.rows[:count]


def keeper(shape: Callable[[Any, list[Any]], Any]) -> type[Any]:
    """Return a service whose methods return that shape of one output."""

    @service
    class Keeper:
        def __init__(self) -> None:
            self.batched, self.plain = Buffers(), Buffers()
            self.asynchronous = Buffers()

        @api(batch=True, max_latency_ms=20)
        def batch(self, rows: Row) -> Any:
            return shape(*self.batched.fill(rows))

        @api(batch=True, inline=True)
        def inline(self, rows: Row) -> Any:
            return shape(*self.batched.fill(rows))

        @api
        def one(self, row: Row) -> Any:
            return shape(*self.plain.fill(row[np.newaxis]))

        @api
        async def soon(self, row: Row) -> Any:
            return shape(*self.asynchronous.fill(row[np.newaxis]))

    return Keeper


def all_of(shape: str) -> dict[str, str]:
    """Return the routes of a shape in the service that has all of them."""
    number = list(SHAPES).index(shape)
    return {name: f"{name}_{number}" for name in ("batch", "inline", "one", "soon")}


def _all() -> type[Any]:
    """Return a service with the methods of all shapes, each with outputs of its own."""
    methods: dict[str, Any] = {}
    for shape, make in SHAPES.items():
        methods |= _methods(make, all_of(shape))
    return type("KeepsAll", (), {"__module__": __name__, **methods})


def _methods(make: Callable[[Any, list[Any]], Any], names: dict[str, str]) -> dict[str, Any]:
    batched, plain, later = Buffers(), Buffers(), Buffers()

    def batch(_self: Any, rows: Row) -> Any:
        return make(*batched.fill(rows))

    def one(_self: Any, row: Row) -> Any:
        return make(*plain.fill(row[np.newaxis]))

    async def soon(_self: Any, row: Row) -> Any:
        return make(*later.fill(row[np.newaxis]))

    return {
        names["batch"]: api(batch=True, max_latency_ms=20)(batch),
        names["inline"]: api(batch=True, inline=True)(_copy(batch)),
        names["one"]: api(one),
        names["soon"]: api(soon),
    }


def _copy(function: Callable[..., Any]) -> Callable[..., Any]:
    def again(_self: Any, rows: Row) -> Any:
        return function(_self, rows)

    return again


KeepsAll = service(_all())
