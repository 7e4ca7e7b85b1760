"""One tracer's object: which hooks it has, whether they are sound, what its settings are."""

import inspect
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final, TypeVar

import pluggy
from pydantic import BaseModel, ValidationError

from spanserve.config.names import all_propagators, is_propagator
from spanserve.config.values.problems import config_error, did_you_mean, problems_of
from spanserve.config.values.redact import without_credentials
from spanserve.config.values.source import Source
from spanserve.config.values.untyped import shaped
from spanserve.errors import ConfigError
from spanserve.tracing import hookspecs
from spanserve.tracing.model.failure import told
from spanserve.tracing.plugins.hooks import Hooks
from spanserve.tracing.plugins.tracer import NoSettings, inherits

_ISOLATIONS: Final = ("thread", "process")

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class LoadedTracer:
    """A tracer that is ready to be started.

    `manager` holds this tracer alone; `hooks` names those that it implements, and `call` calls
    them.
    """

    name: str
    distribution: str
    version: str
    settings: BaseModel
    propagators: tuple[str, ...]
    isolation: str
    target: str
    warnings: tuple[str, ...]
    hooks: frozenset[str]
    manager: pluggy.PluginManager
    call: Hooks

    def check_settings_cross(self) -> None:
        """Raise ConfigError where the settings cannot be sent to a process of the tracer's own."""
        try:
            pickle.dumps(self.settings)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            origin = _Origin(self.name, self.distribution, self.version)
            raise _broken(
                origin,
                "exports in a process of its own, and its settings cannot be sent there: "
                f"{told(error)}; set `tracing.exporter: thread`",
            ) from error


@dataclass(frozen=True, slots=True)
class Plugin:
    """A tracer whose hooks are sound, without settings yet."""

    name: str
    distribution: str
    version: str
    manager: pluggy.PluginManager
    call: Hooks
    hooks: frozenset[str]
    settings_model: type[BaseModel]
    propagators: tuple[str, ...]
    isolation: str
    unmarked: tuple[str, ...]

    def configured(self, section: Mapping[str, Any], sources: Mapping[str, Source]) -> LoadedTracer:
        """Validate the tracer's own section; raise ConfigError with all that is wrong in it."""
        settings = self._settings(section, sources)
        return LoadedTracer(
            name=self.name,
            distribution=self.distribution,
            version=self.version,
            settings=settings,
            propagators=self.propagators,
            isolation=self.isolation,
            target=self._target(settings),
            warnings=(*self._unmarked_warnings(), *self._warnings(settings)),
            hooks=self.hooks,
            manager=self.manager,
            call=self.call,
        )

    def _settings(self, section: Mapping[str, Any], sources: Mapping[str, Source]) -> BaseModel:
        if section and self.settings_model is NoSettings:
            raise ConfigError(
                f"tracing.{self.name} must be empty: tracer '{self.name}' has no settings"
            )
        prefix = ("tracing", self.name)
        try:
            return self.settings_model.model_validate(shaped(dict(section), self.settings_model))
        except ValidationError as error:
            problems = problems_of(error, self.settings_model, prefix=prefix, sources=sources)
            raise config_error(problems) from error
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise ConfigError(f"tracing.{self.name}: {told(error)}") from error

    def _target(self, settings: BaseModel) -> str:
        answer = _ask(self, "tracer_target", lambda: self.call.tracer_target(settings))
        if answer is None:
            return self.name
        return without_credentials(_text(self, "tracer_target", answer))

    def _warnings(self, settings: BaseModel) -> tuple[str, ...]:
        answer = _ask(self, "tracer_warnings", lambda: self.call.tracer_warnings(settings))
        return tuple(map(without_credentials, _texts(self, "tracer_warnings", answer)))

    def _unmarked_warnings(self) -> tuple[str, ...]:
        return tuple(
            f"tracer '{self.name}' has a method {name} without @hookimpl: it is never called"
            for name in self.unmarked
        )


@dataclass(frozen=True, slots=True)
class _Origin:
    name: str
    distribution: str
    version: str


Origin = _Origin | Plugin


def _broken(origin: Origin, words: str) -> ConfigError:
    source = f"{origin.distribution} {origin.version}".strip()
    return ConfigError(f"tracer '{origin.name}' (from {source}) {words}")


def opened(target: object, name: str, distribution: str, version: str) -> Plugin:
    """Register what an entry point points to: an instance, a module or a class.

    Raises ConfigError where it has no hook, one that does not exist or has other
    arguments, or where what its load-time hooks return breaks their contract.
    """
    origin = _Origin(name, distribution, version)
    instance = _instance(target, origin)
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    known = hook_names()
    try:
        manager.register(instance, name=name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise _broken(origin, f"cannot be used: {_words(error)}") from error
    hooks = _implemented(manager, instance, origin)
    unmarked = tuple(each for each in sorted(known - hooks) if _is_forgotten(instance, each))
    if not hooks:
        hint = f"mark {', '.join(unmarked)} with @hookimpl" if unmarked else _all_hooks()
        raise _broken(origin, f"implements no hook; {hint}")
    call = Hooks(manager)
    model = _settings_model(call, origin)
    return Plugin(
        name,
        distribution,
        version,
        manager,
        call,
        hooks,
        model,
        _propagators(call, origin),
        _isolation(call, origin),
        unmarked,
    )


def hook_names() -> frozenset[str]:
    """Return the names of all hooks that a tracer may implement."""
    marker = f"{hookspecs.PROJECT}_spec"
    return frozenset(name for name, value in vars(hookspecs).items() if hasattr(value, marker))


def _all_hooks() -> str:
    return f"there are {', '.join(sorted(hook_names()))}"


def _instance(target: object, origin: _Origin) -> object:
    if not inspect.isclass(target):
        return target
    try:
        return target()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise _broken(origin, f"cannot be created: {told(error)}") from error


def _implemented(
    manager: pluggy.PluginManager, instance: object, origin: _Origin
) -> frozenset[str]:
    callers = manager.get_hookcallers(instance) or []
    try:
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        unknown = sorted(caller.name for caller in callers if not caller.has_spec())
        words = ", ".join(f"'{name}'{_nearest_hook(name)}" for name in unknown)
        raise _broken(origin, f"implements a hook that does not exist: {words}") from error
    for caller in callers:
        if any(inspect.iscoroutinefunction(impl.function) for impl in caller.get_hookimpls()):
            raise _broken(origin, f"implements {caller.name} as async; a hook is a plain function")
    return frozenset(caller.name for caller in callers if caller.has_spec())


def _nearest_hook(name: str) -> str:
    close = get_close_matches(name, hook_names(), n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


def _is_forgotten(instance: object, name: str) -> bool:
    if inherits(instance, name):
        return False
    found = inspect.getattr_static(instance, name, None)
    return inspect.isfunction(found) and not hasattr(found, f"{hookspecs.PROJECT}_spec")


def _settings_model(call: Hooks, origin: _Origin) -> type[BaseModel]:
    model = _ask(origin, "tracer_settings", call.tracer_settings)
    if model is None:
        return NoSettings
    if not (inspect.isclass(model) and issubclass(model, BaseModel)):
        raise _broken(origin, "returned no pydantic model from tracer_settings")
    if not model.model_config.get("frozen") or model.model_config.get("extra") != "forbid":
        raise _broken(
            origin,
            f"has settings that can be changed or misspelt: {model.__name__} needs "
            'ConfigDict(frozen=True, extra="forbid")',
        )
    return model


def _propagators(call: Hooks, origin: _Origin) -> tuple[str, ...]:
    answer = _ask(origin, "tracer_propagators", call.tracer_propagators)
    names = _texts(origin, "tracer_propagators", answer)
    for name in names:
        if not is_propagator(name):
            hint = did_you_mean(name, all_propagators())
            raise _broken(origin, f"asks for an unknown propagator '{name}'{hint}")
    return tuple(dict.fromkeys(names))


def _isolation(call: Hooks, origin: _Origin) -> str:
    answer = _ask(origin, "tracer_isolation", call.tracer_isolation)
    if answer not in {None, *_ISOLATIONS}:
        there = " or ".join(map(repr, _ISOLATIONS))
        raise _broken(origin, f"returned {answer!r} from tracer_isolation, not {there}")
    return answer or _ISOLATIONS[0]


def _ask(origin: Origin, hook: str, call: Callable[[], Result]) -> Result:
    """Call a hook of the loading; whatever it raises stops the start."""
    try:
        return call()
    except ConfigError as error:
        raise ConfigError(f"tracing.{origin.name}: {error}") from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise _broken(origin, f"failed in {hook}: {told(error)}") from error


def _text(origin: Origin, hook: str, answer: object) -> str:
    if not isinstance(answer, str):
        raise _broken(origin, f"returned {type(answer).__name__} from {hook}, not text")
    return answer


def _texts(origin: Origin, hook: str, answer: object) -> tuple[str, ...]:
    if answer is None:
        return ()
    if isinstance(answer, str) or not isinstance(answer, Sequence):
        raise _broken(origin, f"returned {type(answer).__name__} from {hook}, not a list of texts")
    return tuple(_text(origin, hook, each) for each in answer)


def _words(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
