"""Text of a variable: what it is, a number or a text, is for the field to say that it is for.

Values of a file have the types that YAML gives them. A variable has text alone: a token that
begins with `*` or consists of digits is a token, and `0.1` is a number where one is wanted.
"""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from enum import Enum
from inspect import isclass
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretBytes, SecretStr
from pydantic.fields import FieldInfo

from spanserve.config.values.document import parse, scalar_value
from spanserve.config.values.redact import is_secret_key
from spanserve.config.values.source import DEFAULT
from spanserve.config.values.tree import value_of
from spanserve.errors import ConfigError

_NULLS: Final = frozenset({"null", "Null", "NULL", "~"})
_TEXTS: Final = (str, bytes, SecretStr, SecretBytes, Enum)
_NUMBERS: Final = (bool, int, float)
_COLLECTIONS: Final = (Mapping, Sequence, AbstractSet, BaseModel)
_ABSENT: Final = object()


class Untyped(str):
    """The text of a variable, which may also be a list or a mapping in YAML's flow style."""

    __slots__ = ()


class UntypedScalar(Untyped):
    """A text in which variables were filled in: one value, whatever it holds."""

    __slots__ = ()


def shaped(value: object, annotation: Any) -> Any:
    """Return plain data as a field of this type takes it, as far as its form tells.

    Text of variables gets its type; a quoted number counts where a number is wanted; an empty
    section is as good as none. What fits nowhere stays as it is, for the field to refuse.
    """
    found = _shaped(value, annotation, secret=False)
    return None if found is _ABSENT else found


def guessed(text: str) -> object:
    """Return what a text is where nobody says: a flow collection, or an unquoted scalar."""
    if not isinstance(text, UntypedScalar) and text.lstrip()[:1] in {"[", "{"}:
        try:
            return value_of(parse(text, lambda _line: DEFAULT))
        except ConfigError:
            return str(text)
    return scalar_value(str(text))


def _shaped(value: object, annotation: Any, *, secret: bool) -> Any:
    types = list(_alternatives(annotation))
    if isinstance(value, Untyped):
        value = _typed(value, types, secret=secret)
    elif isinstance(value, str):
        value = _number(value, types)
    if value is None:
        empty = NoneType not in types and any(_is(each, _COLLECTIONS) for each in types)
        return _ABSENT if empty else None
    if isinstance(value, Mapping):
        return _mapping(value, types, secret=secret)
    if isinstance(value, list):
        item = next(_arguments(types, (Sequence, AbstractSet)), (Any,))[0]
        return [_shaped(each, item, secret=secret) for each in value]
    return value


def _typed(text: Untyped, types: Sequence[Any], *, secret: bool) -> object:
    if NoneType in types and text in _NULLS:
        return None
    if any(_is_text(each) for each in types):
        return str(text)
    if secret and any(each is Any for each in types):
        return str(text)
    value = guessed(text)
    is_listed = any(_is(each, (Sequence, AbstractSet)) for each in types)
    # `a,b` is a list where one is wanted, and what is in it is for the field to say.
    return str(text) if is_listed and not isinstance(value, list) else value


def _number(text: str, types: Sequence[Any]) -> object:
    """A number or a truth value that was quoted, where nothing else is wanted."""
    wanted = [each for each in types if each is not NoneType]
    if not wanted or not all(_is(each, _NUMBERS) for each in wanted):
        return text
    value = scalar_value(text.strip())
    return value if isinstance(value, bool | int | float) else text


def _mapping(value: Mapping[str, object], types: Sequence[Any], *, secret: bool) -> Any:
    model = next((each for each in types if _is(each, (BaseModel,))), None)
    fields = _fields(model) if model else {}
    of_all = next(_arguments(types, (Mapping,)), (Any, Any))[-1]
    entries = {
        key: _shaped(
            child,
            fields[key].annotation if key in fields else of_all,
            secret=secret or is_secret_key(key),
        )
        for key, child in value.items()
    }
    return {key: child for key, child in entries.items() if child is not _ABSENT}


def _fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _alternatives(annotation: Any) -> Iterator[Any]:
    """The members of unions, without what is annotated of them."""
    annotation = getattr(annotation, "__value__", annotation)  # `type X = ...`
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _alternatives(get_args(annotation)[0])
    elif origin in {Union, UnionType}:
        for each in get_args(annotation):
            yield from _alternatives(each)
    else:
        yield annotation


def _arguments(types: Sequence[Any], kinds: tuple[type, ...]) -> Iterator[tuple[Any, ...]]:
    return (get_args(each) for each in types if _is(each, kinds) and get_args(each))


def _is_text(annotation: Any) -> bool:
    if get_origin(annotation) is Literal:
        return all(isinstance(each, str) for each in get_args(annotation))
    return _is(annotation, _TEXTS)


def _is(annotation: Any, kinds: tuple[type, ...]) -> bool:
    kind = get_origin(annotation) or annotation
    if not isclass(kind) or not issubclass(kind, kinds):
        return False
    return kinds is _TEXTS or not issubclass(kind, str | bytes)
