"""Pydantic models as rows of tables."""

from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from spanserve.config.model import NOT_KEYS, TracingConfig


def rows(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, ...]]:
    """Yield key, type, default and meaning of each field, those of nested models in place."""
    hidden = NOT_KEYS if model is TracingConfig else frozenset()
    for name, field in model.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        if name in hidden:
            continue
        below = _model_in(field.annotation)
        if below is None or below is not field.annotation:  # else it is no value by itself
            meaning = (field.description or "").rstrip(".")
            kind = _type_of(field) if below is None else "a section or null"
            yield f"`{key}`", kind, _default_of(field), meaning
        if below is not None:
            yield from rows(below, f"{key}.")


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the model that a section is, or may be beside null."""
    parts = get_args(annotation) if get_origin(annotation) in {Union, UnionType} else (annotation,)
    return next((part for part in parts if _is_model(part)), None)


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def section(field: FieldInfo) -> type[BaseModel]:
    """Return the model of a section; TypeError for a field that is none."""
    if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
        return field.annotation
    raise TypeError(f"{field} is no section")


def _type_of(field: FieldInfo) -> str:
    bounds = [
        f"{sign} {getattr(each, name):g}"
        for each in _constraints(field)
        for name, sign in (("gt", ">"), ("ge", ">="), ("le", "<="))
        if getattr(each, name, None) is not None
    ]
    words = _type(field.annotation)
    if not bounds:
        return words
    null = " or null" if words.endswith(" or null") else ""
    return f"{words.removesuffix(null)} {', '.join(bounds)}{null}"


def _constraints(field: FieldInfo) -> Iterator[object]:
    """Yield a field's bounds, where it may be null, too."""
    pending: list[object] = list(field.metadata)
    for part in get_args(field.annotation):
        pending += getattr(part, "__metadata__", ())
    for each in pending:
        if isinstance(each, FieldInfo):
            yield from each.metadata
        else:
            yield each


def _type(annotation: Any) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if hasattr(annotation, "__metadata__"):
        return _type(parts[0])
    if origin is Literal:
        return " or ".join(f"`{part}`" for part in parts)
    if origin in (Union, UnionType):
        return " or ".join(_type(part) for part in parts)
    if origin in (tuple, list):
        return f"list of {_type(parts[0])}"
    if origin is dict or _is_model(annotation):
        return _mapping(annotation)
    words = {NoneType: "null", str: "text", bool: "true or false", int: "integer", float: "number"}
    return {**words, SecretStr: "text, secret"}.get(annotation, str(annotation))


def _mapping(annotation: Any) -> str:
    names = annotation.model_fields if _is_model(annotation) else ()
    return f"mappings of {' and '.join(f'`{name}`' for name in names)}" if names else "mapping"


def _default_of(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None or isinstance(value, bool):
        return "`null`" if value is None else f"`{value}`".lower()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    return f"`{value}`" if value != "" else "empty"
