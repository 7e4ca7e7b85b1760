"""Rows of a table as the shape sees them: a field of all rows is one attribute."""

import functools
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from spanserve.tracing.model.columns import Cells, Links


class Coded:
    """A value of any kind for each row: that of row i is `values[codes[i]]`."""

    __slots__ = ("codes", "values")

    def __init__(self, codes: Cells, values: Sequence[Any]) -> None:
        self.codes = codes
        self.values = values

    def __getitem__(self, at: Cells) -> "Coded":
        return Coded(self.codes[at], self.values)

    def map(self, function: Callable[[Any], Any]) -> "Coded":
        """Return the results of a function, which is called once for each value."""
        return Coded(self.codes, [function(value) for value in self.values])


class Ragged:
    """Links of rows: several for each."""

    __slots__ = ("links",)

    def __init__(self, links: Links) -> None:
        self.links = links

    def __getitem__(self, at: Cells) -> "Ragged":
        _, _, _, attributes, *_ = links = self.links
        counts = np.diff(links.bounds)[at]
        bounds = np.concatenate(([0], np.cumsum(counts)))
        rows = np.arange(bounds[-1]) + np.repeat(links.bounds[:-1][at] - bounds[:-1], counts)
        taken_ = {key: cells[rows] for key, cells in attributes.items()}
        return Ragged(Links(bounds, links.trace_id[rows], links.span_id[rows], taken_))


class Rows:
    """So many rows: a field's value where all are alike, else a column, `Coded` or a cell each.

    A field may be other `Rows`, too: a row of those for each of these, such as its batch for each
    item. Rows that were taken from others gather a field when it is first asked for.
    """

    def __init__(self, count: int, fields: Mapping[str, Any]) -> None:
        vars(self).update(fields)
        self.count = count
        self._source: Rows | None = None
        self._at: Cells | None = None

    def say(self, **fields: Any) -> None:
        """Give the rows further fields."""
        vars(self).update(fields)

    def twin(self) -> "Rows":
        """Return the same rows once more, for rows that refer to themselves: they form no cycle."""
        twin = Rows(self.count, {})
        vars(twin).update(vars(self))
        return twin

    def take(self, at: Cells) -> "Rows":
        """Return the rows at these places, in their order."""
        taken = Rows(len(at), {})
        taken._source, taken._at = self, at
        return taken

    def __getattr__(self, name: str) -> Any:
        if self._source is None or self._at is None:
            raise AttributeError(name)
        value = taken(getattr(self._source, name), self._at)
        setattr(self, name, value)
        return value


def once(expression: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Evaluate an expression once for the same rows, though several others ask for it."""
    name = f"once {expression.__name__}"

    @functools.wraps(expression)
    def evaluated(op: Any, row: Any) -> Any:
        if not isinstance(row, Rows):
            return expression(op, row)
        known = vars(row)
        if name not in known:
            known[name] = expression(op, row)
        return known[name]

    return evaluated


def taken(value: Any, at: Cells) -> Any:
    """Return a field's values at these rows."""
    if isinstance(value, Rows):
        return value.take(at)
    return value[at] if isinstance(value, (np.ndarray, Coded, Ragged)) else value


def coded(values: Sequence[Hashable]) -> Any:
    """Return values as a field: each different one once, and the value itself if that is all."""
    places: dict[Hashable, int] = {}
    codes = [places.setdefault(value, len(places)) for value in values]
    if len(places) == 1:
        return values[0]
    return Coded(np.array(codes, np.intp), list(places))


def as_coded(value: Any) -> Coded:
    """Return a field as a `Coded` one; of a single value, its codes have no dimension."""
    if isinstance(value, Coded):
        return value
    if isinstance(value, np.ndarray):
        values, codes = np.unique(value, return_inverse=True)
        return Coded(codes, values.tolist())
    return Coded(np.zeros((), np.intp), [value])


def joined(*fields: tuple[Any, int]) -> Coded:
    """Return fields of so many rows each as one, of all these rows."""
    codes: list[Cells] = []
    values: list[Any] = []
    for field, count in fields:
        some = as_coded(field)
        codes.append(np.broadcast_to(some.codes + len(values), count))
        values += some.values
    return Coded(np.concatenate(codes), values)


def each(values: Sequence[Any]) -> Coded:
    """Return values as a field that need not be hashable: each row has its own."""
    return Coded(np.arange(len(values)), values)


def alike(cells: Cells) -> Any:
    """Return cells as a field: the value itself if all are the same."""
    if not len(cells):
        return 0
    first = cells[0]
    return first.item() if (cells == first).all() else cells
