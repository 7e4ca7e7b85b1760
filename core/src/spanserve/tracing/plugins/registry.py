"""Find and load the tracers that the configuration names.

Only this module asks for the entry points of the group `spanserve.tracers`, and it imports
those alone that are selected; the listing imports all.
"""

import logging
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Final

from spanserve.config.entries import sound_entry_points
from spanserve.config.model import TracingConfig, tracing_keys
from spanserve.config.names import OFF_WORDS, TRACER_NAME, TRACER_OBJECT, tracer_kind
from spanserve.config.values.problems import did_you_mean, source_of
from spanserve.config.values.source import Source
from spanserve.errors import ConfigError
from spanserve.tracing.model.attributes import one_line
from spanserve.tracing.model.failure import told
from spanserve.tracing.plugins.loading import LoadedTracer, Plugin, opened

__all__ = [
    "GROUP",
    "KNOWN_DISTRIBUTIONS",
    "InstalledTracer",
    "LoadedTracer",
    "Registry",
    "installed_tracers",
    "load_plugin",
    "load_tracers",
]

log = logging.getLogger(__name__)

GROUP: Final = "spanserve.tracers"

KNOWN_DISTRIBUTIONS: Final[Mapping[str, str]] = {
    "jaeger": "spanserve-jaeger",
    "local": "spanserve-local",
    "zipkin": "spanserve-zipkin",
}
"""Tracers of ours that come in distributions of their own."""

NO_SOURCES: Final[Mapping[str, Source]] = {}


@dataclass(frozen=True, slots=True)
class Registry:
    """The tracers that are installed, by what their distributions say; nothing is imported."""

    entry_points: Sequence[EntryPoint]

    @classmethod
    def installed(cls, passed_over: Callable[[str], None] = log.debug) -> "Registry":
        """Look at the distributions of this environment; what is broken of others is said."""
        return cls(sound_entry_points(GROUP, passed_over))

    def names(self) -> list[str]:
        """Return all names, sorted."""
        return sorted({entry_point.name for entry_point in self.entry_points})

    def find(self, name: str) -> EntryPoint:
        """Return the one tracer of this name; raise ConfigError if there is none, or are two.

        A name is one of `tracing.type`: also `module:object`, or with a word for a second one of
        a kind, as `zipkin/new`.
        """
        kind = tracer_kind(name)
        if TRACER_OBJECT.fullmatch(kind):
            return EntryPoint(kind, kind, GROUP)
        found = self._all_of(kind)
        if not found:
            raise ConfigError(_not_found(kind, self.names()))
        self.check(found[0])
        return found[0]

    def check(self, entry_point: EntryPoint) -> None:
        """Raise ConfigError where nobody could select this one."""
        name = entry_point.name
        if len(found := self._all_of(name)) > 1:
            both = " and ".join(sorted(_described(each) for each in found))
            raise ConfigError(f"two distributions have a tracer '{name}': {both}; uninstall one")
        if name in tracing_keys() | OFF_WORDS:
            raise ConfigError(
                f"tracer '{name}' (from {_described(entry_point)}) has a name that spanserve's own "
                "configuration uses; its author must choose another"
            )
        if not TRACER_NAME.fullmatch(name):
            raise ConfigError(
                f"tracer '{name}' (from {_described(entry_point)}) has a name that nobody can "
                f"select; it must match {TRACER_NAME.pattern}"
            )

    def _all_of(self, name: str) -> list[EntryPoint]:
        # A distribution that is on the path twice (installed, and editable) is one all the same.
        found = {
            (_normalised(_distribution_of(each)), each.value): each
            for each in self.entry_points
            if each.name == name
        }
        return list(found.values())


@dataclass(frozen=True, slots=True)
class InstalledTracer:
    """A row of the listing; where `error` is a text, `plugin` is None."""

    name: str
    distribution: str
    version: str
    plugin: Plugin | None
    error: str | None


def load_tracers(
    tracing: TracingConfig,
    *,
    sources: Mapping[str, Source] = NO_SOURCES,
    registry: Registry | None = None,
) -> tuple[LoadedTracer, ...]:
    """Import, check and configure the selected tracers, in the order of the configuration.

    `sources` (of `config.load.Loaded`) says in messages where a value stands. Raises
    ConfigError for whatever the user named and cannot have.
    """
    if not tracing.type and not tracing.sections:
        return ()
    registry = registry or Registry.installed(log.warning)
    selected = {name: registry.find(name) for name in tracing.type}
    _check_sections(tracing, sources, registry.names())
    tracers = tuple(
        _plugin(entry_point, name).configured(tracing.sections.get(name, {}), sources)
        for name, entry_point in selected.items()
    )
    _check_each_is_its_own(tracers)
    for tracer in tracers:
        if tracer.isolation == "process" == tracing.exporter and "export_spans" in tracer.hooks:
            tracer.check_settings_cross()
    return tracers


def load_plugin(name: str, registry: Registry | None = None) -> Plugin:
    """Import and check the tracer of this name, without a configuration; raises ConfigError."""
    return _plugin((registry or Registry.installed()).find(name), name)


def installed_tracers(registry: Registry | None = None) -> tuple[InstalledTracer, ...]:
    """Import every installed tracer, for a listing; one that fails says so in its row."""
    registry = registry or Registry.installed(log.warning)
    return tuple(
        _row(registry, entry_point)
        for entry_point in sorted(
            registry.entry_points, key=lambda each: (each.name, _distribution_of(each))
        )
    )


def _row(registry: Registry, entry_point: EntryPoint) -> InstalledTracer:
    plugin, error = None, None
    try:
        registry.check(entry_point)
        plugin = _plugin(entry_point, entry_point.name)
    except ConfigError as failure:
        error = str(failure)
    name, version = _distribution_of(entry_point), _version_of(entry_point)
    return InstalledTracer(entry_point.name, name, version, plugin, error)


def _plugin(entry_point: EntryPoint, name: str) -> Plugin:
    if entry_point.dist is None:
        _let_current_folder_be_imported()
    try:
        target = entry_point.load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        why = one_line(str(error)) if isinstance(error, ImportError) else told(error)
        raise ConfigError(
            f"tracer '{name}' (from {_described(entry_point)}) failed to import: {why}"
        ) from error
    return opened(target, name, _distribution_of(entry_point), _version_of(entry_point))


def _let_current_folder_be_imported() -> None:
    """Look `module:object` up in the current folder, too, after what is installed."""
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)


def _check_each_is_its_own(tracers: Sequence[LoadedTracer]) -> None:
    """Raise ConfigError where two tracers are one object, which has one set of settings."""
    owners: dict[int, str] = {}
    for tracer in tracers:
        for plugin in tracer.manager.get_plugins():
            other = owners.setdefault(id(plugin), tracer.name)
            if other != tracer.name:
                raise ConfigError(
                    f"tracers '{other}' and '{tracer.name}' are one object of "
                    f"{tracer.distribution}: two of a kind need a class"
                )


def _check_sections(
    tracing: TracingConfig, sources: Mapping[str, Source], installed: Iterable[str]
) -> None:
    tracers = {*installed, *KNOWN_DISTRIBUTIONS}
    for name in tracing.sections:
        if tracer_kind(name) not in tracers and not TRACER_OBJECT.fullmatch(tracer_kind(name)):
            source = source_of(("tracing", name), sources)
            where = f" ({source})" if source else ""
            hint = did_you_mean(name, tracers | tracing_keys())
            raise ConfigError(
                f"unknown key tracing.{name}{where}: neither an installed tracer "
                f"nor a key of spanserve's own{hint}"
            )


def _not_found(name: str, installed: Sequence[str]) -> str:
    if name in KNOWN_DISTRIBUTIONS:
        return f"tracer '{name}' is not installed; try: pip install {KNOWN_DISTRIBUTIONS[name]}"
    there = ", ".join(installed) or "none"
    hint = did_you_mean(name, {*installed, *KNOWN_DISTRIBUTIONS})
    return f"unknown tracer '{name}' (installed: {there}){hint if hint.startswith(';') else ''}"


def _distribution_of(entry_point: EntryPoint) -> str:
    """Return the name of the distribution that brought an entry point, else what it names."""
    return entry_point.dist.name if entry_point.dist else entry_point.value


def _version_of(entry_point: EntryPoint) -> str:
    """Return the version of that distribution, or nothing."""
    return entry_point.dist.version if entry_point.dist else ""


def _described(entry_point: EntryPoint) -> str:
    """Return `spanserve-zipkin 0.1.0`."""
    return f"{_distribution_of(entry_point)} {_version_of(entry_point)}".strip()


def _normalised(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()
