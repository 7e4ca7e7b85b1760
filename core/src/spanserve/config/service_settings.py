"""The section `service`: what a service's own settings model makes of it."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, get_origin

from pydantic import BaseModel, ValidationError

from spanserve.config.section import listed
from spanserve.config.values.problems import (
    Problem,
    config_error,
    problems_of,
    source_of,
    unknown_key,
)
from spanserve.config.values.source import Source
from spanserve.config.values.tree import Path
from spanserve.config.values.untyped import shaped
from spanserve.errors import ConfigError

SECTION: Final = "service"
_LISTS: Final = frozenset({list, tuple, set, frozenset})


def settings_of(
    model: type[BaseModel] | None,
    section: Mapping[str, Any],
    sources: Mapping[str, Source],
    *,
    service: str,
    section_name: str = SECTION,
) -> BaseModel | None:
    """Return a service's settings, of its section; None where it declares none.

    What has settings of its own under another key, as a runner, is read in the same way.

    Keys that the model has not are refused, also where it would pass over them. Raises ConfigError
    with all that is wrong.
    """
    if model is None:
        if not section:
            return None
        first = next(iter(section))
        raise ConfigError(
            f"{section_name}.{first}{_at((section_name, first), sources)}: {service} declares no "
            "settings; "
            "let its __init__ take a pydantic model, or drop the section"
        )
    values = _values(model, section)
    unknown = [
        unknown_key(path, source_of(path, sources), known)
        for path, known in _unknown(model, values, (section_name,))
    ]
    try:
        settings = model.model_validate(values)
    except ValidationError as error:
        found = problems_of(error, model, prefix=(section_name,), sources=sources)
        raise config_error(_without_doubles([*unknown, *found])) from None
    except (KeyboardInterrupt, SystemExit):
        raise
    except Exception as error:
        raise ConfigError(
            f"{section_name}: {model.__name__} failed to read it with {type(error).__name__}"
        ) from error
    if unknown:
        raise config_error(unknown)
    return settings


def section_of(
    model: type[BaseModel] | None,
    section: Mapping[str, Any],
    sources: Mapping[str, Source],
    *,
    service: str,
) -> Mapping[str, Any]:
    """Return the section as plain values that the model takes; raises what `settings_of` raises."""
    settings_of(model, section, sources, service=service)
    return _values(model, section) if model is not None else {}


def _values(model: type[BaseModel], section: Mapping[str, Any]) -> dict[str, Any]:
    """Return a section as its fields take it; `a,b` is a list, too, where one is wanted."""
    values: dict[str, Any] = shaped(dict(section), model)
    return _with_lists(model, values)


def _with_lists(model: type[BaseModel], values: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(values)
    for name, field in model.model_fields.items():
        key = field.alias or name
        value, kind = found.get(key), field.annotation
        if isinstance(value, str) and (get_origin(kind) or kind) in _LISTS:
            found[key] = list(listed(value))  # type: ignore[call-overload]  # a text gives a tuple
        elif isinstance(value, Mapping) and isinstance(kind, type) and issubclass(kind, BaseModel):
            found[key] = _with_lists(kind, value)
    return found


def _unknown(
    model: type[BaseModel], values: object, path: Path
) -> Iterator[tuple[Path, list[str]]]:
    """Yield each key that no field reads, with those that there are."""
    if not isinstance(values, Mapping) or model.model_config.get("extra") == "allow":
        return
    by_name = model.model_config.get("populate_by_name") or model.model_config.get(
        "validate_by_name"
    )
    fields = {}
    for name, field in model.model_fields.items():
        if field.validation_alias is not None and not isinstance(field.validation_alias, str):
            return  # several names, or a path: pydantic's to tell
        fields[field.validation_alias or field.alias or name] = field
        if by_name:
            fields[name] = field
    for key, value in values.items():
        if key not in fields:
            yield (*path, key), list(fields)
        elif isinstance(below := fields[key].annotation, type) and issubclass(below, BaseModel):
            yield from _unknown(below, value, (*path, key))


def _without_doubles(problems: list[Problem]) -> list[Problem]:
    return list({problem.path: problem for problem in problems}.values())


def _at(path: Path, sources: Mapping[str, Source]) -> str:
    source = source_of(path, sources)
    return "" if source is None else f" ({source})"
