"""What the annotations of an `@api` method say: names resolved, arrays recognised."""

import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Final, Union, get_args, get_origin, get_type_hints

import numpy as np
from pydantic import PydanticUserError, TypeAdapter
from pydantic.errors import PydanticUndefinedAnnotation

from spanserve.errors import ServiceError
from spanserve.service.aliases import expanded
from spanserve.service.codecs.array import Array

_ANY_FLOAT: Final = frozenset({np.generic, np.number, np.floating, np.inexact})
ABSTRACT_SCALARS: Final = _ANY_FLOAT | {
    np.integer,
    np.signedinteger,
    np.unsignedinteger,
    np.complexfloating,
    np.flexible,
    np.character,
}
"""NumPy's classes of scalars that are no dtype, but a kind of them."""


class UnresolvedName(ServiceError):  # noqa: N818 - internal: an annotation's name is not there yet
    """An annotation names something that does not exist (yet)."""


def resolved_hints(
    method: Callable[..., Any], local_names: Mapping[str, Any], *, where: str
) -> dict[str, Any]:
    """The method's annotations, strings evaluated; `local_names` are its enclosing function's."""
    with reading(where):
        return get_type_hints(method, localns=dict(local_names), include_extras=True)


@contextmanager
def reading(where: str) -> Iterator[None]:
    """Say which method it was whose annotations, or their aliases, could not be read."""
    try:
        yield
    except NameError as error:
        raise UnresolvedName(
            f"{where}: an annotation names {error.name!r}, which is not defined; "
            "import it or define it at the top of the module"
        ) from error
    except (TypeError, SyntaxError, AttributeError) as error:
        raise ServiceError(f"{where}: an annotation cannot be read: {error}") from error


def array_of(annotation: Any) -> Array | None:
    """The `Array` that an annotation of an array stands for, or None for anything else.

    A bare `np.ndarray` is float64 of any shape; `NDArray[T]` is T of any shape.
    """
    annotation = expanded(annotation)
    annotated = get_origin(annotation) is Annotated
    base, *metadata = get_args(annotation) if annotated else (annotation,)
    if base is not np.ndarray and get_origin(base) is not np.ndarray:
        return None
    for extra in metadata:
        if isinstance(extra, Array):
            return extra
    return Array(_dtype_of(base))


def scalar_of(array: Any) -> type[np.generic] | None:
    """`np.float32` of `np.ndarray[..., np.dtype[np.float32]]`; None where none is named."""
    arguments = get_args(array)
    scalars = get_args(expanded(arguments[1])) if len(arguments) > 1 else ()
    scalar = expanded(scalars[0]) if scalars else None
    return scalar if isinstance(scalar, type) and issubclass(scalar, np.generic) else None


def readable(annotation: Any) -> Any:
    """The annotation as pydantic can read it: a bare array says its dtype and shape."""
    array = array_of(annotation)
    return annotation if array is None else Annotated[np.ndarray, array]


def list_item(annotation: Any) -> Any | None:
    """`Item` for `list[Item]`, Any for a bare `list`, or None for anything else."""
    annotation = expanded(annotation)
    if annotation is list:
        return Any
    return get_args(annotation)[0] if get_origin(annotation) is list else None


def result_item(annotation: Any) -> Any:
    """The type of one item's result, for the schema, from a batch method's return annotation.

    Exceptions, which an entry may be, are left out. What has no schema is Any.
    """
    array = array_of(annotation)
    if array is not None:
        return described(Annotated[np.ndarray, array]) if array.shape is not None else Any
    annotation = expanded(annotation)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if not isinstance(origin, type) or not issubclass(origin, Sequence) or not arguments:
        return Any
    if origin is tuple and arguments[1:] != (...,):
        return Any
    return described(without_exceptions(arguments[0]))


def described(annotation: Any) -> Any:
    """The annotation if a response schema can be made of it, else Any."""
    annotation = readable(annotation)
    try:
        TypeAdapter(annotation).json_schema(mode="serialization")
    except (PydanticUserError, NameError, TypeError):
        return Any
    return annotation


def adapter_of(annotation: Any, *, where: str) -> TypeAdapter[Any]:
    """The validator of one value, with a JSON schema; raises ServiceError where there is none."""
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(annotation)
        adapter.json_schema()
    except PydanticUndefinedAnnotation as error:
        raise UnresolvedName(f"{where}: {error.message}") from error
    except (PydanticUserError, TypeError) as error:
        if getattr(error, "code", None) in {"class-not-fully-defined", "undefined-annotation"}:
            raise UnresolvedName(f"{where}: {_first_line(error)}") from error
        raise ServiceError(
            f"{where}: {annotation!r} cannot be read from JSON ({_first_line(error)}); "
            "use a pydantic model, a dataclass, plain types, "
            "or Annotated[np.ndarray, Array(dtype, shape)]"
        ) from error
    return adapter


def _dtype_of(base: Any) -> Any:
    """`float32` of `NDArray[np.float32]`; float64 where none is named."""
    scalar = scalar_of(base)
    return "float64" if scalar is None or scalar in _ANY_FLOAT else scalar


def without_exceptions(annotation: Any) -> Any:
    """The annotation of an entry of a batch's result, without the exceptions that it may be."""
    if get_origin(annotation) not in {Union, types.UnionType}:
        return annotation
    kept = tuple(part for part in get_args(annotation) if not _is_exception(part))
    return Union[kept] if kept else Any  # noqa: UP007 - the members are known at run time only


def _is_exception(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseException)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
