"""What is wrong with a configuration, in words for the person who wrote it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from textwrap import shorten
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from spanserve.config.values.redact import holds_secret, is_secret_key, without_credentials
from spanserve.config.values.source import Source, SourceKind
from spanserve.config.values.tree import Path
from spanserve.errors import ConfigError

ENVIRONMENT_PREFIX: Final = "SPANSERVE__"

_WANTED: Final = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "float_parsing": "a number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "list_type": "a list",
    "mapping_type": "a mapping",
    "model_attributes_type": "a mapping",
    "model_type": "a mapping",
    "string_type": "a text",
    "tuple_type": "a list",
}
_BOUNDS: Final = {
    "greater_than": "more than",
    "greater_than_equal": "at least",
    "less_than": "less than",
    "less_than_equal": "at most",
}
_MAX_SHOWN_CHARS: Final = 60


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, at one key."""

    path: Path
    message: str


def config_error(problems: Sequence[Problem]) -> ConfigError:
    """Make one error of all problems: a line each."""
    messages = list(dict.fromkeys(problem.message for problem in problems))
    if len(messages) == 1:
        return ConfigError(messages[0])
    lines = "".join(f"\n  - {message}" for message in messages)
    return ConfigError(f"the configuration has {len(messages)} problems:{lines}")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'port'?`, or all that is known, or nothing."""
    names = sorted(known)
    close = get_close_matches(word.lower(), names, n=1)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f" (known: {', '.join(names)})" if names else ""


def unknown_key(
    path: Path, source: Source | None, known: Iterable[str], elsewhere: str = ""
) -> Problem:
    """Describe a key that nobody reads; `elsewhere` is where one of that name would be read."""
    hint = f"; did you mean '{elsewhere}'?" if elsewhere else did_you_mean(path[-1], known)
    return Problem(path, f"unknown key {'.'.join(path)}{_at(source)}{hint}")


def problems_of(
    error: ValidationError,
    model: type[BaseModel],
    *,
    prefix: Path = (),
    sources: Mapping[str, Source],
) -> list[Problem]:
    """Translate pydantic's errors; `prefix` is the key under which the model stands."""
    found: dict[Path, list[ErrorDetails]] = {}
    for details in error.errors(include_url=False):
        found.setdefault(_path(details, prefix, sources), []).append(details)
    return [
        _problem(path, every, model, prefix, source_of(path, sources))
        for path, every in found.items()
    ]


def source_of(path: Path, sources: Mapping[str, Source]) -> Source | None:
    """Return the source of a key, or of the nearest one above it."""
    for length in range(len(path), 0, -1):
        source = sources.get(".".join(path[:length]))
        if source is not None and source.kind is not SourceKind.DEFAULT:
            return source
    return None


def _path(details: ErrorDetails, prefix: Path, sources: Mapping[str, Source]) -> Path:
    """Leave out the parts of pydantic's location that name a branch of a union."""
    path = prefix
    last = len(details["loc"]) - 1
    for place, part in enumerate(details["loc"]):
        longer = (*path, str(part))
        said = ".".join(longer) in sources
        if (
            said
            or not sources
            or (place == last and details["type"] in {"missing", "extra_forbidden"})
        ):
            path = longer
    return path


def _problem(
    path: Path,
    every: Sequence[ErrorDetails],
    model: type[BaseModel],
    prefix: Path,
    source: Source | None,
) -> Problem:
    first = every[0]
    key = ".".join(path)
    if first["type"] == "extra_forbidden":
        return unknown_key(path, source, _known_keys(model, path[len(prefix) : -1]))
    if first["type"] == "missing":
        variable = ENVIRONMENT_PREFIX + "__".join(path).upper()
        can_be_set = all(letter.isalnum() or letter in "_-" for letter in variable)
        or_there = f", or as {variable}" if can_be_set else ""
        return Problem(path, f"{key} is missing; give it in the file{or_there}")
    if first["type"] in {"value_error", "assertion_error"}:
        words = without_credentials(str(first["ctx"]["error"]))
        return Problem(path, f"{key}: {words}{_at(source)}")
    wanted = " or ".join(dict.fromkeys(_wanted(details) for details in every))
    # A variable that was to be a whole section may have held anything.
    whole = "a mapping" in wanted and source is not None and source.kind is SourceKind.ENVIRONMENT
    secret = whole or any(map(is_secret_key, path)) or _is_secret(model, path[len(prefix) :])
    return Problem(
        path, f"{key}: wanted {wanted}, got {_shown(first['input'], secret=secret)}{_at(source)}"
    )


def _wanted(details: ErrorDetails) -> str:
    kind, context = details["type"], details.get("ctx", {})
    if kind in _WANTED:
        return _WANTED[kind]
    if kind in _BOUNDS:
        bound = next(iter(context.values()))
        return (
            f"{_BOUNDS[kind]} {bound:g}" if isinstance(bound, float) else f"{_BOUNDS[kind]} {bound}"
        )
    if kind == "literal_error":
        return f"one of {context['expected']}"
    if kind == "string_too_short":
        return f"a text of at least {context['min_length']} characters"
    return _first_lower(details["msg"].removeprefix("Input should be "))


def _first_lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _shown(value: object, *, secret: bool) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, Mapping | list | tuple):
        return "a mapping" if isinstance(value, Mapping) else "a list"
    if secret:
        return "a text that is not shown" if isinstance(value, str) else "a value that is not shown"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"the number {value}"
    return f"'{shorten(without_credentials(str(value)), _MAX_SHOWN_CHARS, placeholder=' ...')}'"


def _at(source: Source | None) -> str:
    return "" if source is None else f" ({source})"


def _known_keys(model: type[BaseModel], path: Path) -> list[str]:
    """Return the keys of the model that stands at this path within another."""
    found: type[BaseModel] | None = model
    for part in path:
        annotation = (
            found.model_fields[part].annotation if found and part in found.model_fields else None
        )
        found = next(_models_in(annotation), None)
    return [field.alias or name for name, field in found.model_fields.items()] if found else []


def _is_secret(model: type[BaseModel], path: Path) -> bool:
    found: type[BaseModel] | None = model
    for part in path:
        if found is None or part not in found.model_fields:
            return False
        annotation = found.model_fields[part].annotation
        if holds_secret(annotation):
            return True
        found = next(_models_in(annotation), None)
    return False


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)
