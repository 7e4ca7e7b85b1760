"""Names in the configuration: words in any case, and which tracers are live."""

import re
from typing import Final

from spanserve.config.entries import sound_entry_points
from spanserve.config.section import listed

OFF_WORDS: Final = frozenset({"", "none", "null", "off", "false"})
TRACER_NAME: Final = re.compile(r"[a-z][a-z0-9_-]*")
TRACER_OBJECT: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
"""`module:object`: a tracer that no distribution names."""

OWN_PROPAGATORS: Final = ("tracecontext", "baggage", "b3", "b3multi", "jaeger")
PROPAGATOR_GROUP: Final = "opentelemetry_propagator"
"""The entry points by which OpenTelemetry finds propagators, and so are others' found here."""


def tracer_kind(name: str) -> str:
    """Return which tracer a name of `tracing.type` means: `zipkin` where it is `zipkin/new`."""
    return name.partition("/")[0]


def lower(value: object) -> object:
    """Return a text in small letters, and what is none as it is."""
    return value.lower() if isinstance(value, str) else value


def listed_lower(value: object) -> object:
    """Return a list, or a text with commas, as a tuple of texts in small letters."""
    parts = listed(value)
    return tuple(lower(part) for part in parts) if isinstance(parts, tuple) else parts


def tracer_names(value: object) -> object:
    """Return the names that `tracing.type` holds; raises ValueError."""
    if value is None or value is False or (isinstance(value, str) and value.lower() in OFF_WORDS):
        return ()
    names = listed(value)
    if not isinstance(names, tuple):
        raise ValueError("wanted the name of a tracer, or a list of names")  # noqa: TRY004  # pydantic's contract
    names = tuple(name if isinstance(name, str) and ":" in name else lower(name) for name in names)
    if all(name in OFF_WORDS or name in (None, False) for name in names):
        return ()
    for name in names:
        if not _is_tracer(name):
            raise ValueError(f"{name!r} cannot be the name of a tracer")
    if len(set(names)) < len(names):
        raise ValueError("a tracer is named twice; a second one of a kind is named as 'zipkin/new'")
    return names


def _is_tracer(name: object) -> bool:
    if not isinstance(name, str):
        return False
    kind, slash, word = name.partition("/")
    is_kind = TRACER_NAME.fullmatch(kind) or TRACER_OBJECT.fullmatch(kind)
    return bool(is_kind) and (not slash or TRACER_NAME.fullmatch(word) is not None)


def all_propagators() -> tuple[str, ...]:
    """Return the names of all propagators: spanserve's own, and those that are installed."""
    others = {each.name.lower() for each in sound_entry_points(PROPAGATOR_GROUP)}
    return (*OWN_PROPAGATORS, *sorted(others - {*OWN_PROPAGATORS}))


def is_propagator(name: str) -> bool:
    """Say whether there is one of this name, looking at what is installed only where needed."""
    return name in OWN_PROPAGATORS or name in all_propagators()


def propagator_names(value: object) -> object:
    """Return the names that `tracing.propagators` holds; raises ValueError."""
    names = listed_lower(value)
    if isinstance(names, tuple):
        for name in names:
            if isinstance(name, str) and not is_propagator(name):
                there = ", ".join(all_propagators())
                raise ValueError(f"there is no propagator {name!r} (installed: {there})")
    return names
