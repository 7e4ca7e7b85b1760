"""Aliases of types, as `type Row = NDArray[np.float32]` makes them, and what they stand for.

NumPy's `NDArray` is one from NumPy 2.5 on, with Python 3.12 and later.
"""

from typing import Annotated, Any, get_args, get_origin


def expanded(annotation: Any) -> Any:
    """What an annotation stands for, where it is an alias, or an `Annotated` one; else itself.

    Aliases further inside stay: pydantic reads them, and they may name themselves. Raises
    NameError where an alias names what is not defined, TypeError where it names nothing else.
    """
    met: list[Any] = []
    while is_alias(annotation):
        if annotation in met:
            raise TypeError(f"the alias {annotation!r} stands for itself")
        met.append(annotation)
        annotation = _value_of(annotation)
    if get_origin(annotation) is Annotated:
        base, *metadata = get_args(annotation)
        return Annotated[expanded(base), *metadata]
    return annotation


def is_alias(annotation: Any) -> bool:
    """Whether it was made by `type ... = ...` or TypeAliasType, with or without arguments."""
    return _is_alias(annotation) or _is_alias(get_origin(annotation))


def _is_alias(thing: Any) -> bool:
    # There are two such classes: typing's from Python 3.12 on, and typing_extensions'.
    return type(thing).__name__ == "TypeAliasType"


def _value_of(alias: Any) -> Any:
    if _is_alias(alias):
        return alias.__value__
    generic = get_origin(alias)
    value = generic.__value__
    wanted = getattr(value, "__parameters__", ())
    given = dict(zip(generic.__type_params__, get_args(alias), strict=False))
    if not wanted:
        return given.get(value, value)
    return value[tuple(given.get(each, each) for each in wanted)]
