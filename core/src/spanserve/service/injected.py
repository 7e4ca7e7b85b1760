"""Parameters of `@api` methods that FastAPI resolves, beside what the body holds.

FastAPI's and Starlette's classes are known by their names, for services can do without them.
"""

import re
from collections.abc import Sequence
from typing import Annotated, Any, Final, get_args, get_origin

from spanserve.service.aliases import expanded

PATH_PARAMETER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(?::[a-z]+)?\}")
_MARKERS: Final = frozenset({"Depends", "Param"})
"""FastAPI's markers: `Security` is a `Depends`; Query, Header, Cookie and Path are a `Param`."""
_TYPES: Final = frozenset(
    {"Request", "HTTPConnection", "BackgroundTasks", "Response", "SecurityScopes"}
)
"""What FastAPI gives for its type alone."""
_PACKAGES: Final = frozenset({"fastapi", "starlette"})


def is_marker(thing: Any) -> bool:
    """Whether it has FastAPI resolve a parameter, as `Depends(auth)` and `Header()` do."""
    return not isinstance(thing, type) and not _MARKERS.isdisjoint(_theirs(type(thing)))


def is_injected(name: str, annotation: Any, default: Any, path: Sequence[str]) -> bool:
    """Whether FastAPI resolves a parameter; `path` are those that stand in the route."""
    if name in path or is_marker(default):
        return True
    annotation = expanded(annotation)
    notes: tuple[Any, ...] = ()
    if get_origin(annotation) is Annotated:
        annotation, *others = get_args(annotation)
        notes, annotation = tuple(others), expanded(annotation)
    if any(map(is_marker, notes)):
        return True
    return isinstance(annotation, type) and annotation.__name__ in _TYPES and _is_theirs(annotation)


def of_path(annotation: Any, default: Any) -> bool:
    """Whether it is marked as a part of the path, with `Path()`."""
    annotation = expanded(annotation)
    notes = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
    return any("Path" in _theirs(type(each)) for each in (default, *notes))


def _theirs(kind: type) -> list[str]:
    """Return the names of a class and its bases, as far as they are FastAPI's or Starlette's."""
    return [base.__name__ for base in kind.__mro__ if _is_theirs(base)]


def _is_theirs(kind: type) -> bool:
    return kind.__module__.partition(".")[0] in _PACKAGES
