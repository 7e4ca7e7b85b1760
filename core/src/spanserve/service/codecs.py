"""JSON <-> what a method takes and gives. One codec per endpoint, made once at start.

JSON that begins with a byte order mark is read, too, as RFC 8259, section 8.1 allows.

`decode` and `encode` run on the event loop for each request, `collate` and `split` on the
runner. A codec keeps no state between calls, so any thread may use it.
"""

import inspect
from abc import ABC, abstractmethod
from codecs import BOM_UTF8
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Annotated, Any, NamedTuple

import numpy as np
from pydantic import GetCoreSchemaHandler, ValidationError
from pydantic_core import CoreSchema, SchemaValidator, core_schema

from spanserve.errors import SpanserveError
from spanserve.service import results
from spanserve.service.annotations import adapter_of, described, readable, result_item
from spanserve.service.array import Array
from spanserve.service.problems import (
    InvalidItem,
    explained,
    nearest,
    refuse_constants,
    refuse_overflow,
)

# Above it an item waits for its batch as an array: lists of floats take eight times the memory.
MAX_LIST_ENTRIES = 1024


class Parameter(NamedTuple):
    """One parameter of a method; `default` is `inspect.Parameter.empty` where it is required."""

    name: str
    annotation: Any
    default: Any = inspect.Parameter.empty

    @property
    def required(self) -> bool:
        """Whether a caller must give it."""
        return self.default is inspect.Parameter.empty


class _Codec:
    """What both kinds of endpoint have; `where` names the method in errors."""

    def __init__(self, where: str, parameters: Sequence[Parameter], response: Any) -> None:
        self._where = where
        self._body_parameters = tuple(parameters)
        self._response_annotation = response

    @property
    def body_parameters(self) -> tuple[Parameter, ...]:
        """What the body holds, for a schema: one is the body itself, several its names."""
        return self._body_parameters

    @property
    def response_annotation(self) -> Any:
        """The type of the response's JSON, for the schema; Any where it is not known."""
        return self._response_annotation

    def encode(self, result: Any) -> bytes:
        """One result as JSON (NaN and infinities are null); raises InvalidResult."""
        return results.encode(result, where=self._where)

    def private(self, result: Any) -> Any:
        """One result that no code of the user's can reach any more; raises InvalidResult.

        Where the method ran, before anything else runs there.
        """
        return results.private(result, where=self._where)


class BatchCodec(_Codec, ABC):
    """body -> item, items -> the method's argument, its result -> one result per item."""

    @abstractmethod
    def decode(self, body: bytes) -> Any:
        """The body's item; raises InvalidBody (not JSON) or InvalidItem (wrong shape or type)."""

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
        return results.split(result, count, where=self._where)

    def encode_all(self, given: Sequence[Any]) -> bytes:
        """Several items' results as one JSON array; raises InvalidResult."""
        return results.encode_all(given, where=self._where)


class ArrayBatchCodec(BatchCodec):
    """Items stacked: n items of shape (64,) make one C-contiguous array of shape (n, 64).

    An item is its bytes where it is a row of floats, a nested list where its shape is fixed
    and small, else an array: never both parsed and converted on the event loop for nothing.
    `collate` takes any of them.
    """

    def __init__(self, array: Array, *, parameter: str, returns: Any, where: str) -> None:
        item = Annotated[np.ndarray, array]
        super().__init__(where, [Parameter(parameter, item)], result_item(returns))
        self.array = array
        """What one item is."""
        self._dtype = array.dtype
        self._fixed = array.fixed
        self._row = (-1, array.size) if array.packs and array.size else None
        self._validate = _item_validator(array)
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

    def batch_key(self, item: Any) -> Hashable | None:
        return None if self._fixed else np.shape(item)

    def collate(self, items: Sequence[Any]) -> Any:
        if self._row is not None and all(map(isinstance, items, repeat(bytes))):
            return np.frombuffer(bytearray().join(items), self._dtype).reshape(self._row)
        arrays = [
            np.frombuffer(item, self._dtype) if isinstance(item, bytes) else item for item in items
        ]
        return np.array(arrays, dtype=self._dtype, order="C")


class ListBatchCodec(BatchCodec):
    """Items of any type that pydantic can read, as a list."""

    def __init__(self, item: Any, *, parameter: str, returns: Any, where: str) -> None:
        item = readable(item)
        super().__init__(where, [Parameter(parameter, item)], result_item(returns))
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
        return self._adapter.validate_json(body)

    def batch_key(self, item: Any) -> Hashable | None:  # noqa: ARG002 - lists hold any items
        return None

    def collate(self, items: Sequence[Any]) -> Any:
        return list(items)


class PlainCodec(_Codec):
    """body -> keyword arguments of a method that answers one request.

    One parameter: the body is its value. Several: the body is an object with their names.
    None: the body is empty, `{}` or `null`. An empty body also stands for all defaults.
    """

    def __init__(self, parameters: Sequence[Parameter], *, returns: Any, where: str) -> None:
        readables = [each._replace(annotation=readable(each.annotation)) for each in parameters]
        super().__init__(where, readables, described(returns))
        for each in readables:
            adapter_of(each.annotation, where=f"{where}: parameter {each.name!r}")
        self._optional = not any(each.required for each in readables)
        self._read = _reader(readables, where)

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
    if array.size is not None and array.size <= MAX_LIST_ENTRIES:
        return SchemaValidator(array.lists_schema()).validate_json
    return array.json_validator()


def _reader(parameters: Sequence[Parameter], where: str) -> Callable[[bytes], dict[str, Any]]:
    if not parameters:
        return _read_nothing
    if len(parameters) == 1:
        return _read_value(parameters[0], where)
    return _read_names(parameters, where)


def _read_nothing(body: bytes) -> dict[str, Any]:
    try:
        value = SchemaValidator(core_schema.any_schema()).validate_json(body)
    except ValidationError as error:
        raise explained(error, body, root="body") from None
    if value is not None and value != {}:
        raise InvalidItem("body: this endpoint takes no input; send an empty body or {}")
    return {}


def _read_value(parameter: Parameter, where: str) -> Callable[[bytes], dict[str, Any]]:
    validate = adapter_of(parameter.annotation, where=where).validate_json

    def read(body: bytes) -> dict[str, Any]:
        try:
            return {parameter.name: validate(body)}
        except ValidationError as error:
            raise explained(error, body, root=parameter.name) from None

    return read


def _read_names(parameters: Sequence[Parameter], where: str) -> Callable[[bytes], dict[str, Any]]:
    names = [each.name for each in parameters]
    validate = adapter_of(Annotated[dict, _Names(tuple(parameters))], where=where).validate_json

    def read(body: bytes) -> dict[str, Any]:
        try:
            return validate(body)  # type: ignore[no-any-return]  # the schema makes it a dict
        except ValidationError as error:
            raise _explained_names(error, body, names) from None

    return read


def _explained_names(error: ValidationError, body: bytes, names: Sequence[str]) -> SpanserveError:
    there = f"; the body is an object with {', '.join(names)}"
    problem = explained(error, body, root="", expected=there)
    if isinstance(problem, InvalidItem):
        unknown = [loc[0] for loc in (each["loc"] for each in problem.details) if len(loc) == 1]
        unknown = [name for name in unknown if name not in names]
        if unknown:
            text = f"body: unknown name {unknown[0]!r} (there: {', '.join(names)})"
            return InvalidItem(text + nearest(str(unknown[0]), names), problem.details)
        if problem.details and not problem.details[0]["loc"]:
            return InvalidItem(f"body{problem}", problem.details)
    return problem


@dataclass(frozen=True, slots=True, eq=False)
class _Names:
    """Has pydantic read an object whose keys are the parameters, and no others.

    A key that is absent stays absent, so that the method's own default applies.
    """

    parameters: tuple[Parameter, ...]

    def __get_pydantic_core_schema__(
        self, _source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        fields = {
            each.name: core_schema.typed_dict_field(
                handler.generate_schema(each.annotation), required=each.required
            )
            for each in self.parameters
        }
        return core_schema.typed_dict_schema(fields, extra_behavior="forbid")
