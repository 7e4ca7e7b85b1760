"""What tracers add to the app: routes that are reached, and that take nothing from the service."""

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from fastapi import FastAPI
from starlette.routing import BaseRoute

from spanserve.errors import ConfigError
from spanserve.tracing.admission.excluded import ExcludedPaths

_PARAMETER: Final = re.compile(r"\{[^}]*\}")
_SAMPLE: Final = "1"
"""What may stand for any parameter of a path."""


class Additions:
    """Looks at what was added to an app since it was last looked at."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._known: list[BaseRoute] = list(app.router.routes)

    def check(self, tracer: str, untraced: Sequence[str]) -> None:
        """Raise ConfigError where what a tracer added is another's already.

        `untraced` are the paths that it wants to have left out of tracing.
        """
        known = set(map(id, self._known))
        added = [route for route in self._app.router.routes if id(route) not in known]
        for route in added:
            if (other := _first(self._known, route)) is not None:
                raise ConfigError(
                    f"tracer '{tracer}' adds {_described(route)}, and the service has "
                    f"{_described(other)}, which answers there; rename the service's route, or "
                    f"leave '{tracer}' out of tracing.type"
                )
        excluded = ExcludedPaths(untraced)
        for route in self._known:
            if excluded({"path": _sample(route)}):
                raise ConfigError(
                    f"tracer '{tracer}' wants to leave {_described(route)} out of tracing, which "
                    "is not its own; its author must mend that"
                )
        self._known += added


def _first(routes: Iterable[BaseRoute], added: BaseRoute) -> BaseRoute | None:
    """Return the first route that answers where an added one is meant to."""
    return next((each for each in routes if _both_answer(each, added)), None)


def _both_answer(known: BaseRoute, added: BaseRoute) -> bool:
    methods: Any = getattr(known, "methods", None), getattr(added, "methods", None)
    if all(methods) and not set(methods[0]) & set(methods[1]):
        return False
    return _matches(known, added) or _matches(added, known)


def _matches(route: BaseRoute, other: BaseRoute) -> bool:
    pattern: re.Pattern[str] | None = getattr(route, "path_regex", None)
    return pattern is not None and pattern.match(_sample(other)) is not None


def _sample(route: BaseRoute) -> str:
    """Return a path that leads to a route; a mount's are below it."""
    path = _PARAMETER.sub(_SAMPLE, getattr(route, "path", ""))
    return path if hasattr(route, "methods") else f"{path}/{_SAMPLE}"


def _described(route: BaseRoute) -> str:
    methods = sorted(set(getattr(route, "methods", None) or ()) - {"HEAD"})
    return f"{' and '.join(methods) or 'all'} {getattr(route, 'path', '') or '/'}".replace(
        "all ", "everything below "
    )
