"""All that an annotation declares: the types and the markers in it, at any depth.

Markers are what stands beside a type in `Annotated`, and what a class has as a field's default.
"""

import dataclasses
import sys
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from pydantic import BaseModel

from spanserve.service.aliases import expanded, is_alias


class Declared(NamedTuple):
    """A type, or a marker's type; `field` is where, as `Item.user`, if it is in a class."""

    kind: type
    is_marker: bool = False
    notes: tuple[Any, ...] = ()
    """What stands beside a type in `Annotated`."""
    field: str = ""


def declared(annotation: Any, names: Mapping[str, Any]) -> Iterator[Declared]:
    """Yield all that an annotation declares; `names` are for strings in the classes it names.

    Raises NameError and TypeError where an alias cannot be expanded.
    """
    yield from _Walk(names).through(annotation, "")


def marker(thing: Any) -> type:
    """Return the type of a marker: `Depends` for `Depends(auth)`, and for a bare `Depends`."""
    if isinstance(thing, type):
        return thing
    if getattr(thing, "__module__", "") == "fastapi.param_functions":  # what makes the markers
        kind = getattr(sys.modules["fastapi.params"], getattr(thing, "__name__", ""), None)
        return kind if isinstance(kind, type) else type(thing)
    return type(thing)


class _Walk:
    """Goes through an annotation, and once through each class and alias that it meets."""

    def __init__(self, names: Mapping[str, Any]) -> None:
        self._names = names
        self._met: list[Any] = []

    def through(
        self, annotation: Any, field: str, notes: tuple[Any, ...] = ()
    ) -> Iterator[Declared]:
        if is_alias(annotation):
            if annotation in self._met:
                return
            self._met.append(annotation)
        annotation = expanded(annotation)
        if get_origin(annotation) is Annotated:
            base, *notes_here = get_args(annotation)
            for note in notes_here:
                yield Declared(marker(note), is_marker=True, field=field)
            yield from self.through(base, field, (*notes_here, *notes))
        elif isinstance(annotation, type):
            yield Declared(annotation, notes=notes, field=field)
            yield from self._fields(annotation)
        elif (origin := get_origin(annotation)) is not Literal:
            if isinstance(origin, type):
                yield from self._fields(origin)
                field = field or (origin.__name__ if _has_fields(origin) else "")
            for part in get_args(annotation):
                yield from self.through(part, field)

    def _fields(self, cls: type) -> Iterator[Declared]:
        if cls in self._met or not _has_fields(cls):
            return
        self._met.append(cls)
        for name, annotation in (*self._hints(cls), *_of_model(cls)):
            yield from self.through(annotation, f"{cls.__name__}.{name}")
        for name, default in _defaults(cls):
            yield Declared(marker(default), is_marker=True, field=f"{cls.__name__}.{name}")

    def _hints(self, cls: type) -> list[tuple[str, Any]]:
        """Return the fields as they are written; pydantic's own lack some markers."""
        try:
            hints = get_type_hints(cls, localns=dict(self._names), include_extras=True)
        except (NameError, TypeError, SyntaxError, AttributeError):
            return []  # pydantic resolves names where the class was defined, which nobody else sees
        fields = _names(cls)
        return [(name, hint) for name, hint in hints.items() if fields is None or name in fields]


def _has_fields(cls: type) -> bool:
    """Whether pydantic reads it by its fields: a model, dataclass, TypedDict or NamedTuple."""
    typed = hasattr(cls, "__total__") or hasattr(cls, "_fields")
    return issubclass(cls, BaseModel) or dataclasses.is_dataclass(cls) or typed


def _defaults(cls: type) -> Iterator[tuple[str, Any]]:
    for name, field in _model_fields(cls).items():
        yield name, field.default
    if dataclasses.is_dataclass(cls):
        yield from ((each.name, each.default) for each in dataclasses.fields(cls))
    yield from getattr(cls, "_field_defaults", {}).items()


def _names(cls: type) -> set[str] | None:
    """Return the names of the fields, where not each annotation is of one."""
    if issubclass(cls, BaseModel):
        return set(cls.model_fields)
    if dataclasses.is_dataclass(cls):
        return {field.name for field in dataclasses.fields(cls)}
    return None


def _of_model(cls: type) -> list[tuple[str, Any]]:
    """Return a model's fields as pydantic has them: it knows what type variables stand for."""
    return [
        (name, Annotated[field.annotation, *field.metadata, field])
        for name, field in _model_fields(cls).items()
    ]


def _model_fields(cls: type) -> dict[str, Any]:
    return dict(cls.model_fields) if issubclass(cls, BaseModel) else {}
