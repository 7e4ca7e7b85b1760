"""Find the runner that the configuration names, among those that are installed.

Only this module asks for the entry points of the group `spanserve.runners`, and it imports the one
alone that is named; the listing imports all.
"""

import inspect
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import EntryPoint
from typing import Any, Final, NamedTuple, Protocol

from pydantic import BaseModel

from spanserve.config.entries import sound_entry_points
from spanserve.config.service_settings import settings_of
from spanserve.config.values.problems import did_you_mean, source_of
from spanserve.config.values.source import Source
from spanserve.errors import ConfigError
from spanserve.running.protocol import Runner
from spanserve.running.surroundings import Surroundings
from spanserve.tracing.model.attributes import one_line
from spanserve.tracing.model.failure import told

GROUP: Final = "spanserve.runners"
SECTION: Final = "runner"
DEFAULT: Final = "thread"
KNOWN_DISTRIBUTIONS: Final[Mapping[str, str]] = {}
"""Runners of ours that come in distributions of their own."""


class RunnerKind(Protocol):
    """What an entry point of a runner names."""

    settings: type[BaseModel]
    """What can be said under `runner`, beside its type: a frozen model that forbids the rest."""

    has_replicas: bool
    """Whether it has processes of its own, so that the server must not have several."""

    @staticmethod
    def runner(settings: Any, around: Surroundings) -> Runner:
        """Make the runner of a service."""


class ChosenRunner(NamedTuple):
    """A runner and its settings, as they were asked for."""

    name: str
    kind: RunnerKind
    settings: BaseModel

    def check_workers(self, workers: int) -> None:
        """Raise ConfigError where the server would have several processes, and this its own."""
        if self.kind.has_replicas and workers > 1:
            raise ConfigError(
                f"server.workers is {workers}, and the runner '{self.name}' has replicas of its "
                "own; set server.workers to 1, and runner.replicas to as many as you want"
            )


class InstalledRunner(NamedTuple):
    """A row of the listing; where `error` is a text, there is no `settings_model`."""

    name: str
    distribution: str
    version: str
    settings_model: type[BaseModel] | None
    error: str | None


def chosen_runner(
    section: Mapping[str, Any], of_service: Mapping[str, Any], sources: Mapping[str, Source]
) -> ChosenRunner:
    """Return the runner of a service; `section` is the configuration's, over the service's own.

    What the service says is of the type that it names: with another, nothing of it counts. Raises
    ConfigError for whatever was named and cannot be had.
    """
    name = section.get("type") or of_service.get("type") or DEFAULT
    if not isinstance(name, str):
        raise ConfigError(f"runner.type: wanted the name of a runner{_at(('type',), sources)}")
    name = name.lower()
    own = dict(of_service) if str(of_service.get("type", DEFAULT)).lower() == name else {}
    given = {key: value for key, value in {**own, **section}.items() if key != "type"}
    kind = _kind(_found(name, _installed(), sources))
    settings = settings_of(
        kind.settings, given, sources, service=f"runner '{name}'", section_name=SECTION
    )
    assert settings is not None  # noqa: S101  # there is a model
    return ChosenRunner(name, kind, settings)


def installed_runners() -> Sequence[InstalledRunner]:
    """Import every installed runner, for a listing; one that fails says so in its row."""
    return [_row(each) for each in sorted(_installed(), key=lambda each: each.name)]


def _installed() -> Iterable[EntryPoint]:
    return sound_entry_points(GROUP)


def _row(entry_point: EntryPoint) -> InstalledRunner:
    distribution = entry_point.dist
    name, version = (distribution.name, distribution.version) if distribution else ("?", "")
    try:
        kind = _kind(entry_point)
    except ConfigError as error:
        return InstalledRunner(entry_point.name, name, version, None, str(error))
    return InstalledRunner(entry_point.name, name, version, kind.settings, None)


def _found(name: str, installed: Iterable[EntryPoint], sources: Mapping[str, Source]) -> EntryPoint:
    there = {each.name: each for each in installed}
    if name in there:
        return there[name]
    if name in KNOWN_DISTRIBUTIONS:
        raise ConfigError(
            f"runner '{name}' is not installed; try: pip install {KNOWN_DISTRIBUTIONS[name]}"
        )
    hint = did_you_mean(name, set(there))
    names = ", ".join(sorted(there)) or "none"
    raise ConfigError(
        f"unknown runner '{name}'{_at(('type',), sources)} (installed: {names})"
        f"{hint if hint.startswith(';') else ''}"
    )


def _kind(entry_point: EntryPoint) -> RunnerKind:
    name = entry_point.name
    try:
        kind = entry_point.load()
    except Exception as error:
        why = one_line(str(error)) if isinstance(error, ImportError) else told(error)
        raise ConfigError(f"runner '{name}' failed to import: {why}") from error
    model = getattr(kind, "settings", None)
    if not (inspect.isclass(model) and issubclass(model, BaseModel)):
        raise ConfigError(f"runner '{name}' has no pydantic model as its settings")
    if not model.model_config.get("frozen") or model.model_config.get("extra") != "forbid":
        raise ConfigError(
            f"runner '{name}' has settings that can be changed or misspelt: {model.__name__} "
            'needs ConfigDict(frozen=True, extra="forbid")'
        )
    if not callable(getattr(kind, "runner", None)) or not hasattr(kind, "has_replicas"):
        raise ConfigError(f"runner '{name}' has no runner() or does not say has_replicas")
    return kind  # type: ignore[no-any-return]  # as was looked at


def _at(path: tuple[str, ...], sources: Mapping[str, Source]) -> str:
    source = source_of((SECTION, *path), sources)
    return "" if source is None else f" ({source})"
