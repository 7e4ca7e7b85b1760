"""Which parameters are bytes or files, by their annotations.

FastAPI's and Starlette's classes are known by their names, for services can do without them.
"""

import types
from collections.abc import Sequence
from typing import Annotated, Any, Final, NamedTuple, Union, get_args, get_origin

from spanserve.service.aliases import expanded
from spanserve.service.arguments import Parameter

_PACKAGES: Final = frozenset({"fastapi", "starlette"})
_FORM_MARKERS: Final = frozenset({"Form", "File"})


class FileKind(NamedTuple):
    """A file: `kind` is `bytes` or a class `UploadFile`; `several` of them are a list."""

    kind: type
    several: bool


def bare(annotation: Any) -> Any:
    """Return the type without what stands beside it in `Annotated`, and without None."""
    annotation = expanded(annotation)
    if get_origin(annotation) is Annotated:
        return bare(get_args(annotation)[0])
    if get_origin(annotation) in {Union, types.UnionType}:
        parts = [each for each in get_args(annotation) if each is not types.NoneType]
        return bare(parts[0]) if len(parts) == 1 else annotation
    return annotation


def file_of(annotation: Any) -> FileKind | None:
    """Return what kind of file an annotation stands for; None: it is no file."""
    if any(hasattr(note, "__get_pydantic_core_schema__") for note in _notes(annotation)):
        return None  # such as Base64Bytes: text, which pydantic reads
    base = bare(annotation)
    if get_origin(base) is list:
        one = file_of(get_args(base)[0])
        return None if one is None or one.several else FileKind(one.kind, several=True)
    return FileKind(base, several=False) if base is bytes or is_upload(base) else None


def is_upload(kind: Any) -> bool:
    """Whether it is Starlette's `UploadFile`, FastAPI's, or a class made of them."""
    return isinstance(kind, type) and any(
        base.__name__ == "UploadFile" and _is_theirs(base) for base in kind.__mro__
    )


def is_raw(parameters: Sequence[Parameter]) -> bool:
    """Whether the body is the one parameter, as bytes."""
    return (
        len(parameters) == 1
        and file_of(parameters[0].annotation) == FileKind(bytes, several=False)
        and not _is_marked(parameters[0].annotation)
    )


def is_form(parameters: Sequence[Parameter]) -> bool:
    """Whether the body is a form, whose parts have the parameters' names."""
    return not is_raw(parameters) and any(
        file_of(each.annotation) is not None or _is_marked(each.annotation) for each in parameters
    )


def _is_marked(annotation: Any) -> bool:
    return any(type(note).__name__ in _FORM_MARKERS for note in _notes(annotation))


def _notes(annotation: Any) -> tuple[Any, ...]:
    annotation = expanded(annotation)
    return get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()


def _is_theirs(kind: type) -> bool:
    return kind.__module__.partition(".")[0] in _PACKAGES
