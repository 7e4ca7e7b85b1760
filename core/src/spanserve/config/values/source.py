"""Where a value of the configuration was said."""

from dataclasses import dataclass
from enum import StrEnum


class SourceKind(StrEnum):
    """The places that a value can come from, the weakest first."""

    DEFAULT = "default"
    FILE = "file"
    ENVIRONMENT = "environment"
    COMMAND_LINE = "command line"


@dataclass(frozen=True, slots=True)
class Source:
    """One place, precise enough for a person to go there and change the value.

    `name` is a file's path, a variable or an option; `line` counts from 1; `variables` are
    those that a value in a file was made of.
    """

    kind: SourceKind
    name: str = ""
    line: int | None = None
    variables: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.kind is SourceKind.DEFAULT:
            return "default"
        if self.kind is not SourceKind.FILE:
            return f"{self.kind} {self.name}"
        where = f"{self.name} line {self.line}" if self.line else self.name
        return " ".join([where, *(f"${variable}" for variable in self.variables)])


DEFAULT = Source(SourceKind.DEFAULT)
