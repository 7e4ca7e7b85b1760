"""`spanserve tracers`: what is installed, and what each can be told."""

from collections.abc import Iterator, Sequence
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from spanserve.config.values.redact import is_secret_key, redacted
from spanserve.tracing.plugins.registry import InstalledTracer


def listing(tracers: Sequence[InstalledTracer]) -> Iterator[str]:
    """Yield the lines of the listing, a block for each tracer."""
    if not tracers:
        yield "no tracer is installed; try: pip install spanserve-zipkin"
    for tracer in tracers:
        yield f"{tracer.name}  ({tracer.distribution} {tracer.version})"
        if tracer.plugin is None:
            yield f"  error: {tracer.error}"
        else:
            yield f"  hooks: {', '.join(sorted(tracer.plugin.hooks))}"
            yield from settings_rows(f"tracing.{tracer.name}", tracer.plugin.settings_model)


def settings_rows(section: str, model: type[BaseModel]) -> Iterator[str]:
    """Yield the lines that say what can stand in a section."""
    if not model.model_fields:
        yield "  settings: none"
        return
    yield f"  settings, under {section}:"
    rows = [
        (
            field.alias or key,
            _type(field),
            _default(field, field.alias or key),
            field.description or "",
        )
        for key, field in model.model_fields.items()
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        cells = [f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)]
        yield f"    {'  '.join([*cells, row[3]])}".rstrip()


def _type(field: FieldInfo) -> str:
    return _named(field.annotation)


def _named(annotation: Any) -> str:
    """Return a type as it is written, without what restricts its values."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _named(parts[0])
    if origin in {Union, UnionType}:
        return " | ".join(map(_named, parts))
    if origin is tuple and parts[-1:] == (...,):
        return f"tuple[{_named(parts[0])}, ...]"
    if isinstance(annotation, type) and not parts:
        return annotation.__name__.replace("NoneType", "None")
    return (
        str(annotation)
        .replace("typing.", "")
        .replace("collections.abc.", "")
        .replace("pydantic.types.", "")
        .replace("NoneType", "None")
    )


def _default(field: FieldInfo, key: str) -> str:
    if field.is_required():
        return "(required)"
    if field.default_factory_takes_validated_data:
        return "= ..."
    default = field.get_default(call_default_factory=True)
    return f"= {redacted(default, secret=is_secret_key(key))!r}"
