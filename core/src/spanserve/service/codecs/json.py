"""JSON <-> what a method takes and gives. One codec per endpoint, made once at start.

JSON that begins with a byte order mark is read, too, as RFC 8259, section 8.1 allows.

`decode` and `encode` run on the event loop for each request, `collate` and `split` on the
runner. A codec keeps no state between calls, so any thread may use it.
"""

from abc import ABC, abstractmethod
from codecs import BOM_UTF8
from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import repeat
from typing import Annotated, Any

import numpy as np
from pydantic import ValidationError
from pydantic_core import SchemaValidator

from spanserve.service.annotations import adapter_of, described, readable, result_item
from spanserve.service.arguments import Parameter, reader
from spanserve.service.codecs import texts
from spanserve.service.codecs.array import Array
from spanserve.service.codecs.long_arrays import LongArrayReader
from spanserve.service.codecs.media import JSON
from spanserve.service.codecs.problems import (
    explained,
    refuse_constants,
    refuse_overflow,
)
from spanserve.service.codecs.steps import Steps
from spanserve.service.results import raw as raw_results
from spanserve.service.results import results
from spanserve.service.results.responses import as_data, is_response

LONG_BODY_BYTES = 256 * 1024
"""A body beyond it is decoded in steps, where its codec has any; they cost twice the time.

Up to it the loop is held for a few milliseconds at most."""

# Above it an item waits for its batch as an array: lists of floats take eight times the memory.
MAX_LIST_ENTRIES = 1024


class _Codec(ABC):
    """What both kinds of endpoint have; `where` names the method in errors."""

    reads: tuple[str, ...] = (JSON,)
    """The media types of a body; `*/*` and `image/*` stand for many."""

    def __init__(
        self,
        *,
        where: str,
        parameters: Sequence[Parameter],
        response: Any,
        gives: tuple[str, ...] = (JSON,),
    ) -> None:
        self._where = where
        self._body_parameters = tuple(parameters)
        self._response_annotation = response
        self.gives = gives
        """The media types of an answer: JSON, or what bytes are; none: its responses say it."""
        self.has_json = JSON in self.reads and JSON in gives
        """Whether bodies and answers are JSON."""
        self._gives_bytes = gives not in {(JSON,), ()}
        self._encode = raw_results.encode if self._gives_bytes else results.encode
        self._private = raw_results.private if self._gives_bytes else results.private

    @property
    def body_parameters(self) -> tuple[Parameter, ...]:
        """What the body holds, for a schema: one is the body itself, several its names."""
        return self._body_parameters

    @abstractmethod
    def decode(self, body: bytes) -> Any:
        """What the body holds; raises InvalidBody (not JSON) or InvalidItem (wrong shape, type)."""

    reads_in_steps = False
    """Whether `steps` makes a value step by step: a long body is never parsed as a whole."""

    def steps(self, body: bytes) -> Steps[Any]:
        """The same, between whose steps others may have the interpreter: here there is one."""
        yield from ()
        return self.decode(body)

    @property
    def response_annotation(self) -> Any:
        """The type of the response's JSON, for the schema; Any where it is not known."""
        return self._response_annotation

    def encode(self, result: Any) -> bytes:
        """One result as JSON (NaN and infinities are null), or its bytes; raises InvalidResult."""
        return self._encode(result, where=self._where)

    def private(self, result: Any) -> Any:
        """One result that no code of the user's can reach any more; raises InvalidResult.

        Where the method ran, before anything else runs there.
        """
        return self._private(result, where=self._where)


class BatchCodec(_Codec):
    """body -> item, items -> the method's argument, its result -> one result per item."""

    gives_items = False
    """Whether the method gets the very items that `decode` made, and may change them."""

    def decode_again(self, body: bytes) -> Any:
        """The item of a body that was decoded before, made anew for another run."""
        return self.decode(body)

    @abstractmethod
    def batch_key(self, item: Any) -> Hashable | None:
        """Items share a batch only if their keys are equal; None: with all others."""

    @abstractmethod
    def collate(self, items: Sequence[Any]) -> Any:
        """The method's argument for `items`, of which there is at least one, of one key."""

    def split(self, result: Any, count: int) -> list[Any]:
        """One private result per item, in order; an exception among them is that item's failure.

        Raises WrongResultCount or InvalidResult.
        """
        if self._gives_bytes:
            result = raw_results.as_bytes(result)
        return results.split(result, count, where=self._where)


class ArrayBatchCodec(BatchCodec):
    """Items stacked: n items of shape (64,) make one C-contiguous array of shape (n, 64).

    An item is its bytes where it is a row of floats, a nested list where its shape is fixed
    and small, else an array: never both parsed and converted on the event loop for nothing.
    `collate` takes any of them.
    """

    def __init__(
        self, array: Array, *, parameter: str, returns: Any, where: str, **options: Any
    ) -> None:
        super().__init__(
            where=where,
            parameters=[Parameter(parameter, Annotated[np.ndarray, array])],
            response=result_item(returns),
            **options,
        )
        self.array = array
        """What one item is."""
        self._dtype = array.dtype
        self._fixed = array.fixed
        self._row = (-1, array.size) if array.packs and array.size else None
        self._is_of_any_texts = array.dtype.kind == "U" and not array.dtype.itemsize
        self._validate = _item_validator(array)
        self._long = LongArrayReader(array)
        self._expected = f"; one item is {array}"

    def decode(self, body: bytes) -> Any:
        try:
            return self._validate(body)
        except ValidationError as error:
            refused = error
        if body.startswith(BOM_UTF8):
            body = body.removeprefix(BOM_UTF8)
            try:
                return self._validate(body)
            except ValidationError as error:
                refused = error
        raise explained(refused, body, root="item", expected=self._expected) from None

    reads_in_steps = True

    def steps(self, body: bytes) -> Steps[Any]:
        return self._long.steps(body)

    def batch_key(self, item: Any) -> Hashable | None:
        if self._is_of_any_texts:
            return np.shape(item), texts.room_class(np.asanyarray(item))
        return None if self._fixed else np.shape(item)

    def collate(self, items: Sequence[Any]) -> Any:
        if self._row is not None and all(map(isinstance, items, repeat(bytes))):
            return np.frombuffer(bytearray().join(items), self._dtype).reshape(self._row)
        if self.array.waiting_dtype.hasobject:
            return texts.stacked(list(map(np.asanyarray, items)), self._dtype)
        arrays = [
            np.frombuffer(item, self._dtype) if isinstance(item, bytes) else item for item in items
        ]
        return np.array(arrays, dtype=self._dtype, order="C")


class ListBatchCodec(BatchCodec):
    """Items of any type that pydantic can read, as a list."""

    def __init__(
        self, item: Any, *, parameter: str, returns: Any, where: str, **options: Any
    ) -> None:
        item = readable(item)
        super().__init__(
            where=where,
            parameters=[Parameter(parameter, item)],
            response=result_item(returns),
            **options,
        )
        self._adapter = adapter_of(item, where=f"{where}: parameter {parameter!r}")
        self.gives_items = item not in {str, int, float, bool}

    def decode(self, body: bytes) -> Any:
        body = body.removeprefix(BOM_UTF8)
        refuse_constants(body)
        try:
            item = self._adapter.validate_json(body)
        except ValidationError as error:
            raise explained(error, body, root="item") from None
        refuse_overflow(body, item)
        return item

    def decode_again(self, body: bytes) -> Any:
        return self._adapter.validate_json(body.removeprefix(BOM_UTF8))

    def batch_key(self, item: Any) -> Hashable | None:  # noqa: ARG002 - lists hold any items
        return None

    def collate(self, items: Sequence[Any]) -> Any:
        return list(items)


class CallCodec(_Codec):
    """body -> keyword arguments of a method that answers one request."""

    def arguments(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """What the method is called with, where it runs, for the values that `decode` gave."""
        return values

    def private(self, result: Any) -> Any:
        """The same of one result, and of a Response."""
        kind: Any = type(result)
        return as_data(result) if is_response(kind) else super().private(result)


class PlainCodec(CallCodec):
    """The arguments come as JSON.

    One parameter: the body is its value. Several: the body is an object with their names.
    None: the body is empty, `{}` or `null`. An empty body also stands for all defaults.
    """

    def __init__(
        self, parameters: Sequence[Parameter], *, returns: Any, where: str, **options: Any
    ) -> None:
        readables = [each._replace(annotation=readable(each.annotation)) for each in parameters]
        super().__init__(where=where, parameters=readables, response=described(returns), **options)
        for each in readables:
            adapter_of(each.annotation, where=f"{where}: parameter {each.name!r}")
        self._optional = not any(each.required for each in readables)
        self._read = reader(readables, where)

    def decode(self, body: bytes) -> dict[str, Any]:
        """The keyword arguments; raises InvalidBody or InvalidItem."""
        body = body.removeprefix(BOM_UTF8)
        if self._optional and not body.strip():
            return {}
        refuse_constants(body)
        arguments = self._read(body)
        refuse_overflow(body, arguments)
        return arguments


def _item_validator(array: Array) -> Callable[[bytes], Any]:
    if array.packs:
        return array.packer()
    small = array.size is not None and array.size <= MAX_LIST_ENTRIES
    if small and not array.waiting_dtype.hasobject:
        return SchemaValidator(array.lists_schema()).validate_json
    return array.json_validator()
