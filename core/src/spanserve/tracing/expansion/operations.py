"""The operations that a shape is evaluated with: on columns of many rows, or on one row's values.

A failure is a number among columns, a `Failure` else; `none` is no failure, and `silent` one of
which nothing is told.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from spanserve.tracing.expansion.rows import Coded, as_coded
from spanserve.tracing.model.columns import Cells, hex_digits
from spanserve.tracing.model.failure import Failure
from spanserve.tracing.model.ids import (
    COPIES,
    COPIES_OF_ITEM,
    FIRST_CUSTOM,
    RETRIES,
    RETRIES_OF_ITEM,
    copy_place,
    id_step,
    item_place,
)

_MASK: Final = (1 << 64) - 1
_EMPTY: Final = Failure(0, "", "", "")
_FIRST_CUSTOM, _COPIES, _RETRIES = map(np.uint64, (FIRST_CUSTOM, COPIES, RETRIES))
_COPIES_OF_ITEM, _RETRIES_OF_ITEM = map(np.uint64, (COPIES_OF_ITEM, RETRIES_OF_ITEM))


class Failures:
    """The failures of a call's rows, by number."""

    def __init__(self) -> None:
        self._all: list[Failure] = [_EMPTY, _EMPTY]
        self._time_ns: Cells | None = None
        self._types: Sequence[str] = ()
        self._typed: Cells | None = None

    def add(self, failure: Sequence[Any] | None) -> int:
        """Return the number of a failure, that is given as its fields."""
        if failure is None:
            return 0
        self._all.append(Failure(*failure))
        return len(self._all) - 1

    def __getitem__(self, number: int) -> Failure:
        return self._all[number]

    @property
    def time_ns(self) -> Cells:
        """When each failed; 0 where that counts for nothing."""
        if self._time_ns is None or len(self._time_ns) < len(self._all):
            self._time_ns = np.array([each.time_ns for each in self._all], np.int64)
        return self._time_ns

    @property
    def types(self) -> Sequence[str]:
        """The exceptions' types; empty where there was none."""
        if len(self._types) < len(self._all):
            self._types = [each.type for each in self._all]
        return self._types

    @property
    def typed(self) -> Cells:
        """Which are exceptions."""
        return np.array([bool(each) for each in self.types])


class Columns:
    """Operations on columns of many rows; a plain value stands for a column of the same."""

    none = 0
    silent = 1
    no_parent = 0

    def __init__(
        self,
        failures: Failures,
        *,
        include_batch_run: bool,
    ) -> None:
        self.failures = failures
        self.include_batch_run = include_batch_run

    @staticmethod
    def where(condition: Any, value: Any, other: Any) -> Any:
        """Return a value where the condition holds, and else the other."""
        if isinstance(condition, (bool, np.bool_)):
            return value if condition else other
        if isinstance(value, (Coded, str)) or isinstance(other, (Coded, str)):
            first, second = as_coded(value), as_coded(other)
            codes = np.where(condition, first.codes, second.codes + len(first.values))
            return Coded(codes, [*first.values, *second.values])
        return np.where(condition, value, other)

    minimum = staticmethod(np.minimum)
    maximum = staticmethod(np.maximum)

    @staticmethod
    def no(condition: Any) -> Any:
        """Return where a condition does not hold."""
        return not condition if isinstance(condition, bool) else np.logical_not(condition)

    @staticmethod
    def end_of(record: Any) -> Any:
        """Return when records ended: all have."""
        return record.ended_ns

    @staticmethod
    def given(value: Any) -> Any:
        """Say where a text or an object is not empty."""
        if isinstance(value, Coded):
            return np.array([bool(each) for each in value.values])[value.codes]
        return value != b"" if isinstance(value, np.ndarray) else bool(value)

    @staticmethod
    def call(function: Callable[..., Any], *values: Any) -> Any:
        """Return the results of a function, called once for each different row of values."""
        columns = [as_coded(each) for each in values]
        varying = [each for each in columns if len(each.values) > 1]
        if not varying:
            return function(*(each.values[0] for each in columns))
        if len(varying) == 1:
            codes, number = varying[0].codes, len(varying[0].values)
            rows = [
                [each.values[row if each is varying[0] else 0] for each in columns]
                for row in range(number)
            ]
            return Coded(codes, [function(*row) for row in rows])
        joint = np.zeros_like(varying[0].codes)
        for each in varying:
            joint = joint * len(each.values) + each.codes
        _, firsts, codes = np.unique(joint, return_index=True, return_inverse=True)
        results = [
            function(
                *(each.values[each.codes[first] if len(each.values) > 1 else 0] for each in columns)
            )
            for first in firsts.tolist()
        ]
        return Coded(codes, results)

    @staticmethod
    def ms(length_ns: Any) -> Any:
        """Return a length as it is shown."""
        return length_ns.astype("timedelta64[ns]")

    @staticmethod
    def span_id(root_id: Any, slot: Any) -> Any:
        """Return the ids of the spans at slots of their records."""
        if isinstance(slot, int):
            if slot == 0:
                return root_id
            ids = root_id + np.uint64(id_step(slot) & _MASK)
        else:
            ids = root_id + slot.astype(np.uint64) * np.uint64(id_step(1) & _MASK)
        ids[ids == 0] = 1
        return ids

    def hex_id(self, root_id: Any, slot: Any) -> Any:
        """Return the ids of spans as digits."""
        return hex_digits(self.span_id(root_id, slot))

    @staticmethod
    def copy_slot(index: Any, slot: Any) -> Any:
        """Return where copies of batches' spans stand in the requests of items."""
        if isinstance(index, int) and isinstance(slot, int):
            return copy_place(index, slot)
        index, slot = (np.asarray(each).astype(np.uint64) for each in (index, slot))
        copied = _COPIES + index * _COPIES_OF_ITEM + (slot - _FIRST_CUSTOM)
        in_retry = slot + index * _RETRIES_OF_ITEM
        found = np.where(slot >= _RETRIES, in_retry, copied)
        return np.where(slot < _FIRST_CUSTOM, item_place(index, slot), found)

    @staticmethod
    def is_none(failure: Any) -> bool:
        """Say whether no row has a failure."""
        return isinstance(failure, int) and failure == 0

    @staticmethod
    def has(failure: Any) -> Any:
        """Say which rows have one."""
        return failure > 0

    def time_of(self, failure: Any) -> Any:
        """Return when each failed; 0 where there is none."""
        return self.failures.time_ns[failure]

    def type_of(self, failure: Any) -> Any:
        """Return the types of exceptions."""
        types = self.failures.types
        return types[failure] if isinstance(failure, int) else Coded(failure, types)

    def has_type(self, failure: Any) -> Any:
        """Say which failures are exceptions."""
        if isinstance(failure, int):
            return bool(self.failures.types[failure])
        return self.failures.typed[failure]

    @staticmethod
    def first_failed(request: Any) -> tuple[Any, Any]:
        """Return why the first item failed that did, and whether another span shows it."""
        return request.item_failure, request.item_shown

    @staticmethod
    def members(batch: Any) -> Any:
        """Return the links to the members of batches."""
        return batch.members
