"""What the models of the configuration are made of."""

from typing import Annotated, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def listed(value: object) -> object:
    """A text with commas is a list, too: so it can be written in an environment variable."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return tuple(value) if isinstance(value, list) else value


Count = Annotated[int, Field(gt=0)]
Length = Annotated[float, Field(gt=0)]
Pause = Annotated[float, Field(ge=0)]
Word = Annotated[str, Field(min_length=1)]

Listed: Final = BeforeValidator(listed, json_schema_input_type=tuple[Word, ...] | str)
"""For lists of texts; the type is what an editor is told may stand in the file."""


class Section(BaseModel):
    """A part of the configuration."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True
    )
