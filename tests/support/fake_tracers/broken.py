"""Tracers with one mistake each."""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from spanserve import Span, hookimpl


class NoHook:
    """Has nothing to do with tracing."""


class Unmarked:
    """Forgets the mark on its only hook."""

    def span_ended(self, span: Span) -> None:
        """See a span, or so its author thinks."""


class HalfMarked(Unmarked):
    """Forgets the mark on one of two hooks."""

    @hookimpl
    def tracer_stopping(self) -> None:
        """Stop."""


class Misspelt:
    """Has a hook that does not exist."""

    @hookimpl
    def span_startd(self, start: object) -> None:
        """See nothing."""


class WrongArgument:
    """Asks for an argument that the hook does not have."""

    @hookimpl
    def span_ended(self, the_span: Span) -> None:
        """See nothing."""


class Async:
    """Has a hook that would never be awaited."""

    @hookimpl
    async def span_ended(self, span: Span) -> None:
        """See nothing."""


class Uncreatable:
    """Cannot be created."""

    def __init__(self) -> None:
        raise OSError("no such device")


class Loose(BaseModel):
    """Settings in which a typo passes."""


class LooseSettings:
    """Gives settings that are not strict."""

    @hookimpl
    def tracer_settings(self) -> type[BaseModel]:
        """Return the model."""
        return Loose


class SettingsAreNoModel:
    """Gives an instance where a class is wanted."""

    @hookimpl
    def tracer_settings(self) -> Any:
        """Return no model."""
        return {"url": str}


class RaisingSettings:
    """Fails where it should give settings."""

    @hookimpl
    def tracer_settings(self) -> type[BaseModel]:
        """Raise."""
        raise LookupError("no settings today")


class UnknownPropagator:
    """Asks for headers that nobody can write."""

    @hookimpl
    def tracer_propagators(self) -> Sequence[str]:
        """Return a misspelt name."""
        return ["b3mutli"]


class TextForAList:
    """Gives a text where a list is wanted."""

    @hookimpl
    def tracer_propagators(self) -> Sequence[str]:
        """Return one name, not a list."""
        return "b3"


class Strict(BaseModel):
    """Empty settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Cloudy:
    """Asks for a place that there is not."""

    @hookimpl
    def tracer_isolation(self) -> str:
        return "cloud"


class TargetIsNoText:
    """Gives a number where a text is wanted."""

    @hookimpl
    def tracer_target(self) -> Any:
        """Return no text."""
        return 9411
