"""The options of an OpenTelemetry exporter, as YAML and variables have them, in its own types."""

import inspect
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.util.re import parse_env_headers

from spanserve.config.values.redact import HIDDEN, is_secret_key, without_credentials
from spanserve.config.values.untyped import shaped
from spanserve.errors import ConfigError

_UNIONS: Final = (Union, UnionType)
_WANTED: Final = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def converted(cls: type[SpanExporter], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options in the types of the constructor's parameters; raises ConfigError.

    An enum is meant by name (`compression: gzip`), `a=1,b=2` is a mapping where one is wanted,
    names of headers are lower-case (gRPC takes no others), and numbers may be quoted.
    """
    parameters = inspect.signature(cls).parameters
    return {
        name: _converted(cls, name, value, list(_types(cls, parameters[name].annotation)))
        if name in parameters
        else value
        for name, value in options.items()
    }


def without_values(text: str, options: Mapping[str, Any]) -> str:
    """Hide in a text what of the options may be secret."""
    for value in _secrets(options, secret=False):
        text = text.replace(value, HIDDEN)
    return without_credentials(" ".join(text.split()))


def _converted(cls: type[SpanExporter], name: str, value: Any, types: Sequence[Any]) -> Any:
    if value is None or not types:
        return value
    value = shaped(value, Union[tuple(types)])  # noqa: UP007  # of members that are known only now
    enums = [each for each in types if isinstance(each, type) and issubclass(each, Enum)]
    if enums and isinstance(value, str):
        return _member(name, value, enums)
    if any(map(_is_mapping, types)):
        return _pairs(name, value)
    plain = [each for each in types if each in _WANTED]
    if plain and not enums and not _fits(value, types):
        wanted = " or ".join(_WANTED[each] for each in plain)
        raise ConfigError(f"option '{name}': wanted {wanted}{_shown(name, value)}")
    _check_place(cls, name, value)
    return value


def _pairs(name: str, value: object) -> dict[str, str]:
    if isinstance(value, str):
        value = dict(parse_env_headers(value, liberal=True))
    if not isinstance(value, Mapping) or not value:
        raise ConfigError(f"option '{name}': wanted a mapping, or a text such as 'a=1,b=2'")
    lower = name.endswith("headers")
    return {str(key).lower() if lower else str(key): str(each) for key, each in value.items()}


def _check_place(cls: type[SpanExporter], name: str, value: object) -> None:
    """Refuse a file that is not there, and an address to which nothing could ever be sent."""
    if not isinstance(value, str):
        return
    if name.endswith("_file") and not Path(value).is_file():
        raise ConfigError(f"option '{name}': there is no file {value}")
    is_http = "http" in cls.__module__.split(".")
    if name == "endpoint" and is_http and not re.match(r"https?://[^/\s]", value):
        raise ConfigError(f"option '{name}': wanted a URL that begins with http:// or https://")


def _fits(value: Any, types: Sequence[Any]) -> bool:
    if isinstance(value, bool):
        return bool in types
    if isinstance(value, int) and float in types:
        return True
    known = [origin for each in types if isinstance(origin := get_origin(each) or each, type)]
    return any(isinstance(value, each) for each in known)


def _member(name: str, value: str, enums: Sequence[type[Enum]]) -> Enum:
    word = value.lower()
    for enum in enums:
        for member in enum:
            # gRPC's is `NoCompression`.
            if word in {member.name.lower(), str(member.value).lower()} or (
                word == "none" and member.name.lower() == f"no{name}"
            ):
                return member
    names = {member.name.lower() for enum in enums for member in enum}
    known = ", ".join(sorted({"none" if each == f"no{name}" else each for each in names}))
    raise ConfigError(f"option '{name}': wanted one of {known}{_shown(name, value)}")


def _types(cls: type[SpanExporter], annotation: Any) -> Iterator[Any]:
    """The members of an annotation; those are left out whose names are there for checkers only."""
    if not isinstance(annotation, str):
        found = get_args(annotation) if get_origin(annotation) in _UNIONS else (annotation,)
        yield from (each for each in found if each not in {NoneType, inspect.Parameter.empty})
        return
    names = vars(sys.modules[cls.__module__])
    for part in annotation.split("|"):
        try:
            hint = get_type_hints(type("_", (), {"__annotations__": {"it": part.strip()}}), names)
        except NameError:
            continue
        yield from _types(cls, hint["it"])


def _is_mapping(annotation: Any) -> bool:
    origin = get_origin(annotation) or annotation
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _shown(name: str, value: object) -> str:
    if is_secret_key(name):
        return ""
    return (
        f", got {without_credentials(repr(value))}" if isinstance(value, str) else f", got {value}"
    )


def _secrets(value: object, *, secret: bool) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _secrets(each, secret=secret or is_secret_key(str(key)))
    elif secret and isinstance(value, str) and value:
        yield value
