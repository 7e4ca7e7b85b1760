"""What FastAPI's routes have and `@api` methods have not: where it is declared, the start stops.

To take it for a field of the body would be worse: a caller could send what a dependency decides.
FastAPI's and Starlette's classes are known by their names, for services can do without them.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from spanserve.errors import ServiceError
from spanserve.service.aliases import expanded
from spanserve.service.declared import Declared, declared, marker

_PACKAGES: Final = frozenset({"fastapi", "starlette"})
_BYTES: Final = (bytes, bytearray, memoryview)


class Row(NamedTuple):
    """Why something cannot be declared, and what to write instead."""

    why: str
    instead: str


_ROUTE: Final = "write a route of your own with it in configure_app(app)"
_NO_DEPENDENCY: Final = Row(
    "which no request would be asked for there: callers could send it in the body",
    "write a parameter of its own for it, NAME: Annotated[TYPE, Depends(...)]",
)
_NO_PARAMETER: Final = Row(
    "but what is in there comes from the body",
    "write a parameter of its own for it, NAME: Annotated[TYPE, Header()]",
)
_NO_REQUEST: Final = Row(
    "but what is in there comes from the body", "write a parameter of its own, of this very type"
)
_NO_FORM: Final = Row(
    "but only a plain method's own parameters are parts of a form",
    "write a parameter of its own, NAME: UploadFile, without batch=True",
)
_OTHER: Final = Row("which an @api method cannot have", _ROUTE)

ROWS: Final = {
    "Depends": _NO_DEPENDENCY,
    "Security": _NO_DEPENDENCY,
    "SecurityBase": _NO_DEPENDENCY,
    "SecurityScopes": _NO_DEPENDENCY,
    "Param": _NO_PARAMETER,
    "Body": Row("but parameters are of the body as they are", "write pydantic's Field(...)"),
    "Form": _NO_FORM,
    "File": _NO_FORM,
    "UploadFile": _NO_FORM,
    "HTTPConnection": _NO_REQUEST,
    "WebSocket": Row(
        "but an @api method answers POST requests", "write a websocket route in configure_app(app)"
    ),
    "Response": _NO_REQUEST,
    "BackgroundTask": _NO_REQUEST,
}
"""By the names of FastAPI's and Starlette's classes; `Param` is Query, Header, Cookie and Path."""

_RESPONSE: Final = Row(
    "but the server encodes what it returns",
    "return the value itself, raise HTTPException for another status, or write a plain method that "
    "returns the Response alone",
)
_BYTES_IN: Final = Row(
    "but only a whole body, an item or a part of a form can be bytes",
    "write bytes itself or list[bytes], or take text (pydantic's Base64Bytes)",
)
_BYTES_OUT: Final = Row(
    "but bytes have no JSON form",
    "return bytes alone (-> bytes, or -> list[bytes] of a batch), or text such as base64's",
)
_FIELD: Final = Row(
    "which would be the default itself", "write Annotated[TYPE, Field(...)] = DEFAULT"
)
_OF_FIELDS: Final = ("default", "default_factory", "alias", "validation_alias")
"""What pydantic's Field says of a model's field, and cannot say of a parameter."""


def check_default(where: str, default: Any, name: str) -> None:
    """Raise ServiceError where a parameter's default is a marker, as in `user = Depends(auth)`."""
    kind = marker(default)
    if kind is default and kind.__module__ != "fastapi.params":  # some class, by itself
        return
    row = _row(kind) or (_FIELD if issubclass(kind, FieldInfo) else None)
    if row is not None:
        there = Declared(kind, is_marker=True)
        raise _refused(f"{where}: parameter {name!r}", there, row)


def check_parameter(where: str, name: str, annotation: Any, names: Mapping[str, Any]) -> None:
    """Raise ServiceError where a parameter declares what an `@api` method cannot have."""
    _check_field(where, name, annotation)
    for each in declared(annotation, names):
        row = _row(each.kind)
        if row is None and _is_bare_bytes(each) and not any(map(_reads, each.notes)):
            row = _BYTES_IN
        if row is not None:
            raise _refused(f"{where}: parameter {name!r}", each, row)


def check_result(where: str, returns: Any, names: Mapping[str, Any], *, streams: bool) -> None:
    """Raise ServiceError where a method declares a result that cannot be sent."""
    for each in declared(returns, names):
        row = _row(each.kind)
        if row is not None and not each.is_marker and row is ROWS["Response"]:
            row = _RESPONSE
        if row is None and not streams and _is_bare_bytes(each):
            row = _BYTES_OUT
        if row is not None:
            raise _refused(f"{where}: the result", each, row)


def _check_field(where: str, name: str, annotation: Any) -> None:
    """Raise ServiceError where pydantic's Field gives a parameter a default or another name."""
    for note in getattr(expanded(annotation), "__metadata__", ()):
        if type(note) is not FieldInfo:
            continue
        given = [
            each for each in _OF_FIELDS if getattr(note, each) not in (None, PydanticUndefined)
        ]
        if given:
            raise ServiceError(
                f"{where}: parameter {name!r} declares Field({given[0]}=...), which only a model's "
                f"field can have; write {name}: TYPE = DEFAULT, under the name that callers send"
            )


def _row(kind: type) -> Row | None:
    """Return the row of the nearest of FastAPI's classes that this is; None: it is no such."""
    if issubclass(kind, BaseException | BaseModel):  # HTTPException may be an item's result
        return None
    theirs = [base.__name__ for base in kind.__mro__ if _top(base) in _PACKAGES]
    return next(_known(theirs), _OTHER) if theirs else None


def _known(names: Sequence[str]) -> Iterator[Row]:
    return (ROWS[name] for name in names if name in ROWS)


def _top(cls: type) -> str:
    return cls.__module__.partition(".")[0]


def _is_bare_bytes(there: Declared) -> bool:
    """Whether it is bytes that no class of the user's has as a field: pydantic reads those."""
    return there.kind in _BYTES and not there.field


def _reads(note: Any) -> bool:
    return hasattr(note, "__get_pydantic_core_schema__")


def _refused(what: str, there: Declared, row: Row) -> ServiceError:
    name = "Field" if there.kind is FieldInfo else there.kind.__name__
    name = f"{name}()" if there.is_marker else name
    field = f" (in {there.field})" if there.field else ""
    return ServiceError(f"{what} declares {name}{field}, {row.why}; {row.instead}")
