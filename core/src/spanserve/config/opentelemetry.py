"""OpenTelemetry's own variables that its library cannot use, and that would end the server.

The library reads them as it is imported: a name of a propagator that is not installed, or a limit
that is no number, raises there, or later in a request. They are withdrawn before, and that is said.
"""

import re
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Final, NamedTuple

from spanserve.config.entries import sound_entry_points

PROPAGATORS: Final = "OTEL_PROPAGATORS"
TRACER_PROVIDER: Final = "OTEL_PYTHON_TRACER_PROVIDER"
LIMITS: Final = (
    "OTEL_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    "OTEL_SPAN_EVENT_COUNT_LIMIT",
    "OTEL_SPAN_LINK_COUNT_LIMIT",
)
_LIMIT: Final = re.compile(r"\s*(\d+|unset)\s*", re.IGNORECASE)


class Unusable(NamedTuple):
    """A variable as it cannot be used, what to say of it, and what can be used instead."""

    variable: str
    words: str = ""
    instead: str | None = None


def unusable(environ: Mapping[str, str]) -> Iterator[Unusable]:
    """Find the variables at which OpenTelemetry's library would raise."""
    for variable in LIMITS:
        if variable in environ and not _LIMIT.fullmatch(environ[variable]):
            words = f"{variable} is not read: it is no whole number"
            yield Unusable(variable, words if environ[variable].strip() else "")
    provider = environ.get(TRACER_PROVIDER)
    if provider is not None and provider not in _installed("opentelemetry_tracer_provider"):
        words = f"{TRACER_PROVIDER} is not read: no tracer provider of that name is installed"
        yield Unusable(TRACER_PROVIDER, words if provider else "")
    asked = environ.get(PROPAGATORS)
    usable = ",".join(_usable_propagators(asked or ""))
    if asked is not None and usable != asked:
        # What is left out of them is said where the server's own are chosen.
        yield Unusable(PROPAGATORS, "", usable or None)


def withdraw(environ: MutableMapping[str, str]) -> None:
    """Take what OpenTelemetry's library cannot use out of an environment."""
    for variable, _, instead in list(unusable(environ)):
        if instead is None:
            del environ[variable]
        else:
            environ[variable] = instead


def unread_exporter(environ: Mapping[str, str]) -> str:
    """Name a variable by which somebody asks for OpenTelemetry's exporters, if there is one."""
    asked = environ.get("OTEL_TRACES_EXPORTER", "").strip()
    if asked.lower() == "none":
        return ""
    if asked:
        return "OTEL_TRACES_EXPORTER"
    found = (name for name in sorted(environ) if name.startswith("OTEL_EXPORTER_OTLP_"))
    return next((name for name in found if environ[name].strip()), "")


def _usable_propagators(asked: str) -> list[str]:
    names = [name.strip() for name in asked.split(",")]
    if not any(names):
        return []
    if any(name.lower() == "none" for name in names):
        return ["none"]
    installed = _installed("opentelemetry_propagator")
    spelled = ((name, name.lower()) for name in names if name)
    found = (next((each for each in each_way if each in installed), "") for each_way in spelled)
    return [name for name in dict.fromkeys(found) if name]


def _installed(group: str) -> set[str]:
    return {each.name for each in sound_entry_points(group)}
