"""JSON -> the keyword arguments of a method that answers one request."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

from pydantic import GetCoreSchemaHandler, ValidationError
from pydantic_core import CoreSchema, SchemaValidator, core_schema

from spanserve.errors import SpanserveError
from spanserve.service.annotations import adapter_of
from spanserve.service.codecs.problems import InvalidItem, explained, nearest


class Parameter(NamedTuple):
    """One parameter of a method; `default` is `inspect.Parameter.empty` where it is required."""

    name: str
    annotation: Any
    default: Any = inspect.Parameter.empty

    @property
    def required(self) -> bool:
        """Whether a caller must give it."""
        return self.default is inspect.Parameter.empty


def reader(parameters: Sequence[Parameter], where: str) -> Callable[[bytes], dict[str, Any]]:
    """A function from a body to the keyword arguments; raises InvalidBody or InvalidItem."""
    if not parameters:
        return _read_nothing
    if len(parameters) == 1:
        return _read_value(parameters[0], where)
    return _read_names(parameters, where)


def _read_nothing(body: bytes) -> dict[str, Any]:
    try:
        value = SchemaValidator(core_schema.any_schema()).validate_json(body)
    except ValidationError as error:
        raise explained(error, body, root="body") from None
    if value is not None and value != {}:
        raise InvalidItem("body: this endpoint takes no input; send an empty body or {}")
    return {}


def _read_value(parameter: Parameter, where: str) -> Callable[[bytes], dict[str, Any]]:
    validate = adapter_of(parameter.annotation, where=where).validate_json

    def read(body: bytes) -> dict[str, Any]:
        try:
            return {parameter.name: validate(body)}
        except ValidationError as error:
            raise explained(error, body, root=parameter.name) from None

    return read


def _read_names(parameters: Sequence[Parameter], where: str) -> Callable[[bytes], dict[str, Any]]:
    names = [each.name for each in parameters]
    validate = adapter_of(Annotated[dict, _Names(tuple(parameters))], where=where).validate_json

    def read(body: bytes) -> dict[str, Any]:
        try:
            return validate(body)  # type: ignore[no-any-return]  # the schema makes it a dict
        except ValidationError as error:
            raise _explained_names(error, body, names) from None

    return read


def _explained_names(error: ValidationError, body: bytes, names: Sequence[str]) -> SpanserveError:
    there = f"; the body is an object with {', '.join(names)}"
    problem = explained(error, body, root="", expected=there)
    if isinstance(problem, InvalidItem):
        unknown = [loc[0] for loc in (each["loc"] for each in problem.details) if len(loc) == 1]
        unknown = [name for name in unknown if name not in names]
        if unknown:
            text = f"body: unknown name {unknown[0]!r} (there: {', '.join(names)})"
            return InvalidItem(text + nearest(str(unknown[0]), names), problem.details)
        if problem.details and not problem.details[0]["loc"]:
            return InvalidItem(f"body{problem}", problem.details)
    return problem


@dataclass(frozen=True, slots=True, eq=False)
class _Names:
    """Has pydantic read an object whose keys are the parameters, and no others.

    A key that is absent stays absent, so that the method's own default applies.
    """

    parameters: tuple[Parameter, ...]

    def __get_pydantic_core_schema__(
        self, _source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        fields = {
            each.name: core_schema.typed_dict_field(
                handler.generate_schema(each.annotation), required=each.required
            )
            for each in self.parameters
        }
        return core_schema.typed_dict_schema(fields, extra_behavior="forbid")
