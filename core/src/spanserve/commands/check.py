"""`spanserve check`: the effective configuration, and where each value comes from."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

from pydantic import BaseModel

from spanserve.config.load import Loaded
from spanserve.config.model import NOT_KEYS
from spanserve.config.service_settings import settings_of
from spanserve.config.values.document import inline
from spanserve.config.values.redact import redacted
from spanserve.config.values.source import DEFAULT, Source
from spanserve.running.discovery import DEFAULT as THREAD
from spanserve.running.discovery import ChosenRunner, chosen_runner
from spanserve.service.bundle.load import load
from spanserve.tracing.plugins.registry import LoadedTracer

MAX_COMMENT_COLUMN: Final = 48


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the report; the report without its comments is YAML that can be loaded."""

    text: str
    comment: str = ""


def checked(target: str | None, loaded: Loaded) -> tuple[BaseModel | None, ChosenRunner]:
    """Return a service's own settings and its runner; raises SpanserveError where they are wrong.

    Without a service there are no settings, and nothing that it says of its runner.
    """
    section, sources = loaded.config.runner, loaded.sources
    if target is None:
        return None, chosen_runner(section, {}, sources)
    service = load(target)
    settings = settings_of(
        service.spec.settings_model, loaded.config.service, sources, service=service.name
    )
    return settings, chosen_runner(section, service.spec.runner, sources)


def report(
    loaded: Loaded,
    tracers: Sequence[LoadedTracer],
    settings: BaseModel | None,
    runner: ChosenRunner,
) -> list[Line]:
    """Say what is live, then every value with its source, then what looks like a mistake.

    `settings` are the service's own, where a service was named.
    """
    return [
        *_heading(loaded, tracers),
        *_mapping(
            _effective(loaded, tracers, settings, runner),
            *("", "", loaded, {t.name for t in tracers}),
        ),
        *(
            Line("", f"warning: {warning}")
            for warning in [*loaded.warnings, *(w for t in tracers for w in t.warnings)]
        ),
    ]


def aligned(lines: Sequence[Line]) -> list[tuple[str, str]]:
    """Return each line's text, padded, and its comment with a hash."""
    lengths = [len(line.text) for line in lines if len(line.text) <= MAX_COMMENT_COLUMN]
    column = max(lengths, default=0)
    return [
        (
            f"{line.text:<{column}}  " if line.text and line.comment else line.text,
            f"# {line.comment}" if line.comment else "",
        )
        for line in lines
    ]


def _heading(loaded: Loaded, tracers: Sequence[LoadedTracer]) -> Iterator[Line]:
    yield Line("", f"spanserve {version('spanserve')}, {loaded.file or 'without a config file'}")
    if not tracers:
        yield Line("", "tracing is off")
    for tracer in tracers:
        source = f"{tracer.distribution} {tracer.version}".strip()
        yield Line("", f"tracer {tracer.name} ({source}): {tracer.target}")


def _effective(
    loaded: Loaded,
    tracers: Sequence[LoadedTracer],
    own_settings: BaseModel | None,
    runner: ChosenRunner,
) -> Mapping[str, object]:
    """Return the configuration in the form of its file, secrets hidden, defaults filled in."""
    config = {name: getattr(loaded.config, name) for name in type(loaded.config).model_fields}
    if loaded.config.runner or runner.name != THREAD:  # else the service may say
        config["runner"] = {"type": runner.name, **dict(runner.settings)}
    if own_settings is not None:
        config["service"] = own_settings
    tracing = loaded.config.tracing
    own = {key: getattr(tracing, key) for key in type(tracing).model_fields if key not in NOT_KEYS}
    own["type"] = tracing.type[0] if len(tracing.type) == 1 else (tracing.type or None)
    settings = {tracer.name: tracer.settings for tracer in tracers}
    shown = redacted({**config, "tracing": {**own, **tracing.sections, **settings}})
    return shown if isinstance(shown, Mapping) else {}


def _mapping(
    mapping: Mapping[str, object], prefix: str, indent: str, loaded: Loaded, live: set[str]
) -> Iterator[Line]:
    for name, value in mapping.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and value:
            unread = _is_unread(key, loaded, live)
            yield Line(f"{indent}{_inline(name)}:", "not selected, not read" if unread else "")
            yield from _mapping(value, f"{key}.", f"{indent}  ", loaded, live)
        else:
            source = _source(key, loaded.sources)
            yield Line(f"{indent}{_inline(name)}: {_inline(value)}", str(source))


def _is_unread(key: str, loaded: Loaded, live: set[str]) -> bool:
    parent, _, name = key.rpartition(".")
    return parent == "tracing" and name in set(loaded.config.tracing.sections) - live


def _source(key: str, sources: Mapping[str, Source]) -> Source:
    return sources.get(key, DEFAULT)


def _inline(value: object) -> str:
    whole = isinstance(value, float) and value.is_integer()
    return inline(int(value) if whole and isinstance(value, float) else value)
