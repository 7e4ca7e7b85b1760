"""A base class of tracers that a type checker can check: all hooks, none of them called.

Beside it, any object whose functions are marked with `hookimpl` is a tracer, too.
"""

import inspect
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final, Generic, get_args, get_origin

from pydantic import BaseModel, ConfigDict
from typing_extensions import TypeVar

from spanserve.tracing import hookspecs
from spanserve.tracing.hookspecs import ExportResult, hookimpl
from spanserve.tracing.model.span import Resource, Span, SpanStart

if TYPE_CHECKING:
    from fastapi import FastAPI

_MARK: Final = f"{hookspecs.PROJECT}_impl"
_ALIKE: Final = 0.85


class NoSettings(BaseModel):
    """The settings of a tracer that has none: its section must be empty."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Settings = TypeVar("Settings", bound=BaseModel, default=BaseModel)


class Tracer(Generic[Settings]):
    """A tracer: override the hooks that you need, no mark is needed; the others cost nothing.

    `class Mine(Tracer[MySettings])` has these settings, and hooks that are typed by them.
    `@override` (of `typing_extensions`) lets the type checker find a misspelt hook; a name that is
    like a hook's, and none, is refused in any case. The contract of each hook is in the reference.
    """

    _settings_model: type[BaseModel] | None = None

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        for base in getattr(cls, "__orig_bases__", ()):
            if inspect.isclass(origin := get_origin(base)) and issubclass(origin, Tracer):
                cls._settings_model = next(filter(_is_model, get_args(base)), cls._settings_model)
        if cls._settings_model and cls.tracer_settings is Tracer.tracer_settings:
            cls.tracer_settings = _tracer_settings  # type: ignore[method-assign,assignment]  # as the class says
        hooks = {name for name in vars(Tracer) if not name.startswith("_")}
        for name, function in _own_functions(cls):
            if name in hooks:
                if not hasattr(function, _MARK):
                    hookimpl(function)
            elif close := get_close_matches(name, hooks, n=1, cutoff=_ALIKE):
                raise TypeError(f"{cls.__name__}.{name} is no hook; did you mean '{close[0]}'?")

    def tracer_settings(self) -> type[Settings]:
        """Return the model of this tracer's section; not to be overridden where the class says."""
        raise NotImplementedError

    def tracer_propagators(self) -> Sequence[str]:
        """Name the header formats that users of this backend expect, beside W3C."""
        return ()

    def tracer_target(self, settings: Settings) -> str:
        """Say where this tracer sends."""
        raise NotImplementedError

    def tracer_warnings(self, settings: Settings) -> Sequence[str]:  # noqa: ARG002  # a contract
        """Say what in these valid settings is probably a mistake, a sentence each."""
        return ()

    def tracer_isolation(self) -> str:
        """Say where spans may be exported: `thread` (the default) or `process`."""
        return "thread"

    def tracer_started(self, settings: Settings, resource: Resource) -> None:
        """Open what this tracer needs: sockets, files, sessions."""

    def span_started(self, start: SpanStart) -> None:
        """See a span begin, live."""

    def span_ended(self, span: Span) -> None:
        """See a span end, live."""

    def export_spans(self, spans: Sequence[Span]) -> ExportResult | None:
        """Deliver finished spans."""

    def trace_url(self, trace_id: str) -> str | None:
        """Say where a person can look at this trace (32 hex digits), or None."""

    def find_trace(self, trace_id: str) -> bool | None:
        """Ask the backend whether it holds this trace (32 hex digits), any span of it."""

    def extend_app(
        self, app: "FastAPI", settings: Settings, server_url: str | None
    ) -> Sequence[str] | None:
        """Add routes of this tracer's own, a viewer for example."""

    def tracer_stopping(self, deadline_s: float) -> None:
        """Close what `tracer_started` opened, within this many seconds."""


def inherits(instance: object, name: str) -> bool:
    """Say whether a tracer has this hook from the base class alone, and so does not have it."""
    return isinstance(instance, Tracer) and (
        inspect.getattr_static(instance, name, None) is vars(Tracer).get(name)
    )


def _tracer_settings(self: "Tracer[Settings]") -> type[BaseModel] | None:
    return self._settings_model  # a method of it


def _is_model(argument: object) -> bool:
    return inspect.isclass(argument) and issubclass(argument, BaseModel)


def _own_functions(cls: type) -> Iterator[tuple[str, Any]]:
    """Yield the public functions of a class and of its bases, but for those of `Tracer` itself."""
    for name in dir(cls):
        found = inspect.getattr_static(cls, name)
        function = found.__func__ if isinstance(found, staticmethod | classmethod) else found
        is_own = inspect.isfunction(function) and function is not vars(Tracer).get(name)
        if is_own and not name.startswith("_"):
            yield name, function
